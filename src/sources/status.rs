//! The state of the scopes, as commands and the status page show it.

use serde::Serialize;

/// One scope.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// `default`, or its name.
    pub name: String,
    /// `all`, `list` or `group`.
    pub mode: &'static str,
    /// From 0.0 to 1.0.
    pub share: f64,
    /// How many addresses and domains are in force; a share of domains counts as the domains.
    pub members: usize,
    /// Seconds since the source that was not heard of for longest said what is in force; 0 for what stands in the
    /// configuration.
    pub age_seconds: u64,
    /// True if an answer of the directory was held back.
    pub held_back: bool,
    /// Where the addresses come from.
    pub sources: Vec<SourceStatus>,
}

/// One source of a scope.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceStatus {
    /// `domains`, `senders`, `file` or `group`.
    pub kind: &'static str,
    /// The file or the group; empty for the others.
    pub name: String,
    /// How many addresses and domains it has, whatever the share.
    pub members: usize,
    /// As in [`Status`], of this source.
    pub age_seconds: u64,
    /// How many addresses the answer has that is held back, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<usize>,
    /// What is wrong with the source now, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
