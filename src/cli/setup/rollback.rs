//! The way back: the files as they were before the last change, byte for byte.

use std::path::Path;

use super::daemon;
use super::mta::{self, Mta};
use crate::config::{self, Config};
use crate::mta::change::{self, Backup, Change, ChangeError};

/// How many messages are named in a refusal.
const NAMED: usize = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Where the state is, if not where the configuration says.
    pub state_directory: Option<&'a Path>,
    /// To go the way, not only to show it.
    pub apply: bool,
    /// To go it even if somebody else has changed the files since.
    pub force: bool,
}

/// Shows the way back to the last back-up, and goes it if told.
///
/// # Errors
/// A sentence for the administrator; then everything is as it was.
pub fn run(file: &Path, asked: &Asked<'_>) -> Result<(), String> {
    let told = |error: ChangeError| error.to_string();
    let (config, _) = config::salvage(file);
    let state = asked.state_directory.unwrap_or(&config.state_directory);
    let backups = state.join(super::BACKUPS);
    super::recover(&backups, &config, asked.apply)?;
    let Some(backup) = change::latest_backup(&backups).map_err(told)? else {
        return Err(format!("There is nothing to go back to: no back-up in {}.", backups.display()));
    };
    let back = backup.way_back().map_err(told)?;
    let changed = backup.changed_since().map_err(told)?;
    println!("Back to {}:", backup.directory().display());
    let mta = mta::of_files(backup.paths(), &config);
    print!("{}", back.diff_but(|file| mta.as_ref().is_some_and(|mta| mta.is_made(file))));
    if !changed.is_empty() && !asked.force {
        let names: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
        return Err(format!(
            "Somebody else has changed {} since; going back would undo that too (it is in the difference above). Nothing \
             was changed. If that is what you want, add --force.",
            names.join(", ")
        ));
    }
    let way = Way { back: &back, backup: &backup, mta: mta.as_deref(), config: &config };
    way.nothing_waits()?;
    if !asked.apply {
        println!("Nothing was changed. With --apply, this is put in force.");
        return Ok(());
    }
    way.go(&backups)?;
    println!("As it was before.");
    if !file.exists() {
        println!("conbool-milter is of no more use here, and can be stopped.");
    } else if !daemon::renew(&config::salvage(file).0, &config) {
        println!("Have conbool-milter read its configuration again: restart it.");
    }
    Ok(())
}

/// The way from the files as they are to those of a back-up.
struct Way<'a> {
    back: &'a Change,
    backup: &'a Backup,
    /// The mail server whose files are among them.
    mta: Option<&'a dyn Mta>,
    config: &'a Config,
}

impl Way<'_> {
    fn go(&self, backups: &Path) -> Result<(), String> {
        let running = self.mta.map_or(Ok(false), Mta::is_running)?;
        let put_in_force = || self.mta.filter(|_| running).map_or(Ok(()), Mta::reload);
        let mut transaction = self.back.begin(backups, Some(self.backup)).map_err(|error| error.to_string())?;
        // Once more, as late as can be: mail goes on coming in.
        let result = self
            .nothing_waits()
            .and_then(|()| transaction.place(|_| true).map_err(|error| error.to_string()))
            .and_then(|()| self.mta.map_or(Ok(()), Mta::check))
            .map_err(|problem| (problem, false))
            .and_then(|()| put_in_force().map_err(|problem| (problem, true)));
        match result {
            Ok(()) => transaction.commit().map(drop).map_err(|error| error.to_string()),
            Err((problem, told)) => {
                let error = transaction.undo(ChangeError::Refused(problem)).to_string();
                let again = if told { put_in_force() } else { Ok(()) };
                let again = again.err().map(|again| format!("\nThen: {again}")).unwrap_or_default();
                Err(format!("{error}{again}"))
            }
        }
    }

    /// Sees that no mail in the queue needs what goes.
    fn nothing_waits(&self) -> Result<(), String> {
        let Some(mta) = self.mta else { return Ok(()) };
        let waiting = mta.waiting(self.back, self.config)?;
        if waiting.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = waiting
            .iter()
            .take(NAMED)
            .map(|message| format!("  {} from {}: {}", message.queue_id, message.sender, message.fate))
            .collect();
        let more = waiting.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        let commands = mta.queue_commands();
        Err(format!(
            "Mail in the queue needs the rules that would go. Nothing was changed.\n{}{more}\nWait until it is delivered ({} \
             tries at once), or take it out of the queue ({}).",
            lines.join("\n"),
            commands.flush,
            commands.delete
        ))
    }
}
