//! From the configuration that packages install, with the daemon in monitor mode, and back to it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Output;
use std::thread;

use super::host::{DIRECT, Host, Installed, RELAY, refused, said, succeeded};
use super::lab::postfix::{Postfix, user_id};
use super::lab::process::wait_for;
use super::lab::{Error, daemon, namespace};

const PACKAGED: &str = include_str!("../../packaging/conbool-milter.toml");

/// What goes when it is set up.
const MODE: &str = "\
# Nothing is set up yet: mail is neither changed nor refused nor routed. `conbool-milter setup` takes this line out; so
# does who writes domains and relay_networks here by hand.
mode = \"monitor\"

";

pub fn there_and_back<M: Installed>() -> Result<(), Error> {
    // The thread's /run is to be its own.
    thread::spawn(|| there_and_back_here::<M>()).join().unwrap_or_else(|_| Err("it panics".into()))
}

fn there_and_back_here<M: Installed>() -> Result<(), Error> {
    namespace::own_run()?;
    let sockets = Path::new("/run/conbool-milter");
    fs::create_dir(sockets)?;
    chown(sockets, Some(user_id(daemon::USER)?), None)?;
    let mut host = Host::<M>::new("packaged", "")?;
    // It says which provider.
    host.flags.retain(|flag| flag != "--provider" && flag != "conbool");
    fs::write(host.config(), PACKAGED)?;
    host.start_daemon()?;
    host.start_mail_server()?;
    host.expect_at(DIRECT)?;
    not_wired(&host, &wired(&host)?)?;

    let before = host.state()?;
    let child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    wait_for("the configuration", || (fs::read_to_string(host.config()).ok()? != PACKAGED).then_some(()))?;
    host.restart_daemon()?;
    host.end(child)?;
    let text = fs::read_to_string(host.config())?;
    for kept in PACKAGED
        .replace(MODE, "")
        .lines()
        .filter(|line| !line.starts_with("socket = \"unix:/run/conbool-milter/milter"))
    {
        if !text.lines().any(|line| line == kept) {
            return Err(format!("{kept:?} is gone:\n{text}").into());
        }
    }
    let (own, sections) = text.split_once("\n# Whose mail").ok_or("the comments are gone")?;
    if text.lines().any(|line| line == "mode = \"monitor\"")
        || !own.contains("\ndomains = ")
        || !sections.contains("\n[relay]\n")
    {
        return Err(text.into());
    }
    host.expect_at(RELAY)?;
    succeeded(&wired(&host)?, &format!("{}: ", host.main_file().display()))?;
    succeeded(&host.first_run(&["--apply"])?, "nothing to change")?;

    succeeded(&host.run(&["--rollback", "--apply"])?, "As it was before.")?;
    host.expect_state(&before)?;
    host.restart_daemon()?;
    let relayed = host.lab.host(RELAY).received().len();
    host.expect_at(DIRECT)?;
    if host.lab.host(RELAY).received().len() != relayed {
        return Err("the relay got mail after the way back".into());
    }
    not_wired(&host, &wired(&host)?)
}

fn wired<M: Installed>(host: &Host<M>) -> Result<Output, Error> {
    let mut command = std::process::Command::new(daemon::program()?);
    Ok(command.args(["setup", "--wired", "--config"]).arg(host.config()).output()?)
}

/// Expects nothing of this host to be named; there are others in the lab.
fn not_wired<M: Installed>(host: &Host<M>, output: &Output) -> Result<(), Error> {
    let words = said(output);
    if words.contains(&host.path("etc").display().to_string()) { Err(words.into()) } else { Ok(()) }
}

/// What it does not say has to come from somebody; what an administrator has written stays.
pub fn missing() -> Result<(), Error> {
    let host = Host::<Postfix>::new("unpackaged", "")?;
    fs::write(host.config(), PACKAGED)?;
    let before = host.state()?;
    let output = host.run(&["--apply"])?;
    refused(&output, "--relay-network NETWORK")?;
    if said(&output).contains("--provider") {
        return Err(said(&output).into());
    }
    host.expect_state(&before)?;
    let own = "internal_networks = [\"127.0.8.0/24\"]\nprovider = ";
    let text = PACKAGED.replace("milter.sock", "own.sock").replace("provider = ", own);
    fs::write(host.config(), text)?;
    let output = host.run(&["--relay-network", "127.0.3.1"])?;
    succeeded(&output, "-mode = \"monitor\"")?;
    let words = said(&output);
    let kept = fs::read_to_string(host.config())?.replace(MODE, "");
    if let Some(line) = kept.lines().find(|line| !line.is_empty() && words.contains(&format!("\n-{line}\n"))) {
        return Err(format!("{line:?} goes: {words}").into());
    }
    // A mode in a configuration that is set up is the administrator's.
    fs::write(
        host.config(),
        PACKAGED.replace("provider = ", "domains = [\"customer.test\"]\nrelay_networks = [\"127.0.3.1\"]\nprovider = "),
    )?;
    let output = host.run(&["--internal-network", "127.0.5.0/24"])?;
    succeeded(&output, "+internal_networks")?;
    if said(&output).contains("-mode") {
        return Err(said(&output).into());
    }
    Ok(())
}
