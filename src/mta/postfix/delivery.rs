//! A message handed to Postfix, and what its log says became of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::command;
use crate::config::DEFAULT_POSTFIX_DIRECTORY;
use crate::mta::delivery::{self, Delivery, Post};

/// One instance, to send by and to read the log of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postal {
    config_directory: PathBuf,
    sendmail: PathBuf,
    log: Option<PathBuf>,
}

impl Postal {
    /// Asks postconf for the instance's command and log.
    ///
    /// # Errors
    /// A sentence, if postconf does not answer.
    pub fn of(config_directory: &Path) -> Result<Self, String> {
        let told = command::run("postconf", config_directory, &["-hx", "sendmail_path", "maillog_file"]);
        let told = told.map_err(|error| error.to_string())?;
        let mut values = told.lines().map(str::trim);
        let mut next = || values.next().filter(|value| !value.is_empty()).map(PathBuf::from);
        let sendmail = next().unwrap_or_else(|| "/usr/sbin/sendmail".into());
        let log = next().or_else(delivery::syslogs_file);
        Ok(Self { config_directory: config_directory.to_owned(), sendmail, log })
    }
}

impl Post for Postal {
    fn name(&self) -> &'static str {
        "Postfix"
    }

    fn send(&self, sender: &str, recipient: &str, message: &str) -> Result<(), String> {
        let mut command = Command::new(&self.sendmail);
        if self.config_directory != Path::new(DEFAULT_POSTFIX_DIRECTORY) {
            command.arg("-C").arg(&self.config_directory);
        }
        command.args(["-i", "-f", sender, "--", recipient]);
        delivery::submit(command, message)
    }

    fn log(&self) -> Result<String, String> {
        delivery::end_of_log(self.log.as_ref())
    }

    fn queue_id(&self, log: &str, message_id: &str) -> Option<String> {
        queue_id(log, message_id)
    }

    fn last_delivery(&self, log: &str, queue_id: &str) -> Option<Delivery> {
        last_delivery(log, queue_id)
    }
}

fn queue_id(log: &str, message_id: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(&format!("message-id=<{message_id}>")))?;
    let (head, _) = line.rsplit_once(": message-id=")?;
    head.rsplit_once(' ').map(|(_, id)| id.to_owned())
}

/// Of what the split listeners made of a message, too.
fn last_delivery(log: &str, queue_id: &str) -> Option<Delivery> {
    let mut id = queue_id.to_owned();
    let mut found = None;
    let mut handshakes: Vec<(&str, &str)> = Vec::new();
    for line in log.lines() {
        // `… postfix/conbool-relay/smtp[1234]: text`
        let Some((head, text)) = line.split_once("]: ") else { continue };
        let process = head.rsplit(' ').next().unwrap_or_default();
        if let Some((level, _)) = text.split_once(" TLS connection established to ") {
            handshakes.push((process, level));
        }
        let Some(rest) = text.strip_prefix(&format!("{id}: to=")) else { continue };
        let value = |name: &str| rest.split_once(name).map(|(_, value)| value);
        let Some(status) = value(", status=") else { continue };
        let (status, reply) = status.split_once(' ').unwrap_or((status, ""));
        let host = value(", relay=").and_then(|host| host.split(',').next()).unwrap_or_default();
        let transport = process.split('[').next().unwrap_or_default();
        let tls = handshakes.iter().rev().find(|(other, _)| *other == process).map(|(_, level)| (*level).to_owned());
        let reply = reply.trim_start_matches('(').trim_end_matches(')').to_owned();
        if let (true, Some((_, next))) = (transport.contains("conbool-split"), reply.split_once("queued as ")) {
            id = next.trim().to_owned();
            continue;
        }
        let is_to_relay = transport.contains("conbool-relay");
        let (transport, status, host) = (transport.to_owned(), status.to_owned(), host.to_owned());
        found = Some(Delivery { transport, is_to_relay, status, host, reply, tls });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
Nov 21 10:00:00 mail postfix/cleanup[10]: 4A: message-id=<conbool-probe.1@customer.test>
Nov 21 10:00:01 mail postfix/conbool-relay/smtp[11]: Verified TLS connection established to relay.test[192.0.2.1]:25: TLSv1.3
Nov 21 10:00:01 mail postfix/smtp[12]: Untrusted TLS connection established to mx.test[192.0.2.2]:25: TLSv1.3
Nov 21 10:00:02 mail postfix/conbool-relay/smtp[11]: 4A: to=<a@b.test>, relay=relay.test[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (250 2.0.0 Ok)
Nov 21 10:00:03 mail postfix/conbool-split/smtp[13]: 5B: to=<a@b.test>, relay=127.0.0.1[127.0.0.1]:25035, status=sent (250 2.0.0 Ok: queued as 6C)
Nov 21 10:00:04 mail postfix/conbool-direct/smtp[14]: 6C: to=<a@b.test>, relay=none, delay=1, status=deferred (connect: refused)
";

    #[test]
    fn a_message_is_followed_through_the_log() {
        assert_eq!(queue_id(LOG, "conbool-probe.1@customer.test").as_deref(), Some("4A"));
        let sent = last_delivery(LOG, "4A").unwrap();
        assert_eq!((sent.transport.as_str(), sent.status.as_str()), ("postfix/conbool-relay/smtp", "sent"));
        assert_eq!((sent.host.as_str(), sent.reply.as_str()), ("relay.test[192.0.2.1]:25", "250 2.0.0 Ok"));
        assert_eq!(sent.tls.as_deref(), Some("Verified"));
        let split = last_delivery(LOG, "5B").unwrap();
        assert_eq!((split.status.as_str(), split.reply.as_str(), split.tls), ("deferred", "connect: refused", None));
        assert_eq!(last_delivery(LOG, "7D"), None);
    }
}
