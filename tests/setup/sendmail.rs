//! What is so with Sendmail alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use super::host::{DIRECT, Host, RELAY, refused, said, succeeded};
use super::lab::Error;
use super::lab::daemon::program;
use super::lab::process::{run, wait_for};
use super::lab::sendmail::{self, Sendmail};
use super::lab::site::MailServer;

/// A host whose Sendmail runs.
fn host(name: &str) -> Result<Host<Sendmail>, Error> {
    let mut host = Host::new(name, "")?;
    host.start_mail_server()?;
    Ok(host)
}

/// `conbool-milter setup sendmail` with these flags, which needs to be told no more than the configuration says.
fn command(host: &Host<Sendmail>, flags: &[&str]) -> Result<Command, Error> {
    let mut command = Command::new(program()?);
    command.args(["setup", "sendmail", "--config"]).arg(host.config()).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// A message for the relay that cannot go there yet, by this recipient.
fn put_off(host: &Host<Sendmail>, recipient: &str) -> Result<String, Error> {
    let id = host.hand_in_to(recipient, "")?;
    wait_for("the message put off", || {
        let log = host.mail_server().ok()?.log();
        log.lines().any(|line| line.contains(&id) && line.contains("stat=Deferred")).then_some(())
    })?;
    Ok(id)
}

pub fn mail_in_the_queue() -> Result<(), Error> {
    let mut host = host("queued")?;
    host.apply(&[])?;
    host.expect_at(RELAY)?;
    let applied = host.state()?;
    // One that bears a mark, and the copy of an alias, which bears none.
    for recipient in ["carol@remote.test", "outside@customer.test"] {
        host.lab.host(RELAY).stop();
        let id = put_off(&host, recipient)?;
        let output = host.run(&["--rollback", "--apply"])?;
        refused(&output, "Mail in the queue needs the rules")?;
        refused(&output, &format!("  {id} from "))?;
        refused(&host.run(&["--rollback", "--force", "--apply"])?, "Mail in the queue needs the rules")?;
        host.expect_state(&applied)?;
        let count = host.lab.host(RELAY).received().len();
        host.lab.host(RELAY).resume()?;
        host.mail_server()?.flush()?;
        wait_for(RELAY, || (host.lab.host(RELAY).received().len() > count).then_some(()))?;
        let queue = host.mail_server()?.queue();
        wait_for("an empty queue", || {
            fs::read_dir(&queue).is_ok_and(|mut queue| queue.next().is_none()).then_some(())
        })?;
    }
    succeeded(&host.run(&["--rollback", "--apply"])?, "As it was before.")?;
    host.expect_at(DIRECT)
}

/// Expects a run to be refused before the daemon is even asked for, and Sendmail to serve as before.
fn refused_at_once(host: &Host<Sendmail>, flags: &[&str], text: &str) -> Result<(), Error> {
    let before = host.state()?;
    refused(&host.first_run(&[&["--apply"], flags].concat())?, text)?;
    host.expect_state(&before)?;
    host.expect_at(DIRECT)
}

pub fn edited_by_hand() -> Result<(), Error> {
    let host = host("by-hand")?;
    let cf = host.path("etc/sendmail.cf");
    let text = fs::read_to_string(&cf)?;
    fs::write(&cf, text.replace("\nO SendMimeErrors=True\n", "\nO SendMimeErrors=False\n"))?;
    refused_at_once(&host, &[], "-O SendMimeErrors=False")?;
    refused_at_once(&host, &[], "+O SendMimeErrors=True")?;
    // Comments mean nothing.
    fs::write(&cf, text + "# Somebody was here.\n")?;
    succeeded(&host.first_run(&[])?, "Nothing was changed.")
}

pub fn m4_fails() -> Result<(), Error> {
    let host = host("m4")?;
    let mc = host.main_file();
    fs::write(&mc, fs::read_to_string(&mc)? + "include(`/no/such/file')dnl\n")?;
    refused_at_once(&host, &[], "/no/such/file")
}

/// A place for sockets that others can write to: Sendmail refuses the socket.
fn make_unsafe(host: &Host<Sendmail>) -> Result<(), Error> {
    Ok(fs::set_permissions(host.path("queue/conbool"), fs::Permissions::from_mode(0o2770))?)
}

pub fn unsafe_socket() -> Result<(), Error> {
    let host = host("unsafe")?;
    make_unsafe(&host)?;
    refused_at_once(&host, &[], "chmod go-w")
}

pub fn check_fails() -> Result<(), Error> {
    let mut host = host("check")?;
    let before = host.state()?;
    let child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    let config = host.config();
    wait_for("the configuration", || config.exists().then_some(()))?;
    // Only now, when the trial is over.
    make_unsafe(&host)?;
    host.start_daemon()?;
    refused(&child.wait_with_output()?, "unsafe")?;
    host.expect_state(&before)?;
    host.expect_at(DIRECT)
}

pub fn ends_at_the_reload() -> Result<(), Error> {
    let mut host = Host::<Sendmail>::new("reload", "")?;
    // This user does not reach the sockets, which nobody can tell but Sendmail when it starts.
    let (mc, cf) = (host.main_file(), host.path("etc/sendmail.cf"));
    let run_as = "define(`confRUN_AS_USER', `nobody:nogroup')dnl\nMAILER(`local')dnl\n";
    fs::write(&mc, fs::read_to_string(&mc)?.replace("MAILER(`local')dnl\n", run_as))?;
    fs::write(&cf, run(Command::new("m4").arg(&mc))?.stdout)?;
    chown(host.path("queue/mail"), Some(65534), Some(65534))?;
    for map in ["access.db", "virtusertable.db", "aliases.db"] {
        fs::set_permissions(host.path("etc").join(map), fs::Permissions::from_mode(0o644))?;
    }
    host.start_mail_server()?;
    host.expect_at(DIRECT)?;
    let before = host.state()?;
    let child = host.command(&host.with_flags(&["--apply"]))?.spawn()?;
    host.start_daemon()?;
    let output = child.wait_with_output()?;
    refused(&output, "Sendmail ended")?;
    if !said(&output).trim_end().ends_with("Everything is as it was.") {
        return Err(said(&output).into());
    }
    host.expect_state(&before)?;
    host.expect_at(DIRECT)
}

pub fn which_mail_server() -> Result<(), Error> {
    let host = host("which")?;
    // By its default directories, this host has a Postfix too.
    let (etc, config) = (host.path("etc"), host.config());
    let places = format!("[sendmail]\ndirectory = \"{}\"\nprogram = \"{}\"\n", etc.display(), sendmail::PROGRAM);
    let socket = format!("socket = \"unix:{}\"\n", host.path("queue/conbool/milter.sock").display());
    let state = format!("state_directory = \"{}\"\n", host.path("state").display());
    let text = "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"127.0.3.1\"]\n";
    fs::write(&config, [text, &socket, &state, &places].concat())?;
    let setup = |flags: &[&str]| -> Result<_, Error> {
        let mut command = Command::new(program()?);
        command.args(["setup", "--unattended", "--config"]).arg(&config).args(flags);
        Ok(command.stdin(Stdio::null()).output()?)
    };
    refused(&setup(&[])?, "--mail-server postfix|sendmail")?;
    let output = setup(&["--mail-server", "sendmail"])?;
    succeeded(&output, "+mail_server = \"sendmail\"")?;
    succeeded(&output, "etc/sendmail.mc")?;
    // One that is written down needs no flag, and is not changed by one.
    fs::write(&config, ["mail_server = \"sendmail\"\n", text, &socket, &state, &places].concat())?;
    succeeded(&setup(&[])?, "etc/sendmail.mc")?;
    refused(&setup(&["--mail-server", "postfix"])?, "The configuration is for Sendmail")
}

pub fn as_configured() -> Result<(), Error> {
    let mut host = host("configured")?;
    let before = host.state()?;
    let before: Vec<_> = before.into_iter().filter(|file| file.0.starts_with(host.path("etc"))).collect();
    // The assistant only writes the configuration that an administrator would have.
    let words = said(&host.first_run(&[])?);
    let text: String = words
        .lines()
        .skip_while(|line| !line.ends_with("conbool-milter.toml"))
        .skip(1)
        .take_while(|line| !line.starts_with("--- "))
        .filter(|line| line.starts_with('+'))
        .map(|line| format!("{}\n", &line[1..]))
        .collect();
    fs::write(host.config(), &text)?;
    let child = command(&host, &["--apply"])?.spawn()?;
    host.start_daemon()?;
    let words = host.end(child)?;
    if !words.contains("In force.") || fs::read_to_string(host.config())? != text {
        return Err(words.into());
    }
    host.expect_at(RELAY)?;
    succeeded(&command(&host, &["--apply"])?.output()?, "nothing to change")?;
    succeeded(&command(&host, &["--rollback"])?.output()?, "Nothing was changed.")?;
    succeeded(&command(&host, &["--rollback", "--apply"])?.output()?, "As it was before.")?;
    let after: Vec<_> = host.state()?.into_iter().filter(|file| file.0.starts_with(host.path("etc"))).collect();
    if after != before {
        return Err("the files of Sendmail are not as they were".into());
    }
    host.expect_at(DIRECT)
}
