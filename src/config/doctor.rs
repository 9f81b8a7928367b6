//! Section `[doctor]`: what the records of the hosted domains are to hold, where the provider does not say.

use ipnet::IpNet;

use super::reader::Reader;
use super::{keys, notation};

/// What `doctor` cannot know by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doctor {
    /// `doctor.spf_include`: domains that the SPF records must include, such as the relay's; none by default.
    pub spf_include: Vec<String>,
    /// `doctor.direct_addresses`: public addresses from which exempt mail leaves the site; empty means that of this
    /// host.
    pub direct_addresses: Vec<IpNet>,
    /// `doctor.dkim_selectors`: selectors of which every hosted domain must have a key; none by default.
    pub dkim_selectors: Vec<String>,
    /// `doctor.ownership_txt`: values of which every hosted domain must publish one as a TXT record; none by default.
    pub ownership_txt: Vec<String>,
}

/// Asks for every key of the section.
pub fn read(reader: &mut Reader) -> Doctor {
    Doctor {
        spf_include: keys::plain(reader.strings("doctor.spf_include", r#"["_spf.example.com"]"#, host_name)),
        direct_addresses: keys::plain(reader.strings(
            "doctor.direct_addresses",
            r#"["192.0.2.25", "2001:db8::25"]"#,
            notation::network,
        )),
        dkim_selectors: keys::plain(reader.strings("doctor.dkim_selectors", r#"["mail2026"]"#, selector)),
        ownership_txt: keys::plain(reader.string_or_strings(
            "doctor.ownership_txt",
            r#""example-verification=1234""#,
            text,
        )),
    }
}

/// Labels of letters, digits, hyphens and underscores, in lower case.
fn labels(written: &str) -> Option<String> {
    let name = written.strip_suffix('.').unwrap_or(written);
    let is_label = |label: &str| {
        let in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(in_label)
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

/// A name with TXT records; beginning with an underscore more often than not.
fn host_name(written: &str) -> Result<String, String> {
    labels(written)
        .filter(|name| name.contains('.'))
        .ok_or_else(|| "is not a domain; write a name such as \"_spf.example.com\", without \"include:\"".into())
}

/// A selector (RFC 6376, section 3.1).
fn selector(written: &str) -> Result<String, String> {
    labels(written).filter(|name| !name.contains("_domainkey")).ok_or_else(|| {
        "is not a selector; write the part of the record's name before \"._domainkey\", such as \"mail2026\"".into()
    })
}

fn text(written: &str) -> Result<String, String> {
    if written.trim().is_empty() || written.len() > 1024 || written.chars().any(char::is_control) {
        return Err("is not the text of a record; write it as the provider gives it, without quotes around it".into());
    }
    Ok(written.trim().to_owned())
}
