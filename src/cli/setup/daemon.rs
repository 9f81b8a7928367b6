//! The daemon, before the mail server is told of it: it has to run with the new configuration, and answer.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::systemd::Units;
use crate::cli::doctor::handshake;
use crate::config::{Config, Socket};

/// What was done to the daemon, and how it is undone.
#[derive(Debug)]
pub enum Started {
    /// The service manager was told to have it run; so it had it before.
    Managed(Units),
    /// It ran, and was told to read its configuration again.
    Reloaded,
    /// Nothing: somebody else starts it.
    ByHand,
}

/// The daemon that is to run.
#[derive(Debug)]
pub struct Daemon<'a> {
    /// Its configuration file.
    pub file: &'a Path,
    /// What that says.
    pub config: &'a Config,
    /// What it said before, if there was one.
    pub before: Option<&'a Config>,
    /// Whether the file has changed.
    pub changed: bool,
    /// The table that it has to write before the mail server is told of it.
    pub table: Option<&'a Path>,
    /// What the mail server is called.
    pub mta: &'a str,
}

impl Daemon<'_> {
    /// Has it run with its configuration, and waits until it answers on all of the sockets that a mail server asks and
    /// has written its table.
    ///
    /// # Errors
    /// A sentence if it does not in time, or whoever waits has lost patience. What was done is told in any case.
    pub fn take_up(&self, patience: Duration, interruption: &mut Interruption) -> (Started, Result<(), String>) {
        let (started, result) = self.start();
        if let Err(problem) = result {
            return (started, Err(problem));
        }
        let waiting = ProgressBar::new_spinner().with_message("Waiting for the daemon");
        waiting.enable_steady_tick(Duration::from_millis(200));
        let end = Instant::now() + patience;
        let result = loop {
            let missing = self.table.filter(|table| !table.exists());
            match (self.answers(), missing) {
                (true, None) => break Ok(()),
                (answers, missing) if Instant::now() > end => break Err(self.late(answers, missing, patience)),
                _ if interruption.came_within(Duration::from_millis(100)) => break Err("Interrupted.".to_owned()),
                _ => {}
            }
        };
        waiting.finish_and_clear();
        (started, result)
    }

    fn answers(&self) -> bool {
        is_there(self.config).is_ok()
    }

    fn start(&self) -> (Started, Result<(), String>) {
        if let Some(units) = Units::found() {
            let restart = self.before.is_some_and(|before| needs_restart(before, self.config));
            let result = units.take_up(self.config, self.changed, restart);
            return (Started::Managed(units), result);
        }
        if self.answers() {
            let reload = self.changed && hang_up(&self.config.milter.sockets);
            return (if reload { Started::Reloaded } else { Started::ByHand }, Ok(()));
        }
        eprintln!(
            "Start the daemon now, or restart the one that runs, in another window or with your service manager:"
        );
        eprintln!("  conbool-milter run --config {}", self.file.display());
        (Started::ByHand, Ok(()))
    }

    fn late(&self, answers: bool, table: Option<&Path>, patience: Duration) -> String {
        let seconds = patience.as_secs();
        match table {
            Some(table) if answers => format!(
                "conbool-milter has not written {} within {seconds} s; its log says why. It must be able to write there.",
                table.display()
            ),
            _ => {
                let sockets = self.config.milter.sockets.iter().chain(&self.config.socketmap.sockets);
                let names: Vec<String> = sockets.map(ToString::to_string).collect();
                format!(
                    "conbool-milter does not answer on {} within {seconds} s, so {} is not told of it: clients would get a \
                     temporary error. Start it with this configuration, or restart it if it runs with another, and see its \
                     log.",
                    names.join(", "),
                    self.mta
                )
            }
        }
    }
}

/// Whether a daemon answers on all of the sockets that a mail server asks. While none does, clients of a mail server that
/// was told of it get a temporary error.
///
/// # Errors
/// A sentence, if there is none.
pub fn is_there(config: &Config) -> Result<(), String> {
    let milter = config.milter.sockets.iter().map(|socket| (socket, handshake::shake(&socket.to_string()).map(drop)));
    let socketmap = config.socketmap.sockets.iter().map(|socket| (socket, handshake::ask(&socket.to_string())));
    milter.chain(socketmap).try_for_each(|(socket, answer)| {
        answer.map_err(|problem| {
            format!("conbool-milter does not answer on {socket} ({problem}): start it, and run this again")
        })
    })
}

/// SIGINT and SIGTERM, which from now on end nothing: what is under way is taken back in good order.
#[derive(Debug)]
pub struct Interruption {
    runtime: Runtime,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interruption {
    /// Begins to watch.
    ///
    /// # Errors
    /// A sentence, if the system refuses.
    pub fn watch() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot watch for signals: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (interrupt, terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
        };
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Waits so long at most; true if one of them came.
    fn came_within(&mut self, time: Duration) -> bool {
        let Self { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                () = tokio::time::sleep(time) => false,
            }
        })
    }
}

/// Takes back what was done to the daemon, once its configuration is as it was: `config` again, and not `tried`.
pub fn put_back(started: Started, config: &Config, tried: &Config) {
    match started {
        Started::Managed(units) => units.put_back(needs_restart(config, tried)),
        Started::Reloaded => drop(hang_up(&config.milter.sockets)),
        Started::ByHand => {}
    }
}

/// Has a running daemon take up the configuration that is in place, if that which it took up last was `former`; false if
/// none is found.
pub fn renew(config: &Config, former: &Config) -> bool {
    match Units::found() {
        Some(units) => units.ran() && units.renew(needs_restart(former, config)).is_ok(),
        // It listens where it did.
        None => hang_up(&former.milter.sockets),
    }
}

fn needs_restart(before: &Config, after: &Config) -> bool {
    !before.differences_that_need_a_restart(after).is_empty()
}

/// Sends SIGHUP to the daemon that listens on one of the unix sockets; false if there is none.
fn hang_up(sockets: &[Socket]) -> bool {
    let daemon = sockets.iter().find_map(|socket| match socket {
        Socket::Unix(path) => listening(path),
        Socket::Inet(..) => None,
    });
    let told = daemon.is_some_and(|daemon| kill(daemon, Signal::SIGHUP).is_ok());
    if !told {
        eprintln!("Have the running conbool-milter read its configuration again: send it SIGHUP.");
    }
    told
}

/// The process that listens on a unix socket, if it is a daemon of ours.
fn listening(path: &Path) -> Option<Pid> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
    let peer = runtime.block_on(tokio::net::UnixStream::connect(path)).ok()?.peer_cred().ok()?;
    let id = peer.pid()?;
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    (name.trim() == "conbool-milter").then(|| Pid::from_raw(id))
}
