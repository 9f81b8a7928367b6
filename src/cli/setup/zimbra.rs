//! `conbool-milter setup zimbra`: prints or writes a script for Zimbra's MTA hosts.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::mta::postfix::Listeners;
use crate::mta::zimbra::Script;
use crate::provider::Provider;

/// Print a script that sets up Zimbra with Zimbra's own commands, to be run there as the user zimbra
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write the script into this file instead of printing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// For a Zimbra with amavis turned off (neither antispam nor antivirus)
    #[arg(long)]
    no_content_filter: bool,
}

/// Prints the script, or writes it; notes for the administrator go to standard error.
///
/// # Errors
/// A sentence for the administrator.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    let config = super::load(config)?;
    let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
    let script = Script {
        config: &config,
        provider: &provider,
        listeners: Listeners::default(),
        content_filter: !arguments.no_content_filter,
    };
    let (text, notes) = script.generate().map_err(|error| error.to_string())?;
    for note in notes {
        eprintln!("note: {note}");
    }
    let Some(file) = &arguments.output else {
        return io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"));
    };
    let written = fs::write(file, text).and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| format!("{}: {error}", file.display()))?;
    println!(
        "Written to {}. Run it on each MTA host of Zimbra as the user zimbra: without an option it shows what it would \
         change; --apply does it, --rollback undoes it.",
        file.display()
    );
    Ok(())
}
