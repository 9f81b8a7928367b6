//! What a user of this host may do with files, told from owners and permission bits.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// A user with all of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group ids, the user's own first.
    pub groups: Vec<u32>,
}

/// What is asked of a file; as in permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read.
    Read = 4,
    /// Write; connect, for a socket.
    Write = 2,
    /// Reach what is in a directory.
    Search = 1,
}

impl Account {
    /// The user of that name; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        User::from_name(name).ok().flatten().map(Self::of)
    }

    /// The user of that number; `None` if there is none.
    pub fn numbered(uid: u32) -> Option<Self> {
        User::from_uid(Uid::from_raw(uid)).ok().flatten().map(Self::of)
    }

    fn of(user: User) -> Self {
        let name = CString::new(user.name.as_str()).unwrap_or_default();
        let groups = getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
        Self { uid: user.uid.as_raw(), groups: groups.into_iter().map(Gid::as_raw).collect(), name: user.name }
    }

    /// True if the permission bits give it this right. Access control lists are not looked at.
    pub fn may(&self, right: Right, metadata: &Metadata) -> bool {
        let bits = if self.uid == metadata.uid() {
            metadata.mode() >> 6
        } else if self.groups.contains(&metadata.gid()) {
            metadata.mode() >> 3
        } else {
            metadata.mode()
        };
        // Root may read and write everything.
        self.uid == 0 || bits & right as u32 != 0
    }

    /// The first directory on the way to a file that it may not enter; none if there is none, or nothing can be told.
    pub fn barrier(&self, path: &Path) -> Option<PathBuf> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        let barred = |folder: &&Path| fs::metadata(folder).is_ok_and(|metadata| !self.may(Right::Search, &metadata));
        above.into_iter().find(barred).map(Path::to_path_buf)
    }
}

/// Owner, group and mode of a file, as `ls -l` tells them: `daemon:postfix 0660`.
pub fn permissions(metadata: &Metadata) -> String {
    let owner = User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten().map(|user| user.name);
    let group = Group::from_gid(Gid::from_raw(metadata.gid())).ok().flatten().map(|group| group.name);
    let (owner, group) =
        (owner.unwrap_or_else(|| metadata.uid().to_string()), group.unwrap_or_else(|| metadata.gid().to_string()));
    format!("{owner}:{group} {:04o}", metadata.mode() & 0o7777)
}
