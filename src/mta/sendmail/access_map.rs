//! The access map: its source, our lines in it, and the indexed file that makemap(8) makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Cf;
use super::command::{CommandError, Program};
use super::revision::RevisionError;
use crate::mta::change::Change;
use crate::mta::scratch::Scratch;

/// The lines between which setup writes.
pub(super) const BEGIN: &str =
    "# --- conbool-milter: begin; what stands between these lines is replaced by `conbool-milter setup`\n";
pub(super) const END: &str = "# --- conbool-milter: end\n";

/// The kinds of indexed files that makemap(8) writes, and what it appends to their names.
const TYPES: [(&str, &str); 4] = [("hash", "db"), ("btree", "db"), ("dbm", "pag"), ("cdb", "cdb")];

/// An access map that makemap(8) writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessMap {
    kind: &'static str,
    /// Its source.
    pub source: PathBuf,
    /// The indexed file.
    pub indexed: PathBuf,
}

impl AccessMap {
    /// That of a sendmail.cf; `None` if there is none, or it is no such file (LDAP, say).
    pub fn of(cf: &Cf) -> Option<Self> {
        let words: Vec<&str> = cf.map("access")?.split_whitespace().collect();
        let (kind, extension) = *TYPES.iter().find(|(name, _)| words.first() == Some(name))?;
        if kind == "dbm" {
            // Two files, which do not change as one.
            return None;
        }
        let path = words.last().filter(|path| path.starts_with('/'))?;
        let stem = path.strip_suffix(&format!(".{extension}")).unwrap_or(path);
        Some(Self { kind, source: stem.into(), indexed: format!("{stem}.{extension}").into() })
    }

    /// Adds to `change` what puts these lines into the map. `program` is Sendmail's, and `cf` its new configuration.
    ///
    /// # Errors
    /// [`RevisionError`]: also if the indexed file is not what makemap makes of its source, or the site's own lines say
    /// otherwise.
    pub fn revise(&self, change: &mut Change, program: &Path, cf: &str, lines: &[String]) -> Result<(), RevisionError> {
        let scratch = Scratch::new()?;
        let makemap = Makemap { program: &makemap(program), kind: self.kind, cf: scratch.write("makemap.cf", cf)? };
        let there = self.source.exists();
        let text = if there { super::revision::read(&self.source)? } else { String::new() };
        let site = without_block(&self.source, &text)?;
        let new = with_block(&self.source, &text, &wanted(&self.source, &site, lines)?)?;
        let unchanged = new == text && self.indexed.exists();
        if self.indexed.exists() {
            let present = makemap.entries(&self.indexed.with_extension(""))?;
            let expected = makemap.entries(&makemap.make(&scratch, "present", &text)?)?;
            if let Some(problem) = difference(&present, &expected) {
                return Err(RevisionError::AccessMap(self.indexed.clone(), problem));
            }
        }
        if unchanged {
            return Ok(());
        }
        let made = makemap.make(&scratch, "new", &new)?;
        let made = made.with_extension(self.indexed.extension().unwrap_or_default());
        let bytes = fs::read(&made).map_err(|error| RevisionError::File(made, error))?;
        change.write(&self.source, new)?;
        change.write(&self.indexed, bytes)?;
        Ok(())
    }
}

/// Those of the lines that the site does not have already.
fn wanted(source: &Path, site: &str, lines: &[String]) -> Result<String, RevisionError> {
    let entry = |line: &str| -> Option<(String, String)> {
        let line = line.trim_end();
        let (key, value) = line.split_once(char::is_whitespace)?;
        (!line.starts_with('#') && !key.is_empty()).then(|| (key.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let site: BTreeMap<String, String> = site.lines().filter_map(entry).collect();
    let mut wanted = String::new();
    for line in lines {
        let Some((key, value)) = entry(line) else { continue };
        match site.get(&key) {
            None => wanted += &format!("{line}\n"),
            Some(present) if present.eq_ignore_ascii_case(&value) => {}
            Some(present) => {
                let problem = format!("it says \"{key} {present}\", and the relay needs \"{line}\" there; change it");
                return Err(RevisionError::AccessMap(source.to_owned(), problem.replace('\t', " ")));
            }
        }
    }
    Ok(wanted)
}

/// What two maps do not have in common, for people.
fn difference(present: &[String], expected: &[String]) -> Option<String> {
    let only = |one: &[String], other: &[String]| one.iter().find(|entry| !other.contains(entry)).cloned();
    let told = |entry: String| entry.replace('\t', " ");
    let problem = match (only(present, expected), only(expected, present)) {
        (None, None) => return None,
        (Some(entry), _) => format!("it has \"{}\", which its source does not have", told(entry)),
        (None, Some(entry)) => format!("its source has \"{}\", which it does not have yet", told(entry)),
    };
    Some(format!("{problem}; run makemap first, or put into the source what is missing there"))
}

fn parts<'t>(path: &Path, text: &'t str) -> Result<Option<(&'t str, &'t str)>, RevisionError> {
    let marks = || RevisionError::AccessMarks(path.to_owned());
    match (text.matches(BEGIN).count(), text.matches(END).count(), text.split_once(BEGIN)) {
        (0, 0, _) => Ok(None),
        (1, 1, Some((before, rest))) => {
            let (_, after) = rest.split_once(END).ok_or_else(marks)?;
            Ok(Some((before, after)))
        }
        _ => Err(marks()),
    }
}

fn without_block(path: &Path, text: &str) -> Result<String, RevisionError> {
    Ok(parts(path, text)?.map_or_else(|| text.to_owned(), |(before, after)| format!("{before}{after}")))
}

/// The text with these lines between our two comment lines, which come to its end if it has none, and go with the lines.
fn with_block(path: &Path, text: &str, lines: &str) -> Result<String, RevisionError> {
    let block = if lines.is_empty() { String::new() } else { format!("{BEGIN}{lines}{END}") };
    Ok(match parts(path, text)? {
        Some((before, after)) => format!("{before}{block}{after}"),
        None if text.is_empty() || text.ends_with('\n') => format!("{text}{block}"),
        None if block.is_empty() => text.to_owned(),
        None => format!("{text}\n{block}"),
    })
}

/// makemap(8) is beside Sendmail itself, or where commands of its kind are.
fn makemap(sendmail: &Path) -> PathBuf {
    let real = fs::canonicalize(sendmail).ok();
    let beside =
        [real.as_deref(), Some(sendmail)].into_iter().flatten().map(|program| program.with_file_name("makemap"));
    let usual = ["/usr/sbin/makemap", "/usr/bin/makemap", "/usr/libexec/sendmail/makemap"].map(PathBuf::from);
    beside.chain(usual).find(|path| path.is_file()).unwrap_or_else(|| "makemap".into())
}

/// makemap(8) with what it has to know.
struct Makemap<'a> {
    program: &'a Path,
    kind: &'static str,
    /// The sendmail.cf that it goes by.
    cf: PathBuf,
}

impl Makemap<'_> {
    fn run(&self, arguments: &[&str], input: &str) -> Result<String, CommandError> {
        let makemap = Program { path: self.program, package: "sendmail", directory: Path::new("/") };
        let cf = self.cf.to_string_lossy();
        Ok(makemap.run(&[&["-C", &cf], arguments].concat(), input)?.out)
    }

    /// Makes a map of this text, and gives back its path without what makemap appends.
    fn make(&self, scratch: &Scratch, name: &str, text: &str) -> Result<PathBuf, CommandError> {
        let path = scratch.0.join(name);
        self.run(&[self.kind, &path.to_string_lossy()], text)?;
        Ok(path)
    }

    /// All entries of a map, sorted.
    fn entries(&self, map: &Path) -> Result<Vec<String>, CommandError> {
        let said = self.run(&["-u", self.kind, &map.to_string_lossy()], "")?;
        let mut entries: Vec<String> = said.lines().map(str::to_owned).collect();
        entries.sort_unstable();
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_of_a_sendmail_cf() {
        let of = |line: &str| AccessMap::of(&Cf::parse(line)).map(|map| (map.kind, map.source, map.indexed));
        let hash = |kind| Some((kind, "/etc/mail/access".into(), "/etc/mail/access.db".into()));
        assert_eq!(of("Kaccess hash -T<TMPF> /etc/mail/access"), hash("hash"));
        assert_eq!(of("Kaccess btree -T<TMPF> -o /etc/mail/access.db"), hash("btree"));
        assert_eq!(of("Kaccess ldap -T<TMPF> -1 -k (a=%0)"), None);
        assert_eq!(of("Kaccess dbm -T<TMPF> /etc/mail/access"), None);
        assert_eq!(of("Kmailertable hash /etc/mail/access"), None);
    }

    #[test]
    fn what_the_site_says_stays() {
        let path = Path::new("access");
        let lines = ["Connect:192.0.2\tRELAY".to_owned(), "Connect:192.0.3\tRELAY".to_owned()];
        let site = "# Connect:192.0.3 REJECT\nconnect:192.0.2    Relay\n";
        assert_eq!(wanted(path, site, &lines).unwrap(), "Connect:192.0.3\tRELAY\n");
        let error = wanted(path, "Connect:192.0.3 REJECT", &lines).unwrap_err().to_string();
        assert!(error.contains("connect:192.0.3 REJECT"), "{error}");
    }

    #[test]
    fn the_block_keeps_its_place_and_the_rest_its_bytes() {
        let path = Path::new("access");
        let once = with_block(path, "a b", "c d\n").unwrap();
        assert_eq!(once, format!("a b\n{BEGIN}c d\n{END}"));
        assert_eq!(with_block(path, &once, "c d\n").unwrap(), once);
        assert_eq!(with_block(path, &once, "").unwrap(), "a b\n");
        assert_eq!(with_block(path, "a b", "").unwrap(), "a b");
        assert!(with_block(path, &once.replace(END, ""), "").is_err());
    }
}
