//! Whose mail belongs on the relay.

mod from_field;
pub mod sender_table;

use crate::address::{Address, AddressSet};
use crate::case::HeaderSection;

pub use sender_table::{Entries, SenderTable};

/// The senders whose mail belongs on the relay.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Who.
    pub senders: AddressSet,
    /// Whether the address of the From field counts beside the envelope sender.
    pub from_field: bool,
}

/// Most addresses of From fields that are looked at; a message has one author, or a few.
pub const MAX_FROM_ADDRESSES: usize = 100;

/// The addresses of From fields.
#[derive(Debug, Default)]
pub struct FromAddresses {
    /// Those that were looked at.
    pub addresses: Vec<Address>,
    /// True if these are all, not more than [`MAX_FROM_ADDRESSES`].
    pub complete: bool,
}

/// The addresses of all From fields (RFC 5322, 3.6.2), repeated ones included.
pub fn from_addresses(header: &HeaderSection) -> FromAddresses {
    let mut found = FromAddresses { addresses: Vec::new(), complete: true };
    for field in header.named("From") {
        let more = from_field::addresses(field.value);
        found.addresses.extend(more.addresses);
        found.complete = more.complete && found.addresses.len() <= MAX_FROM_ADDRESSES;
        if !found.complete {
            break;
        }
    }
    found
}
