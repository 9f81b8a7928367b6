//! `conbool-milter setup edge` with a real Postfix on either side: made by postmulti(1) beside another instance, and as the
//! host's only one.

mod lab;

use std::process::ExitCode;

use lab::Error;
use lab::edge::{Edge, Host};
use lab::mail::{Ending, Mail, Sender, Sent};
use lab::process::wait_for;
use lab::report::{Report, TOKEN_FIELD};

fn main() -> ExitCode {
    lab::main(|| {
        // Before any thread has a file system of its own.
        lab::daemon::program()?;
        Ok(vec![lab::trial("an_edge_beside_another_instance", beside)])
    })
}

/// A message with a name by which its copies are found.
fn mail(token: &str, from: &str, recipients: &[&str], more: &str) -> Mail {
    let text = format!(
        "{TOKEN_FIELD}: {token}\r\n{more}From: {from}\r\nSubject: test\r\nMessage-ID: <{token}@customer.test>\r\n\r\nHello\r\n"
    );
    Mail {
        via: Sender::Internal,
        from: format!("FROM:<{from}>"),
        recipients: recipients.iter().map(|recipient| format!("TO:<{recipient}>")).collect(),
        message: text.into_bytes(),
        ending: Ending::Dot,
    }
}

/// Waits until the copies of a message are where they should be, and nowhere else.
fn copies(edge: &Edge, token: &str, sent: &Sent, expected: &[(&str, &str)]) -> Result<Report, Error> {
    let id = sent.queue_id.clone().ok_or_else(|| format!("{token} was not taken: {sent:?}"))?;
    let mut found = Vec::new();
    let reached = wait_for("the copies", || {
        let report = Report::now(&edge.site, token, &id);
        found = report
            .copies
            .iter()
            .map(|copy| (copy.recipient.clone(), copy.place.to_string(), copy.text.clone()))
            .collect();
        let same =
            found.iter().map(|(recipient, place, _)| (recipient.as_str(), place.as_str())).eq(expected.iter().copied());
        (same && report.settled).then_some(report)
    });
    reached.map_err(|error| format!("{token}: {error}: {found:?}\n{}", edge.site.postfix.log()).into())
}

fn beside() -> Result<(), Error> {
    let edge = Host::new("edge-beside", "", true)?.apply("")?;
    let sent = edge.from_desk(&mail("offer", "alice@customer.test", &["carol@remote.test"], ""))?;
    copies(&edge, "offer", &sent, &[("carol@remote.test", "relay.conbool.test")])?;
    Ok(())
}
