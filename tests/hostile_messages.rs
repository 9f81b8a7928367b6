//! Messages that are built to break, stall or fool the daemon. Too large or too odd to keep as files.

mod explain;

use std::fs;

use serde_json::Value;

const OUTBOUND: [&str; 4] = ["--from", "alice@customer.test", "--rcpt", "dave@remote.test"];
const HANDED_BACK: [&str; 7] =
    ["--client", "192.0.2.25", "--tls", "--from", "alice@customer.test", "--rcpt", "dave@remote.test"];
const INBOUND: [&str; 6] = ["--client", "198.51.100.7", "--from", "dave@remote.test", "--rcpt", "alice@customer.test"];

const HEAD: &str = "From: Alice <alice@customer.test>\r\nTo: dave@remote.test\r\nSubject: hostile\r\n\
    Date: Thu, 5 Mar 2026 13:00:00 +0100\r\nMessage-ID: <hostile@customer.test>\r\nMIME-Version: 1.0\r\n";
const CALENDAR: &str = "Content-Type: text/calendar; method=REQUEST\r\n\r\n\
    BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

#[track_caller]
fn explained(options: &[&str], message: impl AsRef<[u8]>) -> Value {
    let file = explain::scratch(".eml");
    fs::write(&file, message).expect("a writable target folder");
    let answer = explain::explain(&explain::site(""), options, &[&file]);
    fs::remove_file(&file).expect("our own file");
    answer.unwrap_or_else(|error| panic!("{error}")).remove(0)
}

/// Neither exempt nor refused: what a normal message of an in-scope sender gets.
#[track_caller]
fn goes_to_the_relay(options: &[&str], message: impl AsRef<[u8]>) -> Value {
    let answer = explained(options, message);
    assert_eq!(answer["route"], "relay", "{answer}");
    assert_eq!(answer["disposition"], "continue", "{answer}");
    assert!(explain::reasons(&answer).starts_with("in-scope"), "{answer}");
    answer
}

/// Refused, or to the relay: the answers that are right when a limit is passed.
#[track_caller]
fn is_not_exempt(options: &[&str], message: impl AsRef<[u8]>) {
    let answer = explained(options, message);
    let refused = answer["disposition"] == "tempfail" || answer["disposition"] == "reject";
    assert!(refused || answer["route"] == "relay", "{answer}");
}

fn deletions(answer: &Value, name: &str) -> Vec<u64> {
    let edits = answer["edits"].as_array().expect("a list of edits");
    let ours = |edit: &&Value| edit["op"] == "delete" && edit["name"].as_str().unwrap_or("").eq_ignore_ascii_case(name);
    edits.iter().filter(ours).map(|edit| edit["index"].as_u64().expect("an index")).collect()
}

#[test]
fn the_plain_shape_of_these_messages_is_understood() {
    let answer = explained(&OUTBOUND, format!("{HEAD}{CALENDAR}"));
    assert_eq!(answer["kind"], "calendaring", "{answer}");
    assert_eq!(answer["route"], "direct", "{answer}");
}

#[test]
fn five_thousand_header_fields() {
    let filler: String = (0..5000).map(|number| format!("X-Filler-{number}: {number}\r\n")).collect();
    goes_to_the_relay(&OUTBOUND, format!("{filler}{HEAD}\r\nbody\r\n"));
    let answer = goes_to_the_relay(&OUTBOUND, format!("{HEAD}{filler}X-Conbool-Released: yes\r\n\r\nbody\r\n"));
    assert_eq!(deletions(&answer, "X-Conbool-Released"), [1]);
}

#[test]
fn more_header_fields_than_are_taken() {
    let filler = "X-Filler: x\r\n".repeat(100_000);
    is_not_exempt(&OUTBOUND, format!("{HEAD}{filler}X-Conbool-customer-test: true\r\n\r\nbody\r\n"));
    is_not_exempt(&OUTBOUND, format!("{filler}{HEAD}{CALENDAR}"));
    let answer = explained(&INBOUND, format!("{HEAD}{filler}X-Conbool-Flag: YES\r\n\r\nbody\r\n"));
    // Past the limit nobody knows what else is in there: a marker must not slip through behind it.
    assert!(answer["disposition"] != "continue" || deletions(&answer, "X-Conbool-Flag") == [1], "{answer}");
}

#[test]
fn a_header_line_of_100_kb() {
    let long = "a".repeat(100_000);
    for field in [
        format!("X-Long: {long}\r\n"),
        format!("{long}: x\r\n"),
        format!("Received: {long}\r\n"),
        format!("Auto-Submitted: ({long}) no\r\n"),
        format!("Content-Type: text/plain; name=\"{long}\"\r\n"),
        format!("X-Conbool-{long}: true\r\n"),
    ] {
        goes_to_the_relay(&OUTBOUND, format!("{HEAD}{field}\r\nbody\r\n"));
    }
    for value in [format!("true{long}"), format!("({long}) true{long}"), format!("{long}true")] {
        goes_to_the_relay(&HANDED_BACK, format!("{HEAD}X-Conbool-customer-test: {value}\r\n\r\nbody\r\n"));
    }
}

#[test]
fn an_address_list_of_100_kb() {
    let many = "eve@other.test, ".repeat(6000);
    let open = "(".repeat(100_000);
    let options = ["--from", "dave@remote.test", "--rcpt", "erin@other.test"];
    let head = HEAD.replace("From: Alice <alice@customer.test>\r\n", "");
    let answer = explained(&options, format!("From: {many}alice@customer.test\r\n{head}\r\nbody\r\n"));
    assert_eq!(answer["in_scope"], true, "the hosted address at the end of a long list counts");
    let full = format!("From: {}\r\n", "eve@other.test, ".repeat(1000));
    let answer = explained(&options, format!("{full}From: alice@customer.test\r\n{head}\r\nbody\r\n"));
    assert_eq!(answer["in_scope"], true, "the hosted address in the field after a long one counts");
    let longer = "eve@other.test, ".repeat(20_000);
    let answer = explained(&options, format!("From: {longer}alice@customer.test\r\n{head}\r\nbody\r\n"));
    assert!(answer["in_scope"] == true || answer["disposition"] != "continue", "a list that is too long hides nobody");
    for value in [open.as_str(), "<\"\\", "=?utf-8?q?", &"=?utf-8?b?".repeat(10_000), &"\"".repeat(99_999)] {
        goes_to_the_relay(&OUTBOUND, format!("From: {value}\r\n{head}\r\nbody\r\n"));
    }
}

#[test]
fn a_thousand_forged_markers() {
    let names = ["X-Conbool-customer-test: true", "x-conbool-released: YES", "X-CONBOOL-FLAG: no", "X-Spam-Flag: NO"];
    let forged: String = (0..1000).map(|number| format!("{}\r\n", names[number % 4])).collect();
    let highest_first: Vec<u64> = (1..=250).rev().collect();
    for message in [format!("{forged}{HEAD}\r\nbody\r\n"), format!("{HEAD}{forged}\r\nbody\r\n")] {
        let answer = goes_to_the_relay(&OUTBOUND, &message);
        assert_eq!(explain::reasons(&answer), "in-scope forged-header spam-flag-removed");
        for name in ["X-Conbool-customer-test", "X-Conbool-Released", "X-Conbool-Flag", "X-Spam-Flag"] {
            assert_eq!(deletions(&answer, name), highest_first, "{name}");
        }
    }
}

/// A parser that reads a bare CR or LF as the end of a line would find a marker in the middle of another field.
#[test]
fn nul_bytes_and_bare_line_ends() {
    for inside in ["\r", "\0", "\r\0", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\r\r"] {
        let field = format!("X-Note: a{inside}X-Conbool-customer-test: true\r\n");
        let answer = goes_to_the_relay(&HANDED_BACK, format!("{HEAD}{field}\r\nbody\r\n"));
        assert_eq!(explain::reasons(&answer), "in-scope", "{inside:?}");
        let hidden = format!("X-Note: a{inside}Content-Type: text/calendar; method=REQUEST\r\n");
        let body = CALENDAR.split_once("\r\n\r\n").expect("a header section").1;
        goes_to_the_relay(&OUTBOUND, format!("{HEAD}{hidden}\r\n{body}"));
    }
    for value in ["tr\0ue", "\0true", "tr\rue", "true\u{a0}", "\u{feff}true", "tru\u{435}", "true true"] {
        goes_to_the_relay(&HANDED_BACK, format!("{HEAD}X-Conbool-customer-test: {value}\r\n\r\nbody\r\n"));
    }
    // Postfix hands a value to a milter up to its first NUL.
    let answer = explained(&HANDED_BACK, format!("{HEAD}X-Conbool-customer-test: true\0 or not\r\n\r\nbody\r\n"));
    assert_eq!(answer["route"], "direct", "{answer}");
    for name in ["X-Conbool-customer-test\0", "\0X-Conbool-customer-test", "X-Conbool-customer\0-test"] {
        goes_to_the_relay(&HANDED_BACK, format!("{HEAD}{name}: true\r\n\r\nbody\r\n"));
    }
}

#[test]
fn bytes_that_are_no_text() {
    let mut message = HEAD.as_bytes().to_vec();
    for field in
        [&b"X-\xff\xfe: \xc3\x28\r\n"[..], b": no name\r\n", b"no colon\r\n", b"\x80\r\n", b" fold of nothing\r\n"]
    {
        message.extend_from_slice(field);
    }
    message.extend_from_slice(b"Subject: =?utf-8?b?////?=\r\nX-Conbool-Flag: \xff\r\n\r\n");
    message.extend((0..=255).cycle().take(100_000));
    is_not_exempt(&OUTBOUND, message);
    for odd in ["", "\r\n", "\r\n\r\n", "\n", "\0", ":", "From", "\u{feff}From: alice@customer.test\r\n\r\n"] {
        is_not_exempt(&OUTBOUND, odd);
    }
}

fn nested(depth: usize, innermost: &str) -> String {
    let mut message = HEAD.to_owned();
    for level in 0..depth {
        message.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"));
    }
    message.push_str(innermost);
    (0..depth).rev().for_each(|level| message.push_str(&format!("\r\n--b{level}--\r\n")));
    message
}

#[test]
fn ten_thousand_levels_of_nesting() {
    goes_to_the_relay(&OUTBOUND, nested(10_000, "Content-Type: text/plain\r\n\r\nbody\r\n"));
    goes_to_the_relay(&OUTBOUND, nested(10_000, CALENDAR));
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
    goes_to_the_relay(&OUTBOUND, format!("{HEAD}{messages}{CALENDAR}"));
    let comments = "(".repeat(10_000);
    goes_to_the_relay(
        &OUTBOUND,
        format!("{HEAD}Content-Type: {comments}text/calendar; method=REQUEST\r\n\r\nbody\r\n"),
    );
}

#[test]
fn a_hundred_thousand_parts() {
    let parts = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(100_000);
    let start = format!("{HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n{parts}");
    goes_to_the_relay(&OUTBOUND, format!("{start}--b--\r\n"));
    goes_to_the_relay(&OUTBOUND, format!("{start}--b\r\n{CALENDAR}--b--\r\n"));
    let empty = "--b\r\n\r\n".repeat(100_000);
    goes_to_the_relay(&OUTBOUND, format!("{HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n{empty}--b--\r\n"));
}

/// The limit on body bytes: what lies behind it was never read, and exempts nothing.
#[test]
fn a_calendar_behind_the_body_limit() {
    let text = "Nothing to see here, and then some more of it.\r\n".repeat(6000);
    let message = format!(
        "{HEAD}Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n{text}\
         --b\r\n{CALENDAR}--b--\r\n"
    );
    goes_to_the_relay(&OUTBOUND, message);
}

/// What comes after the deciding part does not matter, however large.
#[test]
fn a_calendar_before_ten_megabytes() {
    let rest = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\r\n".repeat(270_000);
    let message = format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{CALENDAR}--b\r\n\
         Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{rest}--b--\r\n"
    );
    let answer = explained(&OUTBOUND, message);
    assert_eq!(answer["kind"], "calendaring", "{answer}");
}

#[test]
fn a_boundary_that_is_a_prefix_of_another() {
    let message = format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
         Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Type: text/plain\r\n\r\nx\r\n--bb--\r\n\
         --b--\r\n--bb\r\n{CALENDAR}--bb--\r\n"
    );
    goes_to_the_relay(&OUTBOUND, message);
}

/// Whatever is cut off, a message that is exempt from nothing does not become exempt by it.
#[test]
fn cutting_a_message_short_never_makes_it_exempt() {
    let folder = explain::folder();
    let mut cuts = Vec::new();
    for item in fs::read_dir(&folder).expect("the folder is there") {
        let path = item.expect("a readable folder").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if !name.ends_with(".eml") || !(name.starts_with("not-") || name.starts_with("normal-")) {
            continue;
        }
        let message = fs::read(&path).expect("a readable message");
        let head = message.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(message.len(), |at| at + 4);
        let step = ((message.len() - head) / 25).max(1);
        for end in (head..message.len()).step_by(step) {
            let cut = explain::scratch(&format!("-{name}-{end}.eml"));
            fs::write(&cut, &message[..end]).expect("a writable target folder");
            cuts.push(cut);
        }
    }
    let paths: Vec<_> = cuts.iter().map(|path| path.as_path()).collect();
    let answers = explain::explain(&explain::site(""), &OUTBOUND, &paths);
    for path in &cuts {
        fs::remove_file(path).expect("our own file");
    }
    let exempt: Vec<String> = answers
        .unwrap_or_else(|error| panic!("{error}"))
        .iter()
        .zip(&cuts)
        .filter(|(answer, _)| answer["route"] != "relay")
        .map(|(answer, path)| format!("{}: {answer}", path.display()))
        .collect();
    assert!(cuts.len() > 500, "only {} cuts", cuts.len());
    assert!(exempt.is_empty(), "{}", exempt.join("\n"));
}
