//! The command line: one file a subcommand.

mod check;
mod explain;
mod run;
mod setup;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};
use crate::judge::Site;
use crate::site::{self, SiteError};

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
    /// Judge message files and tell why, without sending anything
    Explain(explain::Arguments),
    /// Generate the mail server's configuration
    Setup(setup::Arguments),
}

/// Runs the command line; returns the process's exit code: 0 success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run => run::run(&arguments.config),
        Command::Check => check::run(&arguments.config),
        Command::Explain(explain) => explain::run(&arguments.config, &explain),
        Command::Setup(setup) => setup::run(&arguments.config, &setup),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody reads standard error if it cannot be written to.
            let _ = writeln!(std::io::stderr(), "{}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// Loads the configuration and everything that it names.
///
/// # Errors
/// Every mistake, one a line: those of the configuration, then those of the scripts.
fn load(path: &Path) -> Result<(Config, Site), String> {
    let told = |errors: Vec<SiteError>| -> Vec<String> { errors.iter().map(|error| mistake(path, error)).collect() };
    match Config::load(path) {
        Ok(config) => {
            let site = site::load(&config).map_err(|errors| told(errors).join("\n"))?;
            Ok((config, site))
        }
        Err(errors) => {
            let mut lines = vec![errors.to_string()];
            // Where the file can be read at all, what it says of the policy is looked at too.
            let table = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
            if let Some(provider) = table.as_ref().and_then(|table| table.get("provider")?.as_str()) {
                let script = table.as_ref().and_then(|table| table.get("rules")?.get("site_script")?.as_str());
                let script = script.map(|script| path.parent().unwrap_or(path).join(script));
                let script = script.filter(|script| script.is_file());
                let scopes = table.as_ref().and_then(|table| table.get("scope")?.as_table());
                let named =
                    scopes.into_iter().flatten().filter(|(_, value)| value.is_table()).map(|(name, _)| name.as_str());
                lines.extend(told(site::policy_mistakes(provider, script.as_deref(), named)));
            }
            Err(lines.join("\n"))
        }
    }
}

/// A mistake in the policy as a line; one in a key of the configuration with its place there.
fn mistake(config: &Path, error: &SiteError) -> String {
    if error.file.is_some() {
        return error.to_string();
    }
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let place = config::line_of(&text, error.key).map(|line| format!("{}:{line}", config.display()));
    format!("{}: {}: {}", place.unwrap_or_else(|| config.display().to_string()), error.key, error.message)
}
