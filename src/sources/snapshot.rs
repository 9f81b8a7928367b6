//! The last members of each group, on disk: what the daemon goes on with when it starts and no directory answers.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::stamp::Stamp;
use crate::address::AddressSet;
use crate::config::reason;

/// Version of the format. Files of another version are not used.
const FORMAT: u32 = 1;

/// A snapshot as it is written: JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Written<'a> {
    format: u32,
    directory: Cow<'a, str>,
    group: Cow<'a, str>,
    /// Seconds since 1970.
    fetched: u64,
    addresses: Vec<Cow<'a, str>>,
}

/// Who was in a group, and when.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The members' addresses.
    pub members: AddressSet,
    /// When the directory said so.
    pub fetched: SystemTime,
}

/// The snapshots of the groups of one directory.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    directory: String,
}

/// Which of a group's two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The last one that is in force.
    Good,
    /// A later one that was held back.
    Held,
}

impl Store {
    /// Snapshots below the state directory. `directory` says which servers they are from, below which base, and so on:
    /// those from another are not found.
    pub fn new(state_directory: &Path, directory: &str) -> Self {
        Self { folder: state_directory.join("groups"), directory: directory.to_owned() }
    }

    /// The folder of the snapshots.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder, which only its owner may look into, if it is not there.
    ///
    /// # Errors
    /// What keeps it from being there and writable.
    pub fn prepare(&self) -> Result<(), String> {
        let probe = self.folder.join(".probe");
        // The mail server has tables in the state directory; the members of groups are nobody's business.
        let prepared = self
            .folder
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| DirBuilder::new().recursive(true).mode(0o700).create(&self.folder))
            .and_then(|()| File::create(&probe))
            .and_then(|_| fs::remove_file(&probe));
        prepared.map_err(|error| {
            let folder = self.folder.display();
            format!("{folder} cannot be written to: {}; it must belong to the daemon's user", reason(&error))
        })
    }

    /// The file of a snapshot.
    pub fn file(&self, group: &str, kind: Kind) -> PathBuf {
        let digest = Sha256::new().chain_update(&self.directory).chain_update([0]).chain_update(group).finalize();
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(match kind {
            Kind::Good => format!("{name}.json"),
            Kind::Held => format!("{name}.held.json"),
        })
    }

    /// Reads a snapshot; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be.
    pub fn read(&self, group: &str, kind: Kind) -> Result<Option<Snapshot>, String> {
        let file = self.file(group, kind);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: cannot be read: {}", file.display(), reason(&error))),
        };
        let wrong = |why: String| format!("{}: is not a usable snapshot: {why}", file.display());
        let written: Written<'_> = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if written.format != FORMAT {
            return Err(wrong(format!("its format is {}, not {FORMAT}", written.format)));
        }
        if written.directory != self.directory || written.group != group {
            return Err(wrong(format!("it is of group {:?} in {}", written.group, written.directory)));
        }
        let fetched = UNIX_EPOCH + Duration::from_secs(written.fetched);
        Ok(Some(Snapshot { members: written.addresses.iter().collect(), fetched }))
    }

    /// Writes a snapshot: all of it or nothing, on the disk when this returns, readable by the owner only.
    ///
    /// # Errors
    /// The file, and why it cannot be written.
    pub fn write(&self, group: &str, kind: Kind, snapshot: &Snapshot) -> Result<(), String> {
        let written = Written {
            format: FORMAT,
            directory: self.directory.as_str().into(),
            group: group.into(),
            fetched: snapshot.fetched.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            addresses: snapshot.members.entries().map(Cow::from).collect(),
        };
        let file = self.file(group, kind);
        serde_json::to_vec(&written)
            .map_err(io::Error::from)
            .and_then(|text| replace(&file, &text))
            .map_err(|error| format!("{}: cannot be written: {}", file.display(), reason(&error)))
    }

    /// Removes the snapshot that was held back, if there is one.
    pub fn remove_held(&self, group: &str) {
        // If it stays, an administrator can still see and accept it, which is harmless.
        let _ = fs::remove_file(self.file(group, Kind::Held));
    }

    /// Puts the snapshot that was held back in the place of the good one.
    ///
    /// # Errors
    /// The file, and why this cannot be done.
    pub fn accept(&self, group: &str) -> Result<(), String> {
        let held = self.file(group, Kind::Held);
        fs::rename(&held, self.file(group, Kind::Good))
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(|error| format!("{}: cannot be renamed: {}", held.display(), reason(&error)))
    }

    /// The state of the good snapshot's file.
    pub fn stamp(&self, group: &str) -> Option<Stamp> {
        Stamp::of(&self.file(group, Kind::Good))
    }
}

/// Puts a file with this text in the place of another.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut output = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    output.write_all(text)?;
    output.sync_all()?;
    fs::rename(&new, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn snapshot(addresses: &[&str]) -> Snapshot {
        Snapshot { members: addresses.iter().collect(), fetched: UNIX_EPOCH + Duration::from_secs(1_700_000_000) }
    }

    #[test]
    fn a_snapshot_is_found_again_and_only_by_its_owner() {
        let folder = super::super::tests::folder("snapshot-again");
        let store = Store::new(&folder, "ldaps://a dc=x");
        store.prepare().unwrap();
        assert!(store.read("cn=g", Kind::Good).unwrap().is_none());
        store.write("cn=g", Kind::Good, &snapshot(&["alice@customer.test", "bob@remote.test"])).unwrap();
        let read = store.read("cn=g", Kind::Good).unwrap().unwrap();
        assert_eq!(read.members.entries().collect::<Vec<_>>(), ["alice@customer.test", "bob@remote.test"]);
        assert_eq!(read.fetched, snapshot(&[]).fetched);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.folder), mode(&store.file("cn=g", Kind::Good))), (0o700, 0o600));
    }

    #[test]
    fn a_snapshot_of_another_directory_group_or_format_is_not_used() {
        let folder = super::super::tests::folder("snapshot-other");
        let store = Store::new(&folder, "ldaps://a dc=x");
        store.prepare().unwrap();
        store.write("cn=g", Kind::Good, &snapshot(&["alice@customer.test"])).unwrap();
        let other = Store::new(&folder, "ldaps://b dc=x");
        assert!(other.read("cn=g", Kind::Good).unwrap().is_none());
        assert!(store.read("cn=h", Kind::Good).unwrap().is_none());
        // Not even if it has the name.
        fs::copy(store.file("cn=g", Kind::Good), other.file("cn=g", Kind::Good)).unwrap();
        let told = other.read("cn=g", Kind::Good).unwrap_err();
        assert!(told.ends_with("is not a usable snapshot: it is of group \"cn=g\" in ldaps://a dc=x"), "{told}");
        for (text, why) in [
            ("{", "EOF"),
            ("{\"format\":2,\"directory\":\"\",\"group\":\"\",\"fetched\":0,\"addresses\":[]}", "its format is 2"),
        ] {
            fs::write(store.file("cn=g", Kind::Good), text).unwrap();
            let told = store.read("cn=g", Kind::Good).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn what_was_held_back_can_be_accepted() {
        let folder = super::super::tests::folder("snapshot-accept");
        let store = Store::new(&folder, "d");
        store.prepare().unwrap();
        store.write("g", Kind::Good, &snapshot(&["alice@customer.test"])).unwrap();
        assert!(store.accept("g").is_err());
        store.write("g", Kind::Held, &snapshot(&[])).unwrap();
        let before = store.stamp("g");
        store.accept("g").unwrap();
        assert!(store.stamp("g") != before && store.read("g", Kind::Held).unwrap().is_none());
        assert!(store.read("g", Kind::Good).unwrap().unwrap().members.is_empty());
    }
}
