//! Addresses in From fields, found as generously as any mail program could read them.
//!
//! A message is in scope if *any* reading of its From field is: whoever writes a field that programs understand
//! differently must not get past the relay by it. So this is no parser that takes or refuses a field, but a search that
//! knows what is no address: comments and quoted display names (RFC 5322, 3.2.2, 3.2.4 and 3.4).

use mail_parser::MessageParser;

use super::{FromAddresses, MAX_FROM_ADDRESSES};
use crate::address::Address;

/// The addresses in the value of a From field.
pub fn addresses(value: &[u8]) -> FromAddresses {
    let value = String::from_utf8_lossy(value);
    let found = search(&value);
    if found.addresses.is_empty() {
        // RFC 2047, 5 (3), forbids an encoded word in an address, but some programs decode one there.
        return decode_words(&value).map_or(found, |decoded| search(&decoded));
    }
    found
}

fn search(value: &str) -> FromAddresses {
    let plain = without_comments_and_names(value);
    // Obsolete syntax allows white space around the dots and the @ (RFC 5322, 4.4).
    let closed_up = close_up(&plain);
    let mut found = FromAddresses { addresses: Vec::new(), complete: true };
    for text in [Some(&plain), Some(&closed_up).filter(|text| **text != plain)].into_iter().flatten() {
        for (number, address) in tokens(text).enumerate() {
            if number == MAX_FROM_ADDRESSES {
                found.complete = false;
                break;
            }
            if found.addresses.last() != Some(&address) {
                found.addresses.push(address);
            }
        }
    }
    found
}

/// What cannot be in an address outside of quotes.
fn separates(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "<>(),;:\"[]".contains(character)
}

fn tokens(plain: &str) -> impl Iterator<Item = Address> {
    let candidates = plain.split(separates).filter(|token| token.contains('@'));
    candidates.filter_map(|token| Address::parse(token.trim_matches('\'')))
}

/// The value without comments, and without quoted strings except those that are local parts.
///
/// A comment or quoted string that does not end is none, and neither is any after it: what follows stays.
fn without_comments_and_names(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let (mut comments, mut quotes) = (true, true);
    let mut rest = value;
    while let Some(start) = rest.find(|character| (comments && character == '(') || (quotes && character == '"')) {
        plain.push_str(&rest[..start]);
        let is_comment = rest[start..].starts_with('(');
        let after = &rest[start + 1..];
        let end = if is_comment { end_of_comment(after) } else { end_of_quotes(after) };
        let Some(end) = end else {
            comments &= !is_comment;
            quotes &= is_comment;
            plain.push(' ');
            rest = after;
            continue;
        };
        let (inner, after) = (&after[..end - 1], &after[end..]);
        if !is_comment && after.trim_start().starts_with('@') {
            plain.extend(
                inner
                    .chars()
                    .filter(|&character| character != '\\')
                    .map(|character| if separates(character) || character == '@' { '_' } else { character }),
            );
        } else if !is_comment {
            // A display name; nothing joins across it.
            plain.push(' ');
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// Where the comment that has just begun ends: the index after its closing parenthesis.
fn end_of_comment(text: &str) -> Option<usize> {
    let mut depth = 1_u32;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(index + 1),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Where the quoted string that has just begun ends: the index after its closing quote.
fn end_of_quotes(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// The text without white space next to a dot or an @.
fn close_up(text: &str) -> String {
    let mut closed = String::with_capacity(text.len());
    let mut space = false;
    for character in text.chars() {
        if character.is_whitespace() {
            space = true;
            continue;
        }
        if space && !matches!(character, '.' | '@') && !closed.ends_with(['.', '@']) {
            closed.push(' ');
        }
        space = false;
        closed.push(character);
    }
    closed
}

/// Longest word that is decoded; RFC 2047, 2, allows 75 characters.
const MAX_ENCODED_WORD: usize = 1_000;

/// The value with its encoded words (RFC 2047) decoded, if it has any. White space between two of them is none.
///
/// Word by word, because the parser takes a time that grows with the square of a text's length.
fn decode_words(value: &str) -> Option<String> {
    if !value.contains("=?") {
        return None;
    }
    let mut decoded = String::with_capacity(value.len());
    let mut after_encoded = false;
    for word in value.split_whitespace() {
        let plain =
            Some(word).filter(|word| word.contains("=?") && word.len() <= MAX_ENCODED_WORD).and_then(decode_word);
        if !(after_encoded && plain.is_some()) {
            decoded.push(' ');
        }
        after_encoded = plain.is_some();
        decoded.push_str(plain.as_deref().unwrap_or(word));
    }
    Some(decoded)
}

fn decode_word(word: &str) -> Option<String> {
    let message = format!("Subject: {}\r\n\r\n", word.replace('\0', " "));
    let parsed = MessageParser::new().parse_headers(message.as_bytes())?;
    parsed.subject().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(value: &str) -> Vec<String> {
        addresses(value.as_bytes()).addresses.iter().map(Address::full).collect()
    }

    #[test]
    fn an_address_is_found_however_it_is_written() {
        for value in [
            " alice@customer.test",
            " Alice <Alice@Customer.test>",
            " =?utf-8?Q?Alice_=3Cx=40evil.test=3E?= <alice@customer.test>",
            " \"x@evil.test\" (bob@evil.test) <alice@customer.test>",
            "\r\n Alice\r\n <alice@customer.test>",
            " <alice@customer.test",
            " alice@(work)customer.test",
            " alice(work)@customer.test",
            " (Dave <dave@remote.test>) alice (a (b)) @ (the) customer (dot) . test (end)",
            " \"alice\"@customer.test",
            " \"al\\ice\" @customer.test",
            " Alice [alice@customer.test]",
            " 'alice@customer.test'",
            " <mailto:alice@customer.test>",
            " =?utf-8?Q?alice=40customer.test?=",
            " =?utf-8?Q?alice=40?=\r\n =?utf-8?Q?customer.test?=",
        ] {
            assert_eq!(found(value).last().map(String::as_str), Some("alice@customer.test"), "{value}");
        }
    }

    #[test]
    fn what_is_only_shown_is_no_address() {
        for value in [" \"alice@customer.test\" <x@evil.test>", " (alice@customer.test) x@evil.test"] {
            assert_eq!(found(value), ["x@evil.test"], "{value}");
        }
    }

    #[test]
    fn every_address_of_a_list_or_group_counts() {
        for value in [" x@evil.test, alice@customer.test", " Team: x@evil.test, alice@customer.test;"] {
            assert_eq!(found(value), ["x@evil.test", "alice@customer.test"], "{value}");
        }
        assert!(found(" x <dave@remote.test> alice@customer.test").contains(&"alice@customer.test".into()));
        assert!(found(" <dave@remote.test,alice@customer.test>").contains(&"alice@customer.test".into()));
        assert!(found(" see www. alice@customer.test").contains(&"alice@customer.test".into()));
    }

    #[test]
    fn what_does_not_end_hides_nothing() {
        for value in [
            " (open alice@customer.test",
            " \"open <alice@customer.test>",
            " (open \"quoted\" alice@customer.test",
            " x@evil.test\0, alice@customer.test",
            " x@evil.test,\r\n\r\n alice@customer.test",
            " \"open ( <alice@customer.test>",
        ] {
            assert!(found(value).contains(&"alice@customer.test".into()), "{value}: {:?}", found(value));
        }
    }

    #[test]
    fn a_field_made_to_take_for_ever_does_not() {
        for part in ["(", "\"", "=?a?q?", "=?utf-8?Q?a?= ", "a@", "\"\" ", "() ", "<", ". ", "\\("] {
            addresses(part.repeat(200_000 / part.len()).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn an_address_in_angle_brackets_is_found_behind_any_display_name(name in "[^()\"\\\\<>@=]{0,60}") {
            let found = found(&format!(" {name} <alice@customer.test>"));
            prop_assert!(found.contains(&"alice@customer.test".to_string()));
        }

        #[test]
        fn nothing_makes_the_search_panic(value in "(?s)[\\\\()\"<>@=?. a\u{e9}\r\n\0]{0,80}") {
            found(&value);
        }
    }
}
