//! The RPMs: what is in them, and what they do on a machine. That is a Debian, for which RHEL's packages are stubs; what
//! only RHEL and Fedora have is said where it matters.

mod contents;
mod life;

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use super::lab::process::run;
use super::lab::{self, Error};

pub fn trials() -> Vec<Trial> {
    vec![
        lab::trial("rpm::rpmlint", contents::rpmlint_finds_nothing),
        lab::trial("rpm::files", contents::files),
        lab::trial("rpm::size", contents::size),
        lab::trial("rpm::scriptlets", contents::scriptlets),
        lab::trial("rpm::requirements", contents::requirements),
        lab::trial("rpm::version", contents::version),
        lab::trial("rpm::life", life::life),
        lab::trial("rpm::update_helper", life::update_helper),
    ]
}

/// What rpm(8) says of a package file in this format.
fn query(package: &Path, format: &str) -> Result<String, Error> {
    let output = run(Command::new("rpm").args(["--query", "--queryformat", format, "--package"]).arg(package))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// What a package needs, but for features of rpm itself.
fn requirements(package: &Path) -> Result<Vec<String>, Error> {
    let names = query(package, "[%{REQUIRENAME}\n]")?;
    let mut names: Vec<_> = names.lines().filter(|name| !name.starts_with("rpmlib(")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}
