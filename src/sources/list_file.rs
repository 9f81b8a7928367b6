//! List files: an address or `@domain` a line.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config;

/// The largest file that is read, in bytes: some ten million addresses. More is no list of addresses.
const MAX_SIZE: u64 = 512 << 20;

/// Most mistakes that are told of one file; more of them are one mistake.
const MAX_MISTAKES: usize = 20;

/// A mistake in a list file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1; `None` for the file as a whole.
    pub line: Option<usize>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Reads a file's bytes.
///
/// # Errors
/// When it cannot be read, or is too large to be a list.
pub fn read(file: &Path) -> Result<Vec<u8>, Mistake> {
    let mistake = |message| Mistake { file: file.to_owned(), line: None, message };
    let unreadable = |error: std::io::Error| mistake(format!("cannot be read: {}", config::reason(&error)));
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(mistake("is not a file".into()));
    }
    if metadata.len() > MAX_SIZE {
        return Err(mistake(format!("is larger than {} MiB, which no list of addresses is", MAX_SIZE >> 20)));
    }
    fs::read(file).map_err(unreadable)
}

/// The entries of a list file's text, each with its line from 1: addresses and `@domain` entries in the form of
/// [`Address::full`](crate::address::Address::full).
///
/// White space around an entry, empty lines, lines that begin with `#`, what follows white space and `#`, CRLF and a
/// UTF-8 byte order mark do not matter. Where `hosted` is given, entries must be of its domains.
///
/// # Errors
/// The mistakes, at most [`MAX_MISTAKES`] and one that says how many more there are; a list without any entry is one.
pub fn parse(file: &Path, text: &[u8], hosted: Option<&HashSet<String>>) -> Result<Vec<(usize, String)>, Vec<Mistake>> {
    let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
    let mistake = |line, message| Mistake { file: file.to_owned(), line, message };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        match entry(line, hosted) {
            Ok(Some(entry)) => entries.push((number, entry)),
            Ok(None) => {}
            Err(message) => mistakes.push(mistake(Some(number), message)),
        }
    }
    let more = mistakes.len().saturating_sub(MAX_MISTAKES);
    mistakes.truncate(MAX_MISTAKES);
    if more > 0 {
        mistakes.push(mistake(None, format!("has {more} more mistakes of this kind")));
    }
    if entries.is_empty() && mistakes.is_empty() {
        let message = "has no entry; write an address such as alice@example.com on each line, or take the file out of \
                       the configuration";
        mistakes.push(mistake(None, message.into()));
    }
    if mistakes.is_empty() { Ok(entries) } else { Err(mistakes) }
}

/// The entry of a line; `None` if it has none.
fn entry(line: &[u8], hosted: Option<&HashSet<String>>) -> Result<Option<String>, String> {
    const QUOTE_MAX: usize = 60;
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8; save the file in UTF-8")?.trim();
    // "#" can stand in a local part (RFC 5322, 3.2.3), so that a comment has to be set off.
    let written = match line.split_once([' ', '\t']) {
        Some((entry, rest)) if rest.trim_start().starts_with('#') => entry,
        _ => line,
    };
    if written.is_empty() || written.starts_with('#') {
        return Ok(None);
    }
    let quoted: String = written.chars().take(QUOTE_MAX).flat_map(char::escape_debug).collect();
    let entry = config::sender(written).map_err(|problem| format!("\"{quoted}\" {problem}"))?;
    let domain = entry.rsplit_once('@').map_or("", |(_, domain)| domain);
    match hosted {
        Some(hosted) if !hosted.contains(domain) => {
            Err(format!("\"{quoted}\" is not of a hosted domain; add \"{domain}\" to domains, or remove the entry"))
        }
        _ => Ok(Some(entry)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &[u8]) -> Result<Vec<(usize, String)>, Vec<String>> {
        let hosted = HashSet::from(["customer.test".to_string()]);
        parse(Path::new("senders"), text, Some(&hosted))
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn entries_comments_and_the_habits_of_editors() {
        let text = b"\xef\xbb\xbf# senders\r\n\r\nAlice@Customer.test\r\n  @customer.test.\t# all\r\nb#b@customer.test";
        let entries = [(3, "alice@customer.test"), (4, "@customer.test"), (5, "b#b@customer.test")];
        assert_eq!(parsed(text), Ok(entries.map(|(line, entry)| (line, entry.to_string())).into()));
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let text =
            b"alice@customer.test\nbob\nalice@customer.test bob@customer.test\nbob@remote.test\n\xff@customer.test\n";
        let mistakes = parsed(text).unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        for (mistake, (line, text)) in mistakes.iter().zip([
            (2, "\"bob\" is no address"),
            (3, "has no mailbox before its"),
            (4, "\"bob@remote.test\" is not of a hosted domain"),
            (5, "is not UTF-8"),
        ]) {
            assert!(mistake.starts_with(&format!("senders:{line}: ")) && mistake.contains(text), "{mistake}");
        }
    }

    #[test]
    fn a_list_of_something_else_is_told_in_few_lines() {
        let mistakes = parsed("nobody\n".repeat(1000).as_bytes()).unwrap_err();
        assert_eq!(mistakes.len(), MAX_MISTAKES + 1);
        assert_eq!(mistakes.last().unwrap(), "senders: has 980 more mistakes of this kind");
    }

    #[test]
    fn a_list_without_an_entry_is_a_mistake() {
        for text in ["", "\n\n", "# alice@customer.test\n", "\u{feff}"] {
            let mistakes = parsed(text.as_bytes()).unwrap_err();
            assert!(mistakes[0].starts_with("senders: has no entry"), "{mistakes:?}");
        }
    }

    #[test]
    fn a_named_list_may_hold_addresses_from_outside() {
        let entries = parse(Path::new("partners"), b"bob@remote.test\n", None);
        assert_eq!(entries, Ok(vec![(1, "bob@remote.test".to_string())]));
    }

    #[test]
    fn what_cannot_be_read_is_a_mistake() {
        let told = |file: &str| read(Path::new(file)).unwrap_err().to_string();
        assert_eq!(told("none/such"), "none/such: cannot be read: No such file or directory");
        assert_eq!(told("src"), "src: is not a file");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_every_line_is_accounted_for(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let lines = text.split(|byte| *byte == b'\n').count();
            match parse(Path::new("x"), &text, None) {
                Ok(entries) => prop_assert!(entries.iter().all(|(line, _)| (1..=lines).contains(line))),
                Err(mistakes) => prop_assert!(!mistakes.is_empty()),
            }
        }

        #[test]
        fn line_ends_and_comments_do_not_matter(names in prop::collection::vec("[a-z]{1,8}", 1..20)) {
            let write = |before: &str, after: &str| -> String {
                names.iter().map(|name| format!("{before}{name}@customer.test{after}")).collect()
            };
            let entries = |text: String| -> Vec<String> {
                parsed(text.as_bytes()).unwrap().into_iter().map(|(_, entry)| entry).collect()
            };
            let plain = entries(write("", "\n"));
            prop_assert_eq!(&entries(write("", "\r\n")), &plain);
            prop_assert_eq!(&entries(write("# one\n \t", " # two\r\n")), &plain);
        }
    }
}
