//! A host with a mail server and nothing of ours yet.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::lab::daemon::{Daemon, program};
use super::lab::postfix::{self, Postfix};
use super::lab::process::wait_for;
use super::lab::sendmail::{self, Sendmail};
use super::lab::site::MailServer;
use super::lab::smtp_client::SmtpClient;
use super::lab::{Error, Lab, MAIL_SERVER};

pub const RELAY: &str = "relay.conbool.test";
pub const DIRECT: &str = "mx.remote.test";
const INTERNAL_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);

/// What a file is: bytes, mode, owner.
pub type State = Vec<(PathBuf, Vec<u8>, u32, u32, u32)>;

/// A mail server that setup sets up.
pub trait Installed: MailServer {
    /// What is laid out as an administrator has it, but does not run.
    type LaidOut;

    /// What people call it.
    const TITLE: &'static str;

    /// The file that everybody who sets it up changes.
    const MAIN_FILE: &'static str;

    /// A line for that file that changes next to nothing.
    const LINE: &'static str;

    fn lay_out(lab: &Lab, previous: &str) -> Result<Self::LaidOut, Error>;

    fn run(laid_out: Self::LaidOut) -> Result<Self, Error>;

    /// By which setup finds it in the lab's directory.
    fn flags(dir: &Path) -> Vec<String>;

    /// The queue id in the reply to a message.
    fn queued_as(reply: &str) -> Option<String>;
}

impl Installed for Postfix {
    type LaidOut = postfix::Prepared;

    const TITLE: &'static str = "Postfix";
    const MAIN_FILE: &'static str = "main.cf";
    const LINE: &'static str = "message_size_limit = 20480000\n";

    fn lay_out(lab: &Lab, previous: &str) -> Result<Self::LaidOut, Error> {
        postfix::Prepared::new(lab, previous)
    }

    fn run(laid_out: Self::LaidOut) -> Result<Self, Error> {
        laid_out.start()
    }

    fn flags(dir: &Path) -> Vec<String> {
        vec!["--postfix-config".to_owned(), dir.join("etc").display().to_string()]
    }

    fn queued_as(reply: &str) -> Option<String> {
        reply.split_once("queued as ").map(|(_, id)| id.trim().to_owned())
    }
}

impl Installed for Sendmail {
    type LaidOut = Self;

    const TITLE: &'static str = "Sendmail";
    const MAIN_FILE: &'static str = "sendmail.mc";
    const LINE: &'static str = "dnl # Somebody was here.\n";

    fn lay_out(lab: &Lab, previous: &str) -> Result<Self::LaidOut, Error> {
        sendmail::Prepared::new(lab, previous)?.compiled()
    }

    fn run(mut laid_out: Self::LaidOut) -> Result<Self, Error> {
        Self::run(&mut laid_out)?;
        Ok(laid_out)
    }

    fn flags(dir: &Path) -> Vec<String> {
        let socket = dir.join("queue/conbool/milter.sock");
        vec![
            "--sendmail-config".to_owned(),
            dir.join("etc").display().to_string(),
            "--sendmail-program".to_owned(),
            sendmail::PROGRAM.to_owned(),
            "--socket".to_owned(),
            format!("unix:{}", socket.display()),
        ]
    }

    fn queued_as(reply: &str) -> Option<String> {
        let (before, _) = reply.split_once(" Message accepted for delivery")?;
        before.split_whitespace().last().map(str::to_owned)
    }
}

pub struct Host<M: Installed = Postfix> {
    pub lab: Lab,
    pub dir: PathBuf,
    laid_out: Option<M::LaidOut>,
    running: Option<M>,
    daemon: Option<Daemon>,
    /// Stands before the directories of PATH.
    pub programs: Option<PathBuf>,
    /// What setup is told each time.
    pub flags: Vec<String>,
}

impl<M: Installed> Host<M> {
    /// A host whose mail server has these settings too.
    pub fn new(name: &str, previous: &str) -> Result<Self, Error> {
        Self::with(name, previous, |_| Ok(()))
    }

    /// The same, with something done to the lab before the mail server is laid out.
    pub fn with(name: &str, previous: &str, before: impl FnOnce(&Path) -> Result<(), Error>) -> Result<Self, Error> {
        let lab = Lab::start(&format!("setup-{name}-{}", M::COMMAND))?;
        let dir = lab.dir.clone();
        before(&dir)?;
        let laid_out = Some(M::lay_out(&lab, previous)?);
        let mut host = Self { lab, dir, laid_out, running: None, daemon: None, programs: None, flags: Vec::new() };
        host.flags = [
            "--provider conbool",
            "--relay-network 127.0.3.1",
            "--internal-network 127.0.5.0/24",
            "--relay-host relay.conbool.test",
            &format!("--relay-ca-file {}", host.path("tls/ca.pem").display()),
        ]
        .iter()
        .flat_map(|flag| flag.split(' '))
        .map(str::to_owned)
        .collect();
        Ok(host)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("conbool-milter.toml")
    }

    /// The file of the mail server that everybody who sets it up changes.
    pub fn main_file(&self) -> PathBuf {
        self.path("etc").join(M::MAIN_FILE)
    }

    pub fn start_mail_server(&mut self) -> Result<(), Error> {
        let laid_out = self.laid_out.take().ok_or("the mail server runs already")?;
        self.running = Some(M::run(laid_out)?);
        Ok(())
    }

    /// `conbool-milter setup` with these flags and what this host needs.
    pub fn command(&self, flags: &[&str]) -> Result<Command, Error> {
        let mut command = Command::new(program()?);
        command.arg("setup").args(M::flags(&self.dir));
        command.arg("--state-directory").arg(self.path("state")).arg("--config").arg(self.config()).args(flags);
        if let Some(programs) = &self.programs {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", programs.display()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs setup with these flags to its end.
    pub fn run(&self, flags: &[&str]) -> Result<Output, Error> {
        Ok(self.command(flags)?.output()?)
    }

    /// Runs it with the flags that a first run needs, and gives back what it says.
    pub fn first_run(&self, flags: &[&str]) -> Result<Output, Error> {
        self.run(&self.with_flags(flags))
    }

    pub fn with_flags<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        self.flags.iter().map(String::as_str).chain(flags.iter().copied()).collect()
    }

    /// Sets the host up, as an administrator who starts the daemon when told to.
    pub fn apply(&mut self, flags: &[&str]) -> Result<String, Error> {
        let child = self.command(&self.with_flags(&[&["--apply"], flags].concat()))?.spawn()?;
        self.start_daemon()?;
        let words = self.end(child)?;
        // It has been told to look which sender table Postfix uses.
        if words.contains("In force.") && self.running.is_some() && M::COMMAND == Postfix::COMMAND {
            let daemon = self.daemon.as_ref().ok_or("no daemon")?;
            wait_for("the reload", || daemon.log().contains("configuration reloaded").then_some(()))?;
        }
        Ok(words)
    }

    pub fn end(&self, child: Child) -> Result<String, Error> {
        let output = child.wait_with_output()?;
        let text = said(&output);
        if output.status.success() { Ok(text) } else { Err(text.into()) }
    }

    /// Starts the daemon as soon as there is a configuration.
    pub fn start_daemon(&mut self) -> Result<(), Error> {
        let config = self.config();
        wait_for("the configuration", || config.exists().then_some(()))?;
        self.daemon = Some(Daemon::start(&config, &self.path("daemon.log"))?);
        Ok(())
    }

    /// Every file of the mail server's configuration directory, and our configuration.
    pub fn state(&self) -> Result<State, Error> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.path("etc"))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        paths.push(self.config());
        paths.retain(|path| path.is_file());
        paths.sort();
        paths
            .into_iter()
            .map(|path| {
                let metadata = fs::metadata(&path)?;
                let bytes = fs::read(&path)?;
                Ok((path, bytes, metadata.mode(), metadata.uid(), metadata.gid()))
            })
            .collect()
    }

    /// Runs a daemon with the configuration that is there, in the place of the one that runs.
    pub fn restart_daemon(&mut self) -> Result<(), Error> {
        self.daemon = None;
        self.start_daemon()
    }

    /// Expects everything to be as it was.
    pub fn expect_state(&self, before: &State) -> Result<(), Error> {
        let now = self.state()?;
        let names = |state: &State| state.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
        if names(&now) != names(before) {
            return Err(format!("{:?}, not {:?}", names(&now), names(before)).into());
        }
        match now.iter().zip(before).find(|(now, before)| now != before) {
            None => Ok(()),
            Some((now, _)) => Err(format!("{}: {}", now.0.display(), String::from_utf8_lossy(&now.1)).into()),
        }
    }

    pub fn mail_server(&self) -> Result<&M, Error> {
        self.running.as_ref().ok_or_else(|| "the mail server does not run".into())
    }

    /// Hands in a message of alice's to somebody elsewhere; gives back its queue id.
    pub fn hand_in(&self, fields: &str) -> Result<String, Error> {
        self.hand_in_to("carol@remote.test", fields)
    }

    /// The same to this recipient.
    pub fn hand_in_to(&self, recipient: &str, fields: &str) -> Result<String, Error> {
        let text = format!("From: alice@customer.test\r\nTo: {recipient}\r\nSubject: test\r\n{fields}\r\nHello\r\n");
        let mut client = SmtpClient::connect(INTERNAL_CLIENT, (MAIL_SERVER.1, 25).into())?;
        let rcpt = format!("RCPT TO:<{recipient}>");
        for line in ["EHLO desk.customer.test", "MAIL FROM:<alice@customer.test>", &rcpt] {
            let reply = client.command(line)?;
            if !reply.is_positive() {
                return Err(format!("{line}: {}", reply.text).into());
            }
        }
        let reply = client.data(text.as_bytes())?;
        Ok(M::queued_as(&reply.text).ok_or_else(|| format!("not taken: {}", reply.text))?)
    }

    /// Hands in a message and waits until it is at this host.
    pub fn expect_at(&self, name: &str) -> Result<(), Error> {
        let count = self.lab.host(name).received().len();
        self.hand_in("")?;
        wait_for(name, || (self.lab.host(name).received().len() > count).then_some(()))?;
        Ok(())
    }
}

impl Host<Postfix> {
    pub fn postconf(&self, arguments: &[&str]) -> Result<String, Error> {
        let output = Command::new("postconf").arg("-c").arg(self.path("etc")).args(arguments).output()?;
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// What a run said, on standard output and error.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// Expects a run to fail with this in its words.
pub fn refused(output: &Output, text: &str) -> Result<(), Error> {
    let words = said(output);
    if output.status.code() == Some(1) && words.contains(text) {
        Ok(())
    } else {
        Err(format!("{:?}: {words}", output.status).into())
    }
}

/// Expects a run to succeed with this in its words.
pub fn succeeded(output: &Output, text: &str) -> Result<(), Error> {
    let words = said(output);
    if output.status.success() && words.contains(text) {
        Ok(())
    } else {
        Err(format!("{:?}: {words}", output.status).into())
    }
}
