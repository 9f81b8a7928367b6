//! Faults seeded into a good installation, and what `doctor` says of each. On the good one it has nothing to say.
//!
//! The faults stand in `*.faults`, whose README tells how to read them.

#[path = "../lab/mod.rs"]
mod lab;

mod installation;
mod table;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use installation::Installation;
use lab::Error;
use table::{Expected, Fault};

fn main() -> ExitCode {
    lab::main(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
        let mut trials = vec![lab::trial("a_good_installation", good)];
        for name in ["config", "sockets", "mail-server", "queue", "dns", "relay"] {
            let faults = table::read(&folder.join(name).with_extension("faults"))?;
            trials.push(lab::trial(&format!("faults_of_{name}"), move || seeded(name, &faults)));
        }
        Ok(trials)
    })
}

fn good() -> Result<(), Error> {
    let installation = Installation::new("good")?;
    let found = installation.doctor(&[])?;
    let areas: std::collections::BTreeSet<&str> = found.iter().map(|finding| finding.area.as_str()).collect();
    if areas.len() != 5 {
        return Err(format!("only {areas:?} were examined").into());
    }
    match difference(&found, &[]) {
        None => Ok(()),
        Some(difference) => Err(difference.into()),
    }
}

/// One installation, broken and mended again and again.
fn seeded(area: &str, faults: &[Fault]) -> Result<(), Error> {
    let mut installation = Installation::new(area)?;
    let mut wrong = String::new();
    for fault in faults {
        let areas: Vec<&str> = fault.expected.iter().map(|expected| expected.area.as_str()).collect();
        installation.break_by(&fault.steps).map_err(|error| format!("{}: {error}", fault.name))?;
        let found = installation.doctor(&areas)?;
        if let Some(difference) = difference(&found, &fault.expected) {
            writeln!(wrong, "== {}\n{difference}", fault.name)?;
        }
        installation.mend().map_err(|error| format!("after {}: {error}", fault.name))?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

/// How the findings that are no pass differ from the expected ones.
fn difference(found: &[installation::Found], expected: &[Expected]) -> Option<String> {
    let mut left: Vec<_> = found.iter().filter(|finding| finding.status != "pass").collect();
    let mut text = String::new();
    for expected in expected {
        match left.iter().position(|finding| expected.fits(finding)) {
            Some(at) => drop(left.remove(at)),
            None => text.push_str(&format!("  missing:    {expected}\n")),
        }
    }
    for finding in left {
        text.push_str(&format!("  unexpected: {finding}\n"));
    }
    (!text.is_empty()).then_some(text)
}
