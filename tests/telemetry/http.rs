//! HTTP by hand, so that requests can be wrong.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::running::Daemon;

/// An answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The status line's code.
    pub code: u16,
    /// Header section, in lower case.
    pub head: String,
    /// Everything after it.
    pub body: String,
}

/// A connection to a telemetry socket.
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends bytes, and reads what comes back; `None` if nothing does.
pub fn exchange(socket: &Path, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(socket);
    // The daemon may close before it has read everything, and its answer may be lost by that.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse(&String::from_utf8(answer).unwrap())
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { code, head: head.to_ascii_lowercase(), body: body.to_string() })
}

/// GET from a daemon.
pub fn get(daemon: &Daemon, path: &str) -> Answer {
    get_from(&socket(daemon), path)
}

/// A daemon's telemetry socket.
pub fn socket(daemon: &Daemon) -> PathBuf {
    daemon.folder.join("telemetry.sock")
}

/// GET from a socket.
pub fn get_from(socket: &Path, path: &str) -> Answer {
    exchange(socket, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap()
}
