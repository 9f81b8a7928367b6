//! The command: flags, configuration, files, complaints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conbool_milter::mta::exchange_online::{Guide, Request, Scope};

use crate::{request, scripts, set_up};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exchange_online").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conbool-milter")).args(arguments).output().unwrap()
}

#[track_caller]
fn complaint(arguments: &[&str]) -> String {
    let output = command(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn both_scripts_are_written_without_a_configuration() {
    let output = folder("written").join("scripts");
    let flags = ["setup", "exchange-online", "--provider", "conbool", "--domain", "example.com", "--relay-network"];
    let mut arguments = flags.to_vec();
    arguments.extend(["192.0.2.0/24", "--relay-network", "198.51.100.7", "--output", output.to_str().unwrap()]);
    let done = command(&arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let expected = scripts(&request(Guide::Conbool));
    for script in [expected.set_up, expected.removal] {
        assert_eq!(fs::read_to_string(output.join(&script.file_name)).unwrap(), script.text);
    }
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
    let notes = String::from_utf8(done.stderr).unwrap();
    assert_eq!(notes.matches("note: ").count(), expected.notes.len());
}

#[test]
fn the_configuration_says_what_flags_do_not() {
    let folder = folder("configured");
    let config = folder.join("conbool-milter.toml");
    let toml = "provider = \"conbool\"\ndomains = [\"example.com\", \"example.org\"]\nsocket = \"unix:/run/conbool-milter/milter.sock\"\n\
                relay_networks = [\"192.0.2.0/24\"]\n[relay]\nhost = \"relay.example.net\"\n\
                [scope]\nmode = \"list\"\nsenders = [\"alice@example.com\"]\n";
    fs::write(&config, toml).unwrap();
    let print = |more: &[&str]| {
        let arguments = [&["-c", config.to_str().unwrap(), "setup", "exchange-online"], more].concat();
        let output = command(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let own = Request {
        domains: vec!["example.com".into(), "example.org".into()],
        scope: Scope::List(vec!["alice@example.com".into()]),
        relay_host: "relay.example.net".into(),
        relay_tls_name: "relay.example.net".into(),
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        ..request(Guide::Conbool)
    };
    assert_eq!(print(&[]), set_up(&own));
    assert_eq!(print(&["--removal"]), scripts(&own).removal.text);
    let narrowed = Request { domains: vec!["example.org".into()], scope: Scope::All, ..own };
    assert_eq!(print(&["--domain", "example.org", "--scope", "all"]), set_up(&narrowed));
    // Another provider's relay is not at these addresses.
    let other = print(&["--provider", "secumailer", "--customer-id", "customer-4711"]);
    assert!(other.contains("mail-relay.secumail.cloud") && !other.contains("relay.example.net"), "{other}");
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_printed() {
    let base = ["setup", "exchange-online", "--provider", "conbool", "--domain", "example.com"];
    let with = |more: &[&'static str]| complaint(&[&base[..], more].concat());
    assert!(complaint(&["setup", "exchange-online"]).contains("--provider"));
    assert!(complaint(&base[..4]).contains("--domain"));
    assert!(
        complaint(&["setup", "exchange-online", "--provider", "other", "--domain", "example.com"]).contains("other")
    );
    assert!(with(&["--domain", "exam'ple.com"]).contains("is not a domain"));
    assert!(with(&["--domain", "example.com\n"]).contains("is not a domain"));
    assert!(with(&["--scope", "list:al ice@example.com"]).contains("has no mailbox"));
    assert!(with(&["--scope", "group:$(x)"]).contains("--scope"));
    assert!(with(&["--relay-network", "192.0.2.1/24"]).contains("host bits"));
    assert!(with(&["--name", "connector"]).contains("ITEM=NAME"));
    assert!(with(&["--output", "/dev/null/x"]).contains("/dev/null/x"));
}
