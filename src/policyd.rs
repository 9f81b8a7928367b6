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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;
use memchr::memmem;

pub use request::Malformed;
use request::{Request, State};

use crate::judge::{self, Site};
use crate::questions::{Answers, Protocol};
use crate::telemetry;
use crate::verdict::Reply;

/// Longest request, in bytes. Postfix sends some 25 attributes, of which a client can make few long, and those by a line
/// of SMTP at most (`line_length_limit`).
const MAX_REQUEST: usize = 64 << 10;

/// The policy service.
#[derive(Debug)]
pub struct Policyd {
    /// The site by which requests are answered.
    pub site: Arc<ArcSwap<Site>>,
}

impl Protocol for Policyd {
    type Malformed = Malformed;
    const INCOMPLETE: Malformed = Malformed::Incomplete;

    fn answer_all(&self, input: &[u8]) -> Answers<Malformed> {
        answer_all(&self.site.load(), input)
    }

    fn malformed(&self, malformed: &Malformed) {
        telemetry::policy_malformed(malformed);
    }
}

/// An empty line ends a request.
const END: &[u8] = b"\n\n";

/// Answers the whole requests, up to the first that is none.
fn answer_all(site: &Site, input: &[u8]) -> Answers<Malformed> {
    let mut answers = Answers { text: Vec::new(), taken: 0, malformed: None };
    while let Some(length) = memmem::find(&input[answers.taken..], END) {
        match Request::parse(&input[answers.taken..answers.taken + length]) {
            Ok(request) => answers.text.extend(format!("action={}\n\n", guarded(site, &request)).bytes()),
            Err(malformed) => return Answers { malformed: Some(malformed), ..answers },
        }
        answers.taken += length + END.len();
    }
    if answers.taken == 0 && input.len() > MAX_REQUEST {
        answers.malformed = Some(Malformed::Incomplete);
    }
    answers
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
