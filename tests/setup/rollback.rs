//! The way back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::host::{DIRECT, Host, Installed, RELAY, State, refused, succeeded};
use super::lab::Error;
use super::lab::postfix::Postfix;
use super::lab::process::wait_for;

pub fn exact<M: Installed>(previous: &str) -> Result<(), Error> {
    let mut host = Host::<M>::new("back", previous)?;
    host.start_mail_server()?;
    fs::set_permissions(host.main_file(), fs::Permissions::from_mode(0o640))?;
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
    // And forth again. What is made of other files names the time, or differs otherwise.
    succeeded(&host.first_run(&["--apply"])?, "In force.")?;
    let is_made = |file: &(PathBuf, Vec<u8>, u32, u32, u32)| {
        file.0.extension().is_some_and(|made| made == "db" || made == "cf" && M::COMMAND == "sendmail")
    };
    let texts = |state: State| state.into_iter().filter(|file| !is_made(file)).collect::<Vec<_>>();
    if texts(host.state()?) != texts(applied) {
        return Err("it is not as it was the first time".into());
    }
    Ok(())
}

/// A field that a meeting request has: such mail goes direct.
const MEETING: &str = "Content-Class: urn:content-classes:calendarmessage\r\n";

pub fn mail_in_the_queue() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("queued", "")?;
    host.start_mail_server()?;
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
            let queue = host.mail_server().ok()?.queue().ok()?;
            queue.contains("Connection refused").then_some(())
        })?;
        refused(&host.run(&["--rollback", "--apply"])?, why)?;
        host.expect_state(&applied)?;
        let count = host.lab.host(down).received().len();
        host.lab.host(down).resume()?;
        host.mail_server()?.flush()?;
        wait_for(down, || (host.lab.host(down).received().len() > count).then_some(()))?;
        wait_for("an empty queue", || host.mail_server().ok()?.queue().ok()?.is_empty().then_some(()))?;
    }
    succeeded(&host.run(&["--rollback", "--apply"])?, "As it was before.")?;
    host.expect_at(DIRECT)
}

pub fn changed_since<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("changed", "")?;
    host.start_mail_server()?;
    let before = host.state()?;
    host.apply(&[])?;
    let file = host.main_file();
    fs::write(&file, fs::read_to_string(&file)? + M::LINE)?;
    let changed = host.state()?;
    let output = host.run(&["--rollback", "--apply"])?;
    refused(&output, "Somebody else has changed")?;
    refused(&output, &format!("-{}", M::LINE))?;
    host.expect_state(&changed)?;
    succeeded(&host.run(&["--rollback", "--force", "--apply"])?, "As it was before.")?;
    host.expect_state(&before)
}
