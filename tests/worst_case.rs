//! No message may keep a worker busy: the largest and oddest messages that the door takes, judged within a time that
//! any quadratic work on them would exceed by far.

use std::path::Path;
use std::time::{Duration, Instant};

use conbool_milter::case::{Case, Client, Envelope, HeaderSection};
use conbool_milter::config::Config;
use conbool_milter::judge::{self, Site};
use conbool_milter::rules::{Names, Rules, Script};
use conbool_milter::site;
use conbool_milter::verdict::Verdict;

/// Not a measure of speed: what works in linear time stays far below it on any machine, what does not exceeds it by far.
const STALL: Duration = Duration::from_secs(60);

/// Most bytes of header that the door takes, with some room for what every message here has.
const MAX_BYTES: usize = HeaderSection::MAX_BYTES - 1_000;

const INTERNAL: &str = "10.1.1.1";
const RELAY: &str = "192.0.2.25";

fn site() -> Site {
    let text = "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
                internal_networks = [\"10.0.0.0/8\"]\nsocket = \"unix:/run/conbool/milter.sock\"\n";
    site::load(&Config::parse(text, Path::new("site.toml")).expect("a good configuration")).expect("a good site")
}

fn with_script(text: &str) -> Site {
    let script = Script { file: "site.sieve".into(), text: text.into() };
    let names = Names { lists: ["scope".to_string()].into(), settings: [].into() };
    let rules = Rules::compile(&[script], &names).expect("a good script");
    Site { rules: rules.into(), ..site() }
}

fn case(client: &str, sender: &str) -> Case {
    let tls_version = (client == RELAY).then(|| "TLSv1.3".to_string());
    Case {
        client: Client { address: Some(client.parse().expect("an address")), tls_version, ..Client::default() },
        envelope: Envelope { sender: sender.into(), recipients: vec!["carol@remote.test".into()] },
        ..Case::default()
    }
}

/// Judges a message as the door does.
#[track_caller]
fn judged(site: &Site, mut case: Case, fields: impl IntoIterator<Item = (String, String)>, body: &[u8]) -> Verdict {
    for (name, value) in fields {
        case.header.push(name.as_bytes(), value.as_bytes()).expect("as much as the door takes, no more");
    }
    let started = Instant::now();
    let mut chunks = body.chunks(65_535);
    case.body.complete = chunks.all(|chunk| judge::take_body(site, &mut case, chunk.to_vec().into()));
    let verdict = judge::judge(site, &case);
    let elapsed = started.elapsed();
    let fields = case.header.fields();
    let start = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
    let what =
        format!("{} fields, the last {:?}", fields.len(), fields.last().map(|f| (start(f.name), start(f.value))));
    println!("{:6} ms at {}: {what}", elapsed.as_millis(), std::panic::Location::caller());
    assert!(elapsed < STALL, "{elapsed:?} for {what}");
    verdict
}

fn repeated(number: usize, name: &str, value: &str) -> impl Iterator<Item = (String, String)> {
    std::iter::repeat_n((name.to_string(), value.to_string()), number)
}

#[test]
fn many_fields() {
    let site = site();
    let most = HeaderSection::MAX_FIELDS;
    for client in [INTERNAL, RELAY] {
        judged(&site, case(client, "alice@customer.test"), repeated(most, "X-Note", " x"), b"");
        judged(&site, case(client, "alice@customer.test"), repeated(most, "Received", " x"), b"");
        judged(&site, case(client, "dave@remote.test"), repeated(most, "From", " alice@other.test"), b"");
        judged(&site, case(client, ""), repeated(most, "From", " mailer-daemon@other.test"), b"");
        judged(&site, case(client, "alice@customer.test"), repeated(most, "X-Conbool-Customer-Test", " true"), b"");
        judged(&site, case(client, "alice@customer.test"), repeated(most, "Content-Type", " multipart/mixed"), b"");
        judged(&site, case(client, ""), repeated(most, "Auto-Submitted", " (x) auto-replied"), b"");
    }
    let names = (0..most).map(|number| (format!("X-Conbool-{number:05}"), " true".to_string()));
    let verdict = judged(&site, case(INTERNAL, "alice@customer.test"), names, b"");
    assert_eq!(verdict.edits.len(), most);
}

#[test]
fn long_values() {
    let site = site();
    for unit in [
        "(",
        "\"",
        "\\",
        "<",
        "a@b,",
        "a@customer.test,",
        "\"a\"@b ",
        "( \"",
        "\" (",
        "()",
        "\"\" ",
        " ",
        "\n ",
        "\n",
        "=?utf-8?q?",
        "=?utf-8?b?",
        "=?utf-8?q?a?= ",
        "a:;",
        ".",
        "@",
        "\u{fc}@\u{fc}.",
        "x@\u{fc},",
        ";",
        ";a=",
        ";a*0=",
        "\0",
    ] {
        let value = unit.repeat(MAX_BYTES / unit.len());
        for name in ["From", "Content-Type", "Auto-Submitted", "X-Conbool-Customer-Test", "Message-ID"] {
            for (client, sender) in [(INTERNAL, "dave@remote.test"), (RELAY, "alice@customer.test"), (RELAY, "")] {
                judged(&site, case(client, sender), repeated(1, name, &value), b"");
            }
        }
    }
}

/// Long enough for a hosted domain, and slow to bring into A-label form.
#[test]
fn international_domains() {
    let site = site();
    let label = |length: u32| (0..length).filter_map(|number| char::from_u32(0x4e00 + number)).collect::<String>();
    for length in [60, 240, 900] {
        let one = format!("a@{}.test, ", label(length));
        let many = one.repeat(MAX_BYTES / one.len());
        judged(&site, case(INTERNAL, "dave@remote.test"), repeated(1, "From", &many), b"");
        let long = format!("a@{}test", format!("{}.", label(length)).repeat(MAX_BYTES / (3 * length as usize + 1)));
        judged(&site, case(INTERNAL, "dave@remote.test"), repeated(1, "From", &long), b"");
        judged(&site, case(RELAY, "dave@remote.test"), repeated(1, "From", &long), b"");
    }
}

/// Mail from outside comes by the relay, too: its From field is the sender's.
#[test]
fn many_hosted_addresses_and_many_fields() {
    let site = site();
    let mut fields: Vec<_> = repeated(HeaderSection::MAX_FIELDS - 1, "X-Conbool-Other-Tests", " true").collect();
    fields.truncate(HeaderSection::MAX_FIELDS / 2);
    fields.push(("From".to_string(), "a@customer.test, b@other.test,".repeat(20_000)));
    judged(&site, case(RELAY, "dave@remote.test"), fields, b"");
}

#[test]
fn many_recipients() {
    let site = with_script(
        "require [\"envelope\", \"extlists\", \"imap4flags\"];\n\
         if envelope :list \"to\" \"urn:conbool-milter:scope\" { addflag \"direct\"; }\n\
         if envelope :matches \"to\" \"*x*y*z\" { addflag \"direct\"; }",
    );
    for client in [INTERNAL, RELAY] {
        let mut case = case(client, "alice@customer.test");
        case.envelope.recipients = (0..50_000).map(|number| format!("user{number}@remote.test")).collect();
        judged(&site, case, [], b"");
    }
}

#[test]
fn scripts_that_look_up_lists() {
    let lists = with_script(
        "require [\"envelope\", \"extlists\", \"imap4flags\"];\n\
         if address :list [\"From\", \"To\"] \"urn:conbool-milter:scope\" { addflag \"direct\"; }\n\
         if header :list \"X-Note\" \"urn:conbool-milter:scope\" { addflag \"direct\"; }",
    );
    for unit in ["#@b,", "#,", "<#@b>", "<#@b>,", "#:;", "#;", "# ", "a:#;", "(#)", "#\n ", "\"#\" ", "=?utf-8?q?#?= "]
    {
        let value: String = (0..).map(|number| unit.replace('#', &number.to_string())).take(60_000).collect();
        let value = &value[..value.floor_char_boundary(MAX_BYTES.min(value.len()))];
        judged(&lists, case(INTERNAL, "alice@customer.test"), repeated(1, "To", value), b"");
    }
    let notes = (0..HeaderSection::MAX_FIELDS).map(|number| ("X-Note".to_string(), format!(" {number}")));
    judged(&lists, case(INTERNAL, "alice@customer.test"), notes, b"");
}

#[test]
fn scripts_that_edit() {
    let most = HeaderSection::MAX_FIELDS;
    let delete = with_script("require \"editheader\"; deleteheader \"X-Note\"; addheader :last \"X-Stamp\" \"yes\";");
    let verdict = judged(&delete, case(INTERNAL, "alice@customer.test"), repeated(most, "X-Note", " x"), b"");
    assert_eq!(verdict.edits.len(), most + 1);
    let mixed = (0..most).map(|number| (if number < most / 2 { "X-Note" } else { "X-Other" }.to_string(), " x".into()));
    judged(&delete, case(INTERNAL, "alice@customer.test"), mixed, b"");
    let turns = (0..most).map(|number| (if number % 2 == 0 { "X-Note" } else { "X-Other" }.to_string(), " x".into()));
    judged(&delete, case(INTERNAL, "alice@customer.test"), turns, b"");
    let value = "a\n".repeat(MAX_BYTES / 2);
    judged(&delete, case(INTERNAL, "alice@customer.test"), repeated(1, "X-Other", &value), b"");
    judged(&delete, case(INTERNAL, "alice@customer.test"), repeated(1, "X-Other", &"\n".repeat(MAX_BYTES)), b"");
    judged(&delete, case(INTERNAL, "alice@customer.test"), repeated(1, "X-Other", &"\r".repeat(MAX_BYTES)), b"");
}

#[test]
fn scripts_that_match() {
    let matches = with_script(
        "require [\"imap4flags\", \"variables\"];\n\
         if header :matches \"Subject\" \"*a*b*c*d\" { addflag \"direct\"; }\n\
         if header :contains \"Subject\" \"aaaaaaab\" { addflag \"direct\"; }\n\
         if address :is \"From\" \"alice@customer.test\" { addflag \"direct\"; }",
    );
    for unit in ["a", "ab", "abc", "(", "<", "a@b,", "\"", "=?utf-8?q?a?= "] {
        let value = unit.repeat(100_000 / unit.len());
        for name in ["Subject", "From"] {
            judged(&matches, case(INTERNAL, "alice@customer.test"), repeated(10, name, &value), b"");
        }
    }
}

#[test]
fn bodies() {
    let site = site();
    let body = |text: String| text.into_bytes();
    let bodies = [
        body("--b\n".repeat(2_000_000)),
        body("--b\n\n".repeat(2_000_000)),
        body("--".repeat(5_000_000)),
        body("\n--".repeat(3_000_000)),
        body("--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\n".repeat(200_000)),
        body((0..100_000).map(|n| format!("--b{n}\nContent-Type: multipart/mixed; boundary=b{}\n\n", n + 1)).collect()),
        body(format!("--b\n{}", "x: y\n".repeat(2_000_000))),
        body(format!("--b\n{}", "x: y\n ".repeat(2_000_000))),
        body(format!(
            "--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n{}",
            "\n ".repeat(4_000_000)
        )),
        vec![0; 10_000_000],
    ];
    let boundary = "b".repeat(100_000);
    for text in &bodies {
        for content_type in [
            " multipart/mixed; boundary=b".to_string(),
            " multipart/mixed; boundary=b0".to_string(),
            " multipart/report; boundary=b".to_string(),
            " text/calendar; method=REQUEST".to_string(),
            format!(" multipart/mixed; boundary={boundary}"),
        ] {
            let fields = [("MIME-Version".to_string(), " 1.0".to_string()), ("Content-Type".to_string(), content_type)];
            judged(&site, case(INTERNAL, "alice@customer.test"), fields, text);
        }
    }
}
