//! Our values as sendmail.mc and sendmail.cf take them.
//!
//! Both languages have no way to write every text: m4 has quotes without an escape, and expands any word that is the name
//! of a macro; sendmail.cf expands `$`. So only harmless characters are let through, and every word is quoted.

use std::net::IpAddr;
use std::path::Path;

use super::Error;
use crate::config::Socket;

/// A path.
///
/// # Errors
/// If it has a character that could mean anything to m4 or Sendmail.
pub fn path(what: &'static str, path: &Path) -> Result<String, Error> {
    let harmless = |character: char| character.is_ascii_alphanumeric() || "/._-+~".contains(character);
    match path.to_str() {
        Some(text) if text.starts_with('/') && text.chars().all(harmless) => Ok(text.to_owned()),
        _ => Err(Error::Value { what, value: path.to_string_lossy().into_owned() }),
    }
}

/// The name of a host.
///
/// # Errors
/// If it is not one.
pub fn host_name(what: &'static str, name: &str) -> Result<String, Error> {
    let harmless = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    if name.is_empty() || !name.chars().all(harmless) {
        return Err(Error::Value { what, value: name.to_owned() });
    }
    Ok(name.to_ascii_lowercase())
}

/// A host in brackets, which keep Sendmail from looking up MX records: `[mail.example.com]`, `[192.0.2.1]`,
/// `[IPv6:2001:db8::1]`.
///
/// # Errors
/// If it is neither a name nor an address.
pub fn bracketed(what: &'static str, host: &str) -> Result<String, Error> {
    match host.parse() {
        Ok(IpAddr::V4(address)) => Ok(format!("[{address}]")),
        Ok(IpAddr::V6(address)) => Ok(format!("[IPv6:{address}]")),
        Err(_) => Ok(format!("[{}]", host_name(what, host)?)),
    }
}

/// A socket to connect to, as milter equates and socketmaps have it.
///
/// # Errors
/// If its path cannot be written.
pub fn socket(what: &'static str, socket: &Socket) -> Result<String, Error> {
    Ok(match socket {
        Socket::Unix(file) => format!("unix:{}", path(what, file)?),
        Socket::Inet(IpAddr::V4(address), port) if address.is_unspecified() => format!("inet:{port}@127.0.0.1"),
        Socket::Inet(IpAddr::V4(address), port) => format!("inet:{port}@{address}"),
        Socket::Inet(IpAddr::V6(address), port) if address.is_unspecified() => format!("inet6:{port}@::1"),
        Socket::Inet(IpAddr::V6(address), port) => format!("inet6:{port}@{address}"),
    })
}

/// Lines of sendmail.cf as m4 text that gives exactly them, whatever macros m4 knows.
pub fn literal(lines: &str) -> String {
    lines.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("`{line}'\n") }).collect()
}

/// A definition of one of Sendmail's m4 macros. The value is quoted twice, for m4 reads it again where it is used.
pub fn define(name: &str, value: &str) -> String {
    format!("define(`{name}', ``{value}'')dnl\n")
}
