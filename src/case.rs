//! What is judged: one message as a door received it. Data only.

use std::net::IpAddr;

use bytes::Bytes;

/// One message with everything the pipeline may look at.
///
/// A door fills it; [`judge`](crate::judge::judge) reads it. Nothing in here is trusted or interpreted yet.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// The mail server that hands it on; `None`: the door does not know.
    pub mail_server: Option<MailServer>,
    /// The SMTP client that handed the message to the mail server.
    pub client: Client,
    /// The mail server's own name (`{j}`), by which it signs Received fields, when it told.
    pub host: Option<String>,
    /// The SMTP envelope (RFC 5321, 2.3.1).
    pub envelope: Envelope,
    /// The header section, as received, in order.
    pub header: HeaderSection,
    /// As much of the body as was needed.
    pub body: Body,
    /// Set when the door stopped collecting because the message exceeds a limit.
    pub exceeded: Option<Limit>,
}

/// The software that hands messages over, and carries verdicts out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailServer {
    /// Postfix.
    Postfix,
    /// Sendmail.
    Sendmail,
}

impl MailServer {
    /// Both, with the names that the configuration has for them.
    pub const NAMES: [(&str, Self); 2] =
        [(Self::Postfix.name(), Self::Postfix), (Self::Sendmail.name(), Self::Sendmail)];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postfix => "postfix",
            Self::Sendmail => "sendmail",
        }
    }

    /// Its name as people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Postfix => "Postfix",
            Self::Sendmail => "Sendmail",
        }
    }
}

/// The SMTP client, as the mail server saw it when the MAIL command came.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Address of the client; `None` when the mail server could not tell it.
    pub address: Option<IpAddr>,
    /// TLS version of the session (`{tls_version}`), `None` for plaintext.
    pub tls_version: Option<String>,
    /// Name (CN) in the verified client certificate: Postfix's `{cert_subject}`, Sendmail's `{cn_subject}`.
    pub certificate: Option<String>,
    /// The whole distinguished name in it, as `/O=Example/CN=mail.example.com`: Sendmail's `{cert_subject}`.
    pub certificate_subject: Option<String>,
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
    /// A header section with more bytes or fields than [`HeaderLimits`] allow.
    Header,
    /// More recipients than a door takes.
    Recipients,
    /// More messages at a time than are judged at a time.
    Messages,
    /// More memory for all messages under way than they may have.
    Memory,
}

/// What messages may take. A message past a limit is refused for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `limits.header_size` and `limits.header_fields`: of the header section of one message.
    pub header: HeaderLimits,
    /// `limits.messages`: messages under way at a time, from MAIL to their end, default 1000, 1 to 100000.
    pub messages: usize,
    /// `limits.message_memory`: bytes that all messages under way hold together, default 256 MiB, at least 4 MiB.
    pub message_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header: HeaderLimits::default(), messages: 1000, message_memory: 256 << 20 }
    }
}

/// How large a header section may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Most bytes of names and values together; at most, and by default, 1 MiB.
    pub bytes: usize,
    /// Most fields; at most, and by default, 20,000.
    pub fields: usize,
}

impl Default for HeaderLimits {
    fn default() -> Self {
        Self { bytes: HeaderSection::MAX_BYTES, fields: HeaderSection::MAX_FIELDS }
    }
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

    /// Appends a field, up to the greatest size there is.
    ///
    /// # Errors
    /// As [`push_within`](Self::push_within).
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), Limit> {
        self.push_within(&HeaderLimits::default(), name, value)
    }

    /// Appends a field.
    ///
    /// # Errors
    /// [`Limit::Header`] when the section would exceed the limits; the field is then not kept.
    pub fn push_within(&mut self, limits: &HeaderLimits, name: &[u8], value: &[u8]) -> Result<(), Limit> {
        let most_fields = limits.fields.min(Self::MAX_FIELDS);
        let most_bytes = limits.bytes.min(Self::MAX_BYTES);
        if self.fields.len() >= most_fields || self.bytes.len() + name.len() + value.len() > most_bytes {
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
