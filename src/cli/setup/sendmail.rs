//! `conbool-milter setup sendmail`: prints or writes what Sendmail needs, to be put in force by hand.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mta::{MailServer, Sendmail, not_of_another};
use super::{install, rollback};
use crate::mta::change::Change;
use crate::mta::sendmail::{self, Existing, Fragments, Request, revision};
use crate::provider::Provider;

/// Print what sendmail.mc and the access map need, beside what Sendmail has now
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write it into this directory instead of printing it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Put it in force: change the files, have the daemon answer, check them, and have Sendmail read them
    #[arg(long, conflicts_with = "output")]
    apply: bool,
    /// Show the way back to the files before the last change; with --apply, go it
    #[arg(long, conflicts_with = "output")]
    rollback: bool,
    /// With --rollback: even if somebody else has changed the files since
    #[arg(long, requires = "rollback")]
    force: bool,
    /// Seconds to wait for the daemon
    #[arg(long, value_name = "SECONDS", default_value_t = 60, hide_short_help = true)]
    wait: u64,
}

/// Prints the configuration, or writes it and prints what to do with it, or has it done; notes for the administrator go to standard
/// error.
///
/// # Errors
/// A sentence for the administrator.
pub fn run(file: &Path, arguments: &Arguments) -> Result<(), String> {
    if arguments.rollback {
        let Arguments { apply, force, .. } = *arguments;
        return rollback::run(file, &rollback::Asked { state_directory: None, apply, force });
    }
    let config = super::load(file)?;
    super::not_of_an_edge(&config)?;
    if arguments.apply {
        not_of_another(Some(&config), MailServer::Sendmail)?;
        let sendmail = Sendmail { places: config.sendmail.clone() };
        return install::as_configured(file, config, Box::new(sendmail), Duration::from_secs(arguments.wait));
    }
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
        None => listing(&fragments),
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))?;
    // Where there is a Sendmail to ask, what was printed is tried with its sendmail.mc.
    if existing.mc.is_none() || existing.program.is_none() {
        return Ok(());
    }
    let notes = revision::revise(&mut Change::new(), &request, &fragments)
        .map_err(|error| format!("With this host's sendmail.mc it does not work like this: {error}"))?;
    for note in notes {
        eprintln!("note: {note}");
    }
    eprintln!("Tried with this host's sendmail.mc: m4 and `sendmail -bt` find nothing wrong.");
    Ok(())
}

/// All of it, each under a heading with the place that it belongs to.
fn listing(fragments: &Fragments) -> String {
    let places = [
        "sendmail.mc, before the first MAILER() and before LOCAL_ rules",
        "sendmail.mc, at the end",
        "the access map (then run makemap)",
    ];
    let all = files(fragments).into_iter().zip(places).filter(|((_, content), _)| !content.is_empty());
    all.map(|((name, content), place)| format!("# === {name}: {place}\n{content}\n")).collect()
}

fn files(fragments: &Fragments) -> [(&'static str, String); 3] {
    let access = fragments.access.iter().map(|line| format!("{line}\n")).collect();
    [("features.mc", fragments.features.clone()), ("rules.mc", fragments.rules.clone()), ("access", access)]
}

fn write(output: &Path, fragments: &Fragments) -> io::Result<()> {
    fs::create_dir_all(output)?;
    files(fragments).into_iter().try_for_each(|(name, content)| fs::write(output.join(name), content))
}
