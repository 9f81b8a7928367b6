//! The log as fields of the systemd journal, with a real systemd-journald in a private /run and /var/log.

mod milter_client;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use milter_client::{Client, commands};
use serde_json::Value;

/// Argument by which the program runs itself where it may mount over /run.
const INSIDE: &str = "--in-a-namespace-of-its-own";

const JOURNALD: &str = "/lib/systemd/systemd-journald";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == INSIDE) {
        log_a_message();
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let test = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--"]);
        let output = command.arg(std::env::current_exe().map_err(Failed::from)?).arg(INSIDE).output();
        let output = output.map_err(Failed::from)?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!(
            "{}\nneeded: root, and {JOURNALD} (apt-get install systemd)",
            String::from_utf8_lossy(&output.stderr)
        )
        .into())
    };
    let trial = Trial::test("a_message_is_logged_as_fields_of_the_journal", test);
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log_a_message() {
    for place in ["/run", "/var/log"] {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "none", place]).status().unwrap();
        assert!(mounted.success(), "cannot mount over {place}");
    }
    fs::create_dir_all("/run/systemd/journal").unwrap();
    fs::create_dir_all("/run/log/journal").unwrap();
    let _journald = Running(Command::new(JOURNALD).stdin(Stdio::null()).spawn().expect(JOURNALD));
    wait_for("the journal's socket", || Path::new("/run/systemd/journal/socket").exists());

    fs::write(
        "/run/m.toml",
        "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         socket = \"unix:/run/milter.sock\"\ninternal_networks = [\"10.0.0.0/8\"]\n[log]\nformat = \"journald\"\n",
    )
    .unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_conbool-milter"));
    let _daemon = Running(daemon.args(["run", "--config", "/run/m.toml"]).stdin(Stdio::null()).spawn().unwrap());
    wait_for("the daemon's socket", || Path::new("/run/milter.sock").exists());
    let mut client = Client::connect(Path::new("/run/milter.sock")).ready();
    let answer = client.message("alice@customer.test", &[("Message-ID", "<1@customer.test>\n PRIORITY=0")]);
    assert_eq!(commands(&answer), "c");

    let mut entry = Value::Null;
    wait_for("the message in the journal", || {
        let output = Command::new("journalctl").args(["-D", "/run/log/journal", "-o", "json", "--no-pager"]).output();
        let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        let found = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entry = found.into_iter().find(|entry| entry["CONBOOL_QUEUE_ID"] == "QUEUEID1").unwrap_or_default();
        !entry.is_null()
    });
    for (field, value) in [
        ("SYSLOG_IDENTIFIER", "conbool-milter"),
        ("MESSAGE", "message"),
        ("CONBOOL_FROM", "alice@customer.test"),
        ("CONBOOL_DECISION", "relay"),
        ("CONBOOL_REASON", "in-scope"),
        ("CONBOOL_DIRECTION", "outbound"),
        ("CONBOOL_NRCPT", "1"),
        ("CONBOOL_TLS", "none"),
        // What a client writes cannot become a field of its own.
        ("CONBOOL_MESSAGE_ID", "<1@customer.test>\n PRIORITY=0"),
        ("PRIORITY", "5"),
    ] {
        assert_eq!(entry[field], value, "{field} in {entry}");
    }
}
