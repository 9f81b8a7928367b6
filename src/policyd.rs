//! The policy door: Postfix's policy delegation protocol (SMTPD_POLICY_README) in, the same trust and lock-down
//! decisions as the milter's out. It only translates.
//!
//! | answer | when |
//! |---|---|
//! | `DUNNO` | whatever is none of the below |
//! | `451 4.7.0` | a client in the relay's networks that does not prove to be the relay, from MAIL on |
//! | `550 5.7.1` | lock-down keeps the client from writing to the recipient |
//! | `OK` | the relay hands back mail of a hosted sender to a recipient elsewhere, at RCPT |
//!
//! `OK` grants relaying in `smtpd_relay_restrictions`, and to nobody else; in `smtpd_recipient_restrictions` it ends
//! the list for mail that the list need not stop. So the same service is right in both.

mod request;

use std::borrow::Cow;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use arc_swap::ArcSwap;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use request::{Malformed, Request, State};

use crate::judge::{self, Site};
use crate::telemetry;
use crate::verdict::Reply;

/// Longest request, in bytes. Postfix sends some 25 attributes, of which a client can make few long, and those by a line
/// of SMTP at most (`line_length_limit`).
const MAX_REQUEST: usize = 64 << 10;

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a request begins.
    pub idle: Duration,
    /// Until a request that has begun is complete, and until an answer is taken.
    pub request: Duration,
}

impl Patience {
    /// As long as Postfix itself waits for an answer (`smtpd_policy_service_timeout`).
    pub const REQUEST: Duration = Duration::from_secs(100);
}

/// Answers the requests of one connection, in order, until it ends, is silent for too long, or `stop` turns true
/// between two requests.
///
/// What is no request ends the connection too: Postfix tries another, and then does what `default_action` says.
///
/// # Errors
/// When the connection breaks, or the client is too slow.
pub async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    current: &ArcSwap<Site>,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        if input.is_empty() {
            let begun = tokio::select! {
                begun = timeout(patience.idle, stream.read_buf(&mut input)) => begun??,
                // An error means that the server is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => 0,
            };
            if begun == 0 {
                return Ok(());
            }
        }
        let complete = timeout(patience.request, complete(&mut stream, &mut input)).await??;
        let (answers, malformed) = match complete {
            true => answer_all(&current.load(), &mut input),
            false => (String::new(), Some(Malformed::Incomplete)),
        };
        timeout(patience.request, stream.write_all(answers.as_bytes())).await??;
        if let Some(malformed) = malformed {
            telemetry::policy_malformed(&malformed);
            return Ok(());
        }
    }
}

/// Reads until the input holds a whole request; false if it never will.
async fn complete(stream: &mut (impl AsyncRead + Unpin), input: &mut Vec<u8>) -> io::Result<bool> {
    let mut looked_at = 0;
    loop {
        if memmem::find(&input[looked_at..], END).is_some() {
            return Ok(true);
        }
        looked_at = input.len().saturating_sub(END.len() - 1);
        if input.len() > MAX_REQUEST || stream.read_buf(input).await? == 0 {
            return Ok(false);
        }
    }
}

/// An empty line ends a request.
const END: &[u8] = b"\n\n";

/// Takes the whole requests out of the input, and answers them up to the first that is none.
fn answer_all(site: &Site, input: &mut Vec<u8>) -> (String, Option<Malformed>) {
    let (mut answers, mut done) = (String::new(), 0);
    while let Some(length) = memmem::find(&input[done..], END) {
        match Request::parse(&input[done..done + length]) {
            Ok(request) => answers.push_str(&format!("action={}\n\n", guarded(site, &request))),
            Err(malformed) => return (answers, Some(malformed)),
        }
        done += length + END.len();
    }
    input.drain(..done);
    (answers, None)
}

/// Answers one request. A panic on the way, which would be a defect, is a temporary failure of this recipient alone.
fn guarded(site: &Site, request: &Request) -> String {
    let answer = catch_unwind(AssertUnwindSafe(|| answer(site, request))).unwrap_or_else(|_| Answer {
        action: "451 4.3.0 Internal error; try again later".into(),
        name: "defer",
        reason: "internal-error".into(),
    });
    telemetry::policy_answered(&request.client, &request.sender, &request.recipient, answer.name, &answer.reason);
    answer.action
}

/// What is answered.
struct Answer {
    /// In the notation of access(5).
    action: String,
    /// The same in one word.
    name: &'static str,
    reason: Cow<'static, str>,
}

fn answer(site: &Site, request: &Request) -> Answer {
    let Request { client, sender, recipient, state } = request;
    let answer = |name, action: &str, reason| Answer { name, action: action.into(), reason };
    let refusal =
        |name, reply: Reply, reason| answer(name, &format!("{} {} {}", reply.code, reply.enhanced, reply.text), reason);
    if *state == State::BeforeMail {
        // The client may still begin TLS, or log in.
        return answer("dunno", "DUNNO", "before-mail".into());
    }
    if let Some((reply, why)) = judge::unproven_relay(site, client) {
        return refusal("defer", reply, why);
    }
    if recipient.is_empty() {
        return answer("dunno", "DUNNO", "no-recipient".into());
    }
    if let Some(locked) = judge::locked(site, client, recipient) {
        telemetry::recipient_locked(client, sender, recipient, &locked, true, "policy");
        if locked.refused {
            return refusal("reject", locked.reply(client.address), "lock-down".into());
        }
    }
    if *state == State::Recipient && judge::hands_back(site, client, sender, recipient) {
        // Postfix 3.7 names verified certificates only, but does not promise it, and tells the fingerprint of any: it is
        // to see to that itself, or the relay comes again.
        let verified = "permit_tls_all_clientcerts, defer";
        let action = if site.trust.relay_certificates.is_empty() { "OK" } else { verified };
        return answer("permit", action, "hand-back".into());
    }
    answer("dunno", "DUNNO", "none".into())
}

#[cfg(test)]
mod tests;
