//! Whose mail belongs on the relay.

mod from_field;
pub mod sender_table;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use sender_table::{Entries, SenderTable};

use crate::address::{Address, AddressSet};
use crate::case::HeaderSection;

/// The senders whose mail belongs on the relay.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Who.
    pub senders: Arc<AddressSet>,
    /// Whether the address of the From field counts beside the envelope sender.
    pub from_field: bool,
}

/// The addresses of every scope.
#[derive(Debug, Clone, Default)]
pub struct ScopeSets {
    /// The default scope: whose mail belongs on the relay.
    pub default: Arc<AddressSet>,
    /// The named scopes, which are lists for the policy scripts.
    pub named: BTreeMap<String, Arc<AddressSet>>,
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
