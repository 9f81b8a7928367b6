//! The service and the sockets of the daemon, as systemd has them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::config::{Config, Socket};

const SERVICE: &str = "conbool-milter.service";

/// What can listen for the service. A socket unit whose mail server is not on this host stays inactive, by its conditions.
const SOCKETS: [&str; 3] =
    ["conbool-milter.socket", "conbool-milter-postfix.socket", "conbool-milter-socketmap.socket"];

/// The units of the daemon, and how they were found.
#[derive(Debug, Clone)]
pub struct Units {
    service: Unit,
    /// Those that are installed.
    sockets: Vec<Unit>,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    name: &'static str,
    enabled: bool,
    active: bool,
}

impl Unit {
    fn found(name: &'static str) -> Option<Self> {
        let says = |question: &str| systemctl(&[question, "--quiet", name]).is_ok();
        systemctl(&["cat", name]).ok()?;
        Some(Self { name, enabled: says("is-enabled"), active: says("is-active") })
    }
}

impl Units {
    /// Asks systemd; `None` if it is not what runs this host, or has no unit for the daemon.
    pub fn found() -> Option<Self> {
        if !runs_this_host() {
            return None;
        }
        let service = Unit::found(SERVICE)?;
        Some(Self { service, sockets: SOCKETS.into_iter().filter_map(Unit::found).collect() })
    }

    /// True if the daemon ran.
    pub fn ran(&self) -> bool {
        self.service.active
    }

    /// Has the daemon run with the configuration that is in place, now and at boot. `stale` says that it runs with another
    /// one, `restart` that a reload does not do.
    ///
    /// # Errors
    /// What systemd says.
    pub fn take_up(&self, config: &Config, stale: bool, restart: bool) -> Result<(), String> {
        if !self.service.enabled {
            // Its sockets come with it (Also=).
            systemctl(&["enable", SERVICE])?;
        }
        // As that of Postfix is, where Postfix came later than the daemon.
        let some_are_missing = self.sockets.iter().any(|socket| !socket.active && socket.serves(config));
        match self.service.active && !some_are_missing {
            true if stale => self.renew(restart),
            true => Ok(()),
            false => self.start(),
        }
    }

    /// Starts everything in the order in which it can be: systemd refuses to start a socket whose service runs.
    fn start(&self) -> Result<(), String> {
        let sockets: Vec<&str> = self.sockets.iter().map(|socket| socket.name).collect();
        let with = |command, units: &[&str]| systemctl(&[&[command], units].concat());
        with("stop", &[SERVICE])?;
        // What has failed too often would not be started. That one has not, and is not even loaded, is no error.
        let _ = with("reset-failed", &[sockets.as_slice(), &[SERVICE]].concat());
        if !sockets.is_empty() {
            with("start", &sockets)?;
        }
        with("start", &[SERVICE])
    }

    /// Has the daemon, if it ran, take up the configuration that is in place.
    ///
    /// # Errors
    /// What systemd says.
    pub fn renew(&self, restart: bool) -> Result<(), String> {
        let command = if restart { "restart" } else { "reload" };
        if self.service.active { systemctl(&[command, SERVICE]) } else { Ok(()) }
    }

    /// Takes back what [`Self::take_up`] did, as far as it can be; the former configuration is in place. What was enabled, or
    /// ran, stays so.
    pub fn put_back(&self, restart: bool) {
        // If something fails here too, it is the daemon's log that tells.
        let quietly = |arguments: &[&str]| drop(systemctl(arguments));
        if self.service.active {
            // It may have stopped, or failed, with what was tried.
            quietly(&["reset-failed", SERVICE]);
            quietly(&[if restart { "restart" } else { "reload-or-restart" }, SERVICE]);
        } else {
            let ours = self.sockets.iter().filter(|socket| !socket.active).map(|socket| socket.name);
            quietly(&["stop", SERVICE].into_iter().chain(ours).collect::<Vec<_>>());
        }
        if !self.service.enabled {
            quietly(&["disable", SERVICE]);
            // They went with it.
            for socket in self.sockets.iter().filter(|socket| socket.enabled) {
                quietly(&["enable", socket.name]);
            }
        }
    }
}

impl Unit {
    /// True if it is to listen on a socket that the configuration names.
    fn serves(&self, config: &Config) -> bool {
        let listens = output(&["show", "--property=Listen", self.name]).unwrap_or_default();
        let mut sockets = config.milter.sockets.iter().chain(&config.socketmap.sockets);
        sockets.any(|socket| match socket {
            Socket::Unix(path) => listens.lines().any(|line| is_on(line, path)),
            Socket::Inet(..) => false,
        })
    }
}

/// True for a line such as `Listen=/run/conbool-milter/milter.sock (Stream)` with this path.
fn is_on(line: &str, path: &Path) -> bool {
    line.strip_prefix("Listen=")
        .and_then(|listen| listen.strip_suffix(" (Stream)"))
        .is_some_and(|listen| Path::new(listen) == path)
}

/// True if systemd is what runs this host (sd_booted(3)), and this process is not in a chroot, where systemctl does nothing
/// and calls it success.
fn runs_this_host() -> bool {
    use std::os::unix::fs::MetadataExt;
    let root = |path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    Path::new("/run/systemd/system").is_dir() && root("/proc/1/root").is_none_or(|init| Some(init) == root("/"))
}

fn systemctl(arguments: &[&str]) -> Result<(), String> {
    output(arguments).map(drop)
}

fn output(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run systemctl: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("systemctl {}: {}", arguments.join(" "), text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_of_a_socket() {
        let path = Path::new("/run/conbool-milter/milter.sock");
        assert!(is_on("Listen=/run/conbool-milter/milter.sock (Stream)", path));
        assert!(!is_on("Listen=/run/conbool-milter/milter.sock.old (Stream)", path));
        assert!(!is_on("Listen=127.0.0.1:8895 (Stream)", path));
    }
}
