//! Reads a TOML tree key by key and collects everything that is wrong with it.
//!
//! The reader knows TOML, places and wording, but no key: what is asked for exists, and what the file holds beyond
//! that is unknown. So the list of keys cannot differ from what is read.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors};
use super::suggest;
use super::syntax::{self, Syntax};
use super::text::{Lines, quote, written_key};

type Value<'a> = Spanned<DeValue<'a>>;

/// A configuration file that is being read.
pub struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    lines: Lines<'a>,
    root: &'a DeTable<'a>,
    syntax: Syntax,
    asked: Vec<String>,
    /// Sections with a name that cannot be.
    misnamed: Vec<String>,
    /// What stands for a name that the file chooses, where the keys are listed and there is no file.
    placeholder: Option<&'static str>,
    missing: Vec<(String, String)>,
    errors: Vec<ConfigError>,
}

/// Parses `text` and lets `read` ask for keys. `read` gives back something in every case; it counts only if no error
/// was found.
///
/// # Errors
/// Everything that is wrong, sorted by line.
pub fn read<T>(file: &Path, text: &str, read: impl FnOnce(&mut Reader) -> T) -> Result<T, ConfigErrors> {
    match read_flawed(file, text, read) {
        (result, errors) if errors.is_empty() => Ok(result),
        (_, errors) => Err(ConfigErrors(errors)),
    }
}

/// Parses `text`, lets `read` ask for keys, and gives back what it made of those that are right, and everything that is
/// wrong, sorted by line.
pub fn read_flawed<T>(file: &Path, text: &str, read: impl FnOnce(&mut Reader) -> T) -> (T, Vec<ConfigError>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let root = root.into_inner();
    let lines = Lines::of(text);
    let syntax = syntax::judge(text, &lines, &root, &errors);
    let mut reader = Reader::new(file, text, lines, &root, syntax);
    let result = read(&mut reader);
    (result, reader.finish())
}

/// The keys that `read` asks for, in its order. `NAME` stands for a name that the file chooses.
pub fn keys_of<T>(read: impl FnOnce(&mut Reader) -> T) -> Vec<String> {
    let root = DeTable::new();
    let mut reader = Reader::new(Path::new(""), "", Lines::of(""), &root, Syntax::default());
    reader.placeholder = Some("NAME");
    read(&mut reader);
    reader.asked
}

/// The line on which `text` sets a key.
pub fn line_of(text: &str, key: &str) -> Option<usize> {
    let (root, _) = DeTable::parse_recoverable(text);
    let root = root.into_inner();
    let reader = Reader::new(Path::new(""), text, Lines::of(text), &root, Syntax::default());
    reader.lookup(key).map(|value| reader.lines.place(value.span().start).0)
}

impl<'a> Reader<'a> {
    fn new(file: &'a Path, text: &'a str, lines: Lines<'a>, root: &'a DeTable<'a>, syntax: Syntax) -> Self {
        Self {
            file,
            text,
            lines,
            root,
            syntax,
            asked: Vec::new(),
            misnamed: Vec::new(),
            placeholder: None,
            missing: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The configuration file.
    pub fn file(&self) -> &Path {
        self.file
    }

    /// A string that `parse` turns into a value. `example` is a TOML value to be named in errors, here and below.
    pub fn string<T>(&mut self, key: &str, example: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => self.parsed(key, value, text, &parse),
            _ => self.wrong_type(key, value, &format!("a string, such as {example}")),
        }
    }

    /// A list of strings, each with its place. Duplicates, as `parse` gives them back, are errors.
    pub fn strings<T: Clone + Eq + Hash>(
        &mut self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key)?;
        let DeValue::Array(entries) = value.get_ref() else {
            return self.wrong_type(key, value, &format!("a list, such as {example}"));
        };
        let mut seen = HashSet::new();
        let mut list = Vec::new();
        for entry in entries {
            let DeValue::String(text) = entry.get_ref() else {
                let _: Option<T> = self.wrong_type(key, entry, &format!("strings only, such as {example}"));
                continue;
            };
            let Some(parsed) = self.parsed(key, entry, text, &parse) else { continue };
            if seen.insert(parsed.clone()) {
                list.push(Spanned::new(entry.span(), parsed));
            } else {
                self.wrong(key, entry.span(), "is in the list already; remove one of them");
            }
        }
        Some(list)
    }

    /// As [`Self::strings`], and a single string stands for a list of one.
    pub fn string_or_strings<T: Clone + Eq + Hash>(
        &mut self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => {
                let parsed = self.parsed(key, value, text, &parse)?;
                Some(vec![Spanned::new(value.span(), parsed)])
            }
            DeValue::Array(_) => self.strings(key, example, parse),
            _ => self.wrong_type(key, value, &format!("a string or a list of strings, such as {example}")),
        }
    }

    /// One of a few strings.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        self.string(key, &names.join(" or "), |written| {
            let chosen = choices.iter().find(|(name, _)| *name == written);
            chosen.map(|(_, choice)| *choice).ok_or_else(|| format!("is not known; write one of {}", names.join(", ")))
        })
    }

    /// An integer within `range`, both ends included; `unit` says what it counts, for errors.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let value = self.value(key)?;
        let (least, most) = (range.start(), range.end());
        let DeValue::Integer(integer) = value.get_ref() else {
            return self.wrong_type(key, value, &format!("an integer from {least} to {most} ({unit})"));
        };
        let number =
            u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(
                key,
                value.span(),
                &format!("is out of range; write an integer from {least} to {most} ({unit})"),
            );
        }
        number
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(*boolean),
            _ => self.wrong_type(key, value, "true or false"),
        }
    }

    /// A fraction from 0.0 to 1.0.
    pub fn fraction(&mut self, key: &str) -> Option<f64> {
        const INSTEAD: &str = "a fraction from 0.0 to 1.0";
        let value = self.value(key)?;
        let written = match value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => return self.wrong_type(key, value, INSTEAD),
        };
        let fraction = written.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction));
        if fraction.is_none() {
            self.wrong(key, value.span(), &format!("is out of range; write {INSTEAD}"));
        }
        fraction
    }

    /// The names of the sections within `section` whose names the file chooses: all that were not asked for so far.
    /// `check` says what is wrong with a name, as a phrase that follows it.
    pub fn named_sections(&mut self, section: &str, check: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        let table = self.root.get(section).and_then(|value| value.get_ref().as_table());
        let mut names: Vec<String> = self.placeholder.map(str::to_owned).into_iter().collect();
        for (name, value) in table.into_iter().flatten() {
            let path = format!("{section}.{}", written_key(name.get_ref()));
            if self.asked.contains(&path) || !value.get_ref().is_table() {
                continue;
            }
            match check(name.get_ref()) {
                Ok(()) => names.push(name.get_ref().to_string()),
                Err(problem) => self.misnamed(section, name, &problem),
            }
        }
        names
    }

    /// Strings in `section` whose keys the file chooses. `check` says what is wrong with a name, and `parse` with a value,
    /// as phrases that follow them.
    pub fn named_strings<T>(
        &mut self,
        section: &str,
        example: &str,
        check: impl Fn(&str) -> Result<(), String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(String, T)> {
        let table = self.root.get(section).and_then(|value| value.get_ref().as_table());
        let mut names: Vec<String> = self.placeholder.map(str::to_owned).into_iter().collect();
        for (name, _) in table.into_iter().flatten() {
            match check(name.get_ref()) {
                Ok(()) => names.push(name.get_ref().to_string()),
                Err(problem) => self.misnamed(section, name, &problem),
            }
        }
        if names.is_empty() {
            // The section exists all the same.
            self.asked.push(format!("{section}.*"));
        }
        let mut strings = Vec::new();
        for name in names {
            let value = self.string(&format!("{section}.{name}"), example, &parse);
            strings.extend(value.map(|value| (name, value)));
        }
        strings
    }

    fn misnamed(&mut self, section: &str, name: &Spanned<impl AsRef<str>>, problem: &str) {
        let written = written_key(name.get_ref().as_ref());
        let path = format!("{section}.{written}");
        self.error(Some(name.span().start), Some(&path), format!("{written} {problem}"));
        self.misnamed.push(path);
    }

    /// Whether the file holds the key, rightly or wrongly.
    pub fn has(&self, key: &str) -> bool {
        self.lookup(key).is_some()
    }

    /// Whether an error about the key was found so far.
    pub fn is_flawed(&self, key: &str) -> bool {
        self.errors.iter().any(|error| error.key.as_deref() == Some(key))
    }

    /// An error unless the file holds the key; an empty list is none.
    pub fn require(&mut self, key: &str, example: &str) {
        match self.lookup(key) {
            None => {
                let message = match key.rsplit_once('.') {
                    Some((section, name)) => format!("missing; write for example {name} = {example} in [{section}]"),
                    None => format!("missing; write for example {key} = {example}"),
                };
                self.missing.push((key.to_owned(), message));
            }
            Some(value) if value.get_ref().as_array().is_some_and(|list| list.is_empty()) => {
                self.wrong(key, value.span(), &format!("is empty; write at least one entry, such as {example}"));
            }
            Some(_) => {}
        }
    }

    /// An error about the value of a key, or nothing if the file does not hold the key.
    pub fn wrong_value(&mut self, key: &str, problem: &str) {
        if let Some(value) = self.lookup(key) {
            self.wrong(key, value.span(), problem);
        }
    }

    /// An error about what stands at `span`: a phrase that follows the value as written.
    pub fn wrong(&mut self, key: &str, span: Range<usize>, problem: &str) {
        let message = format!("{} {problem}", quote(self.text.get(span.clone()).unwrap_or_default()));
        self.error(Some(span.start), Some(key), message);
    }

    /// An error without a place.
    pub fn wrong_without_place(&mut self, key: &str, message: String) {
        self.error(None, Some(key), message);
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        value: &Value,
        text: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text).map_err(|problem| self.wrong(key, value.span(), &problem)).ok()
    }

    fn wrong_type<T>(&mut self, key: &str, value: &Value, instead: &str) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "a truth value",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        self.wrong(key, value.span(), &format!("is {found}; write {instead}"));
        None
    }

    fn error(&mut self, offset: Option<usize>, key: Option<&str>, message: String) {
        let line = offset.map(|offset| self.lines.place(offset).0);
        let key = key.map(str::to_owned);
        self.errors.push(ConfigError { file: self.file.to_owned(), line, column: None, key, message });
    }

    /// The value of a key, unless a syntax error spoils it.
    fn value(&mut self, key: &str) -> Option<&'a Value<'a>> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        self.lookup(key).filter(|value| !self.syntax.spoils(&value.span()))
    }

    fn lookup(&self, key: &str) -> Option<&'a Value<'a>> {
        let (section, name) = key.rsplit_once('.').map_or((None, key), |(section, name)| (Some(section), name));
        let mut table = self.root;
        for name in section.into_iter().flat_map(|section| section.split('.')) {
            table = table.get(name)?.get_ref().as_table()?;
        }
        table.get(name)
    }

    fn finish(mut self) -> Vec<ConfigError> {
        if self.syntax.structure_is_lost() {
            // Where sections and keys cannot be told apart, whatever else was found is guesswork.
            self.errors.clear();
        } else {
            self.walk(self.root, "");
        }
        if !self.syntax.may_hide_keys() {
            for (key, message) in std::mem::take(&mut self.missing) {
                self.error(None, Some(&key), message);
            }
        }
        for error in std::mem::take(&mut self.syntax.errors) {
            let (line, column) = self.lines.place(error.offset);
            self.errors.push(ConfigError {
                file: self.file.to_owned(),
                line: Some(line),
                column: Some(column),
                key: error.key,
                message: error.message,
            });
        }
        self.errors.sort_by_key(|error| (error.line, error.column));
        self.errors
    }

    /// Reports what nobody asked for, and values where a section should be.
    fn walk(&mut self, table: &'a DeTable<'a>, prefix: &str) {
        for (name, value) in table {
            let path = format!("{prefix}{}", written_key(name.get_ref()));
            if self.asked.contains(&path) || self.misnamed.contains(&path) {
                continue;
            }
            let section = format!("{path}.");
            match value.get_ref() {
                DeValue::Table(inner) if self.asked.iter().any(|key| key.starts_with(&section)) => {
                    self.walk(inner, &section);
                }
                _ if self.asked.iter().any(|key| key.starts_with(&section)) => {
                    self.wrong(&path, value.span(), &format!("is no section; write [{path}] on a line of its own"));
                }
                found => {
                    let suggestion = suggest::nearest(&path, matches!(found, DeValue::Table(_)), &self.asked);
                    if let Some(key) = suggestion.instead {
                        // The key is there, under another name: that is one mistake, not two.
                        self.missing.retain(|(missing, _)| *missing != key);
                    }
                    self.error(Some(name.span().start), Some(&path), suggestion.message);
                }
            }
        }
    }
}
