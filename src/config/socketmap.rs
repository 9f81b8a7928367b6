//! Section `[socketmap]`.

use std::time::Duration;

use super::reader::Reader;
use super::{Socket, keys, notation};

/// The socketmap that Sendmail asks where mail goes (cf/README of Sendmail, "SOCKET").
#[derive(Debug, Clone, PartialEq)]
pub struct Socketmap {
    /// `socketmap.socket`: one string or a list; empty: no such service. The files of unix sockets get the mode and the
    /// group of the milter's.
    pub sockets: Vec<Socket>,
    /// `socketmap.max_connections`, default 2000, 1 to 100000.
    pub max_connections: usize,
    /// `socketmap.idle_timeout`: seconds a silent connection is kept, default 3600, at least 10.
    pub idle_timeout: Duration,
}

/// `taken` are the sockets of other doors.
pub fn read(reader: &mut Reader, taken: &[Socket]) -> Socketmap {
    const EXAMPLE: &str = r#""unix:/run/conbool-milter/socketmap.sock""#;
    let idle_timeout = reader.integer("socketmap.idle_timeout", 10..=keys::WEEK, "seconds");
    Socketmap {
        sockets: keys::sockets(reader, "socketmap.socket", EXAMPLE, notation::socket, taken),
        max_connections: keys::size(reader.integer("socketmap.max_connections", 1..=100_000, "connections"))
            .unwrap_or(2000),
        idle_timeout: Duration::from_secs(idle_timeout.unwrap_or(3600)),
    }
}
