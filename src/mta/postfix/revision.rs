//! The new main.cf, master.cf and tables of an instance: made by postconf(1) on a copy of its configuration.
//!
//! Our settings and services stand between two comment lines. A further run replaces what is between them, and comments
//! out only what is set elsewhere too, so that one that has nothing to change gives the same bytes.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::command::{self, CommandError};
use super::{Existing, Fragments, list, service, table};
use crate::config;
use crate::mta::change::{Change, ChangeError};
use crate::mta::scratch::{Failed, Scratch};

const BEGIN: &str =
    "# --- conbool-milter: begin; what stands between these lines is replaced by `conbool-milter setup`\n";
const END: &str = "# --- conbool-milter: end\n";

/// Why there is no new configuration.
#[derive(Debug)]
pub enum RevisionError {
    /// A command of Postfix gave no answer.
    Command(CommandError),
    /// A file of the instance, or of the copy, cannot be read or written.
    File(PathBuf, io::Error),
    /// A file of the instance cannot be changed.
    Change(ChangeError),
    /// main.cf or master.cf has one of our two comment lines without the other, or twice.
    Marks(PathBuf),
    /// Postfix's own check says no to the new configuration; nothing was changed.
    Check(String),
}

impl fmt::Display for RevisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{}: {}", path.display(), config::reason(error)),
            Self::Change(error) => error.fmt(f),
            Self::Marks(path) => write!(
                f,
                "{}: of the lines that enclose what setup writes, \"{}\" and \"{}\", one is missing or there twice; put \
                 that right by hand",
                path.display(),
                BEGIN.trim_end(),
                END.trim_end()
            ),
            Self::Check(text) => {
                write!(f, "Postfix does not take the new configuration, and nothing was changed: {text}")
            }
        }
    }
}

impl std::error::Error for RevisionError {}

impl From<CommandError> for RevisionError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<ChangeError> for RevisionError {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}

impl From<Failed> for RevisionError {
    fn from((path, error): Failed) -> Self {
        Self::File(path, error)
    }
}

/// Adds to `change` what makes the instance in `config_directory` work as the fragments say.
///
/// What refers to another file comes after it: tables, master.cf, main.cf; tables of an earlier run that are of no more
/// use go last. The new configuration has passed Postfix's own check.
///
/// # Errors
/// [`RevisionError`]; `change` may then hold some of the files.
pub fn revise(change: &mut Change, config_directory: &Path, fragments: &Fragments) -> Result<(), RevisionError> {
    let main_cf = config_directory.join("main.cf");
    let master_cf = config_directory.join("master.cf");
    let copy = Scratch::new()?;
    let places = [("main.cf", &main_cf), ("master.cf", &master_cf)];
    for (name, path) in places {
        copy.write(name, &with_block(path, &read(path)?, "")?)?;
    }
    let existing = Existing::read(&copy.0)?;
    let ours = list::settings(&fragments.main_cf);
    let settings: Vec<&str> =
        ours.iter().map(|(name, _)| name.as_str()).filter(|name| existing.is_written(name)).collect();
    let services = existing.our_services();
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    for (option, names) in [("-#", settings), ("-M#", services)] {
        if !names.is_empty() {
            command::run("postconf", &copy.0, &[&[option], names.as_slice()].concat())?;
        }
    }
    let mut texts = Vec::new();
    for ((name, path), ours) in places.into_iter().zip([&fragments.main_cf, &fragments.master_cf]) {
        let text = with_block(path, &read(&copy.0.join(name))?, ours.trim_start())?;
        copy.write(name, &text)?;
        texts.push((path, text));
    }
    service::check_copy(&copy.0).map_err(RevisionError::Check)?;
    for (name, text) in &fragments.tables {
        change.write(&config_directory.join(name), text.as_str())?;
    }
    // master.cf first: main.cf takes effect as soon as it is there, and names services.
    for (path, text) in texts.into_iter().rev() {
        change.write(path, text)?;
    }
    for name in table::ALL.iter().filter(|name| !fragments.tables.iter().any(|(table, _)| table == *name)) {
        change.remove(&config_directory.join(name))?;
    }
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<String, RevisionError> {
    let bytes = fs::read(path).map_err(|error| RevisionError::File(path.to_owned(), error))?;
    // A comment in another encoding must survive; there is no way to keep it in a text.
    String::from_utf8(bytes).map_err(|_| {
        let error = io::Error::other("it is not in UTF-8; convert it first (iconv -t UTF-8)");
        RevisionError::File(path.to_owned(), error)
    })
}

/// The text with this between our two comment lines, which come to its end if it has none.
fn with_block(path: &Path, text: &str, ours: &str) -> Result<String, RevisionError> {
    let marks = || RevisionError::Marks(path.to_owned());
    let block = format!("{BEGIN}{ours}{END}");
    let (begins, ends) = (text.matches(BEGIN).count(), text.matches(END).count());
    match (begins, ends, text.split_once(BEGIN)) {
        (0, 0, _) => {
            let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{text}{newline}\n{block}"))
        }
        (1, 1, Some((before, rest))) => {
            let (_, after) = rest.split_once(END).ok_or_else(marks)?;
            Ok(format!("{before}{block}{after}"))
        }
        _ => Err(marks()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_keeps_its_place_and_the_rest_its_bytes() {
        let path = Path::new("main.cf");
        let first = with_block(path, "a = 1", "b = 2\n").unwrap();
        assert_eq!(first, format!("a = 1\n\n{BEGIN}b = 2\n{END}"));
        assert_eq!(with_block(path, &first, "b = 2\n").unwrap(), first);
        let edited = format!("{first}\nc = 3");
        assert_eq!(with_block(path, &edited, "").unwrap(), format!("a = 1\n\n{BEGIN}{END}\nc = 3"));
        assert_eq!(with_block(path, "", "x\n").unwrap(), format!("\n{BEGIN}x\n{END}"));
        for broken in [BEGIN.to_owned(), END.to_owned(), format!("{END}{BEGIN}"), format!("{first}{first}")] {
            assert!(matches!(with_block(path, &broken, ""), Err(RevisionError::Marks(_))), "{broken}");
        }
    }
}
