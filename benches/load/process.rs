//! The programs that are measured: started, watched and ended.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use super::wire::Endpoint;

/// A running daemon; ends with the value.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts the command and waits until every endpoint takes a connection.
    pub fn start(command: &mut Command, endpoints: &[&Endpoint]) -> io::Result<Self> {
        let mut daemon = Self { child: command.spawn()? };
        let deadline = Instant::now() + Duration::from_secs(10);
        for endpoint in endpoints {
            while endpoint.connect().is_err() {
                if let Some(status) = daemon.exited()? {
                    return Err(io::Error::other(format!("{:?} ended: {status}", command.get_program())));
                }
                if Instant::now() > deadline {
                    return Err(io::Error::other(format!("{:?} does not listen", command.get_program())));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(daemon)
    }

    fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// User and system time of all its threads so far, ended ones included.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let clock = clock_getcpuclockid(Pid::from_raw(self.child.id().cast_signed()))?;
        Ok(clock.now()?.into())
    }

    /// Resident memory in KiB: now, and at most so far.
    pub fn memory(&self) -> io::Result<Memory> {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join("status"))?;
        let field = |name| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
                .ok_or_else(|| io::Error::other(format!("no {name} in the status")))
        };
        Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    pub peak: u64,
}

/// Compiles the libmilter program into `directory`.
pub fn compile_baseline(directory: &Path) -> io::Result<std::path::PathBuf> {
    let program = directory.join("libmilter_baseline");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/libmilter_baseline.c");
    let status =
        Command::new("cc").args(["-O2", "-o"]).arg(&program).args([source, "-lmilter", "-lpthread"]).status()?;
    if status.success() { Ok(program) } else { Err(io::Error::other("cc failed; is libmilter-dev installed?")) }
}
