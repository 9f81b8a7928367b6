//! A message file as a mail server would pass it to a milter.

use crate::case::{HeaderSection, Limit};

/// Splits a message (RFC 5322, 2.1) into header fields and body.
///
/// Lines end in CRLF or LF. A leading mbox `From ` line is passed over. The header section ends at the first empty
/// line, or, as Postfix has it, before the first line that is neither a field nor a continuation.
pub fn parse(text: &[u8]) -> (HeaderSection, &[u8], Option<Limit>) {
    let mut header = HeaderSection::default();
    let mut exceeded = None;
    let mut rest = text;
    if rest.starts_with(b"From ") {
        rest = split_line(rest).1;
    }
    let mut keep = |field: Option<(&[u8], Vec<u8>)>| {
        if let Some((name, value)) = field
            && let Err(limit) = header.push(name, &value)
        {
            exceeded = Some(limit);
        }
    };
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        if line.is_empty() {
            rest = after;
            break;
        }
        if let Some((_, value)) = open.as_mut().filter(|_| line.starts_with(b" ") || line.starts_with(b"\t")) {
            value.extend_from_slice(b"\n");
            value.extend_from_slice(line);
        } else if let Some((name, value)) = split_field(line) {
            keep(open.replace((name, value.to_vec())));
        } else {
            break;
        }
        rest = after;
    }
    keep(open);
    (header, rest, exceeded)
}

/// The first line without its end, and what follows.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = &text[..end];
            (line.strip_suffix(b"\r").unwrap_or(line), &text[end + 1..])
        }
        None => (text, &[]),
    }
}

/// Name and value of a field; white space before the colon is allowed (RFC 5322, 4.5).
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let valid = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic());
    valid.then(|| (name, &line[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> (Vec<(String, String)>, String) {
        let (header, body, _) = parse(text.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (header.fields().map(|field| (text(field.name), text(field.value))).collect(), text(body))
    }

    #[test]
    fn crlf_and_lf_files_give_the_same_fields() {
        for text in ["A: 1\r\nB : 2\r\n 3\r\n\r\nbody\r\n", "From x Mon\nA: 1\nB : 2\n 3\n\nbody\r\n"] {
            let (fields, body) = fields(text);
            assert_eq!(fields, [("A".into(), " 1".into()), ("B".into(), " 2\n 3".into())]);
            assert_eq!(body, "body\r\n");
        }
    }

    #[test]
    fn a_line_that_is_no_field_begins_the_body() {
        assert_eq!(
            fields("A: 1\nnot a field\nB: 2\n"),
            (vec![("A".into(), " 1".into())], "not a field\nB: 2\n".into())
        );
        assert_eq!(fields(" folded: first\n"), (vec![], " folded: first\n".into()));
        assert_eq!(fields(""), (vec![], String::new()));
    }
}
