//! The milter door: milter protocol in, [`Case`](crate::case::Case); [`Verdict`], milter actions out. It only
//! translates.
//!
//! Protocol version 6 (libmilter's mfdef.h; Postfix MILTER_README), on indymilter. Whatever needs no answer is
//! negotiated away. The body is refused with SKIP as soon as it cannot matter.

mod frames;
mod render;
mod session;
mod stream;
mod under_way;

use std::ffi::CString;
use std::sync::Arc;

use arc_swap::ArcSwap;
use indymilter::{Actions, Callbacks, Context, EomContext, MacroStage, NegotiateContext, ProtoOpts, Status};

use crate::case::Case;
use crate::judge::{self, Site};
use crate::routing::Routes;
use crate::telemetry;
use crate::verdict::Verdict;

pub use session::Session;
pub use stream::{MilterStream, Socket};
pub use under_way::UnderWay;

/// The pipeline that the door hands cases to; [`judge::judge`] but for tests.
pub type Judge = fn(&Site, &Case) -> Verdict;

/// The site by which new messages are judged; a reload puts another one in its place.
pub type CurrentSite = ArcSwap<Site>;

/// What a verdict may ask of the mail server.
const NEEDED_ACTIONS: Actions = Actions::ADD_HEADER.union(Actions::CHANGE_HEADER).union(Actions::QUARANTINE);

/// What is asked of the mail server if it can do it: no replies where none is ever needed, header values with their
/// leading space, and SKIP. RCPT needs replies where lock-down may refuse recipients.
const WANTED_OPTIONS: ProtoOpts = ProtoOpts::NOREPLY_CONNECT
    .union(ProtoOpts::NOREPLY_MAIL)
    .union(ProtoOpts::NOREPLY_HEADER)
    .union(ProtoOpts::LEADING_SPACE)
    .union(ProtoOpts::SKIP);

/// The macros asked for (SMFIR_SETSYMLIST), at the stage where they exist: TLS and login at MAIL, where Postfix knows
/// them; the queue id at DATA, the first stage at which it always has one. Later stages repeat their macros before
/// every header field and body chunk, so that nothing real is asked for there; an empty list would mean the default.
const MACROS: &[(MacroStage, &str)] = &[
    (MacroStage::Connect, "v"),
    (MacroStage::Helo, NO_MACRO),
    (MacroStage::Mail, "i j {tls_version} {cert_subject} {auth_authen} {daemon_addr} {daemon_port}"),
    (MacroStage::Rcpt, NO_MACRO),
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
            let status = negotiate(context, actions, options, at_negotiation.load().lock_down.may_refuse());
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
            let (status, refusal) = session(context).rcpt(&arguments);
            if let Some(reply) = refusal {
                render::refuse(&mut context.reply, &reply, status);
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

fn negotiate(
    context: &mut NegotiateContext<Session>,
    actions: Actions,
    options: ProtoOpts,
    refuses_recipients: bool,
) -> Status {
    if !actions.contains(NEEDED_ACTIONS) {
        telemetry::unusable_mail_server("it does not let milters add and change header fields and quarantine messages");
        // Ends the session; the mail server does as its default_action says.
        return Status::Reject;
    }
    context.requested_actions = NEEDED_ACTIONS;
    // indymilter has put in the stages without a callback; an old mail server may not know them all.
    let mut wanted = context.requested_opts | WANTED_OPTIONS;
    wanted.set(ProtoOpts::NOREPLY_RCPT, !refuses_recipients);
    context.requested_opts = wanted & options;
    for (stage, names) in MACROS {
        if let Ok(names) = CString::new(*names) {
            context.requested_macros.insert(*stage, names);
        }
    }
    context.data.get_or_insert_default().negotiated(context.requested_opts);
    Status::Continue
}

async fn end_of_message(judge: Judge, context: &mut EomContext<Session>) -> Status {
    let Some(session) = &mut context.data else { return Status::Tempfail };
    let Some(message) = session.end_of_message(&context.macros) else { return Status::Tempfail };
    let started = std::time::Instant::now();
    let verdict = judge::guarded(|| judge(&message.site, &message.case));
    let elapsed = started.elapsed();
    let rendering = render::Rendering { leading_space: session.leading_space() };
    let carried_out = rendering.carry_out(&verdict, &context.actions, &mut context.reply).await;
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
