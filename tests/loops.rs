//! Loops without a marker: a relay that strips it and sends everything back, and a gateway inside that does. The message
//! is held after a few rounds.

mod lab;

use std::process::ExitCode;

use lab::Error;
use lab::mail::{Ending, Mail, Sender};
use lab::postfix::Postfix;
use lab::process::wait_for;
use lab::sendmail::Sendmail;
use lab::site::{MailServer, Site};

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("a_message_that_goes_round_is_held_by_postfix", || goes_round::<Postfix>("quarantine")),
            lab::trial("a_message_that_goes_round_is_held_by_sendmail", || goes_round::<Sendmail>("quarantine")),
            lab::trial("a_message_that_goes_round_is_refused_by_postfix", || goes_round::<Postfix>("reject")),
            lab::trial("a_message_that_goes_round_is_refused_by_sendmail", || goes_round::<Sendmail>("reject")),
            lab::trial(
                "a_message_that_goes_round_by_a_gateway_inside_is_held_by_postfix",
                goes_round_inside::<Postfix>,
            ),
            lab::trial(
                "a_message_that_goes_round_by_a_gateway_inside_is_held_by_sendmail",
                goes_round_inside::<Sendmail>,
            ),
        ])
    })
}

fn first_mail() -> Mail {
    Mail {
        via: Sender::Internal,
        from: "FROM:<alice@customer.test>".into(),
        recipients: vec!["TO:<carol@remote.test>".into()],
        message: b"From: alice@customer.test\r\nTo: carol@remote.test\r\nSubject: round\r\n\r\nHello\r\n".to_vec(),
        ending: Ending::Dot,
    }
}

/// Sends the message four times, each time as it arrived at the relay, after the first time by this sender.
fn four_rounds(site: &Site<impl MailServer>, mail: &mut Mail, back: Sender) -> Result<(), Error> {
    let relay = site.lab.host("relay.conbool.test");
    for round in 1..=4 {
        let sent = mail.send(site)?;
        if sent.queue_id.is_none() {
            return Err(format!("round {round} was refused: {sent:?}").into());
        }
        wait_for("the message at the relay", || (relay.received().len() == round).then_some(()))?;
        mail.message = relay.received()[round - 1].message.clone();
        mail.via = back;
    }
    Ok(())
}

fn goes_round<M: MailServer>(action: &str) -> Result<(), Error> {
    let config = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    let config = format!("{config}\n[loops]\nmax_passes = 3\naction = \"{action}\"\n");
    let site = Site::<M>::configured(&format!("loop-{action}-{}", M::COMMAND), &config, "", "")?;
    let mut mail = first_mail();
    // The first time from a desk, then three times from the relay, without the marker that it should set.
    four_rounds(&site, &mut mail, Sender::Relay)?;
    let sent = mail.send(&site)?;
    match action {
        "reject" => {
            let reply = sent.data.ok_or("no reply to the message")?;
            if !(reply.code == 554 && reply.text.contains("5.4.6 Routing loop detected")) {
                return Err(format!("answered {reply:?}").into());
            }
        }
        _ => {
            let id = sent.queue_id.ok_or("not taken")?;
            let verdict = site.daemon.verdict(&id).ok_or("no line in the log")?;
            if (verdict["decision"].as_str(), verdict["reason"].as_str()) != (Some("quarantine"), Some("relay-loop")) {
                return Err(format!("logged {verdict}").into());
            }
            if !site.mail_server.queue_file(&id).held {
                return Err(format!("not held:\n{}", site.mail_server.log()).into());
            }
        }
    }
    match site.lab.host("relay.conbool.test").received().len() {
        4 => Ok(()),
        copies => Err(format!("{copies} copies at the relay").into()),
    }
}

/// The relay delivers to a gateway inside, which hands the message to this host again.
fn goes_round_inside<M: MailServer>() -> Result<(), Error> {
    let config = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    let site = Site::<M>::configured(
        &format!("loop-inside-{}", M::COMMAND),
        &format!("{config}\n[loops]\nmax_host_passes = 3\n"),
        "",
        "",
    )?;
    let mut mail = first_mail();
    four_rounds(&site, &mut mail, Sender::Internal)?;
    let sent = mail.send(&site)?;
    let queue_id = sent.queue_id.ok_or("refused instead of held")?;
    let verdict = wait_for("the verdict", || site.daemon.verdict(&queue_id))?;
    if (verdict["decision"].as_str(), verdict["reason"].as_str()) != (Some("quarantine"), Some("host-loop")) {
        return Err(format!("{verdict}").into());
    }
    Ok(())
}
