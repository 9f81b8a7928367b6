//! Delivery reports and read receipts.

use super::{Kind, kind, message};

const RECEIPT: &str = "--r

Your message was read.
--r
Content-Type: message/disposition-notification

Disposition: manual-action/MDN-sent-manually; displayed
--r--
";

#[test]
fn report_type_at_top_level_is_enough() {
    let bounce =
        message("Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n\n--b\n\n--b--\n");
    assert_eq!((bounce.kind(), bounce.enough()), (Kind::Bounce, Some(0)));
    let receipt = "Content-Type: Multipart/Report;\n\tboundary=\"r\";\n\tReport-Type=\"Disposition-Notification\"\n\n";
    assert_eq!(kind(&format!("{receipt}{RECEIPT}")), Kind::ReadReceipt);
    assert_eq!(kind(receipt), Kind::ReadReceipt);
}

#[test]
fn without_report_type_the_second_part_tells() {
    let head = "Content-Type: multipart/report; boundary=r\n\n";
    let receipt = message(&format!("{head}{RECEIPT}"));
    assert_eq!(receipt.kind(), Kind::ReadReceipt);
    assert!(receipt.enough() < Some(receipt.body.len() - 40), "its content does not matter");
    let bounce = RECEIPT.replace("disposition-notification", "delivery-status");
    assert_eq!(kind(&format!("{head}{bounce}")), Kind::Bounce);
    // The first part may be a multipart itself.
    let first = "--r\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\nread\n--i\nContent-Type: text/html\n\nread\n--i--\n";
    let rest = RECEIPT.split_once("read.\n").map(|(_, rest)| rest).expect("two parts");
    assert_eq!(kind(&format!("{head}{first}{rest}")), Kind::ReadReceipt);
    // A delivery status that is not the second part, or is inside another part, tells nothing.
    for other in [
        "--r\n\nhello\n--r\n\nhello\n--r\nContent-Type: message/delivery-status\n\n\n--r--\n",
        "--r\nContent-Type: message/delivery-status\n\n\n--r\n\nhello\n--r--\n",
        "--r\n\nhello\n--r\nContent-Type: message/rfc822\n\nContent-Type: message/delivery-status\n\n--r--\n",
        "--r\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\n--i\nContent-Type: message/delivery-status\n\n--i--\n--r--\n",
        "--r\n\nonly one\n--r--\n",
    ] {
        assert_eq!(kind(&format!("{head}{other}")), Kind::Normal, "{other}");
    }
}

#[test]
fn other_reports_are_neither() {
    for parameter in ["report-type=feedback-report", "report-type=\"\"", "report-type=delivery-status; report-type=x"] {
        let text = format!(
            "Content-Type: multipart/report; boundary=r; {parameter}\n\n--r\n\n--r\nContent-Type: text/plain\n\n--r--\n"
        );
        assert_eq!(kind(&text), Kind::Normal, "{parameter}");
    }
    assert_eq!(
        kind("Content-Type: multipart/mixed; boundary=r; report-type=delivery-status\n\n--r\n\n--r--\n"),
        Kind::Normal
    );
    assert_eq!(kind("Content-Type: text/plain; report-type=delivery-status\n\n"), Kind::Normal);
}

#[test]
fn signed_reports_and_those_with_a_list_footer() {
    let report =
        format!("Content-Type: multipart/report; report-type=disposition-notification; boundary=r\n\n{RECEIPT}");
    let signed = format!(
        "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=s\n\n--s\n{report}\n--s\nContent-Type: application/pkcs7-signature\n\n\n--s--\n"
    );
    assert_eq!(kind(&signed), Kind::ReadReceipt);
    let list = format!("Content-Type: multipart/mixed; boundary=l\n\n--l\n{report}\n--l\n\nlist footer\n--l--\n");
    assert_eq!(kind(&list), Kind::ReadReceipt);
    let untyped = list.replace("report-type=disposition-notification; ", "");
    assert_eq!(kind(&untyped), Kind::ReadReceipt);
    let both = format!("Content-Type: multipart/mixed; boundary=l\n\n--l\n{signed}\n--l\n\nlist footer\n--l--\n");
    assert_eq!(kind(&both), Kind::ReadReceipt);
    // Not the first part: a report that someone attached.
    let attached = format!("Content-Type: multipart/mixed; boundary=l\n\n--l\n\nlook\n--l\n{report}\n--l--\n");
    assert_eq!(kind(&attached), Kind::Normal);
    let forwarded =
        format!("Content-Type: multipart/mixed; boundary=l\n\n--l\nContent-Type: message/rfc822\n\n{report}\n--l--\n");
    assert_eq!(kind(&forwarded), Kind::Normal);
    let alternative = list.replace("multipart/mixed", "multipart/alternative");
    assert_eq!(kind(&alternative), Kind::Normal);
}

#[test]
fn bounces_that_are_no_report() {
    let exim = message(
        "X-Failed-Recipients: bob@remote.test\nAuto-Submitted: auto-replied\nFrom: Mail Delivery System <Mailer-Daemon@mx.remote.test>\n\nfailed",
    );
    assert_eq!(exim.kind(), Kind::AutomaticReply, "with a sender, anyone can write this");
    let exim = exim.null_sender();
    assert_eq!((exim.kind(), exim.enough()), (Kind::Bounce, Some(0)));
    assert_eq!(message("X-Failed-Recipients: bob@remote.test\n\nfailed").null_sender().kind(), Kind::Bounce);
    for from in [
        "mailer-daemon@googlemail.com",
        "Mail Delivery Subsystem <MAILER-DAEMON@mx.remote.test>",
        "MAILER-DAEMON (Mail Delivery System)",
        "MAILER-DAEMON",
        "<postmaster>",
        "\"Postmaster\" <postmaster@remote.test>",
        "nobody@remote.test (Nobody)",
    ] {
        let text = format!("From: {from}\nAuto-Submitted: auto-replied\n\nfailed");
        assert_eq!(message(&text).null_sender().kind(), Kind::Bounce, "{from}");
        assert_eq!(kind(&text), Kind::AutomaticReply, "{from}");
        let text = format!("From: {from}\n\nfailed");
        assert_eq!(message(&text).null_sender().kind(), Kind::Normal, "{from}");
    }
    for from in [
        "alice@customer.test",
        "mailer-daemon@remote.test, alice@customer.test",
        "mailer-daemon <alice@customer.test>",
        "mailer-daemon@remote.test\nFrom: alice@customer.test",
        "",
        "alice@customer.test (postmaster@customer.test)",
        "postmaster-team@remote.test",
    ] {
        let reply = message(&format!("From: {from}\nAuto-Submitted: auto-replied\n\naway")).null_sender();
        assert_eq!(reply.kind(), Kind::AutomaticReply, "{from}");
    }
}

#[test]
fn a_defect_is_no_report() {
    for head in [
        "Content-Type: multipart/report; report-type=delivery-status",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=a; boundary=b",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\nContent-Type: text/plain",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\nContent-Transfer-Encoding: base64",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\0\"",
    ] {
        assert_eq!(kind(&format!("{head}\n\n--b\n\nhello\n--b--\n")), Kind::Normal, "{head}");
    }
}
