//! Section `[provider_settings]`: what only the provider can tell a site, such as its customer id.
//!
//! Which settings there are, the provider says; here it is only made sure that each can stand in a header field.

use std::collections::BTreeMap;

use super::reader::Reader;

/// The longest value, in characters: with the name of its field it stays in one line (RFC 5322, section 2.1.1).
const MAX_VALUE: usize = 200;

const EXAMPLE: &str = r#""4711""#;

/// Reads the section.
pub fn read(reader: &mut Reader) -> BTreeMap<String, String> {
    reader.named_strings("provider_settings", EXAMPLE, name, value).into_iter().collect()
}

/// Checks the name of a setting.
///
/// # Errors
/// What is wrong with it, as a phrase that follows it.
pub fn name(written: &str) -> Result<(), String> {
    // Sieve compares the names of environment items without case (RFC 5183, section 4).
    let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if written.is_empty() || !written.bytes().all(in_name) {
        return Err("is not the name of a setting; use small letters, digits and underscores only".into());
    }
    Ok(())
}

/// A value that can stand in a header field (RFC 5322, section 2.2) as it is: printable ASCII on one line, without space
/// at its ends.
///
/// # Errors
/// What is wrong with it, as a phrase that follows it.
pub fn value(written: &str) -> Result<String, String> {
    if written.is_empty() {
        return Err("is empty; write the value that the provider gave you".into());
    }
    if !written.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err("cannot stand in a header field; write letters, digits and signs of ASCII only, on one line".into());
    }
    if written.trim() != written {
        return Err("begins or ends with a space; remove it".into());
    }
    if written.len() > MAX_VALUE {
        return Err(format!("has {} characters; a setting has at most {MAX_VALUE}", written.len()));
    }
    Ok(written.to_owned())
}
