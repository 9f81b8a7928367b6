//! From body part to body part of a multipart (RFC 2046, 5.1), in the order in which they stand there.
//!
//! mail-parser's message parser is not used for this: it takes a boundary anywhere in a line and as a prefix of
//! another, repairs what is broken without saying so, keeps nested messages in nested values, which exhausts the stack
//! when tens of thousands of them are dropped, and its result on a truncated message tells nothing of the whole. Here each line
//! is looked at once, there is no recursion, and whatever two readers could take apart differently is a [`Defect`].

use memchr::memmem::find_iter;

use super::Kept;
use super::entity::{Defect, Entity, MimeFields};

/// Deepest nesting of multiparts; real messages have about six.
const MAX_DEPTH: usize = 24;

/// One body part.
pub(super) struct Part<'a> {
    pub(super) entity: Entity,
    /// How many multiparts it is in, from 1.
    pub(super) depth: usize,
    /// Which one it is in the innermost of them, from 0.
    pub(super) index: usize,
    /// `type/subtype` of the innermost multipart.
    pub(super) parent: String,
    /// Where its content begins, in bytes of the body.
    pub(super) start: usize,
    /// Its content as far as it is there; empty for a multipart, whose parts follow.
    pub(super) content: &'a [u8],
    /// The content is whole: its delimiter was seen. True for a multipart.
    pub(super) ended: bool,
}

/// What comes next.
pub(super) enum Step<'a> {
    Part(Part<'a>),
    /// The outermost multipart was closed. What comes after it is no part of the structure.
    End,
    /// More bytes are needed.
    UsedUp,
}

/// A multipart that is open.
struct Level {
    boundary: Vec<u8>,
    media_type: String,
    parts: usize,
}

/// Walks through a multipart.
pub(super) struct Walker<'a> {
    body: &'a [u8],
    complete: bool,
    levels: Vec<Level>,
    next: Next,
}

/// What stands at a place in the body, which is always the beginning of a line.
#[derive(Clone, Copy)]
enum Next {
    /// Text that ends with a delimiter line.
    Delimiter(usize),
    /// The header section of a body part.
    Header(usize),
}

/// A line that delimits or closes a multipart.
struct Delimiter {
    start: usize,
    next: usize,
    level: usize,
    closes: bool,
}

impl<'a> Walker<'a> {
    /// Begins at the first part of the message `entity`, whose body is `kept`; an entity that is no multipart has none.
    pub(super) fn new(entity: &Entity, kept: &Kept<'a>) -> Self {
        let mut walker =
            Self { body: kept.bytes, complete: kept.complete, levels: Vec::new(), next: Next::Delimiter(0) };
        walker.levels.extend(Level::new(entity));
        walker
    }

    /// Goes on to the next part.
    ///
    /// # Errors
    /// A defect of the structure between the part before and this one. There is no going on after it.
    pub(super) fn step(&mut self) -> Result<Step<'a>, Defect> {
        loop {
            let Some(innermost) = self.levels.len().checked_sub(1) else { return Ok(Step::End) };
            match self.next {
                Next::Delimiter(from) => {
                    let Some(found) = self.find_delimiter(from)? else { return self.used_up() };
                    // An outer delimiter inside an inner multipart: that one was never closed.
                    if found.level != innermost {
                        return Err(Defect);
                    }
                    if !found.closes {
                        self.next = Next::Header(found.next);
                    } else if self.levels[innermost].parts == 0 {
                        return Err(Defect);
                    } else {
                        self.levels.pop();
                        self.next = Next::Delimiter(found.next);
                    }
                }
                Next::Header(from) => {
                    let Some((fields, start)) = read_header(self.body, from)? else { return self.used_up() };
                    let entity = Entity::parse(&fields)?;
                    return self.enter(entity, start).map(Step::Part);
                }
            }
        }
    }

    /// A part whose header section was read and whose content begins at `start`.
    fn enter(&mut self, entity: Entity, start: usize) -> Result<Part<'a>, Defect> {
        let depth = self.levels.len();
        let (index, parent) = match self.levels.last_mut() {
            Some(level) => {
                level.parts += 1;
                (level.parts - 1, level.media_type.clone())
            }
            None => return Err(Defect),
        };
        self.next = Next::Delimiter(start);
        let mut part = Part { entity, depth, index, parent, start, content: &[], ended: true };
        if let Some(level) = Level::new(&part.entity) {
            // Of two boundaries, one must not look like the other to a reader who compares only its beginning.
            let alike = |other: &Level| {
                other.boundary.starts_with(&level.boundary) || level.boundary.starts_with(&other.boundary)
            };
            if depth >= MAX_DEPTH || self.levels.iter().any(alike) {
                return Err(Defect);
            }
            self.levels.push(level);
            return Ok(part);
        }
        match self.find_delimiter(start)? {
            Some(found) => {
                // The line end before a delimiter belongs to it.
                let content = &self.body[start..found.start];
                let content = content.strip_suffix(b"\n").unwrap_or(content);
                part.content = content.strip_suffix(b"\r").unwrap_or(content);
                self.next = Next::Delimiter(found.start);
            }
            None => {
                part.content = &self.body[start..];
                part.ended = false;
            }
        }
        Ok(part)
    }

    /// A body that ends before its structure does is truncated.
    fn used_up(&self) -> Result<Step<'a>, Defect> {
        if self.complete { Err(Defect) } else { Ok(Step::UsedUp) }
    }

    /// The first delimiter line, of any open multipart, at or after the line that begins at `from`.
    fn find_delimiter(&self, from: usize) -> Result<Option<Delimiter>, Defect> {
        let rest = &self.body[from..];
        let first = rest.starts_with(b"--").then_some(from);
        for start in first.into_iter().chain(find_iter(rest, b"\n--").map(|at| from + at + 1)) {
            let end = match memchr::memchr(b'\n', &self.body[start..]) {
                Some(length) => start + length,
                None if self.complete => self.body.len(),
                None => return Ok(None),
            };
            if let Some((level, closes)) = self.delimits(&self.body[start + 2..end])? {
                return Ok(Some(Delimiter { start, next: (end + 1).min(self.body.len()), level, closes }));
            }
        }
        Ok(None)
    }

    /// Which level a line delimits, without its leading `--` and its LF, and if it closes it.
    ///
    /// # Errors
    /// A line that begins like a delimiter but is none, to a reader who compares whole lines.
    fn delimits(&self, line: &[u8]) -> Result<Option<(usize, bool)>, Defect> {
        let same = |level: &Level| line.starts_with(&level.boundary);
        let Some(level) = self.levels.iter().position(same) else { return Ok(None) };
        match line[self.levels[level].boundary.len()..].trim_ascii_end() {
            b"" => Ok(Some((level, false))),
            b"--" => Ok(Some((level, true))),
            _ => Err(Defect),
        }
    }
}

impl Level {
    fn new(entity: &Entity) -> Option<Self> {
        let boundary = entity.boundary.clone()?;
        Some(Self { boundary, media_type: entity.media_type.clone(), parts: 0 })
    }
}

/// The MIME fields of the header section that begins at `from`, and where the content begins; `None` if its end is not
/// there.
///
/// # Errors
/// Lines that are no header fields (RFC 5322, 2.2), or hold NUL or a bare CR.
fn read_header(body: &[u8], from: usize) -> Result<Option<(MimeFields<'_>, usize)>, Defect> {
    let mut fields = MimeFields::default();
    let mut at = from;
    // Where the name and the value of the field being read begin.
    let mut field: Option<(usize, usize)> = None;
    loop {
        let Some(length) = memchr::memchr(b'\n', &body[at..]) else { return Ok(None) };
        let line = &body[at..at + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr::memchr2(0, b'\r', line).is_some() {
            return Err(Defect);
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            if let Some((name, value)) = field {
                let name = body[name..value - 1].trim_ascii();
                let end = if body[..at].ends_with(b"\r\n") { at - 2 } else { at - 1 };
                fields.add(name, &body[value..end]);
            }
            if line.is_empty() {
                return Ok(Some((fields, at + length + 1)));
            }
            let colon = memchr::memchr(b':', line).ok_or(Defect)?;
            let name = line[..colon].trim_ascii_end();
            if name.is_empty() || name.starts_with(b"--") || !name.iter().all(u8::is_ascii_graphic) {
                return Err(Defect);
            }
            field = Some((at, at + colon + 1));
        } else if field.is_none() || line.trim_ascii().is_empty() {
            return Err(Defect);
        }
        at += length + 1;
    }
}
