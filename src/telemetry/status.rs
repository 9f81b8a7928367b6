//! What a running daemon tells of itself: served as JSON, and shown by `conbool-milter status`. Data only.
//!
//! Times are in seconds since 1970 (UTC), ages and durations in seconds. Whatever an older daemon does not tell is
//! empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When this was told.
    pub time: u64,
    /// How long the daemon has been running.
    pub uptime_seconds: u64,
    /// `None` if the daemon is ready; else why not.
    pub not_ready: Option<String>,
    /// `enforce` or `monitor`; then, after a comma each, the effects that are only watched.
    pub mode: String,
    /// The configuration.
    pub config: Configuration,
    /// The doors, in the order in which they are documented.
    pub doors: Vec<DoorStatus>,
    /// The messages judged since the daemon started.
    pub messages: Messages,
    /// How often something went wrong since then, by stage; stages at 0 included.
    pub errors: BTreeMap<String, u64>,
    /// How often something went past a limit since then, by limit; limits at 0 included.
    pub limits_reached: BTreeMap<String, u64>,
    /// The scopes.
    pub scopes: Vec<ScopeStatus>,
    /// The lock-down of hosted domains, by domain.
    pub lock_down: Vec<LockDownStatus>,
    /// The verdicts on the last messages of `doctor --probe`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeStatus>,
}

/// The verdict on a message of `doctor --probe`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeStatus {
    /// Its Message-ID.
    pub message_id: String,
    /// The mail server's queue id.
    pub queue_id: String,
    /// What was done with it: `relay`, `direct`, …
    pub decision: String,
    /// Why: the name of the deciding reason.
    pub reason: String,
    /// `enforce` or `monitor`.
    pub mode: String,
}

/// The configuration that is in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Its file.
    pub file: String,
    /// When it was loaded.
    pub loaded: u64,
    /// The last attempt to load it anew, if that failed.
    pub failed: Option<FailedReload>,
}

/// An attempt to load the configuration that changed nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedReload {
    /// When.
    pub time: u64,
    /// The first mistake, with file and line.
    pub mistake: String,
    /// How many more there are.
    pub more: usize,
}

/// One door of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DoorStatus {
    /// `milter`, `policy` or `telemetry`.
    pub door: String,
    /// Its sockets.
    pub sockets: Vec<String>,
    /// Connections open now.
    pub connections: u64,
    /// How many there may be.
    pub limit: u64,
}

/// The messages judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// All.
    pub total: u64,
    /// Mean rate a second over the last minute.
    pub per_second_1m: f64,
    /// Mean rate a second over the last 15 minutes.
    pub per_second_15m: f64,
    /// By direction.
    pub directions: BTreeMap<String, u64>,
    /// By decision.
    pub decisions: BTreeMap<String, u64>,
    /// By deciding reason.
    pub reasons: BTreeMap<String, u64>,
    /// By mode.
    pub modes: BTreeMap<String, u64>,
    /// By who handed them over: `relay`, `internal` or `world`.
    pub peers: BTreeMap<String, u64>,
    /// Forged header fields found.
    pub forged_headers: u64,
}

/// A scope: whose mail belongs on the relay, or whom a script knows by that name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeStatus {
    /// `default`, or its name.
    pub name: String,
    /// `all`, `list` or `group`.
    pub mode: String,
    /// From 0.0 to 1.0.
    pub share: f64,
    /// How many addresses and domains are in force; a share of domains counts as the domains.
    pub members: u64,
    /// Since the source that was not heard of for longest said what is in force; 0 for what stands in the configuration.
    pub age_seconds: u64,
    /// Whether an answer of a source is held back.
    pub held_back: bool,
    /// Where the addresses come from.
    pub sources: Vec<SourceStatus>,
}

/// One source of a scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// `domains`, `senders`, `file` or `group`.
    pub kind: String,
    /// The file or the group; empty for the others.
    pub name: String,
    /// How many addresses and domains it has, whatever the share.
    pub members: u64,
    /// As in [`ScopeStatus`], of this source.
    pub age_seconds: u64,
    /// False for a group of which nothing is known: its members are missing in the scope.
    pub is_known: bool,
    /// How many addresses the answer has that is held back, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<u64>,
    /// What is wrong with the source now, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The lock-down of one hosted domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockDownStatus {
    /// The domain.
    pub domain: String,
    /// Whether mail for it is taken from the relay only.
    pub enforced: bool,
    /// Whether it was enforced, and is not any more.
    pub stepped_back: bool,
    /// Why it is as it is.
    pub why: String,
}
