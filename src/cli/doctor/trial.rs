//! `doctor --probe`: a message through the whole path, and what became of it.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::context::Context;
use super::mail_server;
use crate::cli::status::{Answer, client};
use crate::finding::{Area, Finding, Status};
use crate::mta::delivery::{Delivery, Post};
use crate::telemetry::probes::PROBE;
use crate::telemetry::status::ProbeStatus;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An address as it may be given on the command line.
///
/// # Errors
/// What is wrong with it.
pub fn address(written: &str) -> Result<String, String> {
    let plain = |character: char| character.is_ascii_graphic() && !"<>()[],;:\\\"".contains(character);
    match written.rsplit_once('@') {
        Some((local, domain))
            if !local.is_empty() && domain.contains('.') && !written.starts_with('-') && written.chars().all(plain) =>
        {
            Ok(written.to_owned())
        }
        _ => Err("write an address such as carol@example.com".to_owned()),
    }
}

/// Sends a message from a sender in scope to this recipient, and waits for what becomes of it until the deadline.
pub async fn run(context: &Context, recipient: &str, deadline: Instant) -> Vec<Finding> {
    let finding = |check, status, seen: String| Finding::new(Area::MailServer, check, recipient, status, seen);
    let config = &context.config;
    let domain = recipient.rsplit('@').next().unwrap_or_default();
    if config.domains.iter().any(|hosted| hosted.eq_ignore_ascii_case(domain)) {
        let seen = format!("{domain} is hosted here: name an address elsewhere, whose mail you can look at");
        return vec![finding("probe-submission", Status::Fail, seen)];
    }
    let Some(sender) = context.sender_in_scope() else {
        let seen = "no sender is in scope, so that no message would go to the relay".to_owned();
        return vec![finding("probe-submission", Status::Fail, seen)];
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let own = sender.rsplit('@').next().unwrap_or_default();
    let message_id = format!("{PROBE}{since}.{}@{own}", std::process::id());
    let message = format!(
        "From: <{sender}>\nTo: <{recipient}>\nSubject: Probe of conbool-milter {since}\nMessage-ID: <{message_id}>\n\n\
         This message was sent by `conbool-milter doctor --probe`, to see by which way it goes.\n"
    );
    let post = match mail_server::post(config) {
        Ok(post) => post,
        Err(error) => return vec![finding("probe-submission", Status::Unknown, error)],
    };
    if let Err(error) = post.send(&sender, recipient, &message) {
        return vec![finding("probe-submission", Status::Fail, error).mended_by(context.command("doctor mail-server"))];
    }
    let mut findings =
        vec![finding("probe-submission", Status::Pass, format!("taken from {sender} as <{message_id}>"))];
    let mut seen = Seen::default();
    while !seen.is_complete() && Instant::now() < deadline {
        seen.look(context, &*post, &message_id).await;
        sleep(LOOK_EVERY).await;
    }
    findings.push(verdict(&seen, context, finding));
    findings.push(outcome(&seen, context, post.name(), finding));
    findings
}

/// What was seen of the message so far.
#[derive(Debug, Default)]
struct Seen {
    verdict: Option<ProbeStatus>,
    delivery: Option<Delivery>,
    queue_id: Option<String>,
    no_status: Option<String>,
    no_log: Option<String>,
}

impl Seen {
    fn is_complete(&self) -> bool {
        (self.verdict.is_some() || self.no_status.is_some())
            && (self.delivery.as_ref().is_some_and(|delivery| delivery.status != "deferred") || self.no_log.is_some())
    }

    async fn look(&mut self, context: &Context, post: &dyn Post, message_id: &str) {
        if self.verdict.is_none() && self.no_status.is_none() {
            let sockets = &context.config.telemetry.sockets;
            match client::ask(sockets).await {
                _ if sockets.is_empty() => self.no_status = Some("telemetry.socket is not set".into()),
                Ok(Answer::Status(status, _)) => {
                    let ours = |probe: &ProbeStatus| probe.message_id.contains(message_id);
                    self.verdict = status.probes.into_iter().find(ours);
                }
                Ok(Answer::Trouble(trouble)) | Err(trouble) => self.no_status = Some(trouble),
            }
        }
        match post.log() {
            Ok(log) => {
                self.queue_id = self.queue_id.take().or_else(|| post.queue_id(&log, message_id));
                self.delivery = self.queue_id.as_ref().and_then(|id| post.last_delivery(&log, id));
            }
            Err(error) => self.no_log = Some(error),
        }
    }
}

fn verdict(seen: &Seen, context: &Context, finding: impl Fn(&'static str, Status, String) -> Finding) -> Finding {
    const CHECK: &str = "probe-verdict";
    match (&seen.verdict, &seen.no_status) {
        (Some(verdict), _) => {
            let ProbeStatus { queue_id, decision, reason, mode, .. } = verdict;
            let status = if decision == "relay" && mode == "enforce" { Status::Pass } else { Status::Warn };
            finding(CHECK, status, format!("{queue_id}: {decision} ({reason}), mode {mode}"))
        }
        (None, Some(why)) => {
            let mend = "[telemetry]\nsocket = \"unix:/run/conbool-milter/telemetry.sock\"";
            finding(CHECK, Status::Unknown, format!("the daemon cannot be asked: {why}")).mended_by(mend)
        }
        (None, None) => finding(CHECK, Status::Fail, "the daemon has not seen the message".into())
            .mended_by(context.command("doctor sockets mail-server")),
    }
}

fn outcome(
    seen: &Seen,
    context: &Context,
    mail_server: &str,
    finding: impl Fn(&'static str, Status, String) -> Finding,
) -> Finding {
    const CHECK: &str = "probe-delivery";
    let wiring = context.command("doctor mail-server");
    let relay = context.command("doctor relay");
    match (&seen.delivery, &seen.queue_id, &seen.no_log) {
        (Some(Delivery { transport, is_to_relay, status, host, reply, tls }), ..) => {
            let tls = tls.as_deref();
            let way = format!("{status} by {transport} to {host}, {} TLS: {reply}", tls.unwrap_or("no"));
            match status.as_str() {
                "sent" if !is_to_relay => {
                    finding(CHECK, Status::Fail, format!("past the relay: {way}")).mended_by(wiring)
                }
                "sent" if tls == Some("Verified") => finding(CHECK, Status::Pass, way),
                // A connection is logged as what was verified in it; with another log level, not at all.
                "sent" => finding(CHECK, Status::Warn, way).mended_by(wiring),
                _ => finding(CHECK, Status::Fail, way).mended_by(relay),
            }
        }
        (None, _, Some(error)) => {
            let mend = "run doctor as root, or look at the recipient's mailbox";
            finding(CHECK, Status::Unknown, error.clone()).mended_by(mend)
        }
        (None, Some(id), None) => {
            let seen = format!("not delivered in time; {mail_server} has it in the queue as {id}");
            finding(CHECK, Status::Fail, seen).mended_by(relay)
        }
        (None, None, None) => {
            let seen = format!(
                "{mail_server}'s log does not name the message: it waits in the queue of sendmail(1), or is logged elsewhere"
            );
            finding(CHECK, Status::Fail, seen).mended_by(wiring)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_command_line() {
        assert_eq!(address("carol@remote.test").as_deref(), Ok("carol@remote.test"));
        for wrong in
            ["carol", "@remote.test", "-f@remote.test", "a b@remote.test", "<carol@remote.test>", "carol@localhost"]
        {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
