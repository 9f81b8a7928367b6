//! What the service manager is told (sd_notify(3)): ready, alive, and that a start or an end takes longer.

mod milter_client;
mod running;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use milter_client::{Client, commands};
use running::{Daemon, configuration};

/// The socket at which a daemon tells.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("conbool-milter-{}-{name}.notify", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, path }
    }

    /// Starts a daemon that is told to be alive every so many microseconds.
    fn start(&self, name: &str, watchdog: &str, more: &str) -> Daemon {
        let environment = [("NOTIFY_SOCKET", self.path.to_str().unwrap()), ("WATCHDOG_USEC", watchdog)];
        Daemon::spawn(name, &environment, |folder| configuration(folder, "customer.test", more))
    }

    /// What is told next.
    fn hear(&self) -> String {
        let mut message = [0; 512];
        let length = self.socket.recv(&mut message).expect("the daemon says nothing");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    /// Waits until this is told; returns how often WATCHDOG=1 was before.
    fn wait_for(&self, wanted: &str) -> usize {
        let mut alive = 0;
        loop {
            match self.hear() {
                message if message.lines().any(|line| line == wanted) => return alive,
                message => alive += usize::from(message.contains("WATCHDOG=1")),
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Microseconds between two signs of life.
const OFTEN: &str = "100000";

/// Groups of a directory that takes connections and then says nothing, for so many seconds.
fn silent_directory(seconds: u64) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let groups = format!(
        "state_directory = \"@folder@/state\"\n[scope]\nmode = \"group\"\ngroups = [\"cn=relay,o=x\"]\n[ldap]\n\
         servers = \"ldap://{}\"\nbase = \"o=x\"\nconnect_timeout = {seconds}\n",
        listener.local_addr().unwrap()
    );
    (listener, groups)
}

#[test]
fn a_daemon_says_that_it_is_ready_and_alive_to_its_end() {
    let manager = Manager::new("alive");
    let mut daemon = manager.start("alive", OFTEN, "");
    manager.wait_for("READY=1");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    let mut client = Client::connect(&daemon.folder.join("milter.sock")).ready();
    assert_eq!(commands(&client.message("alice@customer.test", &[])), "c");
    daemon.signal("TERM");
    // An end may take as long as drain_timeout, 8 s, and a little more.
    manager.wait_for("EXTEND_TIMEOUT_USEC=18000000");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    // A session that goes on is served while the daemon waits for it.
    assert_eq!(commands(&client.message("alice@customer.test", &[])), "c");
    drop(client);
    assert!(daemon.wait());
}

#[test]
fn a_reload_that_waits_for_the_directory_is_alive() {
    let (_directory, groups) = silent_directory(2);
    let manager = Manager::new("reload");
    let daemon = manager.start("reload", OFTEN, "");
    manager.wait_for("READY=1");
    daemon.configure("customer.test", &groups);
    daemon.reload();
    manager.wait_for("RELOADING=1");
    let alive = manager.wait_for("READY=1");
    assert!(alive >= 3, "alive {alive} times");
    assert!(daemon.log().contains("configuration not reloaded"), "{}", daemon.log());
}

#[test]
fn a_start_that_waits_for_the_directory_asks_for_time() {
    let (_directory, groups) = silent_directory(4);
    let manager = Manager::new("slow-start");
    let mut daemon = manager.start("slow-start", OFTEN, &groups);
    assert_eq!(manager.wait_for("EXTEND_TIMEOUT_USEC=30000000"), 0);
    daemon.wait_for_log("waiting for the directory to say who is in the groups", 1);
    // There is no snapshot either, but there may be an answer later.
    assert_eq!(daemon.exit_code(), Some(1));
}

#[test]
fn nobody_is_told_what_nobody_waits_for() {
    let manager = Manager::new("unwatched");
    let mut daemon = manager.start("unwatched", "0", "");
    assert_eq!(manager.hear(), "READY=1\n");
    daemon.signal("TERM");
    assert!(manager.hear().starts_with("STOPPING=1\n"));
    assert!(daemon.wait());
}
