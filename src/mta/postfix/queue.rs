//! Mail in the queue that needs what setup has written.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::command::{self, CommandError};
use super::list;
use crate::config;

/// A message in the queue, and why it needs the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its queue id.
    pub queue_id: String,
    /// Its envelope sender.
    pub sender: String,
    /// What would become of it without the rules.
    pub need: Need,
}

/// What a message in the queue needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It is marked for one of our transports, and nothing else can deliver it.
    Transport,
    /// It waits for the relay, and would go past it.
    Relay,
}

/// A message of `postqueue -j` (postqueue(1), JSON object format).
#[derive(Debug, Deserialize)]
pub struct Queued {
    /// The queue that it is in: `active`, `deferred`, `hold`, ….
    pub queue_name: String,
    /// Its queue id.
    pub queue_id: String,
    /// When it came, in seconds since the epoch.
    pub arrival_time: u64,
    /// Its envelope sender.
    pub sender: String,
    /// Those whose copies are still here.
    pub recipients: Vec<QueuedRecipient>,
}

/// A recipient of one.
#[derive(Debug, Deserialize)]
pub struct QueuedRecipient {
    /// Its address.
    pub address: String,
    /// Why the copy is still here; empty if it has not been tried.
    #[serde(default)]
    pub delay_reason: String,
}

/// All messages in the instance's queue.
///
/// # Errors
/// [`CommandError`] if the queue cannot be looked at.
pub fn messages(config_directory: &Path) -> Result<Vec<Queued>, CommandError> {
    let listing = command::run("postqueue", config_directory, &["-j"])?;
    Ok(listing.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The messages in the instance's queue that need our rules. `hosted` are the hosted domains.
///
/// # Errors
/// [`CommandError`] if the queue cannot be looked at.
pub fn waiting(config_directory: &Path, hosted: &[String]) -> Result<Vec<Waiting>, CommandError> {
    let messages = messages(config_directory)?;
    let tables = command::run("postconf", config_directory, &["-hx", "sender_dependent_default_transport_maps"])?;
    let mut routes = HashMap::new();
    let mut waiting = Vec::new();
    for queued in messages {
        let outside = queued.recipients.iter().any(|recipient| !is_hosted(&recipient.address, hosted));
        let to_relay = outside
            && *routes
                .entry(queued.sender.clone())
                .or_insert_with(|| goes_to_relay(config_directory, list::split(&tables), &queued.sender));
        let need = match is_marked(config_directory, &queued.queue_id) {
            true => Need::Transport,
            false if to_relay => Need::Relay,
            false => continue,
        };
        waiting.push(Waiting { queue_id: queued.queue_id, sender: queued.sender, need });
    }
    Ok(waiting)
}

fn is_hosted(address: &str, hosted: &[String]) -> bool {
    let domain = address.rsplit_once('@').map(|(_, domain)| domain);
    domain.is_some_and(|domain| config::hosted_domain(domain).is_ok_and(|domain| hosted.contains(&domain)))
}

/// What the tables say of a sender, asked in the order in which Postfix asks them: address, then `@domain`.
fn goes_to_relay(config_directory: &Path, tables: Vec<&str>, sender: &str) -> bool {
    let plain = sender.rsplit_once('@').map(|(local, domain)| {
        let local = local.split_once('+').map_or(local, |(local, _)| local);
        [format!("{local}@{domain}"), format!("@{domain}")]
    });
    let keys: Vec<String> = std::iter::once(sender.to_owned()).chain(plain.into_iter().flatten()).collect();
    keys.iter().any(|key| {
        tables.iter().any(|table| {
            let found = command::run("postmap", config_directory, &["-q", &key.to_ascii_lowercase(), table]);
            found.is_ok_and(|value| value.starts_with("conbool-"))
        })
    })
}

/// True if its queue file has a FILTER to one of our transports (postcat(1), `-e`).
fn is_marked(config_directory: &Path, queue_id: &str) -> bool {
    let envelope = command::run("postcat", config_directory, &["-qe", queue_id]).unwrap_or_default();
    envelope.lines().any(|line| {
        line.split_once(':')
            .is_some_and(|(record, value)| record.contains("filter") && value.trim_start().starts_with("conbool-"))
    })
}
