//! What a message is: calendaring, automatic reply, bounce, read receipt, normal.
//!
//! The answer is a function of the header section and of the first [`Settings::body_limit`] bytes of the body, however
//! those bytes arrived. It is exempting only if what decides it was read without a defect: a message that cannot be
//! told apart with certainty is [`Kind::Normal`], or what its header section alone makes it.
//!
//! - `fields`: the header fields that matter, in one pass.
//! - `entity`: the MIME header fields of the message or of one body part (RFC 2045), and its decoded content.
//! - `walk`: from body part to body part (RFC 2046, 5.1).
//! - `report`: delivery reports and read receipts.
//! - `calendaring`: meeting messages; `calendar` reads iCalendar, `tnef` Outlook's own format.

mod calendar;
mod calendaring;
mod entity;
mod fields;
mod report;
#[cfg(test)]
mod tests;
mod tnef;
mod walk;

use crate::case::{Body, HeaderSection};
use crate::verdict::Kind;
use fields::Facts;

/// How message kinds are told apart: section `[kind]` of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `kind.body_limit`: most body bytes looked at, default 65535 (one chunk of the milter protocol), 4096
    /// to 16777216.
    pub body_limit: usize,
    /// `kind.lenient_calendaring`: also a calendar whose method stands only in its body, and TNEF meeting classes;
    /// default false.
    pub lenient_calendaring: bool,
    /// `kind.calendaring_max_size`: greatest body size in bytes of a calendaring message, less than `body_limit`;
    /// `None`: no limit.
    pub calendaring_max_size: Option<usize>,
    /// `kind.calendaring_alone`: no other attachment may ride along; default false.
    pub calendaring_alone: bool,
    /// `kind.weak_automatic_reply`: also `X-Autoreply`, `Precedence: auto_reply` and `x-apple-action: vacation`;
    /// default false.
    pub weak_automatic_reply: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_limit: 65_535,
            lenient_calendaring: false,
            calendaring_max_size: None,
            calendaring_alone: false,
            weak_automatic_reply: false,
        }
    }
}

/// The kind of a message, from its header section and as much of its body as was kept.
///
/// `null_sender` says that the reverse-path is `<>`. Of `body`, the first `settings.body_limit` bytes are looked at. If
/// they leave the question open, the answer is the safe one: what the header section alone tells, never calendaring,
/// bounce or read receipt.
pub fn classify(settings: &Settings, null_sender: bool, header: &HeaderSection, body: &Body) -> Kind {
    let limit = settings.body_limit;
    let kept = Kept {
        bytes: body.bytes.get(..limit).unwrap_or(&body.bytes),
        complete: body.complete && body.bytes.len() < limit,
        cut: body.bytes.len() >= limit,
    };
    let facts = Facts::read(header);
    let otherwise = facts.kind_without_body(settings, null_sender);
    match examine(settings, null_sender, &facts, &kept) {
        Answer::Yes(kind) => kind,
        Answer::No | Answer::Open => otherwise,
    }
}

/// True if more body bytes could still change what [`classify`] says; `body.complete` is taken as false.
///
/// False at once if the header section leaves nothing to the body, at `settings.body_limit` bytes, and as soon as the
/// answer is known. The whole of `body` is looked at again each time, so above 256 KiB this is done only when the size
/// doubles: a body in any number of chunks of up to 64 KiB costs time in proportion to its size.
pub fn wants_body(settings: &Settings, null_sender: bool, header: &HeaderSection, body: &Body) -> bool {
    let read = body.bytes.len();
    if read >= settings.body_limit {
        return false;
    }
    let facts = Facts::read(header);
    let open = |bytes| {
        let kept = Kept { bytes, complete: false, cut: false };
        examine(settings, null_sender, &facts, &kept) == Answer::Open
    };
    if is_due(read) { open(&body.bytes) } else { open(&[]) }
}

/// True if a body that has grown to `read` bytes is worth another look; see [`wants_body`].
fn is_due(read: usize) -> bool {
    const ALWAYS: usize = 256 << 10;
    const CHUNK: usize = 64 << 10;
    read <= ALWAYS || read.ilog2() != (read - CHUNK).ilog2()
}

/// The part of a body that is looked at.
struct Kept<'a> {
    bytes: &'a [u8],
    /// `bytes` is the whole body, and shorter than the limit.
    complete: bool,
    /// The limit is reached: what is not in `bytes` is never read.
    cut: bool,
}

impl Kept<'_> {
    /// What is to be said when the bytes at hand are used up with the question open.
    fn used_up<T>(&self) -> Answer<T> {
        if self.complete || self.cut { Answer::No } else { Answer::Open }
    }
}

/// An answer that may have to wait for more of the body. `Yes` and `No` are final: no further byte changes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer<T> {
    Yes(T),
    No,
    Open,
}

/// The kind, as far as it comes from MIME structure or outranks it; `No` leaves the rest to the header section.
fn examine(settings: &Settings, null_sender: bool, facts: &Facts, kept: &Kept) -> Answer<Kind> {
    let Ok(entity) = facts.entity(settings) else {
        // The structure cannot be relied on, so nothing in it exempts.
        return if facts.is_bounce(null_sender) { Answer::Yes(Kind::Bounce) } else { Answer::No };
    };
    if let Some(kind) = entity.as_ref().and_then(report::declared) {
        return Answer::Yes(kind);
    }
    if facts.is_bounce(null_sender) {
        return Answer::Yes(Kind::Bounce);
    }
    match entity.as_ref().map_or(Answer::No, |entity| report::decide(entity, kept)) {
        Answer::No => (),
        decided => return decided,
    }
    match calendaring::decide(settings, facts.says_calendar(), entity.as_ref(), kept) {
        Answer::Yes(()) => Answer::Yes(Kind::Calendaring),
        Answer::No => Answer::No,
        Answer::Open => Answer::Open,
    }
}
