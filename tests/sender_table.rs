//! Postfix's sender table, which the daemon keeps in step with the scope: where a message goes before, while and after an
//! entry changes. Whatever the table is like, a message goes where the scope says; it is marked where the table is not
//! certain to do so.

mod lab;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use conbool_milter::mta::postfix::SETTLING_TIME;
use lab::Error;
use lab::daemon::Daemon;
use lab::mail::{Ending, Mail, Sender};
use lab::process::wait_for;
use lab::report::{Place, Report, TOKEN_FIELD};
use lab::site::{SENDER_TABLE, Site};

const RELAY: &str = "relay.conbool.test";
const FORMER: &str = "oldrelay.test";
const DIRECT: &str = "mx.remote.test";

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("a_change_is_in_force_at_once_and_by_the_table_later", a_change),
            lab::trial("mail_in_the_queue_follows_the_table", mail_in_the_queue),
            lab::trial("a_table_that_cannot_be_written_leaves_marks", a_table_that_cannot_be_written),
            lab::trial("nothing_is_written_without_need", nothing_is_written_without_need),
            lab::trial("a_pattern_that_is_out_of_date_is_not_trusted", a_pattern_that_is_out_of_date),
        ])
    })
}

/// A site of its own, whose list of senders can change: alice is on it, bob is not.
fn start(name: &str) -> Result<Site, Error> {
    let file = |name: &str| fs::read_to_string(format!("{}/tests/sites/{name}", env!("CARGO_MANIFEST_DIR")));
    Site::configure(name, &file("list.toml")?, &file("list.main.cf")?, "")
}

/// Where a message went, and whether it was marked: then it has gone through a split listener.
#[derive(Debug, PartialEq, Eq)]
struct Way(String, Mark);

#[derive(Debug, PartialEq, Eq)]
enum Mark {
    Marked,
    Unmarked,
}
use Mark::{Marked, Unmarked};

fn mail(from: &str, token: &str) -> Mail {
    let text =
        format!("{TOKEN_FIELD}: {token}\r\nFrom: {from}\r\nTo: carol@remote.test\r\nSubject: test\r\n\r\nHello\r\n");
    Mail {
        via: Sender::Internal,
        from: format!("FROM:<{from}>"),
        recipients: vec!["TO:<carol@remote.test>".into()],
        message: text.into_bytes(),
        ending: Ending::Dot,
    }
}

/// Hands in a message; gives back its token and its queue id.
fn hand_in(site: &Site, from: &str) -> Result<(String, String), Error> {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let token = format!("message-{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let sent = mail(from, &token).send(site)?;
    let id = sent.queue_id.clone().ok_or_else(|| format!("not taken: {sent:?}"))?;
    Ok((token, id))
}

fn delivered(site: &Site, (token, id): &(String, String)) -> Result<Way, Error> {
    let way = wait_for("the message at some host", || {
        let report = Some(Report::now(site, token, id)).filter(|report| report.settled)?;
        let host = report.copies.iter().find_map(|copy| match &copy.place {
            Place::Host(host) => Some(host.clone()),
            _ => None,
        })?;
        Some(Way(host, if report.queue_ids.len() > 1 { Marked } else { Unmarked }))
    });
    Ok(way?)
}

fn way(site: &Site, from: &str) -> Result<Way, Error> {
    delivered(site, &hand_in(site, from)?)
}

fn expect(site: &Site, from: &str, host: &str, mark: Mark) -> Result<(), Error> {
    match way(site, from)? {
        found if found == Way(host.into(), mark) => Ok(()),
        found => Err(format!("{from}: {found:?}\n{}", site.daemon.log()).into()),
    }
}

fn wait_for_log(site: &Site, text: &str, times: usize) -> Result<(), Error> {
    wait_for(text, || (site.daemon.log().matches(text).count() >= times).then_some(())).map_err(Error::from)
}

/// Puts these senders on the list, and has the daemon read it.
fn list(site: &Site, senders: &str) -> Result<(), Error> {
    let file = site.lab.dir.join("conbool-milter.toml");
    let text = fs::read_to_string(&file)?;
    let lines = text.lines().map(|line| if line.starts_with("senders = ") { senders } else { line });
    fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
    reload(site)
}

fn reload(site: &Site) -> Result<(), Error> {
    let times = site.daemon.log().matches("configuration reloaded").count();
    site.daemon.signal("HUP")?;
    wait_for_log(site, "configuration reloaded", times + 1)
}

fn table(site: &Site) -> PathBuf {
    site.lab.dir.join(SENDER_TABLE)
}

fn stop(site: &mut Site) -> Result<(), Error> {
    if !site.daemon.ended() {
        site.daemon.signal("TERM")?;
    }
    Ok(wait_for("the daemon's end", || site.daemon.ended().then_some(()))?)
}

/// Starts the daemon anew with a table that has been there for a while.
fn restart(site: &mut Site) -> Result<(), Error> {
    stop(site)?;
    let long_ago = SystemTime::now() - 2 * SETTLING_TIME;
    for path in [table(site), site.lab.dir.join("etc/main.cf")] {
        File::options().append(true).open(path)?.set_modified(long_ago)?;
    }
    let dir = site.lab.dir.clone();
    site.daemon = Daemon::start(&dir.join("conbool-milter.toml"), &dir.join("daemon2.log"))?;
    wait_for("the first unmarked message", || {
        matches!(way(site, "alice@customer.test"), Ok(Way(_, Unmarked))).then_some(())
    })?;
    Ok(())
}

fn a_change() -> Result<(), Error> {
    let site = start("table-change")?;
    expect(&site, "bob@customer.test", FORMER, Unmarked)?;
    expect(&site, "alice@customer.test", RELAY, Marked)?;
    // One comes and one goes, and the mail of both goes elsewhere from this moment on.
    list(&site, "senders = [\"bob@customer.test\", \"@second.test\"]")?;
    expect(&site, "bob@customer.test", RELAY, Marked)?;
    expect(&site, "alice@customer.test", DIRECT, Marked)?;
    wait_for_log(&site, "sender table written", 2)?;
    let begin = Instant::now();
    let (mut bob, mut alice) = (Marked, Marked);
    while (&bob, &alice) != (&Unmarked, &Unmarked) {
        if begin.elapsed() > 2 * SETTLING_TIME {
            return Err(format!("still marked after {:?}:\n{}", begin.elapsed(), site.daemon.log()).into());
        }
        std::thread::sleep(Duration::from_secs(2));
        let (to_relay, elsewhere) = (way(&site, "bob@customer.test")?, way(&site, "alice@customer.test")?);
        let host_is_right = elsewhere.0 == if elsewhere.1 == Marked { DIRECT } else { FORMER };
        if to_relay.0 != RELAY || !host_is_right {
            return Err(format!("after {:?}: {to_relay:?}, {elsewhere:?}", begin.elapsed()).into());
        }
        (bob, alice) = (to_relay.1, elsewhere.1);
    }
    expect(&site, "erin@second.test", RELAY, Unmarked)?;
    // What is an extension is for Postfix to say.
    expect(&site, "bob+news@customer.test", RELAY, Marked)
}

fn mail_in_the_queue() -> Result<(), Error> {
    let mut site = start("table-queue")?;
    restart(&mut site)?;
    // While the daemon is away, the table goes on routing what is in the queue.
    site.lab.host(RELAY).stop();
    let waiting = hand_in(&site, "alice@customer.test")?;
    stop(&mut site)?;
    site.lab.host(RELAY).resume()?;
    let found = delivered(&site, &waiting)?;
    if found != Way(RELAY.into(), Unmarked) {
        return Err(format!("without the daemon: {found:?}").into());
    }
    restart(&mut site)?;
    // Unmarked mail that is in the queue when the table changes is routed by the new table when it is tried again.
    for host in [RELAY, FORMER] {
        site.lab.host(host).stop();
    }
    let (alice, bob) = (hand_in(&site, "alice@customer.test")?, hand_in(&site, "bob@customer.test")?);
    list(&site, "senders = [\"bob@customer.test\"]")?;
    wait_for_log(&site, "sender table written", 1)?;
    std::thread::sleep(SETTLING_TIME);
    for host in [RELAY, FORMER] {
        site.lab.host(host).resume()?;
    }
    let found = (delivered(&site, &alice)?, delivered(&site, &bob)?);
    if found != (Way(FORMER.into(), Unmarked), Way(RELAY.into(), Unmarked)) {
        return Err(format!("{found:?}").into());
    }
    Ok(())
}

fn a_table_that_cannot_be_written() -> Result<(), Error> {
    let mut site = start("table-unwritable")?;
    restart(&mut site)?;
    let state = site.lab.dir.join("state");
    let owner = fs::metadata(&state)?.uid();
    chown(&state, Some(0), None)?;
    list(&site, "senders = [\"alice@customer.test\", \"bob@customer.test\"]")?;
    wait_for_log(&site, "sender table not written", 1)?;
    expect(&site, "bob@customer.test", RELAY, Marked)?;
    expect(&site, "alice@customer.test", RELAY, Unmarked)?;
    list(&site, "senders = [\"bob@customer.test\"]")?;
    wait_for_log(&site, "sender table not written", 2)?;
    // The table still has her: she is sent past the relay by a mark.
    expect(&site, "alice@customer.test", DIRECT, Marked)?;
    chown(&state, Some(owner), None)?;
    reload(&site)?;
    wait_for_log(&site, "sender table written", 1)?;
    let left = fs::read_dir(&state)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    match left.len() {
        2 => Ok(()),
        _ => Err(format!("in the state directory: {left:?}").into()),
    }
}

fn nothing_is_written_without_need() -> Result<(), Error> {
    let mut site = start("table-unchanged")?;
    restart(&mut site)?;
    let inode = fs::metadata(table(&site))?.ino();
    list(&site, "senders = [\"@second.test\", \"Alice@customer.test\"]")?;
    expect(&site, "alice@customer.test", RELAY, Unmarked)?;
    expect(&site, "bob@customer.test", FORMER, Unmarked)?;
    if fs::metadata(table(&site))?.ino() != inode || site.daemon.log().contains("sender table") {
        return Err(format!("the table was replaced:\n{}", site.daemon.log()).into());
    }
    Ok(())
}

fn a_pattern_that_is_out_of_date() -> Result<(), Error> {
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    let site = Site::configure("table-pattern", &config, "", "")?;
    expect(&site, "alice@customer.test", RELAY, Unmarked)?;
    let pattern = site.lab.dir.join("etc/conbool_senders");
    let without = fs::read_to_string(&pattern)?.replace("customer", "former-customer");
    fs::write(&pattern, without)?;
    site.mail_server.reload()?;
    reload(&site)?;
    // From the first message on: the pattern is taken for good only when it was looked at again.
    expect(&site, "alice@customer.test", RELAY, Marked)?;
    wait_for_log(&site, "Postfix does not use the sender table", 1)?;
    expect(&site, "alice@customer.test", RELAY, Marked)
}
