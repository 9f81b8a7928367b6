//! Whose mail belongs on the relay.

use std::collections::HashSet;

use mail_parser::MessageParser;

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

/// The addresses of all From fields (RFC 5322, 3.6.2), groups and repeated fields included.
///
/// A field in which the parser finds no address is searched for anything that looks like one, so that a mangled From
/// is no way out of scope.
pub fn from_addresses(header: &HeaderSection) -> Vec<Address> {
    let mut addresses = Vec::new();
    for field in header.named("From") {
        let value = &field.value[..field.value.len().min(MAX_FROM_BYTES)];
        let parsed = parse_from(value);
        if parsed.is_empty() {
            addresses.extend(look_for_addresses(value));
        } else {
            addresses.extend(parsed);
        }
        if addresses.len() >= MAX_FROM_ADDRESSES {
            break;
        }
    }
    addresses
}

/// A From field longer than this is read up to here. Postfix cuts fields at 102400 bytes (`header_size_limit`).
const MAX_FROM_BYTES: usize = 102_400;
/// Most addresses looked at; real messages have one.
const MAX_FROM_ADDRESSES: usize = 1_000;

fn parse_from(value: &[u8]) -> Vec<Address> {
    let mut field = Vec::with_capacity(value.len() + 9);
    field.extend_from_slice(b"From:");
    // A NUL, bare CR or unfolded line end would end the field early, and what follows would go unseen.
    field.extend(value.iter().map(|&byte| if matches!(byte, b'\0' | b'\r' | b'\n') { b' ' } else { byte }));
    field.extend_from_slice(b"\r\n\r\n");
    let Some(message) = MessageParser::new().with_address_headers().parse_headers(&field) else {
        return Vec::new();
    };
    let addresses = message.from().into_iter().flat_map(|list| list.iter());
    addresses.filter_map(|mailbox| Address::parse(mailbox.address.as_deref()?)).collect()
}

fn look_for_addresses(value: &[u8]) -> Vec<Address> {
    let text = String::from_utf8_lossy(value);
    text.split(|character: char| character.is_whitespace() || "<>(),;:\"[]".contains(character))
        .filter_map(Address::parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders(value: &str) -> Vec<String> {
        let mut header = HeaderSection::default();
        header.push(b"From", value.as_bytes()).unwrap();
        from_addresses(&header).iter().map(Address::full).collect()
    }

    #[test]
    fn the_address_of_a_from_field_is_found_however_it_is_written() {
        for value in [
            " alice@customer.test",
            " Alice <Alice@Customer.test>",
            " =?utf-8?Q?Alice_=3Cx=40evil.test=3E?= <alice@customer.test>",
            " \"x@evil.test\" (bob@evil.test) <alice@customer.test>",
            "\r\n Alice\r\n <alice@customer.test>",
            " <alice@customer.test",
        ] {
            assert_eq!(senders(value), ["alice@customer.test"], "{value}");
        }
    }

    #[test]
    fn several_addresses_and_groups_all_count() {
        assert_eq!(senders(" x@evil.test, alice@customer.test"), ["x@evil.test", "alice@customer.test"]);
        assert_eq!(senders(" Team: x@evil.test, alice@customer.test;"), ["x@evil.test", "alice@customer.test"]);
    }

    #[test]
    fn control_characters_do_not_hide_an_address() {
        assert!(senders(" x@evil.test,\r\n\r\n alice@customer.test").contains(&"alice@customer.test".to_string()));
        assert!(senders(" x@evil.test\0, alice@customer.test").contains(&"alice@customer.test".to_string()));
    }

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
