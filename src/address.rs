//! Mail addresses as policy compares them (RFC 5321, 4.1.2; RFC 5322, 3.4.1).

mod set;
mod share;

use std::borrow::Cow;

pub use set::AddressSet;
pub use share::Share;

/// The form in which domains are compared: lower case, A-labels (RFC 5890), no trailing dot.
///
/// A name that IDNA refuses is only lower-cased, so that it can never equal a hosted domain by accident; so is one of
/// more than 1012 bytes, which is more than 253 characters (RFC 1035, 2.3.4) can be in UTF-8.
pub fn normalize_domain(domain: &str) -> String {
    const MAX_DOMAIN: usize = 4 * 253;
    let domain = domain.trim_end_matches('.');
    if domain.is_ascii() {
        return domain.to_ascii_lowercase();
    }
    if domain.len() > MAX_DOMAIN {
        return domain.to_lowercase();
    }
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase())
}

/// The address that Sendmail makes of one without `@`: `domain!user` and `user%domain` are `user@domain` to it (ruleset
/// 3; cf/README, "nouucp"). Every other one stays as it is.
pub fn with_at_sign(text: &str) -> Cow<'_, str> {
    if text.contains(['@', '"']) {
        return text.into();
    }
    let bang = text.split_once('!').map(|(domain, user)| (user, domain));
    match bang.or_else(|| text.rsplit_once('%')) {
        Some((user, domain)) => format!("{user}@{domain}").into(),
        None => text.into(),
    }
}

/// A mailbox address, normalised for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    local_part: String,
    domain: String,
}

impl Address {
    /// Reads an address with or without angle brackets, source route (RFC 5321, appendix F.2) and quotes.
    ///
    /// Returns `None` for the null sender and for anything without a domain.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('<').unwrap_or(text);
        let text = text.strip_suffix('>').unwrap_or(text);
        let (local_part, domain) = text.rsplit_once('@')?;
        // A source route comes before the mailbox: @a.example,@b.example:user@c.example
        let local_part = match local_part.rsplit_once(':') {
            Some((route, mailbox)) if route.starts_with('@') => mailbox,
            _ => local_part,
        };
        let (local_part, domain) = (unquote(local_part.trim()), bare_domain(domain));
        (!domain.is_empty()).then(|| Self { local_part: local_part.to_lowercase(), domain: normalize_domain(&domain) })
    }

    /// The local part, lower case, unquoted.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The domain, in the form of [`normalize_domain`].
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `local-part@domain`, lower case, unquoted.
    pub fn full(&self) -> String {
        format!("{}@{}", self.local_part, self.domain)
    }

    /// The local part without a `+` extension (RFC 5233's detail part); `None` if it has none.
    pub fn user(&self) -> Option<&str> {
        self.local_part.split_once('+').map(|(user, _)| user).filter(|user| !user.is_empty())
    }
}

/// A domain without quotes, backslashes, comments and white space: Postfix takes them, and delivers as if they were not
/// there.
fn bare_domain(domain: &str) -> Cow<'_, str> {
    let is_bare = |character: char| !"\"\\() \t\r\n".contains(character);
    if domain.chars().all(is_bare) {
        return Cow::Borrowed(domain);
    }
    let mut depth = 0_u32;
    let mut bare = String::with_capacity(domain.len());
    for character in domain.chars() {
        match character {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            // What does not match is kept, so that it is no domain.
            ')' => bare.push(character),
            character if depth == 0 && is_bare(character) => bare.push(character),
            _ => {}
        }
    }
    Cow::Owned(bare)
}

/// A local part without the quotes and backslashes that do not belong to it (RFC 5321, 4.1.2).
fn unquote(local_part: &str) -> Cow<'_, str> {
    let Some(inner) = local_part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(local_part);
    };
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(character);
            escaped = false;
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sendmail_reads_addresses_without_an_at_sign() {
        for (text, address) in [
            ("customer.test!alice", "alice@customer.test"),
            ("customer.test!remote.test!alice", "remote.test!alice@customer.test"),
            ("alice%customer.test", "alice@customer.test"),
            ("alice%second.test%customer.test", "alice%second.test@customer.test"),
            ("alice%remote.test@customer.test", "alice%remote.test@customer.test"),
            ("\"a!b\"", "\"a!b\""),
            ("alice", "alice"),
            ("", ""),
        ] {
            assert_eq!(with_at_sign(text), address);
        }
    }

    #[test]
    fn every_way_to_write_an_address_gives_the_same_one() {
        for text in [
            "alice@customer.test",
            "<Alice@CUSTOMER.test>",
            "<@relay.test:alice@customer.test>",
            "<@a.test,@b.test:alice@customer.test.>",
            "\"alice\"@customer.test",
            "\"al\\ice\"@customer.test",
            " alice@customer.test ",
            "alice@\"customer.test\"",
            "alice@customer(comment).test",
            "alice@ customer . test",
        ] {
            assert_eq!(
                Address::parse(text).map(|address| address.full()).as_deref(),
                Some("alice@customer.test"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_null_sender_and_bare_names_are_no_addresses() {
        for text in ["", "<>", "postmaster", "<root>", "alice@", "<alice@>"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn international_domains_compare_in_a_label_form() {
        let address = Address::parse("info@BÜCHER.example").map(|address| address.full());
        assert_eq!(address.as_deref(), Some("info@xn--bcher-kva.example"));
    }
}
