//! How long a daemon takes to be ready, as the service manager sees it.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{Daemon, Memory};

/// A start.
pub struct Start {
    /// Until the daemon said that it is ready.
    pub ready: Duration,
    /// What it takes a second later.
    pub memory: Memory,
}

/// Starts the program with this configuration, and ends it.
pub fn measure(program: &Path, config: &Path, directory: &Path) -> io::Result<Start> {
    let path = directory.join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(config).env("NOTIFY_SOCKET", &path).stdin(Stdio::null());
    command.stderr(File::create(directory.join("start.log"))?);
    let begin = Instant::now();
    let daemon = Daemon::start(&mut command, &[])?;
    let mut message = [0; 512];
    while !String::from_utf8_lossy(&message).contains("READY=1") {
        manager.recv(&mut message)?;
    }
    let ready = begin.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    let memory = daemon.memory()?;
    fs::remove_file(path)?;
    Ok(Start { ready, memory })
}
