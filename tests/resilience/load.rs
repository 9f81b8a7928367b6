//! Many clients, many recipients, and a daemon that loads its configuration meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::lab::Error;
use super::lab::mail::Mail;
use super::lab::process::wait_for;
use super::lab::report::Place;
use super::lab::sendmail::Sendmail;
use super::lab::site::Site;
use super::{all, arrives, at, at_relay, mail, taken};

/// How many clients send at a time, and how often the configuration is loaded meanwhile.
const CLIENTS: usize = 4;
const RELOADS: usize = 6;

/// A meeting request, which is exempt.
const MEETING: &str = "MIME-Version: 1.0\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n\
    BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n";

/// Messages of each kind in turn: for the relay and a mailbox, exempt, by an alias.
fn message(number: usize) -> (Mail, Vec<(&'static str, Place)>) {
    let token = format!("load-{number}");
    let mixed = ["carol@remote.test", "bob@customer.test"];
    match number % 3 {
        0 => (mail(&token, &mixed, ""), vec![(mixed[0], at_relay()), (mixed[1], Place::Mailbox)]),
        1 => {
            let exempt = mail(&token, &mixed, MEETING);
            (exempt, vec![(mixed[0], at("mx.remote.test")), (mixed[1], Place::Mailbox)])
        }
        _ => {
            let alias = mail(&token, &["team@customer.test"], "");
            (alias, vec![(mixed[1], Place::Mailbox), (mixed[0], at_relay())])
        }
    }
}

pub fn side_by_side() -> Result<(), Error> {
    let site = Site::<Sendmail>::configured("side-by-side", &all()?, "", "")?;
    let (numbers, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| -> Result<(), Error> {
        let client = || -> Result<(), String> {
            site.lab.enter().map_err(|error| error.to_string())?;
            while !stop.load(Ordering::Relaxed) {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let sent = message(number).0.send(&site).map_err(|error| error.to_string())?;
                taken(sent).map_err(|error| format!("message {number}: {error}"))?;
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let reloads = (1..=RELOADS).try_for_each(|reload| -> Result<(), Error> {
            let sent = numbers.load(Ordering::Relaxed);
            wait_for("messages between two reloads", || (numbers.load(Ordering::Relaxed) >= sent + 15).then_some(()))?;
            site.daemon.signal("HUP")?;
            let reloaded = || site.daemon.log().matches("configuration reloaded").count();
            Ok(wait_for("the reload", || (reloaded() >= reload).then_some(()))?)
        });
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client panicked")??;
        }
        reloads
    })?;
    let sent = numbers.into_inner();
    for number in 0..sent {
        arrives(&site, &format!("load-{number}"), &message(number).1)?;
    }
    eprintln!("{sent} messages of {CLIENTS} clients, {RELOADS} reloads: each copy arrived once, where it belongs");
    Ok(())
}

pub fn a_thousand_recipients() -> Result<(), Error> {
    let site = Site::<Sendmail>::configured("a-thousand-recipients", &all()?, "", "")?;
    let numbers = 0..500;
    let mut addresses: Vec<_> =
        numbers.flat_map(|n| [format!("r{n}@remote.test"), format!("r{n}@other.test")]).collect();
    addresses.extend(["bob@customer.test".into(), "team@customer.test".into(), "outside@customer.test".into()]);
    let recipients: Vec<_> = addresses.iter().map(String::as_str).collect();
    taken(mail("many", &recipients, "").send(&site)?)?;
    // The aliases lead to carol, to dora, and once more to bob, who gets one copy.
    let outside = recipients[..1000].iter().copied().chain(["carol@remote.test", "dora@other.test"]);
    let expected = |way: fn(&str) -> Place| -> Vec<_> {
        outside
            .clone()
            .map(|recipient| (recipient, way(recipient)))
            .chain([("bob@customer.test", Place::Mailbox)])
            .collect()
    };
    arrives(&site, "many", &expected(|_| at_relay()))?;
    taken(mail("many-exempt", &recipients, MEETING).send(&site)?)?;
    let exchange =
        |recipient: &str| at(if recipient.ends_with("@remote.test") { "mx.remote.test" } else { "mx.other.test" });
    arrives(&site, "many-exempt", &expected(exchange))
}
