//! What holds for any message.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Kind, Message, REQUEST, with_body};

/// Pieces that messages, and attacks on them, are made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "--a\r\n",
        "--b\r\n",
        "--ab\r\n",
        "--a--\r\n",
        "--b--\r\n",
        "--ab--",
        "--",
        "-",
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        ":",
        "a\r\n",
        "\r\n\r\n",
        "Content-Type: ",
        "Content-Type: text/calendar; method=REQUEST\r\n",
        "Content-Type: text/calendar\r\n\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        "Content-Type: multipart/alternative; boundary=\"a\"\r\n",
        "Content-Type: multipart/report; boundary=b\r\n\r\n",
        "Content-Type: multipart/report; boundary=b; report-type=delivery-status\r\n\r\n",
        "Content-Type: message/delivery-status\r\n\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Type: application/ms-tnef\r\n",
        "Content-Type: application/pdf\r\n\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "Content-Disposition: attachment; filename=a\r\n",
        "BEGIN:VCALENDAR\r\n",
        "METHOD:REQUEST\r\n",
        "METHOD:PUBLISH\r\n",
        "BEGIN:VEVENT\r\n",
        "END:VEVENT\r\n",
        "END:VCALENDAR\r\n",
        REQUEST,
        "QkVHSU46VkNBTEVOREFSDQo=\r\n",
        "=\r\n",
        "=3D",
        "=",
        ";",
        "(",
        ")",
        "\"",
        "\\",
        "*0*=",
        "''",
        "=?utf-8?B?",
    ]);
    prop_oneof![9 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..8)]
}

fn content_type() -> impl Strategy<Value = String> {
    let known = select(vec![
        "multipart/mixed; boundary=a",
        "multipart/alternative; boundary=\"a\"",
        "multipart/signed; boundary=a",
        "multipart/report; boundary=a",
        "multipart/report; boundary=a; report-type=disposition-notification",
        "text/calendar; method=REQUEST",
        "text/calendar",
        "application/ms-tnef",
        "text/plain",
        "multipart/mixed",
    ]);
    prop_oneof![
        9 => known.prop_map(str::to_owned),
        1 => "(multipart|text/calendar)?[ -~]{0,40}",
        1 => vec(select(vec!["multipart/", "text/calendar", ";", "boundary", "method", "*", "0", "1", "=", "\"", "'", "(", ")", "\\", "=?a-b?q?x?=", "=?utf-8?b?YQ==?=", "%41", " ", "a"]), 0..20)
            .prop_map(|pieces| pieces.concat()),
    ]
}

prop_compose! {
    fn any_message()(
        content_type in content_type(),
        extra in select(vec!["", "Content-Type: text/plain\n", "Content-Class: urn:content-classes:calendarmessage\n",
            "Auto-Submitted: auto-replied\n", "X-Failed-Recipients: a\n", "Content-Transfer-Encoding: base64\n"]),
        body in vec(piece(), 0..40),
        flags in any::<[bool; 5]>(),
        limit in prop_oneof![Just(128 << 10), 1usize..400],
        most in prop_oneof![3 => Just(None), 1 => (0usize..400).prop_map(Some)],
    ) -> Message {
        let mut message = with_body(&format!("{extra}Content-Type: {content_type}\nSubject: x"), body.concat());
        message.null_sender = flags[0];
        message.settings.lenient_calendaring = flags[1];
        message.settings.calendaring_alone = flags[2] && flags[4];
        message.settings.weak_automatic_reply = flags[3];
        message.settings.body_limit = limit;
        message.settings.calendaring_max_size = most;
        message
    }
}

prop_compose! {
    /// A meeting as it should be, in multiparts of any depth and after any number of other parts.
    fn meeting()(depth in 1usize..6, before in vec("[A-Za-z0-9 ,.]{0,60}", 0..4)) -> Message {
        let mut part = format!("Content-Type: text/calendar; method=REQUEST\n\n{REQUEST}");
        for level in 0..depth {
            let texts: String = before.iter().map(|text| format!("--{level}x\nContent-Type: text/plain\n\n{text}\n")).collect();
            part = format!("Content-Type: multipart/mixed; boundary={level}x\n\n{texts}--{level}x\n{part}\n--{level}x--\n");
        }
        super::message(&part)
    }
}

proptest! {
    /// No input stops the judgement, and no way of cutting a body changes the answer but for the safe one.
    #[test]
    fn cutting_the_body_gives_the_same_or_the_safe_answer(message in any_message()) {
        message.kind();
    }

    /// Only the first bytes up to the limit count.
    #[test]
    fn bytes_past_the_limit_do_not_matter(mut message in any_message(), more in vec(piece(), 0..10)) {
        message.settings.body_limit = message.settings.body_limit.min(400);
        message.body.resize(message.body.len().max(message.settings.body_limit), b'x');
        let before = message.whole();
        message.body.extend(more.concat());
        prop_assert_eq!(message.whole(), before);
    }

    /// Once no more is wanted, any other end of the body gives the same answer.
    #[test]
    fn another_end_of_the_body_does_not_matter(message in any_message(), more in vec(piece(), 0..10)) {
        for read in 0..message.body.len() {
            if !message.wants_body(read) {
                let known = message.classify(read, false);
                let mut other = message.clone();
                other.body.truncate(read);
                other.body.extend(more.concat());
                prop_assert_eq!(other.whole(), known);
                break;
            }
        }
    }

    #[test]
    fn a_meeting_is_found_at_any_depth(meeting in meeting()) {
        prop_assert_eq!(meeting.kind(), Kind::Calendaring);
    }

    /// A change of any one byte gets no more than the safe answer or the same one.
    #[test]
    fn a_changed_byte_never_panics(mut meeting in meeting(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let at = at.index(meeting.body.len());
        meeting.body[at] = byte;
        prop_assert!(matches!(meeting.kind(), Kind::Calendaring | Kind::Normal));
    }

    /// A calendar in a message that is not multipart, or not said to be a calendar, is text.
    #[test]
    fn text_is_text(body in vec(piece(), 0..20)) {
        let message = with_body("Content-Type: text/plain; x=multipart/mixed", body.concat());
        prop_assert_eq!(message.kind(), Kind::Normal);
        prop_assert!(!message.wants_body(0));
    }
}
