use std::io;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use super::*;
use crate::config::Config;
use crate::questions::{self, Patience};
use crate::site;

fn site(more: &str) -> Site {
    let text = format!(
        "provider = \"conbool\"\ndomains = [\"customer.test\", \"second.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:/run/m.sock\"\n{more}"
    );
    site::load(&Config::parse(&text, Path::new("m.toml")).unwrap()).unwrap()
}

const ENFORCE: &str = "[lock_down]\nmode = \"enforce\"\nopen_recipients = [\"postmaster\"]\n";
const RELAY: &str = "client_address=192.0.2.1\nencryption_protocol=TLSv1.3\n";
const RELAY_WITHOUT_TLS: &str = "client_address=192.0.2.1\nencryption_protocol=\n";
const WORLD: &str = "client_address=2001:db8::1\nencryption_protocol=TLSv1.3\n";
const USER: &str = "client_address=198.51.100.1\nsasl_username=alice\n";
const INTERNAL: &str = "client_address=10.1.1.1\n";

fn request(state: &str, client: &str, sender: &str, recipient: &str) -> String {
    format!("request=smtpd_access_policy\nprotocol_state={state}\n{client}sender={sender}\nrecipient={recipient}\n\n")
}

/// The answer to a request.
fn answered(site: &Site, request: &str) -> String {
    let answers = answer_all(site, request.as_bytes());
    assert!(answers.malformed.is_none() && answers.taken == request.len());
    let text = String::from_utf8(answers.text).unwrap();
    let answer = text.strip_prefix("action=").and_then(|answer| answer.strip_suffix("\n\n")).unwrap();
    answer.to_owned()
}

#[test]
fn lock_down_refuses_strangers_at_recipients() {
    let site = site(ENFORCE);
    let rcpt = |client: &str, recipient: &str| answered(&site, &request("RCPT", client, "x@lists.test", recipient));
    assert_eq!(
        rcpt(WORLD, "alice@customer.test"),
        "550 5.7.1 Mail for customer.test is accepted from its e-mail security service only, not from 2001:db8::1; \
         deliver to the MX hosts of the domain"
    );
    assert!(rcpt("client_address=unknown\n", "alice@second.test").starts_with("550 5.7.1 Mail for second.test"));
    for (client, recipient) in [
        (WORLD, "postmaster@customer.test"),
        (WORLD, "alice@remote.test"),
        (WORLD, ""),
        (RELAY, "alice@customer.test"),
        (USER, "alice@customer.test"),
        (INTERNAL, "alice@customer.test"),
    ] {
        assert_eq!(rcpt(client, recipient), "DUNNO", "{client} {recipient}");
    }
    // In smtpd_data_restrictions there may be a recipient too; VRFY is no mail.
    let at = |state: &str| answered(&site, &request(state, WORLD, "x@lists.test", "alice@customer.test"));
    assert!(at("DATA").starts_with("550 "));
    assert!(at("END-OF-MESSAGE").starts_with("550 "));
    assert_eq!(at("VRFY"), "DUNNO");
}

#[test]
fn lock_down_that_is_off_or_monitors_refuses_nobody() {
    for mode in ["off", "monitor"] {
        let site = site(&format!("[lock_down]\nmode = \"{mode}\"\n"));
        assert_eq!(answered(&site, &request("RCPT", WORLD, "x@lists.test", "alice@customer.test")), "DUNNO");
    }
}

#[test]
fn the_relay_without_tls_is_refused_for_now_once_it_could_have_begun_tls() {
    let site = site("");
    for state in ["MAIL", "RCPT", "DATA", "END-OF-MESSAGE"] {
        let answer = answered(&site, &request(state, RELAY_WITHOUT_TLS, "alice@customer.test", "carol@remote.test"));
        assert_eq!(answer, "451 4.7.0 Mail from the relay is taken over TLS only; use STARTTLS", "{state}");
    }
    for state in ["CONNECT", "EHLO", "HELO", "ETRN", ""] {
        assert_eq!(answered(&site, &request(state, RELAY_WITHOUT_TLS, "", "")), "DUNNO", "{state}");
    }
}

#[test]
fn only_what_the_relay_hands_back_may_be_relayed() {
    let site = site(ENFORCE);
    let rcpt = |client, sender, recipient| answered(&site, &request("RCPT", client, sender, recipient));
    assert_eq!(rcpt(RELAY, "alice@customer.test", "carol@remote.test"), "OK");
    assert_eq!(rcpt(RELAY, "Alice@SECOND.test", "carol@remote.test"), "OK");
    for (client, sender, recipient) in [
        (RELAY, "mallory@remote.test", "carol@remote.test"),
        (RELAY, "", "carol@remote.test"),
        (RELAY, "alice@customer.test", "bob@second.test"),
        (RELAY, "alice@customer.test", ""),
        (WORLD, "alice@customer.test", "carol@remote.test"),
        // Postfix's own restrictions let these relay.
        (USER, "alice@customer.test", "carol@remote.test"),
        (INTERNAL, "alice@customer.test", "carol@remote.test"),
    ] {
        assert_eq!(rcpt(client, sender, recipient), "DUNNO", "{client} {sender} {recipient}");
    }
    for state in ["MAIL", "DATA", "END-OF-MESSAGE"] {
        let answer = answered(&site, &request(state, RELAY, "alice@customer.test", "carol@remote.test"));
        assert_eq!(answer, "DUNNO", "{state}");
    }
}

#[test]
fn with_certificates_postfix_must_have_verified_the_one_it_names() {
    let site = site("[relay]\ncertificates = [\"relay.conbool.test\"]\n");
    let rcpt = |subject: &str| {
        let client = format!("{RELAY}ccert_subject={subject}\n");
        answered(&site, &request("RCPT", &client, "alice@customer.test", "carol@remote.test"))
    };
    assert_eq!(rcpt("relay.conbool.test"), "permit_tls_all_clientcerts, defer");
    for other in ["", "evil.test"] {
        assert_eq!(rcpt(other), "451 4.7.0 Mail from the relay is taken with its client certificate only");
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_door_panic(lines in proptest::collection::vec(prop_oneof![
        "(request=smtpd_access_policy|protocol_state=RCPT|client_address=192.0.2.1|encryption_protocol=T)",
        "(sender|recipient|ccert_subject|client_address)=.{0,20}",
        ".{0,10}",
        "",
    ], 0..12)) {
        let input = lines.join("\n").into_bytes();
        let answers = answer_all(&SITE, &input);
        prop_assert!(answers.taken <= input.len());
        let answers = String::from_utf8(answers.text).unwrap();
        prop_assert!(answers.is_empty() || answers.ends_with("\n\n"));
        prop_assert!(!answers.contains("internal"));
    }
}

static SITE: LazyLock<Site> = LazyLock::new(|| site(ENFORCE));

/// A connection that is being served, with little patience.
struct Served {
    client: DuplexStream,
    stop: watch::Sender<bool>,
    end: tokio::task::JoinHandle<io::Result<()>>,
}

fn serve_one(idle: Duration, request: Duration) -> Served {
    let (client, server) = tokio::io::duplex(256);
    let (stop, stopped) = watch::channel(false);
    let policyd = Policyd { site: Arc::new(ArcSwap::from_pointee(site(ENFORCE))) };
    let patience = Patience { idle, question: request };
    let end = tokio::spawn(async move { questions::serve(server, &policyd, patience, stopped).await });
    Served { client, stop, end }
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn requests_may_come_in_any_pieces_and_ahead_of_their_answers() {
    let mut served = serve_one(LONG, LONG);
    let all =
        request("RCPT", WORLD, "", "alice@customer.test") + &request("RCPT", RELAY, "a@customer.test", "b@remote.test");
    let mut answers = String::new();
    for (times, piece) in [(20, 1), (20, 7), (20, all.len())] {
        let stream = all.repeat(times);
        let (mut read, mut write) = tokio::io::split(&mut served.client);
        let send = async {
            for part in stream.as_bytes().chunks(piece) {
                write.write_all(part).await.unwrap();
            }
        };
        let receive = async {
            answers.clear();
            while answers.matches("\n\n").count() < 2 * times {
                let mut part = [0; 100];
                let length = read.read(&mut part).await.unwrap();
                assert!(length > 0);
                answers.push_str(std::str::from_utf8(&part[..length]).unwrap());
            }
        };
        tokio::join!(send, receive);
        let kinds: Vec<&str> = answers.split_terminator("\n\n").map(|answer| &answer[..10.min(answer.len())]).collect();
        assert_eq!(kinds, ["action=550", "action=OK"].repeat(times));
    }
}

#[tokio::test]
async fn silence_ends_the_connection() {
    let served = serve_one(SHORT, LONG);
    assert!(served.end.await.unwrap().is_err());
    drop(served.stop);
}

#[tokio::test]
async fn a_request_that_is_never_complete_ends_the_connection() {
    let mut served = serve_one(LONG, SHORT);
    served.client.write_all(b"request=smtpd_access_policy\n").await.unwrap();
    assert!(served.end.await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_not_waited_for() {
    let mut served = serve_one(LONG, SHORT);
    let all = request("RCPT", WORLD, "", "alice@customer.test").repeat(100);
    // It is gone before all is sent.
    let _ = served.client.write_all(all.as_bytes()).await;
    assert!(served.end.await.unwrap().is_err());
}

#[tokio::test]
async fn garbage_and_requests_without_end_close_the_connection() {
    let endless = format!("{}={}", "x".repeat(50), "y".repeat(2 * MAX_REQUEST));
    for garbage in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n", "\n\n", "request=junk\n\n", &endless] {
        let mut served = serve_one(LONG, LONG);
        // It may be closed before all is sent.
        let _ = served.client.write_all(garbage.as_bytes()).await;
        assert!(served.end.await.unwrap().is_ok());
        let mut answer = String::new();
        assert_eq!(served.client.read_to_string(&mut answer).await.unwrap(), 0, "{answer}");
    }
}

#[tokio::test]
async fn what_comes_before_garbage_is_answered() {
    let mut served = serve_one(LONG, LONG);
    let text = request("RCPT", RELAY, "a@customer.test", "b@remote.test") + "garbage\n\n";
    served.client.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    served.client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "action=OK\n\n");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_lets_a_request_that_has_begun_be_answered() {
    let served = serve_one(LONG, LONG);
    served.stop.send(true).unwrap();
    assert!(served.end.await.unwrap().is_ok());

    let mut served = serve_one(LONG, LONG);
    let text = request("RCPT", RELAY, "a@customer.test", "b@remote.test");
    let (begin, rest) = text.split_at(40);
    served.client.write_all(begin.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    served.stop.send(true).unwrap();
    served.client.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    served.client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "action=OK\n\n");
    assert!(served.end.await.unwrap().is_ok());
}
