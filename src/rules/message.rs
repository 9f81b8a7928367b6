//! The header section as sieve-rs sees it, and the edits that a script made to it.

use std::collections::{HashMap, VecDeque};

use mail_parser::{Encoding, Message, MessageParser, MessagePart, PartType};

use crate::case::{Case, HeaderSection};

/// The section as text that a parser reads as exactly these fields: whatever could end a field early is a space.
pub fn header_section(header: &HeaderSection) -> Vec<u8> {
    let mut text = Vec::new();
    for field in header.fields() {
        text.extend_from_slice(field.bare_name());
        text.push(b':');
        for (index, &byte) in field.value.iter().enumerate() {
            text.push(match (byte, &field.value[index + 1..]) {
                (b'\n', [b' ' | b'\t', ..]) | (b'\r', [b'\n', b' ' | b'\t', ..]) => byte,
                (b'\0' | b'\r' | b'\n', _) => b' ',
                _ => byte,
            });
        }
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// How many recipients and addresses in header fields there can be at most.
pub fn most_addresses(case: &Case) -> usize {
    let separators = |value: &[u8]| value.iter().filter(|byte| b",;<".contains(byte)).count();
    case.envelope.recipients.len() + case.header.fields().map(|field| 1 + separators(field.value)).sum::<usize>()
}

/// Parses what [`header_section`] made; an empty section gives an empty message.
pub fn parse(text: &[u8]) -> Message<'_> {
    let parsed = if text.is_empty() { None } else { MessageParser::new().parse_headers(text) };
    parsed.filter(|message| !message.parts.is_empty()).unwrap_or_else(|| Message {
        parts: vec![MessagePart {
            headers: Vec::new(),
            is_encoding_problem: false,
            body: PartType::Text("".into()),
            encoding: Encoding::None,
            offset_header: 0,
            offset_body: 0,
            offset_end: 0,
        }],
        raw_message: text.into(),
        ..Message::default()
    })
}

/// A field of the parsed section: where its name begins, and the name in lower case.
pub type Original = Vec<(u32, String)>;

/// The fields before a script runs.
pub fn field_names(message: &Message<'_>) -> Original {
    let fields = message.parts.first().into_iter().flat_map(|part| &part.headers);
    fields.map(|field| (field.offset_field, field.name.as_str().to_ascii_lowercase())).collect()
}

/// A field that a script added: name, value, and whether at the end of the section.
pub type Added = (String, String, bool);

/// What a script changed: the fields it added, and the positions in the section of those it removed.
pub fn edits(original: &Original, message: &Message<'_>, header: &HeaderSection) -> (Vec<Added>, Vec<usize>) {
    let now = message.parts.first().map(|part| part.headers.as_slice()).unwrap_or_default();
    // sieve-rs gives a field that it made no place in the text.
    let is_new = |field: &mail_parser::Header<'_>| field.offset_end == 0;
    let first_old = now.iter().position(|field| !is_new(field)).unwrap_or(now.len());
    let mut added = Vec::new();
    for (position, field) in now.iter().enumerate().filter(|(_, field)| is_new(field)) {
        let value = field.value.as_text().unwrap_or_default().to_string();
        added.push((field.name.as_str().to_string(), value, position > first_old));
    }

    let left: std::collections::HashSet<u32> =
        now.iter().filter(|field| !is_new(field)).map(|field| field.offset_field).collect();
    if left.len() == original.len() {
        return (added, Vec::new());
    }
    let mut positions: HashMap<Vec<u8>, VecDeque<usize>> = HashMap::new();
    for (position, field) in header.fields().enumerate() {
        positions.entry(field.bare_name().to_ascii_lowercase()).or_default().push_back(position);
    }
    let mut removed = Vec::new();
    for (offset, name) in original {
        // The next field of that name in the section.
        let position = positions.get_mut(name.as_bytes()).and_then(VecDeque::pop_front);
        if !left.contains(offset) {
            removed.extend(position);
        }
    }
    (added, removed)
}
