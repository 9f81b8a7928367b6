//! SIGHUP: everything is loaded and checked, then swapped in at once; a message is judged by what was there when it
//! began; mistakes change nothing.

mod milter_client;

use std::fs;
use std::time::Duration;

use milter_client::daemon::Daemon;
use milter_client::{Client, commands};

/// What an author in customer.test gets with an envelope sender elsewhere: a mark for the relay where it is hosted.
const HOSTED: &str = "imc";
const NOT_HOSTED: &str = "c";

fn send(client: &mut Client) -> String {
    commands(&client.message("x@lists.test", &[("From", "alice@customer.test")]))
}

#[test]
fn a_reload_is_in_force_for_the_next_message_of_every_connection() {
    let daemon = Daemon::start("reload-next", "");
    let mut client = daemon.client();
    assert_eq!(send(&mut client), HOSTED);
    daemon.configure("other.test", "");
    daemon.signal("HUP");
    daemon.wait_for_log("configuration reloaded", 1);
    assert_eq!(send(&mut client), NOT_HOSTED);
}

#[test]
fn a_message_is_judged_by_what_was_in_force_when_it_began() {
    let daemon = Daemon::start("reload-begun", "");
    let mut client = daemon.client();
    client.envelope("x@lists.test", "bob@remote.test");
    client.header("From", "alice@customer.test");
    // MAIL has no answer; the other connection shows that the daemon has got this far.
    assert_eq!(send(&mut daemon.client()), HOSTED);
    std::thread::sleep(Duration::from_millis(100));
    daemon.configure("other.test", "");
    daemon.signal("HUP");
    daemon.wait_for_log("configuration reloaded", 1);
    assert_eq!(commands(&client.end()), HOSTED);
}

#[test]
fn mistakes_change_nothing_and_are_logged_with_their_place() {
    let daemon = Daemon::start("reload-mistakes", "");
    let mut client = daemon.client();
    daemon.configure("customer.test", "relay_network = 1\n[rules]\nsite_script = \"none.sieve\"\n");
    daemon.signal("HUP");
    daemon.wait_for_log("configuration not reloaded", 2);
    assert!(daemon.log().contains("m.toml:6: relay_network: unknown key"), "{}", daemon.log());
    assert!(daemon.log().contains("m.toml:8: rules.site_script"), "{}", daemon.log());
    assert_eq!(send(&mut client), HOSTED);
    daemon.configure("other.test", "");
    daemon.signal("HUP");
    daemon.wait_for_log("configuration reloaded", 1);
    assert_eq!(send(&mut client), NOT_HOSTED);
}

#[test]
fn keys_that_need_a_restart_are_named() {
    let daemon = Daemon::start("reload-restart", "");
    daemon.configure("customer.test", "[milter]\nworkers = 3\n[log]\nlevel = \"debug\"\n");
    daemon.signal("HUP");
    daemon.wait_for_log("configuration reloaded", 1);
    assert!(daemon.log().contains("\"keys\":\"milter.workers log.level\""), "{}", daemon.log());
}

#[test]
fn no_message_under_load_sees_half_a_configuration() {
    let daemon = Daemon::start("reload-load", "");
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
            daemon.signal("HUP");
            daemon.wait_for_log("configuration reloaded", round);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let sent: usize = loads.into_iter().map(|load| load.join().unwrap()).sum();
        assert!(sent > 20, "only {sent} messages");
    });
}
