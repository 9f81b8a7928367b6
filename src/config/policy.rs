//! Section `[policy]`.

use std::time::Duration;

use super::reader::Reader;
use super::{Socket, keys, notation};

/// The Postfix policy service (SMTPD_POLICY_README).
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `policy.socket`: one string or a list; empty: no such service. The files of unix sockets get the mode and the
    /// group of the milter's.
    pub sockets: Vec<Socket>,
    /// `policy.max_connections`, default 2000, 1 to 100000.
    pub max_connections: usize,
    /// `policy.idle_timeout`: seconds a silent connection is kept, default 1200, at least 10.
    pub idle_timeout: Duration,
}

/// `taken` are the sockets of other doors.
pub fn read(reader: &mut Reader, taken: &[Socket]) -> Policy {
    const EXAMPLE: &str = r#""unix:/var/spool/postfix/conbool/policy.sock""#;
    let idle_timeout = reader.integer("policy.idle_timeout", 10..=keys::WEEK, "seconds");
    Policy {
        sockets: keys::sockets(reader, "policy.socket", EXAMPLE, notation::socket, taken),
        max_connections: keys::size(reader.integer("policy.max_connections", 1..=100_000, "connections"))
            .unwrap_or(2000),
        idle_timeout: Duration::from_secs(idle_timeout.unwrap_or(1200)),
    }
}
