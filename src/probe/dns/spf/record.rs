//! One record: its terms, each of which must be right (RFC 7208, section 4.6).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::spf::{Macro, Mechanism, Qualifier, Spf};

/// A record without mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// As published.
    pub text: String,
    /// In order.
    pub terms: Vec<Term>,
}

/// A mechanism or modifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// As published.
    pub text: String,
    /// Whether what it matches may send.
    pub passes: bool,
    /// What it is.
    pub kind: Kind,
}

/// What a term names; a domain is `None` where it is that of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `all`.
    All,
    /// `include:`.
    Include(Domain),
    /// `a`, with the lengths of the prefixes for both families.
    A(Option<Domain>, u8, u8),
    /// `mx`, likewise.
    Mx(Option<Domain>, u8, u8),
    /// `ptr`.
    Ptr,
    /// `ip4:`, `ip6:`.
    Network(IpNet),
    /// `exists:`.
    Exists(Domain),
    /// `redirect=`.
    Redirect(Domain),
    /// Another modifier.
    Other,
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// Lower case, without a dot at its end.
    Name(String),
    /// Depends on the message (RFC 7208, section 7).
    Macro,
}

/// The first term that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// As published.
    pub term: String,
    /// A phrase that follows it.
    pub problem: &'static str,
    /// What was probably meant.
    pub instead: Option<String>,
}

/// Whether a TXT record is an SPF record (RFC 7208, section 4.5).
pub fn is_spf(text: &str) -> bool {
    text.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

/// The mechanism for a network.
pub fn of(network: &IpNet) -> String {
    format!("{}:{}", if network.addr().is_ipv4() { "ip4" } else { "ip6" }, written(network))
}

/// A network; that of a single address as the address.
pub fn written(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

impl Record {
    /// # Errors
    /// The first term that is wrong.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let terms: Vec<Term> =
            text.split(' ').filter(|term| !term.is_empty()).skip(1).map(term).collect::<Result<_, _>>()?;
        let redirects = terms.iter().filter(|term| matches!(term.kind, Kind::Redirect(_)));
        if let Some(second) = redirects.skip(1).last() {
            let problem = "is there more than once";
            return Err(Malformed { term: second.text.clone(), problem, instead: None });
        }
        Ok(Self { text: text.to_owned(), terms })
    }

    /// Where the rest is, if no `all` comes first (RFC 7208, section 6.1).
    pub fn redirect(&self) -> Option<&Domain> {
        self.terms.iter().find_map(|term| match &term.kind {
            Kind::Redirect(domain) => Some(domain),
            _ => None,
        })
    }

    /// The same record with one more mechanism, before all others.
    pub fn with(&self, mechanism: &str) -> String {
        let rest = self.text.split_once(' ').map_or("", |(_, rest)| rest);
        format!("v=spf1 {mechanism} {}", rest.trim()).trim_end().to_owned()
    }
}

fn term(text: &str) -> Result<Term, Malformed> {
    let wrong = |problem, instead: Option<String>| Malformed { term: text.to_owned(), problem, instead };
    let mechanism = text.strip_prefix(['+', '-', '~', '?']).unwrap_or(text);
    let end = mechanism.find([':', '=', '/']).unwrap_or(mechanism.len());
    let (name, rest) = mechanism.split_at(end);
    let value = rest.get(1..).unwrap_or_default();
    let network = |network: Option<IpNet>| {
        let network = network.ok_or_else(|| wrong("has no address or network after its colon", None))?;
        let passes = !text.starts_with(['-', '~', '?']);
        Ok(Term { text: text.to_owned(), passes, kind: Kind::Network(network) })
    };
    match name.to_ascii_lowercase().as_str() {
        // The parser takes what only looks like an address.
        "ip4" if rest.starts_with(':') => {
            let address = value.parse::<Ipv4Addr>().map(Ipv4Net::from).or_else(|_| value.parse()).ok();
            return network(address.map(IpNet::V4));
        }
        "ip6" if rest.starts_with(':') => {
            let address = value.parse::<Ipv6Addr>().map(Ipv6Net::from).or_else(|_| value.parse()).ok();
            return network(address.map(IpNet::V6));
        }
        "all" | "include" | "a" | "mx" | "ptr" | "ip4" | "ip6" | "exists" => {}
        // A modifier; those that are not known are ignored (RFC 7208, section 6).
        _ if rest.starts_with('=') && mechanism == text => {}
        "ip" | "ipv4" | "ipv6" => {
            let family = if value.contains(':') { "ip6" } else { "ip4" };
            return Err(wrong("is no mechanism", Some(format!("{family}:{value}"))));
        }
        _ => return Err(wrong("is no mechanism", None)),
    }
    let parsed = Spf::parse(format!("v=spf1 {text}").as_bytes()).ok().filter(|_| has_possible_lengths(mechanism));
    let parsed = parsed.ok_or_else(|| wrong("is not written as it must be (RFC 7208, 5)", None))?;
    let named = |name: &Macro| domain(name).map_err(|()| wrong("names no domain", None));
    let needed = |name: &Macro| named(name)?.ok_or_else(|| wrong("names no domain", None));
    let Some(directive) = parsed.directives.first() else {
        let kind = match parsed.redirect {
            Some(redirect) => Kind::Redirect(needed(&redirect)?),
            None => Kind::Other,
        };
        return Ok(Term { text: text.to_owned(), passes: false, kind });
    };
    let kind = match &directive.mechanism {
        Mechanism::All => Kind::All,
        Mechanism::Include { macro_string } => Kind::Include(needed(macro_string)?),
        Mechanism::Exists { macro_string } => Kind::Exists(needed(macro_string)?),
        Mechanism::A { macro_string, ip4_mask, ip6_mask } => {
            Kind::A(named(macro_string)?, length(ip4_mask.count_ones()), length(ip6_mask.count_ones()))
        }
        Mechanism::Mx { macro_string, ip4_mask, ip6_mask } => {
            Kind::Mx(named(macro_string)?, length(ip4_mask.count_ones()), length(ip6_mask.count_ones()))
        }
        Mechanism::Ptr { .. } => Kind::Ptr,
        Mechanism::Ip4 { .. } | Mechanism::Ip6 { .. } => {
            return Err(wrong("has no address or network after a colon", None));
        }
    };
    Ok(Term { text: text.to_owned(), passes: directive.qualifier == Qualifier::Pass, kind })
}

/// False if the prefix lengths, `/IPv4` and `//IPv6`, are longer than addresses (RFC 7208, section 5.6), which the parser
/// takes for the length of an address.
fn has_possible_lengths(mechanism: &str) -> bool {
    // A macro may have a slash in it (RFC 7208, section 7.1).
    let end = mechanism.rsplit('}').next().unwrap_or_default();
    let lengths = end.find('/').and_then(|begin| end.get(begin..)).unwrap_or_default();
    let (ip4, ip6) = lengths.split_once("//").unwrap_or((lengths, ""));
    let is_at_most = |length: &str, most: u8| {
        let length = length.trim_start_matches('/');
        length.is_empty() || length.parse::<u8>().is_ok_and(|length| length <= most)
    };
    is_at_most(ip4, 32) && is_at_most(ip6, 128)
}

fn length(ones: u32) -> u8 {
    u8::try_from(ones).unwrap_or(u8::MAX)
}

/// The domain of a term; `None` where it names none.
///
/// # Errors
/// If what it names cannot be one (RFC 7208, section 7.1, `domain-end`).
fn domain(name: &Macro) -> Result<Option<Domain>, ()> {
    let bytes = match name {
        Macro::None => return Ok(None),
        Macro::Variable { .. } | Macro::List(_) => return Ok(Some(Domain::Macro)),
        Macro::Literal(bytes) => bytes,
    };
    let name = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // No top-level domain is a number.
    let top = name.rsplit('.').next().unwrap_or_default();
    let is_name = name.split('.').all(is_label) && top.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_name { Ok(Some(Domain::Name(name.to_owned()))) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(record: &str) -> (String, Option<String>) {
        let wrong = Record::parse(record).unwrap_err();
        (wrong.term, wrong.instead)
    }

    #[test]
    fn terms_are_told_apart() {
        let text = "v=spf1 ip4:192.0.2.0/24 a:Mail.x.test/28 mx//64 include:%{d}.y.test ?exists:z.test redirect=w.test unknown=1";
        let record = Record::parse(text).unwrap();
        let kinds: Vec<&Kind> = record.terms.iter().map(|term| &term.kind).collect();
        let name = |name: &str| Domain::Name(name.into());
        let expected = [
            &Kind::Network("192.0.2.0/24".parse().unwrap()),
            &Kind::A(Some(name("mail.x.test")), 28, 128),
            &Kind::Mx(None, 32, 64),
            &Kind::Include(Domain::Macro),
            &Kind::Exists(name("z.test")),
            &Kind::Redirect(name("w.test")),
            &Kind::Other,
        ];
        assert_eq!(kinds, expected);
        assert_eq!(record.redirect(), Some(&name("w.test")));
    }

    #[test]
    fn the_wrong_term_is_named() {
        for (record, term) in [
            ("v=spf1 mx ip4:192.0.2.300 -all", "ip4:192.0.2.300"),
            ("v=spf1 ip4:192.0.2.0/33", "ip4:192.0.2.0/33"),
            ("v=spf1 ip4:2001:db8::1", "ip4:2001:db8::1"),
            ("v=spf1 ip4=192.0.2.1", "ip4=192.0.2.1"),
            ("v=spf1 include: -all", "include:"),
            ("v=spf1 include:x.testip4:192.0.2.1 -all", "include:x.testip4:192.0.2.1"),
            ("v=spf1 a:192.0.2.1 -all", "a:192.0.2.1"),
            ("v=spf1 inlcude:x.test -all", "inlcude:x.test"),
            ("v=spf1 -all:x", "-all:x"),
            ("v=spf1 a/33", "a/33"),
            ("v=spf1 redirect=a.test redirect=b.test", "redirect=b.test"),
            ("v=spf1 +redirect=a.test", "+redirect=a.test"),
            ("v=spf1 mx, a -all", "mx,"),
        ] {
            assert_eq!(wrong(record).0, term, "{record}");
        }
        assert_eq!(wrong("v=spf1 ip:192.0.2.1").1.as_deref(), Some("ip4:192.0.2.1"));
    }
}
