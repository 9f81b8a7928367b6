//! `conbool-milter status`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use conbool_milter::telemetry::status::Status;

use crate::http::get;
use crate::running::Daemon;
use crate::{SOCKET, busy};

fn command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conbool-milter"));
    command.arg("--config").arg(daemon.folder.join("m.toml")).arg("status").args(arguments);
    command
}

fn status(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(daemon, arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The line that begins with this word, without it.
fn line<'a>(page: &'a str, word: &str) -> &'a str {
    let line = page.lines().find_map(|line| line.trim_start().strip_prefix(word));
    line.unwrap_or_else(|| panic!("no line {word:?} in\n{page}")).trim_start()
}

#[test]
fn one_page_shows_the_state() {
    let (daemon, _client) = busy("page");
    let (code, page, errors) = status(&daemon, &[]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(line(&page, "conbool-milter").starts_with("0.1.0, ready, mode enforce, up "), "{page}");
    assert!(line(&page, "configuration").contains("m.toml, loaded ") && page.contains(" ago\n"), "{page}");
    let socket = daemon.folder.join("milter.sock");
    assert_eq!(line(&page, "milter"), format!("1 of 2000 connections, unix:{}", socket.display()));
    assert!(line(&page, "messages").starts_with("3 since the start, "), "{page}");
    assert_eq!(line(&page, "from"), "internal 3");
    assert_eq!(line(&page, "decisions"), "relay 2, direct 1");
    assert_eq!(line(&page, "reasons"), "in-scope 2, null-sender 1");
    assert_eq!(line(&page, "forged fields"), "2");
    assert_eq!(line(&page, "errors"), "none");
    assert!(!page.contains('\x1b') && page.lines().count() < 24, "{page}");
}

#[test]
fn json_is_what_the_daemon_serves() {
    let (daemon, _client) = busy("json");
    let (code, json, _) = status(&daemon, &["--json"]);
    assert_eq!(code, Some(0));
    let shown: Status = serde_json::from_str(&json).unwrap();
    let served: Status = serde_json::from_str(&get(&daemon, "/status").body).unwrap();
    assert_eq!((&shown.messages.decisions, shown.pid), (&served.messages.decisions, served.pid));
    assert_eq!((shown.messages.total, shown.messages.decisions["relay"], shown.errors["reply"]), (3, 2, 0));
    assert!(shown.messages.per_second_1m > 0.0 && shown.messages.per_second_15m > 0.0);
}

#[test]
fn a_failed_reload_is_shown_although_the_configuration_is_wrong() {
    let daemon = Daemon::start_with("status-reload", SOCKET);
    daemon.configure("customer.test", &format!("{SOCKET}unknown = 1\nodd = 1\n"));
    daemon.signal("HUP");
    daemon.wait_for_log("configuration not reloaded", 2);
    let (code, page, _) = status(&daemon, &[]);
    assert_eq!(code, Some(0));
    let told = line(&page, "not reloaded");
    assert!(told.contains("m.toml:8: telemetry.unknown: unknown key") && told.ends_with("(and 1 more)"), "{page}");
}

#[test]
fn without_a_terminal_watching_prints_page_after_page() {
    let (daemon, _client) = busy("watch");
    let mut watch = command(&daemon, &["--watch=1"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pages: Vec<String> = lines.filter(|line| line.starts_with("conbool-milter")).take(3).collect();
    assert!(pages.len() == 3 && pages.iter().all(|line| !line.contains('\x1b')), "{pages:?}");
    // Nobody reads on: it ends by itself, and that is no failure.
    assert!(watch.wait().unwrap().success());
}

#[test]
fn on_a_terminal_watching_repaints_with_colours_and_outlives_a_restart() {
    let (daemon, client) = busy("terminal");
    let watching = format!(
        "{} --config {} status --watch=1",
        env!("CARGO_BIN_EXE_conbool-milter"),
        daemon.folder.join("m.toml").display()
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--flush", "--command", &watching, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is needed: apt-get install bsdutils");
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.find(|line| line.contains("ready")).unwrap();
    assert!(first.starts_with("\x1b[H\x1b[J") && first.contains("\x1b[32mready"), "{first:?}");
    drop(client);
    daemon.signal("TERM");
    assert!(lines.any(|line| line.contains("conbool-milter does not run")));
    script.kill().unwrap();
    script.wait().unwrap();
}

#[test]
fn a_daemon_that_does_not_run_is_told() {
    let daemon = Daemon::start_with("ended", SOCKET);
    daemon.signal("TERM");
    daemon.wait_for_log("\"stopped\"", 1);
    let (code, output, errors) = status(&daemon, &[]);
    assert_eq!((code, output.as_str()), (Some(1), ""));
    assert!(errors.contains("telemetry.sock: nobody listens there") && errors.contains("does not run"), "{errors}");
}

#[test]
fn a_configuration_without_telemetry_is_told() {
    let daemon = Daemon::start_with("unset", "");
    let (code, _, errors) = status(&daemon, &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("m.toml: telemetry.socket is not set"), "{errors}");
}

#[test]
fn something_else_that_listens_there_is_told() {
    let daemon = Daemon::start_with("else", "[telemetry]\nsocket = \"unix:@folder@/telemetry.sock\"\n");
    daemon.configure("customer.test", "[telemetry]\nsocket = \"unix:@folder@/milter.sock.other\"\n");
    let other = std::os::unix::net::UnixListener::bind(daemon.folder.join("milter.sock.other")).unwrap();
    let answering = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.write_all(b"220 mail.customer.test ESMTP\r\n");
    });
    let (code, _, errors) = status(&daemon, &[]);
    answering.join().unwrap();
    assert!(code == Some(1) && errors.contains("does not answer as conbool-milter does"), "{errors}");
}
