//! How Sendmail connects to the milter.

use std::path::PathBuf;

use super::Existing;
use super::cf::Cf;
use crate::config::{Config, Socket};
use crate::mta::MilterClient;

/// Reads sendmail.cf; `None` if there is none, or it cannot be read.
pub fn milter_client(config: &Config) -> Option<MilterClient> {
    let cf = Cf::parse(&Existing::read(&config.sendmail).ok()?.cf?);
    let sockets = &config.milter.sockets;
    let of = sockets.iter().find(|socket| matches!(socket, Socket::Unix(_))).or(sockets.first())?.clone();
    // `RunAsUser=smmta:smmta`; without it Sendmail asks milters as root.
    let user = cf.option("RunAsUser").and_then(|user| user.split([':', '.']).next()).filter(|user| !user.is_empty());
    let tolerated = cf.option("DontBlameSendmail").unwrap_or_default().to_ascii_lowercase();
    Some(MilterClient {
        mail_server: "Sendmail",
        socket: of.to_string(),
        of,
        directory: PathBuf::from("/"),
        is_chrooted: false,
        owner: user.unwrap_or("root").to_owned(),
        wants_safe_path: !tolerated.contains("writabledirpath"),
    })
}
