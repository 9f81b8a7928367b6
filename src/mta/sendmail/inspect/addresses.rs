//! What Sendmail itself says of addresses, and the maps behind that (`sendmail -bt`).

use super::Inspection;
use crate::finding::Status;
use crate::mta::sendmail::{RELAY_MAILER, test_mode, trial};

/// An address that is certainly another site's (RFC 5737), and needs no name server.
pub(super) const ELSEWHERE: &str = "carol@[192.0.2.1]";

impl Inspection<'_> {
    /// What Sendmail with the configuration on the disk answers in its address test mode.
    pub(super) fn ask(&self, questions: &[&str]) -> Result<Vec<Vec<String>>, String> {
        test_mode::ask(&self.examined.config.sendmail.program, &self.cf_file, questions)
    }

    /// Where Sendmail sends what the milter marks, and what nobody has marked.
    pub(super) fn addresses(&mut self) {
        const CHECK: &str = "routes";
        if self.examined.provider.relay.is_none() {
            return;
        }
        let text = self.request.existing.cf.clone().unwrap_or_default();
        match trial::run(self.request, &text) {
            Ok(()) => self.pass(CHECK, "", "marked recipients go where they should"),
            Err(error) => {
                let mend = self.mend_cf();
                self.mend(Status::Fail, (CHECK, ""), error.to_string(), mend);
            }
        }
        if self.examined.config.modes.routes() && self.asks_daemon && self.has_routes {
            self.unmarked();
        }
    }

    /// Mail that no milter has seen: Sendmail asks the daemon, who goes by the sender.
    fn unmarked(&mut self) {
        const CHECK: &str = "unmarked-mail";
        let Some(sender) = self.examined.sender else { return };
        let answer = match self.ask(&[&format!(".Df{sender}"), &format!("/parse {ELSEWHERE}")]) {
            Ok(answers) => answers.concat(),
            Err(error) => return self.add(CHECK, sender, Status::Unknown, error),
        };
        match mailer(&answer) {
            Some(way) if way.starts_with(&format!("{RELAY_MAILER},")) => {
                self.pass(CHECK, sender, "what aliases send outside goes to the relay");
            }
            Some(way) if !way.starts_with("*error*") => {
                let seen = format!(
                    "the daemon says that what aliases send outside goes past the relay (mailer {way}): it has another \
                     configuration"
                );
                let mend = "systemctl reload conbool-milter; conbool-milter doctor sockets tells what it has";
                self.mend(Status::Fail, (CHECK, sender), seen, mend);
            }
            refused => {
                let said = refused.unwrap_or("no mailer");
                let seen = format!("the daemon gives Sendmail no answer, and mail of this sender waits: {said}");
                let mend = "systemctl start conbool-milter; conbool-milter doctor sockets tells what is in the way";
                self.mend(Status::Fail, (CHECK, sender), seen, mend);
            }
        }
    }
}

/// The mailer and host that an address resolves to; `*error*` if it has none.
fn mailer(answer: &[String]) -> Option<&str> {
    answer.iter().find_map(|line| line.strip_prefix("mailer "))
}
