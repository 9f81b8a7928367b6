//! Runs programs: Sendmail itself, m4(1) and makemap(8).

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::config;

/// How long a program may take. Sendmail looks names up in the DNS when it is asked for an address.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// On standard output.
    pub out: String,
    /// On standard error.
    pub err: String,
}

/// Why a program gave no answer.
#[derive(Debug)]
pub enum CommandError {
    /// It is not there, or cannot be started; and what has it.
    Start(PathBuf, io::Error, &'static str),
    /// It failed, and said this.
    Failed(PathBuf, String),
    /// It took too long.
    Slow(PathBuf),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(program, error, package) => {
                write!(f, "cannot run {}: {}; it is in the package {package}", program.display(), config::reason(error))
            }
            Self::Failed(program, said) => write!(f, "{} fails: {said}", program.display()),
            Self::Slow(program) => {
                write!(f, "{} gives no answer within {} seconds", program.display(), PATIENCE.as_secs())
            }
        }
    }
}

impl std::error::Error for CommandError {}

/// A program to be run.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its path, or its name if it is looked for in PATH.
    pub path: &'a Path,
    /// The package that has it, for people.
    pub package: &'static str,
    /// Where it runs.
    pub directory: &'a Path,
}

impl Program<'_> {
    /// Runs it with this on its standard input.
    ///
    /// # Errors
    /// [`CommandError`]; that it ends with an exit status other than 0 is one.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<Output, CommandError> {
        let (success, output) = self.run_whatever(arguments, input)?;
        if success {
            return Ok(output);
        }
        let said = if output.err.trim().is_empty() { output.out } else { output.err };
        Err(CommandError::Failed(self.path.to_owned(), said.trim().to_owned()))
    }

    /// The same for one whose exit status does not matter; gives back whether it is 0.
    ///
    /// # Errors
    /// [`CommandError`], if it cannot be started or does not end.
    pub fn run_whatever(&self, arguments: &[&str], input: &str) -> Result<(bool, Output), CommandError> {
        let start = |error| CommandError::Start(self.path.to_owned(), error, self.package);
        let mut command = Command::new(self.path);
        command.args(arguments).current_dir(self.directory);
        // A name server that does not answer is no reason to wait for minutes.
        command.env("RES_OPTIONS", "timeout:2 attempts:1").env("LC_ALL", "C");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().map_err(|error| start(io::Error::from(error.kind())))?;
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            // Closed at its end. One that does not read it all says elsewhere what is wrong.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            let out = scope.spawn(|| text(out));
            let err = scope.spawn(|| text(err));
            let deadline = Instant::now() + PATIENCE;
            let status = loop {
                match child.try_wait().map_err(start)? {
                    Some(status) => break Some(status),
                    None if Instant::now() > deadline => break None,
                    None => thread::sleep(Duration::from_millis(5)),
                }
            };
            if status.is_none() {
                // It may have ended in this moment; then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
            }
            let output = Output { out: out.join().unwrap_or_default(), err: err.join().unwrap_or_default() };
            let status = status.ok_or_else(|| CommandError::Slow(self.path.to_owned()))?;
            Ok((status.success(), output))
        })
    }
}

/// All that can be read, whatever its encoding.
fn text(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What was read until then is what there is to tell.
    let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
