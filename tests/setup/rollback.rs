//! The way back.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::host::{DIRECT, Host, RELAY, refused, succeeded};
use super::lab::Error;
use super::lab::process::wait_for;

pub fn exact() -> Result<(), Error> {
    let mut host = Host::new("back", "smtpd_milters =\n")?;
    host.start_postfix()?;
    fs::set_permissions(host.path("etc/main.cf"), fs::Permissions::from_mode(0o640))?;
    let before = host.state()?;
    refused(&host.run(&["--rollback", "--apply"])?, "nothing to go back to")?;
    host.apply(&[])?;
    host.expect_at(RELAY)?;
    let applied = host.state()?;
    succeeded(&host.run(&["--rollback"])?, "Nothing was changed.")?;
    host.expect_state(&applied)?;
    succeeded(&host.run(&["--rollback", "--apply"])?, "As it was before.")?;
    host.expect_state(&before)?;
    // Mail goes as it went before, and none to the relay.
    let relayed = host.lab.host(RELAY).received().len();
    host.expect_at(DIRECT)?;
    if host.lab.host(RELAY).received().len() != relayed {
        return Err("the relay got mail after the way back".into());
    }
    refused(&host.run(&["--rollback", "--apply"])?, "nothing to go back to")?;
    // And forth again.
    succeeded(&host.first_run(&["--apply"])?, "In force.")?;
    host.expect_state(&applied)
}

/// A field that a meeting request has: such mail goes direct.
const MEETING: &str = "Content-Class: urn:content-classes:calendarmessage\r\n";

pub fn mail_in_the_queue() -> Result<(), Error> {
    let mut host = Host::new("queued", "")?;
    host.start_postfix()?;
    host.apply(&[])?;
    let applied = host.state()?;
    // Until the daemon has looked at the sender table again, it marks every message.
    wait_for("a message without a mark", || {
        host.expect_at(RELAY).ok()?;
        let message = host.lab.host(RELAY).received().pop()?.message;
        (String::from_utf8_lossy(&message).matches("\r\nReceived:").count() == 0).then_some(())
    })?;
    for (down, fields, why) in [(RELAY, "", "waits for the relay"), (DIRECT, MEETING, "is marked for a transport")] {
        host.lab.host(down).stop();
        host.hand_in(fields)?;
        wait_for("the message put off", || {
            let queue = host.postfix().ok()?.queue().ok()?;
            queue.contains("Connection refused").then_some(())
        })?;
        refused(&host.run(&["--rollback", "--apply"])?, why)?;
        host.expect_state(&applied)?;
        let count = host.lab.host(down).received().len();
        host.lab.host(down).resume()?;
        host.postfix()?.flush()?;
        wait_for(down, || (host.lab.host(down).received().len() > count).then_some(()))?;
        wait_for("an empty queue", || host.postfix().ok()?.queue().ok()?.is_empty().then_some(()))?;
    }
    succeeded(&host.run(&["--rollback", "--apply"])?, "As it was before.")?;
    host.expect_at(DIRECT)
}

pub fn changed_since() -> Result<(), Error> {
    let mut host = Host::new("changed", "")?;
    host.start_postfix()?;
    let before = host.state()?;
    host.apply(&[])?;
    let main_cf = host.path("etc/main.cf");
    fs::write(&main_cf, fs::read_to_string(&main_cf)? + "message_size_limit = 20480000\n")?;
    let changed = host.state()?;
    let output = host.run(&["--rollback", "--apply"])?;
    refused(&output, "Somebody else has changed")?;
    refused(&output, "-message_size_limit = 20480000")?;
    host.expect_state(&changed)?;
    succeeded(&host.run(&["--rollback", "--force", "--apply"])?, "As it was before.")?;
    host.expect_state(&before)
}
