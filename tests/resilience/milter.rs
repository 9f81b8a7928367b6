//! The milter breaks off, hangs, or is away.

use std::fs;
use std::path::PathBuf;

use super::lab::daemon::Daemon;
use super::lab::milter_proxy::{Fault, MilterProxy};
use super::lab::report::{Place, Report};
use super::lab::sendmail::Sendmail;
use super::lab::{Error, process::wait_for, site::MailServer, site::Site};
use super::{all, arrives, at, at_relay, copies, mail, taken};

/// Recipients of both kinds, and a field that only the relay may set: the milter has something to edit.
const RECIPIENTS: [&str; 2] = ["carol@remote.test", "bob@customer.test"];
const FORGED: &str = "X-Conbool-Released: yes\r\nContent-Type: multipart/mixed; boundary=b\r\n";

fn socket(site: &Site<impl MailServer>) -> PathBuf {
    site.lab.dir.join("queue/conbool/milter.sock")
}

pub fn breaks_off<M: MailServer>() -> Result<(), Error> {
    let site = Site::<M>::configured(&format!("breaks-off-{}", M::COMMAND), &all()?, "", "")?;
    let proxy = MilterProxy::in_place_of(&socket(&site))?;
    taken(mail("whole", &RECIPIENTS, FORGED).send(&site)?)?;
    let commands = proxy.commands();
    for needed in *b"OCMRLBE" {
        if !commands.contains(&needed) {
            return Err(format!("a message without the milter command {}: {commands:?}", char::from(needed)).into());
        }
    }
    if proxy.most_edits() == 0 {
        return Err("a message without an edit".into());
    }
    let at_end = (0..proxy.most_edits()).map(Fault::Edits).chain([Fault::Verdict]);
    let faults = commands.into_iter().map(Fault::Command).chain(at_end);
    let mut tokens = vec!["whole".to_owned()];
    for (index, fault) in faults.enumerate() {
        // The milter is gone from the middle of the session on; the next one finds it again.
        proxy.set(fault);
        let token = format!("broken-{index}");
        refused(&site, &token).map_err(|error| format!("{fault:?}: {error}"))?;
        if !proxy.has_struck() {
            return Err(format!("the message came to its end without {fault:?}").into());
        }
        tokens.push(format!("after-{index}"));
        taken(mail(&format!("after-{index}"), &RECIPIENTS, FORGED).send(&site)?)
            .map_err(|error| format!("after {fault:?}: {error}"))?;
    }
    for token in &tokens {
        arrives(&site, token, &[(RECIPIENTS[0], at_relay()), (RECIPIENTS[1], Place::Mailbox)])?;
        for copy in Report::arrived(&site, token).copies {
            if copy.arrived.is_some_and(|arrived| arrived.fields().iter().any(|(name, _)| name == "X-Conbool-Released"))
            {
                return Err(format!("{token}: a copy that the milter has not edited").into());
            }
        }
    }
    for index in 0..tokens.len() - 1 {
        arrives(&site, &format!("broken-{index}"), &[])?;
    }
    Ok(())
}

/// Sends a message that must be refused for now; a server may also hang up.
fn refused(site: &Site<impl MailServer>, token: &str) -> Result<(), Error> {
    let Ok(sent) = mail(token, &RECIPIENTS, FORGED).send(site) else { return Ok(()) };
    let replies = [Some(&sent.mail), sent.recipients.last(), sent.data.as_ref()];
    match replies.into_iter().flatten().next_back() {
        Some(last) if last.code == 0 || last.code / 100 == 4 => Ok(()),
        _ => Err(format!("{sent:?}").into()),
    }
}

/// Sendmail waits as long as `T=` says.
pub fn hangs() -> Result<(), Error> {
    let mut site = Site::<Sendmail>::configured("hangs", &all()?, "", "")?;
    let cf = site.mail_server.config().join("sendmail.cf");
    let text = fs::read_to_string(&cf)?;
    let (before, rest) = text.split_once("T=C:").ok_or("no times in sendmail.cf")?;
    let (_, after) = rest.split_once('\n').ok_or("no times in sendmail.cf")?;
    site.mail_server.stop();
    fs::write(&cf, format!("{before}T=C:2s;S:2s;R:2s;E:4s\n{after}"))?;
    let proxy = MilterProxy::in_place_of(&socket(&site))?;
    site.mail_server.run()?;
    // The session that found Sendmail ready must not take the first fault.
    wait_for("Sendmail's first session", || proxy.commands().contains(&b'C').then_some(()))?;
    for command in *b"OMRE" {
        proxy.set(Fault::Silence(command));
        let token = format!("silent-{}", char::from(command));
        refused(&site, &token)?;
        if !proxy.has_struck() {
            return Err(format!("{token}: it came to its end").into());
        }
    }
    taken(mail("afterwards", &RECIPIENTS, FORGED).send(&site)?)?;
    arrives(&site, "afterwards", &[(RECIPIENTS[0], at_relay()), (RECIPIENTS[1], Place::Mailbox)])?;
    for command in *b"OMRE" {
        arrives(&site, &format!("silent-{}", char::from(command)), &[])?;
    }
    Ok(())
}

/// What goes another way than its sender's mail carries its mark in the queue. For the rest, and for the copies of an alias,
/// Sendmail asks the daemon at each try, and waits for it.
pub fn queued_mail() -> Result<(), Error> {
    let mut site = Site::<Sendmail>::configured("queued-mail", &all()?, "", "")?;
    let (relay, world) = (site.lab.host("relay.conbool.test"), site.lab.host("mx.remote.test"));
    relay.stop();
    world.stop();
    let meeting = "Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\n\
                   BEGIN:VEVENT\r\nUID:1@customer.test\r\nORGANIZER:mailto:alice@customer.test\r\nEND:VEVENT\r\n\
                   END:VCALENDAR\r\n";
    let marked = taken(mail("marked", &["carol@remote.test"], meeting).send(&site)?)?;
    let unmarked = taken(mail("unmarked", &["carol@remote.test"], "").send(&site)?)?;
    let alias = taken(mail("alias", &["team@customer.test"], "").send(&site)?)?;
    let waits = |id: &str| {
        wait_for("a try in vain", || {
            site.mail_server
                .queue_file(id)
                .deliveries
                .iter()
                .any(|delivery| delivery.status == "deferred")
                .then_some(())
        })
    };
    for id in [&marked, &unmarked, &alias] {
        waits(id)?;
    }
    site.daemon.signal("KILL")?;
    wait_for("the daemon's end", || site.daemon.ended().then_some(()))?;
    relay.resume()?;
    world.resume()?;
    arrives(&site, "marked", &[("carol@remote.test", at("mx.remote.test"))])?;
    // By now the queue has been run without the daemon.
    arrives(&site, "unmarked", &[])?;
    if copies(&site, "alias") != [("bob@customer.test".to_owned(), Place::Mailbox)] {
        return Err(format!("without the daemon: {:?}", copies(&site, "alias")).into());
    }
    let dir = site.lab.dir.clone();
    site.daemon = Daemon::start(&dir.join("conbool-milter.toml"), &dir.join("daemon2.log"))?;
    arrives(&site, "unmarked", &[("carol@remote.test", at_relay())])?;
    arrives(&site, "alias", &[("bob@customer.test", Place::Mailbox), ("carol@remote.test", at_relay())])
}
