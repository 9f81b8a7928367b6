//! A policy request: the attributes that matter, of those that Postfix sends (SMTPD_POLICY_README).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use crate::case::Client;

/// What Postfix asks about.
#[derive(Debug)]
pub struct Request {
    /// How far the SMTP session is.
    pub state: State,
    /// The SMTP client. That the certificate it is named by was verified is not promised.
    pub client: Client,
    /// Envelope sender; empty is the null sender.
    pub sender: String,
    /// The recipient; empty if there is none yet, or more than one.
    pub recipient: String,
}

/// How far the SMTP session is: `protocol_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No transaction has begun, or the command is none of one (VRFY, ETRN).
    BeforeMail,
    /// RCPT: one recipient is asked about.
    Recipient,
    /// MAIL, or DATA and what follows it.
    Transaction,
}

/// Why something is no policy request.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It does not end, or is longer than any request.
    Incomplete,
    /// A line without `=`.
    NoAttribute,
    /// An attribute is there twice.
    Twice(String),
    /// An attribute is missing without which no decision is safe.
    Missing(&'static str),
    /// It asks for something else: the value of `request`.
    OtherService(String),
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => formatter.write_str("the request does not end, or is too long"),
            Self::NoAttribute => formatter.write_str("a line is no attribute (name=value)"),
            Self::Twice(name) => write!(formatter, "the attribute {name} is there twice"),
            Self::Missing(name) => write!(formatter, "the attribute {name} is missing"),
            Self::OtherService(service) => write!(formatter, "request={service} is not smtpd_access_policy"),
        }
    }
}

/// The attributes that are looked at.
const KNOWN: [&str; 8] = [
    "request",
    "protocol_state",
    "client_address",
    "encryption_protocol",
    "ccert_subject",
    "sasl_username",
    "sender",
    "recipient",
];

impl Request {
    /// Reads a request: lines of `name=value`, each but the last with its line feed. Attributes that are not known are
    /// left out of account, so that those of later releases do no harm.
    ///
    /// # Errors
    /// When it is none, or does not tell who the client is.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut values: [Cow<'_, str>; KNOWN.len()] = Default::default();
        let mut seen = HashSet::new();
        for line in text.split(|byte| *byte == b'\n') {
            let equals = memchr::memchr(b'=', line).ok_or(Malformed::NoAttribute)?;
            let (name, value) = (&line[..equals], &line[equals + 1..]);
            if let Some(number) = KNOWN.iter().position(|known| known.as_bytes() == name) {
                if !seen.insert(number) {
                    return Err(Malformed::Twice(KNOWN[number].into()));
                }
                values[number] = String::from_utf8_lossy(value);
            }
        }
        if let Some(missing) = (0..3).find(|number| !seen.contains(number)) {
            return Err(Malformed::Missing(KNOWN[missing]));
        }
        let [request, state, address, tls, certificate, user, sender, recipient] = values;
        if request != "smtpd_access_policy" {
            return Err(Malformed::OtherService(request.into_owned()));
        }
        let told = |value: Cow<'_, str>| (!value.is_empty()).then(|| value.into_owned());
        let tls_version = told(tls);
        Ok(Self {
            state: match &*state {
                "RCPT" => State::Recipient,
                "MAIL" | "DATA" | "END-OF-MESSAGE" => State::Transaction,
                _ => State::BeforeMail,
            },
            client: Client {
                address: address.parse().ok(),
                certificate_subject: None,
                certificate: tls_version.as_ref().and_then(|_| told(from_xtext(&certificate))),
                tls_version,
                authenticated: told(user),
                listener: None,
            },
            sender: sender.into_owned(),
            recipient: recipient.into_owned(),
        })
    }
}

/// Certificate names come as xtext (RFC 3461, 4): `+` and two hexadecimal digits for a byte.
fn from_xtext(text: &str) -> Cow<'_, str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'+').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n";

    fn parse(more: &str) -> Result<Request, Malformed> {
        Request::parse(format!("{LEAST}{more}").trim_end_matches('\n').as_bytes())
    }

    #[test]
    fn the_attributes_that_matter_are_read_and_others_left_alone() {
        let request = parse(
            "sender=alice@customer.test\nrecipient=bob@remote.test\nencryption_protocol=TLSv1.3\n\
             ccert_subject=relay+2Bone.test\nsasl_username=\nfuture=\nstress=yes\n=\n",
        )
        .unwrap();
        assert_eq!(request.state, State::Recipient);
        assert_eq!(request.client.address, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(request.client.tls_version.as_deref(), Some("TLSv1.3"));
        assert_eq!(request.client.certificate.as_deref(), Some("relay+one.test"));
        assert_eq!(request.client.authenticated, None);
        assert_eq!((request.sender.as_str(), request.recipient.as_str()), ("alice@customer.test", "bob@remote.test"));
    }

    #[test]
    fn values_may_hold_anything_but_line_feeds() {
        let request = parse("sender=a=b\\c@customer.test\nrecipient=\u{fc}@remote.test").unwrap();
        assert_eq!(
            (request.sender.as_str(), request.recipient.as_str()),
            ("a=b\\c@customer.test", "\u{fc}@remote.test")
        );
        let mut bytes = format!("{LEAST}sender=").into_bytes();
        bytes.extend([0xff, 0]);
        assert_eq!(Request::parse(&bytes).unwrap().sender, "\u{fffd}\0");
    }

    #[test]
    fn a_certificate_without_tls_is_none() {
        assert_eq!(parse("ccert_subject=relay.test\nencryption_protocol=").unwrap().client.certificate, None);
    }

    #[test]
    fn an_address_that_is_none_is_nobodys() {
        let text = LEAST.replace("192.0.2.1", "unknown");
        assert_eq!(Request::parse(text.trim_end().as_bytes()).unwrap().client.address, None);
    }

    #[test]
    fn what_is_no_request_is_told() {
        let problem = |text: &str| Request::parse(text.trim_end().as_bytes()).unwrap_err();
        for none in ["garbage", "", "GET / HTTP/1.1\r"] {
            assert_eq!(problem(none), Malformed::NoAttribute, "{none}");
        }
        let twice = format!("{LEAST}client_address=10.0.0.1");
        assert_eq!(problem(&twice), Malformed::Twice("client_address".into()));
        assert_eq!(problem("request=smtpd_access_policy"), Malformed::Missing("protocol_state"));
        let other = LEAST.replace("smtpd_access_policy", "junk");
        assert_eq!(problem(&other), Malformed::OtherService("junk".into()));
    }
}
