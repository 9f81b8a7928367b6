//! Events of the inbound lock-down.

use std::fmt::Display;
use std::path::Path;

use tracing::{error, info, warn};

use super::cut;
use super::ledger::{LEDGER, Stage};
use crate::case::Client;
use crate::lock_down::Locked;

/// A stranger named a recipient that is locked, at one of the doors.
///
/// `line`: whether the log gets a line about it. It needs none where the line of the message will tell.
pub fn recipient_locked(
    client: &Client,
    sender: &str,
    recipient: &str,
    locked: &Locked,
    line: bool,
    door: &'static str,
) {
    let mode = if locked.refused { "enforce" } else { "monitor" };
    metrics::counter!("conbool_milter_lock_down_total", "mode" => mode, "door" => door).increment(1);
    if line {
        info!(
            from = cut(sender),
            to = cut(recipient),
            client = client.address.map(|address| address.to_canonical().to_string()).as_deref().unwrap_or("unknown"),
            tls = client.tls_version.as_deref().map(cut).unwrap_or("none"),
            reason = "lock-down",
            domain = locked.domain.as_deref(),
            mode,
            door,
            "{}",
            if locked.refused { "recipient refused" } else { "recipient would be refused" }
        );
    }
}

/// These domains are watched from now on, each with whether lock-down is enforced for it, and why; others are not.
pub fn lock_down_watched<'a>(domains: impl IntoIterator<Item = (&'a str, bool, &'a str)>) {
    LEDGER.lock_down_watched(domains);
}

/// Lock-down is enforced for a domain from now on.
pub fn lock_down_entered(domain: &str, why: &str) {
    LEDGER.lock_down(domain, true, Some(false), why);
    info!(domain, why, "lock-down is enforced from now on");
}

/// Lock-down is not enforced for a domain any more.
pub fn lock_down_left(domain: &str, why: &str) {
    LEDGER.lock_down(domain, false, Some(true), why);
    warn!(domain, why, "lock-down is not enforced any more; mail that goes past the relay is taken");
}

/// Lock-down in mode `auto` is not enforced for a domain, for a new reason.
pub fn lock_down_waits(domain: &str, why: &str) {
    LEDGER.lock_down(domain, false, None, why);
    info!(domain, why, "lock-down is not enforced yet");
}

/// The MX hosts of a domain could not be looked up; lock-down stays as it is.
pub fn mx_look_up_failed(domain: &str, failure: &dyn Display) {
    LEDGER.error(Stage::MxLookUp);
    warn!(domain, error = %failure, "the MX hosts cannot be looked up; lock-down stays as it is");
}

/// What is known of the MX hosts could not be read; lock-down begins anew.
pub fn mx_state_not_read(file: &Path, failure: &dyn Display) {
    LEDGER.error(Stage::State);
    error!(file = %file.display(), error = %failure, "what is known of the MX hosts cannot be read; lock-down begins anew");
}

/// What is known of the MX hosts could not be saved; after a restart lock-down begins anew.
pub fn mx_state_not_saved(file: &Path, failure: &dyn Display) {
    LEDGER.error(Stage::State);
    error!(file = %file.display(), error = %failure, "what is known of the MX hosts cannot be saved");
}
