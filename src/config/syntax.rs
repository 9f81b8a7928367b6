//! TOML syntax errors: which values they spoil, and how to say so.

use std::collections::HashSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::text::{Lines, quote, written_key};

/// What a file's syntax errors mean for reading the rest of it.
#[derive(Default)]
pub struct Syntax {
    /// The errors, at most one a value.
    pub errors: Vec<SyntaxError>,
    spoiled: HashSet<Range<usize>>,
    lost: bool,
}

/// One syntax error.
pub struct SyntaxError {
    /// Where it is: a byte offset.
    pub offset: usize,
    /// The key whose value it is in.
    pub key: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Syntax {
    /// Whether the text may hold keys that the tree does not.
    pub fn may_hide_keys(&self) -> bool {
        self.lost || !self.spoiled.is_empty()
    }

    /// Whether an error is confined to no value, so that keys and sections cannot be told apart any more.
    pub fn structure_is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the value at `span` has a syntax error in it.
    pub fn spoils(&self, span: &Range<usize>) -> bool {
        self.spoiled.contains(span)
    }
}

/// A value that is no table, with its key.
struct Leaf {
    key: String,
    span: Range<usize>,
}

/// Finds out what `errors`, of the recovered tree `root` of `text`, are about.
pub fn judge(text: &str, lines: &Lines, root: &DeTable, errors: &[Error]) -> Syntax {
    let mut syntax = Syntax::default();
    if errors.is_empty() {
        return syntax;
    }
    let mut leaves = Vec::new();
    collect(root, "", &mut leaves);
    leaves.sort_by_key(|leaf| leaf.span.start);
    let mut errors: Vec<(usize, &Error)> =
        errors.iter().map(|error| (error.span().unwrap_or_default().start, error)).collect();
    errors.sort_by_key(|(offset, _)| *offset);
    let mut last_line = 0;
    for (offset, error) in errors {
        let span = error.span().unwrap_or_default();
        if error.message() == "duplicate key" {
            let message = format!("{} is here for the second time; remove one", first_line(text, &span));
            syntax.errors.push(SyntaxError { offset, key: None, message });
            continue;
        }
        let before = leaves.partition_point(|leaf| leaf.span.start <= offset);
        let leaf = before
            .checked_sub(1)
            .map(|index| &leaves[index])
            .filter(|leaf| lines.line(offset) <= lines.line(leaf.span.end));
        match leaf {
            // One mistake makes many errors: the first of a value, or of a line, tells most.
            Some(leaf) if syntax.spoils(&leaf.span) => {}
            Some(leaf) => {
                let (key, message) = (Some(leaf.key.clone()), advice(text, lines, leaf, error));
                syntax.errors.push(SyntaxError { offset, key, message });
                syntax.spoiled.insert(leaf.span.clone());
            }
            None => {
                syntax.lost = true;
                if lines.line(offset) != last_line {
                    syntax.errors.push(SyntaxError { offset, key: None, message: error.message().to_owned() });
                }
                last_line = lines.line(offset);
            }
        }
    }
    syntax
}

/// Says what to write instead, above all for the habits of other files' syntax.
fn advice(text: &str, lines: &Lines, leaf: &Leaf, error: &Error) -> String {
    let message = error.message();
    let value = first_line(text, &leaf.span);
    let bad = error.span().map(|span| first_line(text, &span)).unwrap_or_default();
    let begins = value.chars().next();
    if value.is_empty() {
        return "there is no value; write one, or remove the line".into();
    }
    if message.contains("comma between array") || message.contains("unclosed array") {
        let line = lines.line(leaf.span.start);
        return format!("\",\" or \"]\" is missing before this; the list begins on line {line}");
    }
    if message.contains("leading zero") {
        return format!(
            "{value} begins with a zero; leave the zero out, or write \"{value}\" where a string is asked for"
        );
    }
    if message.contains("must be quoted") || message.contains("boolean") {
        return match bad.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => format!("{bad} is no TOML value; write true"),
            "no" | "off" | "false" => format!("{bad} is no TOML value; write false"),
            _ => format!("{bad} is not in quotes; write \"{bad}\""),
        };
    }
    match begins {
        Some('"') if message.contains("escape") || message.contains("unicode") => {
            format!("{value} has a backslash in it; write two for one, or put the string in single quotes")
        }
        Some(quote @ ('"' | '\'')) if message.contains("string") => {
            format!("{value} has no end; close it with {quote}")
        }
        Some('"' | '\'' | '[' | '{') => format!("{value}: {message}"),
        _ => format!("{value} is no TOML value ({message}); put text in quotes, and lists in brackets"),
    }
}

fn collect(table: &DeTable, prefix: &str, leaves: &mut Vec<Leaf>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", written_key(name.get_ref()));
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, &format!("{key}."), leaves),
            _ => leaves.push(Leaf { key, span: value.span() }),
        }
    }
}

/// The first line of what stands at `span`.
fn first_line(text: &str, span: &Range<usize>) -> String {
    quote(text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default())
}
