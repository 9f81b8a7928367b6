//! Section `[edge]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::keys::{WEEK, plain};
use super::reader::Reader;
use super::{files, notation};

/// Name of the edge's Postfix instance, if `edge.instance` does not give another.
pub const DEFAULT_INSTANCE: &str = "postfix-conbool";

/// What `edge.instance` says of a host that has no other Postfix, as postmulti(1) names the primary instance.
pub const ONLY_INSTANCE: &str = "-";

const INNER: &str = r#""[inner.example.com]:25""#;
const NETWORKS: &str = r#"["192.0.2.10"]"#;
const PEM: &str = r#""/etc/conbool-milter/edge.pem""#;
const FINGERPRINTS: &str = r#"["9E:C5:…"], as `openssl x509 -fingerprint -sha256` prints it"#;

/// A Postfix instance of its own as the smart host of a mail server that has no milter: the inner server.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// `edge.inner`: next hop of mail for the hosted domains, in Postfix notation.
    pub inner: String,
    /// `edge.inner_networks`: addresses of the inner server, not empty; they are internal networks too.
    pub inner_networks: Vec<IpNet>,
    /// `edge.certificate`: PEM file with the certificate (and chain) that the edge shows to its clients.
    pub certificate: PathBuf,
    /// `edge.key`: PEM file with its key.
    pub key: PathBuf,
    /// `edge.instance`: name of the Postfix instance, or [`ONLY_INSTANCE`].
    pub instance: String,
    /// `edge.myhostname`: the edge's own name; `None` means what Postfix finds out.
    pub myhostname: Option<String>,
    /// `edge.listen`: addresses on which the edge takes mail; empty means all.
    pub listen: Vec<IpAddr>,
    /// `edge.listen_port`: where it takes mail, default 25.
    pub listen_port: u16,
    /// `edge.split_port`: the first of two consecutive ports for the split listeners, default 25037.
    pub split_port: u16,
    /// `edge.require_tls`: whether the inner server must use TLS, default true.
    pub require_tls: bool,
    /// `edge.authentication`: how the inner server proves to be it.
    pub authentication: Authentication,
    /// `edge.fingerprints`: SHA-256 fingerprints of its client certificates, upper-case hexadecimal with colons.
    pub fingerprints: Vec<String>,
    /// `edge.inner_tls`: TLS on the way to the inner server.
    pub inner_tls: InnerTls,
    /// `edge.inner_tls_name`: name that its certificate must carry; `None` means the host of `edge.inner`.
    pub inner_tls_name: Option<String>,
    /// `edge.inner_fingerprints`: SHA-256 fingerprints of its server certificates.
    pub inner_fingerprints: Vec<String>,
    /// `edge.inner_ca_file`: trust anchors for that certificate; `None` means the system's.
    pub inner_ca_file: Option<PathBuf>,
    /// `edge.verify_recipients`: how the edge knows that a recipient exists.
    pub verify_recipients: VerifyRecipients,
    /// `edge.recipient_table`: a Postfix look-up table, `type:name`, of all recipients.
    pub recipient_table: Option<String>,
    /// `edge.open`: whether the world may deliver to hosted domains, default false.
    pub open: bool,
    /// `edge.queue_lifetime`: how long mail waits for either side, in seconds, default 5 days.
    pub queue_lifetime: Duration,
    /// `edge.message_size_limit`: in bytes, default 100 MiB.
    pub message_size_limit: u64,
}

/// How the inner server proves to be it, besides its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// By nothing else.
    Address,
    /// By a password (SASL).
    Password,
    /// By a client certificate.
    Certificate,
}

/// TLS on the way to the inner server (postconf(5), smtp_tls_security_level).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InnerTls {
    /// Where it offers TLS.
    May,
    /// Always, whatever its certificate.
    Encrypt,
    /// Always, with a certificate that carries the name.
    Secure,
    /// Always, with a certificate of a known fingerprint.
    Fingerprint,
}

/// How the edge knows that a recipient exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyRecipients {
    /// It asks the inner server (ADDRESS_VERIFICATION_README).
    Inner,
    /// By a table.
    List,
    /// Not at all.
    None,
}

impl Edge {
    /// True if the edge is the host's only Postfix.
    pub fn is_only_instance(&self) -> bool {
        self.instance == ONLY_INSTANCE
    }

    /// Where the configuration of its instance lies, unless `postfix.config_directory` says otherwise.
    pub(super) fn default_directory(&self) -> PathBuf {
        let name = if self.is_only_instance() { "postfix" } else { &self.instance };
        Path::new("/etc").join(name)
    }
}

/// Asks `reader` for the section's keys; `None` if the file has no such section. `relay` are the relay's networks.
pub fn read(reader: &mut Reader, folder: &Path, relay: &[IpNet]) -> Option<Edge> {
    let authentications = [
        ("address", Authentication::Address),
        ("password", Authentication::Password),
        ("certificate", Authentication::Certificate),
    ];
    let levels = [
        ("may", InnerTls::May),
        ("encrypt", InnerTls::Encrypt),
        ("secure", InnerTls::Secure),
        ("fingerprint", InnerTls::Fingerprint),
    ];
    let verifications =
        [("inner", VerifyRecipients::Inner), ("list", VerifyRecipients::List), ("none", VerifyRecipients::None)];
    let file = |written: &str| files::present(folder, written);
    let networks = reader.strings("edge.inner_networks", NETWORKS, notation::network).unwrap_or_default();
    super::keys::disjoint(reader, "edge.inner_networks", relay, &networks);
    let mut port = |key, most, default| {
        let port = reader.integer(key, 1..=most, "TCP port");
        port.and_then(|port| u16::try_from(port).ok()).unwrap_or(default)
    };
    let (listener, split_port) = (port("edge.listen_port", 65535, 25), port("edge.split_port", 65534, 25037));
    let lifetime = reader.integer("edge.queue_lifetime", 3600..=4 * WEEK, "seconds");
    let edge = Edge {
        inner: reader.string("edge.inner", INNER, notation::next_hop).unwrap_or_default(),
        inner_networks: plain(Some(networks)),
        certificate: reader.string("edge.certificate", PEM, file).unwrap_or_default(),
        key: reader.string("edge.key", PEM, file).unwrap_or_default(),
        instance: reader
            .string("edge.instance", r#""postfix-conbool""#, instance)
            .unwrap_or_else(|| DEFAULT_INSTANCE.into()),
        myhostname: reader.string("edge.myhostname", r#""edge.example.com""#, notation::hosted_domain),
        listen: plain(reader.strings("edge.listen", r#"["192.0.2.20"]"#, address)),
        listen_port: listener,
        split_port,
        require_tls: reader.boolean("edge.require_tls").unwrap_or(true),
        authentication: reader.choice("edge.authentication", &authentications).unwrap_or(Authentication::Address),
        fingerprints: plain(reader.strings("edge.fingerprints", FINGERPRINTS, fingerprint)),
        inner_tls: reader.choice("edge.inner_tls", &levels).unwrap_or(InnerTls::May),
        inner_tls_name: reader.string("edge.inner_tls_name", r#""inner.example.com""#, notation::domain),
        inner_fingerprints: plain(reader.strings("edge.inner_fingerprints", FINGERPRINTS, fingerprint)),
        inner_ca_file: reader.string("edge.inner_ca_file", PEM, file),
        verify_recipients: reader.choice("edge.verify_recipients", &verifications).unwrap_or(VerifyRecipients::Inner),
        recipient_table: reader.string("edge.recipient_table", r#""hash:/etc/postfix/recipients""#, table),
        open: reader.boolean("edge.open").unwrap_or(false),
        queue_lifetime: Duration::from_secs(lifetime.unwrap_or(432_000)),
        message_size_limit: reader
            .integer("edge.message_size_limit", 1_048_576..=2_147_483_647, "bytes")
            .unwrap_or(104_857_600),
    };
    if !reader.has("edge") {
        return None;
    }
    for (key, example) in
        [("edge.inner", INNER), ("edge.inner_networks", NETWORKS), ("edge.certificate", PEM), ("edge.key", PEM)]
    {
        reader.require(key, example);
    }
    fitting(reader, &edge);
    Some(edge)
}

/// Keys that need another key, or contradict one.
fn fitting(reader: &mut Reader, edge: &Edge) {
    let by_certificate = edge.authentication == Authentication::Certificate;
    let by_list = edge.verify_recipients == VerifyRecipients::List;
    let by_fingerprint = edge.inner_tls == InnerTls::Fingerprint;
    for (chosen, choice, key) in [
        (by_certificate, "edge.authentication", "edge.fingerprints"),
        (by_list, "edge.verify_recipients", "edge.recipient_table"),
        (by_fingerprint, "edge.inner_tls", "edge.inner_fingerprints"),
    ] {
        if chosen && !reader.has(key) {
            reader.wrong_value(choice, &format!("says nothing without {key}; add it"));
        }
        if !chosen {
            reader.wrong_value(key, &format!("has no effect with this {choice}; remove one of the two"));
        }
    }
    if edge.authentication != Authentication::Address && !edge.require_tls {
        reader.wrong_value("edge.require_tls", "would have a password or certificate sent without TLS; remove it");
    }
    let host = edge.inner.rsplit_once(':').map_or(edge.inner.as_str(), |(host, _)| host);
    let by_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if edge.inner_tls == InnerTls::Secure && by_address && edge.inner_tls_name.is_none() {
        reader
            .wrong_value("edge.inner", "is an address, but a certificate is checked by name; add edge.inner_tls_name");
    }
}

/// The name of an instance as postmulti(1) takes it.
fn instance(written: &str) -> Result<String, String> {
    let rest = written.strip_prefix("postfix-").unwrap_or_default();
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if written == ONLY_INSTANCE || !rest.is_empty() && rest.bytes().all(in_name) {
        return Ok(written.to_owned());
    }
    Err("is no name of a Postfix instance; write one that begins with \"postfix-\", or \"-\" if this host has no other \
         Postfix"
        .into())
}

fn address(written: &str) -> Result<IpAddr, String> {
    let address = written.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
    address.ok_or_else(|| {
        "is no address of this host; write one such as \"192.0.2.20\", or leave the key out for all".into()
    })
}

/// A SHA-256 fingerprint as Postfix writes it (postconf(5), smtpd_tls_fingerprint_digest).
fn fingerprint(written: &str) -> Result<String, String> {
    let pairs: Vec<&str> = written.split(':').collect();
    let is_byte = |pair: &&str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    if pairs.len() == 32 && pairs.iter().all(is_byte) {
        return Ok(written.to_ascii_uppercase());
    }
    Err("is no SHA-256 fingerprint; write 32 bytes in hexadecimal with colons, as `openssl x509 -noout -fingerprint \
         -sha256 -in FILE` prints them"
        .into())
}

/// A Postfix look-up table; which types there are, Postfix knows.
fn table(written: &str) -> Result<String, String> {
    let (kind, name) = written.split_once(':').unwrap_or_default();
    let in_type = |byte: u8| byte.is_ascii_lowercase() || byte == b':';
    let in_name = |letter: char| !letter.is_whitespace() && !letter.is_control() && !",{}\"#$".contains(letter);
    if !kind.is_empty() && kind.bytes().all(in_type) && !name.is_empty() && name.chars().all(in_name) {
        return Ok(written.to_owned());
    }
    Err("is no Postfix table; write its type and name, such as \"hash:/etc/postfix/recipients\"".into())
}
