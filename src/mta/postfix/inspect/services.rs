//! Our services in master.cf.

use super::{Inspection, same};
use crate::finding::Status;
use crate::mta::postfix::existing;
use crate::mta::postfix::master_cf::Service;

/// The check of a service.
fn check(service: &str) -> &'static str {
    match service {
        "conbool-relay/unix" => "relay-transport",
        "conbool-direct/unix" => "direct-transport",
        "conbool-split/unix" => "split-transport",
        "conbool-cleanup/unix" => "split-cleanup",
        _ => "split-listener",
    }
}

/// What an option that is not as needed leads to.
fn consequence(service: &str, option: &str) -> &'static str {
    match (service, option) {
        ("conbool-relay/unix", "smtp_tls_security_level") => {
            "only `secure` verifies the name in the relay's certificate"
        }
        ("conbool-relay/unix", "smtp_tls_secure_cert_match") => "the relay's certificate is to carry another name",
        ("conbool-relay/unix", "smtp_tls_policy_maps" | "smtp_tls_per_site") => {
            "an entry there outranks smtp_tls_security_level"
        }
        ("conbool-relay/unix", "smtp_fallback_relay") => "mail goes there, unverified, when the relay is down",
        ("conbool-relay/unix", "smtp_delivery_status_filter") => "mail is returned while the relay's name is not found",
        (_, "message_size_limit") => "a message just below the limit is returned: it has grown by a field",
        (_, "receive_override_options") => "the message is checked and rewritten a second time",
        (_, "smtpd_recipient_restrictions") => "recipients are routed otherwise than judged",
        (_, "syslog_name") => "its lines in the log are not found by their name",
        _ => "setup sets it otherwise",
    }
}

impl Inspection<'_> {
    /// Compares what master.cf has with what is needed.
    pub(super) fn services(&mut self) {
        for service in std::mem::take(&mut self.needed.services) {
            let fields: Vec<&str> = service.line.split_whitespace().collect();
            let name = fields[..2].join("/");
            let found = self.existing().services().map(|(found, _)| found).find(|found| found.name == name).cloned();
            match found {
                None => {
                    let seen = format!("there is no service {name} in master.cf: mail that is sent there is deferred");
                    let mend = self.setup();
                    self.mend(Status::Fail, (check(&name), &name), seen, mend);
                }
                Some(found) => self.service(&name, &service, &found),
            }
        }
    }

    fn service(&mut self, name: &str, needed: &Service, found: &existing::Service) {
        let before = self.findings.len();
        let fields: Vec<&str> = needed.line.split_whitespace().collect();
        // How many processes there may be is the site's own business, where it is not ours for a reason.
        let differs = |at: usize| at != 6 && found.fields.get(at).is_none_or(|field| field != fields[at]);
        if (2..8).any(differs) {
            let seen = format!("master.cf has `{}` where `{}` is needed", found.fields.join(" "), needed.line);
            let mend = self.then_reload("postconf", &format!("-M '{name}={}'", needed.line));
            self.mend(Status::Fail, (check(name), name), seen, mend);
        }
        for (option, value) in &needed.options {
            let now = self.existing().option(name, option);
            if now.is_some_and(|now| same(now, value)) {
                continue;
            }
            let is_set = match now {
                Some(now) => format!("-o {option}={now}"),
                None => format!("-o {option} is not set"),
            };
            let seen = format!("{is_set}, where {option}={value} is needed: {}", consequence(name, option));
            let mend = self.set_option(name, option, value);
            let status = if option == "syslog_name" { Status::Warn } else { Status::Fail };
            self.mend(status, (check(name), name), seen, mend);
        }
        if self.findings.len() == before {
            self.pass(check(name), name, needed.line.clone());
        }
    }
}
