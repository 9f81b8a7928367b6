//! The command line: one file a subcommand.

mod check;
mod completion;
mod doctor;
mod explain;
mod mx_watch;
mod run;
mod scope;
mod setup;
mod status;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self, Config, ConfigErrors};
use crate::directory;
use crate::judge::Site;
use crate::site::{self, SiteError};
use crate::sources::{Directory, Loaded, Mistake};

/// Puts a cloud e-mail security service behind Postfix or Sendmail.
#[derive(Debug, Parser)]
#[command(name = "conbool-milter", version, about, max_term_width = 100)]
struct Arguments {
    /// Configuration file
    #[arg(long, short, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run,
    /// Check the configuration and the policy scripts
    Check,
    /// Print the script by which a shell completes this command
    Completion(completion::Arguments),
    /// Examine the installation: configuration, sockets, mail server, DNS, relay
    Doctor(doctor::Arguments),
    #[command(hide = true)]
    Handshake(doctor::handshake::Arguments),
    /// Judge message files and tell why, without sending anything
    Explain(explain::Arguments),
    /// Tell who is in which scope, and accept what was held back
    Scope(scope::Arguments),
    /// Set up the mail server: an assistant, or unattended; other kinds of mail server have a command each
    Setup(Box<setup::Arguments>),
    /// Show the state of the running daemon
    Status(status::Arguments),
}

/// The subcommands and flags that there are, for what tells of them.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Exit status for what starting the daemon again would not mend: EX_CONFIG of sysexits.h.
const WRONG_CONFIGURATION: u8 = 78;

/// Runs the command line; returns the process's exit code: 0 success, 1 failure, 2 wrong usage, and 78 for a daemon whose
/// configuration is at fault.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run => match run::run(&arguments.config) {
            Err(Failure { message, may_pass: false }) => {
                complain(&message);
                return ExitCode::from(WRONG_CONFIGURATION);
            }
            ended => ended.map_err(String::from),
        },
        Command::Check => check::run(&arguments.config),
        Command::Completion(completion) => completion::run(&command(), &completion),
        Command::Handshake(handshake) => doctor::handshake::run(&handshake),
        Command::Explain(explain) => explain::run(&arguments.config, &explain),
        Command::Setup(setup) => match setup::run(&arguments.config, &setup) {
            Ok(status) => return status,
            Err(problem) => Err(problem),
        },
        Command::Status(status) => status::run(&arguments.config, &status),
        // These have exit codes of their own.
        Command::Doctor(doctor) => return doctor::run(&arguments.config, &doctor),
        Command::Scope(scope) => return scope::run(&arguments.config, &scope),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Why something could not be done.
#[derive(Debug)]
struct Failure {
    /// Every mistake, one a line.
    message: String,
    /// Whether trying again later may help.
    may_pass: bool,
}

impl Failure {
    /// One that somebody must mend.
    fn lasting(message: impl Into<String>) -> Self {
        Self { message: message.into(), may_pass: false }
    }

    /// One that may be over later.
    fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), may_pass: true }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.message
    }
}

/// Tells the user on standard error.
fn complain(message: &str) {
    // Nobody reads standard error if it cannot be written to.
    let _ = writeln!(std::io::stderr(), "{}", message.trim_end());
}

/// Mistakes, one a line.
fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Loads the configuration and everything that it names, as far as it is on this host: of groups, the snapshots.
///
/// # Errors
/// Every mistake, one a line: those of the configuration, then those of the scripts and of the list files.
fn load(path: &Path) -> Result<(Config, Site, Loaded), String> {
    let (config, policy) = load_policy(path)?;
    let directory = directory(&config);
    let loaded = Loaded::offline(&config, directory.as_ref());
    let (site, loaded) = together(policy, loaded)?;
    Ok((config, site, loaded))
}

/// The directory that the configuration names.
fn directory(config: &Config) -> Option<Directory> {
    let settings = Arc::new(config.ldap.clone()?);
    let ask = move |group: String| {
        let settings = settings.clone();
        async move { directory::members(&settings, &group).await.map_err(|error| error.to_string()) }
    };
    Some(Directory::new(config.ldap.as_ref()?.description(), ask))
}

/// A site without members in its scopes, or the mistakes in its policy.
type Policy = Result<Site, Vec<String>>;

/// The site with the members of its scopes, or all that is wrong with either.
fn together(policy: Policy, loaded: Result<Loaded, Vec<Mistake>>) -> Result<(Site, Loaded), Failure> {
    match (policy, loaded) {
        (Ok(site), Ok(loaded)) => Ok((site.with_scopes(&loaded.sets()), loaded)),
        (policy, loaded) => {
            let mut lines = policy.err().unwrap_or_default();
            let mistakes = loaded.err().unwrap_or_default();
            let may_pass = lines.is_empty() && mistakes.iter().all(|mistake| mistake.may_pass);
            lines.extend(mistakes.iter().map(ToString::to_string));
            Err(Failure { message: lines.join("\n"), may_pass })
        }
    }
}

/// Loads the configuration and the policy.
///
/// # Errors
/// If the configuration has mistakes, all of those, and of the policy what can be told all the same.
fn load_policy(path: &Path) -> Result<(Config, Policy), String> {
    let told = |errors: Vec<SiteError>| -> Vec<String> { errors.iter().map(|error| error.told_of(path)).collect() };
    match Config::load_flawed(path).map_err(|errors| errors.to_string())? {
        (config, errors) if errors.is_empty() => {
            let site = site::load_policy(&config).map_err(told);
            Ok((config, site))
        }
        (config, errors) => {
            let mistakes = told(site::mistakes(&config, &errors));
            let mut lines = vec![ConfigErrors(errors).to_string()];
            lines.extend(mistakes);
            Err(lines.join("\n"))
        }
    }
}
