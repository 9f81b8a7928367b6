//! Child processes that end with their owner, and waiting with a deadline.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest time anything in the lab may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running child process; it is killed when this value is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a command with its standard output and error in a file.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let file = File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self(child))
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// True once the process has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is all that is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// The command and what it printed, when it fails.
pub fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?}: {}\n{out}{err}", output.status))
}

/// Asks again and again until there is an answer or [`PATIENCE`] is over.
pub fn wait_for<T>(what: &str, answer: impl FnMut() -> Option<T>) -> Result<T, String> {
    wait_at_most(PATIENCE, what, answer)
}

/// Asks again and again until there is an answer or this much time is over.
pub fn wait_at_most<T>(patience: Duration, what: &str, mut answer: impl FnMut() -> Option<T>) -> Result<T, String> {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = answer() {
            return Ok(value);
        }
        if Instant::now() > end {
            return Err(format!("waited {} s in vain for {what}", patience.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
