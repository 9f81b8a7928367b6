//! The command line: one file a subcommand.

mod check;
mod explain;
mod run;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};
use crate::site::Site;

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
}

/// Runs the command line; returns the process's exit code: 0 success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run => run::run(&arguments.config),
        Command::Check => check::run(&arguments.config),
        Command::Explain(explain) => explain::run(&arguments.config, &explain),
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
fn load(path: &std::path::Path) -> Result<(Config, Site), String> {
    let config = Config::load(path).map_err(|errors| errors.to_string())?;
    let site = Site::load(&config).map_err(|errors| {
        let lines: Vec<String> = errors
            .iter()
            .map(|error| match error.file {
                Some(_) => error.to_string(),
                None => format!("{}: {error}", path.display()),
            })
            .collect();
        lines.join("\n")
    })?;
    Ok((config, site))
}
