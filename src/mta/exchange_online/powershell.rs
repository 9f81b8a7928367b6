//! Values as PowerShell source text. All quoting is here.

use std::fmt::Write as _;

/// The characters that end a single-quoted string: PowerShell takes the typographic ones for the plain one
/// (about_Quoting_Rules; the tokenizer's test for single quotes).
const SINGLE_QUOTES: &str = "'\u{2018}\u{2019}\u{201a}\u{201b}";

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// `$true` or `$false`.
    Flag(bool),
    /// A whole number.
    Number(i32),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A list of texts.
    pub fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Texts(texts.into_iter().map(Into::into).collect())
    }

    /// Source text of an expression that has this value.
    pub fn source(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Texts(texts) => {
                format!("@({})", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
            }
            Self::Flag(true) => "$true".into(),
            Self::Flag(false) => "$false".into(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// A single-quoted string: nothing in it is expanded, and every character that could end it is doubled.
pub fn quoted(text: &str) -> String {
    let mut source = String::with_capacity(text.len() + 2);
    source.push('\'');
    for character in text.chars() {
        if SINGLE_QUOTES.contains(character) {
            source.push(character);
        }
        source.push(character);
    }
    source.push('\'');
    source
}

/// A hash table in the order given, its closing brace indented by `indent` spaces.
pub fn ordered(settings: &[(&str, Value)], indent: usize) -> String {
    if settings.is_empty() {
        return "[ordered]@{}".into();
    }
    let mut source = String::from("[ordered]@{\n");
    for (name, value) in settings {
        // Writing into a string cannot fail.
        let _ = writeln!(source, "{:indent$}    {name} = {}", "", value.source());
    }
    let _ = write!(source, "{:indent$}}}", "");
    source
}

/// A text from outside, as a name or a value: `what` names it in the error, `most` is its greatest length in
/// characters.
///
/// # Errors
/// If it is empty, begins or ends with a space, is too long, or has control characters or line separators.
pub fn checked(what: &str, text: &str, most: usize) -> Result<String, String> {
    let unprintable =
        |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if text.is_empty() || text.trim() != text {
        return Err(format!("{what}: {text:?} is empty, or has a space at its beginning or end; write it without"));
    }
    if text.chars().any(unprintable) {
        return Err(format!("{what}: {text:?} has line ends or control characters; write it on one line"));
    }
    let length = text.chars().count();
    if length > most {
        return Err(format!("{what}: {text:?} has {length} characters; Exchange Online takes at most {most}"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_single_quote_is_doubled() {
        assert_eq!(quoted("o'brien"), "'o''brien'");
        assert_eq!(quoted("‘a’ ‚b‛"), "'‘‘a’’ ‚‚b‛‛'");
        assert_eq!(quoted("$(x) `n \"y\""), "'$(x) `n \"y\"'");
    }

    #[test]
    fn values() {
        assert_eq!(Value::texts(["a", "b'"]).source(), "@('a', 'b''')");
        assert_eq!(Value::Number(-1).source(), "-1");
        assert_eq!(ordered(&[], 4), "[ordered]@{}");
        assert_eq!(ordered(&[("A", Value::Flag(true))], 4), "[ordered]@{\n        A = $true\n    }");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for text in ["", " a", "a ", "a\nb", "a\rb", "a\0b", "a\u{2028}b", "a\u{85}b", &"x".repeat(65)] {
            assert!(checked("--name", text, 64).is_err(), "{text:?}");
        }
        assert_eq!(checked("--name", "Größe ’s", 64).unwrap(), "Größe ’s");
    }
}
