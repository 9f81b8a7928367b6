//! `conbool-milter handshake`: connects to a milter as the mail server does. Not for people: `doctor` runs it, so that
//! a process of its own can become the mail server's user.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use nix::unistd::{User, chroot, initgroups, setgid, setuid};

use crate::probe::milter::{self, Negotiated};
use crate::probe::socketmap;
use crate::routing::MAP;

/// How long the milter may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it is given.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// `unix:PATH` or `inet:ADDRESS:PORT`
    socket: String,
    /// Become this user first
    #[arg(long)]
    user: Option<String>,
    /// Go into this directory before that
    #[arg(long)]
    directory: Option<PathBuf>,
    /// See nothing outside of that directory
    #[arg(long)]
    chroot: bool,
}

/// Succeeds if a milter answers.
///
/// # Errors
/// A sentence that says why not.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    become_client(arguments)?;
    shake(&arguments.socket).map(drop)
}

/// As Postfix's processes do it (`chroot_uid`): groups, then the root directory, then the user.
fn become_client(arguments: &Arguments) -> Result<(), String> {
    let failed = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    if let Some(directory) = &arguments.directory {
        std::env::set_current_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let user = match &arguments.user {
        Some(name) => {
            let user = User::from_name(name).map_err(failed("user"))?;
            Some(user.ok_or_else(|| format!("there is no user {name} on this host"))?)
        }
        None => None,
    };
    if let Some(user) = &user {
        let name = CString::new(user.name.as_str()).map_err(|error| error.to_string())?;
        setgid(user.gid).map_err(failed("setgid"))?;
        initgroups(&name, user.gid).map_err(failed("initgroups"))?;
    }
    if arguments.chroot {
        chroot(".").map_err(failed("chroot"))?;
    }
    user.map_or(Ok(()), |user| setuid(user.uid).map_err(failed("setuid")))
}

/// Connects to a milter and negotiates.
///
/// # Errors
/// A sentence that says what went wrong.
pub fn shake(socket: &str) -> Result<Negotiated, String> {
    talk(socket, |mut stream| milter::handshake(&mut stream).map_err(|error| error.to_string()))
}

/// Asks a socketmap of ours where mail of the null sender goes.
///
/// # Errors
/// A sentence that says what went wrong.
pub fn ask(socket: &str) -> Result<(), String> {
    let answer = talk(socket, |mut stream| {
        socketmap::ask(&mut stream, MAP, "setup | | example.invalid").map_err(|error| error.to_string())
    })?;
    if answer.starts_with("OK ") { Ok(()) } else { Err(format!("it answers {answer:?}, as another service")) }
}

/// A connection of either family.
pub trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// Connects, and says something, within the time that there is.
fn talk<T: Send + 'static>(
    socket: &str,
    say: impl FnOnce(&mut dyn Stream) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (done, outcome) = mpsc::channel();
    let socket = socket.to_owned();
    // To connect to a unix socket whose backlog is full takes forever.
    std::thread::spawn(move || {
        let connected = connect(&socket).map_err(|error| error.to_string());
        done.send(connected.and_then(|mut stream| say(stream.as_mut())))
    });
    outcome
        .recv_timeout(PATIENCE + PATIENCE / 2)
        .unwrap_or_else(|_| Err("it takes no connection: the daemon hangs, or all its connections are in use".into()))
}

/// Connects to `unix:PATH` or `inet:ADDRESS:PORT`; whatever is said must be said in a time.
///
/// # Errors
/// Of the connection.
pub fn connect(socket: &str) -> io::Result<Box<dyn Stream>> {
    if let Some(path) = socket.strip_prefix("unix:") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)))?;
        return Ok(Box::new(stream));
    }
    let address = socket.strip_prefix("inet:").and_then(|address| address.parse::<SocketAddr>().ok());
    let address =
        address.ok_or_else(|| io::Error::other(format!("{socket}: neither unix:PATH nor inet:ADDRESS:PORT")))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)))?;
    Ok(Box::new(stream))
}
