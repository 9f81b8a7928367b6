//! The relay is away, is somebody else, or says no.

use std::time::{Duration, SystemTime};

use super::lab::certificates::{Authority, ClientCertificate};
use super::lab::dns::MX;
use super::lab::mail::Sender;
use super::lab::namespace::ROOT;
use super::lab::report::Place;
use super::lab::sendmail::Sendmail;
use super::lab::site::{MailServer, Site};
use super::lab::{Error, process::wait_for};
use super::{all, arrives, at_relay, copies, mail, taken};

const CAROL: &str = "carol@remote.test";

/// Sends a message that must wait in the queue; returns once it was tried by the session and by a run of the queue.
fn waits(site: &Site<Sendmail>, token: &str) -> Result<(), Error> {
    let id = taken(mail(token, &[CAROL], "").send(site)?)?;
    let tries = || {
        let log = site.mail_server.log();
        log.lines().filter(|line| line.starts_with(&format!("{id}: to=")) && line.contains("stat=Deferred")).count()
    };
    wait_for(&format!("two tries of {token}"), || (tries() >= 2 || !copies(site, token).is_empty()).then_some(()))?;
    arrives(site, token, &[]).map_err(|error| format!("{error}\n{}", site.mail_server.log()).into())
}

/// All that have waited arrive at the relay, with TLS, once each.
fn arrive(site: &Site<Sendmail>, tokens: &[&str]) -> Result<(), Error> {
    for token in tokens {
        arrives(site, token, &[(CAROL, at_relay())])?;
    }
    let without_tls = |received: &super::lab::smtp_host::Received| received.tls_version.is_none();
    if site.lab.host("relay.conbool.test").received().iter().any(without_tls) {
        return Err("in the clear".into());
    }
    Ok(())
}

pub fn cannot_prove() -> Result<(), Error> {
    // What the relay does not take, Sendmail tries there: a proper host with a proper certificate, but not the relay.
    let fallback = "define(`confFALLBACK_MX', `mx.remote.test')dnl\n";
    let site = Site::<Sendmail>::configured("cannot-prove", &all()?, fallback, "")?;
    let relay = site.lab.host("relay.conbool.test");
    let authority = &site.lab.authority;
    let ignored = ClientCertificate::Ignored;
    let name = "relay.conbool.test";
    let past = SystemTime::now() - Duration::from_secs(3600);
    let stranger = Authority::new(&site.lab.dir.join("stranger"))?;
    let proper = authority.server(&authority.issue("proper", name)?, ignored)?;

    relay.set_tls(None);
    waits(&site, "without-starttls")?;
    relay.set_tls(Some(authority.server(&authority.issue("elsewhere", "mx.remote.test")?, ignored)?));
    waits(&site, "wrong-name")?;
    relay.set_tls(Some(authority.server(&authority.issue_until("expired", name, Some(past))?, ignored)?));
    waits(&site, "expired")?;
    relay.set_tls(Some(stranger.server(&stranger.issue("stranger", name)?, ignored)?));
    waits(&site, "strange-authority")?;
    relay.stop();
    waits(&site, "away")?;
    relay.set_tls(Some(proper));
    relay.resume()?;
    arrive(&site, &["without-starttls", "wrong-name", "expired", "strange-authority", "away"])
}

/// The relay by a name that leads elsewhere by a CNAME or by the hosts file, which Sendmail follows.
pub fn leads_elsewhere() -> Result<(), Error> {
    let config = all()?
        .replace("host = \"relay.conbool.test\"", "host = \"smtp.conbool.test\"\ntls_name = \"relay.conbool.test\"");
    let mut site = Site::<Sendmail>::configured("leads-elsewhere", &config, "", "")?;
    let leads_to = |site: &mut Site<Sendmail>, host: &str| {
        let exchanges = MX.map(|(domain, exchange)| format!("{domain} MX 10 {exchange}"));
        let records: Vec<_> = exchanges.into_iter().chain([format!("smtp.conbool.test CNAME {host}")]).collect();
        site.lab.dns.serve_records(&records)
    };
    leads_to(&mut site, "plain.conbool.test")?;
    waits(&site, "cname-without-starttls")?;
    leads_to(&mut site, "wrong.conbool.test")?;
    waits(&site, "cname-wrong-name")?;
    // No other test here has a host of this name.
    let hosts = std::path::Path::new(ROOT).join("hosts");
    let before = std::fs::read_to_string(&hosts)?;
    std::fs::write(&hosts, format!("{before}127.0.3.3 smtp.conbool.test\n"))?;
    waits(&site, "hosts-without-starttls")?;
    std::fs::write(&hosts, format!("{before}127.0.3.2 smtp.conbool.test\n"))?;
    waits(&site, "hosts-wrong-name")?;
    std::fs::write(&hosts, before)?;
    leads_to(&mut site, "relay.conbool.test")?;
    arrive(&site, &["cname-without-starttls", "cname-wrong-name", "hosts-without-starttls", "hosts-wrong-name"])
}

pub fn says_no_to_some() -> Result<(), Error> {
    let site = Site::<Sendmail>::configured("says-no-to-some", &all()?, "", "")?;
    let relay = site.lab.host("relay.conbool.test");
    relay.order("later@remote.test", "450 4.2.0 try again", true);
    relay.order("never@remote.test", "550 5.1.1 no such user", false);
    let recipients = [CAROL, "later@remote.test", "never@remote.test", "bob@customer.test"];
    taken(mail("some", &recipients, "").send(&site)?)?;
    let expected = [(CAROL, at_relay()), ("later@remote.test", at_relay()), ("bob@customer.test", Place::Mailbox)];
    arrives(&site, "some", &expected)?;
    let report = wait_for("the bounce", || bounce_in_mailbox(&site))?;
    bounces_cleanly(&report, "never@remote.test")?;
    arrives(&site, "some", &expected)
}

/// The bounce in alice's mailbox.
fn bounce_in_mailbox(site: &Site<Sendmail>) -> Option<String> {
    let (_, mailbox) = site.lab.mailboxes().into_iter().find(|(address, _)| address == "alice@customer.test")?;
    let mut files = std::fs::read_dir(mailbox.join("new")).ok()?.flatten();
    files.find_map(|file| std::fs::read_to_string(file.path()).ok().filter(|text| text.contains("multipart/report")))
}

/// The fields for machines know nothing of the milter's marks (RFC 3464, 2.3).
fn bounces_cleanly(report: &str, recipient: &str) -> Result<(), Error> {
    let report = report.replace("\r\n", "\n");
    let fields =
        report.lines().filter(|line| line.starts_with("Final-Recipient:") || line.starts_with("Original-Recipient:"));
    let fields: Vec<_> = fields.map(str::to_ascii_lowercase).collect();
    let wrong = fields.iter().find(|line| {
        !line.trim_end().ends_with(&format!("rfc822; {recipient}"))
            && !line.trim_end().ends_with(&format!("rfc822;{recipient}"))
    });
    match (fields.is_empty(), wrong) {
        (false, None) => Ok(()),
        _ => Err(format!("the bounce is not about {recipient}:\n{report}").into()),
    }
}

/// The envelope sender is elsewhere, and the message belongs on the relay by its From field. While Sendmail writes the report,
/// it asks where that goes as if it were the message, so that it goes to the relay too: once, and nowhere else.
pub fn bounce_follows() -> Result<(), Error> {
    let site = Site::<Sendmail>::configured("bounce-follows", &all()?, "", "")?;
    let relay = site.lab.host("relay.conbool.test");
    relay.order("never@other.test", "550 5.1.1 no such user", false);
    let mut list = mail("list", &["never@other.test"], "");
    list.via = Sender::Internal;
    list.from = "FROM:<bounces@remote.test>".into();
    taken(list.send(&site)?)?;
    let bounce = wait_for("the bounce", || relay.received().pop())?;
    if !(bounce.sender.address.is_empty() && bounce.recipients.len() == 1) {
        return Err(format!("{bounce:?}").into());
    }
    bounces_cleanly(&String::from_utf8_lossy(&bounce.message), "never@other.test")?;
    match (relay.received().len(), site.lab.host("mx.remote.test").received().len()) {
        (1, 0) => Ok(()),
        counts => Err(format!("at the relay and elsewhere: {counts:?}").into()),
    }
}
