//! What has to be in order before a release, besides that the program works: what it is made of keeps to
//! packaging/deny.toml, the version is the same wherever it stands (packaging/RELEASING.md), and the scripts are sound.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The result of some of cargo-deny's checks.
fn deny(checks: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .current_dir(file(""))
        .args(["deny", "--offline", "--locked", "--color", "never", "--config", "packaging/deny.toml", "check"])
        .args(checks)
        .output()
        .unwrap()
}

/// What it said, with what to do if it did not run at all.
fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    match said.contains("no such command") {
        true => format!("{said}cargo-deny is needed: make dependencies"),
        false => said.into_owned(),
    }
}

#[test]
fn licences_versions_and_sources_of_dependencies_are_allowed() {
    let output = deny(&["licenses", "bans", "sources"]);
    assert!(output.status.success(), "{}", said(&output));
}

/// The only check that needs something from outside, RustSec's database as `cargo deny fetch db` leaves it: without it,
/// there is nothing to compare with.
#[test]
fn no_dependency_has_a_known_vulnerability() {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap();
    // cargo-deny makes the folder, and a lock in it, in any case.
    let mut databases = fs::read_dir(home.join("advisory-dbs")).into_iter().flatten().flatten();
    if databases.any(|database| database.path().is_dir()) {
        let output = deny(&["advisories"]);
        assert!(output.status.success(), "{}", said(&output));
    } else {
        println!("not compared with known vulnerabilities: `cargo deny fetch db` gets their database");
    }
}

#[test]
fn the_debian_changelog_begins_with_the_version() {
    let changelog = read("packaging/debian/changelog");
    let first = changelog.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("conbool-milter ({VERSION}-")), "{first}");
}

#[test]
fn the_changelog_has_no_other_version_as_its_newest() {
    let changelog = read("CHANGELOG.md");
    let mut sections = changelog.lines().filter_map(|line| line.strip_prefix("## ["));
    assert_eq!(sections.next(), Some("Unreleased]"));
    // Before the first release there is none.
    if let Some(newest) = sections.next() {
        assert!(newest.starts_with(&format!("{VERSION}] - ")), "{newest}");
    }
}

#[test]
fn shellcheck_finds_nothing() {
    let mut scripts = Vec::new();
    for folder in ["packaging", "packaging/debian", "tests", "tests/packages", ".ci"] {
        for entry in fs::read_dir(file(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            // Parts of scripts, for comparison.
            let is_script = path.is_file() && path.extension() != Some("snapshot".as_ref());
            let text = if is_script { fs::read(&path).unwrap() } else { Vec::new() };
            if text.starts_with(b"#!/bin/sh\n") || text.starts_with(b"#!/bin/bash\n") {
                scripts.push(path);
            }
        }
    }
    assert!(scripts.contains(&file("packaging/build-tarball")), "{scripts:?}");
    let output = Command::new("shellcheck").args(&scripts).output();
    let output = output.expect("shellcheck is needed: make dependencies");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
