//! Where Sendmail listens.

use super::Inspection;
use super::milters::field;
use crate::finding::Status;

/// What only programs on this host can connect to.
const LOOPBACK: [&str; 4] = ["127.0.0.1", "localhost", "::1", "IPv6:::1"];

impl Inspection<'_> {
    /// Whether anybody but this host can hand mail in.
    pub(super) fn listeners(&mut self) {
        const CHECK: &str = "listener";
        let hands_in = self.examined.provider.hands_in;
        if !hands_in.inbound && !hands_in.back {
            return;
        }
        let is_closed = |options: &str| field(options, 'A').is_some_and(|address| LOOPBACK.contains(&address));
        // Without any, Sendmail listens everywhere.
        let all: Vec<String> = self.cf.options("DaemonPortOptions").map(str::to_owned).collect();
        match all.first() {
            Some(first) if all.iter().all(|options| is_closed(options)) => {
                let seen =
                    format!("DaemonPortOptions={first}: only this host can connect, and the relay hands nothing in");
                let mend = format!(
                    "take Addr=127.0.0.1 out of DAEMON_OPTIONS in sendmail.mc, then {}, and {}",
                    self.rebuild(),
                    self.restart()
                );
                self.mend(Status::Fail, (CHECK, first), seen, mend);
            }
            _ => self.pass(CHECK, "", format!("{} listeners", all.len().max(1))),
        }
    }
}
