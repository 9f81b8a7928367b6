//! The socketmap, by which Sendmail asks the daemon where mail goes that bears no mark of the milter.

use super::Inspection;
use crate::finding::Status;
use crate::mta::sendmail::cf::Cf;
use crate::mta::sendmail::{rules, socket_path};

/// The socket in the definition of a socketmap, which is its last word.
fn socket(definition: &str) -> &str {
    definition.rsplit(' ').next().unwrap_or(definition)
}

impl Inspection<'_> {
    /// Whether our configuration has a socketmap, without which no rule asks.
    pub(super) fn socketmap_setting(&mut self) {
        const CHECK: &str = "socketmap";
        let config = self.examined.config;
        if self.examined.provider.relay.is_none() || !config.socketmap.sockets.is_empty() {
            return;
        }
        let status = if config.modes.routes() { Status::Fail } else { Status::Warn };
        let seen = "is not set, so that Sendmail does not ask where mail goes that bears no mark of the milter: what \
                    aliases, .forward files and sendmail(1) as root send to other sites goes past the relay";
        let mend = format!(
            "[socketmap]\nsocket = \"{}\"\n# then: systemctl restart conbool-milter && {}",
            socket_path::beside(&config.milter.sockets),
            self.setup()
        );
        self.mend(status, (CHECK, "socketmap.socket"), seen, mend);
    }

    /// Compares how Sendmail asks with how it should.
    pub(super) fn socketmap(&mut self, needed: &Cf) {
        const CHECK: &str = "socketmap";
        let Some(needed) = needed.map(rules::MAP) else {
            self.asks_daemon = false;
            return;
        };
        let asks = self.cf.rules(rules::RULESET).any(|rule| rule.contains(&format!("$({} ", rules::MAP)));
        let found = self.cf.map(rules::MAP).map(str::to_owned);
        let (check, subject, seen) = match &found {
            _ if !asks => {
                let seen = format!(
                    "no rule in {} asks the daemon where mail goes that bears no mark, as what aliases send to other \
                     sites: it waits, or goes past the relay",
                    rules::RULESET
                );
                (CHECK, rules::MAP, seen)
            }
            None => {
                let seen = format!(
                    "sendmail.cf has no map {}, which its rules ask: mail that bears no mark goes nowhere",
                    rules::MAP
                );
                (CHECK, rules::MAP, seen)
            }
            Some(found) if found == needed => {
                self.pass("socketmap-socket", socket(needed), "the daemon's");
                return self.pass(CHECK, rules::MAP, "asked as needed");
            }
            Some(found) if socket(found) != socket(needed) => {
                let seen = format!(
                    "Sendmail asks at {}, but the daemon answers at {}: mail that bears no mark goes nowhere",
                    socket(found),
                    socket(needed)
                );
                ("socketmap-socket", socket(found), seen)
            }
            Some(found) => {
                let missing = needed.split(' ').find(|word| !found.split(' ').any(|other| other == *word));
                let what = missing.map_or_else(String::new, |word| format!(", without {word}"));
                let seen = format!(
                    "sendmail.cf has `K{0} {found}` where `K{0} {needed}` is needed{what}: the rules were not made for \
                     answers to that",
                    rules::MAP
                );
                (CHECK, rules::MAP, seen)
            }
        };
        self.asks_daemon = false;
        let mend = self.mend_cf();
        self.mend(Status::Fail, (check, subject), seen, mend);
    }
}
