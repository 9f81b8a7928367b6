//! Faults seeded into a good installation, and what `doctor` says of each. On the good one it has nothing to say.
//!
//! The faults stand in `*.faults`, whose README tells how to read them.

#[path = "../lab/mod.rs"]
mod lab;

mod installation;
mod table;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use installation::{Breakable, Installation};
use lab::Error;
use lab::postfix::Postfix;
use lab::sendmail::Sendmail;
use table::{Expected, Fault};

fn main() -> ExitCode {
    lab::main(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
        let table = |name: &str| table::read(&folder.join(name).with_extension("faults"));
        let mut trials = vec![
            lab::trial("a_good_installation", good::<Postfix>),
            lab::trial("a_good_installation_with_sendmail", good::<Sendmail>),
        ];
        for name in ["config", "sockets", "mail-server", "queue", "dns", "relay"] {
            let faults = table(name)?;
            trials.push(lab::trial(&format!("faults_of_{name}"), move || seeded::<Postfix>(name, &faults)));
        }
        for name in ["sendmail", "sendmail-sockets", "sendmail-queue", "sendmail-relay"] {
            let faults = table(name)?;
            trials.push(lab::trial(&format!("faults_of_{name}"), move || seeded::<Sendmail>(name, &faults)));
        }
        trials.push(lab::trial("a_probe_arrives_by_way_of_the_relay", probe_arrives));
        trials.push(lab::trial("a_probe_arrives_by_way_of_sendmail", probe_arrives_by_sendmail));
        trials.push(lab::trial("a_probe_that_does_not_arrive", probe_is_deferred));
        Ok(trials)
    })
}

fn of_check<'a>(found: &'a [installation::Found], check: &str) -> Result<&'a installation::Found, Error> {
    let found = found.iter().find(|finding| finding.check == check);
    found.ok_or_else(|| format!("there is no finding {check}").into())
}

fn probe_arrives() -> Result<(), Error> {
    let installation = Installation::<Postfix>::new("probe")?;
    let found = installation.doctor(&["--probe", "carol@remote.test", "sockets"])?;
    if let Some(difference) = difference(&found, &[]) {
        return Err(difference.into());
    }
    let delivery = of_check(&found, "probe-delivery")?;
    if !delivery.seen.contains("sent by postfix/conbool-relay/smtp to relay.conbool.test") {
        return Err(format!("{delivery}").into());
    }
    let verdict = of_check(&found, "probe-verdict")?;
    if !verdict.seen.contains(": relay (") {
        return Err(format!("{verdict}").into());
    }
    let received = installation.received_by("relay.conbool.test");
    match received.as_slice() {
        [message] if message.contains("Subject: Probe of conbool-milter") => Ok(()),
        _ => Err(format!("the relay has {received:?}").into()),
    }
}

/// Its log is where syslog writes it elsewhere.
fn probe_arrives_by_sendmail() -> Result<(), Error> {
    let mut installation = Installation::<Sendmail>::new("sendmail-probe")?;
    // Sendmail takes no mail of senders who do not exist; every domain has this one (RFC 5321, 4.5.1).
    let step = "sed -i '1ipostmaster@customer.test\\talice' etc/virtusertable; makemap hash etc/virtusertable < etc/virtusertable";
    installation.break_by(&[table::Step::Shell(step.to_owned())])?;
    installation.show_log_as_syslogs()?;
    let found = installation.doctor(&["--probe", "carol@remote.test", "sockets"])?;
    if let Some(difference) = difference(&found, &[]) {
        return Err(difference.into());
    }
    let delivery = of_check(&found, "probe-delivery")?;
    if !delivery.seen.contains("sent by conbool to relay.conbool.test") || !delivery.seen.contains("Verified TLS") {
        return Err(format!("{delivery}").into());
    }
    Ok(())
}

fn probe_is_deferred() -> Result<(), Error> {
    let mut installation = Installation::<Postfix>::new("probe-deferred")?;
    let step = "postconf -P conbool-relay/unix/smtp_tls_secure_cert_match=wrong.conbool.test";
    installation.break_by(&[table::Step::Shell(step.to_owned())])?;
    let found = installation.doctor(&["--probe", "carol@remote.test", "sockets"])?;
    let delivery = of_check(&found, "probe-delivery")?;
    if delivery.status != "fail" || !delivery.seen.contains("deferred by") || !delivery.seen.contains("not verified") {
        return Err(format!("{delivery}").into());
    }
    Ok(())
}

fn good<M: Breakable>() -> Result<(), Error> {
    let installation = Installation::<M>::new(&format!("good-{}", M::NAME))?;
    let found = installation.doctor(&[])?;
    let areas: std::collections::BTreeSet<&str> = found.iter().map(|finding| finding.area.as_str()).collect();
    if areas.len() != 5 {
        return Err(format!("only {areas:?} were examined").into());
    }
    match difference(&found, &[]) {
        None => Ok(()),
        Some(difference) => Err(difference.into()),
    }
}

/// One installation, broken and mended again and again.
fn seeded<M: Breakable>(area: &str, faults: &[Fault]) -> Result<(), Error> {
    let mut installation = Installation::<M>::new(area)?;
    let mut wrong = String::new();
    for fault in faults {
        let areas: Vec<&str> = fault.expected.iter().map(|expected| expected.area.as_str()).collect();
        if let Err(error) = installation.break_by(&fault.steps) {
            writeln!(wrong, "== {}\n{error}", fault.name)?;
            break;
        }
        let found = installation.doctor(&areas)?;
        if let Some(difference) = difference(&found, &fault.expected) {
            writeln!(wrong, "== {}\n{difference}", fault.name)?;
        } else if fault.is_mended {
            let remedy = found.iter().find(|finding| finding.status != "pass").map(|finding| &*finding.mend);
            let taken = installation.take_remedy(remedy.unwrap_or_default());
            match taken.and_then(|()| installation.doctor(&areas)) {
                Ok(found) => {
                    if let Some(difference) = difference(&found, &[]) {
                        writeln!(wrong, "== {}, mended\n{difference}", fault.name)?;
                    }
                }
                Err(error) => writeln!(wrong, "== {}, mended\n{error}", fault.name)?,
            }
        }
        if let Err(error) = installation.mend() {
            writeln!(wrong, "== after {}\n{error}", fault.name)?;
            break;
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

/// How the findings that are no pass differ from the expected ones.
fn difference(found: &[installation::Found], expected: &[Expected]) -> Option<String> {
    let mut left: Vec<_> = found.iter().filter(|finding| finding.status != "pass").collect();
    let mut text = String::new();
    for expected in expected {
        match left.iter().position(|finding| expected.fits(finding)) {
            Some(at) => drop(left.remove(at)),
            None => text.push_str(&format!("  missing:    {expected}\n")),
        }
    }
    for finding in left {
        text.push_str(&format!("  unexpected: {finding}\n"));
    }
    (!text.is_empty()).then_some(text)
}
