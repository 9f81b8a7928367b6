use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::question::{MAX_QUESTION, netstring};
use super::*;
use crate::config::Config;
use crate::routing::{MAP, Query};
use crate::site;
use crate::verdict::Route;

static SITE: LazyLock<Arc<ArcSwap<Site>>> = LazyLock::new(|| {
    let text = "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
                socket = \"unix:/run/m.sock\"\n";
    let site = site::load(&Config::parse(text, Path::new("m.toml")).unwrap()).unwrap();
    Arc::new(ArcSwap::from_pointee(site))
});

fn socketmap() -> Socketmap {
    Socketmap { site: SITE.clone(), routes: Arc::new(Routes::volatile()) }
}

fn encoded(text: &str) -> String {
    format!("{}:{text},", text.len())
}

fn asked(socketmap: &Socketmap, key: &str) -> String {
    let question = encoded(&format!("{MAP} {key}"));
    let answers = socketmap.answer_all(question.as_bytes());
    assert_eq!((answers.taken, answers.malformed), (question.len(), None));
    String::from_utf8(answers.text).unwrap()
}

fn query(key: &str) -> Query {
    question::query(format!("{MAP} {key}").as_bytes()).unwrap()
}

#[test]
fn questions_as_sendmail_asks_them() {
    for (key, queue_id, sender, domain) in [
        ("6AM3v2OB032129 | alice@customer.test | remote.test", "6AM3v2OB032129", "alice@customer.test", "remote.test"),
        ("6AM3v5Za032163 | | remote.test", "6AM3v5Za032163", "", "remote.test"),
        ("6AM3v7h1032215 | alice@[127.0.0.9]|[127.0.0.2]", "6AM3v7h1032215", "alice@[127.0.0.9]", "[127.0.0.2]"),
        ("| alice | remote.test", "", "alice", "remote.test"),
    ] {
        let expected = Query { queue_id: queue_id.into(), senders: vec![sender.into()], domain: Some(domain.into()) };
        assert_eq!(query(key), expected, "{key}");
    }
}

#[test]
fn what_is_asked_is_answered_by_queue_id_and_sender() {
    let socketmap = socketmap();
    assert_eq!(asked(&socketmap, "x | alice@customer.test | remote.test"), "8:OK relay,");
    assert_eq!(asked(&socketmap, "x | zoe@foreign.test | remote.test"), "8:OK usual,");
    assert_eq!(asked(&socketmap, "x | alice@customer.test | customer.test"), "8:OK usual,");
    socketmap.routes.begin("x", Route::Relay).decided(Route::Direct).unwrap();
    assert_eq!(asked(&socketmap, "x | alice@customer.test | remote.test"), "9:OK direct,");
    // Queue ids differ by case.
    assert_eq!(asked(&socketmap, "X | alice@customer.test | remote.test"), "8:OK relay,");
}

#[test]
fn nobody_in_scope_hides_behind_a_bar() {
    let socketmap = socketmap();
    for key in [
        "x | alice@customer.test | evil|remote.test",
        "x | alice@customer.test | evil|customer.test",
        "x | alice@customer.test |\"| y@remote.test |\"",
        "x | a|b@customer.test | remote.test",
        "x |\"al ice|x\"@customer.test | remote.test",
    ] {
        assert_eq!(asked(&socketmap, key), "8:OK relay,", "{key}");
    }
    assert_eq!(asked(&socketmap, "x | a|b@foreign.test | remote.test"), "8:OK usual,");
    let many = "|".repeat(1000);
    assert_eq!(asked(&socketmap, &format!("x | a@b | {many}")), "30:TEMP the key has too many bars,");
}

#[test]
fn nobody_writes_another_queue_id() {
    let socketmap = socketmap();
    socketmap.routes.begin("exempt", Route::Relay).decided(Route::Direct).unwrap();
    for key in ["x | exempt|alice@customer.test | remote.test", "x | alice@customer.test | exempt|remote.test"] {
        assert_eq!(asked(&socketmap, key), "8:OK relay,", "{key}");
    }
}

#[test]
fn what_is_not_asked_by_the_rules_is_put_off() {
    let socketmap = socketmap();
    for question in ["", "x", "other x|y|z", "conbool", "conbool ", "conbool x", "conbool x|y", "CONBOOL x|y|z"] {
        let text = String::from_utf8(socketmap.answer_all(encoded(question).as_bytes()).text).unwrap();
        assert!(text.contains(":TEMP "), "{question}: {text}");
    }
}

#[test]
fn what_is_no_netstring_ends_the_connection() {
    let long = format!("{}:", MAX_QUESTION + 1);
    for (input, malformed) in [
        ("GET / HTTP/1.1\r\n", Malformed::NoNetstring),
        (":,", Malformed::NoNetstring),
        ("01:a,", Malformed::NoNetstring),
        ("-1:a,", Malformed::NoNetstring),
        ("1:ab", Malformed::NoNetstring),
        (&long, Malformed::TooLong),
        ("99999999999999999999", Malformed::TooLong),
    ] {
        let answers = socketmap().answer_all(input.as_bytes());
        assert_eq!((answers.taken, answers.malformed), (0, Some(malformed)), "{input}");
    }
    for input in ["", "1", "12:", "5:abc", "3:abc"] {
        let answers = socketmap().answer_all(input.as_bytes());
        assert_eq!((answers.taken, answers.malformed), (0, None), "{input}");
    }
}

proptest! {
    #[test]
    fn any_text_survives_encoding(text in prop::collection::vec(any::<u8>(), 0..MAX_QUESTION), more in ".{0,9}") {
        let mut input = format!("{}:", text.len()).into_bytes();
        input.extend(&text);
        input.push(b',');
        let length = input.len();
        for end in 0..length {
            prop_assert_eq!(netstring(&input[..end]), Ok(None));
        }
        input.extend(more.bytes());
        prop_assert_eq!(netstring(&input), Ok(Some((text.as_slice(), length))));
    }

    /// Whatever comes in, each question gets one answer, which is a netstring that Sendmail takes.
    #[test]
    fn nothing_makes_the_door_panic(pieces in prop::collection::vec(prop_oneof![
        "(conbool|other) [a-zA-Z0-9|@. \"<>]{0,40}".prop_map(|text| encoded(&text)),
        "[0-9:,]{0,6}",
        ".{0,10}",
    ], 0..12)) {
        let input = pieces.concat();
        let answers = socketmap().answer_all(input.as_bytes());
        prop_assert!(answers.taken <= input.len());
        let mut rest = answers.text.as_slice();
        let mut questions = &input.as_bytes()[..answers.taken];
        while let Ok(Some((answer, length))) = netstring(rest) {
            let answer = str::from_utf8(answer).unwrap();
            prop_assert!(["OK relay", "OK direct", "OK usual"].contains(&answer) || answer.starts_with("TEMP "));
            prop_assert!(!answer.contains("internal"));
            rest = &rest[length..];
            questions = &questions[netstring(questions).unwrap().unwrap().1..];
        }
        prop_assert!(rest.is_empty() && questions.is_empty());
    }

    /// However sender and domain are spelled: the sender as it is is among those that count.
    #[test]
    fn the_sender_is_always_among_the_readings(
        sender in "[a-z|\"]{0,10}@customer\\.test",
        domain in "[a-z|\".@]{1,20}",
    ) {
        let query = query(&format!("x | {sender} | {domain}"));
        prop_assert!(query.senders.contains(&sender), "{:?}", query.senders);
        prop_assert_eq!(query.queue_id, "x");
        if let Some(read) = query.domain {
            prop_assert_eq!(read, domain);
        }
    }
}
