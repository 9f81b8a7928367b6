//! Whose mail belongs on the relay.

mod from_field;

use std::collections::HashSet;

use crate::address::Address;
use crate::case::HeaderSection;

/// The senders whose mail belongs on the relay.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Who.
    pub senders: Senders,
    /// Whether the address of the From field counts beside the envelope sender.
    pub from_field: bool,
}

/// Who is in scope.
#[derive(Debug, Clone)]
pub enum Senders {
    /// Every sender of a hosted domain.
    All(HashSet<String>),
    /// The addresses, and `@domain` for whole domains, in the form of [`Address::full`].
    List(HashSet<String>),
}

impl Senders {
    /// True if the address is in scope. An address with a `+` extension is in scope where the one without it is.
    pub fn contains(&self, address: &Address) -> bool {
        match self {
            Self::All(domains) => domains.contains(address.domain()),
            Self::List(senders) => {
                senders.contains(&address.full())
                    || senders.contains(&format!("@{}", address.domain()))
                    || address.without_extension().is_some_and(|plain| senders.contains(&plain))
            }
        }
    }
}

/// The addresses of all From fields (RFC 5322, 3.6.2), repeated ones included.
pub fn from_addresses(header: &HeaderSection) -> Vec<Address> {
    header.named("From").flat_map(|field| from_field::addresses(field.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_addresses_domains_and_extensions() {
        let list = Senders::List(["alice@customer.test", "@second.test"].map(String::from).into());
        let contains = |address: &str| list.contains(&Address::parse(address).unwrap());
        assert!(contains("alice@customer.test"));
        assert!(contains("Alice+news@customer.test"));
        assert!(contains("anyone@second.test"));
        assert!(!contains("bob@customer.test"));
        assert!(!contains("anyone@sub.second.test"));
    }
}
