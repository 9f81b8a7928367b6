//! A change under way.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::backup::{self, Backup};
use super::error::failed;
use super::store::Store;
use super::{Applied, Change, ChangeError, Content, FileChange, file};

/// A change under way: backed up, with the new files complete beside the old ones.
///
/// It ends with [`commit`](Self::commit) or [`undo`](Self::undo). If it is dropped it is undone; if the process is
/// killed, [`recover`] does it.
#[derive(Debug)]
pub struct Transaction<'a> {
    change: &'a Change,
    /// `None` once it has ended, and for a change of nothing.
    backup: Option<Backup>,
    /// Which of the files are in place.
    placed: Vec<bool>,
    _lock: Option<File>,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(change: &'a Change, backups: &Path, reverts: Option<&Backup>) -> Result<Self, ChangeError> {
        let placed = vec![false; change.files().len()];
        if change.is_empty() {
            return Ok(Self { change, backup: None, placed, _lock: None });
        }
        let (store, lock) = Store::lock(backups)?;
        if let Some(backup) = backup::interrupted_in(&store)? {
            return Err(ChangeError::Interrupted(backup.directory().to_owned()));
        }
        for file in change.files() {
            if Content::read(&file.path)? != file.before {
                return Err(ChangeError::Meanwhile(file.path.clone()));
            }
        }
        let backup = Backup::write(change, &store, reverts)?;
        let transaction = Self { change, backup: Some(backup), placed, _lock: Some(lock) };
        match change.files().iter().try_for_each(prepare) {
            Ok(()) => Ok(transaction),
            Err(error) => Err(transaction.undo(error)),
        }
    }

    /// Puts those new files in place that are wanted now, in order.
    ///
    /// # Errors
    /// Of the file system; then [`undo`](Self::undo) is due.
    pub fn place(&mut self, wanted: impl Fn(&Path) -> bool) -> Result<(), ChangeError> {
        let mut changed = Vec::new();
        for (file, placed) in self.change.files().iter().zip(&mut self.placed) {
            if *placed || !wanted(&file.path) {
                continue;
            }
            // What fails half-way counts as done, for undoing it does no harm.
            *placed = true;
            let result = match &file.after {
                Some(_) => fs::rename(file::new_name(&file.path), &file.path),
                None => fs::remove_file(&file.path),
            };
            result.map_err(failed(&file.path, "cannot be replaced"))?;
            changed.push(file);
        }
        sync(changed)
    }

    /// Ends it: the files stay as they are now, and the back-up is complete.
    ///
    /// # Errors
    /// If that cannot be noted; then everything is put back.
    pub fn commit(mut self) -> Result<Applied, ChangeError> {
        let Some(backup) = self.backup.take() else { return Ok(Applied { backup: None }) };
        if let Err(error) = backup.complete() {
            self.backup = Some(backup);
            return Err(self.undo(error));
        }
        for file in self.change.files() {
            // A name too many does no harm, and the next change replaces it.
            let _ = remove_neighbours(&file.path);
        }
        Ok(Applied { backup: Some(backup.directory().to_owned()) })
    }

    /// Ends it as a killed process does.
    #[cfg(test)]
    pub(super) fn die(mut self) {
        self._lock = None;
        std::mem::forget(self);
    }

    /// Puts everything back because of an error, and gives back what to tell.
    pub fn undo(mut self, cause: ChangeError) -> ChangeError {
        match self.put_back() {
            Ok(()) => cause,
            Err((problems, backup)) => ChangeError::NotRestored { cause: Box::new(cause), problems, backup },
        }
    }

    /// What goes wrong comes with where the files are as they were.
    fn put_back(&mut self) -> Result<(), (Vec<String>, PathBuf)> {
        let Some(backup) = self.backup.take() else { return Ok(()) };
        let mut problems = Vec::new();
        let placed = self.change.files().iter().zip(&self.placed).filter(|(_, placed)| **placed).map(|(file, _)| file);
        let placed: Vec<&FileChange> = placed.rev().collect();
        problems.extend(placed.iter().filter_map(|file| put_back(file).err()).map(|error| error.to_string()));
        problems.extend(sync(placed).err().map(|error| error.to_string()));
        if problems.is_empty() {
            for file in self.change.files() {
                // A name too many does no harm, and the next change replaces it.
                let _ = remove_neighbours(&file.path);
            }
            problems.extend(backup.discard().err().map(|error| error.to_string()));
        }
        if problems.is_empty() { Ok(()) } else { Err((problems, backup.directory().to_owned())) }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Nobody is there to be told; what cannot be put back is still marked as under way.
        let _ = self.put_back();
    }
}

/// Writes the new file beside the old one, and gives the old one a second name.
fn prepare(file: &FileChange) -> Result<(), ChangeError> {
    let (new, old) = (file::new_name(&file.path), file::old_name(&file.path));
    if let Some(after) = &file.after {
        after.create(&new).map_err(failed(&file.path, "the new one cannot be written beside it"))?;
    }
    if let Some(before) = &file.before {
        let kept = file::remove_if_there(&old)
            // Not every file system has second names.
            .and_then(|()| fs::hard_link(&file.path, &old).or_else(|_| before.create(&old)));
        kept.map_err(failed(&file.path, "it cannot be kept beside the new one"))?;
    }
    file::sync_folder_of(&file.path).map_err(failed(&file.path, "its folder cannot be written"))
}

/// Gives the old file its name again.
fn put_back(file: &FileChange) -> Result<(), ChangeError> {
    let old = file::old_name(&file.path);
    let result = match &file.before {
        None => file::remove_if_there(&file.path),
        // Two names of one file: rename(2) would leave both.
        Some(_) if same_file(&old, &file.path) => Ok(()),
        Some(before) => fs::rename(&old, &file.path).or_else(|_| {
            let new = file::new_name(&file.path);
            before.create(&new).and_then(|()| fs::rename(&new, &file.path))
        }),
    };
    result.map_err(failed(&file.path, "cannot be put back"))
}

fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

fn remove_neighbours(path: &Path) -> io::Result<()> {
    file::remove_if_there(&file::new_name(path)).and(file::remove_if_there(&file::old_name(path)))
}

/// Waits until the names in the folders of these files are on the disk.
fn sync<'f>(files: impl IntoIterator<Item = &'f FileChange>) -> Result<(), ChangeError> {
    let folders: BTreeSet<&Path> = files.into_iter().filter_map(|file| file.path.parent()).collect();
    folders
        .into_iter()
        .try_for_each(|folder| file::sync_folder_of(&folder.join("any")).map_err(failed(folder, "cannot be written")))
}

/// Puts back what a killed process has changed; gives back the files, none if no change was interrupted.
///
/// Whatever reads them has to be told afterwards.
///
/// # Errors
/// [`ChangeError`] if somebody else has changed one of the files since, or one cannot be put back; then the change
/// still counts as interrupted.
pub fn recover(backups: &Path) -> Result<Vec<PathBuf>, ChangeError> {
    if Store::open(backups)?.is_none() {
        return Ok(Vec::new());
    }
    let (store, _lock) = Store::lock(backups)?;
    let Some(backup) = backup::interrupted_in(&store)? else { return Ok(Vec::new()) };
    if let Some(path) = backup.changed_since()?.first() {
        return Err(ChangeError::Backup(
            backup.directory().to_owned(),
            format!(
                "the change that was interrupted cannot be taken back, for somebody has changed {} since; put it right by \
                 hand and remove this back-up",
                path.display()
            ),
        ));
    }
    let change = backup.way_back()?;
    for file in change.files() {
        let new = file::new_name(&file.path);
        let restored = match &file.after {
            Some(content) => content.create(&new).and_then(|()| fs::rename(&new, &file.path)),
            None => file::remove_if_there(&file.path),
        };
        restored.map_err(failed(&file.path, "cannot be put back"))?;
    }
    sync(change.files())?;
    let paths: Vec<_> = backup.paths().map(Path::to_owned).collect();
    for path in &paths {
        // A name too many does no harm, and the next change replaces it.
        let _ = remove_neighbours(path);
    }
    backup.discard()?;
    Ok(paths)
}
