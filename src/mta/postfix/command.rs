//! Runs Postfix's own commands.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why one of Postfix's commands gave no answer.
#[derive(Debug)]
pub enum CommandError {
    /// It could not be started.
    Start(&'static str, io::Error),
    /// It failed, and said this.
    Failed(&'static str, String),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(program, error) => write!(f, "cannot run {program}: {error}"),
            Self::Failed(program, text) => write!(f, "{program}: {text}"),
        }
    }
}

impl std::error::Error for CommandError {}

/// Runs a command for the instance in `config_directory`, and gives back what it prints.
///
/// # Errors
/// [`CommandError`] if it cannot be started or fails.
pub fn run<S: AsRef<OsStr>>(
    program: &'static str,
    config_directory: &Path,
    arguments: &[S],
) -> Result<String, CommandError> {
    let instance = [OsStr::new("-c"), config_directory.as_os_str()];
    run_alone(program, &instance.into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect::<Vec<_>>())
}

/// Runs a command that is for no instance, or for the primary one.
///
/// # Errors
/// [`CommandError`] if it cannot be started or fails.
pub fn run_alone<S: AsRef<OsStr>>(program: &'static str, arguments: &[S]) -> Result<String, CommandError> {
    let mut missing = io::Error::from(io::ErrorKind::NotFound);
    // The commands live where many users' PATH does not reach.
    for folder in ["", "/usr/sbin", "/usr/local/sbin"] {
        let place = Path::new(folder).join(program);
        // Would name an instance too.
        let run = Command::new(place).args(arguments).env_remove("MAIL_CONFIG").stdin(Stdio::null()).output();
        match run {
            Ok(output) if output.status.success() => return Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => {
                // postlog(1) writes to standard output where the instance logs there.
                let text =
                    [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
                let text = text.lines().find(|line| line.contains("fatal")).unwrap_or(text.trim());
                let text = text.strip_prefix(program).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text);
                return Err(CommandError::Failed(program, text.to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing = error,
            Err(error) => return Err(CommandError::Start(program, error)),
        }
    }
    Err(CommandError::Start(program, missing))
}

/// What a look-up table of the instance, `type:name`, has for a key; `None` if nothing.
///
/// # Errors
/// [`CommandError`] if the table cannot be asked.
pub fn look_up(config_directory: &Path, table: &str, key: &str) -> Result<Option<String>, CommandError> {
    match run("postmap", config_directory, &["-q", key, table]) {
        Ok(found) => Ok(Some(found.trim_end().to_owned())),
        // postmap(1) says nothing, and fails, where there is nothing.
        Err(CommandError::Failed(_, said)) if said.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A text as one word of a shell command.
pub fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+@".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        assert_eq!(quoted("/etc/postfix-out"), "/etc/postfix-out");
        assert_eq!(quoted("/srv/a b'c"), r"'/srv/a b'\''c'");
        assert_eq!(quoted(""), "''");
    }
}
