//! Mail in the queue that needs what setup has written.

use crate::config;

/// A message in the queue that needs our rules: without them it would bounce, or go past the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its queue id.
    pub queue_id: String,
    /// Its envelope sender.
    pub sender: String,
}

/// The messages in the queue that need our rules.
///
/// # Errors
/// A sentence, if the queue cannot be looked at.
pub fn waiting(_sendmail: &config::Sendmail) -> Result<Vec<Waiting>, String> {
    Ok(Vec::new())
}
