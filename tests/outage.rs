//! While the daemon is away, mail waits at the client: nothing goes past the milter, and nothing is lost.

mod lab;

use std::process::ExitCode;
use std::time::Duration;

use lab::Error;
use lab::daemon::Daemon;
use lab::mail::{Ending, Mail, Sender, connect};
use lab::postfix::Postfix;
use lab::process::wait_for;
use lab::sendmail::Sendmail;
use lab::site::{MailServer, Site};

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial(
                "mail_waits_while_the_daemon_of_postfix_is_stopped",
                mail_waits_while_the_daemon_is_stopped::<Postfix>,
            ),
            lab::trial(
                "mail_waits_while_the_daemon_of_sendmail_is_stopped",
                mail_waits_while_the_daemon_is_stopped::<Sendmail>,
            ),
            lab::trial("a_session_of_postfix_whose_daemon_is_killed", a_session_whose_daemon_is_killed::<Postfix>),
            lab::trial("a_session_of_sendmail_whose_daemon_is_killed", a_session_whose_daemon_is_killed::<Sendmail>),
        ])
    })
}

fn mail(via: Sender, recipient: &str, token: &str) -> Mail {
    let text = format!(
        "From: alice@customer.test\r\nTo: {recipient}\r\nSubject: test\r\nMessage-ID: <{token}@customer.test>\r\n\r\nHello\r\n"
    );
    Mail {
        via,
        from: "FROM:<alice@customer.test>".into(),
        recipients: vec![format!("TO:<{recipient}>")],
        message: text.into_bytes(),
        ending: Ending::Dot,
    }
}

/// A site of its own: other tests must not miss its daemon.
fn start<M: MailServer>(name: &str) -> Result<Site<M>, Error> {
    let config = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    Site::configured(&format!("{name}-{}", M::COMMAND), &config, "", "")
}

fn restart(site: &mut Site<impl MailServer>) -> Result<(), Error> {
    let dir = site.lab.dir.clone();
    site.daemon = Daemon::start(&dir.join("conbool-milter.toml"), &dir.join("daemon2.log"))?;
    Ok(())
}

fn arrived(site: &Site<impl MailServer>, token: &str) -> usize {
    let copies = |name: &str| {
        let received = site.lab.host(name).received();
        received.iter().filter(|message| String::from_utf8_lossy(&message.message).contains(token)).count()
    };
    copies("relay.conbool.test") + copies("mx.remote.test")
}

fn mail_waits_while_the_daemon_is_stopped<M: MailServer>() -> Result<(), Error> {
    let mut site = start::<M>("stopped")?;
    site.daemon.signal("TERM")?;
    wait_for("the daemon's end", || site.daemon.ended().then_some(()))?;
    for (via, recipient) in [(Sender::Internal, "carol@remote.test"), (Sender::World, "bob@customer.test")] {
        let sent = mail(via, recipient, "waiting")
            .send(&site)
            .map(|sent| sent.data.or(sent.recipients.last().cloned()).unwrap_or(sent.mail));
        // A mail server may also hang up after a first 451.
        if let Ok(reply) = sent
            && reply.code / 100 != 4
        {
            return Err(format!("answered {reply:?} without the daemon").into());
        }
    }
    if arrived(&site, "waiting@") != 0 {
        return Err("a message went out without the daemon".into());
    }
    restart(&mut site)?;
    let sent = mail(Sender::Internal, "carol@remote.test", "afterwards").send(&site)?;
    if sent.queue_id.is_none() {
        return Err(format!("not taken after the restart: {sent:?}").into());
    }
    wait_for("the message at the relay", || (arrived(&site, "afterwards@") == 1).then_some(()))?;
    Ok(())
}

fn a_session_whose_daemon_is_killed<M: MailServer>() -> Result<(), Error> {
    let mut site = start::<M>("killed")?;
    let mut client = connect(&site, Sender::Internal)?;
    for command in ["MAIL FROM:<alice@customer.test>", "RCPT TO:<carol@remote.test>"] {
        let reply = client.command(command)?;
        if !reply.is_positive() {
            return Err(format!("{command}: {reply:?}").into());
        }
    }
    site.daemon.signal("KILL")?;
    wait_for("the daemon's end", || site.daemon.ended().then_some(()))?;
    if let Ok(reply) = client.data(b"Subject: x\r\nMessage-ID: <killed@customer.test>\r\n\r\nHello\r\n")
        && reply.code / 100 != 4
    {
        return Err(format!("answered {reply:?} after the daemon was killed").into());
    }
    restart(&mut site)?;
    // The socket that the killed daemon left is replaced, and all goes on.
    let sent = mail(Sender::Internal, "carol@remote.test", "next").send(&site)?;
    if sent.queue_id.is_none() {
        return Err(format!("not taken after the restart: {sent:?}").into());
    }
    wait_for("the message at the relay", || (arrived(&site, "next@") == 1).then_some(()))?;
    std::thread::sleep(Duration::from_millis(200));
    if arrived(&site, "killed@") != 0 {
        return Err("the message of the killed daemon went out".into());
    }
    Ok(())
}
