//! Logs, metrics and status: one vocabulary, one function an event.
//!
//! An event is a function here. It writes the log line and enters the event in the [`Ledger`](ledger::Ledger), from
//! which metrics and status are made when somebody asks for them ([`http`]).
//!
//! What is logged: one line for each message judged (`message`), made from its verdict; and what the daemon itself
//! meets. Never a subject, a body, or a secret. What clients send is written escaped, and cut where it is long.

pub mod http;
mod json;
mod ledger;
mod lock_down;
pub mod metrics;
mod policy;
pub mod probes;
mod rates;
mod scopes;
mod socketmap;
pub mod status;
mod tally;

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Level, debug, error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use json::JsonLines;
pub use ledger::{CannotAccept, Connected, Door};
use ledger::{LEDGER, Stage};
pub use rates::SAMPLE_EVERY;
pub use scopes::*;

use crate::case::{Client, Envelope, Limit, MailServer};
use crate::config::{Log, LogFormat, NOT_SET_UP};
use crate::judge::{Modes, Site};
use crate::verdict::{Direction, Disposition, Mode, Route, Verdict};

pub use lock_down::{
    lock_down_entered, lock_down_left, lock_down_waits, lock_down_watched, mx_look_up_failed, mx_state_not_read,
    mx_state_not_saved, recipient_locked,
};
pub use policy::{door_limit_reached, policy_answered, policy_malformed};
pub use socketmap::{socketmap_answered, socketmap_malformed, socketmap_put_off};

/// Starts the log on standard error or in the systemd journal.
///
/// # Errors
/// When the journal was asked for and cannot be reached.
pub fn start(settings: &Log) -> std::io::Result<()> {
    let format = match settings.format {
        LogFormat::Auto if std::io::stderr().is_terminal() => LogFormat::Text,
        LogFormat::Auto if is_journal(&std::io::stderr(), std::env::var("JOURNAL_STREAM").ok()) => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    // The libraries' own events are of no use to an administrator.
    let filter = Targets::new().with_default(Level::WARN).with_target(env!("CARGO_CRATE_NAME"), settings.level);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Journald => {
            registry.with(tracing_journald::layer()?.with_field_prefix(Some("CONBOOL".into()))).init();
        }
        LogFormat::Json => {
            // Not std's standard error, whose lock the workers would wait for.
            let output = Arc::new(File::from(std::io::stderr().as_fd().try_clone_to_owned()?));
            registry.with(tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(output)).init();
        }
        LogFormat::Text | LogFormat::Auto => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let layer = tracing_subscriber::fmt::layer().with_ansi(colour).with_target(false);
            registry.with(layer.with_writer(std::io::stderr)).init();
        }
    }
    // A panic is caught and answered where it happens; its message may quote mail, so that only the place is logged.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        LEDGER.error(Stage::Panic);
        error!(place, "internal error; please report it");
    }));
    Ok(())
}

/// True if this stream leads to the journal, whose device and inode `$JOURNAL_STREAM` names (systemd.exec(5)). That the
/// variable is set does not tell: it stays when the stream is redirected.
fn is_journal(stream: &impl AsFd, journal: Option<String>) -> bool {
    let stream = stream.as_fd().try_clone_to_owned().and_then(|stream| File::from(stream).metadata()).ok();
    journal.zip(stream).is_some_and(|(journal, stream)| journal == format!("{}:{}", stream.dev(), stream.ino()))
}

/// A judged message, as the log shows it.
#[derive(Debug)]
pub struct Judged<'a> {
    /// The mail server's queue id.
    pub queue_id: &'a str,
    /// The Message-ID field.
    pub message_id: Option<&'a str>,
    /// The envelope.
    pub envelope: &'a Envelope,
    /// The SMTP client.
    pub client: &'a Client,
    /// The decision.
    pub verdict: &'a Verdict,
    /// Time that judging took.
    pub elapsed: Duration,
}

/// Longest text from a client that is logged, in bytes.
const MAX_LOGGED: usize = 256;

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LOGGED)]
}

/// What was done with a message, in one word: the route if it goes on, else the disposition. Mail from outside that is
/// left to the mail server is delivered: it is not sent past anything.
pub fn decision(verdict: &Verdict) -> &'static str {
    let left_alone = verdict.route == Route::Direct && verdict.sender_table_route == Some(Route::Direct);
    match verdict.disposition {
        Disposition::Continue if left_alone && verdict.direction == Direction::Inbound => "deliver",
        Disposition::Continue => verdict.route.name(),
        _ => verdict.disposition.name(),
    }
}

/// One message was judged: its log line and its counters.
pub fn message_judged(judged: &Judged<'_>) {
    let mode = judged.verdict.mode.name();
    let verdict = judged.verdict.decided();
    let decision = decision(verdict);
    let direction = verdict.direction.name();
    let reason = verdict.reasons.first();
    if let Some(reason) = reason {
        LEDGER.messages.count(direction, decision, reason, mode);
    }
    LEDGER.message(verdict.peer, verdict.forged);
    metrics::record_verdict(judged.elapsed);
    // What stops a message is explained in full; the administrator will be asked about it.
    let detail = match &verdict.disposition {
        Disposition::Continue => None,
        _ => reason.map(|reason| cut(&reason.text)),
    };
    let names: Vec<&str> = verdict.reasons.iter().map(|reason| reason.name.as_ref()).collect();
    if let Some(message_id) = judged.message_id.filter(|id| probes::is_probe(id)) {
        probes::keep(status::ProbeStatus {
            message_id: cut(message_id).to_owned(),
            queue_id: cut(judged.queue_id).to_owned(),
            decision: decision.to_owned(),
            reason: reason.map(|reason| reason.name.to_string()).unwrap_or_default(),
            mode: mode.to_owned(),
        });
    }
    info!(
        queue_id = cut(judged.queue_id),
        message_id = judged.message_id.map(cut),
        from = cut(&judged.envelope.sender),
        nrcpt = judged.envelope.recipients.len(),
        direction,
        peer = verdict.peer.name(),
        decision,
        reason = reason.map(|reason| reason.name.as_ref()),
        reasons = names.join(","),
        kind = verdict.kind.name(),
        spam = verdict.spam.name(),
        forged = verdict.forged,
        mode,
        tls = judged.client.tls_version.as_deref().map(cut).unwrap_or("none"),
        elapsed = judged.elapsed.as_secs_f64(),
        detail,
        "message"
    );
}

/// What alerts are about is counted from 0 on: Prometheus sees no increase in a counter that was not there before.
const WATCHED: [(&str, &str, &str); 11] = [
    ("inbound", "tempfail", "relay-without-tls"),
    ("inbound", "tempfail", "relay-certificate"),
    ("inbound", "tempfail", "rules-failed"),
    ("outbound", "tempfail", "rules-failed"),
    ("inbound", "tempfail", "internal-error"),
    ("inbound", "quarantine", "relay-loop"),
    ("outbound", "quarantine", "host-loop"),
    ("outbound", "reject", "host-loop"),
    ("inbound", "reject", "relay-loop"),
    ("outbound", "quarantine", "relay-loop"),
    ("outbound", "reject", "relay-loop"),
];

/// A configuration is put in force, at the start or later.
pub fn loaded(file: &Path, site: &Site) {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let Modes { whole, routing, spam } = site.modes;
    let mut mode = whole.name().to_string();
    for (effect, of_effect) in [("routing", routing), ("spam marks", spam)] {
        if of_effect == Mode::Monitor && whole == Mode::Enforce {
            mode = mode + ", " + effect + " only watched";
        }
    }
    LEDGER.loaded(file.display().to_string(), mode);
    if site.hosted.is_empty() {
        not_set_up();
    }
    LEDGER.messages.announce(site.rules.reasons());
    for (direction, decision, reason) in WATCHED {
        LEDGER.messages.begin(direction, decision, reason, whole.name());
    }
}

/// The configuration that is put in force hosts nobody.
fn not_set_up() {
    info!("{NOT_SET_UP}; run conbool-milter setup");
}

/// A door is opened.
pub fn door(door: Door, sockets: impl IntoIterator<Item = String>, max_connections: usize) {
    LEDGER.door(door, sockets.into_iter().collect(), max_connections);
}

/// A connection is open, for as long as the value lives.
pub fn connected(door: Door) -> Connected {
    LEDGER.connected(door)
}

/// To be called every [`SAMPLE_EVERY`], so that rates are known and the times of judgements take no memory.
pub fn upkeep() {
    LEDGER.sample();
    metrics::upkeep();
}

/// The daemon is up.
pub fn started(sockets: &[String]) {
    LEDGER.running();
    info!(version = env!("CARGO_PKG_VERSION"), sockets = sockets.join(" "), "ready");
}

/// The configuration was loaded anew, and is in force, but for the keys named.
pub fn reloaded(need_restart: &[&str]) {
    if need_restart.is_empty() {
        info!("configuration reloaded");
    } else {
        warn!(keys = need_restart.join(" "), "configuration reloaded; these keys need a restart to take effect");
    }
}

/// The configuration was to be loaded anew, and has mistakes: one a line.
pub fn reload_failed(mistakes: &str) {
    LEDGER.not_loaded(mistakes);
    LEDGER.error(Stage::Reload);
    for mistake in mistakes.lines() {
        error!(mistake, "configuration not reloaded");
    }
}

/// The daemon takes no more connections.
pub fn stopping() {
    LEDGER.draining();
}

/// The mail server's sender table was replaced.
pub fn sender_table_written(entries: usize, elapsed: Duration) {
    info!(entries, elapsed = elapsed.as_secs_f64(), "sender table written");
}

/// The mail server's sender table could not be written. It stays as it is, and messages are marked wherever it differs
/// from the scope.
pub fn sender_table_failed(failure: &dyn std::error::Error, retry_in: Duration) {
    LEDGER.error(Stage::SenderTable);
    error!(error = %failure, retry_in = retry_in.as_secs_f64(), "sender table not written");
}

/// Writing the mail server's sender table takes so long that a command of its must hang.
pub fn sender_table_stalled(elapsed: Duration) {
    LEDGER.error(Stage::SenderTable);
    error!(elapsed = elapsed.as_secs_f64(), "writing the sender table does not come to an end; does postmap hang?");
}

/// The mail server is not set to use the sender table.
pub fn sender_table_unused() {
    warn!(
        "Postfix does not use the sender table, and every message in scope is marked: do as conbool-milter setup postfix \
         says, and then reload the daemon"
    );
}

/// The service manager waits to hear that the daemon is alive, and it is not.
pub fn watchdog_not_told(problem: &str) {
    error!(problem, "the watchdog is told nothing until this is over; systemd ends the daemon if that takes too long");
}

/// The directory has to say who is in the groups before anything can go on.
pub fn waiting_for_directory(servers: &str, elapsed: Duration) {
    warn!(servers, elapsed = elapsed.as_secs_f64(), "waiting for the directory to say who is in the groups");
}

/// The daemon stops, and lets running sessions finish.
pub fn draining(open: usize, patience: Duration) {
    info!(connections = open, seconds = patience.as_secs(), "stopping; waiting for running sessions");
}

/// Sessions were still running when the daemon had to stop.
pub fn drain_incomplete(open: usize) {
    warn!(
        connections = open,
        "stopped with sessions still running; the mail server answers them with a temporary error"
    );
}

/// The daemon has ended.
pub fn stopped() {
    info!("stopped");
}

/// A mail server connected; which one it is taken for, and what it says of itself.
pub fn mail_server_connected(mail_server: MailServer, version: &str) {
    debug!(mail_server = mail_server.name(), version = cut(version), "mail server connected");
}

/// A mail server connected that cannot do what is needed.
pub fn unusable_mail_server(why: &str) {
    LEDGER.error(Stage::Negotiate);
    error!(why, "mail server refused");
}

/// The mail server did not take what a verdict asks for; the message is refused for now.
pub fn verdict_not_carried_out(queue_id: &str, failure: &dyn std::error::Error) {
    LEDGER.error(Stage::Reply);
    error!(queue_id = cut(queue_id), error = %failure, "verdict not carried out; the message is refused for now");
}

/// The relay named a recipient elsewhere whom it may not reach through us.
pub fn recipient_not_handed_back(client: &Client, sender: &str, recipient: &str) {
    info!(
        from = cut(sender),
        to = cut(recipient),
        client = client.address.map(|address| address.to_canonical().to_string()).as_deref().unwrap_or("unknown"),
        reason = "relay-foreign-sender",
        "recipient refused: the relay may hand back mail of hosted senders only"
    );
}

/// A message went past a limit and is refused for now; its own log line says which.
pub fn limit_reached(limit: Limit) {
    LEDGER.limit(match limit {
        Limit::Header => "header",
        Limit::Recipients => "recipients",
        Limit::Messages => "messages",
        Limit::Memory => "memory",
    });
}

/// A connection was silent for longer than milter.idle_timeout and is closed.
pub fn idle_connection_closed() {
    LEDGER.limit("idle");
}

/// A connection could not be accepted. The door counts as shut until the value is dropped.
pub fn accept_failed(failure: &std::io::Error, wait: Duration) -> CannotAccept {
    LEDGER.error(Stage::Accept);
    warn!(error = %failure, retry_in = wait.as_secs_f64(), "cannot accept a connection");
    LEDGER.cannot_accept()
}

/// As many connections as milter.max_connections are open, and one more was closed; `is_due`: whether to log it again.
pub fn connection_limit_reached(is_due: bool) {
    LEDGER.limit("connections");
    if is_due {
        warn!(
            "milter.max_connections reached; new connections are closed, for which the mail server tries again later"
        );
    }
}

/// The limit on open files is lower than milter.max_connections needs.
pub fn too_few_descriptors(wanted: u64, allowed: u64) {
    warn!(wanted, allowed, "the limit on open files is too low for milter.max_connections; raise LimitNOFILE");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirected_stream_is_not_the_journal() {
        let file = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
        let metadata = file.metadata().unwrap();
        assert!(is_journal(&file, Some(format!("{}:{}", metadata.dev(), metadata.ino()))));
        for other in [None, Some("8:1".to_string()), Some(String::new())] {
            assert!(!is_journal(&file, other));
        }
    }
}
