//! How domains, networks, sockets and the like are written in the configuration.
//!
//! Every function takes a value as written and gives it back checked and in one form, or says what is wrong and what
//! to write instead, as a phrase that follows the quoted value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use ipnet::IpNet;

use super::Socket;

/// The longest path of a unix socket on Linux, in bytes (`sun_path` less its NUL, unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The longest local part, in octets (RFC 5321, section 4.5.3.1.1).
const LOCAL_PART_MAX: usize = 64;

/// The longest name that Sendmail tells of a certificate, in bytes (`MAXNAME` less its NUL); it cuts off the rest.
const SUBJECT_MAX: usize = 254;

/// A domain name (RFC 5321, section 2.3.5): lower case, A-labels, no dot at its end.
pub fn domain(written: &str) -> Result<String, String> {
    const WRONG: &str = "is not a domain; write a name such as \"example.com\"";
    if literal(written).is_some() {
        return Err("is an address; write a domain such as \"example.com\"".into());
    }
    let name = written.strip_suffix('.').unwrap_or(written);
    let name = Uts46::new()
        .to_ascii(name.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| WRONG)?;
    let top = name.rsplit('.').next().unwrap_or_default();
    // No top-level domain is a number, but malformed addresses end in one.
    if top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG.into());
    }
    Ok(name.into_owned())
}

/// A hosted domain: one with at least two labels.
pub fn hosted_domain(written: &str) -> Result<String, String> {
    if let Some((_, host)) = written.rsplit_once('@') {
        return Err(match domain(host) {
            Ok(domain) => format!("is an address; write the domain alone: \"{domain}\""),
            Err(_) => "is not a domain; write a name such as \"example.com\"".into(),
        });
    }
    if let Some(Ok(domain)) = written.strip_prefix("*.").or_else(|| written.strip_prefix('.')).map(domain) {
        return Err(format!("names many domains; write each domain by itself, as \"{domain}\""));
    }
    let domain = domain(written)?;
    if domain.contains('.') {
        Ok(domain)
    } else {
        Err("is a single label; write the whole domain, such as \"example.com\"".into())
    }
}

/// A network in CIDR notation, or one address.
pub fn network(written: &str) -> Result<IpNet, String> {
    let network = match written.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => written.parse().map_err(
            |_| "is not a network; write one such as \"192.0.2.0/24\" or \"2001:db8::/32\", or a single address",
        )?,
    };
    if network.prefix_len() == 0 {
        return Err("is every address there is; write the networks that are meant".into());
    }
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
    {
        return Err(format!("is IPv4 in IPv6 form, which never matches; write \"{v4}/{length}\""));
    }
    if network != network.trunc() {
        return Err(format!(
            "has host bits set; write \"{}\" for the network or \"{}\" for the one address",
            network.trunc(),
            network.addr()
        ));
    }
    Ok(network)
}

/// A listening socket.
pub fn socket(written: &str) -> Result<Socket, String> {
    if written.starts_with('/') {
        return unix(written).map(Socket::Unix);
    }
    match written.split_once(':') {
        Some(("unix" | "local", path)) => unix(path).map(Socket::Unix),
        Some(("inet", rest)) => inet(rest, Ipv4Addr::LOCALHOST.into()),
        Some(("inet6", rest)) => inet(rest, Ipv6Addr::LOCALHOST.into()),
        _ => Err("is not a socket; write \"unix:/path\", \"inet:host:port\" or \"inet:port@host\"".into()),
    }
}

fn unix(path: &str) -> Result<PathBuf, String> {
    if !Path::new(path).is_absolute() {
        return Err("is not an absolute path; write one such as \"unix:/var/spool/postfix/conbool/milter.sock\" \
                    (Postfix leaves out its queue directory, the daemon needs it)"
            .into());
    }
    if path.ends_with('/') || path.chars().any(char::is_control) {
        return Err("is not the path of a socket; write one such as \"unix:/run/conbool-milter/milter.sock\"".into());
    }
    if path.len() > SOCKET_PATH_MAX {
        return Err(format!("is {} bytes long; a socket's path has at most {SOCKET_PATH_MAX}", path.len()));
    }
    Ok(PathBuf::from(path))
}

/// What follows `inet:` or `inet6:`. `loopback` is the host if none is given, or the one that `localhost` names.
fn inet(written: &str, loopback: IpAddr) -> Result<Socket, String> {
    let (host, number) = match (written.split_once('@'), written.rsplit_once(':')) {
        (Some((number, host)), _) => (Some(host), number),
        (None, Some((host, number))) => {
            if host.contains(':') && !host.starts_with('[') {
                return Err("is ambiguous; write an IPv6 address in brackets: \"inet:[::1]:8891\"".into());
            }
            (Some(host), number)
        }
        (None, None) => (None, written),
    };
    let address = match host {
        None | Some("localhost") => loopback,
        Some(host) => unbracketed(host).parse().map_err(
            |_| "does not name its host by address; write an IP address or localhost, such as \"inet:127.0.0.1:8891\"",
        )?,
    };
    if loopback.is_ipv6() && address.is_ipv4() {
        return Err("has an IPv4 address; write \"inet:\" before it".into());
    }
    let port = port(number).ok_or("has no port from 1 to 65535; write one such as \"inet:127.0.0.1:8891\"")?;
    Ok(Socket::Inet(address, port))
}

/// The name or address of a host, without a port.
pub fn host(written: &str) -> Result<String, String> {
    if let Ok(address) = written.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if written.starts_with('[') || written.contains(':') {
        return Err("is more than a host; write the name alone, without brackets, and the port as relay.port".into());
    }
    domain(written).map_err(|_| "is not a host; write a name such as \"mail.example.com\"".into())
}

/// A next hop in Postfix notation (transport(5), `smtp` delivery agent): `host`, `host:port`, `[host]`,
/// `[host]:port`, where brackets mean no MX look-up and an address stands in brackets.
pub fn next_hop(written: &str) -> Result<String, String> {
    const WRONG: &str = "is not a next hop; write one such as \"[mail.example.com]:25\"";
    let (host, service, bracketed) = match written.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, ""))) => (host, None, true),
        Some(Some((host, rest))) => (host, Some(rest.strip_prefix(':').ok_or(WRONG)?), true),
        Some(None) => return Err(WRONG.into()),
        None if written.parse::<IpAddr>().is_ok() => {
            return Err(format!("is an address; write it in brackets: \"[{written}]\""));
        }
        None => match written.split_once(':') {
            Some((host, service)) => (host, Some(service), false),
            None => (written, None, false),
        },
    };
    let address = if bracketed { literal(host) } else { None };
    let host = match address {
        Some(_) => host.to_ascii_lowercase(),
        None if host.parse::<IpAddr>().is_ok() => return Err(WRONG.into()),
        None => domain(host).map_err(|_| WRONG)?,
    };
    if let Some(service) = service {
        let named = service.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && service.bytes().any(|byte| byte.is_ascii_alphabetic());
        if !named && port(service).is_none() {
            return Err("has no port from 1 to 65535; write one such as \"[mail.example.com]:25\"".into());
        }
    }
    let service = service.map(|service| format!(":{service}")).unwrap_or_default();
    Ok(if bracketed { format!("[{host}]{service}") } else { format!("{host}{service}") })
}

/// The name of an MX host, or `*.` and a domain for all names below it.
pub fn mx_host(written: &str) -> Result<String, String> {
    let (star, name) = written.strip_prefix("*.").map_or(("", written), |name| ("*.", name));
    let name = domain(name).ok().filter(|name| name.contains('.'));
    let name =
        name.ok_or("is not the name of a host; write \"mx.example.net\", or \"*.example.net\" for all below it")?;
    Ok(format!("{star}{name}"))
}

/// A recipient: an address, or its local part for all hosted domains. Lower case, domain in A-label form.
pub fn recipient(written: &str) -> Result<String, String> {
    if written.contains('@') {
        return sender(written);
    }
    let address = sender(&format!("{written}@example.com")).ok();
    let local_part = address.as_deref().and_then(|address| address.strip_suffix("@example.com"));
    local_part.filter(|local_part| !local_part.is_empty()).map(str::to_owned).ok_or_else(|| {
        "is no recipient; write \"postmaster\" for that of every hosted domain, or an address such as \
         \"postmaster@example.com\""
            .to_owned()
    })
}

/// A sender in scope: an address, or `@domain` for all of a domain. Lower case, domain in A-label form.
pub fn sender(written: &str) -> Result<String, String> {
    let Some((local, host)) = written.rsplit_once('@') else {
        return Err(match hosted_domain(written) {
            Ok(domain) => format!("is no address; write \"@{domain}\" for all senders of that domain"),
            Err(_) => "is no address; write \"alice@example.com\", or \"@example.com\" for a whole domain".into(),
        });
    };
    let host = domain(host).map_err(|_| format!("has no domain after its \"@\": \"{host}\" is none"))?;
    // dot-string with RFC 6531's letters; a quoted local part is not worth its ambiguity.
    let atom =
        |letter: char| !letter.is_ascii() || letter.is_ascii_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(letter);
    if local.len() > LOCAL_PART_MAX || !local.chars().all(|letter| atom(letter) && !letter.is_control()) {
        return Err(format!(
            "has no mailbox before its \"@\"; write an address such as \"alice@{host}\", without quotes or spaces, \
             with at most {LOCAL_PART_MAX} bytes before the \"@\""
        ));
    }
    Ok(format!("{}@{host}", local.to_lowercase()))
}

/// The name of an entry in a directory (RFC 4514), as written. Only servers know how names compare, so only the outer
/// form is looked at: it must begin with an attribute and a value.
///
/// # Errors
/// What to write instead.
pub fn entry_name(written: &str) -> Result<String, String> {
    let (attribute, value) = written.split_once('=').unwrap_or_default();
    let in_type = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let is_type = !attribute.is_empty() && attribute.bytes().all(in_type);
    if !is_type || value.is_empty() || written.trim() != written || written.chars().any(char::is_control) {
        return Err("is not the name of an entry; write one such as \"dc=example,dc=com\"".into());
    }
    Ok(written.to_owned())
}

/// A name in a certificate, in its own spelling: the CN, or the whole distinguished name, which begins with a slash.
pub fn certificate_name(written: &str) -> Result<String, String> {
    if written.trim() != written || written.is_empty() || written.chars().any(char::is_control) {
        return Err("is not a certificate's name; write one such as \"mail.example.com\"".into());
    }
    let is_part =
        |part: &str| part.split_once('=').is_some_and(|(kind, _)| kind.bytes().all(|b| b.is_ascii_alphanumeric()));
    if let Some(first) = written.strip_prefix('/')
        && !is_part(first)
    {
        return Err(
            "is not a whole name as Sendmail tells it; write one such as \"/O=Example/CN=mail.example.com\"".into()
        );
    }
    if written.len() > SUBJECT_MAX {
        return Err(format!("is longer than the {SUBJECT_MAX} bytes that mail servers tell of a certificate's name"));
    }
    Ok(written.to_owned())
}

/// The permission bits of a unix socket.
pub fn socket_mode(written: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&written.len()) && written.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(written, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err("is not a mode; write octal permission bits from \"0000\" to \"0777\", such as \"0660\"".into()),
    }
}

/// A TCP port from 1 to 65535.
pub fn port(written: &str) -> Option<u16> {
    let digits = written.bytes().all(|byte| byte.is_ascii_digit());
    written.parse().ok().filter(|port| digits && *port > 0)
}

/// An IP address, with or without the `IPv6:` of an address literal (RFC 5321, section 4.1.3) and brackets.
fn literal(written: &str) -> Option<IpAddr> {
    let inner = unbracketed(written);
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => inner.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => inner.parse().ok(),
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
