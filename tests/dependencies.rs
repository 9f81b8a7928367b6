//! What conbool-milter is made of keeps to packaging/deny.toml.

use std::path::Path;
use std::process::{Command, Output};

/// The result of some of cargo-deny's checks.
fn deny(checks: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
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
fn licences_versions_and_sources_are_allowed() {
    let output = deny(&["licenses", "bans", "sources"]);
    assert!(output.status.success(), "{}", said(&output));
}

/// The only check that needs something from outside, RustSec's database as `cargo deny fetch` leaves it: without it, there
/// is nothing to compare with.
#[test]
fn no_known_vulnerability() {
    let home = std::env::var_os("CARGO_HOME").map(Into::into);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap();
    let databases = std::fs::read_dir(Path::join(&home, "advisory-dbs"));
    if databases.is_ok_and(|mut databases| databases.next().is_some()) {
        let output = deny(&["advisories"]);
        assert!(output.status.success(), "{}", said(&output));
    } else {
        println!("not compared with known vulnerabilities: `cargo deny fetch db` gets their database");
    }
}
