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

use crate::config::{Milter, Socket};

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

/// The sockets that the service manager holds for us (sd_listen_fds(3)); none if there is no such manager.
///
/// Mail servers that connect while no daemon runs wait in their backlog, so that a restart is not noticed.
///
/// # Errors
/// A descriptor that is no listening stream socket.
pub fn inherited() -> Result<Vec<Listener>, ListenError> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::with_capacity(passed.len());
    for number in 0..passed.len() {
        let unix = passed.take_unix_listener(number).map(|listener| listener.map(|unix| Listener::Unix(unix, None)));
        let listener = unix.or_else(|_| passed.take_tcp_listener(number).map(|listener| listener.map(Listener::Tcp)));
        listeners.extend(listener.map_err(|error| ListenError {
            socket: format!("descriptor {number} of LISTEN_FDS"),
            message: format!("{error}; the socket unit must have ListenStream="),
        })?);
    }
    Ok(listeners)
}

/// Binds all sockets.
///
/// A unix socket gets its mode and group before it appears under its name, and takes the place of one that a dead
/// process left.
///
/// # Errors
/// The first socket that cannot be bound.
pub fn bind(settings: &Milter) -> Result<Vec<Listener>, ListenError> {
    let bind_one = |socket: &Socket| match socket {
        Socket::Inet(address, port) => {
            let address = SocketAddr::new(*address, *port);
            TcpListener::bind(address)
                .map(Listener::Tcp)
                .map_err(|error| ListenError { socket: format!("inet:{address}"), message: error.to_string() })
        }
        Socket::Unix(path) => bind_unix(path, settings)
            .map_err(|message| ListenError { socket: format!("unix:{}", path.display()), message }),
    };
    settings.sockets.iter().map(bind_one).collect()
}

fn bind_unix(path: &Path, settings: &Milter) -> Result<Listener, String> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err("there is a file of that name that is no socket; remove it or choose another name".into());
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err("another process listens there; is conbool-milter already running?".into());
        }
        _ => {}
    }
    let group = settings.socket_group.as_deref().map(find_group).transpose()?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(|error| explain_bind(path, &error))?;
    let placed = place(&temporary, path, group.as_ref(), settings.socket_mode);
    if placed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    Ok(Listener::Unix(listener, Some(placed?)))
}

fn find_group(name: &str) -> Result<Group, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group),
        Ok(None) => Err(format!("milter.socket_group: there is no group {name:?} on this host")),
        Err(error) => Err(format!("milter.socket_group: the group {name:?} cannot be looked up: {error}")),
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
