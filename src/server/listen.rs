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
use socket2::SockRef;

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
    /// Whether it may be had later without anybody's doing.
    pub may_pass: bool,
}

impl ListenError {
    /// What only the administrator can mend.
    fn lasting(socket: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { socket: socket.to_string(), message: message.into(), may_pass: false }
    }

    /// What the system says. A directory that is missing or closed to the daemon stays so; what is in use may become free.
    fn of_system(socket: &Socket, error: &io::Error) -> Self {
        use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
        let message = match socket {
            Socket::Unix(path) => explain_bind(path, error),
            Socket::Inet(..) => error.to_string(),
        };
        let may_pass = !matches!(error.kind(), NotFound | PermissionDenied | InvalidInput);
        Self { socket: socket.to_string(), message, may_pass }
    }
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
    /// Opens them: a door has the sockets that the service manager holds for it, and those that the configuration names
    /// besides.
    ///
    /// # Errors
    /// The first socket that cannot be had.
    pub fn open(config: &Config) -> Result<Self, ListenError> {
        let mut sockets = Self::inherited()?;
        let held = sockets.held();
        let Config { milter, policy, socketmap, telemetry, .. } = config;
        let group = milter.socket_group.as_deref();
        for (name, door, named, mode, group) in [
            (MILTER, &mut sockets.milter, &milter.sockets, milter.socket_mode, group),
            (POLICY, &mut sockets.policy, &policy.sockets, milter.socket_mode, group),
            (SOCKETMAP, &mut sockets.socketmap, &socketmap.sockets, milter.socket_mode, group),
            (
                TELEMETRY,
                &mut sockets.telemetry,
                &telemetry.sockets,
                telemetry.socket_mode,
                telemetry.socket_group.as_deref(),
            ),
        ] {
            let mut missing = Vec::new();
            for socket in named {
                match held.iter().find(|held| held.address.serves(socket)) {
                    None => missing.push(socket.clone()),
                    Some(held) if held.door == name => {}
                    Some(held) => {
                        let message = format!(
                            "the service manager holds it as {}; write FileDescriptorName={name} in its unit, or another \
                             socket in the configuration",
                            held.door
                        );
                        return Err(ListenError::lasting(socket, message));
                    }
                }
            }
            door.extend(bind(&missing, mode, group)?);
        }
        Ok(sockets)
    }

    /// Where those listen that there are.
    fn held(&self) -> Vec<Held> {
        let Self { milter, policy, socketmap, telemetry } = self;
        let doors = [(MILTER, milter), (POLICY, policy), (SOCKETMAP, socketmap), (TELEMETRY, telemetry)];
        let of_door = |(door, listeners): (&'static str, &Vec<Listener>)| -> Vec<Held> {
            listeners.iter().filter_map(Address::of).map(|address| Held { door, address }).collect()
        };
        doors.into_iter().flat_map(of_door).collect()
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
            let error = |message| ListenError::lasting(format_args!("descriptor {number} of LISTEN_FDS"), message);
            let door = match names.next().unwrap_or_default() {
                POLICY => &mut sockets.policy,
                SOCKETMAP => &mut sockets.socketmap,
                TELEMETRY => &mut sockets.telemetry,
                // Without a name of its own a descriptor is called so, or like its unit.
                MILTER | "" | "unknown" | "conbool-milter.socket" => &mut sockets.milter,
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

/// The names of the doors among passed descriptors.
const MILTER: &str = "milter";
const POLICY: &str = "policy";
const SOCKETMAP: &str = "socketmap";
const TELEMETRY: &str = "telemetry";

/// A socket that the service manager holds.
#[derive(Debug)]
struct Held {
    door: &'static str,
    address: Address,
}

/// Where a listener can be reached.
#[derive(Debug)]
enum Address {
    Unix(PathBuf),
    /// `alone`: without the other family's addresses (IPV6_V6ONLY in ipv6(7)).
    Inet {
        address: SocketAddr,
        alone: bool,
    },
}

impl Address {
    /// `None` for one that no configuration can name.
    fn of(listener: &Listener) -> Option<Self> {
        match listener {
            Listener::Unix(listener, _) => listener.local_addr().ok()?.as_pathname().map(|path| Self::Unix(real(path))),
            Listener::Tcp(listener) => {
                let address = listener.local_addr().ok()?;
                let alone = address.is_ipv4() || SockRef::from(listener).only_v6().unwrap_or(true);
                Some(Self::Inet { address, alone })
            }
        }
    }

    /// Whether who connects to this socket of the configuration gets here.
    fn serves(&self, socket: &Socket) -> bool {
        match (self, socket) {
            (Self::Unix(held), Socket::Unix(path)) => *held == real(path),
            (Self::Inet { address, alone }, Socket::Inet(host, port)) => {
                let is_any = address.ip().is_unspecified() && (!alone || address.is_ipv4() == host.is_ipv4());
                address.port() == *port && (is_any || address.ip() == *host)
            }
            _ => false,
        }
    }
}

/// The path without symbolic links among its directories, as /var/run is one.
fn real(path: &Path) -> PathBuf {
    let directory = path.parent().and_then(|directory| fs::canonicalize(directory).ok());
    directory.zip(path.file_name()).map_or_else(|| path.to_owned(), |(directory, name)| directory.join(name))
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
            TcpListener::bind(address).map(Listener::Tcp).map_err(|error| ListenError::of_system(socket, &error))
        }
        Socket::Unix(path) => bind_unix(socket, path, mode, group),
    };
    sockets.iter().map(bind_one).collect()
}

fn bind_unix(socket: &Socket, path: &Path, mode: u32, group: Option<&str>) -> Result<Listener, ListenError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let message = "there is a file of that name that is no socket; remove it or choose another name";
            return Err(ListenError::lasting(socket, message));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            let message = "another process listens there; is conbool-milter already running?".into();
            return Err(ListenError { socket: socket.to_string(), message, may_pass: true });
        }
        _ => {}
    }
    let lasting = |message| ListenError::lasting(socket, message);
    let group = group.map(find_group).transpose().map_err(lasting)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(|error| ListenError::of_system(socket, &error))?;
    let placed = place(&temporary, path, group.as_ref(), mode).map_err(lasting);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_socket_serves_the_addresses_that_lead_to_it() {
        for (address, alone, host, expected) in [
            ("127.0.0.1:8891", true, "127.0.0.1", true),
            ("127.0.0.1:8891", true, "127.0.0.2", false),
            ("127.0.0.1:8892", true, "127.0.0.1", false),
            ("0.0.0.0:8891", true, "127.0.0.1", true),
            ("0.0.0.0:8891", true, "::1", false),
            ("[::]:8891", false, "127.0.0.1", true),
            ("[::]:8891", true, "127.0.0.1", false),
            ("[::]:8891", true, "::1", true),
            ("[::1]:8891", true, "::", false),
        ] {
            let held = Address::Inet { address: address.parse().unwrap(), alone };
            assert_eq!(held.serves(&Socket::Inet(host.parse().unwrap(), 8891)), expected, "{address} {host}");
            assert!(!held.serves(&Socket::Unix("/run/m.sock".into())));
        }
    }
}
