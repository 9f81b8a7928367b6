//! A message file as a mail server would pass it to a milter.

use crate::case::{HeaderLimits, HeaderSection, Limit};

/// Splits a message (RFC 5322, 2.1) into header fields and body.
///
/// Lines end in CRLF or LF. A leading mbox `From ` line, even one with `>` before it, is passed over. The header section
/// ends at the first empty line, or, as Postfix has it, before the first line that is neither a field nor a
/// continuation. The milter protocol ends a field's value at its first NUL, and every line of the body in CRLF.
pub fn parse(limits: &HeaderLimits, text: &[u8]) -> (HeaderSection, Vec<u8>, Option<Limit>) {
    let mut header = HeaderSection::default();
    let mut exceeded = None;
    let mut rest = text;
    if is_mbox_line(rest) {
        rest = split_line(rest).1;
    }
    let mut keep = |field: Option<(&[u8], Vec<u8>)>| {
        if let Some((name, value)) = field
            && let Err(limit) =
                header.push_within(limits, name, value.split(|&byte| byte == 0).next().unwrap_or_default())
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
    (header, with_crlf(rest), exceeded)
}

/// Postfix makes such a first line the field X-Mailbox-Line (smtpd(8)), so that the section goes on behind it.
fn is_mbox_line(text: &[u8]) -> bool {
    let angles = text.iter().take_while(|&&byte| byte == b'>').count();
    text[angles..].get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"From "))
}

/// The text with every line ended by CRLF.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(text.len() + text.len() / 32);
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        body.extend_from_slice(line);
        body.extend_from_slice(b"\r\n");
        rest = after;
    }
    body
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
        let (header, body, _) = parse(&HeaderLimits::default(), text.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (header.fields().map(|field| (text(field.name), text(field.value))).collect(), text(&body))
    }

    #[test]
    fn crlf_and_lf_files_give_the_same_fields() {
        for text in [
            "A: 1\r\nB : 2\r\n 3\r\n\r\nbody\r\n",
            "From x Mon\nA: 1\nB : 2\n 3\n\nbody\r\n",
            ">from x Mon\nA: 1\nB : 2\n 3\n\nbody",
        ] {
            let (fields, body) = fields(text);
            assert_eq!(fields, [("A".into(), " 1".into()), ("B".into(), " 2\n 3".into())]);
            assert_eq!(body, "body\r\n");
        }
    }

    #[test]
    fn a_line_that_is_no_field_begins_the_body() {
        assert_eq!(
            fields("A: 1\nnot a field\nB: 2\n"),
            (vec![("A".into(), " 1".into())], "not a field\r\nB: 2\r\n".into())
        );
        assert_eq!(fields(" folded: first\n"), (vec![], " folded: first\r\n".into()));
        assert_eq!(fields(""), (vec![], String::new()));
    }

    #[test]
    fn a_value_ends_at_its_first_nul() {
        let (fields, body) = fields("A: 1\0 2\n 3\nB: \0\n\na\0b\rc\n");
        assert_eq!(fields, [("A".into(), " 1".into()), ("B".into(), " ".into())]);
        assert_eq!(body, "a\0b\rc\r\n");
    }
}
