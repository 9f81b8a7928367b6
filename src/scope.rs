//! Whose mail belongs on the relay.

mod from_field;

use crate::address::{Address, AddressSet};
use crate::case::HeaderSection;

/// The senders whose mail belongs on the relay.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Who.
    pub senders: AddressSet,
    /// Whether the address of the From field counts beside the envelope sender.
    pub from_field: bool,
}

/// The addresses of all From fields (RFC 5322, 3.6.2), repeated ones included.
pub fn from_addresses(header: &HeaderSection) -> Vec<Address> {
    header.named("From").flat_map(|field| from_field::addresses(field.value)).collect()
}
