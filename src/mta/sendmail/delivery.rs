//! A message handed to Sendmail, and what its log says became of it.

use std::path::PathBuf;
use std::process::Command;

use super::RELAY_MAILER;
use crate::config;
use crate::mta::delivery::{self, Delivery, Post};

/// The Sendmail of this host, to send by and to read the log of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postal {
    program: PathBuf,
    submit_cf: PathBuf,
}

impl Postal {
    /// That of the configuration.
    pub fn of(sendmail: &config::Sendmail) -> Self {
        Self { program: sendmail.program.clone(), submit_cf: sendmail.directory.join("submit.cf") }
    }
}

impl Post for Postal {
    fn name(&self) -> &'static str {
        "Sendmail"
    }

    fn send(&self, sender: &str, recipient: &str, message: &str) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        // With the daemon's own configuration no milter would be asked.
        command.arg("-C").arg(&self.submit_cf).args(["-i", "-f", sender, "--", recipient]);
        delivery::submit(command, message)
    }

    fn log(&self) -> Result<String, String> {
        delivery::end_of_log(delivery::syslogs_file().as_ref())
    }

    fn queue_id(&self, log: &str, message_id: &str) -> Option<String> {
        queue_id(log, message_id)
    }

    fn last_delivery(&self, log: &str, queue_id: &str) -> Option<Delivery> {
        last_delivery(log, queue_id)
    }
}

/// A line of the log about a message: its queue id and its text.
fn entry(line: &str) -> Option<(&str, &str)> {
    // `… sendmail[1234]: 4A: text`; what writes to a file of its own begins with the queue id.
    let rest = line.rsplit_once("]: ").filter(|(head, _)| head.ends_with(|last: char| last.is_ascii_digit()));
    rest.map_or(line, |(_, rest)| rest).split_once(": ")
}

/// A field of such a line: `, mailer=relay,`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!(", {name}="))?;
    Some(rest.split(", ").next().unwrap_or(rest))
}

/// The last queue id of a message: the first is that of the queue of sendmail(1), as long as the daemon has not taken it.
fn queue_id(log: &str, message_id: &str) -> Option<String> {
    let msgid = format!("<{message_id}>");
    let of_message = |line: &&str| entry(line).is_some_and(|(_, text)| field(text, "msgid") == Some(msgid.as_str()));
    log.lines().rev().find(of_message).and_then(entry).map(|(id, _)| id.to_owned())
}

fn last_delivery(log: &str, queue_id: &str) -> Option<Delivery> {
    let mut found = None;
    let mut handshakes: Vec<(&str, &str)> = Vec::new();
    for line in log.lines() {
        // `STARTTLS=client, relay=mail.example.com., version=TLSv1.3, verify=OK, cipher=…`
        if let Some((_, handshake)) = line.split_once("STARTTLS=client") {
            handshakes.extend(field(handshake, "relay").zip(field(handshake, "verify")));
        }
        let Some((id, text)) = entry(line) else { continue };
        if id != queue_id || !text.starts_with("to=") {
            continue;
        }
        let Some((_, status)) = text.split_once(", stat=") else { continue };
        let host = field(text, "relay").unwrap_or_default();
        let transport = field(text, "mailer").unwrap_or_default().to_owned();
        let verified = handshakes.iter().rev().find(|(relay, _)| same_host(relay, host)).map(|(_, verify)| *verify);
        let tls = verified.map(|verify| if verify == "OK" { "Verified" } else { "Untrusted" }.to_owned());
        let (word, reply) = status.split_once([' ', ':']).unwrap_or((status, ""));
        let word = match word {
            "Sent" => "sent",
            "Deferred" | "queued" => "deferred",
            _ => "bounced",
        };
        found = Some(Delivery {
            is_to_relay: transport == RELAY_MAILER,
            transport,
            status: word.to_owned(),
            host: host.to_owned(),
            reply: if word == "bounced" { status } else { reply.trim().trim_matches(['(', ')']) }.to_owned(),
            tls,
        });
    }
    found
}

/// The same host, with or without brackets, dots at the end and its address behind it.
fn same_host(one: &str, other: &str) -> bool {
    let bare = |host: &str| {
        let name = host.split(' ').next().unwrap_or_default();
        name.trim_matches(['[', ']', '.']).to_ascii_lowercase()
    };
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
Nov 22 10:00:00 mail sendmail[9]: 3Z: from=postmaster@customer.test, size=300, nrcpts=1, msgid=<conbool-probe.1@customer.test>, relay=root@localhost
Nov 22 10:00:00 mail sm-mta[10]: 4A: from=<postmaster@customer.test>, size=500, class=0, nrcpts=1, msgid=<conbool-probe.1@customer.test>, proto=ESMTP, daemon=MTA, relay=localhost [127.0.0.1]
Nov 22 10:00:00 mail sendmail[9]: 3Z: to=carol@remote.test, delay=00:00:00, mailer=relay, pri=30300, relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, stat=Sent (4A Message accepted for delivery)
Nov 22 10:00:01 mail sm-mta[11]: STARTTLS=client, relay=mail.conbool.test., version=TLSv1.3, verify=OK, cipher=TLS_AES_256_GCM_SHA384, bits=256/256
Nov 22 10:00:01 mail sm-mta[11]: 4A: to=<carol@remote.test.conbool-relay.invalid>, delay=00:00:01, xdelay=00:00:01, mailer=conbool, pri=120500, relay=mail.conbool.test. [192.0.2.1], dsn=2.0.0, stat=Sent (2.0.0 Ok: queued as 7F)
5B: to=<u@other.test>, delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=60058, relay=mx.other.test. [192.0.2.9], dsn=4.4.1, stat=Deferred: Connection refused by mx.other.test.
6C: to=<u@other.test>, delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=60058, relay=mx.other.test. [192.0.2.9], dsn=5.1.1, stat=User unknown
";

    #[test]
    fn a_message_is_followed_through_the_log() {
        assert_eq!(queue_id(LOG, "conbool-probe.1@customer.test").as_deref(), Some("4A"));
        let sent = last_delivery(LOG, "4A").unwrap();
        assert_eq!((sent.transport.as_str(), sent.is_to_relay, sent.status.as_str()), ("conbool", true, "sent"));
        assert_eq!(
            (sent.host.as_str(), sent.reply.as_str()),
            ("mail.conbool.test. [192.0.2.1]", "2.0.0 Ok: queued as 7F")
        );
        assert_eq!(sent.tls.as_deref(), Some("Verified"));
        let waits = last_delivery(LOG, "5B").unwrap();
        assert_eq!((waits.status.as_str(), waits.is_to_relay, waits.tls), ("deferred", false, None));
        assert_eq!(waits.reply, "Connection refused by mx.other.test.");
        assert_eq!(last_delivery(LOG, "6C").unwrap().status, "bounced");
        assert_eq!(last_delivery(LOG, "9Z"), None);
    }
}
