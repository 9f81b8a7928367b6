//! Whether a Postfix instance is wired as [`generate`](super::generate) says, and what of its other settings works
//! against that.
//!
//! What the instance is to look like is not said again here: it is generated for the instance as it is, and compared.
//! What is here is what each difference means, and what generated settings cannot show: the order in lists that the
//! site wrote itself, options in master.cf that override them, tables that come before ours, and what runs.

mod clients;
mod milters;
mod queue;
mod routes;
mod running;
mod services;
mod settings;
mod tables;

use std::path::Path;

use super::command::{self, CommandError, quoted};
use super::{Existing, Fragments, Names, Request, generate, list, master_cf};
use crate::address::AddressSet;
use crate::config::{Config, DEFAULT_POSTFIX_DIRECTORY};
use crate::finding::{Area, Finding, Status};
use crate::provider::Provider;

/// What is examined.
#[derive(Debug, Clone, Copy)]
pub struct Examined<'a> {
    /// Our configuration; its `postfix.config_directory` names the instance.
    pub config: &'a Config,
    /// Its provider.
    pub provider: &'a Provider,
    /// The senders in scope; `None` if they are not known.
    pub senders: Option<&'a AddressSet>,
    /// The command that brings everything into the state that [`generate`] gives.
    pub setup_command: &'a str,
}

/// Examines the instance. Blocks for as long as Postfix's commands take, some tenths of a second.
pub fn examine(examined: &Examined<'_>) -> Vec<Finding> {
    let directory = &examined.config.postfix.config_directory;
    let shown = directory.display().to_string();
    let finding = |status, seen: String| Finding::new(Area::MailServer, "postfix", &shown, status, seen);
    if !directory.join("main.cf").exists() {
        let seen = "there is no main.cf here; if Postfix is on another host, run doctor there";
        let mend = "[postfix]\nconfig_directory = \"/etc/postfix\"";
        return vec![finding(Status::Unknown, seen.to_owned()).mended_by(mend)];
    }
    let read = Existing::read(directory).and_then(|raw| Ok((raw.with_expanded_options(directory)?, raw)));
    let (expanded, existing) = match read {
        Ok(read) => read,
        Err(error @ CommandError::Start(..)) => return vec![finding(Status::Unknown, error.to_string())],
        Err(error) => return vec![finding(Status::Fail, error.to_string()).mended_by(check(directory))],
    };
    let version = existing.in_force("mail_version").unwrap_or("of unknown version");
    let mut findings = vec![finding(Status::Pass, format!("Postfix {version}"))];
    let request = Request {
        config: examined.config,
        provider: examined.provider,
        config_directory: directory,
        listeners: existing.listeners(),
        existing,
    };
    match Needed::generate(&request) {
        Ok(needed) => {
            let mut inspection = Inspection { examined, request: &request, expanded, needed, findings };
            inspection.all();
            inspection.findings
        }
        Err(error) => {
            findings.push(finding(Status::Fail, format!("no wiring can be generated: {error}")));
            findings
        }
    }
}

fn check(directory: &Path) -> String {
    format!("postfix -c {} check", quoted(&directory.display().to_string()))
}

/// What the instance is to look like.
struct Needed {
    fragments: Fragments,
    names: Names,
    services: Vec<master_cf::Service>,
}

impl Needed {
    fn generate(request: &Request<'_>) -> Result<Self, super::Error> {
        let names = Names::new(request)?;
        let services = match &names.routing {
            Some(routing) => master_cf::services(request, &names, routing)?,
            None => Vec::new(),
        };
        Ok(Self { fragments: generate(request)?, services, names })
    }

    /// The relay as a next hop, `[host]:port`; empty without a relay.
    fn relay_next_hop(&self) -> &str {
        self.names.routing.as_ref().map(|routing| routing.relay_next_hop.as_str()).unwrap_or_default()
    }
}

/// An examination under way.
struct Inspection<'a> {
    examined: &'a Examined<'a>,
    request: &'a Request<'a>,
    /// The instance as in `request`, with the options of services expanded.
    expanded: Existing,
    needed: Needed,
    findings: Vec<Finding>,
}

impl Inspection<'_> {
    /// Everything, in the order in which a message meets it.
    fn all(&mut self) {
        self.settings();
        self.repeated_settings();
        self.milters();
        self.overrides();
        self.services();
        self.tables();
        self.sender_table();
        self.transport_maps();
        self.former_routes();
        self.relay_as_client();
        self.trust_anchors();
        self.running();
        self.queue();
    }

    fn existing(&self) -> &Existing {
        &self.request.existing
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

    /// A command of Postfix for this instance, with the reload that puts a change in force.
    fn then_reload(&self, program: &str, arguments: &str) -> String {
        let directory = self.request.config_directory;
        let option = match directory == Path::new(DEFAULT_POSTFIX_DIRECTORY) {
            true => String::new(),
            false => format!(" -c {}", quoted(&directory.display().to_string())),
        };
        let reload = format!("postfix{option} reload");
        if program.is_empty() { reload } else { format!("{program}{option} {arguments} && {reload}") }
    }

    /// The command that sets a parameter in main.cf.
    fn set(&self, name: &str, value: &str) -> String {
        self.then_reload("postconf", &format!("-e {}", quoted(&format!("{name} = {value}"))))
    }

    /// The command that takes a parameter out of main.cf.
    fn unset(&self, name: &str) -> String {
        self.then_reload("postconf", &format!("-X {name}"))
    }

    /// The command that sets an option in master.cf.
    fn set_option(&self, service: &str, name: &str, value: &str) -> String {
        self.then_reload("postconf", &format!("-P {}", quoted(&format!("{service}/{name}={value}"))))
    }

    /// The command that takes an option out of master.cf.
    fn unset_option(&self, service: &str, name: &str) -> String {
        self.then_reload("postconf", &format!("-PX {}", quoted(&format!("{service}/{name}"))))
    }

    /// The command that does everything that setup does.
    fn setup(&self) -> String {
        self.examined.setup_command.to_owned()
    }

    fn look_up(&self, table: &str, key: &str) -> Result<Option<String>, CommandError> {
        command::look_up(self.request.config_directory, table, key)
    }

    /// The items of a list in force.
    fn in_force(&self, name: &str) -> Vec<&str> {
        list::split(self.existing().in_force(name).unwrap_or_default())
    }
}

/// The same list, however it is written.
fn same(one: &str, other: &str) -> bool {
    list::split(one) == list::split(other)
}
