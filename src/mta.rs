//! What each mail server needs to route as the verdicts say: its configuration, generated from ours.

pub mod change;
pub mod delivery;
pub mod dovecot;
pub mod exchange_online;
mod lines;
mod milter_client;
pub mod postfix;
mod scratch;
pub mod sendmail;
pub mod wired;
pub mod zimbra;

use crate::config::{Config, MailServer};
pub use milter_client::MilterClient;

/// The mail server of this host: what the configuration says, or else the one whose configuration is there; Postfix if
/// neither's is.
pub fn mail_server(config: &Config) -> MailServer {
    config.mail_server.unwrap_or_else(|| {
        let postfix = config.postfix.config_directory.join("main.cf");
        let sendmail = config.sendmail.directory.join("sendmail.cf");
        if !postfix.is_file() && sendmail.is_file() { MailServer::Sendmail } else { MailServer::Postfix }
    })
}
