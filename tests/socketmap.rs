//! What a real Sendmail sends outside by aliases, lists and programs, past the milter's marks: it asks the daemon, which
//! answers with the verdict on the message, or by the sender. Whatever the daemon and the hosts around are doing, nothing is
//! lost, nothing doubled, and nothing passes the relay that should not.

mod lab;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{ExitCode, Stdio};

use lab::Error;
use lab::daemon::Daemon;
use lab::mail::{Ending, Mail, Sender};
use lab::process::wait_for;
use lab::report::{Place, Report, TOKEN_FIELD};
use lab::sendmail::Sendmail;
use lab::site::{MailServer, Site};

const RELAY: &str = "relay.conbool.test";
const REMOTE: &str = "mx.remote.test";
const OTHER: &str = "mx.other.test";

/// In scope.
const ALICE: &str = "alice@customer.test";
/// Not in scope.
const BOB: &str = "bob@customer.test";

/// Fields of a message that is exempt.
const MEETING: &str = "Content-Class: urn:content-classes:calendarmessage\r\n";

/// Aliases of the host beside those that every lab has.
const ALIASES: &str = "included: :include:@lab@/etc/included\nlist: dora@other.test\nowner-list: erin\n";

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("mail_by_aliases_goes_where_its_message_goes", by_aliases),
            lab::trial("mail_that_does_not_come_by_the_milter_goes_by_its_sender", past_the_milter),
            lab::trial("verdicts_outlive_the_daemon", killed_in_between),
            lab::trial("a_list_with_an_owner_is_sent_by_the_owner", owned_list),
        ])
    })
}

/// A site in which alice and all of second.test are in scope.
fn start(name: &str) -> Result<Site<Sendmail>, Error> {
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sites/all.toml"))?;
    let scope = format!("[scope]\nmode = \"list\"\nsenders = [\"{ALICE}\", \"@second.test\"]\n");
    let site = Site::<Sendmail>::configured(name, &format!("{config}\n{scope}"), "", "")?;
    let etc = site.mail_server.config();
    let add = |file: &str, text: &str| -> Result<(), Error> {
        Ok(OpenOptions::new().append(true).create(true).open(etc.join(file))?.write_all(text.as_bytes())?)
    };
    add("aliases", &site.lab.fill_in(ALIASES))?;
    add("included", "dora@other.test\n")?;
    add("virtusertable", "virtual@customer.test\tdora@other.test\n")?;
    site.mail_server.compile()?;
    Ok(site)
}

/// A message by the envelope sender `from`, whose From field says `author`.
fn mail(token: &str, from: &str, author: &str, recipients: &[&str], fields: &str) -> Mail {
    let text = format!(
        "From: {author}\r\nSubject: test\r\nMessage-ID: <{token}@customer.test>\r\n{TOKEN_FIELD}: {token}\r\n{fields}\r\n\
         Hello\r\n"
    );
    Mail {
        via: Sender::Internal,
        from: format!("FROM:<{from}>"),
        recipients: recipients.iter().map(|recipient| format!("TO:<{recipient}>")).collect(),
        message: text.into_bytes(),
        ending: Ending::Dot,
    }
}

fn send(site: &Site<Sendmail>, mail: &Mail) -> Result<(), Error> {
    let sent = mail.send(site)?;
    sent.queue_id.is_some().then_some(()).ok_or_else(|| format!("not taken: {sent:?}").into())
}

/// The copies of a message that have arrived: each recipient, and the host or "mailbox".
fn copies(site: &Site<Sendmail>, token: &str) -> Vec<(String, String)> {
    let place = |place| match place {
        Place::Host(host) => host,
        other => other.to_string(),
    };
    let copies = Report::arrived(site, token).copies.into_iter();
    let mut copies: Vec<_> = copies.map(|copy| (copy.recipient, place(copy.place))).collect();
    copies.sort();
    copies
}

/// Waits for the copies of a message, and until the queue is empty, so that none can come after them.
fn arrives(site: &Site<Sendmail>, token: &str, expected: &[(&str, &str)]) -> Result<(), Error> {
    let waited = wait_for(token, || (copies(site, token).len() >= expected.len()).then_some(()));
    let emptied = wait_for("an empty queue", || queue(site).ok()?.is_empty().then_some(()));
    let copies = copies(site, token);
    let found: Vec<_> = copies.iter().map(|(recipient, place)| (recipient.as_str(), place.as_str())).collect();
    if found == expected && waited.is_ok() && emptied.is_ok() {
        return Ok(());
    }
    let log = site.mail_server.log();
    Err(format!("{token}: {found:?} instead of {expected:?}; {waited:?}; {emptied:?}\n{log}").into())
}

/// The names of the control files in Sendmail's queue.
fn queue(site: &Site<Sendmail>) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(site.mail_server.queue())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.starts_with("qf"));
    Ok(names)
}

fn by_aliases() -> Result<(), Error> {
    let site = start("socketmap-aliases")?;
    let both = ["carol@remote.test", "team@customer.test"];
    let relayed = [(BOB, "mailbox"), ("carol@remote.test", RELAY)];
    let direct = [(BOB, "mailbox"), ("carol@remote.test", REMOTE)];
    for (token, from, author, recipients, fields, expected) in [
        ("alias", ALICE, ALICE, ["outside@customer.test"].as_slice(), "", [("dora@other.test", RELAY)].as_slice()),
        ("mixed-alias", ALICE, ALICE, &["team@customer.test"], "", &relayed),
        ("meeting", ALICE, ALICE, &["team@customer.test"], MEETING, &direct),
        ("author", BOB, ALICE, &["outside@customer.test"], "", &[("dora@other.test", RELAY)]),
        ("out-of-scope", BOB, BOB, &["outside@customer.test"], "", &[("dora@other.test", OTHER)]),
        ("null-sender", "", ALICE, &["outside@customer.test"], "", &[("dora@other.test", OTHER)]),
        ("once", ALICE, ALICE, &both, "", &relayed),
        ("author-once", BOB, ALICE, &both, "", &relayed),
        ("meeting-once", ALICE, ALICE, &both, MEETING, &direct),
        ("out-of-scope-once", BOB, BOB, &both, "", &direct),
        ("virtual-user", ALICE, ALICE, &["virtual@customer.test"], "", &[("dora@other.test", RELAY)]),
        ("virtual-author", BOB, ALICE, &["virtual@customer.test"], "", &[("dora@other.test", RELAY)]),
        ("included", ALICE, ALICE, &["included@mail.customer.test"], "", &[("dora@other.test", RELAY)]),
        ("odd-sender", "alice+a|b@second.test", BOB, &["outside@customer.test"], "", &[("dora@other.test", RELAY)]),
        ("literal", ALICE, ALICE, &["x@[127.0.2.1]"], "", &[("x@[127.0.2.1]", RELAY)]),
        ("literal-meeting", ALICE, ALICE, &["x@[127.0.2.1]"], MEETING, &[("x@[127.0.2.1]", REMOTE)]),
    ] {
        send(&site, &mail(token, from, author, recipients, fields))?;
        arrives(&site, token, expected)?;
    }
    Ok(())
}

/// Hands a message to Sendmail as it is configured as a server, which calls no milter then.
fn submit_to_the_server(site: &Site<Sendmail>, token: &str, from: &str, recipient: &str) -> Result<(), Error> {
    let mut command = site.mail_server.command("sendmail.cf");
    let mut child = command.args(["-i", "-f", from, "--", recipient]).stdin(Stdio::piped()).spawn()?;
    let text = format!("From: {from}\nSubject: test\n{TOKEN_FIELD}: {token}\n\nHello\n");
    child.stdin.take().ok_or("no pipe")?.write_all(text.as_bytes())?;
    let status = child.wait()?;
    status.success().then_some(()).ok_or_else(|| format!("sendmail(1): {status}").into())
}

fn past_the_milter() -> Result<(), Error> {
    let mut site = start("socketmap-submission")?;
    for (token, recipient) in [("program", "outside@customer.test"), ("program-plain", "dora@other.test")] {
        Mail { via: Sender::Submission, ..mail(token, ALICE, ALICE, &[recipient], "") }.send(&site)?;
        arrives(&site, token, &[("dora@other.test", RELAY)])?;
        let token = format!("server-{token}");
        submit_to_the_server(&site, &token, ALICE, recipient)?;
        arrives(&site, &token, &[("dora@other.test", RELAY)])?;
    }
    submit_to_the_server(&site, "server-bob", BOB, "outside@customer.test")?;
    arrives(&site, "server-bob", &[("dora@other.test", OTHER)])?;

    kill(&mut site)?;
    submit_to_the_server(&site, "away", ALICE, "outside@customer.test")?;
    let sent = mail("refused", ALICE, ALICE, &["dora@other.test"], "").send(&site)?;
    let replies = [Some(&sent.mail), sent.recipients.first()];
    if !replies.into_iter().flatten().any(|reply| reply.code / 100 == 4) {
        return Err(format!("taken while the daemon is away: {sent:?}").into());
    }
    site.mail_server.flush()?;
    if queue(&site)?.len() != 1 || !copies(&site, "away").is_empty() {
        return Err(format!("not queued: {:?}, {:?}", queue(&site)?, copies(&site, "away")).into());
    }
    revive(&mut site)?;
    arrives(&site, "away", &[("dora@other.test", RELAY)])
}

/// Ends the daemon as a crash does.
fn kill(site: &mut Site<Sendmail>) -> Result<(), Error> {
    site.daemon.signal("KILL")?;
    Ok(wait_for("the end of the daemon", || site.daemon.ended().then_some(()))?)
}

fn revive(site: &mut Site<Sendmail>) -> Result<(), Error> {
    site.daemon = Daemon::start(&site.lab.dir.join("conbool-milter.toml"), &site.lab.dir.join("revived.log"))?;
    Ok(())
}

fn killed_in_between() -> Result<(), Error> {
    let mut site = start("socketmap-killed")?;
    let hosts = [RELAY, REMOTE, OTHER];
    hosts.iter().for_each(|host| site.lab.host(host).stop());
    send(&site, &mail("author", BOB, ALICE, &["outside@customer.test"], ""))?;
    send(&site, &mail("meeting", ALICE, ALICE, &["outside@customer.test"], MEETING))?;
    send(&site, &mail("relayed", ALICE, ALICE, &["outside@customer.test"], ""))?;
    send(&site, &mail("usual", BOB, BOB, &["outside@customer.test"], ""))?;
    wait_for("the first tries", || (site.mail_server.log().matches("stat=Deferred").count() >= 4).then_some(()))?;
    kill(&mut site)?;
    // Now it is the daemon that is missing.
    for host in hosts {
        site.lab.host(host).resume()?;
    }
    site.mail_server.flush()?;
    let tokens = ["author", "meeting", "relayed", "usual"];
    if let Some(token) = tokens.iter().find(|token| !copies(&site, token).is_empty()) {
        return Err(format!("{token} was delivered while the daemon was away").into());
    }
    revive(&mut site)?;
    for (token, host) in tokens.into_iter().zip([RELAY, OTHER, RELAY, OTHER]) {
        arrives(&site, token, &[("dora@other.test", host)])?;
    }
    Ok(())
}

/// A list with an owner gets an envelope of its own, whose sender is the owner: a first try still goes by the message's
/// verdict, a later one by the owner. The manual says so.
fn owned_list() -> Result<(), Error> {
    let site = start("socketmap-owner")?;
    let list = ["list@mail.customer.test"];
    for (token, from, author, fields, host) in [
        ("in-scope", ALICE, ALICE, "", RELAY),
        ("author", BOB, ALICE, "", RELAY),
        ("meeting", ALICE, ALICE, MEETING, OTHER),
    ] {
        send(&site, &mail(token, from, author, &list, fields))?;
        arrives(&site, token, &[("dora@other.test", host)])?;
    }
    site.lab.host(RELAY).stop();
    send(&site, &mail("later", BOB, ALICE, &list, ""))?;
    arrives(&site, "later", &[("dora@other.test", OTHER)])
}
