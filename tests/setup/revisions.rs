//! Runs after the first one, and configurations that others have written.

use std::fs;

use super::host::{Host, Installed, RELAY, said, succeeded};
use super::lab::Error;
use super::lab::postfix::Postfix;

/// The lines that a unified diff takes away and adds.
fn changes(diff: &str) -> Vec<&str> {
    diff.lines()
        .filter(|line| line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---"))
        .collect()
}

pub fn second_run<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("second", "")?;
    host.start_mail_server()?;
    host.apply(&[])?;
    let before = host.state()?;
    // With all flags and with none: what was said before is in the configuration.
    succeeded(&host.first_run(&["--apply"])?, "nothing to change")?;
    succeeded(&host.run(&["--apply"])?, "nothing to change")?;
    host.expect_state(&before)
}

pub fn other_scope() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("scope", "")?;
    host.start_mail_server()?;
    host.apply(&[])?;
    let config = host.config();
    // What the administrator has added stays.
    let text = fs::read_to_string(&config)? + "\n# ours\n[log]\nlevel = \"info\" # for now\n";
    fs::write(&config, text)?;
    let list = host.path("senders");
    fs::write(&list, "alice@customer.test\n")?;
    let output = host.run(&["--scope", list.to_str().ok_or("path")?, "--apply"])?;
    succeeded(&output, "In force.")?;
    let words = said(&output);
    let changed = changes(&words);
    let expected = |line: &&str| {
        let line = line[1..].trim();
        line.is_empty()
            || [
                "[scope]",
                "mode = ",
                "files = ",
                "sender_dependent_default_transport_maps",
                "regexp:",
                "hash:",
                "#",
                "/@",
            ]
            .iter()
            .any(|start| line.starts_with(start))
    };
    if changed.len() < 5 || !changed.iter().all(expected) {
        return Err(words.into());
    }
    if host.path("etc/conbool_senders").exists() {
        return Err("the pattern of the old scope is still there".into());
    }
    host.expect_at(RELAY)?;
    succeeded(&host.run(&["--apply"])?, "nothing to change")?;
    succeeded(&host.run(&["--scope", "all", "--apply"])?, "scope.files is replaced")?;
    host.expect_at(RELAY)
}

pub fn list_from_the_start() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("list", "")?;
    host.start_mail_server()?;
    let list = host.path("senders");
    fs::write(&list, "alice@customer.test\n")?;
    // Postfix is told of the table only when the daemon has written it.
    host.apply(&["--scope", list.to_str().ok_or("path")?])?;
    if !host.postconf(&["-h", "sender_dependent_default_transport_maps"])?.contains("state/conbool_senders") {
        return Err("Postfix does not use the daemon's table".into());
    }
    host.expect_at(RELAY)?;
    succeeded(&host.run(&["--apply"])?, "nothing to change")
}

pub fn other_provider() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("provider", "")?;
    host.start_mail_server()?;
    host.apply(&[])?;
    let folder = host.path("our-provider");
    fs::create_dir(&folder)?;
    for file in ["provider.toml", "policy.sieve"] {
        fs::copy(format!("{}/sieve/conbool/{file}", env!("CARGO_MANIFEST_DIR")), folder.join(file))?;
    }
    let folder = folder.to_str().ok_or("path")?;
    // Where the relay of another provider connects from is another question.
    let output = host.run(&["--provider", folder])?;
    if output.status.success() || !said(&output).contains("--relay-network") {
        return Err(said(&output).into());
    }
    let output = host.run(&["--provider", folder, "--relay-network", "127.0.3.2"])?;
    succeeded(&output, "relay.host was for the provider conbool")?;
    for line in ["-host = \"relay.conbool.test\"", "+127.0.3.2/32 conbool_handback", "-127.0.3.1/32 conbool_handback"] {
        if !said(&output).lines().any(|written| written == line) {
            return Err(format!("no {line}: {}", said(&output)).into());
        }
    }
    Ok(())
}

/// Continuation lines with comments in between, a setting given twice, `$` and other milters. No log by postlogd(8), which
/// the warnings about what is given twice can stop: it then waits for itself.
const STRANGE: &str = "\
maillog_file =
smtpd_milters = inet:127.0.0.1:9 ,
# a comment inside
    { inet:127.0.0.1:99, default_action=accept }
mydomain = customer.test
mynetworks = 127.0.0.1/32,
  $old_networks
mynetworks = $own_networks 127.0.5.0/24
own_networks = 127.0.0.1/32 127.0.1.1/32
smtpd_relay_restrictions =
    permit_mynetworks,
    # here too
    defer_unauth_destination
milter_default_action = accept";

pub fn strange_main_cf() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("strange", STRANGE)?;
    host.start_mail_server()?;
    let before = fs::read_to_string(host.path("etc/main.cf"))?;
    host.apply(&[])?;
    let after = fs::read_to_string(host.path("etc/main.cf"))?;
    // Every line is still there, some as comments.
    let lines: Vec<&str> = after.lines().map(|line| line.trim_start_matches('#')).collect();
    if let Some(lost) = before.lines().find(|line| !lines.contains(&line.trim_start_matches('#'))) {
        return Err(format!("{lost:?} is lost:\n{after}").into());
    }
    let milters = host.postconf(&["-h", "smtpd_milters"])?;
    let order = ["inet:127.0.0.1:9 ", "inet:127.0.0.1:99", "conbool/milter.sock"].map(|milter| milters.find(milter));
    if !order.is_sorted() || order[0].is_none() {
        return Err(milters.into());
    }
    let relay = host.postconf(&["-h", "smtpd_relay_restrictions"])?;
    if !relay.contains("conbool_clients") || !relay.trim_end().ends_with("defer_unauth_destination") {
        return Err(relay.into());
    }
    host.expect_at(RELAY)?;
    let state = host.state()?;
    succeeded(&host.run(&["--apply"])?, "nothing to change")?;
    host.expect_state(&state)
}
