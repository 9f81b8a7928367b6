//! Sendmail as a service: does it run, with which configuration, and does it take a new one.

use crate::config;

/// The running daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its process.
    pub pid: i32,
    /// True if sendmail.cf has changed since it read it.
    pub is_older_than_cf: bool,
}

/// The running daemon, found by the PidFile of sendmail.cf; `None` if none runs.
///
/// # Errors
/// A sentence, if that cannot be told.
pub fn running(_sendmail: &config::Sendmail) -> Result<Option<Daemon>, String> {
    Ok(None)
}

/// Has the running daemon read its configuration again, and waits until it has.
///
/// # Errors
/// A sentence, if it does not.
pub fn reload(_sendmail: &config::Sendmail) -> Result<(), String> {
    Ok(())
}
