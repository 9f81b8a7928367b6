//! `conbool-milter setup edge` with a real Postfix on either side: made by postmulti(1) beside another instance, and as the
//! host's only one.

mod lab;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use lab::edge::{Edge, Host};
use lab::mail::{Ending, Mail, Sender, Sent};
use lab::postfix::Postfix;
use lab::process::{run, wait_for};
use lab::report::{Report, TOKEN_FIELD};
use lab::site::MailServer;
use lab::smtp_client::{Reply, SmtpClient};
use lab::{Error, case_file, case_run};

fn main() -> ExitCode {
    lab::main(|| {
        // Before any thread has a file system of its own.
        lab::daemon::program()?;
        Ok(vec![
            trial("messages_are_routed_as_everywhere", routed_as_everywhere),
            trial("the_inner_server_sends_and_others_are_refused", the_inner_server_sends),
            trial("mail_waits_while_a_side_is_down", mail_waits),
            trial("the_inner_server_logs_in", the_inner_server_logs_in),
            trial("the_inner_server_shows_its_certificate", the_inner_server_shows_its_certificate),
            trial("mail_that_goes_round_inside_is_held", goes_round_inside),
            trial("the_other_instance_is_left_alone", the_other_instance_is_left_alone),
            trial("an_edge_can_be_the_only_instance", the_only_instance),
            trial("a_main_cf_that_was_replaced_comes_back", a_replaced_main_cf_comes_back),
            trial("what_cannot_work_changes_nothing", what_cannot_work),
        ])
    })
}

/// A test with a thread of its own, which takes the file system that it makes for itself along when it ends.
fn trial(name: &str, test: fn() -> Result<(), Error>) -> libtest_mimic::Trial {
    lab::trial(name, move || std::thread::spawn(test).join().unwrap_or_else(|_| Err("it panicked".into())))
}

/// An error unless it is so.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(what().into()) }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A message with a name by which its copies are found.
fn mail(token: &str, from: &str, recipients: &[&str], more: &str) -> Mail {
    let text = format!(
        "{TOKEN_FIELD}: {token}\r\n{more}From: {from}\r\nSubject: test\r\nMessage-ID: <{token}@customer.test>\r\n\r\nHello\r\n"
    );
    Mail {
        via: Sender::Relay,
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
        found = report.copies.iter().map(|copy| (copy.recipient.clone(), copy.place.to_string())).collect();
        let same =
            found.iter().map(|(recipient, place)| (recipient.as_str(), place.as_str())).eq(expected.iter().copied());
        (same && report.settled).then_some(report)
    });
    reached.map_err(|error| format!("{token}: {error}: {found:?}\n{}", edge.site.mail_server.log()).into())
}

/// The reply to RCPT in a session in which MAIL is due.
fn rcpt(client: &mut SmtpClient, from: &str, to: &str) -> Result<Reply, Error> {
    client.command(&format!("MAIL FROM:<{from}>"))?;
    let reply = client.command(&format!("RCPT TO:<{to}>"))?;
    client.command("RSET")?;
    Ok(reply)
}

fn expect(reply: &Reply, start: &str) -> Result<(), Error> {
    ensure(reply.text.starts_with(start), || format!("expected {start}, got {reply:?}"))
}

/// The text cases of the usual site: what they call a mailbox is the inner server's here.
fn routed_as_everywhere() -> Result<(), Error> {
    let settings = "inner_networks = [\"127.0.7.1\", \"127.0.5.0/24\"]\nrequire_tls = false\nopen = true\n";
    let edge = Host::new("edge-cases", settings, true)?.apply("")?;
    let (mut ran, mut wrong) = (0, Vec::new());
    for file in case_file::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let case = case_file::read(&file, Postfix::NAME)?;
        // Aliases and log-ins are the inner server's business, and programs on the host submit to the other instance.
        let is_here = !matches!(case.mail.via, Sender::Submission | Sender::Authenticated) && !name.contains("alias-");
        // The queue is tried again after minutes here.
        let is_soon = !name.starts_with("relay-replies") && !name.starts_with("direct-replies");
        if case.applies && case.site == "all" && is_here && is_soon {
            ran += 1;
            let result = case_run::run(&edge.site, &name, &case).and_then(|outcome| outcome.check(&case));
            wrong.extend(result.err().map(|error| format!("{name}: {error}")));
        }
    }
    ensure(wrong.is_empty(), || wrong.join("\n"))?;
    ensure(ran > 50, || format!("only {ran} cases"))
}

fn the_inner_server_sends() -> Result<(), Error> {
    let edge = Host::new("edge-sends", "", true)?.apply("")?;
    // All the way from a desk.
    let sent =
        edge.send_from_desk(&mail("offer", "alice@customer.test", &["carol@remote.test", "bob@customer.test"], ""))?;
    let report = copies(
        &edge,
        "offer",
        &sent,
        &[("bob@customer.test", "mailbox"), ("carol@remote.test", "relay.conbool.test")],
    )?;
    let at_relay = report.copies.iter().filter_map(|copy| copy.arrived.as_ref()).any(|copy| copy.tls_version.is_some());
    ensure(at_relay, || "no TLS on the way to the relay".into())?;
    // A relay that refuses: the bounce is alice's.
    edge.site.lab.host("relay.conbool.test").order("dora@other.test", "550 5.7.1 not this one", false);
    edge.send_from_desk(&mail("refused", "alice@customer.test", &["dora@other.test"], ""))?;
    wait_for("the bounce", || {
        let mailbox = edge.site.lab.mailboxes().into_iter().find(|(address, _)| address == "alice@customer.test")?.1;
        let text = |entry: fs::DirEntry| fs::read_to_string(entry.path()).unwrap_or_default();
        let mut messages = fs::read_dir(mailbox.join("new")).ok()?.flatten().map(text);
        messages.any(|message| message.contains("not this one") && message.contains("Return-Path: <>")).then_some(())
    })?;
    // Inbound, flagged by the relay.
    let sent =
        mail("flagged", "carol@remote.test", &["bob@customer.test"], "X-Conbool-Flag: YES\r\n").send(&edge.site)?;
    let report = copies(&edge, "flagged", &sent, &[("bob@customer.test", "mailbox")])?;
    let fields = report.copies.iter().filter_map(|copy| copy.arrived.as_ref()).flat_map(|copy| copy.fields());
    let flags: Vec<_> = fields.filter(|(name, _)| name == "X-Spam-Flag").map(|(_, value)| value).collect();
    ensure(flags == ["YES"], || format!("X-Spam-Flag: {flags:?}"))?;
    // Who may not.
    let sent =
        mail("nobody", "carol@remote.test", &["nobody@customer.test", "bob@sub.customer.test"], "").send(&edge.site)?;
    expect(&sent.recipients[0], "550")?;
    expect(&sent.recipients[1], "554")?;
    let mut plain = edge.as_inner(false, None)?;
    expect(&rcpt(&mut plain, "alice@customer.test", "carol@remote.test")?, "450")?;
    let offered = plain.command("EHLO inner.customer.test")?;
    ensure(!offered.text.contains("XCLIENT") && !offered.text.contains("XFORWARD"), || offered.text.clone())?;
    for via in [Sender::WorldWithTls, Sender::Internal] {
        let mut client = lab::mail::connect(&edge.site, via)?;
        expect(&rcpt(&mut client, "carol@remote.test", "bob@customer.test")?, "554")?;
        expect(&rcpt(&mut client, "alice@customer.test", "carol@remote.test")?, "554")?;
    }
    // A second run has nothing to do.
    let again = edge.setup(&["--apply"])?;
    ensure(again.status.success() && said(&again).contains("nothing to change"), || said(&again))?;
    // And doctor finds nothing.
    let mut doctor = Command::new(lab::daemon::program()?);
    doctor.arg("--config").arg(&edge.config).args(["doctor", "mail-server", "sockets", "config"]);
    let examined = doctor.output()?;
    ensure(examined.status.success() && !said(&examined).contains("warn "), || said(&examined))
}

fn mail_waits() -> Result<(), Error> {
    let edge = Host::new("edge-waits", "", true)?.apply("")?;
    let inbound = |token: &str, to: &str| mail(token, "carol@remote.test", &[to], "").send(&edge.site);
    copies(&edge, "before", &inbound("before", "bob@customer.test")?, &[("bob@customer.test", "mailbox")])?;
    edge.inner.control("stop")?;
    // Bob is known by now; nobody knows erin.
    let waiting = inbound("waiting", "bob@customer.test")?;
    copies(&edge, "waiting", &waiting, &[("bob@customer.test", "queued")])?;
    expect(&inbound("unknown", "erin@customer.test")?.recipients[0], "450")?;
    // The queue survives a restart of the edge.
    for action in ["stop", "start"] {
        run(Command::new("postmulti").args(["-i", "postfix-conbool", "-p", action]))?;
    }
    edge.inner.control("start")?;
    edge.site.mail_server.flush()?;
    copies(&edge, "waiting", &waiting, &[("bob@customer.test", "mailbox")])?;

    let relay = edge.site.lab.host("relay.conbool.test");
    relay.stop();
    let sent = edge.send_from_desk(&mail("outbound", "alice@customer.test", &["carol@remote.test"], ""))?;
    copies(&edge, "outbound", &sent, &[("carol@remote.test", "queued")])?;
    relay.resume()?;
    edge.site.mail_server.flush()?;
    copies(&edge, "outbound", &sent, &[("carol@remote.test", "relay.conbool.test")]).map(drop)
}

fn the_inner_server_logs_in() -> Result<(), Error> {
    let settings = "authentication = \"password\"\n";
    let log_in = "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n\
                  smtp_sasl_password_maps = static:inner@mail.customer.test:secret\n";
    let edge = Host::new("edge-password", settings, true)?.apply(log_in)?;
    let mut without = edge.as_inner(true, None)?;
    expect(&rcpt(&mut without, "alice@customer.test", "carol@remote.test")?, "450")?;
    let offered = without.command("EHLO inner.customer.test")?;
    ensure(offered.text.contains("AUTH PLAIN"), || offered.text.clone())?;
    let mut stranger = lab::mail::connect(&edge.site, Sender::WorldWithTls)?;
    let offered = stranger.command("EHLO somewhere.example.com")?;
    ensure(!offered.text.contains("AUTH"), || offered.text.clone())?;
    let passwords = edge.site.mail_server.config().join("sasl/edge_sasldb2");
    let script = "printf secret | saslpasswd2 -p -c -u mail.customer.test -f \"$0\" inner && chown root:postfix \"$0\" && \
                  chmod 640 \"$0\"";
    run(Command::new("sh").args(["-c", script]).arg(&passwords))?;
    let sent = edge.send_from_desk(&mail("logged-in", "alice@customer.test", &["carol@remote.test"], ""))?;
    copies(&edge, "logged-in", &sent, &[("carol@remote.test", "relay.conbool.test")]).map(drop)
}

fn the_inner_server_shows_its_certificate() -> Result<(), Error> {
    let settings = "authentication = \"certificate\"\nfingerprints = [\"@inner@\"]\ninner_tls = \"fingerprint\"\n\
                    inner_fingerprints = [\"@inner@\"]\n";
    let shows = "smtp_tls_cert_file = @lab@/tls/inner.pem\nsmtp_tls_key_file = @lab@/tls/inner.key\n";
    let edge = Host::new("edge-certificate", settings, true)?.apply(shows)?;
    for identity in [None, Some(&edge.site.lab.relay)] {
        let mut client = edge.as_inner(true, identity)?;
        expect(&rcpt(&mut client, "alice@customer.test", "carol@remote.test")?, "450")?;
    }
    let mut client = edge.as_inner(true, Some(&edge.identity))?;
    expect(&rcpt(&mut client, "alice@customer.test", "carol@remote.test")?, "250")?;
    let sent = edge.send_from_desk(&mail("shown", "alice@customer.test", &["carol@remote.test"], ""))?;
    copies(&edge, "shown", &sent, &[("carol@remote.test", "relay.conbool.test")])?;
    let sent = mail("pinned", "carol@remote.test", &["bob@customer.test"], "").send(&edge.site)?;
    copies(&edge, "pinned", &sent, &[("bob@customer.test", "mailbox")]).map(drop)
}

/// An inner server that sends mail for its own mailboxes to the edge gets it back again and again.
fn goes_round_inside() -> Result<(), Error> {
    let edge = Host::new("edge-loop", "", true)?.apply("")?;
    let mut message = mail("round", "alice@customer.test", &["bob@customer.test"], "");
    for round in 1..=5 {
        let sent = message.say(edge.as_inner(true, None)?)?;
        let id = sent.queue_id.clone().ok_or_else(|| format!("round {round} was refused: {sent:?}"))?;
        let mut arrived = None;
        let report = wait_for("the end of the round", || {
            let report = Report::now(&edge.site, "round", &id);
            (report.settled && report.copies.len() == round).then_some(report)
        })?;
        if let Some(held) = report.copies.iter().find(|copy| copy.place.to_string() != "mailbox") {
            let verdict = wait_for("the verdict", || edge.site.daemon.verdict(&id))?;
            return ensure(round == 5 && verdict["reason"] == "host-loop", || {
                format!("round {round}: {held:?} {verdict}")
            });
        }
        for copy in report.copies {
            let longest = arrived.as_ref().map_or(0, Vec::len);
            arrived = copy.arrived.map(|copy| copy.message).filter(|message| message.len() > longest).or(arrived);
        }
        message.message = arrived.ok_or("nothing arrived")?;
    }
    Err("the message went round five times".into())
}

fn the_other_instance_is_left_alone() -> Result<(), Error> {
    let host = Host::new("edge-other", "", true)?;
    let names = ["main.cf", "master.cf"];
    let read = |name: &str| fs::read_to_string(Path::new("/etc/postfix").join(name));
    let [main_cf, master_cf] = [read(names[0])?, read(names[1])?];
    // Shown, and nothing done.
    let shown = host.setup(&[])?;
    let text = said(&shown);
    ensure(
        shown.status.success() && text.contains("# postmulti -e init\n") && text.contains("+relay_domains"),
        || text,
    )?;
    ensure(!Path::new("/etc/postfix-conbool").exists() && read("main.cf")? == main_cf, || {
        "it was not only shown".into()
    })?;
    let mut edge = host.apply("")?;
    ensure(read("master.cf")? == master_cf, || "master.cf was changed".into())?;
    let added = read("main.cf")?.replacen(&main_cf, "", 1);
    let mut added: Vec<_> =
        added.lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name.to_owned())).collect();
    added.sort();
    ensure(added == ["multi_instance_directories", "multi_instance_enable", "multi_instance_wrapper"], || {
        format!("added to main.cf: {added:?}")
    })?;
    let primary = edge.primary.as_ref().ok_or("no other instance")?;
    expect(&SmtpClient::connect(lab::RELAY, primary.address())?.greeting, "220 host.customer.test")?;
    // What is in the queue keeps the edge there.
    edge.site.lab.host("relay.conbool.test").stop();
    let sent = edge.send_from_desk(&mail("left", "alice@customer.test", &["carol@remote.test"], ""))?;
    copies(&edge, "left", &sent, &[("carol@remote.test", "queued")])?;
    let refused = edge.setup(&["--rollback"])?;
    ensure(!refused.status.success() && said(&refused).contains("1 messages"), || said(&refused))?;
    expect(&lab::mail::connect(&edge.site, Sender::World)?.greeting, "220 mail.customer.test")?;
    edge.site.lab.host("relay.conbool.test").resume()?;
    edge.site.mail_server.flush()?;
    copies(&edge, "left", &sent, &[("carol@remote.test", "relay.conbool.test")])?;
    wait_for("an empty queue", || edge.site.mail_server.queue().is_ok_and(|queue| queue.is_empty()).then_some(()))?;
    edge.site.daemon.signal("TERM")?;
    wait_for("the daemon's end", || edge.site.daemon.ended().then_some(()))?;
    let gone = edge.setup(&["--rollback"])?;
    ensure(gone.status.success(), || said(&gone))?;
    ensure(read("main.cf")? == main_cf && read("master.cf")? == master_cf, || "the other instance was changed".into())?;
    for directory in ["/etc/postfix-conbool", "/var/spool/postfix-conbool", "/var/lib/postfix-conbool"] {
        ensure(!Path::new(directory).exists(), || format!("{directory} is left: {}", said(&gone)))?;
    }
    let primary = edge.primary.as_ref().ok_or("no other instance")?;
    expect(&SmtpClient::connect(lab::RELAY, primary.address())?.greeting, "220 host.customer.test")
}

fn the_only_instance() -> Result<(), Error> {
    let edge = Host::new("edge-only", "", false)?.apply("")?;
    ensure(fs::read_to_string(&edge.config)?.contains("\ninstance = \"-\"\n"), || {
        "the instance is not written".into()
    })?;
    edge.send_from_desk(&mail("only", "alice@customer.test", &["carol@remote.test"], ""))?;
    let relay = edge.site.lab.host("relay.conbool.test");
    wait_for("the message at the relay", || (relay.received().len() == 1).then_some(()))?;
    let sent = mail("inbound", "carol@remote.test", &["bob@customer.test"], "").send(&edge.site)?;
    ensure(sent.queue_id.is_some(), || format!("{sent:?}"))?;
    wait_for("the message in the mailbox", || edge.site.lab.mailboxes().pop())?;
    let again = edge.setup(&["--apply"])?;
    ensure(said(&again).contains("nothing to change"), || said(&again))?;
    // Another setting is another change, put in force without a restart.
    let changed = edge.setup(&["--apply", "--queue-lifetime", "7200"])?;
    ensure(changed.status.success() && said(&changed).contains("+maximal_queue_lifetime = 7200s"), || said(&changed))?;
    wait_for("an empty queue", || edge.site.mail_server.queue().is_ok_and(|queue| queue.is_empty()).then_some(()))?;
    let gone = edge.setup(&["--rollback"])?;
    ensure(gone.status.success() && !Path::new("/etc/postfix/main.cf").exists(), || said(&gone))
}

fn a_replaced_main_cf_comes_back() -> Result<(), Error> {
    let host = Host::new("edge-replaced", "", true)?;
    let read = || fs::read_to_string("/etc/postfix/main.cf");
    let main_cf = read()?;
    // Both listen where they did; the instance that runs is the same.
    let done = host.setup(&["--apply", "--only-instance"])?;
    ensure(done.status.success(), || said(&done))?;
    ensure(read()?.contains("\nrelay_domains =") && !read()?.contains("own words"), || {
        "main.cf was not replaced".into()
    })?;
    let greeting =
        |address: &str| -> Result<Reply, Error> { Ok(SmtpClient::connect(lab::RELAY, address.parse()?)?.greeting) };
    expect(&greeting("127.0.1.1:25")?, "220 mail.customer.test")?;
    let gone = host.setup(&["--rollback"])?;
    ensure(gone.status.success() && read()? == main_cf, || said(&gone))?;
    expect(&greeting("127.0.1.9:25")?, "220 host.customer.test")
}

fn what_cannot_work() -> Result<(), Error> {
    let host = Host::new("edge-obstacles", "", true)?;
    let before = fs::read_to_string("/etc/postfix/main.cf")?;
    for (arguments, problem) in [
        (&["--apply", "--listen", "127.0.1.9"][..], "127.0.1.9:25 is in use"),
        (&["--apply", "--listen", "192.0.2.1"], "192.0.2.1 is no address of this host"),
        (&["--apply", "--instance", "edge"], "begins with \"postfix-\""),
        (&["--rollback"], "holds no edge"),
    ] {
        let output = host.setup(arguments)?;
        ensure(!output.status.success() && said(&output).contains(problem), || {
            format!("{problem}: {}", said(&output))
        })?;
        ensure(fs::read_to_string("/etc/postfix/main.cf")? == before, || format!("{arguments:?} changed main.cf"))?;
        ensure(!Path::new("/etc/postfix-conbool").exists(), || format!("{arguments:?} left something"))?;
    }
    Ok(())
}
