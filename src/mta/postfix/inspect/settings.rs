//! main.cf.

use std::collections::BTreeMap;
use std::fs;

use super::{Inspection, list, same};
use crate::finding::Status;

/// What a setting is for: its check, and what happens where it is not as needed.
fn meaning(setting: &str) -> (&'static str, Status, &'static str) {
    use Status::{Fail, Warn};
    match setting {
        "sender_dependent_default_transport_maps" => {
            ("sender-table", Fail, "mail of senders in scope goes past the relay unless the milter marks it")
        }
        "smtpd_milters" => ("milter", Fail, "no message that comes by SMTP is judged"),
        "non_smtpd_milters" => ("milter", Fail, "no message that programs on this host send is judged"),
        "milter_header_checks" => ("routing-header", Fail, "the milter's verdicts change no route"),
        "smtpd_restriction_classes"
        | "conbool_handback"
        | "smtpd_relay_restrictions"
        | "smtpd_recipient_restrictions" => {
            ("hand-back", Fail, "the relay cannot hand back mail of hosted senders, or can hand in anybody's")
        }
        "smtpd_forbid_bare_newline" | "smtpd_data_restrictions" => {
            ("bare-newline", Fail, "a message smuggled through the relay has the relay's trust")
        }
        "conbool-split_destination_recipient_limit" => {
            ("recipient-limit", Fail, "one recipient's route is the route of all recipients of a message")
        }
        "smtpd_tls_ask_ccert" | "smtpd_tls_CAfile" => {
            ("client-certificate", Fail, "the relay's certificate is not seen, and its mail is a stranger's")
        }
        _ => ("transport-limits", Warn, "the transport works with other limits than it was made for"),
    }
}

impl Inspection<'_> {
    /// Compares what main.cf has with what is needed.
    pub(super) fn settings(&mut self) {
        for (name, needed) in list::settings(&self.needed.fragments.main_cf) {
            let (check, status, consequence) = meaning(&name);
            let written = self.existing().is_written(&name).then(|| self.existing().written(&name).unwrap_or_default());
            // What nobody wrote may be right by default.
            let value = written.or_else(|| self.existing().in_force(&name));
            if value.is_some_and(|value| same(value, &needed)) {
                self.pass(check, &name, needed);
            } else if name == "smtpd_milters" && self.is_attached_behind_the_filter() {
                self.pass(check, &name, "the milter is attached to the listener behind content_filter");
            } else {
                let seen = match value {
                    Some(value) if !value.is_empty() => format!("{name} = {value}: {consequence}"),
                    _ => format!("{name} is not set: {consequence}"),
                };
                let mend = self.set(&name, &needed);
                self.mend(status, (check, &name), seen, mend);
            }
        }
        let protocol = self.existing().in_force("milter_protocol").and_then(|version| version.parse::<u32>().ok());
        if let Some(version) = protocol.filter(|version| *version < 6) {
            let seen = format!("milter_protocol = {version}: the milter needs 6, and mail gets a temporary error");
            let mend = self.unset("milter_protocol");
            self.mend(Status::Fail, ("milter-protocol", ""), seen, mend);
        }
        if self.existing().in_force("smtpd_forbid_bare_newline").is_none() {
            let seen = "this Postfix has no smtpd_forbid_bare_newline; reject_unauth_pipelining is a weaker guard";
            let mend = "update Postfix to 3.9, 3.8.5, 3.7.10, 3.6.14 or 3.5.24 at least";
            self.mend(Status::Warn, ("bare-newline", "smtpd_forbid_bare_newline"), seen, mend);
        }
    }

    /// Looks for settings that main.cf has more than once.
    ///
    /// Each process of Postfix warns of them. Where the log is written by postlogd(8), which is such a process too, many
    /// warnings fill its socket, and it waits for itself.
    pub(super) fn repeated_settings(&mut self) {
        const CHECK: &str = "repeated-settings";
        let file = self.request.config_directory.join("main.cf");
        let Ok(text) = fs::read_to_string(&file) else { return };
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for (name, _) in list::settings(&text) {
            *times.entry(name).or_default() += 1;
        }
        let repeated: Vec<&str> =
            times.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name.as_str()).collect();
        if repeated.is_empty() {
            return self.pass(CHECK, "", "main.cf has each setting once");
        }
        let names = repeated.join(", ");
        let seen = format!("{} has more than once, and the last time counts: {names}", file.display());
        let mend =
            format!("take out the earlier lines of {names}; with maillog_file they can keep a reload from ending");
        self.mend(Status::Warn, (CHECK, ""), seen, mend);
    }
}
