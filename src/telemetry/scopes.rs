//! Events and figures of the scopes and their sources.

use std::path::Path;
use std::time::Duration;

use tracing::{error, info, warn};

use super::ledger::LEDGER;
use super::status::ScopeStatus;

/// All scopes are as this says.
pub fn scopes(scopes: Vec<ScopeStatus>) {
    LEDGER.scopes(scopes);
}

/// A scope has other members now.
pub fn scope_changed(scope: &str, before: usize, members: usize) {
    info!(scope, before, members, "scope changed");
}

/// A source of a scope could not be read again; what it said last stays in force.
pub fn scope_refresh_failed(scope: &str) {
    LEDGER.scope_refresh_failed(scope);
}

/// A group was not looked up; the members that were found then stay in force.
pub fn group_not_refreshed(group: &str, problem: &str, age: Duration) {
    warn!(group, problem, age = age.as_secs(), "group not looked up; its last members stay in force");
}

/// The daemon started, or the configuration was loaded anew, without an answer of the directory.
pub fn snapshot_used(group: &str, age: Duration) {
    warn!(group, age = age.as_secs(), "the directory does not answer; the group's members are those of the snapshot");
}

/// The directory's answer is empty or much smaller than the last, and is not in force.
pub fn group_held_back(group: &str, last: usize, members: usize) {
    error!(
        group,
        last,
        members,
        "the directory's answer is much smaller than the last one and is held back; if it is right: \
         conbool-milter scope accept"
    );
}

/// An administrator accepted what was held back.
pub fn group_accepted(group: &str, members: usize) {
    info!(group, members, "the group's members are those that were accepted");
}

/// The directory gave values that are no e-mail addresses; one of them is `example`.
pub fn no_addresses(group: &str, count: usize, example: &str) {
    warn!(group, count, example = super::cut(example), "values of the directory left out: they are no addresses");
}

/// A snapshot could not be written: after a restart, older ones would be in force.
pub fn snapshot_not_written(problem: &str) {
    error!(problem, "snapshot not written; the daemon may not start while the directory is away");
}

/// A snapshot was replaced by somebody, and is none.
pub fn snapshot_not_read(problem: &str) {
    error!(problem, "snapshot not read");
}

/// A list file was changed, and is in force.
pub fn list_file_read(file: &Path, entries: usize) {
    info!(file = %file.display(), entries, "list file read");
}

/// A list file was changed, and has mistakes: one a line. What was read last stays in force.
pub fn list_file_refused(mistakes: &[String]) {
    for mistake in mistakes {
        error!(mistake, "list file not read; its last entries stay in force");
    }
}
