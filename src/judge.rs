//! The one pipeline: [`judge`] makes a [`Verdict`] of a [`Case`]. No I/O, no clock, no sockets.
//!
//! Trust, scope, kind and the removal of forged fields are decided here; then the policy scripts run on those facts;
//! then the parts are put together. Whatever fails on the way ends in the relay or in a temporary error, never in a
//! bypass.

mod admission;
mod modes;
mod sender;

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};

pub use modes::Modes;
use sender::{Sender, direction, is_null};

use crate::address::Address;
use crate::case::{Case, Limits, MailServer};
use crate::headers::{self, Markers};
use crate::kind;
use crate::lock_down::LockDown;
use crate::rules::{Action, Effects, Facts, Lists, NAMED_SCOPE_LIST, Recipients, Rules};
use crate::scope::{Scope, ScopeSets, SenderTable};
use crate::trust::Trust;
use crate::verdict::{
    Direction, Disposition, HeaderEdit, Kind, Mode, Peer, Reason, Reply, Route, SPAM_FLAG_FIELD, Spam, Verdict,
};

pub use admission::{hands_back, locked, not_handed_back, unproven_relay};

/// One site: its domains, whom it trusts, whose mail is in scope, and its rules.
#[derive(Debug, Clone)]
pub struct Site {
    /// The hosted domains, in the form of [`normalize_domain`](crate::address::normalize_domain).
    pub hosted: HashSet<String>,
    /// What makes a client the relay or internal.
    pub trust: Trust,
    /// The mail server that is served; `None`: whichever comes.
    pub mail_server: Option<MailServer>,
    /// Sendmail's mailers that deliver on this host, besides those that come with it.
    pub local_mailers: Vec<String>,
    /// Whether there is a relay that takes mail, and what it hands back. Without one, nothing is ever routed.
    pub relay: Option<Relay>,
    /// Whose mail belongs on the relay.
    pub scope: Scope,
    /// What is known of the mail server's sender table, at any moment.
    pub sender_table: Arc<ArcSwap<SenderTable>>,
    /// How kinds are told apart.
    pub kind: kind::Settings,
    /// How often the relay may hand in the same message.
    pub max_passes: usize,
    /// How often this host may have had a message before.
    pub max_host_passes: usize,
    /// What is done with one that goes round more often.
    pub on_loop: LoopAction,
    /// Who may write to hosted recipients.
    pub lock_down: LockDown,
    /// The provider's marker fields.
    pub markers: Markers,
    /// What messages may take.
    pub limits: Limits,
    /// The compiled policy.
    pub rules: Arc<Rules>,
    /// The lists that it uses.
    pub lists: Arc<Lists>,
    /// What is carried out, and what is only watched.
    pub modes: Modes,
}

/// The relay as one that takes mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// Whether it hands back mail of hosted senders, for delivery to other sites.
    pub hands_back: bool,
}

impl Site {
    /// This site with other addresses in its scopes. The policy is not compiled again.
    pub fn with_scopes(&self, scopes: &ScopeSets) -> Self {
        let mut lists = Lists::clone(&self.lists);
        // Without a relay there is none that a sender's mail could belong on.
        let senders = if self.relay.is_some() { scopes.default.clone() } else { Arc::default() };
        lists.insert(SCOPE_LIST.into(), senders.clone());
        lists.extend(scopes.named.iter().map(|(name, members)| (named_scope_list(name), members.clone())));
        Self { scope: Scope { senders, ..self.scope.clone() }, lists: Arc::new(lists), ..self.clone() }
    }

    /// This site, where lock-down in mode `auto` is enforced for these domains.
    pub fn with_locked(&self, locked: HashSet<String>) -> Self {
        Self { lock_down: LockDown { locked: Arc::new(locked), ..self.lock_down.clone() }, ..self.clone() }
    }
}

/// Name of the list of the default scope.
pub const SCOPE_LIST: &str = "scope";

/// Name of the list of all hosted domains.
pub const HOSTED_DOMAINS_LIST: &str = "hosted-domains";

/// Name of the list of a named scope.
pub fn named_scope_list(scope: &str) -> String {
    format!("{NAMED_SCOPE_LIST}{scope}")
}

/// What is done with a message that goes round between this host and the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopAction {
    /// It is held for the administrator.
    Quarantine,
    /// It is refused for good, so that its sender hears of it.
    Reject,
}

/// Judges one message. The same site, sender table and case always give the same verdict.
///
/// A panic on the way, which would be a defect, is a temporary failure of this message alone.
pub fn judge(site: &Site, case: &Case) -> Verdict {
    let enforced = guarded(|| decide(site, case, true));
    if site.modes == Modes::ENFORCE {
        return enforced;
    }
    let done = if site.modes.marks_spam() || site.modes.whole == Mode::Monitor {
        enforced.clone()
    } else {
        guarded(|| decide(site, case, false))
    };
    site.modes.watch(done, enforced)
}

/// Runs a judgement and turns a panic in it into a temporary failure.
pub fn guarded(judgement: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(judgement)).unwrap_or_else(|_| internal_error())
}

fn internal_error() -> Verdict {
    let reply = Reply { code: "451", enhanced: "4.3.0", text: "Internal error; try again later".into() };
    Verdict {
        disposition: Disposition::Tempfail(reply),
        route: Route::Relay,
        sender_table_route: None,
        spam: Spam::None,
        kind: Kind::Normal,
        direction: Direction::Inbound,
        peer: Peer::World,
        in_scope: false,
        edits: Vec::new(),
        reasons: vec![Reason::own(
            "internal-error",
            "judging the message failed; this is a defect of the program".into(),
        )],
        forged: 0,
        mode: Mode::Enforce,
        would: None,
    }
}

/// Whether more of the body could change the verdict.
fn wants_body(site: &Site, case: &Case) -> bool {
    let wants = || kind::wants_body(&site.kind, is_null(&case.envelope.sender), &case.header, &case.body);
    catch_unwind(AssertUnwindSafe(wants)).unwrap_or(false)
}

/// Adds the next part of the body to the case, as far as it is wanted.
///
/// Returns whether more is wanted: `false` means that the rest need not be read. More than is wanted never changes the
/// verdict, so a short chunk, most likely the last one, is not looked at for that; judging will.
pub fn take_body(site: &Site, case: &mut Case, chunk: Bytes) -> bool {
    if case.body.bytes.is_empty() && !wants_body(site, case) {
        return false;
    }
    let is_full = chunk.len() >= FULL_CHUNK;
    let room = site.kind.body_limit.saturating_sub(case.body.bytes.len());
    let kept = chunk.slice(..chunk.len().min(room));
    if case.body.bytes.is_empty() {
        case.body.bytes = kept;
    } else {
        let mut joined = BytesMut::from(std::mem::take(&mut case.body.bytes));
        joined.extend_from_slice(&kept);
        case.body.bytes = joined.freeze();
    }
    case.body.bytes.len() < site.kind.body_limit && (!is_full || wants_body(site, case))
}

/// The chunks in which a mail server sends a body that goes on (MILTER_CHUNK_SIZE in libmilter's mfdef.h).
const FULL_CHUNK: usize = 65_535;

/// `mark_spam`: whether spam marks are set and removed.
fn decide(site: &Site, case: &Case, mark_spam: bool) -> Verdict {
    let trusted = site.trust.peer(&case.client);
    let peer = trusted.unwrap_or(Peer::World);
    let sender = Sender::of(site, case, peer);
    let direction = direction(site, case, peer, &sender);
    let from_relay = peer == Peer::Relay;
    let forged: HashSet<usize> =
        positions(case, |field| (!from_relay && site.markers.reserves(field)) || headers::says_route(field));
    let facts = Facts {
        peer,
        direction,
        kind: kind::classify(&site.kind, sender.null, &case.header, &case.body),
        in_scope: sender.in_scope(),
        null_sender: sender.null,
        loop_header: from_relay && site.markers.has_loop_marker(&case.header, sender.hosted_domains(site)),
        flagged: from_relay && site.markers.is_flagged(&case.header),
        released: from_relay && site.markers.is_released(&case.header),
        forged: forged.len(),
        recipients: site.rules.asks_for_recipients().then(|| recipients(site, case)),
        named_scopes: sender::named_scopes(site, case, peer, &sender),
    };
    let mut verdict = Verdict {
        disposition: Disposition::Continue,
        route: if facts.in_scope { Route::Relay } else { Route::Direct },
        sender_table_route: sender_table_route(site, case, &sender),
        spam: Spam::None,
        kind: facts.kind,
        direction,
        peer,
        in_scope: facts.in_scope,
        edits: Vec::new(),
        reasons: Vec::new(),
        forged: facts.forged,
        mode: Mode::Enforce,
        would: None,
    };
    if let Some((refusal, why)) = admission::refused_for_now(site, case, trusted.err()) {
        verdict.disposition = refusal;
        verdict.reasons.push(why);
        return verdict;
    }
    let (locked_out, lock_down) = admission::refusal(site, case, trusted);
    if let Some(refusal) = locked_out {
        verdict.disposition = refusal;
        verdict.reasons.extend(lock_down);
        return verdict;
    }
    if let Some((stop, why)) = routing_loop(site, case, from_relay) {
        verdict.disposition = stop;
        verdict.reasons.push(why);
        return verdict;
    }
    let effects = match site.rules.run(&facts, case, &site.lists) {
        Ok(effects) => effects,
        Err(failure) => return rules_failed(verdict, format!("{}: {}", failure.file.display(), failure.message)),
    };
    if let (None, Some((Route::Relay, _))) = (site.relay, &effects.route) {
        return rules_failed(verdict, "a rule sends it to the relay, but the provider has none".into());
    }
    route(&mut verdict, &effects, &facts, &sender);
    if mark_spam {
        verdict.spam = spam(&effects, &facts);
    }
    let spam_flags = positions(case, |field| field.is(SPAM_FLAG_FIELD));
    also(&mut verdict.reasons, &facts, !spam_flags.is_empty());
    verdict.reasons.extend(lock_down);
    dispose(&mut verdict, &effects);
    if matches!(verdict.disposition, Disposition::Continue | Disposition::Quarantine(_)) {
        let mut removed = forged;
        if mark_spam {
            removed.extend(spam_flags);
        }
        if verdict.spam == Spam::Trusted {
            removed.extend(positions(case, |field| site.markers.is_spam_mark(field)));
        }
        removed.extend(&effects.removed);
        verdict.edits = edits(case, &removed, verdict.spam, effects);
    }
    verdict
}

/// Where the mail server sends mail of this sender by itself. Sendmail has no table: it asks the daemon, by the envelope
/// sender alone as long as there is no verdict.
fn sender_table_route(site: &Site, case: &Case, sender: &Sender) -> Option<Route> {
    match case.mail_server {
        Some(MailServer::Sendmail) => Some(if sender.envelope_in_scope { Route::Relay } else { Route::Direct }),
        _ => {
            let table = site.sender_table.load();
            table.route(&case.envelope.sender, sender.envelope.as_ref(), sender.envelope_in_scope)
        }
    }
}

/// The message is refused for now: what the policy would have said of it is not known.
fn rules_failed(mut verdict: Verdict, why: String) -> Verdict {
    let text = "Mail policy could not be evaluated; try again later".into();
    verdict.disposition = Disposition::Tempfail(Reply { code: "451", enhanced: "4.3.0", text });
    verdict.reasons.push(Reason::own("rules-failed", why));
    verdict
}

/// On which side the recipients are. Where the mail server delivers to a hosted recipient, aliases for one, it alone knows.
fn recipients(site: &Site, case: &Case) -> Recipients {
    let is_inside =
        |recipient: &String| Address::parse(recipient).is_none_or(|address| site.hosted.contains(address.domain()));
    let recipients = &case.envelope.recipients;
    match recipients.iter().filter(|recipient| is_inside(recipient)).count() {
        0 => Recipients::Outside,
        inside if inside == recipients.len() => Recipients::Inside,
        _ => Recipients::Mixed,
    }
}

fn positions(case: &Case, chosen: impl Fn(&crate::case::Field<'_>) -> bool) -> HashSet<usize> {
    case.header.fields().enumerate().filter(|(_, field)| chosen(field)).map(|(position, _)| position).collect()
}

/// A guard against loops that needs no marker: counts how often the relay has handed in the message, this time included,
/// and how often this host has had it before.
fn routing_loop(site: &Site, case: &Case, from_relay: bool) -> Option<(Disposition, Reason)> {
    let by_relay = headers::passes_from(&case.header, &site.trust.relay_networks) + 1;
    let by_host = case.host.as_ref().map_or(0, |host| headers::passes_by(&case.header, host));
    let (partner, name, why) = if from_relay && by_relay > site.max_passes {
        let why = format!("the relay hands it in for the {by_relay}th time; loops.max_passes is {}", site.max_passes);
        ("the relay", "relay-loop", why)
    } else if by_host > site.max_host_passes {
        let why =
            format!("this host has had it {by_host} times before; loops.max_host_passes is {}", site.max_host_passes);
        ("others", "host-loop", why)
    } else {
        return None;
    };
    let disposition = match site.on_loop {
        LoopAction::Quarantine => Disposition::Quarantine(format!("going round between this host and {partner}")),
        LoopAction::Reject => Disposition::Reject(Reply {
            code: "554",
            enhanced: "5.4.6",
            text: format!("Routing loop detected: the message goes round between this host and {partner}"),
        }),
    };
    Some((disposition, Reason::own(name, why)))
}

fn route(verdict: &mut Verdict, effects: &Effects, facts: &Facts, sender: &Sender) {
    let handed_back = facts.loop_header || facts.released;
    // Mail that the relay has dealt with must not go there again, whatever a script says: it would loop.
    let asked = effects.route.as_ref().filter(|(route, _)| *route == Route::Direct || facts.peer != Peer::Relay);
    if let Some((route, why)) = asked {
        verdict.route = *route;
        verdict.reasons.extend(why.iter().map(|name| by_rule(name, *route)));
    }
    if handed_back && verdict.route == Route::Relay {
        verdict.route = Route::Direct;
        let name = if facts.released { "released" } else { "loop-header" };
        verdict.reasons.push(by_rule(name, Route::Direct));
    }
    if verdict.reasons.is_empty() {
        let who = sender.envelope.as_ref().map(Address::full).unwrap_or_else(|| "the null sender".into());
        verdict.reasons.push(if sender.envelope_in_scope {
            Reason::own("in-scope", format!("{who} is in scope: external recipients go to the relay"))
        } else if sender.from_in_scope {
            Reason::own("from-in-scope", format!("the envelope sender {who} is not in scope, but the From field is"))
        } else if facts.direction == Direction::Outbound {
            Reason::own("out-of-scope", format!("{who} is not in scope: the mail server routes as it always did"))
        } else {
            Reason::own("inbound", "mail from outside: the mail server routes as it always did".into())
        });
    }
}

/// The reason that a script gave for a route, with the text that goes with the provider's own.
fn by_rule(name: &str, route: Route) -> Reason {
    let text = match name {
        "released" => "the relay says that it was released from the quarantine".into(),
        "loop-header" => "the relay says that it has been through the relay".into(),
        "null-sender" => "the envelope sender is null, as in bounces".into(),
        "calendaring" => "it is a meeting request or response".into(),
        "automatic-reply" => "it is an automatic reply".into(),
        other => format!("a rule of the policy says {}: {other}", route.name()),
    };
    Reason { name: Cow::Owned(name.to_string()), text }
}

fn spam(effects: &Effects, facts: &Facts) -> Spam {
    match effects.junk {
        _ if facts.released => Spam::Trusted,
        Some(false) => Spam::Trusted,
        Some(true) => Spam::Flagged,
        None => Spam::None,
    }
}

/// What else happened to the message.
fn also(reasons: &mut Vec<Reason>, facts: &Facts, spam_flag_removed: bool) {
    if facts.flagged {
        reasons.push(Reason::own("flagged", "the relay marked it as spam".into()));
    }
    if facts.forged > 0 {
        let fields = if facts.forged == 1 { "marker field" } else { "marker fields" };
        let text = format!("{} {fields} removed: only the relay may set such fields", facts.forged);
        reasons.push(Reason::own("forged-header", text));
    }
    if spam_flag_removed {
        reasons.push(Reason::own("spam-flag-removed", "it came with an X-Spam-Flag, which is never believed".into()));
    }
}

fn dispose(verdict: &mut Verdict, effects: &Effects) {
    let (disposition, why) = match &effects.action {
        None => return,
        Some(Action::Discard) => (Disposition::Discard, Reason::own("rule-discard", "a rule discards it".into())),
        Some(Action::Quarantine) => {
            let text = "held by a rule of conbool-milter";
            (
                Disposition::Quarantine(text.into()),
                Reason::own("rule-quarantine", "a rule holds it in quarantine".into()),
            )
        }
        Some(Action::Reject(text)) => {
            let text = one_line(text);
            let why = Reason::own("rule-reject", format!("a rule rejects it: {text}"));
            (Disposition::Reject(Reply { code: "550", enhanced: "5.7.1", text }), why)
        }
    };
    verdict.disposition = disposition;
    verdict.reasons.insert(0, why);
}

/// A script's text as a line of an SMTP reply.
fn one_line(text: &str) -> String {
    const MAX_REPLY_TEXT: usize = 400;
    let words: Vec<&str> = text.split(|character: char| character.is_whitespace() || character.is_control()).collect();
    let mut line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(MAX_REPLY_TEXT));
    if line.is_empty() { "Rejected by policy".into() } else { line }
}

fn edits(case: &Case, removed: &HashSet<usize>, spam: Spam, effects: Effects) -> Vec<HeaderEdit> {
    let mut edits = headers::removals(&case.header, removed);
    edits.extend(effects.added.into_iter().map(|(name, value, last)| {
        if last { HeaderEdit::Add { name, value } } else { HeaderEdit::Insert { name, value } }
    }));
    if spam == Spam::Flagged {
        edits.push(HeaderEdit::Add { name: SPAM_FLAG_FIELD.into(), value: "YES".into() });
    }
    edits
}

#[cfg(test)]
mod tests;
