//! Messages as an administrator would write them down, and what they are.
//!
//! Whatever is asserted about a message is also asserted for every way in which its body could have been cut.

mod automatic;
mod calendaring;
mod hostile;
mod limits;
mod properties;
mod reports;

use super::{Settings, classify, wants_body};
use crate::case::{Body, HeaderSection};
use crate::verdict::Kind;

/// A message, and how it is looked at.
#[derive(Debug, Clone)]
struct Message {
    settings: Settings,
    null_sender: bool,
    header: HeaderSection,
    body: Vec<u8>,
}

/// A message from its text. Lines are ended as a milter gets them: LF in folded fields, CRLF in the body.
fn message(text: &str) -> Message {
    let (header, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let body = body.split('\n').collect::<Vec<_>>().join("\r\n").into_bytes();
    with_body(header, body)
}

fn with_body(header: &str, body: impl Into<Vec<u8>>) -> Message {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.lines() {
        match fields.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => *value += &format!("\n{line}"),
            _ => {
                let (name, value) = line.split_once(':').expect("a header field");
                fields.push((name.into(), value.into()));
            }
        }
    }
    let mut header = HeaderSection::default();
    for (name, value) in fields {
        header.push(name.as_bytes(), value.as_bytes()).expect("a small header section");
    }
    Message { settings: Settings::default(), null_sender: false, header, body: body.into() }
}

impl Message {
    fn null_sender(mut self) -> Self {
        self.null_sender = true;
        self
    }

    fn set(mut self, change: impl Fn(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn lenient(self) -> Self {
        self.set(|settings| settings.lenient_calendaring = true)
    }

    fn alone(self) -> Self {
        self.set(|settings| settings.calendaring_alone = true)
    }

    fn classify(&self, read: usize, complete: bool) -> Kind {
        let body = Body { bytes: self.body[..read].to_vec().into(), complete };
        classify(&self.settings, self.null_sender, &self.header, &body)
    }

    fn wants_body(&self, read: usize) -> bool {
        let body = Body { bytes: self.body[..read].to_vec().into(), complete: false };
        wants_body(&self.settings, self.null_sender, &self.header, &body)
    }

    /// The kind of the whole message.
    fn whole(&self) -> Kind {
        self.classify(self.body.len(), true)
    }

    /// The kind, which must not depend on how the body was cut.
    fn kind(&self) -> Kind {
        let whole = self.whole();
        let step = self.body.len() / 300 + 1;
        (0..=self.body.len()).step_by(step).for_each(|read| self.check_cut(read, whole));
        whole
    }

    fn check_cut(&self, read: usize, whole: Kind) {
        let part = self.classify(read, false);
        if part != whole {
            assert!(matches!(part, Kind::Normal | Kind::AutomaticReply), "{part:?} after {read} bytes, then {whole:?}");
            assert!(self.wants_body(read), "no more wanted after {read} bytes, which change {part:?} to {whole:?}");
        }
    }

    /// The size of the smallest beginning of the body after which no more is wanted.
    fn enough(&self) -> Option<usize> {
        (0..=self.body.len()).find(|&read| !self.wants_body(read))
    }
}

/// The kind of a message with a sender and the default settings.
fn kind(text: &str) -> Kind {
    message(text).kind()
}

/// A small meeting request.
const REQUEST: &str = "BEGIN:VCALENDAR
PRODID:-//example.com//Calendar//EN
VERSION:2.0
METHOD:REQUEST
BEGIN:VEVENT
UID:1@example.com
DTSTAMP:20250101T000000Z
DTSTART:20250102T100000Z
ORGANIZER:mailto:alice@customer.test
ATTENDEE:mailto:bob@remote.test
SUMMARY:Planning
END:VEVENT
END:VCALENDAR
";

/// Base64 in lines of 76 characters.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            encoded.push(if digit > group.len() { '=' } else { DIGITS[value as usize] as char });
        }
    }
    let lines: Vec<_> = encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    lines.join("\n")
}
