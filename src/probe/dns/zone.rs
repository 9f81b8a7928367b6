//! Records as they are written into a zone file (RFC 1035, section 5).

/// Longest string of a TXT record, in bytes.
const MAX_STRING: usize = 255;

/// A TXT record; a long text in several strings.
pub fn txt(name: &str, text: &str) -> String {
    let mut strings = vec![String::new()];
    let mut length = 0;
    for letter in text.chars() {
        if length + letter.len_utf8() > MAX_STRING {
            strings.push(String::new());
            length = 0;
        }
        length += letter.len_utf8();
        if let Some(string) = strings.last_mut() {
            if matches!(letter, '"' | '\\') {
                string.push('\\');
            }
            string.push(letter);
        }
    }
    let strings: Vec<String> = strings.iter().map(|string| format!("\"{string}\"")).collect();
    format!("{name}. IN TXT {}", strings.join(" "))
}

/// An MX record.
pub fn mx(domain: &str, preference: u16, host: &str) -> String {
    format!("{domain}. IN MX {preference} {host}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_split_and_quotes_are_escaped() {
        assert_eq!(txt("x.test", r#"a "b" \"#), r#"x.test. IN TXT "a \"b\" \\""#);
        let long = "k".repeat(300);
        assert_eq!(txt("x.test", &long), format!("x.test. IN TXT \"{}\" \"{}\"", &long[..255], &long[255..]));
    }
}
