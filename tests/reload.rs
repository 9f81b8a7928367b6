//! SIGHUP: everything is loaded and checked, then swapped in at once; a message is judged by what was there when it
//! began; mistakes change nothing.

mod milter_client;
mod running;

use std::fs;
use std::time::Duration;

use milter_client::{Client, commands};
use running::Daemon;

/// A milter connection of an internal client.
fn internal_client(daemon: &Daemon) -> Client {
    Client::connect(&daemon.folder.join("milter.sock")).ready()
}

/// What an author in customer.test gets with an envelope sender elsewhere: a mark for the relay where it is hosted.
const HOSTED: &str = "imc";
const NOT_HOSTED: &str = "c";

fn send(client: &mut Client) -> String {
    commands(&client.message("x@lists.test", &[("From", "alice@customer.test")]))
}

/// Has the daemon host another domain from now on, for the first time.
fn host_another_domain(daemon: &Daemon) {
    daemon.configure("other.test", "");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
}

#[test]
fn a_reload_is_in_force_for_the_next_message_of_every_connection() {
    let daemon = Daemon::start("reload-next");
    let mut client = internal_client(&daemon);
    assert_eq!(send(&mut client), HOSTED);
    host_another_domain(&daemon);
    assert_eq!(send(&mut client), NOT_HOSTED);
}

#[test]
fn a_message_is_judged_by_what_was_in_force_when_it_began() {
    let daemon = Daemon::start("reload-begun");
    let mut client = internal_client(&daemon);
    client.envelope("x@lists.test", "bob@remote.test");
    client.header("From", "alice@customer.test");
    // MAIL has no answer; the other connection shows that the daemon has got this far.
    assert_eq!(send(&mut internal_client(&daemon)), HOSTED);
    std::thread::sleep(Duration::from_millis(100));
    host_another_domain(&daemon);
    assert_eq!(commands(&client.end()), HOSTED);
}

#[test]
fn mistakes_change_nothing_and_are_logged_with_their_place() {
    let daemon = Daemon::start("reload-mistakes");
    let mut client = internal_client(&daemon);
    daemon.configure("customer.test", "relay_network = 1\n[rules]\nsite_script = \"none.sieve\"\n");
    daemon.reload();
    daemon.wait_for_log("configuration not reloaded", 2);
    assert!(daemon.log().contains("m.toml:6: relay_network: unknown key"), "{}", daemon.log());
    assert!(daemon.log().contains("m.toml:8: rules.site_script"), "{}", daemon.log());
    assert_eq!(send(&mut client), HOSTED);
    host_another_domain(&daemon);
    assert_eq!(send(&mut client), NOT_HOSTED);
}

#[test]
fn keys_that_need_a_restart_are_named() {
    let daemon = Daemon::start("reload-restart");
    daemon.configure("customer.test", "[milter]\nworkers = 3\n[log]\nlevel = \"debug\"\n");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    assert!(daemon.log().contains("\"keys\":\"milter.workers log.level\""), "{}", daemon.log());
}

#[test]
fn no_message_under_load_sees_half_a_configuration() {
    let daemon = Daemon::start("reload-load");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = || {
            let mut client = internal_client(&daemon);
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

/// A connection of a stranger; returns what was negotiated about RCPT: true if it gets replies.
fn stranger(daemon: &Daemon) -> (Client, bool) {
    let mut client = Client::connect(&daemon.folder.join("milter.sock"));
    let (_, options, _) = client.negotiate();
    client.connect_from("198.51.100.1");
    (client, options & 0x8000 == 0)
}

/// A message to these recipients in a session without replies to RCPT: the final reply.
fn judged_at_the_end(client: &mut Client, recipients: &[&str]) -> String {
    client.mail("x@lists.test");
    for recipient in recipients {
        client.rcpt(recipient);
    }
    let (command, data) = client.end().pop().unwrap();
    client.send('A', b"");
    format!("{command} {}", String::from_utf8_lossy(&data))
}

#[test]
fn lock_down_that_is_switched_on_refuses_what_it_can_in_sessions_under_way() {
    let daemon = Daemon::start("reload-lock-down");
    // Only behind Postfix is there nothing to refuse at RCPT without lock-down.
    daemon.configure("customer.test", "mail_server = \"postfix\"\n");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    let (mut before, replies) = stranger(&daemon);
    assert!(!replies);
    daemon.configure("customer.test", "[lock_down]\nmode = \"enforce\"\nopen_recipients = [\"postmaster\"]\n");
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 2);
    let refused = judged_at_the_end(&mut before, &["alice@customer.test", "bob@customer.test"]);
    assert!(refused.starts_with("y 550 5.7.1 Mail for customer.test is accepted from"), "{refused}");
    // Who is open must not lose the message, who is locked must not get it.
    let deferred = judged_at_the_end(&mut before, &["postmaster@customer.test", "alice@customer.test"]);
    assert!(deferred.starts_with("y 451 4.7.1 "), "{deferred}");
    assert_eq!(judged_at_the_end(&mut before, &["postmaster@customer.test"]), "c ");

    let (mut after, replies) = stranger(&daemon);
    assert!(replies);
    after.mail("x@lists.test");
    after.rcpt("postmaster@customer.test");
    assert_eq!(after.receive().0, 'c');
    after.rcpt("alice@customer.test");
    let (command, reply) = after.receive();
    let reply = String::from_utf8_lossy(&reply).into_owned();
    assert!(command == 'y' && reply.starts_with("550 5.7.1 Mail for customer.test is accepted from"), "{reply}");
    assert!(reply.contains("not from 198.51.100.1;"), "{reply}");
    assert_eq!(commands(&after.end()), "c");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("\"recipient refused\"")).unwrap();
    for field in ["\"from\":\"x@lists.test\"", "\"to\":\"alice@customer.test\"", "\"client\":\"198.51.100.1\""] {
        assert!(line.contains(field), "{line}");
    }
    // A recipient that was refused is none of the message.
    assert!(log.lines().last().unwrap().contains("\"nrcpt\":1"), "{log}");
}
