//! List files: an address or `@domain` a line.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::Mistake;
use super::stamp::Stamp;
use crate::address::AddressSet;
use crate::config;
use crate::telemetry;

/// The largest file that is read, in bytes: some ten million addresses. More is no list of addresses.
const MAX_SIZE: u64 = 512 << 20;

/// Most mistakes that are told of one file; more of them are one mistake.
const MAX_MISTAKES: usize = 20;

/// A list file as it was last read.
#[derive(Debug, Clone)]
pub struct ListFile {
    /// Its entries.
    pub members: AddressSet,
    /// When the file was last seen to be the one that was read.
    pub confirmed: SystemTime,
    /// What is wrong with the file as it is now, if anything is.
    pub problem: Option<String>,
    /// The file as it was read, rightly or wrongly.
    read: Option<Stamp>,
    /// The file at the last look.
    seen: Option<Stamp>,
}

/// What a look at a list file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The same entries, or a file that is still being written.
    Same,
    /// Other entries.
    Changed,
    /// Mistakes that were not there before; the entries stay.
    Refused,
}

impl ListFile {
    /// Reads a list file.
    ///
    /// # Errors
    /// As [`parse`], and when it cannot be read.
    pub fn load(file: &Path, hosted: Option<&HashSet<String>>, now: SystemTime) -> Result<Self, Vec<Mistake>> {
        let stamp = Stamp::of(file);
        let members = members(file, hosted)?;
        Ok(Self { members, confirmed: now, problem: None, read: stamp, seen: stamp })
    }

    /// Reads the file again if it is another one, and was so at the last look: one that is still being written is left
    /// alone. What is wrong is told once.
    pub fn look(&mut self, file: &Path, hosted: Option<&HashSet<String>>, now: SystemTime) -> Look {
        let stamp = Stamp::of(file);
        let settled = std::mem::replace(&mut self.seen, stamp) == stamp;
        if stamp == self.read || !settled {
            if stamp == self.read && self.problem.is_none() {
                self.confirmed = now;
            }
            return Look::Same;
        }
        let found = members(file, hosted);
        if Stamp::of(file) != stamp {
            return Look::Same;
        }
        self.read = stamp;
        match found {
            Ok(members) => {
                let changed = !members.same_entries(&self.members);
                telemetry::list_file_read(file, members.len());
                (self.members, self.confirmed, self.problem) = (members, now, None);
                if changed { Look::Changed } else { Look::Same }
            }
            Err(mistakes) => {
                let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                telemetry::list_file_refused(&lines);
                self.problem = lines.into_iter().next();
                Look::Refused
            }
        }
    }
}

fn members(file: &Path, hosted: Option<&HashSet<String>>) -> Result<AddressSet, Vec<Mistake>> {
    let text = read(file).map_err(|mistake| vec![mistake])?;
    Ok(parse(file, &text, hosted)?.into_iter().map(|(_, entry)| entry).collect())
}

/// Reads a file's bytes.
///
/// # Errors
/// When it cannot be read, or is too large to be a list.
pub fn read(file: &Path) -> Result<Vec<u8>, Mistake> {
    let mistake = |message| Mistake { place: file.display().to_string(), line: None, message, may_pass: false };
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

/// The line, from 1, on which a file lists an entry.
pub fn line_of(file: &Path, entry: &str) -> Option<usize> {
    let entries = parse(file, &read(file).ok()?, None).ok()?;
    entries.into_iter().find(|(_, found)| found == entry).map(|(line, _)| line)
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
    let mistake = |line, message| Mistake { place: file.display().to_string(), line, message, may_pass: false };
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
    use std::time::Duration;

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

    #[test]
    fn a_change_is_read_once_it_has_settled_and_a_mistake_keeps_the_entries() {
        let path = super::super::tests::folder("list-file").join("senders");
        let put = |text: &str| {
            // As an editor does that renames.
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), &path).unwrap();
        };
        let now = SystemTime::now();
        put("alice@customer.test\n");
        let mut file = ListFile::load(&path, None, now).unwrap();
        let entries = |file: &ListFile| file.members.entries().collect::<Vec<_>>().join(" ");
        assert_eq!(file.look(&path, None, now), Look::Same);
        put("alice@customer.test\nbob@customer.test\n");
        let looks = |file: &mut ListFile, now| -> Vec<Look> { (0..3).map(|_| file.look(&path, None, now)).collect() };
        assert_eq!(looks(&mut file, now), [Look::Same, Look::Changed, Look::Same]);
        assert_eq!(entries(&file), "alice@customer.test bob@customer.test");
        for (what, problem) in [
            (Some("bob@\n"), "senders:1: \"bob@\" has no domain"),
            (None, "cannot be read"),
            (Some("\n"), "has no entry"),
        ] {
            match what {
                Some(text) => put(text),
                None => fs::remove_file(&path).unwrap(),
            }
            let later = now + Duration::from_secs(60);
            assert_eq!(looks(&mut file, later), [Look::Same, Look::Refused, Look::Same]);
            assert!(file.problem.as_deref().unwrap().contains(problem), "{:?}", file.problem);
            assert_eq!((entries(&file).as_str(), file.confirmed), ("alice@customer.test bob@customer.test", now));
        }
        put("carol@customer.test\n");
        assert_eq!(looks(&mut file, now), [Look::Same, Look::Changed, Look::Same]);
        // The same entries in another order, and in a file that was written in place.
        fs::write(&path, "# comment\nCarol@customer.test\n").unwrap();
        assert_eq!(looks(&mut file, now), [Look::Same; 3]);
        assert_eq!(file.problem, None);
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
