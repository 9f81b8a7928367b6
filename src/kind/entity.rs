//! MIME entities: the header fields of a message or of one body part (RFC 2045), and its decoded content.
//!
//! The values are parsed by mail-parser, and refused where readers could understand them differently: repeated fields
//! and parameters, control bytes, a multipart without a proper boundary or with a transfer encoding.

use std::borrow::Cow;

use mail_parser::ContentType;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;

/// Longest value of a MIME header field, in bytes. Longer ones occur only in attacks.
const MAX_VALUE: usize = 8 << 10;

/// Something that keeps a structure from being told with certainty. There is no need to know what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Defect;

/// The values of the MIME header fields of one entity, as they stand there.
#[derive(Default)]
pub(super) struct MimeFields<'a> {
    content_type: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    disposition: Option<&'a [u8]>,
    repeated: bool,
}

impl<'a> MimeFields<'a> {
    /// Takes note of a field if it is one of MIME's. `name` is without white space around it.
    pub(super) fn add(&mut self, name: &[u8], value: &'a [u8]) {
        let slot = match name.len() {
            12 if name.eq_ignore_ascii_case(b"Content-Type") => &mut self.content_type,
            19 if name.eq_ignore_ascii_case(b"Content-Disposition") => &mut self.disposition,
            25 if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") => &mut self.transfer_encoding,
            _ => return,
        };
        self.repeated |= slot.replace(value).is_some();
    }

    /// # Errors
    /// A field that stands there twice: which one counts differs from reader to reader.
    pub(super) fn check(&self) -> Result<(), Defect> {
        if self.repeated { Err(Defect) } else { Ok(()) }
    }

    /// A cheap look at the media type, for which it must not hide behind a comment; `prefix` in lower case.
    pub(super) fn type_starts_with(&self, prefix: &str) -> bool {
        let value = self.content_type.unwrap_or_default().trim_ascii_start();
        value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    }
}

/// How an entity's content is encoded (RFC 2045, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7bit, 8bit, binary, or nothing said.
    Identity,
    Base64,
    QuotedPrintable,
    /// One that nobody reads the same way.
    Unknown,
}

/// One message or body part, as its MIME header fields describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entity {
    /// `type/subtype` in lower case; empty if the type cannot be read.
    pub(super) media_type: String,
    pub(super) encoding: Encoding,
    /// The delimiter of a multipart; `None` for everything else.
    pub(super) boundary: Option<Vec<u8>>,
    /// Every `method` parameter of the type.
    pub(super) methods: Vec<String>,
    /// Every `report-type` parameter of the type, in lower case.
    pub(super) report_types: Vec<String>,
    /// Meant as a file: disposition `attachment`, or it has a file name.
    pub(super) is_file: bool,
}

impl Entity {
    /// # Errors
    /// Fields that readers could understand differently.
    pub(super) fn parse(fields: &MimeFields) -> Result<Self, Defect> {
        fields.check()?;
        let encoding = transfer_encoding(fields.transfer_encoding)?;
        let Some(content_type) = fields.content_type else {
            return Ok(Self::plain(encoding, is_file(fields.disposition)?));
        };
        let line = line(content_type)?;
        let parsed = MessageStream::new(&line).parse_content_type();
        let content_type = parsed.as_content_type();
        let media_type = match content_type {
            Some(ContentType { c_type, c_subtype: Some(subtype), .. }) => format!("{c_type}/{subtype}"),
            _ => String::new(),
        };
        let parameters = |name| {
            let all = content_type.and_then(ContentType::attributes).unwrap_or_default().iter();
            all.filter(move |parameter| parameter.name == name).map(|parameter| parameter.value.as_ref())
        };
        let boundary = if content_type.is_some_and(|content_type| content_type.c_type == "multipart") {
            if encoding != Encoding::Identity || media_type.is_empty() {
                return Err(Defect);
            }
            let mut boundaries = parameters("boundary");
            match (boundaries.next(), boundaries.next()) {
                (Some(boundary), None) if is_boundary(boundary, &line) => Some(boundary.as_bytes().to_vec()),
                _ => return Err(Defect),
            }
        } else {
            None
        };
        let methods = parameters("method").map(|value| value.trim().to_owned()).collect();
        let report_types = parameters("report-type").map(|value| value.trim().to_ascii_lowercase()).collect();
        let is_file = parameters("name").next().is_some() || is_file(fields.disposition)?;
        Ok(Self { media_type, encoding, boundary, methods, report_types, is_file })
    }

    /// An entity that names no type (RFC 2045, 5.2).
    fn plain(encoding: Encoding, is_file: bool) -> Self {
        let media_type = "text/plain".to_owned();
        Self { media_type, encoding, boundary: None, methods: Vec::new(), report_types: Vec::new(), is_file }
    }

    /// The subtype of a multipart, in lower case.
    pub(super) fn multipart(&self) -> Option<&str> {
        self.boundary.as_ref()?;
        self.media_type.strip_prefix("multipart/")
    }

    /// Decodes this entity's content. With `cut`, `content` breaks off somewhere: whole lines of it are decoded.
    ///
    /// # Errors
    /// Content that is not in the encoding, and NUL or a bare CR before or after decoding.
    pub(super) fn decode<'a>(&self, content: &'a [u8], cut: bool) -> Result<Cow<'a, [u8]>, Defect> {
        let content = if cut { whole_lines(content) } else { content };
        check_bytes(content)?;
        let decoded = match self.encoding {
            Encoding::Identity => return Ok(Cow::Borrowed(content)),
            Encoding::Base64 if is_base64(content, cut) => base64_decode(content).ok_or(Defect)?,
            Encoding::QuotedPrintable if is_quoted_printable(content) => {
                quoted_printable_decode(content).ok_or(Defect)?
            }
            _ => return Err(Defect),
        };
        Ok(Cow::Owned(decoded))
    }
}

/// # Errors
/// NUL, or CR without LF: some readers end a line or a text there.
pub(super) fn check_bytes(bytes: &[u8]) -> Result<(), Defect> {
    let mut odd = memchr::memchr2_iter(0, b'\r', bytes);
    // A CR at the very end belongs to a line end of which the LF is not there yet.
    if odd.all(|at| bytes[at] == b'\r' && bytes.get(at + 1).is_none_or(|&next| next == b'\n')) {
        Ok(())
    } else {
        Err(Defect)
    }
}

/// Content up to its last line end.
fn whole_lines(content: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b'\n', content).map_or(0, |at| at + 1);
    &content[..end]
}

/// Takes the line ends out of a folded field value (RFC 5322, 2.2.3) and puts one behind it.
pub(super) fn unfold(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).chain([b'\n']).collect()
}

/// A MIME field's value as one line.
///
/// # Errors
/// A value of absurd length, with a control byte, or with a line end that is no fold.
fn line(value: &[u8]) -> Result<Vec<u8>, Defect> {
    let odd = |(at, &byte): (usize, &u8)| match byte {
        b'\r' => value.get(at + 1) != Some(&b'\n'),
        b'\n' => !matches!(value.get(at + 1), Some(b' ' | b'\t')),
        b'\t' => false,
        _ => byte.is_ascii_control(),
    };
    if value.len() > MAX_VALUE || value.iter().enumerate().any(odd) { Err(Defect) } else { Ok(unfold(value)) }
}

fn transfer_encoding(value: Option<&[u8]>) -> Result<Encoding, Defect> {
    let Some(value) = value else { return Ok(Encoding::Identity) };
    let line = line(value)?;
    let name = line.trim_ascii().to_ascii_lowercase();
    Ok(match name.as_slice() {
        b"7bit" | b"8bit" | b"binary" => Encoding::Identity,
        b"base64" => Encoding::Base64,
        b"quoted-printable" => Encoding::QuotedPrintable,
        _ => Encoding::Unknown,
    })
}

/// True if a Content-Disposition (RFC 2183) makes the part a file.
fn is_file(value: Option<&[u8]>) -> Result<bool, Defect> {
    let Some(value) = value else { return Ok(false) };
    let line = line(value)?;
    let parsed = MessageStream::new(&line).parse_content_type();
    Ok(parsed
        .as_content_type()
        .is_none_or(|disposition| disposition.c_type != "inline" || disposition.attribute("filename").is_some()))
}

/// RFC 2046, 5.1.1: 1 to 70 characters, no space at the end; any visible ASCII is taken. The field must be free of
/// escapes, encoded words and RFC 2231 forms, which are read differently by different readers.
fn is_boundary(boundary: &str, line: &[u8]) -> bool {
    (1..=70).contains(&boundary.len())
        && boundary.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !boundary.ends_with(' ')
        && memchr::memchr2(b'\\', b'*', line).is_none()
        && memchr::memmem::find(line, b"=?").is_none()
}

/// Stricter than the decoder: whole groups of four, padding only at the end. With `cut`, the end is missing.
fn is_base64(content: &[u8], cut: bool) -> bool {
    let mut digits = 0usize;
    let mut padding = 0usize;
    for &byte in content {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => (),
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return false,
        }
    }
    padding <= 2 && ((digits + padding).is_multiple_of(4) || (cut && padding == 0))
}

/// Stricter than the decoder: every `=` begins a pair of hexadecimal digits or ends a line (RFC 2045, 6.7).
fn is_quoted_printable(content: &[u8]) -> bool {
    memchr::memchr_iter(b'=', content).all(|at| match content.get(at + 1..) {
        Some([high, low, ..]) if high.is_ascii_hexdigit() => low.is_ascii_hexdigit(),
        Some(rest) => {
            let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
            rest.get(space).is_none_or(|&byte| byte == b'\n')
        }
        None => true,
    })
}
