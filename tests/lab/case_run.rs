//! Runs text cases on sites, each site started when its first case needs it and shared by all its cases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::case_file::{Case, Check, What};
use super::mail::{Ending, Sent};
use super::process::wait_for;
use super::report::{Arrived, Copy, Place, Report, fields, split};
use super::site::{MailServer, Site};
use super::smtp_client::Reply;

/// Fields that a milter or the mail server may take away; every other one must arrive as it was sent, in the same order.
const REMOVABLE: [&str; 8] =
    ["x-conbool-", "x-secumailer-", "x-secumail-", "x-spam-flag", "return-path", "bcc", "resent-bcc", "content-length"];

/// The sites in use.
pub struct Sites<M>(Mutex<HashMap<String, Arc<Slot<M>>>>);

/// A site that is started once, or the reason why it does not start.
type Slot<M> = OnceLock<Result<Site<M>, String>>;

impl<M> Default for Sites<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M: MailServer> Sites<M> {
    /// Calls `test` with a running site, in whose network the calling thread then is.
    pub fn with<T>(&self, name: &str, test: impl FnOnce(&Site<M>) -> Result<T, String>) -> Result<T, String> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        let site = slot.get_or_init(|| Site::described(name).map_err(|error| format!("site {name}: {error}")));
        let site = site.as_ref().map_err(Clone::clone)?;
        site.lab.enter().map_err(|error| error.to_string())?;
        test(site)
    }
}

/// What became of a case.
pub struct Outcome {
    /// What the mail server said.
    pub sent: Sent,
    /// Where the copies are; `None` if the message was not accepted.
    pub report: Option<Report>,
    /// The fields of the daemon's log line; null if there is none.
    pub verdict: Value,
    /// What the mail server's log says of the message; all of it, if there is no queue id.
    pub log: Vec<String>,
    /// Everything that is not as the case says.
    pub wrong: Vec<String>,
}

/// Sends a case's message and compares what becomes of it with what the case says.
///
/// # Errors
/// When the lab itself fails.
pub fn run<M: MailServer>(site: &Site<M>, token: &str, case: &Case) -> Result<Outcome, String> {
    for order in &case.orders {
        site.lab.host(&order.host).order(&order.recipient, &order.reply, order.once);
    }
    let sent = case.mail.send(site).map_err(|error| format!("{}: {error}", case.mail.from))?;
    let mut outcome = Outcome { wrong: replies(case, &sent), sent, report: None, verdict: Value::Null, log: vec![] };
    let Some(id) = queue_id(site, case, &outcome.sent)? else {
        if !case.copies.is_empty() {
            outcome.wrong.push("the message was not accepted".into());
        }
        if case.mail.ending == Ending::Disconnect {
            wait_for("the end of the session in the log", || {
                site.mail_server.log().contains(M::LOST_CONNECTION).then_some(())
            })
            .map_err(|error| format!("{error}:\n{}", site.mail_server.log()))?;
        }
        outcome.log = site.mail_server.log().lines().map(str::to_owned).collect();
        let report = Report::arrived(site, token);
        outcome.wrong.extend(copies(case, &report));
        outcome.report = Some(report);
        return Ok(outcome);
    };
    let report = follow(site, token, &id, case);
    let is_about = |line: &&str| report.queue_ids.iter().any(|id| line.contains(id));
    outcome.log = site.mail_server.log().lines().filter(is_about).map(str::to_owned).collect();
    outcome.verdict = wait_for("the daemon's log line", || site.daemon.verdict(&id))?;
    outcome.wrong.extend(verdict(case, &outcome.verdict));
    outcome.wrong.extend(copies(case, &report));
    outcome.wrong.extend(case.checks.iter().flat_map(|check| {
        let here = report.copies.iter().filter(|copy| check.place.as_ref().is_none_or(|place| *place == copy.place));
        satisfied(&check.what, &here.collect::<Vec<_>>())
    }));
    if case.intact {
        outcome.wrong.extend(report.copies.iter().filter_map(|copy| intact(case, copy)));
    }
    // What waits in the queue would be tried again and again.
    if report.copies.iter().any(|copy| matches!(copy.place, Place::Queued | Place::Held)) {
        for id in &report.queue_ids {
            site.mail_server.delete(id)?;
        }
    }
    outcome.report = Some(report);
    Ok(outcome)
}

impl Outcome {
    /// An error with the whole report if anything is not as the case says.
    pub fn check(self, case: &Case) -> Result<(), String> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        let report = self.report.as_ref().map(describe).unwrap_or_default();
        let (wrong, log) = (self.wrong.join("\n  "), self.log.join("\n    "));
        Err(format!("{}\n  {wrong}\n  {report}\n  log:\n    {log}\n  log of the daemon: {}", case.about, self.verdict))
    }
}

fn replies(case: &Case, sent: &Sent) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, expected: &Option<String>, reply: &Reply| {
        if !expected.as_ref().map_or(reply.is_positive(), |start| reply.text.starts_with(start)) {
            let expected = expected.as_deref().unwrap_or("2");
            wrong.push(format!("{what}: expected {expected}, got {}", reply.text));
        }
    };
    compare("reply to MAIL", &case.mail_reply, &sent.mail);
    for ((recipient, expected), reply) in case.mail.recipients.iter().zip(&case.recipient_replies).zip(&sent.recipients)
    {
        compare(&format!("reply to RCPT {recipient}"), expected, reply);
    }
    if let Some(reply) = &sent.data {
        compare("reply to the message", &case.data_reply, reply);
    } else if let Some(expected) = &case.data_reply {
        wrong.push(format!("reply to the message: expected {expected}, but it was not sent"));
    }
    wrong
}

/// The queue id: from the reply, or for sendmail(1) from the log.
fn queue_id(site: &Site<impl MailServer>, case: &Case, sent: &Sent) -> Result<Option<String>, String> {
    if sent.queue_id.is_some() || !sent.data.as_ref().is_some_and(Reply::is_positive) {
        return Ok(sent.queue_id.clone());
    }
    let fields = fields(&case.mail.message);
    let id = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("message-id"));
    let (_, id) = id.ok_or("a message for sendmail(1) needs a Message-ID, by which it is found again")?;
    wait_for("the message in the log", || site.mail_server.by_message_id(id)).map(Some)
}

/// Waits until the copies are where the case wants them and nothing else can happen, or until they cannot be any more.
fn follow(site: &Site<impl MailServer>, token: &str, id: &str, case: &Case) -> Report {
    let mut last = Report::now(site, token, id);
    let reached = wait_for("the copies", || {
        last = Report::now(site, token, id);
        let pending = last.copies.iter().any(|copy| copy.place == Place::Queued);
        (last.settled && (!pending || copies(case, &last).is_empty())).then_some(())
    });
    last.settled = reached.is_ok();
    last
}

fn copies(case: &Case, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut left: Vec<_> = report.copies.iter().collect();
    for expected in &case.copies {
        let here = |copy: &&Copy| copy.place == expected.place && same_recipient(copy, &expected.recipient);
        let Some(copy) = left.iter().position(here).map(|index| left.remove(index)) else {
            wrong.push(format!("no copy for {} at: {}", expected.recipient, expected.place));
            continue;
        };
        let parameters = copy.arrived.as_ref().map(|arrived| arrived.parameters.as_slice()).unwrap_or_default();
        for parameter in expected.parameters.iter().filter(|parameter| !parameters.contains(parameter)) {
            wrong.push(format!("RCPT {} came without {parameter}: {parameters:?}", expected.recipient));
        }
    }
    wrong.extend(left.iter().map(|copy| format!("a copy too many for {} at: {}", copy.recipient, copy.place)));
    wrong
}

/// Whether a copy is for this recipient. Sendmail finds a mailbox by its name in lower case.
fn same_recipient(copy: &Copy, recipient: &str) -> bool {
    copy.recipient == recipient || copy.place == Place::Mailbox && copy.recipient.eq_ignore_ascii_case(recipient)
}

fn verdict(case: &Case, fields: &Value) -> Vec<String> {
    let differs = |(field, expected): &(String, String)| {
        let found = &fields[field];
        let equal = match found {
            Value::String(text) => text.split(',').any(|part| part.trim() == expected) || text == expected,
            Value::Array(list) => list.iter().any(|item| item == expected.as_str()),
            other => *expected == format!("{other}"),
        };
        (!equal).then(|| format!("verdict: expected {field}={expected}, got {found}"))
    };
    case.verdict.iter().filter_map(differs).collect()
}

fn satisfied(what: &What, copies: &[&Copy]) -> Vec<String> {
    if let What::Why(recipient, text) = what {
        let said = |copy: &&Copy| copy.recipient == *recipient && copy.text.contains(text);
        let found = copies.iter().any(said);
        return if found { vec![] } else { vec![format!("nothing says `{text}` for {recipient}")] };
    }
    let arrived: Vec<_> = copies.iter().filter_map(|copy| Some((copy, copy.arrived.as_ref()?))).collect();
    if arrived.is_empty() {
        return vec![format!("no copy arrived of which to check {what:?}")];
    }
    let differs = |(copy, arrived): &(&&Copy, &Arrived)| {
        let found = difference(what, arrived)?;
        Some(format!("copy for {} at {}: {found}", copy.recipient, copy.place))
    };
    arrived.iter().filter_map(differs).collect()
}

fn difference(what: &What, arrived: &Arrived) -> Option<String> {
    let values = |name: &str| -> Vec<String> {
        let fields = arrived.fields().into_iter().filter(|(field, _)| field.trim().eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.replace("\r\n", "").trim().to_owned()).collect()
    };
    match what {
        What::Count(name, count) => {
            let found = values(name);
            (found.len() != *count).then(|| format!("{name} {} times, not {count}: {found:?}", found.len()))
        }
        What::Value(name, value) => {
            let found = values(name);
            (found != [value.as_str()]).then(|| format!("{name} is {found:?}, not {value:?}"))
        }
        What::Sender(path) => {
            let (sender, missing) = (&arrived.sender, |word: &&String| !arrived.sender.parameters.contains(word));
            let same = sender.address == path.address && !path.parameters.iter().any(|word| missing(&word));
            (!same).then(|| format!("sender is {sender:?}, not {path:?}"))
        }
        What::Tls(certificate) => {
            let same = arrived.tls_version.is_some() && arrived.client_certificate == *certificate;
            (!same).then(|| format!("TLS {:?} with certificate {:?}", arrived.tls_version, arrived.client_certificate))
        }
        What::Why(..) => None,
    }
}

/// Nothing but header fields that are somebody's to remove may differ from what was sent.
fn intact(case: &Case, copy: &Copy) -> Option<String> {
    let sent = &case.mail.message;
    let arrived = copy.arrived.as_ref()?;
    let differs = |what: String| Some(format!("copy for {} at {}: {what}", copy.recipient, copy.place));
    if arrived.body() != split(sent).1 {
        let lines = |body: &[u8]| String::from_utf8_lossy(body).lines().map(str::to_owned).collect::<Vec<_>>();
        let (here, there) = (lines(split(sent).1), lines(arrived.body()));
        let number = here.iter().zip(&there).take_while(|(one, other)| one == other).count();
        let (one, other) = (here.get(number), there.get(number));
        return differs(format!("the body is not what was sent: line {} is {other:?}, not {one:?}", number + 1));
    }
    let there = arrived.fields();
    let mut rest = there.iter();
    let lost = fields(sent).into_iter().find(|field| {
        let name = field.0.trim().to_ascii_lowercase();
        let is_said = |check: &Check| matches!(&check.what, What::Count(said, _) if said.eq_ignore_ascii_case(&name));
        !REMOVABLE.iter().any(|prefix| name.starts_with(prefix))
            && !case.checks.iter().any(is_said)
            && !rest.any(|other| other == field)
    });
    lost.and_then(|(name, value)| differs(format!("this field was changed, moved or lost: {name}: {value}")))
}

fn describe(report: &Report) -> String {
    let mut text = format!("queue ids {}, copies:", report.queue_ids.join(" "));
    for copy in &report.copies {
        text += &format!("\n    {} at {} {}", copy.recipient, copy.place, copy.text);
        for (name, value) in copy.arrived.iter().flat_map(Arrived::fields) {
            text += &format!("\n      {name}: {value}");
        }
    }
    text
}
