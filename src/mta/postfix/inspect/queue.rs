//! Mail that waits for the relay.

use std::time::{Duration, SystemTime};

use super::super::queue::{self, Queued};
use super::Inspection;
use crate::finding::Status;

/// How long mail may wait for the relay before that is more than a passing trouble.
const PASSING: Duration = Duration::from_secs(15 * 60);

impl Inspection<'_> {
    /// Looks whether mail for the relay, or for our own services, is stuck.
    pub(super) fn queue(&mut self) {
        const CHECK: &str = "queue";
        let messages = match queue::messages(self.request.config_directory) {
            Ok(messages) => messages,
            Err(error) => return self.add(CHECK, "", Status::Unknown, error.to_string()),
        };
        let host =
            self.needed.relay_next_hop().trim_start_matches('[').split(']').next().unwrap_or_default().to_owned();
        let reason = |message: &Queued| {
            let reasons = message.recipients.iter().map(|recipient| recipient.delay_reason.as_str());
            reasons.into_iter().find(|reason| concerns_us(reason, &host)).map(str::to_owned)
        };
        let mut waiting: Vec<(&Queued, String)> =
            messages.iter().filter_map(|message| Some((message, reason(message)?))).collect();
        waiting.sort_by_key(|(message, _)| message.arrival_time);
        let held = messages.iter().filter(|message| message.queue_name == "hold").count();
        match (waiting.first(), waiting.last()) {
            (Some((oldest, _)), Some((newest, reason))) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let age = now.saturating_sub(Duration::from_secs(oldest.arrival_time));
                let status = if age > PASSING { Status::Fail } else { Status::Warn };
                let seen = format!(
                    "{} messages wait for the relay, the oldest for {} minutes; the newest ({}): {reason}",
                    waiting.len(),
                    age.as_secs() / 60,
                    newest.queue_id
                );
                let flush = self.then_reload("", "").replace("postfix", "postqueue").replace(" reload", " -f");
                self.mend(status, (CHECK, ""), seen, format!("mend what the reason says (doctor relay), then {flush}"));
            }
            _ => self.pass(CHECK, "", format!("{} messages, none waits for the relay; {held} held", messages.len())),
        }
    }
}

/// True if a delay is the relay's or our wiring's.
fn concerns_us(reason: &str, host: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    !reason.is_empty()
        && (!host.is_empty() && reason.contains(&host.to_ascii_lowercase())
            || reason.contains("conbool")
            || reason.contains("server certificate not")
            || reason.contains("tls is required, but was not offered"))
}
