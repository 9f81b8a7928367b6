//! Directories that are made for what is set up, and unmade if it comes to nothing. Where a package has made them already,
//! they stay as they are.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{User, geteuid};

use crate::config::{self, Config, Socket};

/// User as whom the daemon runs, if there is one of that name.
const USER: &str = "conbool-milter";

/// Directories that were not there before.
#[derive(Debug)]
pub struct Made(Vec<PathBuf>);

/// Whose a directory is to be.
#[derive(Debug, Clone, Copy, Default)]
struct Attributes {
    user: Option<u32>,
    group: Option<u32>,
    mode: u32,
}

impl Made {
    /// Makes the directories of our configuration file, of the unix sockets and of the state.
    ///
    /// A directory for sockets that a mail server asks belongs to the daemon's user and to `group`, that of the mail server,
    /// which the sockets in it inherit; nobody else can write to it.
    ///
    /// # Errors
    /// A sentence; then none is left behind.
    pub fn for_daemon(file: &Path, config: &Config, group: Option<u32>) -> Result<Self, String> {
        let user = User::from_name(USER).ok().flatten();
        let roots = Attributes { mode: 0o755, ..Attributes::default() };
        // Both, or systemd would give away what is in StateDirectory=, the back-ups too, to make it so.
        let daemons = Attributes {
            user: user.as_ref().map(|user| user.uid.as_raw()),
            group: user.as_ref().map(|user| user.gid.as_raw()),
            mode: 0o755,
        };
        let mail_servers = match group {
            Some(_) => Attributes { group, mode: 0o2750, ..daemons },
            None => daemons,
        };
        let asked = config.milter.sockets.iter().chain(&config.policy.sockets).chain(&config.socketmap.sockets);
        let wanted = [(file.parent(), roots), (Some(config.state_directory.as_path()), daemons)]
            .into_iter()
            .chain(asked.map(|socket| (directory_of(socket), mail_servers)))
            .chain(config.telemetry.sockets.iter().map(|socket| (directory_of(socket), daemons)));
        let mut made = Self(Vec::new());
        for (path, attributes) in wanted {
            let Some(path) = path.filter(|path| !path.exists()) else { continue };
            let result = make(path, attributes);
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

fn directory_of(socket: &Socket) -> Option<&Path> {
    match socket {
        Socket::Unix(path) => path.parent(),
        Socket::Inet(..) => None,
    }
}

fn make(path: &Path, attributes: Attributes) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::create_dir(path)?;
    // What it lies in may be somebody else's, who can put another file in its place at any moment.
    let made = File::options().read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits()).open(path)?;
    if made.metadata()?.uid() != geteuid().as_raw() {
        return Err(io::Error::other("somebody else has put another in its place"));
    }
    fchown(&made, attributes.user, attributes.group)?;
    made.set_permissions(Permissions::from_mode(attributes.mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_is_nobodys_to_unmake() {
        let place = std::env::temp_dir().join(format!("conbool-milter-{}-directories", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("run")).unwrap();
        fs::set_permissions(place.join("run"), Permissions::from_mode(0o711)).unwrap();
        let file = place.join("etc/conbool-milter.toml");
        let (mut config, _) = config::salvage(&file);
        let socket = |name: &str| Socket::Unix(place.join(name));
        config.state_directory = place.join("state");
        config.milter.sockets = vec![socket("spool/milter.sock"), socket("run/milter.sock")];
        config.telemetry.sockets = vec![socket("telemetry/telemetry.sock")];
        let mode = |name: &str| fs::metadata(place.join(name)).unwrap().mode() & 0o7777;
        let group = |name: &str| fs::metadata(place.join(name)).unwrap().gid();
        let made = Made::for_daemon(&file, &config, Some(3)).unwrap();
        assert_eq!(["etc", "state", "spool", "run", "telemetry"].map(mode), [0o755, 0o755, 0o2750, 0o711, 0o755]);
        assert_eq!(group("spool"), 3);
        fs::write(place.join("state/kept"), "").unwrap();
        made.unmake();
        let left: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.len() == 2 && left.contains(&"run".into()) && left.contains(&"state".into()), "{left:?}");
        // Without a group that reaches the sockets, as tmpfiles.d has it.
        let made = Made::for_daemon(&file, &config, None).unwrap();
        assert_eq!(mode("spool"), 0o755);
        made.unmake();
        fs::remove_dir_all(&place).unwrap();
    }
}
