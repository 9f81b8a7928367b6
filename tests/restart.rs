//! Restarts under load, with a socket that outlives the daemon: if they are planned, no client sees a temporary error;
//! after a kill, some do and try again; every message arrives once.

mod lab;

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lab::Error;
use lab::daemon::Daemon;
use lab::mail::{Ending, Mail, Sender};
use lab::postfix::Postfix;
use lab::process::wait_for;
use lab::sendmail::Sendmail;
use lab::site::{MailServer, Site};

/// How often the daemon is ended and started again.
const RESTARTS: usize = 12;

/// How many clients send at a time.
const CLIENTS: usize = 4;

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial(
                "planned_restarts_under_load_are_not_noticed_by_postfix",
                planned_restarts_under_load::<Postfix>,
            ),
            lab::trial(
                "planned_restarts_under_load_are_not_noticed_by_sendmail",
                planned_restarts_under_load::<Sendmail>,
            ),
            lab::trial("kills_under_load_lose_and_double_nothing_with_postfix", kills_under_load::<Postfix>),
            lab::trial("kills_under_load_lose_and_double_nothing_with_sendmail", kills_under_load::<Sendmail>),
        ])
    })
}

fn mail(number: usize) -> Mail {
    let text = format!(
        "From: alice@customer.test\r\nTo: carol@remote.test\r\nSubject: load\r\n\
         Message-ID: <load.{number}.@customer.test>\r\n\r\nHello\r\n"
    );
    Mail {
        via: Sender::Internal,
        from: "FROM:<alice@customer.test>".into(),
        recipients: vec!["TO:<carol@remote.test>".into()],
        message: text.into_bytes(),
        ending: Ending::Dot,
    }
}

/// The listening sockets at the places where the mail server looks for them, as socket units would make them: those that
/// the daemon had there.
fn sockets(site: &Site<impl MailServer>) -> Result<Vec<(&'static str, OwnedFd)>, Error> {
    let directory = site.lab.dir.join("queue/conbool");
    let group = fs::metadata(&directory)?.gid();
    let mut sockets = Vec::new();
    for name in ["milter", "socketmap"] {
        let path = directory.join(name).with_extension("sock");
        if path.exists() {
            fs::remove_file(&path)?;
            let listener = UnixListener::bind(&path)?;
            chown(&path, None, Some(group))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
            sockets.push((name, listener.into()));
        }
    }
    Ok(sockets)
}

/// What a client was told other than 250; `None` if the message was taken.
fn refused(site: &Site<impl MailServer>, number: usize) -> Option<String> {
    match mail(number).send(site) {
        Ok(sent) if sent.queue_id.is_some() => None,
        Ok(sent) => Some(format!("{sent:?}")),
        Err(error) => Some(error.to_string()),
    }
}

/// A site whose daemon can be started anew on sockets that outlive it.
struct Restarts<M> {
    site: Site<M>,
    file: PathBuf,
    sockets: Vec<(&'static str, OwnedFd)>,
    daemon: Daemon,
}

impl<M: MailServer + Sync> Restarts<M> {
    fn new(name: &str) -> Result<Self, Error> {
        let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
        let mut site = Site::configured(&format!("{name}-{}", M::COMMAND), &config, "", "")?;
        let file = site.lab.dir.join("conbool-milter.toml");
        // From here on the sockets are not the daemon's own. A killed one leaves them where they were.
        site.daemon.signal("KILL")?;
        wait_for("the daemon's end", || site.daemon.ended().then_some(()))?;
        let sockets = sockets(&site)?;
        let daemon = Daemon::start_with(&file, &sockets, &site.lab.dir.join("restart.log"))?;
        Ok(Self { site, file, sockets, daemon })
    }

    /// Ends the daemon by this signal and starts it again, [`RESTARTS`] times, while clients send; each client does
    /// `send` with one message after another. Returns how many messages there were, and what `send` returned.
    fn under_load(
        &mut self,
        signal: &str,
        send: impl Fn(&Site<M>, usize) -> Option<String> + Sync,
    ) -> Result<(usize, Vec<String>), Error> {
        let (numbers, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let Self { site, file, sockets, daemon } = self;
        let complaints = std::thread::scope(|scope| -> Result<_, Error> {
            let load = || -> Result<Vec<String>, String> {
                site.lab.enter().map_err(|error| error.to_string())?;
                let mut complaints = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    complaints.extend(send(site, numbers.fetch_add(1, Ordering::Relaxed)));
                }
                Ok(complaints)
            };
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(load)).collect();
            let mut restarts = || -> Result<(), Error> {
                for restart in 1..=RESTARTS {
                    let before = numbers.load(Ordering::Relaxed);
                    wait_for("messages between two restarts", || {
                        (numbers.load(Ordering::Relaxed) >= before + 10).then_some(())
                    })?;
                    daemon.signal(signal)?;
                    wait_for("the daemon's end", || daemon.ended().then_some(()))?;
                    *daemon = Daemon::start_with(file, sockets, &site.lab.dir.join(format!("restart{restart}.log")))?;
                }
                Ok(())
            };
            let restarted = restarts();
            stop.store(true, Ordering::Relaxed);
            let mut complaints = Vec::new();
            for client in clients {
                complaints.extend(client.join().map_err(|_| "a client panicked")??);
            }
            restarted.map(|()| complaints)
        })?;
        Ok((numbers.load(Ordering::Relaxed), complaints))
    }
}

fn planned_restarts_under_load<M: MailServer + Sync>() -> Result<(), Error> {
    let mut restarts = Restarts::<M>::new("restart")?;
    let (sent, refused) = restarts.under_load("TERM", refused)?;
    if !refused.is_empty() {
        return Err(format!("{} of {sent} messages were not taken, the first: {}", refused.len(), refused[0]).into());
    }
    arrive_once(&restarts.site, sent)?;
    eprintln!("{sent} messages, {RESTARTS} restarts: none refused, none lost, none doubled");
    Ok(())
}

fn kills_under_load<M: MailServer + Sync>() -> Result<(), Error> {
    let mut restarts = Restarts::<M>::new("kill")?;
    let refusals = AtomicUsize::new(0);
    // A client that is refused for now tries again, as mail clients do.
    let (sent, _) = restarts.under_load("KILL", |site, number| {
        while refused(site, number).is_some() {
            refusals.fetch_add(1, Ordering::Relaxed);
        }
        None
    })?;
    arrive_once(&restarts.site, sent)?;
    let refusals = refusals.into_inner();
    eprintln!("{sent} messages, {RESTARTS} kills: refused for now {refusals} times, none lost, none doubled");
    Ok(())
}

/// Waits until all messages are at the relay, and checks that each is there once.
fn arrive_once(site: &Site<impl MailServer>, sent: usize) -> Result<(), Error> {
    let relay = site.lab.host("relay.conbool.test");
    wait_for("all messages at the relay", || (relay.received().len() >= sent).then_some(()))?;
    let mut copies: HashMap<usize, usize> = HashMap::new();
    for message in relay.received() {
        let text = String::from_utf8_lossy(&message.message).into_owned();
        let number = text.split_once("<load.").and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok());
        *copies.entry(number.ok_or("a message without a number")?).or_default() += 1;
    }
    for number in 0..sent {
        if copies.get(&number) != Some(&1) {
            return Err(format!("message {number} arrived {:?} times", copies.get(&number).unwrap_or(&0)).into());
        }
    }
    Ok(())
}
