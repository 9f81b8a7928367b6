//! Section `[policy]`.

use super::reader::Reader;
use super::{Socket, keys, notation};

/// The Postfix policy service (SMTPD_POLICY_README).
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `policy.socket`: one string or a list; empty: no such service. The files of unix sockets get the mode and the
    /// group of the milter's.
    pub sockets: Vec<Socket>,
}

/// `taken` are the sockets of other doors.
pub fn read(reader: &mut Reader, taken: &[Socket]) -> Policy {
    const EXAMPLE: &str = r#""unix:/var/spool/postfix/conbool/policy.sock""#;
    Policy { sockets: keys::sockets(reader, "policy.socket", EXAMPLE, notation::socket, taken) }
}
