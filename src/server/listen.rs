//! Binding the sockets that the configuration names.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use nix::unistd::{Group, chown};

use crate::config::{Config, Socket};

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix domain, with its file if that is ours.
    Unix(UnixListener, Option<SocketFile>),
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(formatter, "inet:{address}"),
                Err(_) => formatter.write_str("inet:?"),
            },
            // The system knows a socket of ours by the name that it had before it was in place.
            Self::Unix(_, Some(file)) => write!(formatter, "unix:{}", file.path.display()),
            Self::Unix(listener, None) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname()).unwrap_or(Path::new("?"));
                write!(formatter, "unix:{}", path.display())
            }
        }
    }
}

/// The file of a unix socket; removed when dropped, unless another process has put its own in place meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity) {
            // It may be gone by now, and a leftover is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket that could not be bound: which, and what to do.
#[derive(Debug)]
pub struct ListenError {
    socket: String,
    message: String,
}

impl fmt::Display for ListenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot listen on {}: {}", self.socket, self.message)
    }
}

/// The sockets of all doors.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For the mail server's milter connections.
    pub milter: Vec<Listener>,
    /// For Postfix's policy requests.
    pub policy: Vec<Listener>,
    /// For Sendmail's questions.
    pub socketmap: Vec<Listener>,
    /// For whoever wants to know how the daemon is.
    pub telemetry: Vec<Listener>,
}

impl Sockets {
    /// Opens them: a door has the sockets that the service manager holds for it, or else those that the configuration
    /// names.
    ///
    /// # Errors
    /// The first socket that cannot be had.
    pub fn open(config: &Config) -> Result<Self, ListenError> {
        let mut sockets = Self::inherited()?;
        let Config { milter, policy, socketmap, telemetry, .. } = config;
        let group = milter.socket_group.as_deref();
        for (door, named, mode, group) in [
            (&mut sockets.milter, &milter.sockets, milter.socket_mode, group),
            (&mut sockets.policy, &policy.sockets, milter.socket_mode, group),
            (&mut sockets.socketmap, &socketmap.sockets, milter.socket_mode, group),
            (&mut sockets.telemetry, &telemetry.sockets, telemetry.socket_mode, telemetry.socket_group.as_deref()),
        ] {
            if door.is_empty() {
                *door = bind(named, mode, group)?;
            }
        }
        Ok(sockets)
    }

    /// The sockets that the service manager holds for us (sd_listen_fds(3)), by their names (FileDescriptorName= in
    /// systemd.socket(5)); none if there is no such manager.
    ///
    /// Mail servers that connect while no daemon runs wait in their backlog, so that a restart is not noticed.
    fn inherited() -> Result<Self, ListenError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        for number in 0..passed.len() {
            let error = |message| ListenError { socket: format!("descriptor {number} of LISTEN_FDS"), message };
            let door = match names.next().unwrap_or_default() {
                "policy" => &mut sockets.policy,
                "socketmap" => &mut sockets.socketmap,
                "telemetry" => &mut sockets.telemetry,
                // Without a name of its own a descriptor is called so, or like its unit.
                "milter" | "" | "unknown" | "conbool-milter.socket" => &mut sockets.milter,
                other => {
                    let message = format!(
                        "its name is {other:?}; write FileDescriptorName=milter, policy, socketmap or telemetry in the socket unit"
                    );
                    return Err(error(message));
                }
            };
            let unix = passed.take_unix_listener(number).map(|found| found.map(|unix| Listener::Unix(unix, None)));
            let listener = unix.or_else(|_| passed.take_tcp_listener(number).map(|found| found.map(Listener::Tcp)));
            door.extend(
                listener.map_err(|failure| error(format!("{failure}; the socket unit must have ListenStream=")))?,
            );
        }
        Ok(sockets)
    }

    /// How each is called in the log.
    pub fn names(&self) -> Vec<String> {
        let Self { milter, policy, socketmap, telemetry } = self;
        [milter, policy, socketmap, telemetry].into_iter().flatten().map(ToString::to_string).collect()
    }
}

/// Binds sockets.
///
/// A unix socket gets its mode (permission bits) and group before it appears under its name, and takes the place of one
/// that a dead process left.
///
/// # Errors
/// The first socket that cannot be bound.
pub fn bind(sockets: &[Socket], mode: u32, group: Option<&str>) -> Result<Vec<Listener>, ListenError> {
    let bind_one = |socket: &Socket| match socket {
        Socket::Inet(address, port) => {
            let address = SocketAddr::new(*address, *port);
            TcpListener::bind(address)
                .map(Listener::Tcp)
                .map_err(|error| ListenError { socket: socket.to_string(), message: error.to_string() })
        }
        Socket::Unix(path) => {
            bind_unix(path, mode, group).map_err(|message| ListenError { socket: socket.to_string(), message })
        }
    };
    sockets.iter().map(bind_one).collect()
}

fn bind_unix(path: &Path, mode: u32, group: Option<&str>) -> Result<Listener, String> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err("there is a file of that name that is no socket; remove it or choose another name".into());
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err("another process listens there; is conbool-milter already running?".into());
        }
        _ => {}
    }
    let group = group.map(find_group).transpose()?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(|error| explain_bind(path, &error))?;
    let placed = place(&temporary, path, group.as_ref(), mode);
    if placed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    Ok(Listener::Unix(listener, Some(placed?)))
}

fn find_group(name: &str) -> Result<Group, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group),
        Ok(None) => Err(format!("socket_group: there is no group {name:?} on this host")),
        Err(error) => Err(format!("socket_group: the group {name:?} cannot be looked up: {error}")),
    }
}

fn place(temporary: &Path, path: &Path, group: Option<&Group>, mode: u32) -> Result<SocketFile, String> {
    if let Some(group) = group {
        chown(temporary, None, Some(group.gid)).map_err(|error| {
            format!("the group {} cannot be given to it: {error}; run as root or as a member of that group", group.name)
        })?;
    }
    let place = || -> io::Result<SocketFile> {
        fs::set_permissions(temporary, fs::Permissions::from_mode(mode))?;
        let metadata = fs::symlink_metadata(temporary)?;
        fs::rename(temporary, path)?;
        Ok(SocketFile { path: path.to_path_buf(), identity: (metadata.dev(), metadata.ino()) })
    };
    place().map_err(|error| error.to_string())
}

fn explain_bind(path: &Path, error: &io::Error) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "the directory {folder} does not exist; make it with: install -d -o conbool-milter -g postfix -m 2750 {folder}"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("no permission to create it in {folder}; that directory must belong to the user of the daemon")
        }
        io::ErrorKind::InvalidInput => {
            format!("{error}; a socket's path may have at most about 100 bytes, with room for a temporary ending")
        }
        _ => error.to_string(),
    }
}
