//! Section `[limits]`.

use super::keys::size;
use super::reader::Reader;
use crate::case::{HeaderLimits, Limits};

pub fn read(reader: &mut Reader) -> Limits {
    let mut limit = |key, least: usize, most: usize, default, unit| {
        size(reader.integer(key, least as u64..=most as u64, unit)).unwrap_or(default)
    };
    let default = Limits::default();
    let HeaderLimits { bytes, fields } = default.header;
    Limits {
        header: HeaderLimits {
            bytes: limit("limits.header_size", 16 << 10, bytes, bytes, "bytes"),
            fields: limit("limits.header_fields", 100, fields, fields, "fields"),
        },
        messages: limit("limits.messages", 1, 100_000, default.messages, "messages"),
        message_memory: limit("limits.message_memory", 4 << 20, 1 << 40, default.message_memory, "bytes"),
    }
}
