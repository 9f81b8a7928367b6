//! A good installation in the lab that can be broken and mended.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::lab::daemon::{Daemon, program};
use super::lab::postfix::Postfix;
use super::lab::process::{run, wait_for};
use super::lab::sendmail::Sendmail;
use super::lab::site::{MailServer, Site};
use super::lab::{Error, namespace};
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

/// What the relay and the domains publish.
const RECORDS: &str = include_str!("records.txt");

/// A mail server that can be broken and mended.
pub trait Breakable: MailServer {
    /// The daemon's configuration.
    const CONFIG: &'static str;
    /// Its commands for this instance, and where everything is: what each step of a shell begins with.
    const PRELUDE: &'static str;

    /// Has it read its configuration again; that may fail, for some faults are such that it cannot.
    fn read_again(&mut self) -> Result<(), Error>;

    /// Stops it.
    fn stop(&mut self);

    /// Starts it if it does not run, and empties its queue. Its files have been put back.
    fn restore(&mut self, dir: &Path) -> Result<(), Error>;
}

/// What is put back after each fault, besides what is started anew.
const KEPT: [&str; 4] = ["etc", "state", "tls", "conbool-milter.toml"];

pub struct Installation<M: Breakable = Postfix> {
    site: Site<M>,
    records: Vec<String>,
}

impl Breakable for Postfix {
    const CONFIG: &'static str = include_str!("installation.toml");
    const PRELUDE: &'static str = r#"
set -eu
cd "$LAB"
postconf() { command postconf -c "$LAB/etc" "$@"; }
postmap() { command postmap -c "$LAB/etc" "$@"; }
postfix() { command postfix -c "$LAB/etc" "$@"; }
"#;

    fn read_again(&mut self) -> Result<(), Error> {
        Ok(self.reload()?)
    }

    fn stop(&mut self) {
        let _ = self.control("stop");
    }

    fn restore(&mut self, dir: &Path) -> Result<(), Error> {
        if !runs(&dir.join("queue/pid/master.pid")) {
            shell::<Self>(dir, "postfix start")?;
        }
        shell::<Self>(dir, "postsuper -c $LAB/etc -d ALL")?;
        Ok(self.reload()?)
    }
}

impl Breakable for Sendmail {
    const CONFIG: &'static str = include_str!("sendmail.toml");
    const PRELUDE: &'static str = r#"
set -eu
cd "$LAB"
FOLDER=/usr/local/lib/conbool-milter-tests/sendmail
makemap() { "$FOLDER/usr/sbin/makemap" -C "$LAB/etc/sendmail.cf" "$@"; }
sendmail() { "$FOLDER/usr/libexec/sendmail/sendmail" -D "$LAB/mail.log" -d89.8 "$@"; }
remake() { m4 "$LAB/etc/sendmail.mc" > "$LAB/etc/sendmail.cf"; }
"#;

    fn read_again(&mut self) -> Result<(), Error> {
        Breakable::stop(self);
        self.run()
    }

    fn stop(&mut self) {
        Sendmail::stop(self);
    }

    fn restore(&mut self, dir: &Path) -> Result<(), Error> {
        shell::<Self>(dir, "rm -f queue/mail/?f* queue/submission/?f*")?;
        self.read_again()
    }
}

/// Runs commands in the installation's directory.
fn shell<M: Breakable>(dir: &Path, text: &str) -> Result<(), Error> {
    run(Command::new("sh").arg("-c").arg(format!("{}{text}", M::PRELUDE)).env("LAB", dir)).map(drop)?;
    Ok(())
}

/// True if the process runs whose number is in a file.
fn runs(file: &Path) -> bool {
    let id = fs::read_to_string(file).unwrap_or_default();
    !id.trim().is_empty() && Path::new("/proc").join(id.trim()).exists()
}

impl<M: Breakable> Installation<M> {
    pub fn new(name: &str) -> Result<Self, Error> {
        let mut site = Site::<M>::configured(name, M::CONFIG, "", "")?;
        site.lab.dns.serve_records(&records())?;
        let installation = Self { site, records: records() };
        for kept in KEPT {
            run(Command::new("cp")
                .arg("-a")
                .arg(installation.path(kept))
                .arg(installation.path(&format!("good-{kept}"))))?;
        }
        installation.wait_until_ready()?;
        Ok(installation)
    }

    /// Waits until the daemon is ready for more than connections.
    fn wait_until_ready(&self) -> Result<(), Error> {
        let starts = |found: &Found| found.check == "telemetry" && found.seen.contains("starting");
        wait_for("the daemon", || {
            self.doctor(&["sockets"]).is_ok_and(|found| !found.iter().any(starts)).then_some(())
        })?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.lab.dir.join(name)
    }

    /// Makes the mail server's log the one that syslog writes.
    pub fn show_log_as_syslogs(&self) -> Result<(), Error> {
        Ok(namespace::bind(&self.path(""), Path::new("/var/log"))?)
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

    /// Does what a fault says. After the last command of a shell the mail server reads its configuration again.
    pub fn break_by(&mut self, steps: &[Step]) -> Result<(), Error> {
        let last = steps.iter().rposition(|step| matches!(step, Step::Shell(_)));
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Shell(text) | Step::Unnoticed(text) => self.shell(text)?,
                Step::Lab(text) => self.lab(text)?,
            }
            if last == Some(at) {
                // Some faults are such that it cannot.
                let _ = self.site.mail_server.read_again();
            }
        }
        Ok(())
    }

    fn shell(&self, text: &str) -> Result<(), Error> {
        shell::<M>(&self.site.lab.dir, text)
    }

    /// Does what a finding says: a command, or a setting of the configuration, which the daemon then reads again.
    pub fn take_remedy(&mut self, mend: &str) -> Result<(), Error> {
        if let Ok(settings) = mend.parse::<toml::Table>() {
            let file = self.path("conbool-milter.toml");
            let mut config: toml::Table = fs::read_to_string(&file)?.parse()?;
            merge(&mut config, settings);
            fs::write(&file, toml::to_string(&config)?)?;
            return Ok(self.site.daemon.signal("HUP")?);
        }
        self.shell(mend)?;
        self.site.mail_server.read_again()
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
            ("mail-server", "stops") => self.site.mail_server.stop(),
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
        let dir = self.site.lab.dir.clone();
        self.site.mail_server.restore(&dir)?;
        self.shell("chown daemon:postfix queue/conbool && chmod 2750 queue/conbool")?;
        // A running daemon makes its sockets only once.
        self.shell("cd queue/conbool; for good in good-*.sock; do test ! -e $good || mv -f $good ${good#good-}; done")?;
        if self.site.daemon.ended() {
            self.shell("rm -f queue/conbool/*.sock")?;
            self.site.daemon = Daemon::start(&self.path("conbool-milter.toml"), &self.path("daemon.log"))?;
        }
        self.site.daemon.signal("CONT")?;
        self.shell("chown daemon:postfix queue/conbool/*.sock && chmod 660 queue/conbool/*.sock")?;
        self.records = records();
        self.site.lab.dns.serve_records(&self.records)?;
        self.wait_until_ready()
    }
}

/// Puts settings into a configuration, each in its section, in the place of what is there.
fn merge(config: &mut toml::Table, settings: toml::Table) {
    for (key, value) in settings {
        match (config.get_mut(&key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(settings)) => merge(section, settings),
            (_, value) => drop(config.insert(key, value)),
        }
    }
}

fn records() -> Vec<String> {
    RECORDS.lines().map(str::to_owned).collect()
}
