//! The policy service of the running daemon, on the wire. (`src/policyd/tests.rs` has the decisions, and clients that are
//! slow or no policy clients at all.)

mod milter_client;
mod running;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use running::Daemon;

const POLICY: &str =
    "[lock_down]\nmode = \"enforce\"\n[policy]\nsocket = \"unix:@folder@/policy.sock\"\nmax_connections = 2\n";

/// A connection as Postfix makes one.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(daemon.folder.join("policy.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends what Postfix 3.7 sends at RCPT.
    fn send(&mut self, client: &str, tls: &str, sender: &str, recipient: &str) {
        let request = format!(
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address={client}\n\
             client_name=unknown\nclient_port=41234\nreverse_client_name=unknown\nserver_address=192.0.2.25\n\
             server_port=25\nhelo_name=client.test\nsender={sender}\nrecipient={recipient}\nrecipient_count=0\n\
             queue_id=\ninstance=1a2b.6740.0\nsize=0\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\n\
             sasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n\
             encryption_protocol={tls}\nencryption_cipher=\nencryption_keysize=0\npolicy_context=\n\n"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn receive(&mut self) -> String {
        let (mut answer, mut end) = (String::new(), String::new());
        self.0.read_line(&mut answer).unwrap();
        self.0.read_line(&mut end).unwrap();
        assert_eq!(end, "\n", "{answer}");
        answer.trim_end().to_owned()
    }

    fn is_closed(&mut self) -> bool {
        self.0.read(&mut [0]).unwrap() == 0
    }
}

#[test]
fn a_connection_serves_many_requests_by_the_configuration_of_the_moment() {
    let daemon = Daemon::start_with("policy-many", POLICY);
    let mut client = Client::connect(&daemon);
    for _ in 0..100 {
        for _ in 0..10 {
            client.send("198.51.100.1", "", "x@remote.test", "alice@customer.test");
            client.send("192.0.2.1", "TLSv1.3", "alice@customer.test", "carol@remote.test");
        }
        for _ in 0..10 {
            assert!(client.receive().starts_with("action=550 5.7.1 Mail for customer.test"));
            assert_eq!(client.receive(), "action=OK");
        }
    }
    daemon.configure("other.test", POLICY);
    daemon.reload();
    daemon.wait_for_log("configuration reloaded", 1);
    client.send("198.51.100.1", "", "x@remote.test", "alice@customer.test");
    assert_eq!(client.receive(), "action=DUNNO");
    client.send("192.0.2.1", "TLSv1.3", "alice@customer.test", "carol@remote.test");
    assert_eq!(client.receive(), "action=DUNNO");
}

#[test]
fn what_is_decided_is_logged() {
    let daemon = Daemon::start_with("policy-log", POLICY);
    let mut client = Client::connect(&daemon);
    client.send("198.51.100.1", "", "x@remote.test", "alice@customer.test");
    client.receive();
    client.send("192.0.2.1", "", "x@remote.test", "alice@customer.test");
    assert!(client.receive().starts_with("action=451 4.7.0 "));
    client.send("10.1.1.1", "", "x@remote.test", "alice@customer.test");
    client.receive();
    client.0.get_mut().write_all(b"EHLO x\r\n\n\n").unwrap();
    assert!(client.is_closed());
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("\"ready\"")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[0].contains("\"recipient refused\"") && lines[0].contains("\"door\":\"policy\""), "{log}");
    assert!(lines[1].contains("\"reason\":\"relay-without-tls\""), "{log}");
    assert!(lines[2].contains("a line is no attribute"), "{log}");
}

#[test]
fn a_connection_beyond_the_limit_is_closed_and_the_others_go_on() {
    let daemon = Daemon::start_with("policy-limit", POLICY);
    let mut clients = [Client::connect(&daemon), Client::connect(&daemon)];
    for client in &mut clients {
        client.send("10.1.1.1", "", "", "");
        assert_eq!(client.receive(), "action=DUNNO");
    }
    assert!(Client::connect(&daemon).is_closed());
    let [first, mut second] = clients;
    drop(first);
    daemon.wait_for_log("policy.max_connections reached", 1);
    second.send("10.1.1.1", "", "", "");
    assert_eq!(second.receive(), "action=DUNNO");
    // The place of the first one becomes free as soon as the daemon sees its end.
    let begin = std::time::Instant::now();
    loop {
        let mut client = Client::connect(&daemon);
        client.send("10.1.1.1", "", "", "");
        let mut answer = String::new();
        if client.0.read_line(&mut answer).is_ok_and(|length| length > 0) {
            assert_eq!(answer, "action=DUNNO\n");
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn an_smtp_session_that_goes_on_while_the_daemon_stops_still_gets_its_answers() {
    let mut daemon = Daemon::start_with("policy-drain", POLICY);
    let mut session = milter_client::Client::connect(&daemon.folder.join("milter.sock")).ready();
    session.mail("alice@customer.test");
    daemon.signal("TERM");
    daemon.wait_for_log("waiting for running sessions", 1);
    for _ in 0..2 {
        let mut client = Client::connect(&daemon);
        client.send("198.51.100.1", "", "x@remote.test", "alice@customer.test");
        assert!(client.receive().starts_with("action=550 5.7.1 "));
    }
    drop(session);
    assert!(daemon.wait());
}

#[test]
fn the_daemon_does_not_wait_for_idle_connections_when_it_stops() {
    let mut daemon = Daemon::start_with("policy-stop", POLICY);
    let mut client = Client::connect(&daemon);
    client.send("10.1.1.1", "", "", "");
    assert_eq!(client.receive(), "action=DUNNO");
    daemon.signal("TERM");
    assert!(client.is_closed());
    assert!(daemon.wait());
    assert!(!daemon.log().contains("still running"), "{}", daemon.log());
    assert!(!daemon.folder.join("policy.sock").exists());
}
