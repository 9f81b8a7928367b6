//! The change: what it would be, and its way into force.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::answers::{self, Answers};
use super::ask::Asker;
use super::daemon::{self, Daemon, Interruption};
use super::directories::Made;
use super::mta::{self, Mta, Wiring};
use super::{Flags, config_file};
use crate::config::{self, Config};
use crate::mta::change::{Change, ChangeError, Transaction};
use crate::provider::Provider;
use crate::site;
use crate::sources::Loaded;

/// A change, ready to be shown and applied.
struct Plan {
    /// Our configuration file.
    file: PathBuf,
    /// What it will say.
    config: Config,
    /// What it says; `None` if there is none.
    before: Option<Config>,
    mta: Box<dyn Mta>,
    wiring: Wiring,
    change: Change,
}

/// Finds out what is to be changed, shows it, and does it if told.
///
/// # Errors
/// A sentence for the administrator; then everything is as it was.
pub fn run(file: &Path, flags: &Flags) -> Result<(), String> {
    let file = absolute(file)?;
    let mut asker = Asker::new(flags.unattended);
    let salvaged = config::salvage(&file).0;
    let state = flags.state_directory.as_ref().unwrap_or(&salvaged.state_directory);
    super::recover(&state.join(super::BACKUPS), &salvaged, flags.apply)?;
    let before = if file.exists() { Some(Config::load(&file).map_err(|errors| errors.to_string())?) } else { None };
    let Some(mta) = mta::choose(flags, before.as_ref(), &mut asker)? else { return asker.complete().map(drop) };
    let answers = answers::gather(flags, before.as_ref(), mta.as_ref(), &mut asker)?;
    let asker = asker.complete()?;
    let plan = Plan::new(file, before, mta, &answers)?;
    plan.show();
    if plan.change.is_empty() {
        return Ok(());
    }
    if !flags.apply && !asker.yes("Put this in force?")? {
        println!("Nothing was changed. With --apply, this is put in force.");
        return Ok(());
    }
    plan.apply(flags.patience())
}

/// Sets up a mail server as the configuration has it, without a question.
///
/// # Errors
/// As [`run`].
pub fn as_configured(file: &Path, before: Config, mta: Box<dyn Mta>, patience: Duration) -> Result<(), String> {
    let file = absolute(file)?;
    super::recover(&before.state_directory.join(super::BACKUPS), &before, true)?;
    let answers = Answers { settings: mta.settings(Some(&before), None), ..Answers::default() };
    let plan = Plan::new(file, Some(before), mta, &answers)?;
    plan.show();
    if plan.change.is_empty() { Ok(()) } else { plan.apply(patience) }
}

fn absolute(file: &Path) -> Result<PathBuf, String> {
    std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))
}

impl Plan {
    fn new(file: PathBuf, before: Option<Config>, mta: Box<dyn Mta>, answers: &Answers) -> Result<Self, String> {
        let text = if before.is_some() { fs::read_to_string(&file) } else { Ok(String::new()) };
        let mut text = text.map_err(|error| format!("{}: {error}", file.display()))?;
        if before.as_ref().is_some_and(|before| !before.is_set_up()) {
            text = config_file::without_mode(&text);
        }
        let text =
            config_file::edited(&text, &answers.settings).map_err(|error| format!("{}: {error}", file.display()))?;
        let config = Config::parse(&text, &file).map_err(|errors| errors.to_string())?;
        super::not_of_an_edge(&config)?;
        let policy =
            site::load_policy(&config).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>());
        let directory = crate::cli::directory(&config);
        crate::cli::together(policy, Loaded::offline(&config, directory.as_ref()))?;
        let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
        let mut change = Change::new();
        change.write(&file, text).map_err(|error| error.to_string())?;
        let mut wiring = mta.revise(&mut change, &config, before.as_ref(), &provider)?;
        wiring.notes.splice(0..0, answers.notes.iter().cloned());
        Ok(Self { file, config, before, mta, wiring, change })
    }

    /// Shows the notes, and what would change.
    fn show(&self) {
        for note in &self.wiring.notes {
            eprintln!("note: {note}");
        }
        if self.change.is_empty() {
            println!("Everything is set up as asked: nothing to change.");
        } else {
            print!("{}", self.change.diff_but(|file| self.mta.is_made(file)));
        }
    }

    /// True if more than our own configuration changes.
    fn changes_mta(&self) -> bool {
        self.change.files().iter().any(|file| file.path.file_name() != self.file.file_name())
    }

    fn apply(self, patience: Duration) -> Result<(), String> {
        self.wiring.obstacle.clone()?;
        let made = Made::for_daemon(&self.file, &self.config, self.mta.socket_group())?;
        self.put_in_force(patience).inspect_err(|_| made.unmake())
    }

    fn put_in_force(&self, patience: Duration) -> Result<(), String> {
        let told = |error: ChangeError| error.to_string();
        let mut interruption = Interruption::watch()?;
        let backups = self.config.state_directory.join(super::BACKUPS);
        let mut transaction = self.change.begin(&backups, None).map_err(told)?;
        let own = self.file.file_name();
        if let Err(error) = transaction.place(|path| path.file_name() == own) {
            return Err(transaction.undo(error).to_string());
        }
        let changed = self.change.files().iter().any(|file| file.path.file_name() == own);
        let before = self.before.as_ref();
        let daemon = Daemon {
            file: &self.file,
            config: &self.config,
            before,
            changed,
            table: self.wiring.table.as_deref(),
            mta: self.mta.name(),
        };
        let (started, answered) = daemon.take_up(patience, &mut interruption);
        let answered = answered.map_err(|problem| (problem, false));
        let placed = answered.and_then(|()| self.tell_mta(&mut transaction));
        match placed {
            Ok(running) => {
                let applied = transaction.commit().map_err(told)?;
                // It looks which sender table Postfix uses, and marks every message until it knows.
                let looks_again = running && self.changes_mta() && self.mta.is_watched_by_daemon();
                if looks_again && !daemon::renew(&self.config, &self.config) {
                    eprintln!("Have conbool-milter look at {} again: send it SIGHUP.", self.mta.name());
                }
                println!("In force.");
                if let Some(backup) = applied.backup {
                    println!("Back-up of what was before: {}", backup.display());
                    println!("The way back: conbool-milter setup --rollback --config {}", self.file.display());
                }
                if !running {
                    println!("{} does not run; it uses this configuration when it is started.", self.mta.name());
                }
                Ok(())
            }
            Err((problem, reloaded)) => {
                let error = transaction.undo(ChangeError::Refused(problem)).to_string();
                daemon::put_back(started, before.unwrap_or(&self.config), &self.config);
                let again = if reloaded { self.mta.reload() } else { Ok(()) };
                let again = again.err().map(|again| format!("\nThen: {again}")).unwrap_or_default();
                Err(format!("{error}\nEverything is as it was.{again}"))
            }
        }
    }

    /// Puts the mail server's files in place and has it use them; tells if it runs. An error comes with whether it was
    /// told.
    fn tell_mta(&self, transaction: &mut Transaction<'_>) -> Result<bool, (String, bool)> {
        let quiet = |problem: String| (problem, false);
        let running = self.mta.is_running().map_err(quiet)?;
        if !self.changes_mta() {
            return Ok(running);
        }
        transaction.place(|_| true).map_err(|error| quiet(error.to_string()))?;
        self.mta.check().map_err(quiet)?;
        if running {
            self.mta.reload().map_err(|problem| (problem, true))?;
        }
        Ok(running)
    }
}
