//! Input made to deceive, to stop or to stall.

use super::{Kind, Message, REQUEST, base64, kind, message, with_body};

const TYPE: &str = "Content-Type: text/calendar; method=REQUEST";

/// A message of the parts given, which ends with a meeting request.
fn after(parts: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=bound\n\n{parts}\n--bound\n{TYPE}\n\n{REQUEST}\n--bound--\n")
}

/// The kind of a message that is made to take for ever, judged whole and in pieces. A test that does not end has found
/// something.
fn judged(message: &Message) -> Kind {
    let whole = message.whole();
    for read in [message.body.len() / 3, message.body.len() / 2, message.body.len()] {
        message.check_cut(read, whole);
    }
    whole
}

#[test]
fn the_ordinary_one_is_calendaring() {
    assert_eq!(kind(&after("--bound\n\nhello")), Kind::Calendaring);
    assert_eq!(kind(&after("preamble\n\n--bound\n\nhello")), Kind::Calendaring);
    assert_eq!(kind(&after("--bound  \t\n\nhello -- bound\n --bound\n-- \nAlice")), Kind::Calendaring);
    assert_eq!(kind(&format!("{}epilogue\0", after("--bound\n\nhello"))), Kind::Calendaring);
}

#[test]
fn repeated_fields() {
    let ordinary = after("--bound\n\nhello");
    for field in [
        "Content-Type: text/plain",
        "content-type : multipart/mixed; boundary=bound",
        "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 7bit",
    ] {
        assert_eq!(kind(&format!("{field}\n{ordinary}")), Kind::Normal, "{field}");
        let in_part = ordinary.replace(TYPE, &format!("{TYPE}\n{field}"));
        if field.to_lowercase().starts_with("content-type") {
            assert_eq!(kind(&in_part), Kind::Normal, "{field}");
        }
        assert_eq!(
            kind(&after(&format!("--bound\n{field}\nContent-Type: text/html\nContent-Type: text/html\n\nhello"))),
            Kind::Normal
        );
    }
}

#[test]
fn boundaries() {
    let with = |parameter: &str| kind(&after("--bound\n\nhello").replacen("boundary=bound", parameter, 1));
    for parameter in
        ["boundary=\"bound\"", "BOUNDARY=bound", "x=y; boundary=bound (b)", "charset=utf-8;\n boundary=\n \"bound\""]
    {
        assert_eq!(with(parameter), Kind::Calendaring, "{parameter}");
    }
    for parameter in [
        "",
        "boundary=",
        "boundary=\"\"",
        "boundary=other",
        "boundary=boun",
        "boundary=bounds",
        "boundary=BOUND",
        "boundary=bound; boundary=bound",
        "boundary=bound; boundary=other",
        "boundary=\"bound \"",
        "boundary=\"bou\\nd\"",
        "boundary*=utf-8''bound",
        "boundary*0=bo; boundary*1=und",
        "boundary=\"=?utf-8?Q?bound?=\"",
        "boundary=\"bound\u{1}\"",
        "xboundary=bound",
    ] {
        assert_eq!(with(parameter), Kind::Normal, "{parameter}");
    }
    let huge = "b".repeat(71);
    assert_eq!(
        kind(&after("--bound\n\nhello").replace("bound", &huge).replace(&format!("{huge}ary"), "boundary")),
        Kind::Normal
    );
    let most = "b".repeat(70);
    assert_eq!(
        kind(&after("--bound\n\nhello").replace("bound", &most).replace(&format!("{most}ary"), "boundary")),
        Kind::Calendaring
    );
    let absurd = format!("Content-Type: multipart/mixed; boundary=\"{}\"\n\nhello", "b".repeat(1_000_000));
    assert_eq!(judged(&message(&absurd)), Kind::Normal);
}

#[test]
fn boundaries_that_begin_alike() {
    for parts in [
        "--bound\n\nhello\n--boundless",
        "--bound\n\nhello\n--bound-",
        "--bound\n\nhello\n--bound--x",
        "--bound\n\nhello\n--bound x",
        "--boundary\n\n--bound\n\nhello",
        "--bound\nContent-Type: multipart/mixed; boundary=bound\n\n--bound\n\nhello\n--bound--",
        "--bound\nContent-Type: multipart/mixed; boundary=bound2\n\n--bound2\n\nhello\n--bound2--",
        "--bound\nContent-Type: multipart/mixed; boundary=bou\n\n--bou\n\nhello\n--bou--",
    ] {
        assert_eq!(kind(&after(parts)), Kind::Normal, "{parts}");
    }
}

#[test]
fn multiparts_that_never_begin_or_end() {
    for parts in [
        "--bound--",
        "--bound\n\nhello\n--bound--",
        "--bound\nContent-Type: multipart/mixed\n\nhello",
        "--bound\nContent-Type: multipart\n\nhello",
        "--bound\nContent-Type: multipart/mixed; boundary=in\n\nhello",
        "--bound\nContent-Type: multipart/mixed; boundary=in\n\n--in--",
        "--bound\nContent-Type: multipart/mixed; boundary=in\n\n--in\n\nhello",
        "--bound\nContent-Type: multipart/mixed; boundary=in\nContent-Transfer-Encoding: base64\n\n--in\n\nhello\n--in--",
        "--bound\nContent-Type: multipart/mixed; boundary=in\n\n--in\n\nhello\n--in--\n--in\n",
    ] {
        let expected = if parts.ends_with("--in--\n--in\n") { Kind::Calendaring } else { Kind::Normal };
        assert_eq!(kind(&after(parts)), expected, "{parts}");
    }
    let ordinary = after("--bound\n\nhello");
    for end in ["\n--bound--\n", "END:VCALENDAR", "METHOD"] {
        let cut = ordinary.rfind(end).expect("it is there");
        assert_eq!(kind(&ordinary[..cut]), Kind::Normal, "truncated before {end:?}");
    }
    assert_eq!(kind(ordinary.trim_end()), Kind::Calendaring, "without a line end at the end");
    assert_eq!(
        kind(&ordinary.replace("--bound--\n", "--bound\n")),
        Kind::Calendaring,
        "what comes after does not matter"
    );
}

#[test]
fn header_sections_of_parts() {
    for fields in [
        "no field",
        " folded first",
        ": no name",
        "Content Type: text/plain",
        "X-A: b\n \nX-C: d",
        "X-\u{e9}: b",
        "--X: b",
    ] {
        assert_eq!(kind(&after(&format!("--bound\n{fields}\n\nhello"))), Kind::Normal, "before: {fields}");
        assert_eq!(
            kind(&after("--bound\n\nhello").replace(TYPE, &format!("{fields}\n{TYPE}"))),
            Kind::Normal,
            "in it: {fields}"
        );
    }
    assert_eq!(kind(&after("--bound\n--bound\n\nhello")), Kind::Normal, "no empty line");
    assert_eq!(kind(&after("--bound\nX-A:\u{e9}\n b:\nX-B :\n\nhello")), Kind::Calendaring);
}

#[test]
fn broken_encodings() {
    let encoded = base64(REQUEST);
    let in_base64 = |text: &str| {
        let fields = format!("{TYPE}\nContent-Transfer-Encoding: base64");
        kind(&after("--bound\n\nhello").replace(TYPE, &fields).replace(REQUEST, text))
    };
    assert_eq!(in_base64(&encoded), Kind::Calendaring);
    assert_eq!(in_base64(&format!("\n {encoded}\n\n")), Kind::Calendaring);
    for broken in [
        REQUEST.to_owned(),
        format!("{encoded}!"),
        format!("{encoded}A"),
        format!("{encoded}\n-- \nlist footer"),
        format!("{encoded}===="),
        format!("QUJD==\n{encoded}"),
        encoded[..encoded.len() - 1].to_owned(),
        encoded.replacen('\n', "\n\u{e9}", 1),
        encoded.replacen('\n', "\n-", 1),
    ] {
        assert_eq!(in_base64(&broken), Kind::Normal, "{broken}");
    }
    let in_qp = |text: &str| {
        let fields = format!("{TYPE}\nContent-Transfer-Encoding: Quoted-Printable");
        kind(&after("--bound\n\nhello").replace(TYPE, &fields).replace(REQUEST, text))
    };
    assert_eq!(in_qp(REQUEST), Kind::Calendaring);
    assert_eq!(in_qp(&REQUEST.replace("METHOD:REQUEST", "METH=4FD:=\nRE=  \nQUEST")), Kind::Calendaring);
    assert_eq!(in_qp(&REQUEST.replace("METHOD:REQUEST", "METH=4fD=3APUBL=\nISH")), Kind::Normal);
    for broken in ["=", "=4", "=XY", "= 41", "==", "=4=\n1", "=00", "=0Dx"] {
        assert_eq!(in_qp(&REQUEST.replace("Planning", &format!("{broken}z"))), Kind::Normal, "{broken}");
    }
    // In a part before it.
    for part in [
        "Content-Transfer-Encoding: base64\n\nhello!",
        "Content-Transfer-Encoding: quoted-printable\n\n=XY",
        "Content-Transfer-Encoding: x-unknown\n\nhello",
    ] {
        assert_eq!(kind(&after(&format!("--bound\n{part}"))), Kind::Normal, "{part}");
    }
    for encoding in ["x-uuencode", "base64 (really)", "base64, 7bit", ""] {
        let fields = format!("{TYPE}\nContent-Transfer-Encoding: {encoding}");
        assert_eq!(kind(&after("--bound\n\nhello").replace(TYPE, &fields)), Kind::Normal, "{encoding}");
    }
}

#[test]
fn nul_and_bare_cr() {
    let ordinary = message(&after("preamble\n--bound\n\nhello"));
    let calendar_end = ordinary.enough().expect("an answer") - "--bound--\r\n".len();
    for odd in [&b"\0"[..], b"\r", b"x\ry"] {
        for at in 0..calendar_end - 2 {
            let mut hostile = ordinary.clone();
            hostile.body.splice(at..at, odd.iter().copied());
            // Only one in a line that is then no delimiter, or only a CR before one, leaves the structure whole.
            assert_eq!(hostile.whole(), Kind::Normal, "{odd:?} at {at}");
        }
    }
    assert_eq!(kind(&format!("Content-Type: text/calendar;\0 method=REQUEST\n\n{REQUEST}")), Kind::Normal);
    let encoded = base64(&REQUEST.replace("SUMMARY:", "SUMMARY:\r"));
    assert_eq!(kind(&format!("{TYPE}\nContent-Transfer-Encoding: base64\n\n{encoded}")), Kind::Normal);
    let encoded = base64(&REQUEST.replace("SUMMARY:", "SUMMARY:\0"));
    assert_eq!(kind(&format!("{TYPE}\nContent-Transfer-Encoding: base64\n\n{encoded}")), Kind::Normal);
}

#[test]
fn bare_lf_ends_a_line() {
    let text = after("--bound\n\nhello");
    let (header, body) = text.split_once("\n\n").expect("a body");
    assert_eq!(with_body(header, body).kind(), Kind::Calendaring);
}

#[test]
fn absurd_nesting() {
    let nested: String = (0..10_000)
        .map(|level| format!("--b{level}x\nContent-Type: multipart/mixed; boundary=b{}x\n\n", level + 1))
        .collect();
    let text =
        format!("Content-Type: multipart/mixed; boundary=b0x\n\n{nested}--b10000x\n{TYPE}\n\n{REQUEST}\n--b10000x--\n");
    assert_eq!(judged(&message(&text).set(|settings| settings.body_limit = 16 << 20)), Kind::Normal);
    let messages = "Content-Type: message/rfc822\n\n".repeat(200_000);
    assert_eq!(
        judged(
            &message(&format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n{messages}\n--b--\n"))
                .set(|settings| settings.body_limit = 16 << 20)
        ),
        Kind::Normal
    );
    let comments = format!("Content-Type: text/calendar; {}method=REQUEST\n\n{REQUEST}", "(".repeat(100_000));
    assert_eq!(judged(&message(&comments)), Kind::Normal);
    let comments = format!("Auto-Submitted: {}auto-replied\n\n", "(".repeat(1_000_000));
    assert_eq!(judged(&message(&comments)), Kind::Normal);
}

#[test]
fn many_parts_fields_and_parameters() {
    let set = |message: Message| message.set(|settings| settings.body_limit = 16 << 20);
    let parts = "--b\n\n\n".repeat(50_000);
    assert_eq!(
        judged(&set(message(&format!("Content-Type: multipart/mixed; boundary=b\n\n{parts}--b--\n")))),
        Kind::Normal
    );
    let dashes = "--\n".repeat(500_000);
    assert_eq!(judged(&set(message(&format!("Content-Type: multipart/mixed; boundary=b\n\n{dashes}")))), Kind::Normal);
    let fields = "X-A: b\n".repeat(100_000);
    assert_eq!(
        judged(&set(message(&format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n{fields}\n\n--b--\n")))),
        Kind::Normal
    );
    let parameters: String = (0..60_000).map(|number| format!("; a{number}*1=b")).collect();
    assert_eq!(judged(&message(&format!("Content-Type: multipart/mixed{parameters}\n\n"))), Kind::Normal);
    let words = "=?aa?q?".repeat(100_000);
    assert_eq!(judged(&message(&format!("Content-Type: multipart/mixed; boundary=\"{words}\"\n\n"))), Kind::Normal);
    let folds = "X:\n".to_owned() + &" a\n".repeat(500_000);
    assert_eq!(judged(&set(message(&format!("{TYPE}\n\nBEGIN:VCALENDAR\n{folds}")))), Kind::Calendaring);
    let from = format!("From: {}\nAuto-Submitted: auto-replied\n\n", "=?aa?q?".repeat(100_000));
    assert_eq!(judged(&message(&from).null_sender()), Kind::AutomaticReply);
    let calendars = format!("--b\n{TYPE}\n\nBEGIN:VCALENDAR\nMETHOD:PUBLISH\n").repeat(20_000);
    assert_eq!(
        judged(&set(message(&format!("Content-Type: multipart/mixed; boundary=b\n\n{calendars}--b--\n")))),
        Kind::Normal
    );
}
