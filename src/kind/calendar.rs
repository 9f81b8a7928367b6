//! The iCalendar scan (RFC 5545): does a text begin a VCALENDAR, and with which METHOD (RFC 5546, 1.4)?

/// What a text says of itself as an iCalendar object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Its first line is `BEGIN:VCALENDAR`.
    pub(super) is_calendar: bool,
    /// It has a METHOD.
    pub(super) has_method: bool,
    /// It has a METHOD that does not make it a meeting request or response, such as PUBLISH.
    pub(super) has_other_method: bool,
    /// A component has begun. By the grammar (RFC 5545, 3.6) the properties of the calendar stand before it.
    pub(super) has_component: bool,
}

/// True for the methods of meeting requests and responses: all of RFC 5546 but PUBLISH. In any case.
pub(super) fn is_meeting_method(method: &[u8]) -> bool {
    const METHODS: [&str; 7] = ["REQUEST", "REPLY", "CANCEL", "COUNTER", "DECLINECOUNTER", "REFRESH", "ADD"];
    METHODS.iter().any(|known| method.eq_ignore_ascii_case(known.as_bytes()))
}

/// Reads a whole text, or with `cut` one that breaks off somewhere.
///
/// METHOD belongs to the calendar alone, so that every METHOD counts wherever it stands: a component that is never
/// closed must not hide one.
pub(super) fn scan(text: &[u8], cut: bool) -> Scan {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    let mut scan = Scan::default();
    let mut first = true;
    let mut lines = ContentLines { rest: text, cut, line: Vec::new() };
    while let Some(line) = lines.next_line() {
        let name_end = line.iter().position(|byte| matches!(byte, b':' | b';')).unwrap_or(line.len());
        let name = line[..name_end].trim_ascii();
        if first {
            if !(name.eq_ignore_ascii_case(b"BEGIN") && value(line).eq_ignore_ascii_case(b"VCALENDAR")) {
                return scan;
            }
            scan.is_calendar = true;
            first = false;
        } else if name.eq_ignore_ascii_case(b"BEGIN") {
            scan.has_component |= !value(line).eq_ignore_ascii_case(b"VCALENDAR");
        } else if name.eq_ignore_ascii_case(b"METHOD") {
            scan.has_method = true;
            scan.has_other_method |= !is_meeting_method(value(line));
        }
    }
    scan
}

/// The value of a content line: behind the first colon that is not in a quoted parameter value.
fn value(line: &[u8]) -> &[u8] {
    let mut quoted = false;
    for (at, &byte) in line.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b':' if !quoted => return line[at + 1..].trim_ascii(),
            _ => (),
        }
    }
    b""
}

/// Content lines, unfolded (RFC 5545, 3.1).
struct ContentLines<'a> {
    rest: &'a [u8],
    cut: bool,
    line: Vec<u8>,
}

impl ContentLines<'_> {
    /// The next line. A last one that may go on after a cut is left out.
    fn next_line(&mut self) -> Option<&[u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.line.clear();
        loop {
            let end = memchr::memchr(b'\n', self.rest);
            let (line, rest) = match end {
                Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            self.line.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            match rest.first() {
                // Folded: the white space goes with the line end.
                Some(b' ' | b'\t') => self.rest = &rest[1..],
                None if self.cut => return None,
                _ => return Some(&self.line),
            }
        }
    }
}
