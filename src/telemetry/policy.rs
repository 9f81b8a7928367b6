//! Events of the policy service, and of the doors that answer questions in general.

use std::fmt::Display;

use tracing::{info, warn};

use super::cut;
use super::ledger::{Door, LEDGER, Stage};
use crate::case::Client;

/// A policy request was answered: the counter, and a line where the answer decides something, unless lock-down has
/// written one.
pub fn policy_answered(client: &Client, sender: &str, recipient: &str, action: &'static str, reason: &str) {
    let labels = [("action", action.to_owned()), ("reason", reason.to_owned())];
    metrics::counter!("conbool_milter_policy_requests_total", &labels).increment(1);
    if action != "dunno" && reason != "lock-down" {
        info!(
            from = cut(sender),
            to = cut(recipient),
            client = client.address.map(|address| address.to_canonical().to_string()).as_deref().unwrap_or("unknown"),
            tls = client.tls_version.as_deref().map(cut).unwrap_or("none"),
            action,
            reason,
            "policy"
        );
    }
}

/// Something that is no policy request came in; the connection is closed.
pub fn policy_malformed(problem: &dyn Display) {
    LEDGER.error(Stage::Policy);
    warn!(problem = cut(&problem.to_string()), "policy connection closed: no policy request");
}

/// As many connections of a door that answers questions are open as its `max_connections` says; this one is closed.
pub fn door_limit_reached(door: Door, report: bool) {
    let section = door.name();
    LEDGER.limit(match door {
        Door::Socketmap => "socketmap-connections",
        _ => "policy-connections",
    });
    if report {
        warn!("{section}.max_connections reached; new {section} connections are closed");
    }
}
