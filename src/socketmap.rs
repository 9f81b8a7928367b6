//! The socketmap door: Sendmail's questions where mail goes that carries no mark of the milter, in; what is known of the
//! transaction, out (cf/README of Sendmail, "SOCKET"). It only translates.
//!
//! | answer | meaning for the rules in sendmail.cf |
//! |---|---|
//! | `OK relay` | to the relay |
//! | `OK direct` | past it, though the sender's mail goes there |
//! | `OK usual` | where it went before we came |
//! | `TEMP …` | a defect, or a question of somebody else's: try again |
//!
//! Never `NOTFOUND` or `PERM`, which Sendmail does not tell from each other, and which a socket of another service would
//! say too: the rules want an explicit answer.

mod question;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use question::Malformed;

use crate::judge::Site;
use crate::questions::{Answers, Protocol};
use crate::routing::{Answer, Routes};
use crate::telemetry;

/// The socketmap.
#[derive(Debug)]
pub struct Socketmap {
    /// The site by which questions are answered.
    pub site: Arc<ArcSwap<Site>>,
    /// What is known of transactions.
    pub routes: Arc<Routes>,
}

impl Protocol for Socketmap {
    type Malformed = Malformed;
    const INCOMPLETE: Malformed = Malformed::Incomplete;

    fn answer_all(&self, input: &[u8]) -> Answers<Malformed> {
        let mut answers = Answers { text: Vec::new(), taken: 0, malformed: None };
        loop {
            match question::netstring(&input[answers.taken..]) {
                Ok(Some((question, length))) => {
                    let answer = self.guarded(question);
                    answers.text.extend(format!("{}:{answer},", answer.len()).bytes());
                    answers.taken += length;
                }
                Ok(None) => return answers,
                Err(malformed) => return Answers { malformed: Some(malformed), ..answers },
            }
        }
    }

    fn malformed(&self, malformed: &Malformed) {
        telemetry::socketmap_malformed(malformed);
    }
}

impl Socketmap {
    /// Answers one question. A panic on the way, which would be a defect, is a temporary failure of this address alone.
    fn guarded(&self, question: &[u8]) -> String {
        let answer = catch_unwind(AssertUnwindSafe(|| self.answer(question))).unwrap_or(Err("internal error"));
        match answer {
            Ok(answer) => format!("OK {}", answer.name()),
            Err(why) => {
                telemetry::socketmap_put_off(why);
                format!("TEMP {why}")
            }
        }
    }

    fn answer(&self, question: &[u8]) -> Result<Answer, &'static str> {
        let query = question::query(question)?;
        let answer = self.routes.route(&self.site.load(), &query);
        let sender = query.senders.last().map(String::as_str).unwrap_or_default();
        telemetry::socketmap_answered(&query.queue_id, sender, query.domain.as_deref(), answer.name());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
