//! Mail that waits for the relay.

use std::time::{Duration, SystemTime};

use super::Inspection;
use crate::finding::Status;
use crate::mta::sendmail::Names;
use crate::mta::sendmail::queue::{self, Waiting};

/// How long mail may wait for the relay before that is more than a passing trouble.
const PASSING: Duration = Duration::from_secs(15 * 60);

impl Inspection<'_> {
    /// Looks at the messages in the queue that need our rules.
    pub(super) fn queue(&mut self) {
        const CHECK: &str = "queue";
        let names = Names::new(self.request).ok().flatten();
        let relay = names.as_ref().map(|names| names.rules.relay.as_str());
        let mut waiting = match queue::waiting(&self.examined.config.sendmail, relay, &self.examined.config.domains) {
            Ok(waiting) => waiting,
            Err(error) => return self.add(CHECK, "", Status::Unknown, format!("{error}; run doctor as root")),
        };
        waiting.sort_by_key(|message: &Waiting| message.arrived);
        let (Some(oldest), Some(newest)) = (waiting.first(), waiting.last()) else {
            return self.pass(CHECK, "", "no message waits for the relay");
        };
        let number = waiting.len();
        if !self.has_routes {
            let seen = format!(
                "{number} messages wait for the relay or are marked as exempt, and sendmail.cf lacks the rules for that: \
                 they bounce, or go past the relay ({}, …)",
                oldest.queue_id
            );
            let mend = self.mend_cf();
            return self.mend(Status::Fail, (CHECK, ""), seen, mend);
        }
        let age = SystemTime::now().duration_since(oldest.arrived).unwrap_or_default();
        let status = if age > PASSING { Status::Fail } else { Status::Warn };
        let seen = format!(
            "{number} messages wait for the relay, the oldest for {} minutes; the newest ({}): {}",
            age.as_secs() / 60,
            newest.queue_id,
            newest.reason
        );
        let flush = format!("{} -q", self.examined.config.sendmail.program.display());
        self.mend(status, (CHECK, ""), seen, format!("mend what the reason says (doctor relay), then {flush}"));
    }
}
