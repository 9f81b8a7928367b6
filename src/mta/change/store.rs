//! The directory of all back-ups.
//!
//! It lies in the state directory, which is the daemon's: a daemon that somebody else has taken over can rename it, and
//! put another in its place, at any moment. Files of this host are made from what is in it. So it is held open from the
//! look at it to its last use, and whatever is read from it must be this user's alone.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::error::failed;
use super::{ChangeError, file};

/// Whoever changes files holds a lock on this file.
const LOCK: &str = "lock";

/// The directory of all back-ups, held open.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
    held: Arc<File>,
}

impl Store {
    /// Opens it; `None` if it is not there.
    ///
    /// # Errors
    /// If it is not a directory that belongs to this user and that nobody else can write to.
    pub fn open(directory: &Path) -> Result<Option<Self>, ChangeError> {
        let opened = File::options()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(directory)
            .and_then(|held| Ok((held.metadata()?, held)));
        match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(failed(directory, "cannot be read")(error)),
            Ok((metadata, held)) if is_ours_alone(&metadata) => {
                Ok(Some(Self { directory: directory.to_owned(), held: Arc::new(held) }))
            }
            _ => Err(ChangeError::Backup(
                directory.to_owned(),
                "back-ups need a directory, and no link to one, that belongs to the user who runs this and that nobody \
                 else can write to: files of this host are made from what is in it. See who made it or gave it away, and \
                 move it, or give it back with chown -R if you know why"
                    .to_owned(),
            )),
        }
    }

    /// The same, and it is made if it is not there. Keeps other processes from changing files until the lock is dropped.
    ///
    /// # Errors
    /// [`ChangeError::Busy`], or as [`Self::open`], or of the file system.
    pub fn lock(directory: &Path) -> Result<(Self, File), ChangeError> {
        let store = match Self::open(directory)? {
            Some(store) => store,
            None => {
                let parent = directory.parent().unwrap_or(directory);
                fs::create_dir_all(parent).map_err(failed(parent, "cannot be made"))?;
                fs::DirBuilder::new().mode(0o700).create(directory).map_err(failed(directory, "cannot be made"))?;
                file::sync_folder_of(directory).map_err(failed(directory, "cannot be made"))?;
                let gone = || failed(directory, "cannot be opened")(ErrorKind::NotFound.into());
                Self::open(directory)?.ok_or_else(gone)?
            }
        };
        let shown = directory.join(LOCK);
        let lock = File::create(store.path(LOCK)).map_err(failed(&shown, "cannot be written"))?;
        match lock.try_lock() {
            Ok(()) => Ok((store, lock)),
            Err(fs::TryLockError::WouldBlock) => Err(ChangeError::Busy(shown)),
            Err(fs::TryLockError::Error(error)) => Err(failed(&shown, "cannot be locked")(error)),
        }
    }

    /// Where it was when it was opened, for people.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Something in it, by a path that leads there whatever becomes of the directory's name; it holds as long as this does.
    pub fn path(&self, name: &str) -> PathBuf {
        // Linux, proc(5): the entry is the open directory itself.
        Path::new("/proc/self/fd").join(self.held.as_raw_fd().to_string()).join(name)
    }

    /// Names of the directories in it, sorted.
    ///
    /// # Errors
    /// Of the file system.
    pub fn names(&self) -> Result<Vec<String>, ChangeError> {
        let unreadable = |error: io::Error| failed(&self.directory, "cannot be read")(error);
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path("")).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Sees that this, a path in it, was made by this user and can be written by nobody else.
    ///
    /// # Errors
    /// If it was not.
    pub fn vouch_for(&self, name: &str) -> Result<(), ChangeError> {
        let shown = self.directory.join(name);
        match fs::symlink_metadata(self.path(name)) {
            Err(error) => Err(failed(&shown, "cannot be read")(error)),
            Ok(metadata) if is_ours_alone(&metadata) && !metadata.is_symlink() => Ok(()),
            Ok(_) => {
                let problem = "does not belong to the user who runs this, or others can write to it: it is no back-up of \
                               this host; see who made it, and move it away";
                Err(ChangeError::Backup(shown, problem.to_owned()))
            }
        }
    }
}

fn is_ours_alone(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0
}
