//! A good installation in the lab that can be broken and mended.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::lab::Error;
use super::lab::daemon::{Daemon, program};
use super::lab::process::{run, wait_for};
use super::lab::site::Site;
use super::table::Step;

/// A finding of `doctor --json`.
#[derive(Debug, Deserialize)]
pub struct Found {
    pub area: String,
    pub check: String,
    pub subject: String,
    pub status: String,
    pub seen: String,
    pub mend: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { area, check, subject, status, seen, mend } = self;
        write!(f, "{status} {area} {check} | {subject} | {seen} | {mend}")
    }
}

#[derive(Debug, Deserialize)]
struct Report {
    findings: Vec<Found>,
}

/// What is put back after each fault, besides what is started anew.
const KEPT: [&str; 4] = ["etc", "state", "tls", "conbool-milter.toml"];

/// What the relay and the domains publish.
const RECORDS: &str = include_str!("records.txt");

/// The commands of Postfix for this instance, and where everything is.
const PRELUDE: &str = r#"
set -eu
cd "$LAB"
postconf() { command postconf -c "$LAB/etc" "$@"; }
postmap() { command postmap -c "$LAB/etc" "$@"; }
postfix() { command postfix -c "$LAB/etc" "$@"; }
"#;

pub struct Installation {
    site: Site,
    records: Vec<String>,
}

impl Installation {
    pub fn new(name: &str) -> Result<Self, Error> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
        let config = fs::read_to_string(folder.join("installation.toml"))?;
        let mut site = Site::configure(name, &config, "", "")?;
        site.lab.dns.serve_records(&records())?;
        let installation = Self { site, records: records() };
        for kept in KEPT {
            run(Command::new("cp")
                .arg("-a")
                .arg(installation.path(kept))
                .arg(installation.path(&format!("good-{kept}"))))?;
        }
        Ok(installation)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.lab.dir.join(name)
    }

    /// What a host of the lab has taken.
    pub fn received_by(&self, host: &str) -> Vec<String> {
        let received = self.site.lab.host(host).received();
        received.iter().map(|message| String::from_utf8_lossy(&message.message).into_owned()).collect()
    }

    /// What doctor finds with these arguments.
    pub fn doctor(&self, arguments: &[&str]) -> Result<Vec<Found>, Error> {
        let mut command = Command::new(program()?);
        command
            .arg("--config")
            .arg(self.path("conbool-milter.toml"))
            .args(["doctor", "--json", "--timeout", "8"])
            .args(arguments);
        let output = command.output()?;
        let report: Report = serde_json::from_slice(&output.stdout).map_err(|error| {
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            format!("doctor {arguments:?}: {error}\n{out}{err}")
        })?;
        let any = |status: &str| report.findings.iter().any(|finding| finding.status == status);
        let code = if any("fail") { 1 } else { if any("unknown") { 3 } else { 0 } };
        if output.status.code() != Some(code) {
            return Err(format!("doctor exited with {} instead of {code}", output.status).into());
        }
        Ok(report.findings)
    }

    /// Does what a fault says. Postfix reads its configuration again.
    pub fn break_by(&mut self, steps: &[Step]) -> Result<(), Error> {
        let reload = steps.iter().any(|step| matches!(step, Step::Shell(_)));
        for step in steps {
            match step {
                Step::Shell(text) => self.shell(text)?,
                Step::Lab(text) => self.lab(text)?,
            }
        }
        if reload {
            // Some faults are such that it cannot.
            let _ = self.site.mail_server.reload();
        }
        Ok(())
    }

    fn shell(&self, text: &str) -> Result<(), Error> {
        let dir = &self.site.lab.dir;
        run(Command::new("sh").arg("-c").arg(format!("{PRELUDE}{text}")).env("LAB", dir)).map(drop)?;
        Ok(())
    }

    fn lab(&mut self, text: &str) -> Result<(), Error> {
        let (what, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (what, rest) {
            ("daemon", signal) => {
                self.site.daemon.signal(signal)?;
                if !matches!(signal, "STOP" | "HUP") {
                    wait_for("the daemon's end", || self.site.daemon.ended().then_some(()))?;
                }
            }
            ("dns", "fails") => self.site.lab.dns.fail()?,
            ("dns", "hangs") => self.site.lab.dns.hang()?,
            // `dns - NAME TYPE` takes all such records away, `dns + NAME TYPE VALUE` adds one.
            ("dns", change) => {
                match change.split_at_checked(2) {
                    Some(("- ", gone)) => self.records.retain(|record| !record.starts_with(&format!("{gone} "))),
                    Some(("+ ", record)) => self.records.push(record.to_owned()),
                    _ => return Err(format!("no such step: {text}").into()),
                }
                self.site.lab.dns.serve_records(&self.records)?;
            }
            _ => return Err(format!("no such step: {text}").into()),
        }
        Ok(())
    }

    /// Puts back what was good, and starts what does not run.
    pub fn mend(&mut self) -> Result<(), Error> {
        for kept in KEPT {
            let (good, place) = (self.path(&format!("good-{kept}")), self.path(kept));
            run(Command::new("rm").arg("-rf").arg(&place))?;
            run(Command::new("cp").arg("-a").arg(&good).arg(&place))?;
        }
        if !self.runs("queue/pid/master.pid") {
            self.shell("postfix start")?;
        }
        self.shell("postsuper -c $LAB/etc -d ALL")?;
        self.site.mail_server.reload()?;
        self.shell("chown daemon:postfix queue/conbool && chmod 2750 queue/conbool")?;
        if self.site.daemon.ended() {
            self.shell("rm -f queue/conbool/*.sock")?;
            self.site.daemon = Daemon::start(&self.path("conbool-milter.toml"), &self.path("daemon.log"))?;
        }
        self.site.daemon.signal("CONT")?;
        self.shell("chown daemon:postfix queue/conbool/*.sock && chmod 660 queue/conbool/*.sock")?;
        self.records = records();
        Ok(self.site.lab.dns.serve_records(&self.records)?)
    }

    /// True if the process runs whose number is in a file.
    fn runs(&self, file: &str) -> bool {
        let id = fs::read_to_string(self.path(file)).unwrap_or_default();
        !id.trim().is_empty() && Path::new("/proc").join(id.trim()).exists()
    }
}

fn records() -> Vec<String> {
    RECORDS.lines().map(str::to_owned).collect()
}
