//! The daemon under test: the built program, run by an ordinary user.

use std::fs;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use conbool_milter::config::{Config, Socket};
use serde_json::Value;

use super::process::{Process, run, wait_for};
use super::{Error, namespace};

/// User as whom the daemon runs in the lab; Debian has it always.
pub const USER: &str = "daemon";

/// The program, at a place that [`USER`] can reach wherever it was built.
pub fn program() -> Result<PathBuf, Error> {
    static PLACE: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = Path::new(namespace::ROOT).join("conbool-milter");
        let show = || -> std::io::Result<()> {
            fs::write(&place, "")?;
            Ok(namespace::bind(Path::new(env!("CARGO_BIN_EXE_conbool-milter")), &place)?)
        };
        show().map(|()| place.clone()).map_err(|error| format!("{}: {error}", place.display()))
    });
    Ok(place.clone()?)
}

/// A running daemon; it is killed when dropped.
pub struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon with a configuration file and waits until its sockets take connections.
    pub fn start(config: &Path, log: &Path) -> Result<Self, Error> {
        let loaded = Config::load(config).map_err(|error| error.to_string())?;
        let sockets = [loaded.milter.sockets, loaded.socketmap.sockets].concat();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
        command.arg(program()?).args(["run", "--config"]).arg(config).current_dir("/");
        let mut process = Process::start(&mut command, log)?;
        let listens = |socket: &Socket| match socket {
            Socket::Unix(path) => UnixStream::connect(path).is_ok(),
            Socket::Inet(address, port) => TcpStream::connect((*address, *port)).is_ok(),
        };
        wait_for("the daemon's sockets", || (sockets.iter().all(listens) || process.ended()).then_some(()))?;
        if process.ended() {
            return Err(format!("the daemon ended at once:\n{}", fs::read_to_string(log)?).into());
        }
        Ok(Self { process, log: log.to_owned() })
    }

    /// Starts the daemon with listening sockets that stay open when it ends, as systemd does for socket units; each with
    /// its name for the daemon.
    pub fn start_with(config: &Path, sockets: &[(&str, OwnedFd)], log: &Path) -> Result<Self, Error> {
        // LISTEN_PID is the process id of the daemon, which only the process itself knows before it begins.
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec setpriv --reuid \"$0\" --regid \"$0\" --clear-groups -- \"$@\"", USER]);
        command.arg(program()?).args(["run", "--config"]).arg(config).current_dir("/");
        let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
        command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let mapping = |((_, socket), child_fd): (&(&str, OwnedFd), _)| {
            socket.try_clone().map(|parent_fd| FdMapping { parent_fd, child_fd })
        };
        command.fd_mappings(sockets.iter().zip(3..).map(mapping).collect::<std::io::Result<_>>()?)?;
        Ok(Self { process: Process::start(&mut command, log)?, log: log.to_owned() })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal such as `TERM` or `HUP`.
    pub fn signal(&self, name: &str) -> Result<(), String> {
        run(Command::new("kill").args(["-s", name, &self.id().to_string()])).map(drop)
    }

    /// True once the process has ended.
    pub fn ended(&mut self) -> bool {
        self.process.ended()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The fields of the line logged about one message: the last line that carries its queue id.
    pub fn verdict(&self, queue_id: &str) -> Option<Value> {
        let fields = |line: &str| {
            let mut value: Value = serde_json::from_str(line).ok()?;
            Some(value.get_mut("fields").map(Value::take).unwrap_or(value))
        };
        self.log().lines().rev().filter_map(fields).find(|fields| fields["queue_id"] == queue_id)
    }
}
