//! Back-ups: one directory a change, named by its time, with the files as they were and a manifest.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mail_parser::DateTime;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::failed;
use super::{Attributes, Change, ChangeError, Content, file};

const MANIFEST: &str = "manifest.json";
/// While it is there, the change is under way, or was when its process was killed.
const UNDER_WAY: &str = "under-way";
/// Whoever changes files holds a lock on this file.
const LOCK: &str = "lock";

/// The back-up of one change.
#[derive(Debug, Clone)]
pub struct Backup {
    directory: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest {
    /// The files in the order in which they are put in place.
    files: Vec<Entry>,
    /// Name of the back-up to whose state this change led back.
    reverts: Option<String>,
}

/// One file of a back-up. Its bytes are in the file whose name is its place in the manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    /// `None`: it was not there.
    before: Option<Seal>,
    /// `None`: it was removed.
    after: Option<Seal>,
}

/// What a file must be to be the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    attributes: Attributes,
    sha256: String,
}

impl Seal {
    fn of(content: &Content) -> Self {
        let sha256 = Sha256::digest(&content.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { attributes: content.attributes, sha256 }
    }

    fn fits(this: Option<&Self>, content: Option<&Content>) -> bool {
        this.cloned() == content.map(Self::of)
    }
}

/// The newest back-up of a change that is in force: neither taken back nor itself one that took back another.
///
/// # Errors
/// If the directory is not safe or a back-up cannot be understood.
pub fn latest_backup(backups: &Path) -> Result<Option<Backup>, ChangeError> {
    let all = all(backups)?;
    let reverted: Vec<&str> = all.iter().filter_map(|backup| backup.manifest.reverts.as_deref()).collect();
    let in_force = |backup: &&Backup| backup.manifest.reverts.is_none() && !reverted.contains(&backup.name());
    Ok(all.iter().rev().find(in_force).cloned())
}

/// All complete back-ups, oldest first.
fn all(backups: &Path) -> Result<Vec<Backup>, ChangeError> {
    if !is_safe(backups)? {
        return Ok(Vec::new());
    }
    let mut directories = Vec::new();
    for entry in fs::read_dir(backups).map_err(failed(backups, "cannot be read"))? {
        let path = entry.map_err(failed(backups, "cannot be read"))?.path();
        if path.join(MANIFEST).is_file() {
            directories.push(path);
        }
    }
    directories.sort();
    directories.into_iter().map(Backup::open).collect()
}

/// The back-up of a change whose process was killed.
///
/// # Errors
/// As [`latest_backup`].
pub fn interrupted(backups: &Path) -> Result<Option<Backup>, ChangeError> {
    Ok(all(backups)?.into_iter().find(|backup| backup.directory.join(UNDER_WAY).exists()))
}

/// True if the directory is there. It must belong to this user alone: files of this host are made from what is in it.
fn is_safe(backups: &Path) -> Result<bool, ChangeError> {
    let metadata = match fs::symlink_metadata(backups) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        metadata => metadata.map_err(failed(backups, "cannot be read"))?,
    };
    if metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0 {
        return Ok(true);
    }
    let problem = "back-ups need a directory that belongs to the user who runs this and that nobody else can write to; \
                   see who made it, and move it away";
    Err(ChangeError::Backup(backups.to_owned(), problem.to_owned()))
}

/// Makes the directory if need be, and keeps other processes from changing files until the lock is dropped.
///
/// # Errors
/// [`ChangeError::Busy`], or of the file system.
pub fn lock(backups: &Path) -> Result<File, ChangeError> {
    if !is_safe(backups)? {
        let parent = backups.parent().unwrap_or(backups);
        fs::create_dir_all(parent).map_err(failed(parent, "cannot be made"))?;
        fs::DirBuilder::new().mode(0o700).create(backups).map_err(failed(backups, "cannot be made"))?;
        file::sync_folder_of(backups).map_err(failed(backups, "cannot be made"))?;
    }
    let path = backups.join(LOCK);
    let lock = File::create(&path).map_err(failed(&path, "cannot be written"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(ChangeError::Busy(path)),
        Err(fs::TryLockError::Error(error)) => Err(failed(&path, "cannot be locked")(error)),
    }
}

impl Backup {
    /// Writes a back-up of what the change is about to change. It is marked as under way.
    ///
    /// # Errors
    /// Of the file system; then nothing is left of it.
    pub(super) fn write(change: &Change, backups: &Path, reverts: Option<&Self>) -> Result<Self, ChangeError> {
        remove_halves(backups);
        let directory = new_directory(backups).map_err(failed(backups, "no back-up can be made in it"))?;
        let entry = |file: &super::FileChange| Entry {
            path: file.path.clone(),
            before: file.before.as_ref().map(Seal::of),
            after: file.after.as_ref().map(Seal::of),
        };
        let manifest = Manifest {
            files: change.files().iter().map(entry).collect(),
            reverts: reverts.map(|backup| backup.name().to_owned()),
        };
        let backup = Self { directory, manifest };
        match backup.fill(change) {
            Ok(()) => Ok(backup),
            Err(error) => {
                // The first error is the one to tell; what has no manifest counts for nothing.
                let _ = fs::remove_dir_all(&backup.directory);
                Err(failed(&backup.directory, "the back-up cannot be written")(error))
            }
        }
    }

    fn fill(&self, change: &Change) -> io::Result<()> {
        for (number, file) in change.files().iter().enumerate() {
            if let Some(before) = &file.before {
                before.create(&self.copy(number))?;
            }
        }
        synced(&self.directory.join(UNDER_WAY), b"")?;
        let manifest = serde_json::to_vec_pretty(&self.manifest)?;
        // Its name appears when it is whole.
        let unnamed = self.directory.join("manifest.new");
        synced(&unnamed, &manifest)?;
        fs::rename(&unnamed, self.directory.join(MANIFEST))?;
        file::sync_folder_of(&self.directory.join(MANIFEST))?;
        file::sync_folder_of(&self.directory)
    }

    fn open(directory: PathBuf) -> Result<Self, ChangeError> {
        let path = directory.join(MANIFEST);
        let text = fs::read(&path).map_err(failed(&path, "cannot be read"))?;
        let manifest = serde_json::from_slice(&text)
            .map_err(|error| ChangeError::Backup(path, format!("is no manifest of a back-up: {error}")))?;
        Ok(Self { directory, manifest })
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn name(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn copy(&self, number: usize) -> PathBuf {
        self.directory.join(number.to_string())
    }

    /// The files that the change was about, in the order in which they were put in place.
    pub fn paths(&self) -> impl DoubleEndedIterator<Item = &Path> {
        self.manifest.files.iter().map(|entry| entry.path.as_path())
    }

    /// What leads from the files as they are now to the files as they were before the change.
    ///
    /// # Errors
    /// If a file, or its copy in the back-up, cannot be read, or the copy is not what it was.
    pub fn way_back(&self) -> Result<Change, ChangeError> {
        let mut change = Change::new();
        for (number, entry) in self.manifest.files.iter().enumerate().rev() {
            change.restore(&entry.path, self.original(number, entry)?)?;
        }
        Ok(change)
    }

    fn original(&self, number: usize, entry: &Entry) -> Result<Option<Content>, ChangeError> {
        let Some(seal) = &entry.before else { return Ok(None) };
        let path = self.copy(number);
        let bytes = fs::read(&path).map_err(failed(&path, "cannot be read"))?;
        let content = Content { bytes, attributes: seal.attributes };
        if Seal::of(&content) != *seal {
            let problem = format!("is not the copy of {} that was made", entry.path.display());
            return Err(ChangeError::Backup(path, problem));
        }
        Ok(Some(content))
    }

    /// The files that are now neither as they were before the change nor as it left them: somebody else has changed them
    /// since.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn changed_since(&self) -> Result<Vec<&Path>, ChangeError> {
        let mut changed = Vec::new();
        for entry in &self.manifest.files {
            let now = Content::read(&entry.path)?;
            let known = [&entry.before, &entry.after];
            if !known.into_iter().any(|seal| Seal::fits(seal.as_ref(), now.as_ref())) {
                changed.push(entry.path.as_path());
            }
        }
        Ok(changed)
    }

    /// Notes that the change is complete.
    pub(super) fn complete(&self) -> Result<(), ChangeError> {
        let mark = self.directory.join(UNDER_WAY);
        file::remove_if_there(&mark)
            .and_then(|()| file::sync_folder_of(&mark))
            .map_err(failed(&mark, "cannot be removed"))
    }

    /// Removes it: nothing has changed.
    pub(super) fn discard(&self) -> Result<(), ChangeError> {
        let manifest = self.directory.join(MANIFEST);
        // First what makes it a back-up: half of one is none.
        file::remove_if_there(&manifest)
            .and_then(|()| fs::remove_dir_all(&self.directory))
            .map_err(failed(&self.directory, "cannot be removed"))
    }
}

/// Removes what a killed process has left of back-ups that were not complete, before it changed anything.
fn remove_halves(backups: &Path) {
    for entry in fs::read_dir(backups).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.join(MANIFEST).exists() {
            // It takes some space, and counts for nothing.
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new directory named by the time (UTC), so that the names sort as the times do.
fn new_directory(backups: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = DateTime::from_timestamp(i64::try_from(now.as_secs()).unwrap_or_default()).to_rfc3339();
    let time = time.replace(':', "");
    for number in 1..100 {
        let name = if number == 1 { time.clone() } else { format!("{time}-{number:02}") };
        let directory = backups.join(name);
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| directory),
        }
    }
    Err(io::Error::other("there are a hundred of this second already"))
}
