//! One file: what it holds, whose it is, and its neighbours while it changes.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};
use serde::{Deserialize, Serialize};

use super::ChangeError;
use super::error::failed;

/// What a file holds, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its mode and owner.
    pub attributes: Attributes,
}

/// Mode and owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

impl Attributes {
    /// Those of a new file of this process.
    pub fn own(mode: u32) -> Self {
        Self { mode, user: geteuid().as_raw(), group: getegid().as_raw() }
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self { mode: metadata.mode() & 0o7777, user: metadata.uid(), group: metadata.gid() }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "mode {:04o}, owner {}:{}", self.mode, self.user, self.group)
    }
}

impl Content {
    /// What is there; `None` if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or is something other than a file.
    pub fn read(path: &Path) -> Result<Option<Self>, ChangeError> {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(failed(path, "cannot be read"))?,
        };
        if !metadata.is_file() {
            return Err(failed(path, "cannot be changed")(io::Error::other("it is not a file")));
        }
        let bytes = fs::read(path).map_err(failed(path, "cannot be read"))?;
        Ok(Some(Self { bytes, attributes: Attributes::of(&metadata) }))
    }

    /// Makes this file new, and waits until it is on the disk. What is there under its name goes.
    ///
    /// # Errors
    /// Of the file system; then no such file is left.
    pub fn create(&self, path: &Path) -> io::Result<()> {
        remove_if_there(path)?;
        let written = self.create_new(path);
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(path);
        }
        written
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        let Attributes { mode, user, group } = self.attributes;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&self.bytes)?;
        let now = Attributes::of(&file.metadata()?);
        if (now.user, now.group) != (user, group) {
            fchown(&file, Some(user), Some(group))?;
        }
        // After the owner: chown(2) takes set-id bits away.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    }
}

/// The file that a symbolic link leads to; other paths made absolute.
pub fn behind_links(path: &Path) -> Result<PathBuf, ChangeError> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The folder may be behind a link, and where two paths name one file is to be known.
            let absolute = std::path::absolute(path).map_err(failed(path, "is no usable path"))?;
            let folder = absolute.parent().and_then(|folder| fs::canonicalize(folder).ok());
            Ok(match (folder, absolute.file_name()) {
                (Some(folder), Some(name)) => folder.join(name),
                _ => absolute,
            })
        }
        found => found.map_err(failed(path, "cannot be read")),
    }
}

/// The new file, complete, before it takes its place.
pub fn new_name(path: &Path) -> PathBuf {
    beside(path, "new")
}

/// A second name of the old file while the new one may still have to go.
pub fn old_name(path: &Path) -> PathBuf {
    beside(path, "old")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".conbool-{ending}"));
    path.with_file_name(name)
}

/// Removes a file; that there is none is fine.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Waits until the names in the folder of this file are on the disk.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
