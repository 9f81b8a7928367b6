//! A change of files as a transaction: shown as a diff, backed up, put in place, checked, and taken back if anything
//! fails.
//!
//! Whatever can fail is done before the first file changes: the new contents lie complete and synced beside the files that
//! they replace, and the old files have a second name there, so that taking back needs no space on the disk. A back-up
//! with its manifest is the journal too: a process that is killed in the middle leaves one that says so, and
//! [`recover`] puts everything back.

mod backup;
mod error;
mod file;
mod store;
mod transaction;

use std::path::{Path, PathBuf};

use crate::mta::lines::LineDiff;

pub use backup::{Backup, interrupted, latest_backup};
pub use error::ChangeError;
pub use file::{Attributes, Content};
pub use transaction::{Transaction, recover};

/// Permission bits of files that are not there yet, if nothing else is said.
const NEW_FILE_MODE: u32 = 0o644;

/// Files before and after.
///
/// They are put in place in the order in which they were added, and taken back in the opposite order: what refers to
/// another file comes after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    files: Vec<FileChange>,
}

/// One file before and after; `None` where it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The file itself, not a symbolic link to it.
    pub path: PathBuf,
    /// What is there now.
    pub before: Option<Content>,
    /// What is to be there.
    pub after: Option<Content>,
}

/// What an applied change left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The back-up of what was there before; `None` if nothing had to change.
    pub backup: Option<PathBuf>,
}

impl Change {
    /// A change of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file that is to hold these bytes. It keeps its mode and owner; a new one can be read by everybody and
    /// belongs to this process. Behind a symbolic link the file that it leads to changes. A file that holds them already
    /// is no change.
    ///
    /// # Errors
    /// If what is there now cannot be read.
    pub fn write(&mut self, path: &Path, bytes: impl Into<Vec<u8>>) -> Result<(), ChangeError> {
        self.write_new_with_mode(path, bytes, NEW_FILE_MODE)
    }

    /// The same; a file that is not there yet gets these permission bits.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_new_with_mode(
        &mut self,
        path: &Path,
        bytes: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Result<(), ChangeError> {
        let bytes = bytes.into();
        self.change(path, |before| {
            let attributes = before.map_or_else(|| Attributes::own(mode), |before| before.attributes);
            Some(Content { bytes, attributes })
        })
    }

    /// Adds a file that is to go.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn remove(&mut self, path: &Path) -> Result<(), ChangeError> {
        self.change(path, |_| None)
    }

    /// Adds a file that is to be exactly this, mode and owner included.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn restore(&mut self, path: &Path, content: Option<Content>) -> Result<(), ChangeError> {
        self.change(path, |_| content)
    }

    fn change(
        &mut self,
        path: &Path,
        after: impl FnOnce(Option<&Content>) -> Option<Content>,
    ) -> Result<(), ChangeError> {
        let path = file::behind_links(path)?;
        let known = self.files.iter().position(|file| file.path == path).map(|at| self.files.remove(at));
        let before = match known {
            Some(file) => file.before,
            None => Content::read(&path)?,
        };
        let after = after(before.as_ref());
        if before != after {
            self.files.push(FileChange { path, before, after });
        }
        Ok(())
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files that change, in the order in which they are put in place.
    pub fn files(&self) -> &[FileChange] {
        &self.files
    }

    /// A unified diff of all files; empty if there is nothing to do.
    ///
    /// Of what is not UTF-8 it shows only that it changes somehow.
    pub fn diff(&self) -> String {
        self.diff_but(|_| false)
    }

    /// The same, but of files that are made of others only how much changes.
    pub fn diff_but(&self, is_made: impl Fn(&Path) -> bool) -> String {
        let shown = |file: &FileChange| if is_made(&file.path) { file.extent() } else { file.diff() };
        self.files.iter().map(shown).collect()
    }

    /// Puts the change in place, checks it and puts it in force; all of it or nothing.
    ///
    /// `backups` is a directory of this user's own; it is made if it is not there. `check` looks at the new files in
    /// their places. If it fails, or `put_in_force` does, the files are put back; in the latter case `put_in_force` is
    /// called once more, for the old ones. Nothing is done, nor called, if there is nothing to change.
    ///
    /// # Errors
    /// [`ChangeError`]. Everything is then as it was, unless it is [`ChangeError::NotRestored`].
    pub fn apply(
        &self,
        backups: &Path,
        check: impl FnOnce() -> Result<(), String>,
        mut put_in_force: impl FnMut() -> Result<(), String>,
    ) -> Result<Applied, ChangeError> {
        if self.is_empty() {
            return Ok(Applied { backup: None });
        }
        let mut transaction = self.begin(backups, None)?;
        if let Err(error) = transaction.place(|_| true) {
            return Err(transaction.undo(error));
        }
        if let Err(refused) = check() {
            return Err(transaction.undo(ChangeError::Refused(refused)));
        }
        if let Err(refused) = put_in_force() {
            let error = transaction.undo(ChangeError::Refused(refused));
            return Err(match put_in_force() {
                Ok(()) => error,
                Err(again) => error.with_problem(again),
            });
        }
        transaction.commit()
    }

    /// Writes the back-up and everything that is needed to put the change in place, without changing any file yet.
    ///
    /// `reverts` names the back-up that this change leads back to.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing is left behind.
    pub fn begin(&self, backups: &Path, reverts: Option<&Backup>) -> Result<Transaction<'_>, ChangeError> {
        Transaction::begin(self, backups, reverts)
    }
}

impl FileChange {
    /// One line: how many lines change.
    fn extent(&self) -> String {
        let [before, after] =
            [&self.before, &self.after].map(|side| side.as_ref().map(|content| str::from_utf8(&content.bytes)));
        let extent = match (before, after) {
            (None, _) => "is new".to_owned(),
            (_, None) => "goes".to_owned(),
            (Some(Ok(before)), Some(Ok(after))) => {
                let diff = LineDiff::of_texts(before, after);
                let count = |wanted| diff.changes().filter(|(sign, _)| *sign == wanted).count();
                format!("changes: {} lines go, {} come", count('-'), count('+'))
            }
            _ => "changes".to_owned(),
        };
        format!("{} {extent}\n", self.path.display())
    }

    fn diff(&self) -> String {
        let text =
            |side: &Option<Content>| side.as_ref().map(|content| String::from_utf8_lossy(&content.bytes).into_owned());
        let name = |side: &Option<Content>| match side {
            Some(_) => self.path.display().to_string(),
            None => "/dev/null".to_owned(),
        };
        let (before, after) = (text(&self.before), text(&self.after));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let mut lines = LineDiff::of_texts(&before, &after).unified();
        if !lines.is_empty() {
            lines = format!("--- {}\n+++ {}\n{lines}", name(&self.before), name(&self.after));
        }
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before.attributes != after.attributes => {
                format!("{}: {} becomes {}\n{lines}", self.path.display(), before.attributes, after.attributes)
            }
            _ if lines.is_empty() => format!("--- {}\n+++ {}\n", name(&self.before), name(&self.after)),
            _ => lines,
        }
    }
}

#[cfg(test)]
mod tests;
