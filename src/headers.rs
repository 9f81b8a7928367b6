//! Header fields that matter here: the provider's markers, spam marks, and the edits that follow from them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::case::{Field, HeaderSection};
use crate::verdict::{CARRIED_ROUTE_FIELD, HeaderEdit, ROUTE_FIELD, SPAM_FLAG_FIELD};

/// The provider's marker fields: section `[headers]` of `provider.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Markers {
    /// Beginnings of field names that belong to the provider; from anybody else such fields are forged.
    pub reserved: Vec<String>,
    /// Says that the message has been through the relay; `{domain}` in the name stands for the sender's domain with
    /// dashes for dots.
    #[serde(rename = "loop")]
    pub loop_marker: Option<Marker>,
    /// Says that the provider holds the message for spam.
    pub flagged: Option<Marker>,
    /// Says that the message was released from the provider's quarantine.
    pub released: Option<Marker>,
    /// Fields that count as spam marks beside `X-Spam-Flag`, and that a released message must not carry.
    #[serde(default)]
    pub spam_marks: Vec<String>,
}

/// A marker field: its name, and the value that makes it count.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// Field name; compared without case.
    pub name: String,
    /// Value; compared without case, surrounding white space and comments.
    pub value: String,
}

impl Markers {
    /// True if a field of this name may come from the relay only.
    pub fn reserves(&self, field: &Field<'_>) -> bool {
        says_route(field) || self.reserved.iter().any(|prefix| starts_with(field.bare_name(), prefix))
    }

    /// True if the field is one of the spam marks that a released message must not carry.
    pub fn is_spam_mark(&self, field: &Field<'_>) -> bool {
        field.is(SPAM_FLAG_FIELD) || self.spam_marks.iter().any(|name| field.is(name))
    }

    /// True if the section has the loop marker of one of these domains.
    pub fn has_loop_marker<'a>(&self, header: &HeaderSection, domains: impl IntoIterator<Item = &'a str>) -> bool {
        let Some(marker) = &self.loop_marker else { return false };
        // There may be as many domains as fields, and they may be repeated: the sender chooses them.
        let domains: HashSet<&str> = domains.into_iter().collect();
        let name = |domain: &str| marker.name.replace("{domain}", &domain.replace('.', "-")).to_ascii_lowercase();
        let names: HashSet<Vec<u8>> = domains.into_iter().map(|domain| name(domain).into_bytes()).collect();
        let beginning = marker.name.split('{').next().unwrap_or_default();
        header.fields().any(|field| {
            starts_with(field.bare_name(), beginning)
                && names.contains(&field.bare_name().to_ascii_lowercase())
                && counts(&field, &marker.value)
        })
    }

    /// True if the section has the provider's spam marker.
    pub fn is_flagged(&self, header: &HeaderSection) -> bool {
        self.flagged.as_ref().is_some_and(|marker| has(header, &marker.name, &marker.value))
    }

    /// True if the section has the provider's release marker.
    pub fn is_released(&self, header: &HeaderSection) -> bool {
        self.released.as_ref().is_some_and(|marker| has(header, &marker.name, &marker.value))
    }
}

/// True for a field by which the milter and Postfix tell each other where a message goes: in one that comes from outside
/// it is forged, whoever sent it.
pub fn says_route(field: &Field<'_>) -> bool {
    field.is(ROUTE_FIELD) || field.is(CARRIED_ROUTE_FIELD)
}

fn starts_with(name: &[u8], prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn has(header: &HeaderSection, name: &str, value: &str) -> bool {
    header.named(name).any(|field| counts(&field, value))
}

fn counts(field: &Field<'_>, value: &str) -> bool {
    significant(field.value).eq_ignore_ascii_case(value.as_bytes())
}

/// How many Received fields (RFC 5321, 4.4) say that the message came from one of these networks.
///
/// Only the from-clause counts, in which the mail server that wrote the field put the client's address in brackets. What
/// a client forged in front of it makes the number greater, never smaller.
pub fn passes_from(header: &HeaderSection, networks: &[IpNet]) -> usize {
    let comes_from = |field: Field<'_>| {
        let value = &field.value[..field.value.len().min(MAX_RECEIVED_VALUE)];
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        let from = value.split_whitespace().take_while(|word| *word != "by");
        let mut literals = from.filter_map(|word| word.split_once('[')?.1.split_once(']'));
        literals.any(|(literal, _)| {
            let address = literal.strip_prefix("ipv6:").unwrap_or(literal).parse::<IpAddr>();
            address.is_ok_and(|address| networks.iter().any(|network| network.contains(&address.to_canonical())))
        })
    };
    header.named("Received").filter(|field| comes_from(*field)).count()
}

/// How many Received fields say that this host wrote them, by its name in the by-clause (RFC 5321, 4.4).
pub fn passes_by(header: &HeaderSection, host: &str) -> usize {
    let written_by = |field: Field<'_>| {
        let value = &field.value[..field.value.len().min(MAX_RECEIVED_VALUE)];
        let value = String::from_utf8_lossy(value);
        let mut words = value.split_whitespace().skip_while(|word| !word.eq_ignore_ascii_case("by"));
        words.nth(1).is_some_and(|name| name.trim_end_matches(';').eq_ignore_ascii_case(host))
    };
    header.named("Received").filter(|field| written_by(*field)).count()
}

/// Longest Received value that is looked at; the from-clause comes first.
const MAX_RECEIVED_VALUE: usize = 2_000;

/// Longest value that is looked at; a marker's value is a word.
const MAX_MARKER_VALUE: usize = 1_000;

/// A structured value without comments (RFC 5322, 3.2.2) and surrounding white space; empty if it is oversized.
fn significant(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    if value.len() > MAX_MARKER_VALUE {
        return plain;
    }
    let mut depth = 0_u32;
    let mut escaped = false;
    for &byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if depth > 0 => escaped = true,
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            _ if depth == 0 => plain.push(byte),
            _ => {}
        }
    }
    plain.trim_ascii().to_vec()
}

/// The edits that remove the fields at these positions (from 0, in the section's order).
///
/// They count instances per name as the milter protocol does, and come highest index first, so that no deletion moves
/// a field that is still to be deleted.
pub fn removals(header: &HeaderSection, positions: &HashSet<usize>) -> Vec<HeaderEdit> {
    if positions.is_empty() {
        return Vec::new();
    }
    // The instances of these names have to be counted; most fields have other names.
    let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut lengths = LengthSet::default();
    for (_, field) in header.fields().enumerate().filter(|(position, _)| positions.contains(position)) {
        lengths.insert(field.bare_name().len());
        counts.insert(field.bare_name().to_ascii_lowercase(), 0);
    }
    let mut edits = Vec::with_capacity(positions.len());
    for (position, field) in header.fields().enumerate() {
        let name = field.bare_name();
        if !lengths.may_contain(name.len()) {
            continue;
        }
        if let Some(index) = counts.get_mut(&name.to_ascii_lowercase()) {
            *index += 1;
            if positions.contains(&position) {
                edits.push(HeaderEdit::Delete { name: String::from_utf8_lossy(name).into_owned(), index: *index });
            }
        }
    }
    edits.reverse();
    edits
}

/// Lengths of names: a quick way to see that a name is none of a set.
#[derive(Default)]
struct LengthSet(u64);

impl LengthSet {
    fn bit(length: usize) -> u64 {
        1 << (length % 64)
    }

    fn insert(&mut self, length: usize) {
        self.0 |= Self::bit(length);
    }

    fn may_contain(&self, length: usize) -> bool {
        self.0 & Self::bit(length) != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn markers() -> Markers {
        Markers {
            reserved: vec!["X-Conbool-".into()],
            loop_marker: Some(Marker { name: "X-Conbool-{domain}".into(), value: "true".into() }),
            flagged: Some(Marker { name: "X-Conbool-Flag".into(), value: "YES".into() }),
            released: Some(Marker { name: "X-Conbool-Released".into(), value: "yes".into() }),
            spam_marks: vec!["X-Spam-Status".into()],
        }
    }

    fn section(fields: &[(&str, &str)]) -> HeaderSection {
        let mut header = HeaderSection::default();
        for (name, value) in fields {
            header.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        header
    }

    #[test]
    fn a_loop_marker_counts_for_its_own_domain_only() {
        let header = section(&[("x-conbool-Example-com", " TRUE (seen)")]);
        assert!(markers().has_loop_marker(&header, ["example.com"]));
        assert!(!markers().has_loop_marker(&header, ["example.org"]));
        assert!(!markers().has_loop_marker(&header, []));
    }

    #[test]
    fn values_compare_without_case_space_folds_and_comments() {
        for value in ["YES", " yes ", "\r\n\tYes", " (a (nested \\) comment)) yes"] {
            assert!(markers().is_flagged(&section(&[("X-Conbool-Flag", value)])), "{value:?}");
        }
        for value in ["", " NO", " YESS", " \"YES\"", &format!(" YES{}", " ".repeat(2_000))] {
            assert!(!markers().is_flagged(&section(&[("X-Conbool-Flag", value)])), "{value:?}");
        }
        assert!(markers().is_flagged(&section(&[("X-Conbool-Flag", "NO"), ("X-Conbool-Flag", "YES")])));
    }

    #[test]
    fn passes_are_counted_by_the_address_in_the_from_clause() {
        let networks: Vec<IpNet> = ["192.0.2.0/24", "2001:db8::/32"].map(|network| network.parse().unwrap()).into();
        let passes = |values: &[&str]| {
            let fields: Vec<(&str, &str)> = values.iter().map(|value| ("Received", *value)).collect();
            passes_from(&section(&fields), &networks)
        };
        assert_eq!(
            passes(&[
                " from relay.conbool.test (relay.conbool.test [192.0.2.7])\n\t(using TLSv1.3)\n\tby mail.customer.test (Postfix)",
                " from relay.conbool.test (unknown [IPv6:2001:db8::7]) by mail.customer.test",
                " from [192.0.2.9] by x.test",
            ]),
            3
        );
        assert_eq!(
            passes(&[
                " from desk (desk [10.0.0.1])\n\tby mail.customer.test ([192.0.2.7])",
                " by mail.customer.test (Postfix, from userid 0)",
                " from x ([192.0.2.300]) by y",
                "",
            ]),
            0
        );
    }

    #[test]
    fn passes_of_this_host_are_counted_by_its_name_in_the_by_clause() {
        let passes = |values: &[&str]| {
            let fields: Vec<(&str, &str)> = values.iter().map(|value| ("Received", *value)).collect();
            passes_by(&section(&fields), "mail.customer.test")
        };
        let counted = [
            " from desk (desk [10.0.0.1])\n\tby Mail.Customer.test (Postfix) with ESMTP id 1",
            " by mail.customer.test (Postfix, from userid 0)",
            " from x by mail.customer.test; Sat, 21 Nov 2026 12:00:00 +0000",
        ];
        assert_eq!(passes(&counted), 3);
        let not_counted =
            [" from mail.customer.test by mx.remote.test", " by mail.customer.test.remote.test", " by", ""];
        assert_eq!(passes(&not_counted), 0);
    }

    #[test]
    fn reserved_names_are_known_by_their_beginning() {
        for name in ["X-Conbool-Flag", "x-CONBOOL-anything", "X-Conbool-Flag ", "X-Conbool-Route", "X-Conbool-"] {
            assert!(markers().reserves(&Field { name: name.as_bytes(), value: b"" }), "{name}");
        }
        for name in ["X-Conbool", "X-Spam-Flag", "XX-Conbool-Flag"] {
            assert!(!markers().reserves(&Field { name: name.as_bytes(), value: b"" }), "{name}");
        }
    }

    /// Deletes as a mail server does: the index counts the fields of that name that are left.
    fn apply(mut fields: Vec<(String, String)>, edits: &[HeaderEdit]) -> Vec<(String, String)> {
        for edit in edits {
            let HeaderEdit::Delete { name, index } = edit else { panic!("only deletions here") };
            let instances = fields.iter().enumerate().filter(|(_, (other, _))| other.eq_ignore_ascii_case(name));
            let position = instances.map(|(position, _)| position).nth(*index as usize - 1).expect("an existing field");
            fields.remove(position);
        }
        fields
    }

    proptest! {
        #[test]
        fn exactly_the_chosen_fields_are_removed(
            fields in proptest::collection::vec(("[abAB]", "[0-9]{3}", any::<bool>()), 0..20)
        ) {
            let mut header = HeaderSection::default();
            for (name, value, _) in &fields {
                header.push(name.as_bytes(), value.as_bytes()).unwrap();
            }
            let chosen = fields.iter().enumerate().filter(|(_, field)| field.2).map(|(position, _)| position).collect();
            let all = fields.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect();
            let left: Vec<_> =
                fields.iter().filter(|field| !field.2).map(|(name, value, _)| (name.clone(), value.clone())).collect();
            prop_assert_eq!(apply(all, &removals(&header, &chosen)), left);
        }
    }
}
