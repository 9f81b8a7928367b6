//! Whether a Sendmail is wired as [`generate`] says, and what of its other settings works against that.
//!
//! What sendmail.cf is to look like is not said again here: it is generated for this host as it is, built as setup builds
//! it, and compared. What is here is what each difference means, and what a comparison cannot show: who signs before us,
//! which files cannot be read, what runs, and what Sendmail itself says of addresses (`sendmail -bt`).

mod access;
mod addresses;
mod files;
mod host;
mod listeners;
mod milters;
mod queue;
mod running;
mod socketmap;
mod wiring;

use std::path::PathBuf;

use super::cf::Cf;
use super::{Existing, Fragments, Request, generate};
use crate::config::Config;
use crate::finding::{Area, Finding, Status};
use crate::mta::postfix::quoted;
use crate::provider::Provider;

/// What is examined.
#[derive(Debug, Clone, Copy)]
pub struct Examined<'a> {
    /// Our configuration; its `sendmail` names the files.
    pub config: &'a Config,
    /// Its provider.
    pub provider: &'a Provider,
    /// An address whose mail goes to the relay; `None` if none is known.
    pub sender: Option<&'a str>,
    /// The command that brings everything into the state that [`generate`] gives.
    pub setup_command: &'a str,
}

/// Examines Sendmail. Blocks for as long as Sendmail and m4(1) take, some tenths of a second; on a host without a name
/// with a dot Sendmail takes a minute, and is not waited for.
pub fn examine(examined: &Examined<'_>) -> Vec<Finding> {
    let directory = &examined.config.sendmail.directory;
    let shown = directory.display().to_string();
    let finding = |status, seen: String| Finding::new(Area::MailServer, "sendmail", &shown, status, seen);
    let existing = match Existing::read(&examined.config.sendmail) {
        Ok(existing) => existing,
        Err(error) => return vec![finding(Status::Unknown, error.to_string()).mended_by("run doctor as root")],
    };
    let Some(text) = &existing.cf else {
        let seen = "there is no sendmail.cf here; if Sendmail is on another host, run doctor there";
        let mend = "[sendmail]\ndirectory = \"/etc/mail\"";
        return vec![finding(Status::Unknown, seen.to_owned()).mended_by(mend)];
    };
    let request = Request { config: examined.config, provider: examined.provider, existing: &existing };
    let needed = match generate(&request) {
        Ok(needed) => needed,
        Err(error) => return vec![finding(Status::Fail, format!("no wiring can be generated: {error}"))],
    };
    let mut inspection = Inspection {
        examined,
        request: &request,
        cf_file: directory.join("sendmail.cf"),
        cf: Cf::parse(text),
        needed,
        has_routes: true,
        asks_daemon: true,
        rebuild_first: false,
        findings: Vec::new(),
    };
    inspection.all();
    inspection.findings
}

/// An examination under way.
struct Inspection<'a> {
    examined: &'a Examined<'a>,
    request: &'a Request<'a>,
    /// Where sendmail.cf is.
    cf_file: PathBuf,
    /// What it says.
    cf: Cf,
    /// What is to be in sendmail.mc and the access map.
    needed: Fragments,
    /// True if it has the rules that act on what the milter marks.
    has_routes: bool,
    /// True if it asks the daemon as it should where mail goes that the milter has not marked.
    asks_daemon: bool,
    /// True if sendmail.mc is as it should be, and sendmail.cf was not made of it.
    rebuild_first: bool,
    findings: Vec<Finding>,
}

impl Inspection<'_> {
    /// Everything, in the order in which a message meets it.
    fn all(&mut self) {
        // With nothing of ours in it, there is nothing to compare.
        if !self.is_set_up() {
            return self.queue();
        }
        let answers = self.program();
        self.socketmap_setting();
        self.wiring();
        self.milters();
        self.listeners();
        self.local_mailers();
        self.canonification();
        self.submission();
        self.tls_files();
        if answers {
            self.maps();
            self.addresses();
        }
        self.running();
        self.queue();
    }

    fn add(&mut self, check: &'static str, subject: impl Into<String>, status: Status, seen: impl Into<String>) {
        self.findings.push(Finding::new(Area::MailServer, check, subject, status, seen));
    }

    fn pass(&mut self, check: &'static str, subject: impl Into<String>, seen: impl Into<String>) {
        self.add(check, subject, Status::Pass, seen);
    }

    /// Adds a finding that has to be mended.
    fn mend(
        &mut self,
        status: Status,
        (check, subject): (&'static str, &str),
        seen: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.findings.push(Finding::new(Area::MailServer, check, subject, status, seen).mended_by(mend));
    }

    /// The command that does everything that setup does.
    fn setup(&self) -> String {
        self.examined.setup_command.to_owned()
    }

    /// What brings our part of sendmail.cf into order: setup, or what makes it of a sendmail.mc that is in order.
    fn mend_cf(&self) -> String {
        if self.rebuild_first { self.rebuild() } else { self.setup() }
    }

    /// The commands that make sendmail.cf anew and put it in force.
    fn rebuild(&self) -> String {
        let directory = &self.examined.config.sendmail.directory;
        let shown = quoted(&directory.display().to_string());
        let make = match directory.join("Makefile").is_file() {
            true => format!("make -C {shown}"),
            false => format!("cd {shown} && m4 sendmail.mc > sendmail.cf"),
        };
        format!("{make} && {}", self.restart())
    }
}
