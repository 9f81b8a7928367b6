//! Sockets that systemd passes, by their names: systemd-socket-activate(1) holds them, as the socket units would.

mod milter_client;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use milter_client::{Client, commands};

/// The built program behind sockets that are not its own.
struct Activated {
    folder: PathBuf,
    process: Child,
}

impl Activated {
    /// `names` are those of the descriptors, each of which listens in a file of that name. The configuration names
    /// `own.sock`.
    fn start(test: &str, names: &[&str]) -> Self {
        Self::start_with(test, names, &["own.sock"])
    }

    /// The same with these sockets in the configuration. `link` is another name of the folder.
    fn start_with(test: &str, names: &[&str], sockets: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, folder.join("link")).unwrap();
        let sockets: Vec<PathBuf> = sockets.iter().map(|socket| folder.join(socket)).collect();
        let config = format!(
            "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
             internal_networks = [\"10.0.0.0/8\"]\nsocket = {sockets:?}\n"
        );
        fs::write(folder.join("m.toml"), config).unwrap();
        let mut command = Command::new("systemd-socket-activate");
        for name in names {
            command.arg("--listen").arg(folder.join(name));
        }
        command.arg(format!("--fdname={}", names.join(":")));
        command.arg(env!("CARGO_BIN_EXE_conbool-milter")).args(["run", "--config"]).arg(folder.join("m.toml"));
        let log = fs::File::create(folder.join("log")).unwrap();
        let process = command.stdin(Stdio::null()).stderr(log).spawn().expect("systemd-socket-activate is needed");
        let activated = Self { folder, process };
        // The file of a socket is there a moment before anybody listens.
        activated.wait_for(|| activated.log().matches("Listening on").count() == names.len());
        activated
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Sends a message to this socket, and expects it to go on as it is.
    fn takes_mail_at(&self, socket: &str) {
        let mut client = Client::connect(&self.socket(socket)).ready();
        assert_eq!(commands(&client.message("alice@customer.test", &[])), "c", "{socket}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn wait_for(&self, happened: impl Fn() -> bool) {
        let begin = Instant::now();
        while !happened() {
            assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn ask(socket: &Path, question: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn each_door_gets_the_sockets_of_its_name() {
    // In another order than the doors have in the program.
    let activated = Activated::start("named", &["telemetry", "policy", "milter"]);
    activated.takes_mail_at("milter");
    let request = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=198.51.100.1\n\n";
    assert_eq!(ask(&activated.socket("policy"), request), "action=DUNNO");
    assert_eq!(ask(&activated.socket("telemetry"), "GET /healthz HTTP/1.0\r\n\r\n"), "HTTP/1.0 200");
    // What the configuration names besides is there too.
    activated.takes_mail_at("own.sock");
}

#[test]
fn a_door_without_a_passed_socket_has_its_own() {
    let activated = Activated::start("mixed", &["telemetry"]);
    assert_eq!(ask(&activated.socket("telemetry"), "GET /healthz HTTP/1.0\r\n\r\n"), "HTTP/1.0 200");
    activated.takes_mail_at("own.sock");
}

#[test]
fn a_socket_that_is_passed_and_named_is_the_passed_one() {
    let mut activated = Activated::start_with("same", &["milter"], &["milter", "link/milter", "own.sock"]);
    let inode = |activated: &Activated| fs::symlink_metadata(activated.socket("milter")).unwrap().ino();
    let passed = inode(&activated);
    for socket in ["milter", "own.sock"] {
        activated.takes_mail_at(socket);
    }
    assert_eq!(inode(&activated), passed);
    let folder = activated.folder.display();
    let sockets = format!("\"sockets\":\"unix:{folder}/milter unix:{folder}/own.sock\"");
    assert!(activated.log().contains(&sockets), "{}", activated.log());
    let id = activated.process.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert!(activated.process.wait().unwrap().success());
    // The one was the daemon's own; at the other, mail servers wait for the next daemon.
    assert!(!activated.socket("own.sock").exists());
    assert_eq!(inode(&activated), passed);
}

#[test]
fn a_socket_that_is_passed_for_another_door_is_a_mistake() {
    let mut activated = Activated::start_with("confused", &["telemetry"], &["telemetry"]);
    let _client = UnixStream::connect(activated.socket("telemetry")).unwrap();
    assert_eq!(activated.process.wait().unwrap().code(), Some(78));
    assert!(activated.log().contains("holds it as telemetry; write FileDescriptorName=milter"), "{}", activated.log());
}

#[test]
fn a_name_that_no_door_has_is_a_mistake() {
    let mut activated = Activated::start("misnamed", &["milter", "polcy"]);
    // The first connection starts the program.
    let _client = UnixStream::connect(activated.socket("milter")).unwrap();
    assert_eq!(activated.process.wait().unwrap().code(), Some(78));
    let log = activated.log();
    assert!(log.contains("FileDescriptorName=milter, policy, socketmap or telemetry"), "{log}");
}
