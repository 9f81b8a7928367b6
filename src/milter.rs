//! The milter door: milter protocol in, [`Case`](crate::case::Case); [`Verdict`], milter actions out. It only
//! translates.
//!
//! Protocol version 6 (libmilter's mfdef.h; Postfix MILTER_README), on indymilter. Whatever needs no answer is
//! negotiated away. The body is refused with SKIP as soon as it cannot matter.

mod frames;
mod marking;
mod recipients;
mod render;
mod session;
mod stream;
mod under_way;
mod xtext;

use std::ffi::CString;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use indymilter::{Actions, Callbacks, Context, EomContext, MacroStage, NegotiateContext, ProtoOpts, Status};

use crate::case::{Case, MailServer};
use crate::judge::{self, Site};
use crate::routing::{Routes, Transaction};
use crate::telemetry;
use crate::verdict::{Disposition, Verdict};
use render::{Rendering, RouteMarks};

pub use session::Session;
pub use stream::{MilterStream, Socket};
pub use under_way::UnderWay;

/// The pipeline that the door hands cases to; [`judge::judge`] but for tests.
pub type Judge = fn(&Site, &Case) -> Verdict;

/// The site by which new messages are judged; a reload puts another one in its place.
pub type CurrentSite = ArcSwap<Site>;

/// What a verdict may ask of the mail server.
const NEEDED_ACTIONS: Actions = Actions::ADD_HEADER.union(Actions::CHANGE_HEADER).union(Actions::QUARANTINE);

/// What it may ask of Sendmail besides.
const RECIPIENT_ACTIONS: Actions = Actions::DELETE_RCPT.union(Actions::ADD_RCPT_EXT);

/// What is asked of the mail server if it can do it: no replies where none is ever needed, header values with their
/// leading space, and SKIP. RCPT needs replies where lock-down may refuse recipients.
const WANTED_OPTIONS: ProtoOpts = ProtoOpts::NOREPLY_CONNECT
    .union(ProtoOpts::NOREPLY_MAIL)
    .union(ProtoOpts::NOREPLY_HEADER)
    .union(ProtoOpts::LEADING_SPACE)
    .union(ProtoOpts::SKIP);

/// The macros asked for (SMFIR_SETSYMLIST), at the stage where they exist: who it is at the connection; TLS and login at
/// MAIL, where Postfix knows them; of each recipient, what Sendmail says only then; the queue id at DATA, the first stage
/// at which Postfix always has one. Later stages repeat their macros before
/// every header field and body chunk, so that nothing real is asked for there; an empty list would mean the default.
const MACROS: &[(MacroStage, &str)] = &[
    (MacroStage::Connect, "v"),
    (MacroStage::Helo, NO_MACRO),
    (
        MacroStage::Mail,
        "i j {tls_version} {verify} {cn_subject} {cert_subject} {auth_authen} {daemon_addr} {daemon_port}",
    ),
    (MacroStage::Rcpt, "{rcpt_mailer} {rcpt_addr}"),
    (MacroStage::Data, "i"),
    (MacroStage::Eoh, NO_MACRO),
    (MacroStage::Eom, NO_MACRO),
];

const NO_MACRO: &str = "{conbool_none}";

/// The callbacks for indymilter: one [`Session`] for each connection of the mail server.
///
/// A message is judged by the site that is current when its MAIL command comes, to its end.
pub fn callbacks(
    current: Arc<CurrentSite>,
    under_way: Arc<UnderWay>,
    routes: Arc<Routes>,
    judge: Judge,
) -> Callbacks<Session> {
    let at_negotiation = current.clone();
    Callbacks::new()
        .on_negotiate(move |context, actions, options| {
            let status = negotiate(context, actions, options, &at_negotiation.load());
            Box::pin(async move { status })
        })
        .on_connect(|context, _hostname, socket| {
            let Context { data, macros, .. } = context;
            let status = data.get_or_insert_default().connect(&socket, macros);
            Box::pin(async move { status })
        })
        .on_mail(move |context, arguments| {
            let Context { data, macros, .. } = context;
            let status =
                data.get_or_insert_default().mail(current.load_full(), &under_way, &routes, &arguments, macros);
            Box::pin(async move { status })
        })
        .on_rcpt(|context, arguments| {
            let Context { data, macros, reply, .. } = context;
            let (status, refusal) = data.get_or_insert_default().rcpt(&arguments, macros);
            if let Some(text) = refusal {
                render::refuse(reply, &text, status);
            }
            Box::pin(async move { status })
        })
        .on_header(|context, name, value| {
            let status = session(context).header(name.as_bytes(), value.as_bytes());
            Box::pin(async move { status })
        })
        .on_body(|context, chunk| {
            let status = session(context).body(chunk);
            Box::pin(async move { status })
        })
        .on_eom(move |context| Box::pin(end_of_message(judge, context)))
        .on_abort(|context| {
            session(context).abort();
            Box::pin(async { Status::Continue })
        })
}

fn session(context: &mut Context<Session>) -> &mut Session {
    context.data.get_or_insert_default()
}

fn negotiate(context: &mut NegotiateContext<Session>, actions: Actions, options: ProtoOpts, site: &Site) -> Status {
    if !actions.contains(NEEDED_ACTIONS) {
        telemetry::unusable_mail_server("it does not let milters add and change header fields and quarantine messages");
        // Ends the session; the mail server does as its default_action says.
        return Status::Reject;
    }
    let is_postfix = site.mail_server == Some(MailServer::Postfix);
    let on_recipients = if is_postfix { Actions::empty() } else { RECIPIENT_ACTIONS & actions };
    context.requested_actions = NEEDED_ACTIONS | on_recipients;
    // indymilter has put in the stages without a callback; an old mail server may not know them all.
    let mut wanted = context.requested_opts | WANTED_OPTIONS;
    // Where it is not known which mail server it is, Postfix need not wait for what Sendmail alone may be told.
    let is_sendmail = site.mail_server == Some(MailServer::Sendmail);
    let may_relay = is_sendmail && site.relay.is_some_and(|relay| relay.hands_back);
    wanted.set(ProtoOpts::NOREPLY_RCPT, !site.lock_down.may_refuse() && !may_relay);
    context.requested_opts = wanted & options;
    for (stage, names) in MACROS {
        // What Sendmail alone is asked for.
        let names = if is_postfix && *stage == MacroStage::Rcpt { NO_MACRO } else { names };
        if let Ok(names) = CString::new(names) {
            context.requested_macros.insert(*stage, names);
        }
    }
    let replaces_recipients = on_recipients == RECIPIENT_ACTIONS;
    context.data.get_or_insert_default().negotiated(context.requested_opts, replaces_recipients);
    Status::Continue
}

async fn end_of_message(judge: Judge, context: &mut EomContext<Session>) -> Status {
    let Some(session) = &mut context.data else { return Status::Tempfail };
    let Some(mut message) = session.end_of_message(&context.macros) else { return Status::Tempfail };
    let started = std::time::Instant::now();
    let mut verdict = judge::guarded(|| judge(&message.site, &message.case));
    let elapsed = started.elapsed();
    let sendmail = message.from_sendmail.take();
    let marks = sendmail.as_ref().map(|sendmail| marking::carry_out(&mut verdict, &message, sendmail));
    let route = marks.as_deref().map_or(RouteMarks::Field, RouteMarks::Recipients);
    let rendering = Rendering { leading_space: session.leading_space(), route };
    let carried_out = match decide(sendmail.map(|sendmail| sendmail.transaction), &verdict).await {
        Ok(()) => rendering.carry_out(&verdict, &context.actions, &mut context.reply).await,
        Err(error) => Err(error.into()),
    };
    telemetry::message_judged(&telemetry::Judged {
        queue_id: &message.queue_id,
        message_id: message.message_id().as_deref(),
        envelope: &message.case.envelope,
        client: &message.case.client,
        verdict: &verdict,
        elapsed,
    });
    carried_out.unwrap_or_else(|error| {
        // A message whose edits did not all arrive must not go on.
        telemetry::verdict_not_carried_out(&message.queue_id, &error);
        Status::Tempfail
    })
}

/// Tells those who answer Sendmail's questions where a message goes that is taken, before Sendmail hears of it.
async fn decide(transaction: Option<Transaction>, verdict: &Verdict) -> io::Result<()> {
    let goes_on = matches!(verdict.disposition, Disposition::Continue | Disposition::Quarantine(_));
    let Some(transaction) = transaction.filter(|_| goes_on) else { return Ok(()) };
    let route = verdict.route;
    if transaction.by_sender() == route {
        return transaction.decided(route);
    }
    // Waits for the disk, which other messages of this worker need not.
    tokio::task::spawn_blocking(move || transaction.decided(route)).await?
}
