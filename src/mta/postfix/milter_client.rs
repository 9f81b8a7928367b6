//! How an instance connects to the milter.

use super::{CommandError, Existing, milter_socket};
use crate::config::{Config, Socket};
use crate::mta::MilterClient;

/// Asks postconf; `None` if there is no such instance on this host, or it cannot be given any of our sockets.
///
/// # Errors
/// [`CommandError`] if postconf does not answer.
pub fn milter_client(config: &Config) -> Result<Option<MilterClient>, CommandError> {
    let existing = Existing::read(&config.postfix.config_directory)?;
    if !existing.is_known() {
        return Ok(None);
    }
    let directory = existing.queue_directory();
    let Ok(socket) = milter_socket(&config.milter.sockets, &directory) else { return Ok(None) };
    let relative = |candidate: &&Socket| matches!(candidate, Socket::Unix(path) if path.starts_with(&directory));
    let sockets = &config.milter.sockets;
    let of = sockets.iter().find(relative).or(sockets.first()).cloned();
    Ok(of.map(|of| MilterClient {
        mail_server: "Postfix",
        socket: socket.replace("$$", "$"),
        of,
        is_chrooted: existing.smtpd_is_chrooted(),
        owner: existing.in_force("mail_owner").unwrap_or("postfix").to_owned(),
        directory,
        wants_safe_path: false,
    }))
}
