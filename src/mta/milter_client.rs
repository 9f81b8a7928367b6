//! How a mail server connects to the milter: by which path, as which user, from which directory.

use std::path::PathBuf;

use crate::config::Socket;

/// A mail server as a client of the milter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MilterClient {
    /// What the mail server is called.
    pub mail_server: &'static str,
    /// The socket as the mail server names it; a relative path starts in the directory.
    pub socket: String,
    /// Which socket of our configuration that is.
    pub of: Socket,
    /// The directory that its processes run in.
    pub directory: PathBuf,
    /// True if they cannot see what is outside of it.
    pub is_chrooted: bool,
    /// The user as whom they run.
    pub owner: String,
    /// True if it takes no socket below a directory that others than its owner can write to.
    pub wants_safe_path: bool,
}
