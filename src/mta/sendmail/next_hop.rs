//! `direct.next_hop`, which is written as Postfix has it, in Sendmail's words.

use std::net::IpAddr;

use super::{Error, value};

const WHAT: &str = "direct.next_hop";

/// Where a mailer delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// The host: in brackets one whose MX records do not count.
    pub host: String,
    /// The TCP port, or the service's name.
    pub port: String,
}

/// Reads `host`, `host:port`, `[host]`, `[host]:port`.
///
/// # Errors
/// [`Error::Value`].
pub fn parse(written: &str) -> Result<NextHop, Error> {
    let wrong = || Error::Value { what: WHAT, value: written.to_owned() };
    let (host, port) = match written.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            let tagged = host.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
            let host = if tagged { &host[5..] } else { host };
            (value::bracketed(WHAT, host)?, port.strip_prefix(':'))
        }
        None => match written.split_once(':') {
            Some((host, port)) => (value::host_name(WHAT, host)?, Some(port)),
            None => (value::host_name(WHAT, written)?, None),
        },
    };
    if host.parse::<IpAddr>().is_ok() {
        return Err(wrong());
    }
    let port = port.unwrap_or("25");
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(wrong());
    }
    Ok(NextHop { host, port: port.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_sendmails_words() {
        for (written, host, port) in [
            ("[smart.isp.test]:587", "[smart.isp.test]", "587"),
            ("[192.0.2.1]", "[192.0.2.1]", "25"),
            ("[ipv6:2001:db8::1]:submission", "[IPv6:2001:db8::1]", "submission"),
            ("[2001:db8::1]", "[IPv6:2001:db8::1]", "25"),
            ("isp.test", "isp.test", "25"),
            ("isp.test:26", "isp.test", "26"),
        ] {
            assert_eq!(parse(written), Ok(NextHop { host: host.to_owned(), port: port.to_owned() }), "{written}");
        }
        for written in ["", "[", "[]", "[a", "192.0.2.1", "a:", "a:2 5", "a$b", "[a`b]"] {
            assert!(parse(written).is_err(), "{written}");
        }
    }
}
