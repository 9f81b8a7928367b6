//! Messages that no file can hold, or that would be too long to read: `DATA escaped`.
//!
//! `\xHH` is a byte, `\N{TEXT}` the text N times, and `\#` in it the number of the repetition, from 0. The text may have
//! escapes of its own, and repetitions.

/// The bytes that a line stands for.
///
/// # Errors
/// A backslash that begins none of these.
pub fn bytes(line: &str) -> Result<Vec<u8>, String> {
    expand(line, None)
}

fn expand(text: &str, number: Option<usize>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = if let Some(after) = after.strip_prefix('x') {
            let digits = after.get(..2).ok_or("\\x takes two digits")?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| format!("not a byte: \\x{digits}"))?);
            &after[2..]
        } else if let (Some(after), Some(number)) = (after.strip_prefix('#'), number) {
            bytes.extend_from_slice(number.to_string().as_bytes());
            after
        } else {
            let (count, after) = after.split_once('{').ok_or("an escape that is none")?;
            let count: usize = count.parse().map_err(|_| format!("not a number: {count}"))?;
            let end = closing_brace(after).ok_or("a brace is not closed")?;
            for number in 0..count {
                bytes.extend(expand(&after[..end], Some(number))?);
            }
            &after[end + 1..]
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
