//! The way back: the files as they were before the last change, byte for byte.

use std::path::Path;

use super::{Flags, daemon};
use crate::config::{self, Config};
use crate::mta::change::{self, Backup, Change, ChangeError};
use crate::mta::postfix::queue::{self, Need};
use crate::mta::postfix::service;

/// How many messages are named in a refusal.
const NAMED: usize = 10;

/// Shows the way back to the last back-up, and goes it if told.
///
/// # Errors
/// A sentence for the administrator; then everything is as it was.
pub fn run(file: &Path, flags: &Flags) -> Result<(), String> {
    let told = |error: ChangeError| error.to_string();
    let (config, _) = config::salvage(file);
    let state = flags.state_directory.as_ref().unwrap_or(&config.state_directory);
    let backups = state.join(super::BACKUPS);
    super::recover(&backups, flags.apply)?;
    let Some(backup) = change::latest_backup(&backups).map_err(told)? else {
        return Err(format!("There is nothing to go back to: no back-up in {}.", backups.display()));
    };
    let back = backup.way_back().map_err(told)?;
    let changed = backup.changed_since().map_err(told)?;
    println!("Back to {}:", backup.directory().display());
    print!("{}", back.diff());
    if !changed.is_empty() && !flags.force {
        let names: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
        return Err(format!(
            "Somebody else has changed {} since; going back would undo that too (it is in the difference above). Nothing \
             was changed. If that is what you want, add --force.",
            names.join(", ")
        ));
    }
    let postfix = super::postfix_of(backup.paths());
    let running = postfix.map(service::is_running).transpose()?.unwrap_or(false);
    if let Some(directory) = postfix {
        nothing_waits(directory, &back, &config)?;
    }
    if !flags.apply {
        println!("Nothing was changed. With --apply, this is put in force.");
        return Ok(());
    }
    let put_in_force = || match postfix {
        Some(directory) if running => service::reload(directory, None),
        _ => Ok(()),
    };
    go(&back, &backup, &backups, postfix, &config, put_in_force)?;
    println!("As it was before.");
    if !file.exists() {
        println!("conbool-milter is of no more use here, and can be stopped.");
    } else if !daemon::reload(&config) {
        println!("Have conbool-milter read its configuration again: restart it.");
    }
    Ok(())
}

fn go(
    back: &Change,
    backup: &Backup,
    backups: &Path,
    postfix: Option<&Path>,
    config: &Config,
    put_in_force: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let mut transaction = back.begin(backups, Some(backup)).map_err(|error| error.to_string())?;
    let result = postfix
        // Once more, as late as can be: mail goes on coming in.
        .map_or(Ok(()), |directory| nothing_waits(directory, back, config))
        .and_then(|()| transaction.place(|_| true).map_err(|error| error.to_string()))
        .and_then(|()| postfix.map_or(Ok(()), service::check))
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
fn nothing_waits(postfix: &Path, back: &Change, config: &Config) -> Result<(), String> {
    let loses = |name: &str, word: &str| {
        back.files().iter().any(|file| {
            let has = |content: &Option<change::Content>| {
                content.as_ref().is_some_and(|content| String::from_utf8_lossy(&content.bytes).contains(word))
            };
            file.path == postfix.join(name) && has(&file.before) && !has(&file.after)
        })
    };
    let (transports, routes) = (loses("master.cf", "\nconbool-split "), loses("main.cf", "conbool_senders"));
    if !transports && !routes {
        return Ok(());
    }
    let waiting = queue::waiting(postfix, &config.domains).map_err(|error| error.to_string())?;
    let waiting: Vec<_> = waiting
        .iter()
        .filter(|message| match message.need {
            Need::Transport => transports,
            Need::Relay => routes,
        })
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = waiting
        .iter()
        .take(NAMED)
        .map(|message| {
            let why = match message.need {
                Need::Transport => "is marked for a transport that goes: it could not be delivered",
                Need::Relay => "waits for the relay, and would go past it",
            };
            format!("  {} from {}: {why}", message.queue_id, message.sender)
        })
        .collect();
    let more = waiting.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    Err(format!(
        "Mail in the queue needs the rules that would go. Nothing was changed.\n{}{more}\nWait until it is delivered (postqueue \
         -f tries at once), or take it out of the queue (postsuper -d).",
        lines.join("\n")
    ))
}
