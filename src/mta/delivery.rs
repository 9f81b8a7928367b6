//! A message handed to the mail server, and what its log says became of it: what is common to all mail servers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A mail server, to send by and to read the log of.
pub trait Post: Send {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Hands a message over, as programs on this host do (sendmail(1)).
    ///
    /// # Errors
    /// What the command says.
    fn send(&self, sender: &str, recipient: &str, message: &str) -> Result<(), String>;

    /// The end of the log.
    ///
    /// # Errors
    /// A sentence, if it cannot be read.
    fn log(&self) -> Result<String, String>;

    /// The queue id of the message with this Message-ID, without angle brackets: the last that it has had.
    fn queue_id(&self, log: &str, message_id: &str) -> Option<String>;

    /// The last delivery of a message; `None` as long as there is none.
    fn last_delivery(&self, log: &str, queue_id: &str) -> Option<Delivery>;
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The transport, as its processes are called in the log: `postfix/conbool-relay/smtp`; or the mailer.
    pub transport: String,
    /// True if that is the one that goes to the relay.
    pub is_to_relay: bool,
    /// `sent`, `deferred`, `bounced` …
    pub status: String,
    /// The host and its address.
    pub host: String,
    /// What the host said, or why there was none.
    pub reply: String,
    /// How far TLS went: `Verified`, `Trusted`, `Untrusted`, `Anonymous`; `None` if there was none, or it is not logged.
    pub tls: Option<String>,
}

/// Where syslog writes what mail servers log.
const LOGS: [&str; 3] = ["/var/log/mail.log", "/var/log/maillog", "/var/log/mail"];

/// As much of the end of a log is read, in bytes.
const TAIL: u64 = 4 << 20;

/// The file that syslog writes what mail servers log to, if there is one.
pub fn syslogs_file() -> Option<PathBuf> {
    LOGS.iter().map(PathBuf::from).find(|log| log.is_file())
}

/// Gives a program a message on its standard input.
///
/// # Errors
/// What it says.
pub fn submit(mut command: Command, message: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(message.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = [output.stderr, output.stdout].map(|said| String::from_utf8_lossy(&said).trim().to_owned());
            Err(format!("{program}: {}: {}", output.status, said.join(" ").trim()))
        }
    }
}

/// The end of a log: of a file, or else of the systemd journal.
///
/// # Errors
/// A sentence, if neither can be read.
pub fn end_of_log(file: Option<&PathBuf>) -> Result<String, String> {
    let Some(path) = file else {
        // Facility 2 is mail (RFC 5424, 6.2.1).
        let arguments = ["-q", "--no-pager", "-o", "short", "--since=-15min", "SYSLOG_FACILITY=2"];
        let output = Command::new("journalctl").args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("the mail server's log is not found, and journalctl: {error}"))?;
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
