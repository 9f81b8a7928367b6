//! Where the addresses of the scopes come from: the configuration, list files, and groups of the directory.
//!
//! Messages never wait for a source: what is in force is in memory ([`Loaded`]), and a [`Refresher`] looks in the
//! background whether a file is another one now, and asks the directory from time to time. Whatever goes wrong there
//! leaves the last good addresses in force, and is told. So that this holds across restarts, the members of groups are
//! kept on disk too.
//!
//! When nothing good is known of a group at all (no snapshot, and the directory does not answer), there is nothing to
//! go on with: to take the group for empty would send mail past the relay. Loading fails then.

mod group;
mod list_file;
mod loaded;
mod refresher;
mod snapshot;
mod stamp;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

pub use group::Answer;
pub use loaded::{Loaded, Origin};
pub use refresher::Refresher;

/// A directory that can be asked who is in a group.
#[derive(Clone)]
pub struct Directory {
    description: String,
    ask: Arc<Ask>,
}

type Ask = dyn Fn(String) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

impl Directory {
    /// `description` holds everything that the answers depend on: servers, base, attributes. What is known from a
    /// directory with another description is not used. `ask` looks up a group.
    pub fn new<F>(description: String, ask: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self { description, ask: Arc::new(move |group| Box::pin(ask(group))) }
    }

    /// Asks for the addresses of a group's members.
    async fn members(&self, group: &str) -> Answer {
        (self.ask)(group.to_owned()).await
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.description).finish()
    }
}

/// A mistake in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The list file, or the group.
    pub place: String,
    /// Line, from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether it may be over later without anybody's doing, as with a directory that does not answer.
    pub may_pass: bool,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.place)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

#[cfg(test)]
mod tests;
