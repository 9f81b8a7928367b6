//! Section `[telemetry]`.

use super::reader::Reader;
use super::{Socket, keys, notation};

/// Where the daemon tells how it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// `telemetry.socket`: one string or a list, unix sockets and loopback addresses; empty: nowhere.
    pub sockets: Vec<Socket>,
    /// `telemetry.socket_mode`: permission bits of unix sockets, written as a string, default `"0660"`.
    pub socket_mode: u32,
    /// `telemetry.socket_group`: group that owns unix sockets; `None` leaves the process's (or, in a set-group-id
    /// directory, the directory's).
    pub socket_group: Option<String>,
}

/// `taken` are the sockets of other doors.
pub fn read(reader: &mut Reader, taken: &[Socket]) -> Telemetry {
    const EXAMPLE: &str = r#""unix:/run/conbool-milter/telemetry.sock""#;
    Telemetry {
        sockets: keys::sockets(reader, "telemetry.socket", EXAMPLE, socket, taken),
        socket_mode: keys::socket_mode(reader, "telemetry.socket_mode"),
        socket_group: reader.string("telemetry.socket_group", r#""prometheus""#, keys::group),
    }
}

/// Who may connect may ask, so that no other host may.
fn socket(written: &str) -> Result<Socket, String> {
    match notation::socket(written)? {
        Socket::Inet(address, _) if !address.is_loopback() => {
            Err("can be reached from other hosts, and nobody is asked \
             for a password here; write a loopback address such as \"inet:127.0.0.1:9477\", or a unix socket"
                .into())
        }
        socket => Ok(socket),
    }
}
