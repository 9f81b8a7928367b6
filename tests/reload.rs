//! SIGHUP: everything is loaded and checked, then swapped in at once; a message is judged by what was there when it
//! began; mistakes change nothing.

mod milter_client;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use milter_client::{Client, commands};

/// The built program with a configuration that can be rewritten.
struct Daemon {
    folder: PathBuf,
    process: Child,
}

impl Daemon {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-reload-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("m.toml"), configuration(&folder, "customer.test", "")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_conbool-milter"))
            .args(["run", "--config"])
            .arg(folder.join("m.toml"))
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { folder, process };
        daemon.wait_for_log("\"ready\"", 1);
        daemon
    }

    fn configure(&self, domain: &str, more: &str) {
        // In one step, as an editor should: the daemon must not read half a file.
        let new = self.folder.join("m.toml.new");
        fs::write(&new, configuration(&self.folder, domain, more)).unwrap();
        fs::rename(new, self.folder.join("m.toml")).unwrap();
    }

    fn reload(&self) {
        let done = Command::new("kill").args(["-s", "HUP", &self.process.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn wait_for_log(&self, text: &str, times: usize) {
        let begin = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(begin.elapsed() < Duration::from_secs(30), "{text} is not in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.folder.join("milter.sock")).ready()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn configuration(folder: &std::path::Path, domain: &str, more: &str) -> String {
    format!(
        "provider = \"conbool\"\ndomains = [\"{domain}\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:{}/milter.sock\"\n{more}",
        folder.display()
    )
}

/// What an author in customer.test gets with an envelope sender elsewhere: a mark for the relay where it is hosted.
const HOSTED: &str = "imc";
const NOT_HOSTED: &str = "c";

fn send(client: &mut Client) -> String {
    commands(&client.message("x@lists.test", &[("From", "alice@customer.test")]))
}

#[test]
fn a_reload_is_in_force_for_the_next_message_of_every_connection() {
    let daemon = Daemon::start("next");
    let mut client = daemon.client();
    assert_eq!(send(&mut client), HOSTED);
    daemon.configure("other.test", "");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    assert_eq!(send(&mut client), NOT_HOSTED);
}

#[test]
fn a_message_is_judged_by_what_was_in_force_when_it_began() {
    let daemon = Daemon::start("begun");
    let mut client = daemon.client();
    client.envelope("x@lists.test", "bob@remote.test");
    client.header("From", "alice@customer.test");
    // MAIL has no answer; the other connection shows that the daemon has got this far.
    assert_eq!(send(&mut daemon.client()), HOSTED);
    std::thread::sleep(Duration::from_millis(100));
    daemon.configure("other.test", "");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    assert_eq!(commands(&client.end()), HOSTED);
}

#[test]
fn mistakes_change_nothing_and_are_logged_with_their_place() {
    let daemon = Daemon::start("mistakes");
    let mut client = daemon.client();
    daemon.configure("customer.test", "relay_network = 1\n[rules]\nsite_script = \"none.sieve\"\n");
    daemon.reload();
    daemon.wait_for_log("configuration not reloaded", 2);
    assert!(daemon.log().contains("m.toml:6: relay_network: unknown key"), "{}", daemon.log());
    assert!(daemon.log().contains("m.toml:8: rules.site_script"), "{}", daemon.log());
    assert_eq!(send(&mut client), HOSTED);
    daemon.configure("other.test", "");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    assert_eq!(send(&mut client), NOT_HOSTED);
}

#[test]
fn keys_that_need_a_restart_are_named() {
    let daemon = Daemon::start("restart");
    daemon.configure("customer.test", "[milter]\nworkers = 3\n[log]\nlevel = \"debug\"\n");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    assert!(daemon.log().contains("\"keys\":\"milter.workers log.level\""), "{}", daemon.log());
}

#[test]
fn no_message_under_load_sees_half_a_configuration() {
    let daemon = Daemon::start("load");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = || {
            let mut client = daemon.client();
            let mut sent = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Both parts of the configuration that change together: the domains, and the script that says so.
                let answer = commands(&client.message("x@lists.test", &[("From", "alice@customer.test")]));
                assert!(answer == HOSTED || answer == "hc", "{answer}");
                sent += 1;
            }
            sent
        };
        let loads: Vec<_> = (0..3).map(|_| scope.spawn(load)).collect();
        let script = daemon.folder.join("stamp.sieve");
        fs::write(&script, "require \"editheader\"; addheader :last \"X-Other\" \"yes\";").unwrap();
        for round in 1..=20 {
            if round % 2 == 1 {
                daemon.configure("other.test", &format!("[rules]\nsite_script = \"{}\"\n", script.display()));
            } else {
                daemon.configure("customer.test", "");
            }
            daemon.reload();
            daemon.wait_for_log("configuration reloaded", round);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let sent: usize = loads.into_iter().map(|load| load.join().unwrap()).sum();
        assert!(sent > 20, "only {sent} messages");
    });
}
