//! What is judged: one message as a door received it. Data only.

use std::net::IpAddr;

use bytes::Bytes;

/// One message with everything the pipeline may look at.
///
/// A door fills it; [`judge`](crate::judge::judge) reads it. Nothing in here is trusted or interpreted yet.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// The SMTP client that handed the message to the mail server.
    pub client: Client,
    /// The SMTP envelope (RFC 5321, 2.3.1).
    pub envelope: Envelope,
    /// The header section, as received, in order.
    pub header: HeaderSection,
    /// As much of the body as was needed.
    pub body: Body,
    /// Set when the door stopped collecting because the message exceeds a limit.
    pub exceeded: Option<Limit>,
}

/// The SMTP client, as the mail server saw it when the MAIL command came.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Address of the client; `None` when the mail server could not tell it.
    pub address: Option<IpAddr>,
    /// TLS version of the session (`{tls_version}`), `None` for plaintext.
    pub tls_version: Option<String>,
    /// Name in the verified client certificate: Postfix's `{cert_subject}`.
    pub certificate: Option<String>,
    /// SASL login name (`{auth_authen}`).
    pub authenticated: Option<String>,
    /// The listener of the mail server, `address:port`, when it told.
    pub listener: Option<String>,
}

/// Envelope sender and recipients, without angle brackets.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// The reverse-path; empty is the null sender `<>`.
    pub sender: String,
    /// The forward-paths in the order received.
    pub recipients: Vec<String>,
}

/// A limit of the door that a message went past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// More header bytes or fields than [`HeaderSection`] takes.
    Header,
    /// More recipients than a door takes.
    Recipients,
}

/// A header section as it was received: fields in order, names and values as raw bytes.
///
/// All fields share one buffer, so that a message with many fields costs few allocations.
#[derive(Debug, Clone, Default)]
pub struct HeaderSection {
    bytes: Vec<u8>,
    fields: Vec<FieldRange>,
}

#[derive(Debug, Clone, Copy)]
struct FieldRange {
    start: u32,
    name: u32,
    value: u32,
}

/// One header field: the name before the colon and everything after it, folding included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name as written, possibly with white space before the colon.
    pub name: &'a [u8],
    /// Value as written, with its leading space and folds.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// True if the field's name is `name`, without case and without white space before the colon.
    pub fn is(&self, name: &str) -> bool {
        self.bare_name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// The name without white space around it (RFC 5322, 4.5 allows it before the colon).
    pub fn bare_name(&self) -> &[u8] {
        self.name.trim_ascii()
    }
}

impl HeaderSection {
    /// Most bytes of names and values together that a section takes.
    pub const MAX_BYTES: usize = 1 << 20;
    /// Most fields that a section takes.
    pub const MAX_FIELDS: usize = 20_000;

    /// Appends a field.
    ///
    /// # Errors
    /// [`Limit::Header`] when the section would exceed [`MAX_BYTES`](Self::MAX_BYTES) or
    /// [`MAX_FIELDS`](Self::MAX_FIELDS); the field is then not kept.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), Limit> {
        if self.fields.len() >= Self::MAX_FIELDS || self.bytes.len() + name.len() + value.len() > Self::MAX_BYTES {
            return Err(Limit::Header);
        }
        // The lengths fit: they are bounded by MAX_BYTES.
        self.fields.push(FieldRange {
            start: self.bytes.len() as u32,
            name: name.len() as u32,
            value: value.len() as u32,
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// The fields in the order received.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator {
        self.fields.iter().map(|range| {
            let name = range.start as usize;
            let value = name + range.name as usize;
            let end = value + range.value as usize;
            Field { name: &self.bytes[name..value], value: &self.bytes[value..end] }
        })
    }

    /// All fields of one name, in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Field<'a>> {
        self.fields().filter(move |field| field.is(name))
    }
}

/// The part of the body that the door kept.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// The first bytes of the body; shared with the door that read them, because they are many.
    pub bytes: Bytes,
    /// True if `bytes` is the whole body.
    pub complete: bool,
}
