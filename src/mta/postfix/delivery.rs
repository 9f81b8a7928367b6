//! A message handed to Postfix, and what its log says became of it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command;
use crate::config::DEFAULT_POSTFIX_DIRECTORY;

/// One instance, to send by and to read the log of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postal {
    config_directory: PathBuf,
    sendmail: PathBuf,
    log: Option<PathBuf>,
}

/// Where syslog writes what mail servers log.
const LOGS: [&str; 3] = ["/var/log/mail.log", "/var/log/maillog", "/var/log/mail"];

/// As much of the end of a log is read, in bytes.
const TAIL: u64 = 4 << 20;

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
        let log = next().or_else(|| LOGS.iter().map(PathBuf::from).find(|log| log.is_file()));
        Ok(Self { config_directory: config_directory.to_owned(), sendmail, log })
    }

    /// Hands a message over, as programs on this host do (sendmail(1)).
    ///
    /// # Errors
    /// What the command says.
    pub fn send(&self, sender: &str, recipient: &str, message: &str) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.sendmail.display());
        let mut command = Command::new(&self.sendmail);
        if self.config_directory != Path::new(DEFAULT_POSTFIX_DIRECTORY) {
            command.arg("-C").arg(&self.config_directory);
        }
        command.args(["-i", "-f", sender, "--", recipient]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(message.as_bytes()).map_err(failed)?;
        }
        let output = child.wait_with_output().map_err(failed)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// The end of the log: of its file, or else of the systemd journal.
    ///
    /// # Errors
    /// A sentence, if neither can be read.
    pub fn log(&self) -> Result<String, String> {
        let Some(path) = &self.log else {
            // Facility 2 is mail (RFC 5424, 6.2.1).
            let arguments = ["-q", "--no-pager", "-o", "short", "--since=-15min", "SYSLOG_FACILITY=2"];
            let output = Command::new("journalctl").args(arguments).stdin(Stdio::null()).output();
            let output = output.map_err(|error| format!("Postfix's log is not found, and journalctl: {error}"))?;
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        };
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The transport, as its processes are called in the log: `postfix/conbool-relay/smtp`.
    pub transport: String,
    /// `sent`, `deferred`, `bounced` …
    pub status: String,
    /// The host and its address.
    pub host: String,
    /// What the host said, or why there was none.
    pub reply: String,
    /// How far TLS went: `Verified`, `Trusted`, `Untrusted`, `Anonymous`; `None` if there was none, or it is not logged.
    pub tls: Option<String>,
}

/// The queue id of the message with this Message-ID, without angle brackets.
pub fn queue_id(log: &str, message_id: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(&format!("message-id=<{message_id}>")))?;
    let (head, _) = line.rsplit_once(": message-id=")?;
    head.rsplit_once(' ').map(|(_, id)| id.to_owned())
}

/// The last delivery of a message, or of what the split listeners made of it; `None` as long as there is none.
pub fn last_delivery(log: &str, queue_id: &str) -> Option<Delivery> {
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
        let (transport, status, host) = (transport.to_owned(), status.to_owned(), host.to_owned());
        found = Some(Delivery { transport, status, host, reply, tls });
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
