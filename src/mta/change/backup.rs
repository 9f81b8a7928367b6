//! Back-ups: one directory a change, named by its time, with the files as they were and a manifest.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mail_parser::DateTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::failed;
use super::store::Store;
use super::{Attributes, Change, ChangeError, Content, file};

const MANIFEST: &str = "manifest.json";
/// While it is there, the change is under way, or was when its process was killed.
const UNDER_WAY: &str = "under-way";

/// The back-up of one change.
#[derive(Debug, Clone)]
pub struct Backup {
    store: Store,
    /// Where it lies, for people; its name there is that of the directory.
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
    Store::open(backups)?.map_or(Ok(Vec::new()), |store| all_in(&store))
}

fn all_in(store: &Store) -> Result<Vec<Backup>, ChangeError> {
    let names = store.names()?.into_iter().filter(|name| store.path(name).join(MANIFEST).is_file());
    names.map(|name| Backup::open(store, &name)).collect()
}

/// The back-up of a change whose process was killed.
///
/// # Errors
/// As [`latest_backup`].
pub fn interrupted(backups: &Path) -> Result<Option<Backup>, ChangeError> {
    Ok(all(backups)?.into_iter().find(Backup::is_under_way))
}

/// The same of a directory that is held.
///
/// # Errors
/// As [`latest_backup`].
pub(super) fn interrupted_in(store: &Store) -> Result<Option<Backup>, ChangeError> {
    Ok(all_in(store)?.into_iter().find(Backup::is_under_way))
}

impl Backup {
    /// Writes a back-up of what the change is about to change. It is marked as under way.
    ///
    /// # Errors
    /// Of the file system; then nothing is left of it.
    pub(super) fn write(change: &Change, store: &Store, reverts: Option<&Self>) -> Result<Self, ChangeError> {
        remove_halves(store);
        let name = new_directory(store).map_err(failed(store.directory(), "no back-up can be made in it"))?;
        let entry = |file: &super::FileChange| Entry {
            path: file.path.clone(),
            before: file.before.as_ref().map(Seal::of),
            after: file.after.as_ref().map(Seal::of),
        };
        let manifest = Manifest {
            files: change.files().iter().map(entry).collect(),
            reverts: reverts.map(|backup| backup.name().to_owned()),
        };
        let backup = Self { directory: store.directory().join(name), store: store.clone(), manifest };
        match backup.fill(change) {
            Ok(()) => Ok(backup),
            Err(error) => {
                // The first error is the one to tell; what has no manifest counts for nothing.
                let _ = fs::remove_dir_all(backup.path());
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
        synced(&self.path().join(UNDER_WAY), b"")?;
        let manifest = serde_json::to_vec_pretty(&self.manifest)?;
        // Its name appears when it is whole.
        let unnamed = self.path().join("manifest.new");
        synced(&unnamed, &manifest)?;
        fs::rename(&unnamed, self.path().join(MANIFEST))?;
        file::sync_folder_of(&self.path().join(MANIFEST))?;
        file::sync_folder_of(&self.path())
    }

    fn open(store: &Store, name: &str) -> Result<Self, ChangeError> {
        let directory = store.directory().join(name);
        store.vouch_for(name)?;
        store.vouch_for(&format!("{name}/{MANIFEST}"))?;
        let path = directory.join(MANIFEST);
        let text = fs::read(store.path(name).join(MANIFEST)).map_err(failed(&path, "cannot be read"))?;
        let manifest = serde_json::from_slice(&text)
            .map_err(|error| ChangeError::Backup(path, format!("is no manifest of a back-up: {error}")))?;
        Ok(Self { store: store.clone(), directory, manifest })
    }

    /// Where it is, whatever becomes of the names of the directories around it.
    fn path(&self) -> PathBuf {
        self.store.path(self.name())
    }

    fn is_under_way(&self) -> bool {
        self.path().join(UNDER_WAY).exists()
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn name(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn copy(&self, number: usize) -> PathBuf {
        self.path().join(number.to_string())
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
        let path = self.directory.join(number.to_string());
        let bytes = fs::read(self.copy(number)).map_err(failed(&path, "cannot be read"))?;
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
        let mark = self.path().join(UNDER_WAY);
        file::remove_if_there(&mark)
            .and_then(|()| file::sync_folder_of(&mark))
            .map_err(failed(&self.directory.join(UNDER_WAY), "cannot be removed"))
    }

    /// Removes it: nothing has changed.
    pub(super) fn discard(&self) -> Result<(), ChangeError> {
        let manifest = self.path().join(MANIFEST);
        // First what makes it a back-up: half of one is none.
        file::remove_if_there(&manifest)
            .and_then(|()| fs::remove_dir_all(self.path()))
            .map_err(failed(&self.directory, "cannot be removed"))
    }
}

/// Removes what a killed process has left of back-ups that were not complete, before it changed anything.
fn remove_halves(store: &Store) {
    for name in store.names().unwrap_or_default() {
        let path = store.path(&name);
        if !path.join(MANIFEST).exists() {
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
fn new_directory(store: &Store) -> io::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = DateTime::from_timestamp(i64::try_from(now.as_secs()).unwrap_or_default()).to_rfc3339();
    let time = time.replace(':', "");
    for number in 1..100 {
        let name = if number == 1 { time.clone() } else { format!("{time}-{number:02}") };
        match fs::DirBuilder::new().mode(0o700).create(store.path(&name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| name),
        }
    }
    Err(io::Error::other("there are a hundred of this second already"))
}
