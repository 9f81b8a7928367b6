use std::path::Path;

use super::*;
use crate::config::Config;
use crate::site;

fn site(more: &str) -> Site {
    let text = format!(
        "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
         socket = \"unix:/run/m.sock\"\n{more}"
    );
    site::load(&Config::parse(&text, Path::new("m.toml")).unwrap()).unwrap()
}

fn query(queue_id: &str, sender: &str) -> Query {
    Query { queue_id: queue_id.into(), senders: vec![sender.into()], domain: Some("remote.test".into()) }
}

const ALICE: &str = "alice@customer.test";
const STRANGER: &str = "zoe@remote.test";

#[test]
fn of_an_unknown_message_the_sender_decides() {
    let (site, routes) = (site(""), Routes::volatile());
    for (sender, answer) in [
        (ALICE, Answer::Relay),
        ("<Alice@CUSTOMER.test>", Answer::Relay),
        (STRANGER, Answer::Usual),
        ("", Answer::Usual),
        ("<>", Answer::Usual),
        ("alice", Answer::Usual),
    ] {
        assert_eq!(routes.route(&site, &query("x", sender)), answer, "{sender}");
        assert_eq!(routes.route(&site, &query("", sender)), answer, "{sender}");
    }
    let several = Query { senders: vec![STRANGER.into(), ALICE.into()], ..query("x", "") };
    assert_eq!(routes.route(&site, &several), Answer::Relay);
}

#[test]
fn mail_for_hosted_domains_and_mail_that_is_only_watched_is_left_alone() {
    let routes = Arc::new(Routes::volatile());
    routes.begin("id", Route::Direct).decided(Route::Relay).unwrap();
    for domain in ["customer.test", "CUSTOMER.test."] {
        let query = Query { domain: Some(domain.into()), ..query("id", ALICE) };
        assert_eq!(routes.route(&site(""), &query), Answer::Usual);
    }
    assert_eq!(routes.route(&site(""), &Query { domain: None, ..query("id", ALICE) }), Answer::Relay);
    for mode in ["mode = \"monitor\"\n", "[routing]\nmode = \"monitor\"\n"] {
        assert_eq!(routes.route(&site(mode), &query("id", ALICE)), Answer::Usual);
    }
}

#[test]
fn a_transaction_goes_by_its_sender_until_it_is_decided_and_then_by_its_verdict() {
    let (site, routes) = (site(""), Arc::new(Routes::volatile()));
    for (by_sender, verdict, before, after) in [
        (Route::Direct, Route::Direct, Answer::Usual, Answer::Usual),
        (Route::Direct, Route::Relay, Answer::Usual, Answer::Relay),
        (Route::Relay, Route::Direct, Answer::Relay, Answer::Direct),
        (Route::Relay, Route::Relay, Answer::Relay, Answer::Relay),
    ] {
        // However the mail server writes the sender, and whatever the scope has become since MAIL.
        for sender in [ALICE, STRANGER, ""] {
            let transaction = routes.begin("id", by_sender);
            assert_eq!(transaction.by_sender(), by_sender);
            assert_eq!(routes.route(&site, &query("id", sender)), before);
            transaction.decided(verdict).unwrap();
            assert_eq!(routes.route(&site, &query("id", sender)), after);
            *routes.memory() = Memory { begun: 9, ..Routes::volatile().memory.into_inner().unwrap() };
        }
    }
}

#[test]
fn what_is_not_decided_is_forgotten() {
    let (site, routes) = (site(""), Arc::new(Routes::volatile()));
    let transaction = routes.begin("id", Route::Relay);
    // Another host's, with the same queue id.
    let other = routes.begin("id", Route::Relay);
    drop(transaction);
    assert_eq!(routes.route(&site, &query("id", STRANGER)), Answer::Relay);
    drop(other);
    assert_eq!(routes.route(&site, &query("id", STRANGER)), Answer::Usual);
    assert!(routes.memory().under_way.is_empty());
}

#[test]
fn messages_without_a_queue_id_are_not_mixed_up() {
    let (site, routes) = (site(""), Arc::new(Routes::volatile()));
    let transaction = routes.begin("", Route::Relay);
    assert_eq!(routes.route(&site, &query("", STRANGER)), Answer::Usual);
    transaction.decided(Route::Direct).unwrap();
    routes.begin("", Route::Direct).decided(Route::Direct).unwrap();
    assert_eq!(routes.route(&site, &query("", ALICE)), Answer::Relay);
}

#[test]
fn memory_is_bounded() {
    let routes = Arc::new(Routes::volatile());
    for number in 0..3 * MOST_RECENT {
        routes.begin(&format!("id{number}"), Route::Relay).decided(Route::Relay).unwrap();
    }
    let memory = routes.memory();
    assert!(memory.recent.len() <= MOST_RECENT && memory.under_way.is_empty());
    assert_eq!((memory.recent.get("id0"), memory.recent.get("id59999")), (None, Some(Route::Relay)));
}

#[test]
fn verdicts_that_are_not_the_senders_outlive_the_daemon() {
    let folder = std::env::temp_dir().join(format!("conbool-milter-{}-routing", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let routes = Arc::new(Routes::open(&folder).unwrap());
    routes.begin("relay", Route::Direct).decided(Route::Relay).unwrap();
    routes.begin("direct", Route::Relay).decided(Route::Direct).unwrap();
    routes.begin("same", Route::Relay).decided(Route::Relay).unwrap();
    let error = routes.begin("", Route::Direct).decided(Route::Relay).unwrap_err();
    assert!(error.to_string().contains("no queue id"), "{error}");
    // Not dropped: killed.
    std::mem::forget(routes);
    let (site, routes) = (site(""), Routes::open(&folder).unwrap());
    assert_eq!(routes.route(&site, &query("relay", STRANGER)), Answer::Relay);
    assert_eq!(routes.route(&site, &query("direct", ALICE)), Answer::Direct);
    assert_eq!(routes.route(&site, &query("same", STRANGER)), Answer::Usual);
    std::fs::remove_dir_all(&folder).unwrap();
}
