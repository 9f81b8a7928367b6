//! What fails on the way: the milter at any stage of a message, the relay, its certificate, the name service. Nothing is
//! lost, nothing doubled, and nothing gets past the milter or the relay.

#[path = "../lab/mod.rs"]
mod lab;

mod load;
mod milter;
mod relay;

use std::process::ExitCode;

use lab::Error;
use lab::mail::{Ending, Mail, Sender, Sent};
use lab::postfix::Postfix;
use lab::process::wait_for;
use lab::report::{Place, Report, TOKEN_FIELD};
use lab::sendmail::Sendmail;
use lab::site::{MailServer, Site};

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("a_milter_that_breaks_off_at_any_stage_of_postfix", milter::breaks_off::<Postfix>),
            lab::trial("a_milter_that_breaks_off_at_any_stage_of_sendmail", milter::breaks_off::<Sendmail>),
            lab::trial("a_milter_that_hangs_is_given_up", milter::hangs),
            lab::trial("queued_mail_needs_the_daemon_only_without_a_mark", milter::queued_mail),
            lab::trial("what_cannot_prove_to_be_the_relay_gets_no_mail", relay::cannot_prove),
            lab::trial("a_name_that_leads_elsewhere_is_not_the_relay", relay::leads_elsewhere),
            lab::trial("the_relay_says_no_to_some_recipients", relay::says_no_to_some),
            lab::trial("a_bounce_of_relayed_mail_goes_the_same_way", relay::bounce_follows),
            lab::trial("clients_side_by_side_through_reloads", load::side_by_side),
            lab::trial("a_thousand_recipients", load::a_thousand_recipients),
        ])
    })
}

/// The configuration in which all hosted senders use the relay.
fn all() -> Result<String, Error> {
    Ok(std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?)
}

/// A message from alice, from a client inside, with this token and further header fields.
fn mail(token: &str, recipients: &[&str], fields: &str) -> Mail {
    let text = format!(
        "From: alice@customer.test\r\nTo: {}\r\nSubject: test\r\nMessage-ID: <{token}@customer.test>\r\n\
         {TOKEN_FIELD}: {token}\r\n{fields}\r\nHello\r\n",
        recipients.join(", ")
    );
    Mail {
        via: Sender::Internal,
        from: "FROM:<alice@customer.test>".into(),
        recipients: recipients.iter().map(|recipient| format!("TO:<{recipient}>")).collect(),
        message: text.into_bytes(),
        ending: Ending::Dot,
    }
}

/// The queue id of a message that the mail server must take.
fn taken(sent: Sent) -> Result<String, Error> {
    sent.queue_id.clone().ok_or_else(|| format!("not taken: {sent:?}").into())
}

/// Waits until the copies of a message are where they are expected, and nowhere else.
fn arrives(site: &Site<impl MailServer>, token: &str, expected: &[(&str, Place)]) -> Result<(), Error> {
    let mut last = Vec::new();
    let arrived = wait_for(&format!("the copies of {token}"), || {
        last = copies(site, token);
        (last.len() >= expected.len()).then_some(())
    });
    let mut expected: Vec<_> =
        expected.iter().map(|(recipient, place)| ((*recipient).to_owned(), place.clone())).collect();
    expected.sort();
    if last == expected {
        return Ok(());
    }
    let missing: Vec<_> = expected.iter().filter(|copy| !last.contains(copy)).collect();
    let others: Vec<_> = last.iter().filter(|copy| !expected.contains(copy)).collect();
    let counts = format!("{} copies of {token}, {} expected", last.len(), expected.len());
    Err(format!("{arrived:?}: {counts}; missing: {missing:?}; not expected: {others:?}").into())
}

/// Each recipient's copy and where it is, sorted.
fn copies(site: &Site<impl MailServer>, token: &str) -> Vec<(String, Place)> {
    let report = Report::arrived(site, token);
    let mut copies: Vec<_> = report.copies.into_iter().map(|copy| (copy.recipient, copy.place)).collect();
    copies.sort();
    copies
}

fn at(host: &str) -> Place {
    Place::Host(host.to_owned())
}

fn at_relay() -> Place {
    at("relay.conbool.test")
}
