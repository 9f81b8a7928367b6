//! `conbool-milter doctor`: what it says of good and of bad records and relays, and that nothing makes it hang.

#[path = "../lab/mod.rs"]
mod lab;

mod dns;
mod relay;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use lab::Error;
use lab::daemon::program;
use serde_json::Value;

fn main() -> ExitCode {
    lab::main(|| {
        let mut trials = dns::trials();
        trials.extend(relay::trials());
        trials.extend(report::trials());
        Ok(trials)
    })
}

/// One finding, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    check: String,
    subject: String,
    status: String,
    seen: String,
    mend: String,
}

impl Finding {
    fn line(&self) -> String {
        format!("{} {} {}: {}", self.status, self.check, self.subject, self.seen)
    }
}

/// The keys of a configuration that doctor has nothing to say against: section, key, value.
fn good_config() -> BTreeMap<(String, String), String> {
    let keys = [
        ("", "provider", "\"conbool\""),
        ("", "domains", "[\"customer.test\"]"),
        ("", "relay_networks", "[\"127.0.3.1\"]"),
        ("", "socket", "\"inet:127.0.0.1:8891\""),
        ("lock_down", "mx_hosts", "[\"mx1.provider.test\", \"mx2.provider.test\"]"),
        ("doctor", "spf_include", "[\"_spf.provider.test\"]"),
        ("doctor", "direct_addresses", "[\"192.0.2.25\", \"2001:db8::25\"]"),
        ("doctor", "dkim_selectors", "[\"mail\"]"),
        ("doctor", "ownership_txt", "\"provider-verification=42\""),
    ];
    keys.into_iter().map(|(section, key, value)| ((section.into(), key.into()), value.into())).collect()
}

fn write_config(dir: &Path, keys: &BTreeMap<(String, String), String>) -> Result<PathBuf, Error> {
    let mut text = String::new();
    let mut current = "";
    for ((section, key), value) in keys {
        if section != current {
            text += &format!("[{section}]\n");
            current = section;
        }
        text += &format!("{key} = {value}\n");
    }
    let file = dir.join("doctor.toml");
    fs::write(&file, text)?;
    Ok(file)
}

/// Runs doctor in the calling thread's network.
fn doctor(config: &Path, arguments: &[&str]) -> Result<Output, Error> {
    Ok(Command::new(program()?).arg("doctor").args(arguments).arg("--config").arg(config).output()?)
}

/// The findings of a run with `--json`, and its exit code.
fn findings(config: &Path, arguments: &[&str]) -> Result<(Vec<Finding>, i32), Error> {
    let output = doctor(config, &[arguments, &["--json"]].concat())?;
    let json: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}:\n{}{}", text(&output.stdout), text(&output.stderr)))?;
    let part = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let list = json["findings"].as_array().ok_or("no findings")?;
    let findings = list.iter().map(|finding| Finding {
        check: part(finding, "check"),
        subject: part(finding, "subject"),
        status: part(finding, "status"),
        seen: part(finding, "seen"),
        mend: part(finding, "mend"),
    });
    Ok((findings.collect(), output.status.code().unwrap_or(-1)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exit code that findings lead to.
fn code_of(findings: &[Finding]) -> i32 {
    let any = |status: &str| findings.iter().any(|finding| finding.status == status);
    if any("fail") {
        1
    } else if any("unknown") {
        3
    } else {
        0
    }
}

/// An expected finding: `STATUS CHECK: part of what is seen`, and lines of what mends it.
#[derive(Debug, Clone)]
struct Expected {
    head: String,
    seen: String,
    mend: Vec<String>,
}

impl Expected {
    fn parse(line: &str) -> Result<Self, Error> {
        let (head, seen) = line.split_once(": ").ok_or_else(|| format!("no finding: {line:?}"))?;
        Ok(Self { head: head.trim().into(), seen: seen.trim().into(), mend: Vec::new() })
    }

    fn fits(&self, finding: &Finding) -> bool {
        let lines: Vec<&str> = finding.mend.lines().collect();
        self.head == format!("{} {}", finding.status, finding.check)
            && finding.seen.contains(&self.seen)
            && self.mend.iter().all(|line| lines.contains(&line.as_str()))
    }
}

/// What is wrong, unless every expected finding is there and all others pass.
fn compare(findings: &[Finding], expected: &[Expected]) -> Vec<String> {
    let mut rest: Vec<&Finding> = findings.iter().collect();
    let mut wrong = Vec::new();
    for expected in expected {
        match rest.iter().position(|finding| expected.fits(finding)) {
            Some(at) => drop(rest.remove(at)),
            None => wrong.push(format!(
                "missing: {}: {}\n    {}",
                expected.head,
                expected.seen,
                expected.mend.join("\n    ")
            )),
        }
    }
    let bad = rest.iter().filter(|finding| finding.status != "pass");
    wrong.extend(
        bad.map(|finding| format!("not expected: {}\n    {}", finding.line(), finding.mend.replace('\n', "\n    "))),
    );
    wrong
}
