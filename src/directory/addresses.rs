//! E-mail addresses among the values of entries.

use std::collections::BTreeSet;

use super::Problem;
use super::entry::{Entry, STRUCTURE};

/// The most addresses that a group may have in all.
const ADDRESSES_MAX: usize = 2_000_000;

/// The longest address, in bytes: well over what SMTP carries (RFC 5321, section 4.5.3.1).
const ADDRESS_MAX: usize = 1000;

/// Collects addresses from entries.
pub struct Addresses<'a> {
    attributes: &'a [String],
    found: BTreeSet<String>,
}

impl<'a> Addresses<'a> {
    /// `attributes` are those that hold addresses.
    pub fn new(attributes: &'a [String]) -> Self {
        Self { attributes, found: BTreeSet::new() }
    }

    /// Takes the addresses of one entry.
    ///
    /// # Errors
    /// If it has a value that cannot be read, or there are too many.
    pub fn add(&mut self, entry: &Entry) -> Result<(), Problem> {
        // A server may return an attribute by another of its names (rfc822Mailbox is mail).
        let wanted = |name: &str| {
            let is = |other: &str| other.eq_ignore_ascii_case(name);
            self.attributes.iter().any(|attribute| is(attribute)) || !STRUCTURE.into_iter().any(is)
        };
        for value in entry.texts_of(wanted) {
            let Some(address) = address(value?) else { continue };
            if address.len() > ADDRESS_MAX {
                return Err(format!("{} has an address of {} bytes; correct it there", entry.dn, address.len()));
            }
            self.found.insert(address.to_owned());
        }
        if self.found.len() > ADDRESSES_MAX {
            return Err(format!("the group has more than {ADDRESSES_MAX} addresses"));
        }
        Ok(())
    }

    /// All that were found.
    pub fn found(self) -> Vec<String> {
        self.found.into_iter().collect()
    }
}

/// The address in a value: as it is, or behind Exchange's `smtp:`, in capitals for the primary one. Other kinds, such
/// as `X500:` or `sip:`, and values without a domain are no e-mail addresses.
fn address(value: &str) -> Option<&str> {
    let value = value.trim();
    let address = match value.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("smtp") => rest.trim(),
        // An address literal (`alice@[IPv6:…]`) has its colon behind the "@".
        Some((scheme, _)) if !scheme.contains('@') => return None,
        _ => value,
    };
    address.contains('@').then_some(address)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_smtp_addresses_count() {
        for (value, expected) in [
            ("alice@example.com", Some("alice@example.com")),
            (" Alice@Example.COM ", Some("Alice@Example.COM")),
            ("SMTP:alice@example.com", Some("alice@example.com")),
            ("smtp:a.b@example.com", Some("a.b@example.com")),
            ("sMtP: alice@example.com", Some("alice@example.com")),
            ("alice@[IPv6:2001:db8::1]", Some("alice@[IPv6:2001:db8::1]")),
            ("SIP:alice@example.com", None),
            ("X500:/o=Example/cn=alice@example.com", None),
            ("SPO:SPO_1@SPO_2", None),
            ("smtp:", None),
            ("alice", None),
            ("", None),
        ] {
            assert_eq!(address(value), expected, "{value}");
        }
    }
}
