//! Meeting requests and responses.

use super::{Kind, REQUEST, base64, kind, message};

/// A message that is the calendar alone.
fn single(fields: &str, calendar: &str) -> String {
    format!("{fields}\n\n{calendar}")
}

/// Text and calendar as alternatives: the shape of most clients.
fn alternative(part_fields: &str, calendar: &str) -> String {
    format!(
        "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"alt\"\n\n--alt\nContent-Type: text/plain; charset=utf-8\n\nPlanning\n--alt\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<p class=3D\"x\">Plan=\nning</p>\n--alt\n{part_fields}\n\n{calendar}\n--alt--\n"
    )
}

/// The text of a body part or message, put into another multipart with more parts after it.
fn mixed(first: &str, more: &[&str]) -> String {
    let first = first.trim_start_matches("MIME-Version: 1.0\n");
    let more: String = more.iter().map(|part| format!("\n--mix\n{part}")).collect();
    format!("Content-Type: multipart/mixed; boundary=mix\n\n--mix\n{first}{more}\n--mix--\n")
}

const TYPE: &str = "Content-Type: text/calendar; charset=UTF-8; method=REQUEST";

#[test]
fn shapes_of_the_wild() {
    let exchange = alternative(
        "Content-Type: text/calendar; charset=\"utf-8\"; method=REQUEST\nContent-Transfer-Encoding: base64",
        &base64(REQUEST),
    );
    assert_eq!(kind(&exchange), Kind::Calendaring, "Exchange, Outlook");
    let ics = format!(
        "Content-Type: application/ics; name=\"invite.ics\"\nContent-Disposition: attachment; filename=\"invite.ics\"\nContent-Transfer-Encoding: base64\n\n{}",
        base64(REQUEST)
    );
    assert_eq!(kind(&mixed(&alternative(TYPE, REQUEST), &[&ics])), Kind::Calendaring, "Google");
    let related = "Content-Type: multipart/related; boundary=rel\n\n--rel\nContent-Type: text/html\n\n<img src=\"cid:1\">\n--rel\nContent-Type: image/png\nContent-ID: <1>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--rel--\n";
    let inside = format!(
        "Content-Type: multipart/alternative; boundary=alt\n\n--alt\n{related}\n--alt\n{TYPE}\n\n{REQUEST}\n--alt--\n"
    );
    assert_eq!(kind(&mixed(&inside, &[&ics])), Kind::Calendaring, "related in alternative");
    assert_eq!(kind(&single(TYPE, REQUEST)), Kind::Calendaring, "single part");
    let mozilla = alternative(
        "Content-Type: text/calendar; method=REPLY; charset=UTF-8\nContent-Class: urn:content-classes:calendarmessage",
        &REQUEST.replace("REQUEST", "REPLY"),
    );
    assert_eq!(kind(&mozilla), Kind::Calendaring, "Mozilla reply");
    let proton = mixed(
        "Content-Type: text/plain\n\nInvitation",
        &[&format!(
            "Content-Type: text/calendar; name=invite.ics; method=request\nContent-Disposition: attachment; filename=invite.ics\n\n{REQUEST}"
        )],
    );
    assert_eq!(kind(&proton), Kind::Calendaring, "Proton");
    let signed = mixed(&alternative(TYPE, REQUEST), &["Content-Type: application/pkcs7-signature\n\n"])
        .replace("multipart/mixed", "multipart/signed");
    assert_eq!(kind(&signed), Kind::Calendaring, "signed");
}

#[test]
fn content_class_of_the_message() {
    let by_class = message("Content-Class: urn:content-classes:calendarmessage\nContent-Type: text/plain\n\nPlanning");
    assert_eq!((by_class.kind(), by_class.enough()), (Kind::Calendaring, Some(0)));
    assert_eq!(kind("content-class: URN:content-classes:CalendarMessage\n\nPlanning"), Kind::Calendaring);
    assert_eq!(kind("Content-Class: urn:content-classes:message\n\nhello"), Kind::Normal);
    let twice =
        "Content-Class: urn:content-classes:calendarmessage\nContent-Class: urn:content-classes:message\n\nhello";
    assert_eq!(kind(twice), Kind::Normal);
    // On another part, it says nothing.
    assert_eq!(
        kind(&mixed("Content-Class: urn:content-classes:calendarmessage\nContent-Type: text/plain\n\nhello", &[])),
        Kind::Normal
    );
}

#[test]
fn the_seven_methods() {
    for method in ["REQUEST", "REPLY", "CANCEL", "COUNTER", "DECLINECOUNTER", "REFRESH", "ADD", "add", "Reply"] {
        let calendar = REQUEST.replace("METHOD:REQUEST", &format!("METHOD:{method}"));
        let text = alternative(&format!("Content-Type: text/calendar; method={method}"), &calendar);
        assert_eq!(kind(&text), Kind::Calendaring, "{method}");
    }
    for method in ["PUBLISH", "publish", "X-REQUEST", "REQUESTS", "\"\"", ""] {
        let text = alternative(&format!("Content-Type: text/calendar; method={method}"), REQUEST);
        assert_eq!(kind(&text), Kind::Normal, "{method}");
    }
}

#[test]
fn any_form_of_the_method_parameter() {
    for fields in [
        "Content-Type: text/calendar; method=\"REQUEST\"",
        "Content-Type: Text/Calendar;METHOD=ReQuest",
        "Content-Type: text/calendar;\n\tmethod=REQUEST;\n\tcharset=utf-8",
        "Content-Type: text/calendar; charset=\"utf-8\";\n method =\n \"request\"",
        "Content-Type: text/calendar; method=\"REQ\\UEST\"",
        "Content-Type: text/calendar; method*=utf-8''REQUEST",
        "Content-Type: text/calendar; method*=us-ascii'en'%52EQUEST",
        "Content-Type: text/calendar; method*0=REQ; method*1=UEST",
        "Content-Type: text/calendar; method*1=UEST; method*0=REQ",
        "Content-Type: text/calendar; method*0*=utf-8''REQ; method*1*=UEST",
        "Content-Type: text/calendar; method*0=\"REQ\"; method*1=\"UEST\"",
        "Content-Type: text/calendar (meeting); method=REQUEST (asked)",
        "Content-Type: text/calendar; component=VEVENT; method=REQUEST; name=\"a; method=PUBLISH\"",
        "content-type : text/calendar; method=REQUEST",
    ] {
        assert_eq!(kind(&alternative(fields, REQUEST)), Kind::Calendaring, "in a part: {fields}");
        assert_eq!(kind(&single(fields, REQUEST)), Kind::Calendaring, "alone: {fields}");
    }
    for fields in [
        "Content-Type: text/calendar; name=\"a; method=REQUEST\"",
        "Content-Type: text/calendar; x-method=REQUEST",
        "Content-Type: text/calendar; (method=REQUEST)",
        "Content-Type: text/calendar; method=PUBLISH; method=REQUEST",
        "Content-Type: text/calendar; method=REQUEST; method=PUBLISH",
        "Content-Type: text/calendar; method=REQUEST; method*=utf-8''PUBLISH",
        "Content-Type: text/calendars; method=REQUEST",
        "Content-Type: text/plain; x=text/calendar; method=REQUEST",
        "Content-Description: text/calendar; method=REQUEST",
    ] {
        assert_eq!(kind(&alternative(fields, REQUEST)), Kind::Normal, "in a part: {fields}");
        assert_eq!(kind(&single(fields, REQUEST)), Kind::Normal, "alone: {fields}");
    }
}

#[test]
fn a_part_without_a_calendar_is_glued_on() {
    for calendar in
        ["", "\n\n", "hello", "BEGIN:VCARD\nEND:VCARD", "X-BEGIN:VCALENDAR\n", "METHOD:REQUEST\nBEGIN:VCALENDAR\n"]
    {
        assert_eq!(kind(&alternative(TYPE, calendar)), Kind::Normal, "{calendar:?}");
        assert_eq!(kind(&single(TYPE, calendar)), Kind::Normal, "{calendar:?}");
    }
    // A real one later in the message still counts.
    let both = mixed(&format!("{TYPE}\n\n"), &[&format!("{TYPE}\n\n{REQUEST}")]);
    assert_eq!(kind(&both), Kind::Calendaring);
}

#[test]
fn the_method_inside_must_agree() {
    let with = |line: &str| kind(&alternative(TYPE, &REQUEST.replace("METHOD:REQUEST", line)));
    for line in [
        "METHOD:REPLY",
        "method:request",
        "METHOD;X-A=\"b:c\":REQUEST",
        "METHOD:REQ\n UEST",
        "MET\n\tHOD:REQUEST",
        "METHOD: REQUEST ",
        "X-A:b",
    ] {
        assert_eq!(with(line), Kind::Calendaring, "{line}");
    }
    for line in [
        "METHOD:PUBLISH",
        "Method:publish",
        "METHOD:PUB\n LISH",
        "METH\n OD:PUBLISH",
        "METHOD;X-A=\"b:REQUEST\":PUBLISH",
        "METHOD;X-A=REQUEST:PUBLISH",
        "METHOD:",
        "METHOD",
        "METHOD:REQUEST\nMETHOD:PUBLISH",
        "METHOD:PUBLISH\nMETHOD:REQUEST",
    ] {
        assert_eq!(with(line), Kind::Normal, "{line}");
    }
    // Text that only looks like it: a folded description.
    assert_eq!(with("METHOD:REQUEST\nX-WR-CALDESC:see\n METHOD:PUBLISH"), Kind::Calendaring);
    // At the end of the calendar, or hidden in a component that is never closed.
    let late = REQUEST.replace("END:VCALENDAR", "METHOD:PUBLISH\nEND:VCALENDAR");
    assert_eq!(kind(&alternative(TYPE, &late)), Kind::Normal);
    assert_eq!(with("BEGIN:X-A\nMETHOD:PUBLISH"), Kind::Normal);
    let second = format!("{REQUEST}{}", REQUEST.replace("METHOD:REQUEST", "METHOD:PUBLISH"));
    assert_eq!(kind(&alternative(TYPE, &second)), Kind::Normal);
}

#[test]
fn a_calendar_begins_after_space_and_a_byte_order_mark() {
    for begin in ["\n\nBEGIN:VCALENDAR", "\u{feff}BEGIN:VCALENDAR", "begin:vcalendar", "BEGIN:\n VCALENDAR"] {
        assert_eq!(
            kind(&alternative(TYPE, &REQUEST.replacen("BEGIN:VCALENDAR", begin, 1))),
            Kind::Calendaring,
            "{begin}"
        );
    }
}

#[test]
fn an_attached_calendar_without_method_is_an_attachment() {
    let attached = "Content-Type: text/calendar; name=\"holidays.ics\"\nContent-Disposition: attachment; filename=\"holidays.ics\"";
    assert_eq!(kind(&mixed("Content-Type: text/plain\n\nsee", &[&format!("{attached}\n\n{REQUEST}")])), Kind::Normal);
    let octets = "Content-Type: application/octet-stream; name=\"invite.ics\"; method=REQUEST";
    assert_eq!(kind(&mixed("Content-Type: text/plain\n\nsee", &[&format!("{octets}\n\n{REQUEST}")])), Kind::Normal);
    let ics = "Content-Type: application/ics; name=\"invite.ics\"; method=REQUEST";
    assert_eq!(kind(&mixed("Content-Type: text/plain\n\nsee", &[&format!("{ics}\n\n{REQUEST}")])), Kind::Normal);
}

#[test]
fn a_calendar_in_another_message_does_not_count() {
    for fields in [
        "Content-Type: message/rfc822",
        "Content-Type: message/global",
        "Content-Type: message/rfc822\nContent-Disposition: inline",
    ] {
        let forwarded = format!("{fields}\n\n{}", alternative(TYPE, REQUEST));
        assert_eq!(kind(&mixed("Content-Type: text/plain\n\nfyi", &[&forwarded])), Kind::Normal, "{fields}");
        assert_eq!(kind(&forwarded), Kind::Normal, "{fields}");
    }
    // In a message that shares the outer boundary's beginning, too.
    let nested = alternative(TYPE, REQUEST).replace("\"alt\"", "mixture").replace("--alt", "--mixture");
    assert_eq!(
        kind(&mixed("Content-Type: text/plain\n\nfyi", &[&format!("Content-Type: message/rfc822\n\n{nested}")])),
        Kind::Normal
    );
    let bounce = format!(
        "Content-Type: multipart/report; report-type=delivery-status; boundary=r\n\n--r\n\nfailed\n--r\nContent-Type: message/delivery-status\n\n\n--r\nContent-Type: message/rfc822\n\n{}\n--r--\n",
        alternative(TYPE, REQUEST)
    );
    assert_eq!(kind(&bounce), Kind::Bounce);
    assert_eq!(kind(&bounce.replace("delivery-status", "other")), Kind::Normal);
}

#[test]
fn lenient_takes_the_method_from_the_calendar() {
    let apple = message(&alternative("Content-Type: text/calendar; charset=utf-8", REQUEST));
    assert_eq!(apple.kind(), Kind::Normal);
    assert_eq!(apple.lenient().kind(), Kind::Calendaring);
    let none = REQUEST.replace("METHOD:REQUEST\n", "");
    let published = REQUEST.replace("METHOD:REQUEST", "METHOD:PUBLISH");
    for (fields, calendar) in [
        ("Content-Type: text/calendar", none.as_str()),
        ("Content-Type: text/calendar", &published),
        ("Content-Type: text/calendar; method=PUBLISH", REQUEST),
    ] {
        assert_eq!(message(&alternative(fields, calendar)).lenient().kind(), Kind::Normal, "{fields}");
    }
}

/// A TNEF stream of version, message class and one attachment attribute.
fn tnef(class: &str) -> Vec<u8> {
    let attribute = |level: u8, name: u32, data: &[u8]| {
        let length = u32::try_from(data.len()).expect("a short attribute").to_le_bytes();
        let sum = data.iter().map(|&byte| u16::from(byte)).sum::<u16>().to_le_bytes();
        [&[level][..], &name.to_le_bytes(), &length, data, &sum].concat()
    };
    let class = format!("{class}\0");
    [
        &[0x78, 0x9f, 0x3e, 0x22, 1, 0][..],
        &attribute(1, 0x0008_9006, &[0, 0, 1, 0]),
        &attribute(1, 0x0007_8008, class.as_bytes()),
        &attribute(2, 0x0006_9002, &[0; 14]),
    ]
    .concat()
}

#[test]
fn lenient_takes_outlooks_own_format() {
    let with = |class: &str| {
        let stream: String = tnef(class).iter().map(|byte| format!("={byte:02X}")).collect();
        message(&format!(
            "Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: quoted-printable\n\n{stream}"
        ))
    };
    let classes = [
        "IPM.Microsoft Schedule.MtgReq",
        "IPM.Microsoft Schedule.MtgRespA",
        "IPM.Microsoft Schedule.MtgCncl",
        "IPM.Schedule.Meeting.Request",
        "IPM.Schedule.Meeting.Resp.Pos",
    ];
    for class in classes {
        assert_eq!(with(class).kind(), Kind::Normal, "{class}");
        assert_eq!(with(class).lenient().kind(), Kind::Calendaring, "{class}");
        assert_eq!(with(class).lenient().alone().kind(), Kind::Normal, "{class}: it may hold attachments");
    }
    for class in ["IPM.Microsoft Mail.Note", "IPM.Note", "IPM.Microsoft Schedule.", ""] {
        assert_eq!(with(class).lenient().kind(), Kind::Normal, "{class}");
    }
    let part = message(&mixed("Content-Type: text/plain\n\nsee", &["Content-Type: application/ms-tnef\n\nx\u{9f}>\""]));
    assert_eq!(part.lenient().kind(), Kind::Normal);
}

#[test]
fn alone_lets_no_attachment_ride_along() {
    let meeting = alternative(TYPE, REQUEST);
    assert_eq!(message(&meeting).alone().kind(), Kind::Calendaring);
    assert_eq!(message(&single(TYPE, REQUEST)).alone().kind(), Kind::Calendaring);
    for harmless in [
        "Content-Type: application/ics; name=invite.ics\nContent-Disposition: attachment\n\nx",
        "Content-Type: text/plain\n\nlist footer",
        "Content-Type: multipart/related; boundary=rel\n\n--rel\nContent-Type: text/html\n\nx\n--rel\nContent-Type: image/png; name=logo.png\n\nx\n--rel--",
    ] {
        assert_eq!(message(&mixed(&meeting, &[harmless])).alone().kind(), Kind::Calendaring, "{harmless}");
    }
    for attachment in [
        "Content-Type: application/pdf\n\nx",
        "Content-Type: text/plain; name=secret.txt\n\nx",
        "Content-Type: text/html\nContent-Disposition: attachment\n\nx",
        "Content-Type: text/plain\nContent-Disposition: inline; filename=secret.txt\n\nx",
        "Content-Type: image/png\n\nx",
        "Content-Type: message/rfc822\n\nSubject: x\n\nx",
        "Content-Type: application/pkcs7-signature\n\nx",
        "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: x\n\nx\n--d--",
    ] {
        let before = mixed(attachment, &[meeting.trim_start_matches("MIME-Version: 1.0\n")]);
        for text in [mixed(&meeting, &[attachment]), before] {
            assert_eq!(message(&text).kind(), Kind::Calendaring, "{attachment}");
            assert_eq!(message(&text).alone().kind(), Kind::Normal, "{attachment}");
        }
        let by_class =
            format!("Content-Class: urn:content-classes:calendarmessage\n{}", mixed(&meeting, &[attachment]));
        assert_eq!(message(&by_class).alone().kind(), Kind::Normal, "{attachment}");
    }
    let by_class = "Content-Class: urn:content-classes:calendarmessage\nContent-Type: ";
    assert_eq!(message(&format!("{by_class}text/plain\n\nx")).alone().kind(), Kind::Calendaring);
    assert_eq!(message(&format!("{by_class}application/pdf\n\nx")).alone().kind(), Kind::Normal);
    // A structure whose end is missing may hold anything.
    let truncated = meeting.trim_end_matches("--alt--\n").to_owned() + "--alt\nContent-Type: text/plain\n\nx";
    assert_eq!(message(&truncated).kind(), Kind::Calendaring);
    assert_eq!(message(&truncated).alone().kind(), Kind::Normal);
}

#[test]
fn a_bounce_or_receipt_comes_first_and_an_automatic_reply_last() {
    let meeting = single(&format!("Auto-Submitted: auto-replied\n{TYPE}"), REQUEST);
    assert_eq!(kind(&meeting), Kind::Calendaring);
    let failed = single(&format!("X-Failed-Recipients: bob@remote.test\n{TYPE}"), REQUEST);
    assert_eq!(message(&failed).null_sender().kind(), Kind::Bounce);
    // The first part is a calendar, but the second makes it a receipt.
    let report = format!(
        "Content-Type: multipart/report; boundary=r\n\n--r\n{TYPE}\n\n{REQUEST}\n--r\nContent-Type: message/disposition-notification\n\n--r--\n"
    );
    assert_eq!(kind(&report), Kind::ReadReceipt);
}
