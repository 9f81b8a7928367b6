//! The header fields that tell a message's kind.

use std::borrow::Cow;

use mail_parser::parsers::MessageStream;

use super::Settings;
use super::entity::{Defect, Entity, MimeFields, unfold};
use crate::case::HeaderSection;
use crate::verdict::Kind;

/// Longest From field that is parsed, in bytes; a longer one names no one.
const MAX_FROM: usize = 16 << 10;

/// What the header section says that matters for the kind, collected in one pass.
#[derive(Default)]
pub(super) struct Facts<'a> {
    mime: MimeFields<'a>,
    from: Vec<&'a [u8]>,
    auto_replied: Claim,
    calendar_class: Claim,
    failed_recipients: bool,
    inbox_rules_loop: bool,
    autoreply: Claim,
    precedence_auto_reply: Claim,
    apple_vacation: Claim,
}

/// A statement of a field that stands once: if it is repeated, every instance must say the same.
#[derive(Default, Clone, Copy)]
struct Claim {
    made: bool,
    contradicted: bool,
}

impl Claim {
    fn add(&mut self, holds: bool) {
        self.made |= holds;
        self.contradicted |= !holds;
    }

    fn holds(self) -> bool {
        self.made && !self.contradicted
    }
}

impl<'a> Facts<'a> {
    pub(super) fn read(header: &'a HeaderSection) -> Self {
        let mut facts = Self::default();
        for field in header.fields() {
            let (name, value) = (field.bare_name(), field.value);
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            // By length first: thousands of other fields must cost next to nothing.
            match name.len() {
                4 if is("From") => facts.from.push(value),
                10 if is("Precedence") => facts.precedence_auto_reply.add(says(value, "auto_reply")),
                11 if is("X-Autoreply") => facts.autoreply.add(!says(value, "") && !says(value, "no")),
                13 if is("Content-Class") => {
                    facts.calendar_class.add(says(value, "urn:content-classes:calendarmessage"));
                }
                14 if is("Auto-Submitted") => facts.auto_replied.add(says(value, "auto-replied")),
                14 if is("X-Apple-Action") => facts.apple_vacation.add(says(value, "vacation")),
                19 if is("X-Failed-Recipients") => facts.failed_recipients |= !says(value, ""),
                30 if is("X-MS-Exchange-Inbox-Rules-Loop") => facts.inbox_rules_loop |= !says(value, ""),
                12 | 19 | 25 => facts.mime.add(name, value),
                _ => (),
            }
        }
        facts
    }

    /// The message as a MIME entity; `None` if neither its type nor a setting makes its structure matter.
    pub(super) fn entity(&self, settings: &Settings) -> Result<Option<Entity>, Defect> {
        self.mime.check()?;
        let starts = |prefix: &str| self.mime.type_starts_with(prefix);
        let matters = starts("multipart/")
            || starts("text/calendar")
            || (settings.lenient_calendaring && starts("application/"))
            || (settings.calendaring_alone && self.says_calendar());
        if matters { Entity::parse(&self.mime).map(Some) } else { Ok(None) }
    }

    /// `Content-Class: urn:content-classes:calendarmessage`, Exchange's mark on meeting messages.
    pub(super) fn says_calendar(&self) -> bool {
        self.calendar_class.holds()
    }

    /// Bounces that are not `multipart/report`: Exim's and Google's, for instance.
    pub(super) fn is_bounce(&self, null_sender: bool) -> bool {
        null_sender && (self.failed_recipients || (self.auto_replied.holds() && self.is_from_a_mailer()))
    }

    /// The kind if the body does not make the message anything else.
    pub(super) fn kind_without_body(&self, settings: &Settings, null_sender: bool) -> Kind {
        let weak = [self.autoreply, self.precedence_auto_reply, self.apple_vacation];
        if self.auto_replied.holds()
            || (null_sender && self.inbox_rules_loop)
            || (settings.weak_automatic_reply && weak.into_iter().any(Claim::holds))
        {
            Kind::AutomaticReply
        } else {
            Kind::Normal
        }
    }

    /// True if every author is mailer-daemon, postmaster or nobody, and there is one.
    fn is_from_a_mailer(&self) -> bool {
        !self.from.is_empty() && self.from.iter().all(|value| is_mailer(value))
    }
}

fn is_mailer(from: &[u8]) -> bool {
    if from.len() > MAX_FROM {
        return false;
    }
    let is_mailer_name = |address: &str| {
        let local_part = address.rsplit_once('@').map_or(address, |(local_part, _)| local_part);
        ["mailer-daemon", "postmaster", "nobody"].iter().any(|name| local_part.trim().eq_ignore_ascii_case(name))
    };
    let line = unfold(from);
    let parsed = MessageStream::new(&line).parse_address();
    let Some(authors) = parsed.as_address() else { return false };
    let mut any = false;
    for author in authors.iter() {
        // `From: MAILER-DAEMON (Mail Delivery System)` has no domain, and is then taken for a name.
        if !author.address().or(author.name()).is_some_and(is_mailer_name) {
            return false;
        }
        any = true;
    }
    any
}

/// True if a field's value is `expected`, without case, comments, parameters and the space around it.
fn says(value: &[u8], expected: &str) -> bool {
    let value = without_comments(value);
    let value = value.split(|&byte| byte == b';').next().unwrap_or_default();
    value.trim_ascii().eq_ignore_ascii_case(expected.as_bytes())
}

/// Takes comments (RFC 5322, 3.2.2), which nest and quote with a backslash, out of an unquoted value.
fn without_comments(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'(') {
        return Cow::Borrowed(value);
    }
    let mut kept = Vec::with_capacity(value.len());
    let mut depth = 0usize;
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => drop(bytes.next()),
            _ if depth == 0 => kept.push(byte),
            _ => (),
        }
    }
    Cow::Owned(kept)
}
