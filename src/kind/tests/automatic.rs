//! Automatic replies.

use super::{Kind, kind, message};

#[test]
fn auto_submitted_auto_replied() {
    for value in [
        "auto-replied",
        "Auto-Replied",
        "(vacation) auto-replied (out (of) office)",
        "\n auto-replied",
        "auto-replied; owner-email=\"alice@customer.test\"",
        "auto-replied ; x=(\"y\")",
        "(a\\)b) auto-replied",
    ] {
        assert_eq!(kind(&format!("Auto-Submitted: {value}\n\nI am away")), Kind::AutomaticReply, "{value}");
    }
}

#[test]
fn signs_that_never_count_alone() {
    for field in [
        "Auto-Submitted: auto-generated",
        "Auto-Submitted: no",
        "Auto-Submitted: (auto-replied)",
        "Auto-Submitted: auto-replied-not",
        "X-Auto-Response-Suppress: All",
        "Precedence: bulk",
        "Precedence: list",
        "Subject: Automatic reply: out of office",
        "X-Original: auto-replied",
    ] {
        let strict = message(&format!("{field}\n\nhello"));
        assert_eq!(strict.kind(), Kind::Normal, "{field}");
        assert_eq!(strict.set(|settings| settings.weak_automatic_reply = true).kind(), Kind::Normal, "{field}");
    }
}

#[test]
fn a_contradicted_auto_submitted_does_not_count() {
    assert_eq!(kind("Auto-Submitted: auto-replied\nAuto-Submitted: no\n\n"), Kind::Normal);
    assert_eq!(kind("Auto-Submitted: auto-generated\nAuto-Submitted: auto-replied\n\n"), Kind::Normal);
    assert_eq!(kind("Auto-Submitted: auto-replied\nAuto-Submitted: auto-replied\n\n"), Kind::AutomaticReply);
}

#[test]
fn exchange_out_of_office_has_the_null_sender() {
    let reply = message("X-MS-Exchange-Inbox-Rules-Loop: alice@customer.test\nSubject: Away\n\naway");
    assert_eq!(reply.kind(), Kind::Normal);
    assert_eq!(reply.null_sender().kind(), Kind::AutomaticReply);
}

#[test]
fn weak_signs_count_by_setting() {
    for field in ["X-Autoreply: yes", "Precedence: auto_reply", "X-Apple-Action: vacation"] {
        let reply = message(&format!("{field}\n\naway"));
        assert_eq!(reply.kind(), Kind::Normal, "{field}");
        assert_eq!(reply.set(|settings| settings.weak_automatic_reply = true).kind(), Kind::AutomaticReply, "{field}");
    }
    for field in ["X-Autoreply: no", "X-Autoreply:", "Precedence: auto_reply\nPrecedence: bulk"] {
        let other = message(&format!("{field}\n\n")).set(|settings| settings.weak_automatic_reply = true);
        assert_eq!(other.kind(), Kind::Normal, "{field}");
    }
}

#[test]
fn the_null_sender_alone_makes_nothing() {
    assert_eq!(message("Subject: hello\n\nhello").null_sender().kind(), Kind::Normal);
}

#[test]
fn the_header_section_is_enough() {
    assert_eq!(message("Auto-Submitted: auto-replied\n\naway").enough(), Some(0));
    assert_eq!(message("Content-Type: text/plain\n\nhello").enough(), Some(0));
    assert_eq!(message("Subject: no type\n\nhello").enough(), Some(0));
    // A meeting answered by a program is calendaring: the body is asked for.
    assert_ne!(
        message("Auto-Submitted: auto-replied\nContent-Type: multipart/mixed; boundary=b\n\n--b\n").enough(),
        Some(0)
    );
}
