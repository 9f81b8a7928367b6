//! Sendmail itself, and what of this host it depends on.

use std::fs;

use super::Inspection;
use crate::config::LOCAL_MAILERS;
use crate::finding::Status;
use crate::mta::sendmail::Compiled;

/// The versions that this was tried with, and those between.
const KNOWN: std::ops::RangeInclusive<(u32, u32)> = (8, 15)..=(8, 18);

/// Before this version a bare line feed could end a message.
const STRICT_LINES: (u32, u32) = (8, 18);

impl Inspection<'_> {
    /// Asks Sendmail for its version and what it was compiled with. False if it cannot be asked anything.
    pub(super) fn program(&mut self) -> bool {
        const CHECK: &str = "sendmail";
        let program = self.examined.config.sendmail.program.display().to_string();
        let Some(compiled) = self.request.existing.program.clone() else {
            let seen = "is not there, or is no Sendmail";
            let mend = "[sendmail]\nprogram = \"/usr/sbin/sendmail\"";
            self.mend(Status::Fail, (CHECK, &program), seen, mend);
            return false;
        };
        match KNOWN.contains(&compiled.release()) {
            true => self.pass(CHECK, &program, format!("Sendmail {}", compiled.version)),
            false => {
                let seen = format!("Sendmail {}: the rules were tried with 8.15 to 8.18 only", compiled.version);
                self.mend(Status::Warn, (CHECK, &program), seen, "update Sendmail, or conbool-milter");
            }
        }
        self.bare_newlines(&compiled);
        match self.ask(&["$j"]) {
            Ok(answers) => {
                let host = answers.concat().concat();
                self.masquerade(&host.to_ascii_lowercase());
                true
            }
            Err(error) => {
                let mend = self.mend_cf();
                self.mend(Status::Fail, (CHECK, &program), error, mend);
                false
            }
        }
    }

    /// A message smuggled through the relay has the relay's trust.
    fn bare_newlines(&mut self, compiled: &Compiled) {
        const CHECK: &str = "bare-newline";
        let program = &self.examined.config.sendmail.program;
        // Distributions have added to older versions what newer ones do; these have the words of the refusal.
        const REFUSAL: &[u8] = b"Bare linefeed (LF) not allowed";
        let refuses = compiled.release() >= STRICT_LINES
            || fs::read(program).is_ok_and(|bytes| bytes.windows(REFUSAL.len()).any(|window| window == REFUSAL));
        let program = program.display().to_string();
        match refuses {
            true => self.pass(CHECK, program, "a bare line feed does not end a message"),
            false => {
                let seen = "a bare line feed may end a message: one smuggled through the relay has the relay's trust";
                self.mend(Status::Warn, (CHECK, &program), seen, "update Sendmail to 8.18.1 at least");
            }
        }
    }

    /// Masquerading comes after the milter: it sees the host's own name.
    fn masquerade(&mut self, host: &str) {
        const CHECK: &str = "masquerade";
        let Some(name) = self.cf.letter('M').filter(|name| !name.is_empty()).map(str::to_owned) else { return };
        if self.examined.provider.relay.is_none() || host.is_empty() || self.is_hosted(host) {
            return self.pass(CHECK, name, "the milter knows mail of local users by the host's name");
        }
        let seen = format!(
            "MASQUERADE_AS comes after the milter, which sees mail of local users as from {host}, a domain that is not \
             hosted: it goes past the relay"
        );
        let domains: Vec<String> = self
            .examined
            .config
            .domains
            .iter()
            .map(String::as_str)
            .chain([host])
            .map(|domain| format!("\"{domain}\""))
            .collect();
        self.mend(Status::Warn, (CHECK, &name), seen, format!("domains = [{}]", domains.join(", ")));
    }

    /// Mailers that deliver on this host, but are not among those that the milter knows as such.
    pub(super) fn local_mailers(&mut self) {
        const CHECK: &str = "local-mailers";
        if self.examined.provider.relay.is_none() {
            return;
        }
        let local = self.cf.mailers().filter(|mailer| mailer.has_flag('l')).map(|mailer| mailer.name);
        let named = &self.examined.config.sendmail.local_mailers;
        let unknown: Vec<String> =
            local.filter(|name| !LOCAL_MAILERS.contains(&name.as_str()) && !named.contains(name)).collect();
        if unknown.is_empty() {
            return self.pass(CHECK, "", "the milter knows all mailers that deliver on this host");
        }
        let names: Vec<String> = named.iter().chain(&unknown).map(|name| format!("\"{name}\"")).collect();
        let seen = format!(
            "mailers with the flag l in sendmail.cf that the configuration does not know: {}; what they deliver is taken \
             for mail to other sites",
            unknown.join(", ")
        );
        let mend = format!("[sendmail]\nlocal_mailers = [{}]", names.join(", "));
        self.mend(Status::Fail, (CHECK, ""), seen, mend);
    }

    /// How addresses in header fields are completed.
    pub(super) fn canonification(&mut self) {
        let asks =
            self.cf.rules("Canonify2").any(|rule| rule.starts_with("R$* $| $* < @ $* > $*\t") && rule.contains("$["));
        let seen = match asks {
            true => {
                "names in header fields are looked up in DNS: while that fails, messages wait; FEATURE(`nocanonify')dnl in \
                 sendmail.mc leaves them as they are"
            }
            false => "names in header fields are not looked up",
        };
        self.pass("canonify", "", seen);
    }

    /// Whether programs on this host hand their mail to the daemon, whose milters are asked, or write it into the queue.
    pub(super) fn submission(&mut self) {
        const CHECK: &str = "submission";
        let file = self.examined.config.sendmail.directory.join("submit.cf");
        let shown = file.display().to_string();
        if file.is_file() {
            return self.pass(CHECK, shown, "programs on this host hand their mail to the daemon");
        }
        let seen = "is not there: what programs on this host send is not judged, and goes by its sender alone";
        self.mend(Status::Warn, (CHECK, &shown), seen, "FEATURE(`msp')dnl in submit.mc, and m4 submit.mc > submit.cf");
    }
}
