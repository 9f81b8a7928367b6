//! Failures on the way: everything is as it was, and a sentence says why.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use super::host::{DIRECT, Host, Installed, RELAY, State, refused, said, succeeded};
use super::lab::Error;
use super::lab::postfix::Postfix;
use super::lab::process::{run, wait_for};

/// Expects a run with `--apply` to fail with this text, and nothing to have changed.
fn fails<M: Installed>(host: &Host<M>, flags: &[&str], before: &State, text: &str) -> Result<(), Error> {
    refused(&host.first_run(&[&["--apply"], flags].concat())?, text)?;
    host.expect_state(before)?;
    let backups = host.path("state/backups");
    let left = fs::read_dir(&backups).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()).count();
    if left == 0 { Ok(()) } else { Err(format!("{left} back-ups of nothing").into()) }
}

/// Puts a program of this name before the real one: it fails with these arguments, and else does what the real one does.
fn fail_at<M: Installed>(host: &mut Host<M>, program: &str, pattern: &str, says: &str) -> Result<(), Error> {
    let programs = host.path("programs");
    fs::create_dir_all(&programs)?;
    let path = programs.join(program);
    fs::write(
        &path,
        format!(
            "#!/bin/sh\ncase \"$*\" in {pattern}) echo '{program}: fatal: {says}' >&2; exit 1;; esac\nexec /usr/sbin/{program} \"$@\"\n"
        ),
    )?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    host.programs = Some(programs);
    Ok(())
}

pub fn check() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("check", "")?;
    // The lab logs by Postfix itself, for which this service is needed.
    let master_cf = host.path("etc/master.cf");
    let text = fs::read_to_string(&master_cf)?;
    fs::write(&master_cf, text.replace("\npostlog ", "\n#postlog "))?;
    let before = host.state()?;
    fails(&host, &[], &before, "missing 'postlog' service")?;
    fs::write(&master_cf, text)?;
    // A check that fails only once everything is in place.
    host.start_mail_server()?;
    let before = host.state()?;
    let etc = host.path("etc").display().to_string();
    fail_at(&mut host, "postfix", &format!("\"-c {etc} check\""), "something is strange")?;
    let child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    host.start_daemon()?;
    refused(&child.wait_with_output()?, "something is strange")?;
    host.expect_state(&before)?;
    host.expect_at(DIRECT)
}

pub fn reload() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("reload", "")?;
    host.start_mail_server()?;
    let before = host.state()?;
    fail_at(&mut host, "postfix", "*reload", "no reload today")?;
    let child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    host.start_daemon()?;
    refused(&child.wait_with_output()?, "no reload today")?;
    host.expect_state(&before)?;
    host.expect_at(DIRECT)
}

pub fn mail_server_down<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("down", "")?;
    let words = host.apply(&[])?;
    if !words.contains(&format!("{} does not run", M::TITLE)) {
        return Err(words.into());
    }
    host.start_mail_server()?;
    host.expect_at(RELAY)
}

pub fn read_only<M: Installed>() -> Result<(), Error> {
    let host = Host::<M>::new("read-only", "")?;
    let before = host.state()?;
    let etc = host.path("etc");
    let flags = MsFlags::MS_BIND;
    mount(Some(&etc), &etc, None::<&str>, flags, None::<&str>)?;
    mount(None::<&str>, &etc, None::<&str>, flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)?;
    fails(&host, &[], &before, "Read-only file system")
}

pub fn full_disk<M: Installed>() -> Result<(), Error> {
    let small = |dir: &Path| {
        let etc = dir.join("etc");
        fs::create_dir_all(&etc)?;
        Ok(mount(Some("tmpfs"), &etc, Some("tmpfs"), MsFlags::empty(), Some("size=1m,mode=0755"))?)
    };
    let host = Host::<M>::with("full", "", small)?;
    let before = host.state()?;
    // All but so many pages are taken: it fills at one file or the other.
    let filler = host.path("etc/sasl/filler");
    for pages in [0, 1, 3, 5] {
        let free = nix::sys::statvfs::statvfs(&host.path("etc"))?.blocks_available() as usize;
        fs::write(&filler, vec![b'x'; free.saturating_sub(pages) * 4096])?;
        fails(&host, &[], &before, "No space left on device")?;
        fs::remove_file(&filler)?;
    }
    Ok(())
}

pub fn silent_daemon<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("silent", "")?;
    host.start_mail_server()?;
    let before = host.state()?;
    fails(&host, &["--wait", "1"], &before, "does not answer on unix:")?;
    host.expect_at(DIRECT)
}

pub fn port_taken() -> Result<(), Error> {
    let mut host = Host::<Postfix>::new("port", "")?;
    host.start_mail_server()?;
    let before = host.state()?;
    // master(8) would end when it cannot have it.
    let _taken = TcpListener::bind(("127.0.0.1", 25036))?;
    fails(&host, &[], &before, "--split-relay-port")?;
    host.apply(&["--split-relay-port", "25046"])?;
    host.expect_at(RELAY)?;
    // Which it is need not be said again.
    succeeded(&host.run(&["--apply"])?, "nothing to change")
}

pub fn killed<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("killed", "")?;
    host.start_mail_server()?;
    let before = host.state()?;
    // It waits for the daemon, with our configuration in place and all other files beside theirs.
    let mut child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    let config = host.config();
    written(&config)?;
    child.kill()?;
    child.wait()?;
    let output = host.run(&[])?;
    if output.status.success() || !said(&output).contains("--apply") {
        return Err(said(&output).into());
    }
    // The way back puts it right, and there is nothing more to go back to.
    refused(&host.run(&["--rollback", "--apply"])?, "Put back as they were")?;
    host.expect_state(&before)?;
    // So does a run that goes on.
    let mut child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    written(&config)?;
    child.kill()?;
    child.wait()?;
    let left = fs::metadata(&config)?.ino();
    let child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    wait_for("the next configuration", || fs::metadata(&config).is_ok_and(|now| now.ino() != left).then_some(()))?;
    host.start_daemon()?;
    let words = host.end(child)?;
    if !words.contains("Put back as they were") || !words.contains("In force.") {
        return Err(words.into());
    }
    host.expect_at(RELAY)
}

pub fn interrupted<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("interrupted", "")?;
    host.start_mail_server()?;
    let before = host.state()?;
    let child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    let config = host.config();
    written(&config)?;
    run(Command::new("kill").args(["-s", "INT", &child.id().to_string()]))?;
    refused(&child.wait_with_output()?, "Interrupted.\nEverything is as it was.")?;
    host.expect_state(&before)
}

/// Waits until setup has written our configuration: on a busy machine what it tries before takes a while.
fn written(config: &Path) -> Result<(), Error> {
    let there = || wait_for("the configuration", || config.exists().then_some(()));
    Ok(there().or_else(|_| there()).or_else(|_| there())?)
}
