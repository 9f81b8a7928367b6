//! `conbool-milter setup open-xchange`: Postfix and Dovecot under Open-Xchange, as one change.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ListenerFlags;
use super::mta::{Mta, Postfix};
use crate::config::{Config, DEFAULT_SPAM_FOLDER};
use crate::mta::change::{Backup, Change, ChangeError, latest_backup};
use crate::mta::dovecot::{self, Installed};
use crate::mta::postfix::{queue, service};
use crate::provider::Provider;

/// Set up Postfix and Dovecot under Open-Xchange: shows what would change, and changes it with --apply
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Change the files, check them, and reload Postfix and Dovecot
    #[arg(long, conflicts_with = "rollback")]
    apply: bool,
    /// Put back the files as they were before the last --apply
    #[arg(long)]
    rollback: bool,
    /// Leave Postfix alone: it is set up already, or on another host
    #[arg(long)]
    no_postfix: bool,
    /// Configuration directory of the Postfix instance, if not that of postfix.config_directory
    #[arg(long, value_name = "DIR")]
    postfix_config: Option<PathBuf>,
    /// Configuration directory of Dovecot
    #[arg(long, value_name = "DIR", default_value = "/etc/dovecot")]
    dovecot_config: PathBuf,
}

/// The mail servers of this host, and where their old files are kept.
struct Host {
    /// Configuration directory of Postfix; `None` to leave it alone.
    postfix: Option<PathBuf>,
    dovecot: PathBuf,
    backups: PathBuf,
}

/// Shows the change, applies it, or takes the last one back.
///
/// # Errors
/// A sentence for the administrator; then nothing has changed.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    let (config, ..) = crate::cli::load(config)?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
    let postfix = arguments.postfix_config.as_ref().unwrap_or(&config.postfix.config_directory);
    let host = Host {
        postfix: if arguments.no_postfix { None } else { Some(absolute(postfix)?) },
        dovecot: absolute(&arguments.dovecot_config)?,
        backups: config.state_directory.join("backups-open-xchange"),
    };
    if arguments.rollback {
        return host.roll_back(&config);
    }
    let installed = Installed::read(&host.dovecot).map_err(|error| error.to_string())?;
    let change = host.change(&config, &installed)?;
    if change.is_empty() {
        return say("Everything is as it should be: nothing to change.\n");
    }
    say(&change.diff())?;
    if !arguments.apply {
        return say("\nNothing has changed yet. To put it in force, run this again with --apply.\n");
    }
    if host.postfix.is_some() {
        super::not_of_an_edge(&config)?;
        super::daemon::is_there(&config)?;
    }
    let check = || {
        host.postfix.as_deref().map_or(Ok(()), service::check)?;
        installed.check().map_err(|error| error.to_string())
    };
    let applied = change.apply(&host.backups, check, || host.reload()).map_err(|error| error.to_string())?;
    let backup = applied.backup.map(|backup| format!(" The files as they were are in {}.", backup.display()));
    say(&format!("\nIn force.{} To go back, run this again with --rollback.\n", backup.unwrap_or_default()))
}

fn say(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

impl Host {
    /// What has to change; notes for the administrator go to standard error.
    fn change(&self, config: &Config, installed: &Installed) -> Result<Change, String> {
        if !config.modes.marks_spam() {
            return Err("mode or spam.mode is \"monitor\", so that header fields stay in messages as their senders wrote \
                        them; the script at the mailboxes would believe them. Set up Open-Xchange when the milter enforces; \
                        until then `conbool-milter setup postfix` does the Postfix part."
                .to_owned());
        }
        let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
        let mut change = Change::new();
        let mut notes = installed.notes();
        if let Some(directory) = &self.postfix {
            notes.extend(revise_postfix(&mut change, config, &provider, directory)?);
        }
        let script = mailbox_script(config, &provider)?;
        installed.revise(&mut change, &script).map_err(|error| error.to_string())?;
        for note in notes {
            eprintln!("note: {note}");
        }
        Ok(change)
    }

    /// Has whatever runs read its configuration again.
    fn reload(&self) -> Result<(), String> {
        if let Some(directory) = &self.postfix
            && service::is_running(directory)?
        {
            service::reload(directory, None)?;
        }
        Installed::reload(&self.dovecot).map_err(|error| error.to_string())
    }

    fn roll_back(&self, config: &Config) -> Result<(), String> {
        let told = |error: ChangeError| error.to_string();
        let backup = latest_backup(&self.backups).map_err(told)?;
        let Some(backup) = backup else {
            return Err("nothing to take back: no change by `setup open-xchange --apply` is in force".to_owned());
        };
        self.may_roll_back(config, &backup)?;
        let way_back = backup.way_back().map_err(told)?;
        let mut transaction = way_back.begin(&self.backups, Some(&backup)).map_err(told)?;
        if let Err(error) = transaction.place(|_| true) {
            return Err(told(transaction.undo(error)));
        }
        if let Err(refused) = self.reload() {
            return Err(told(transaction.undo(ChangeError::Refused(refused))));
        }
        transaction.commit().map_err(told)?;
        // Made from the script by sievec; without the settings it is of no effect, and it is no loss if it stays.
        let _ = std::fs::remove_file(Installed::compiled(&self.dovecot));
        say("The files are as they were before.\n")
    }

    /// Refuses where going back would lose something.
    fn may_roll_back(&self, config: &Config, backup: &Backup) -> Result<(), String> {
        let changed = backup.changed_since().map_err(|error| error.to_string())?;
        if !changed.is_empty() {
            let files: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
            return Err(format!(
                "changed by somebody else since: {}. Take that back, or undo by hand what is in {}",
                files.join(", "),
                backup.directory().display()
            ));
        }
        let Some(directory) = &self.postfix else { return Ok(()) };
        let is_about_postfix = backup.paths().any(|path| path.starts_with(directory));
        if is_about_postfix && service::is_running(directory)? {
            let waiting = queue::waiting(directory, &config.domains).map_err(|error| error.to_string())?;
            if let Some(first) = waiting.first() {
                return Err(format!(
                    "{} in the queue of Postfix would be bounced or go past the relay, {} the first of them. Wait until \
                     they are delivered, or delete them (postsuper -d)",
                    if waiting.len() == 1 { "a message".to_owned() } else { format!("{} messages", waiting.len()) },
                    first.queue_id
                ));
            }
        }
        Ok(())
    }
}

/// Adds the Postfix part; gives the notes about it.
fn revise_postfix(
    change: &mut Change,
    config: &Config,
    provider: &Provider,
    directory: &Path,
) -> Result<Vec<String>, String> {
    let listeners = ListenerFlags::default();
    let postfix = Postfix { directory: directory.to_owned(), listeners, is_alone: true };
    let wiring = postfix.revise(change, config, None, provider)?;
    wiring.obstacle?;
    if let Some(table) = wiring.table.filter(|table| !table.exists()) {
        return Err(format!(
            "{} is not there yet, without which Postfix would defer mail: start conbool-milter first, it writes it",
            table.display()
        ));
    }
    Ok(wiring.notes)
}

/// The provider's script with the site's folder.
fn mailbox_script(config: &Config, provider: &Provider) -> Result<String, String> {
    let Some(template) = &provider.mailbox else {
        return Err(format!("{} has no mailbox.sieve: its guides ask for nothing at the mailboxes", provider.name));
    };
    let folder = &config.mailbox.spam_folder;
    match dovecot::mailbox_script(&template.text, folder) {
        Some(script) => Ok(script),
        // It has a way of its own, which is right as long as nothing else is asked for.
        None if folder == DEFAULT_SPAM_FOLDER => Ok(template.text.clone()),
        None => Err(format!(
            "{}: mailbox.spam_folder has no place in it: there is no line `set \"spam_folder\" \"Spam\";`",
            template.file.display()
        )),
    }
}
