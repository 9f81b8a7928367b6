//! Mail in the queue that needs what setup has written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Cf, RELAY_MAILER, rules};
use crate::config;
use crate::verdict::{DIRECT_PSEUDO_DOMAIN, RELAY_PSEUDO_DOMAIN};

/// Where Sendmail queues mail unless sendmail.cf says otherwise.
const QUEUE: &str = "/var/spool/mqueue";

/// What the names of files with an envelope begin with: queued, held, and put aside for their administrator (Operation
/// Guide, appendix B).
const ENVELOPES: [&str; 3] = ["qf", "hf", "Qf"];

/// A message in the queue that needs our rules: without them it would bounce, or go past the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its queue id.
    pub queue_id: String,
    /// Its envelope sender; empty for the null sender.
    pub sender: String,
    /// When it came.
    pub arrived: SystemTime,
    /// Why it is still here; empty if it has not been tried.
    pub reason: String,
}

/// The messages in the queue that need our rules: those with a recipient that the milter has marked; and those without,
/// because it came from an alias, or because Sendmail took the marked recipient for the one that it had, that have been
/// tried at the relay, wait for the daemon, or have not been tried at all and are from a hosted sender to somebody elsewhere.
/// `relay` is the relay's host, in brackets or not; `None`: the one that the rules in sendmail.cf name. `hosted` are the
/// hosted domains.
///
/// # Errors
/// A sentence, if the queue cannot be looked at.
pub fn waiting(sendmail: &config::Sendmail, relay: Option<&str>, hosted: &[String]) -> Result<Vec<Waiting>, String> {
    let cf_file = sendmail.directory.join("sendmail.cf");
    let text = fs::read(&cf_file).map_err(|error| told(&cf_file, &error))?;
    let cf = Cf::parse(&String::from_utf8_lossy(&text));
    let relay = relay.map(host).or_else(|| relay_of(&cf));
    let mut waiting = Vec::new();
    for directory in directories(&cf) {
        let envelopes = match fs::metadata(directory.join("qf")) {
            Ok(metadata) if metadata.is_dir() => directory.join("qf"),
            _ => directory,
        };
        let entries = fs::read_dir(&envelopes).map_err(|error| told(&envelopes, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| told(&envelopes, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(id) = ENVELOPES.iter().find_map(|beginning| name.strip_prefix(beginning)) else { continue };
            match fs::read(&path) {
                Ok(bytes) => waiting.extend(Envelope::parse(&String::from_utf8_lossy(&bytes)).needs_rules(
                    id,
                    relay.as_deref(),
                    hosted,
                )),
                // Delivered in this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(told(&path, &error)),
            }
        }
    }
    Ok(waiting)
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", path.display(), config::reason(error))
}

/// The host to which the rules send mail, without brackets.
fn relay_of(cf: &Cf) -> Option<String> {
    let to = format!("$#{RELAY_MAILER} $@ ");
    let host = cf.rules(rules::RULESET).find_map(|rule| rule.split_once(&to)?.1.split(' ').next());
    host.map(self::host)
}

/// A host without brackets, as it is compared.
fn host(written: &str) -> String {
    written.trim_matches(['[', ']']).to_ascii_lowercase()
}

/// The queue's directories: those of the option and of queue groups, where `*` at the end stands for several.
fn directories(cf: &Cf) -> Vec<PathBuf> {
    let groups = cf.lines().filter_map(|line| {
        let fields = line.text.strip_prefix('Q')?.split(',');
        fields
            .filter_map(|field| field.split_once('='))
            .find(|(name, _)| name.trim() == "P")
            .map(|(_, path)| path.trim())
    });
    let mut directories: Vec<PathBuf> = Vec::new();
    for written in std::iter::once(cf.option("QueueDirectory").unwrap_or(QUEUE)).chain(groups) {
        match written.strip_suffix('*') {
            None => directories.push(written.into()),
            Some(beginning) => {
                let (parent, beginning) = beginning.rsplit_once('/').unwrap_or(("", beginning));
                let entries = fs::read_dir(parent).into_iter().flatten().flatten();
                let named =
                    |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(beginning));
                directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()).filter(named));
            }
        }
    }
    directories.sort();
    directories.dedup();
    directories
}

/// What of a queue file matters here.
#[derive(Debug, Default)]
struct Envelope {
    sender: String,
    recipients: Vec<String>,
    created: u64,
    reason: String,
}

impl Envelope {
    /// Reads the lines: a letter says what follows.
    fn parse(text: &str) -> Self {
        let mut envelope = Self::default();
        for line in text.lines() {
            let Some((letter, value)) = line.split_at_checked(1) else { continue };
            match letter {
                "S" => envelope.sender = value.trim_matches(['<', '>']).to_owned(),
                // `RPFD:address`: flags before the colon.
                "R" => envelope.recipients.push(value.split_once(':').unwrap_or(("", value)).1.to_owned()),
                "T" => envelope.created = value.trim().parse().unwrap_or_default(),
                "M" => envelope.reason = value.to_owned(),
                // Header fields and the rest do not matter.
                _ => {}
            }
        }
        envelope
    }

    fn needs_rules(self, queue_id: &str, relay: Option<&str>, hosted: &[String]) -> Option<Waiting> {
        let is_marked = |recipient: &String| {
            let recipient = recipient.trim_end_matches(['>', '.']).to_ascii_lowercase();
            [RELAY_PSEUDO_DOMAIN, DIRECT_PSEUDO_DOMAIN].iter().any(|domain| recipient.ends_with(&format!(".{domain}")))
        };
        let reason = self.reason.to_ascii_lowercase();
        let was_tried = relay.is_some_and(|relay| reason.contains(relay));
        let waits_for_daemon = self.reason.contains(rules::PUT_OFF);
        let is_elsewhere = |recipient: &String| recipient.contains('@') && !is_hosted(recipient, hosted);
        let may_go_there =
            reason.is_empty() && is_hosted(&self.sender, hosted) && self.recipients.iter().any(is_elsewhere);
        let is_needy = self.recipients.iter().any(is_marked) || was_tried || waits_for_daemon || may_go_there;
        is_needy.then(|| Waiting {
            queue_id: queue_id.to_owned(),
            sender: self.sender,
            arrived: SystemTime::UNIX_EPOCH + Duration::from_secs(self.created),
            reason: self.reason,
        })
    }
}

fn is_hosted(address: &str, hosted: &[String]) -> bool {
    let domain = address.trim_end_matches(['>', '.']).rsplit_once('@').map(|(_, domain)| domain);
    domain.is_some_and(|domain| config::hosted_domain(domain).is_ok_and(|domain| hosted.contains(&domain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "V8\nT1763779000\nK1763779010\nN1\nP30300\nMDeferred: Connection refused by mail.conbool.example.\n\
                        $_localhost [127.0.0.1]\nS<alice@customer.test>\nrRFC822; bob@remote.test\nRPFD:<RECIPIENT>\n\
                        H??From: S<x@conbool-relay.invalid>\n.\n";

    fn waiting(recipient: &str, relay: Option<&str>) -> Option<Waiting> {
        Envelope::parse(&FILE.replace("RECIPIENT", recipient)).needs_rules("x1", relay, &[])
    }

    #[test]
    fn messages_without_a_mark_that_need_the_daemon() {
        let needy = |reason: &str, recipient: &str| {
            let text = FILE.replace("Deferred: Connection refused by mail.conbool.example.", reason);
            let hosted = ["customer.test".to_owned()];
            let envelope = Envelope::parse(&text.replace("RECIPIENT", recipient));
            envelope.needs_rules("x1", None, &hosted).is_some()
        };
        assert!(needy(&format!("Deferred: {}", rules::PUT_OFF), "bob@remote.test"));
        assert!(needy("", "bob@remote.test"), "not tried");
        assert!(!needy("", "bob@customer.test"));
        assert!(!needy("", "bob"));
        assert!(!needy("Deferred: Connection refused by mx.remote.test.", "bob@remote.test"));
    }

    #[test]
    fn messages_that_need_the_rules() {
        let found = waiting("bob@remote.test.conbool-relay.invalid", None).unwrap();
        assert_eq!((found.queue_id.as_str(), found.sender.as_str()), ("x1", "alice@customer.test"));
        assert_eq!(found.arrived, SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_779_000));
        assert!(found.reason.starts_with("Deferred"));
        assert!(waiting("bob@remote.test.Conbool-Direct.invalid.", None).is_some());
        assert!(waiting("bob@remote.test", Some("mail.conbool.example")).is_some());
        assert!(waiting("bob@remote.test", Some("other.example")).is_none());
        assert!(waiting("bob@conbool-relay.invalid.test", None).is_none());
    }

    #[test]
    fn directories_of_a_queue() {
        let cf = Cf::parse("O QueueDirectory=/var/spool/mqueue\nQslow, P=/var/spool/slow, F=f\nQfast, F=f\n");
        assert_eq!(directories(&cf), [PathBuf::from("/var/spool/mqueue"), "/var/spool/slow".into()]);
        assert_eq!(directories(&Cf::default()), [PathBuf::from(QUEUE)]);
    }

    #[test]
    fn the_relay_of_the_rules() {
        let cf =
            Cf::parse("SConboolRoute\nR< relay > $* < @ $+ > $*\t$#conbool $@ [Mail.conbool.example] $: $1 < @ $2 >\n");
        assert_eq!(relay_of(&cf).as_deref(), Some("mail.conbool.example"));
    }
}
