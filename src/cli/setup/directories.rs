//! Directories that are made for what is set up, and unmade if it comes to nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::User;

use crate::config::{self, Config, Socket};

/// User as whom the daemon runs, if there is one of that name.
const USER: &str = "conbool-milter";

/// Directories that were not there before.
#[derive(Debug)]
pub struct Made(Vec<PathBuf>);

impl Made {
    /// Makes the directories of our configuration file, of the unix sockets and of the state.
    ///
    /// A directory for sockets belongs to the daemon's user and the mail server's group, which the sockets in it inherit;
    /// nobody else can write to it.
    ///
    /// # Errors
    /// A sentence; then none is left behind.
    pub fn for_daemon(file: &Path, config: &Config, group: Option<u32>) -> Result<Self, String> {
        let user = User::from_name(USER).ok().flatten().map(|user| user.uid.as_raw());
        let sockets = config.milter.sockets.iter().chain(&config.socketmap.sockets).filter_map(|socket| match socket {
            Socket::Unix(path) => path.parent(),
            Socket::Inet(..) => None,
        });
        let own = [(file.parent(), None, None, 0o755), (Some(config.state_directory.as_path()), user, None, 0o755)];
        let wanted = own.into_iter().chain(sockets.map(|path| (Some(path), user, group, 0o2750)));
        let mut made = Self(Vec::new());
        for (path, user, group, mode) in wanted {
            let Some(path) = path.filter(|path| !path.exists()) else { continue };
            let result = fs::create_dir_all(path)
                .and_then(|()| chown(path, user, group))
                .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
            made.0.push(path.to_owned());
            if let Err(error) = result {
                made.unmake();
                return Err(format!("{}: cannot be made: {}", path.display(), config::reason(&error)));
            }
        }
        Ok(made)
    }

    /// Removes them again; those that are not empty are in use by now.
    pub fn unmake(&self) {
        self.0.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
    }
}
