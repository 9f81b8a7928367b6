//! The assistant on a terminal of its own, and what is said without one.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rexpect::session::{PtySession, spawn_command};

use super::host::{Host, Installed, RELAY, refused};
use super::lab::Error;
use super::lab::daemon::program;
use super::lab::postfix::Postfix;

/// Setup on a terminal, with only the flags that say where this host's files are.
fn assistant<M: Installed>(host: &Host<M>) -> Result<PtySession, Error> {
    let mut command = Command::new(program()?);
    command.arg("setup").args(M::flags(&host.dir));
    command.arg("--state-directory").arg(host.path("state")).arg("--config").arg(host.config());
    command.arg("--relay-ca-file").arg(host.path("tls/ca.pem"));
    Ok(spawn_command(command, Some(20_000))?)
}

/// Answers the questions up to the difference.
fn answer(session: &mut PtySession) -> Result<(), Error> {
    for (question, answer) in [
        ("Provider [conbool]: ", ""),
        ("Hosted domains [customer.test, second.test]: ", ""),
        ("there is no default", ""),
        ("Networks of the relay: ", "127.0.3.1/33"),
        ("is not a network", "127.0.3.1"),
        ("Internal networks: ", "127.0.5.0/24"),
        ("Scope [all]: ", ""),
        ("Relay host [mail.conbool.com]: ", RELAY),
    ] {
        session.exp_string(question)?;
        match (question, answer) {
            ("there is no default", _) => {}
            ("is not a network", answer) => {
                // The answer that was wrong stays to be mended.
                session.send_control('u')?;
                (0.."127.0.3.1/33".len()).try_for_each(|_| session.send("\u{7f}").map(drop))?;
                session.send_line(answer)?;
            }
            _ => drop(session.send_line(answer)?),
        }
    }
    Ok(())
}

pub fn asks_and_applies<M: Installed>() -> Result<(), Error> {
    let mut host = Host::<M>::new("assistant", "")?;
    host.start_mail_server()?;
    let mut session = assistant(&host)?;
    answer(&mut session)?;
    session.exp_string("+provider = \"conbool\"")?;
    session.exp_string("conbool-milter: begin")?;
    session.exp_string("Put this in force?")?;
    session.send("y")?;
    session.flush()?;
    session.exp_string("Start the daemon now")?;
    host.start_daemon()?;
    session.exp_string("In force.")?;
    session.exp_eof()?;
    host.expect_at(RELAY)
}

pub fn declined<M: Installed>() -> Result<(), Error> {
    let host = Host::<M>::new("declined", "")?;
    let before = host.state()?;
    let mut session = assistant(&host)?;
    answer(&mut session)?;
    session.exp_string("Put this in force?")?;
    session.send("n")?;
    session.flush()?;
    session.exp_string("Nothing was changed.")?;
    session.exp_eof()?;
    host.expect_state(&before)
}

pub fn missing() -> Result<(), Error> {
    let host = Host::<Postfix>::new("missing", "")?;
    let before = host.state()?;
    let output = host.run(&["--apply"])?;
    refused(&output, "--provider NAME\n  --relay-network NETWORK")?;
    for (flags, problem) in [
        (["--domain", "alice@customer.test"], "--domain: \"alice@customer.test\""),
        (["--relay-network", "127.0.3.1/8"], "host bits"),
        (["--scope", "/no/such/file"], "--scope: \"/no/such/file\" cannot be read"),
        (["--mail-server", "zimbra"], "setup zimbra"),
    ] {
        refused(&host.run(&["--provider", "conbool", flags[0], flags[1], "--apply"])?, problem)?;
    }
    // Subcommands are no arguments of the assistant.
    let mut both = Command::new(program()?);
    both.args(["setup", "--apply", "postfix"]).stdin(Stdio::null()).process_group(0);
    if both.output()?.status.code() != Some(2) {
        return Err("--apply is taken beside a subcommand".into());
    }
    host.expect_state(&before)
}
