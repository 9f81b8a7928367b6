//! What Postfix and Sendmail are told, each in its own way.

use conbool_milter::config::MailServer;
use conbool_milter::judge;
use conbool_milter::verdict::Mode;

use super::Daemon;
use super::milter_client::{Frame, commands};

#[test]
fn where_postfix_is_served_nothing_is_asked_of_it_for_sendmail() {
    let daemon = Daemon::start("postfix", judge::judge, |config| config.mail_server = Some(MailServer::Postfix));
    let (actions, _, macros) = daemon.connect().negotiate();
    assert_eq!(actions, 0x1 | 0x10 | 0x20);
    assert!(!macros.contains("rcpt_mailer"), "{macros:?}");
}

#[test]
fn the_other_mail_server_gets_a_temporary_error_for_every_message() {
    let tempfail = [('y', b"451 4.3.5 The mail system is not set up consistently; try again later\0".to_vec())];
    for (served, version) in [(MailServer::Postfix, "8.17.1.9"), (MailServer::Sendmail, "Postfix 3.7.11")] {
        let daemon = Daemon::start(version, judge::judge, |config| config.mail_server = Some(served));
        let mut client = daemon.connect();
        client.negotiate();
        client.connect_as(version, "10.1.1.1");
        for _ in 0..2 {
            assert_eq!(client.message("alice@customer.test", &[]), tempfail);
        }
    }
    for (served, version) in [(MailServer::Postfix, "Postfix 3.7.11"), (MailServer::Sendmail, "8.17.1.9")] {
        let daemon = Daemon::start(version, judge::judge, |config| config.mail_server = Some(served));
        let mut client = daemon.connect();
        client.negotiate();
        client.connect_as(version, "10.1.1.1");
        assert_eq!(commands(&client.message("bob@remote.test", &[])), "c");
    }
}

#[test]
fn sendmails_recipients_are_all_deleted_before_any_is_added() {
    let daemon = Daemon::start("sendmail", judge::judge, |config| config.sendmail.local_mailers = vec!["lmtp".into()]);
    let mut client = daemon.connect().ready_as_sendmail();
    client.mail("alice@customer.test");
    client.rcpt_of("<bob@remote.test>\0NOTIFY=NEVER", "esmtp", "bob@remote.test");
    client.rcpt_of("<@x.test:bob@remote.test>", "esmtp", "bob@remote.test");
    client.rcpt_of("<erin@customer.test>", "local", "erin");
    client.rcpt_of("<grace@lists.test>", "lmtp", "grace@lists.test");
    client.rcpt_of("<frank@customer.test>", "esmtp", "frank@customer.test");
    client.rcpt_of("<root@mail.customer.test>", "relay", "root@mail.customer.test");
    client.rcpt_of("<carol%[192.0.2.9]@customer.test>", "esmtp", "carol@[192.0.2.9]");
    client.header("X-Conbool-Route", "direct");
    let expected: [Frame; 7] = [
        ('-', b"<bob@remote.test>\0".to_vec()),
        ('-', b"<@x.test:bob@remote.test>\0".to_vec()),
        ('-', b"<carol%[192.0.2.9]@customer.test>\0".to_vec()),
        ('2', b"<bob@remote.test.conbool-relay.invalid>\0NOTIFY=NEVER ORCPT=rfc822;bob@remote.test\0".to_vec()),
        (
            '2',
            b"<carol%[192.0.2.9]@lit.conbool-relay.invalid>\0ORCPT=rfc822;carol%[192.0.2.9]@customer.test\0".to_vec(),
        ),
        ('m', b"\0\0\0\x01X-Conbool-Route\0\0".to_vec()),
        ('c', Vec::new()),
    ];
    assert_eq!(client.end(), expected);
}

#[test]
fn an_exemption_is_a_mark_for_sendmail_only_where_the_sender_is_in_scope() {
    let daemon = Daemon::start("exempt", judge::judge, |_| {});
    let mut client = daemon.connect().ready_as_sendmail();
    for (sender, commands_sent) in [("alice@customer.test", "-2c"), ("", "c"), ("x@lists.test", "c")] {
        client.mail(sender);
        client.rcpt_of("<bob@remote.test>", "esmtp", "bob@remote.test");
        client.header("Content-Class", "urn:content-classes:calendarmessage");
        let frames = client.end();
        assert_eq!(commands(&frames), commands_sent, "{sender}");
        if sender == "alice@customer.test" {
            // Without a sign that parameters of RFC 3461 are taken, none is sent.
            assert_eq!(frames[1].1, b"<bob@remote.test.conbool-direct.invalid>\0");
        }
        client.send('A', b"");
    }
    client.mail("x@lists.test");
    client.rcpt_of("<bob@remote.test>", "esmtp", "bob@remote.test");
    client.header("From", "alice@customer.test");
    assert_eq!(client.end()[1].1, b"<bob@remote.test.conbool-relay.invalid>\0");
    let daemon = Daemon::start("watched", judge::judge, |config| config.modes.routing = Mode::Monitor);
    let mut client = daemon.connect().ready_as_sendmail();
    client.mail("alice@customer.test");
    client.rcpt_of("<bob@remote.test>", "esmtp", "bob@remote.test");
    assert_eq!(commands(&client.end()), "c");
}

#[test]
fn a_recipient_that_cannot_be_marked_is_neither_lost_nor_leaked() {
    let daemon = Daemon::start("unmarkable", judge::judge, |_| {});
    let mut client = daemon.connect().ready_as_sendmail();
    let long = format!("{}@remote.test", "l".repeat(230));
    let to_relay: &[(&str, &str)] = &[];
    let exempt = [("Content-Class", "urn:content-classes:calendarmessage")];
    for (address, fields, reply) in [
        (long.as_str(), to_relay, Some("553 5.1.3 Recipient <lll")),
        (&long, &exempt, None),
        ("a:b@remote.test", to_relay, Some("553 5.1.3 Recipient <a:b@remote.test> is too long, or not")),
        ("bob@remote.test.Conbool-Direct.invalid", to_relay, Some("553 5.1.3")),
        // Sendmail said nothing of it.
        ("", to_relay, Some("451 4.3.0")),
    ] {
        client.mail("alice@customer.test");
        client.rcpt_of(&format!("<{address}>"), "esmtp", address);
        for (name, value) in fields {
            client.header(name, value);
        }
        let frames = client.end();
        let (command, text) = frames.last().unwrap();
        assert_eq!((*command, frames.len()), (if reply.is_some() { 'y' } else { 'c' }, 1), "{frames:?}");
        assert!(String::from_utf8_lossy(text).starts_with(reply.unwrap_or_default()), "{frames:?}");
        client.send('A', b"");
    }
}

#[test]
fn a_sendmail_that_does_not_let_recipients_be_replaced_gets_a_temporary_error_where_they_must_be() {
    let daemon = Daemon::start("old-sendmail", judge::judge, |_| {});
    let mut client = daemon.connect();
    client.negotiate_actions(0x1 | 0x10 | 0x20 | 0x8);
    client.connect_as("8.13.8", "10.1.1.1");
    client.mail("alice@customer.test");
    client.rcpt_of("<bob@remote.test>", "esmtp", "bob@remote.test");
    assert_eq!(commands(&client.end()).chars().last(), Some('t'));
    client.send('A', b"");
    assert_eq!(commands(&client.message("bob@remote.test", &[])), "c");
}

#[test]
fn a_certificate_that_sendmail_did_not_verify_is_none() {
    let daemon = Daemon::start("certificates", judge::judge, |config| {
        config.relay.certificates = vec!["/O=Conbool Ltd/CN=relay.conbool.test".into()];
    });
    const CN: &str = "{cn_subject}\0relay.conbool.test\0";
    const NAME: &str = "{cert_subject}\0/O=Conbool+20Ltd/CN=relay.conbool.test\0";
    let ask = |version: &str, macros: &str| {
        let mut client = daemon.connect();
        client.negotiate();
        client.connect_as(version, "192.0.2.1");
        client.send('D', format!("Mi\0Q\0{{tls_version}}\0TLSv1.3\0{macros}").as_bytes());
        client.send('M', b"<x@remote.test>\0");
        client.rcpt_of("<alice@customer.test>", "local", "alice");
        commands(&client.end())
    };
    assert_eq!(ask("8.17.1.9", &format!("{{verify}}\0OK\0{CN}{NAME}")), "c");
    for verify in ["", "{verify}\0\0", "{verify}\0FAIL\0", "{verify}\0NO\0", "{verify}\0ok\0"] {
        assert_eq!(ask("8.17.1.9", &format!("{verify}{CN}{NAME}")), "y", "{verify}");
    }
    for name in
        ["", "{cert_subject}\0/O=Evil/CN=relay.conbool.test\0", "{cert_subject}\0/O=Conbool+2/CN=relay.conbool.test\0"]
    {
        assert_eq!(ask("8.17.1.9", &format!("{{verify}}\0OK\0{CN}{name}")), "y", "{name}");
    }
    // Postfix's is the CN, whatever it looks like.
    assert_eq!(ask("Postfix 3.7.11", "{cert_subject}\0/O=Conbool Ltd/CN=relay.conbool.test\0"), "y");
}
