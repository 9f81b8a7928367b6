//! Events of the socketmap.

use std::fmt::Display;

use tracing::{debug, warn};

use super::cut;
use super::ledger::{LEDGER, Stage};

/// A question was answered. Sendmail asks for each address several times, so that the line is one for debugging.
pub fn socketmap_answered(queue_id: &str, sender: &str, domain: Option<&str>, answer: &'static str) {
    metrics::counter!("conbool_milter_socketmap_questions_total", "answer" => answer).increment(1);
    let domain = domain.map_or("unknown", cut);
    debug!(queue_id = cut(queue_id), from = cut(sender), to_domain = domain, answer, "socketmap");
}

/// A question that the rules in sendmail.cf do not ask, or that met a defect: Sendmail is to try again.
pub fn socketmap_put_off(why: &'static str) {
    metrics::counter!("conbool_milter_socketmap_questions_total", "answer" => "temp").increment(1);
    LEDGER.error(Stage::Socketmap);
    warn!(why, "socketmap question put off; do the rules in sendmail.cf come from this release?");
}

/// Something that is no question came in; the connection is closed.
pub fn socketmap_malformed(problem: &dyn Display) {
    LEDGER.error(Stage::Socketmap);
    warn!(problem = cut(&problem.to_string()), "socketmap connection closed: no question");
}
