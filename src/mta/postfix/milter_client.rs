//! How an instance connects to the milter: by which path, as which user, from which directory.

use std::path::PathBuf;

use super::{CommandError, Existing, milter_socket};
use crate::config::{Config, Socket};

/// The instance as a client of the milter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MilterClient {
    /// The socket as main.cf names it; a relative path starts in the directory.
    pub socket: String,
    /// Which socket of our configuration that is.
    pub of: Socket,
    /// The directory that its processes run in, `queue_directory`.
    pub directory: PathBuf,
    /// True if they cannot see what is outside of it.
    pub is_chrooted: bool,
    /// The user as whom they run, `mail_owner`.
    pub owner: String,
}

impl MilterClient {
    /// Asks postconf; `None` if there is no such instance on this host, or it cannot be given any of our sockets.
    ///
    /// # Errors
    /// [`CommandError`] if postconf does not answer.
    pub fn read(config: &Config) -> Result<Option<Self>, CommandError> {
        let existing = Existing::read(&config.postfix.config_directory)?;
        if !existing.is_known() {
            return Ok(None);
        }
        let directory = existing.queue_directory();
        let Ok(socket) = milter_socket(&config.milter.sockets, &directory) else { return Ok(None) };
        let relative = |candidate: &&Socket| matches!(candidate, Socket::Unix(path) if path.starts_with(&directory));
        let sockets = &config.milter.sockets;
        let of = sockets.iter().find(relative).or(sockets.first()).cloned();
        Ok(of.map(|of| Self {
            socket: socket.replace("$$", "$"),
            of,
            is_chrooted: existing.smtpd_is_chrooted(),
            owner: existing.in_force("mail_owner").unwrap_or("postfix").to_owned(),
            directory,
        }))
    }
}
