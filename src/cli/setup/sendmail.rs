//! `conbool-milter setup sendmail`: prints or writes what Sendmail needs, to be put in force by hand.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::mta::sendmail::{self, Existing, Fragments, Request};
use crate::provider::Provider;

/// Print what sendmail.mc and the access map need, beside what Sendmail has now
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write it into this directory instead of printing it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Prints the configuration, or writes it and prints what to do with it; notes for the administrator go to standard
/// error.
///
/// # Errors
/// A sentence for the administrator.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    let (config, ..) = crate::cli::load(config)?;
    super::not_of_an_edge(&config)?;
    let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
    let existing = Existing::read(&config.sendmail).map_err(|error| error.to_string())?;
    let request = Request { config: &config, provider: &provider, existing: &existing };
    let fragments = sendmail::generate(&request).map_err(|error| error.to_string())?;
    for note in &fragments.notes {
        eprintln!("note: {note}");
    }
    let text = match &arguments.output {
        Some(output) => {
            write(output, &fragments).map_err(|error| format!("{}: {error}", output.display()))?;
            format!("Written to {}: features.mc, rules.mc and access. Nothing is in force yet.\n", output.display())
        }
        None => files(&fragments).map(|(name, content)| format!("# === {name}\n{content}\n")).concat(),
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

fn files(fragments: &Fragments) -> [(&'static str, String); 3] {
    let access = fragments.access.iter().map(|line| format!("{line}\n")).collect();
    [("features.mc", fragments.features.clone()), ("rules.mc", fragments.rules.clone()), ("access", access)]
}

fn write(output: &Path, fragments: &Fragments) -> io::Result<()> {
    fs::create_dir_all(output)?;
    files(fragments).into_iter().try_for_each(|(name, content)| fs::write(output.join(name), content))
}
