//! The package set up for the lab's relay.

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use super::host::{DIRECT, Host, MEETING, RELAY, SETUP, UNITS};
use crate::lab::Error;

const CONFIG: &str = "/etc/conbool-milter/conbool-milter.toml";

/// A line that no configuration may have.
const MISTAKE: &str = "no_such_setting = 1\n";

/// How often systemd starts a service within [`WINDOW`] seconds, when told to or for connections to its sockets (systemd.unit(5),
/// StartLimitBurst=).
const STARTS: u64 = 5;
/// StartLimitIntervalSec=.
const WINDOW: u64 = 10;

pub fn relays(host: &mut Host) -> Result<(), Error> {
    host.set_up()?;
    let received = host.expect_at(RELAY, "for the relay", "")?;
    if received.tls_version.is_none() {
        return Err("not encrypted".into());
    }
    let verified = "Verified TLS connection established to relay.conbool.test[127.0.3.1]:25";
    host.machine.run(&format!("journalctl --no-pager --grep '{}'", verified.replace('[', "\\[")))?;
    host.expect_at(DIRECT, "a meeting", MEETING)?;
    host.machine.run("conbool-milter check")?;
    host.machine.run("conbool-milter doctor config sockets mail-server relay")?;
    let status = host.machine.run("conbool-milter status")?;
    if !status.contains("ready, mode enforce") {
        return Err(status.into());
    }

    let daemon = host.daemon()?;
    host.machine.run("systemctl reload conbool-milter")?;
    host.machine.wait_until("journalctl --unit conbool-milter --grep 'configuration reloaded'")?;
    if host.daemon()? != daemon {
        return Err("a reload started another daemon".into());
    }
    host.expect_at(RELAY, "after the reload", "")?;
    host.expect_no_warning()
}

pub fn broken_configuration(host: &mut Host) -> Result<(), Error> {
    host.set_up()?;
    let file = host.machine.path(CONFIG)?;
    let good = fs::read_to_string(&file)?;
    fs::write(&file, format!("{MISTAKE}{good}"))?;
    let daemon = host.daemon()?;
    host.expect_failure("systemctl reload conbool-milter", "conbool-milter.service")?;
    host.expect("systemctl status conbool-milter | grep -c no_such_setting", "1")?;
    if host.daemon()? != daemon {
        return Err("the daemon did not go on".into());
    }
    host.expect_at(RELAY, "after a reload that failed", "")?;

    // systemd counts anew from here on.
    host.machine.run("systemctl reset-failed conbool-milter.service")?;
    let (begin, since) = (Instant::now(), host.machine.now()?);
    host.expect_failure("systemctl restart conbool-milter", "conbool-milter.service")?;
    // Nothing is lost and nothing goes past the relay; what Postfix wants of the socket does not start it for ever.
    for attempt in 0..20 {
        let subject = format!("while it is broken, {attempt}");
        let sent = host.send(&subject, "carol@remote.test", "")?;
        let is_put_off = |reply: &crate::lab::smtp_client::Reply| reply.code / 100 == 4;
        let replies = [&sent.mail].into_iter().chain(&sent.recipients).chain(&sent.data);
        if sent.queue_id.is_some() || !replies.into_iter().any(is_put_off) {
            return Err(format!("{subject}: not put off: {sent:?}").into());
        }
    }
    host.expect("systemctl is-failed conbool-milter.service", "failed")?;
    let script = format!(
        "journalctl --output cat --since {since} --unit conbool-milter | grep -c '^Starting conbool-milter' || :"
    );
    let seen = host.machine.run(&script)?.parse::<u64>()?;
    println!("starts with a broken configuration: {seen}");
    if seen == 0 || seen > STARTS * (1 + begin.elapsed().as_secs() / WINDOW) {
        return Err(format!("started {seen} times").into());
    }
    host.expect("systemctl show --value --property ExecMainStatus conbool-milter", "78")?;

    fs::write(&file, good)?;
    // Without the first, systemd refuses until the time is over to which its limit applies.
    host.machine.run("systemctl reset-failed 'conbool-milter*' && systemctl start conbool-milter")?;
    host.expect_active(&UNITS)?;
    host.expect_at(RELAY, "after the repair", "")?;
    Ok(())
}

/// An administrator has broken, mended, stopped and disabled it all after the installation; only a set-up that succeeds changes that.
pub fn stopped_before(host: &mut Host) -> Result<(), Error> {
    host.install()?;
    let file = host.machine.path(CONFIG)?;
    let good = fs::read_to_string(&file)?;
    fs::write(&file, format!("{MISTAKE}{good}"))?;
    host.expect_failure("systemctl restart conbool-milter", "conbool-milter.service")?;
    fs::write(&file, good)?;
    host.machine.run(&format!("systemctl disable --now {}", UNITS.join(" ")))?;
    let states = format!("systemctl is-enabled {0}; systemctl is-active {0}; :", UNITS.join(" "));
    let stopped = host.machine.run(&states)?;
    let taken = TcpListener::bind("127.0.0.1:25035")?;
    host.expect_failure(SETUP, "25035")?;
    host.expect(&states, &stopped)?;
    host.expect_mail_server_untouched()?;
    host.expect_at(DIRECT, "not set up", "")?;
    drop(taken);
    host.apply()?;
    host.expect(&states, &[["enabled"; 3].join("\n"), ["active"; 3].join("\n")].join("\n"))?;
    host.expect_at(RELAY, "set up", "")?;
    Ok(())
}
