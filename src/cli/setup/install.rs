//! The change: what it would be, and its way into force.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use super::answers::{self, Answers};
use super::ask::Asker;
use super::daemon::{self, Daemon, Interruption};
use super::{Flags, config_file};
use crate::config::{self, Config, Socket};
use crate::mta::change::{Change, ChangeError, Transaction};
use crate::mta::postfix::{self, Existing, Fragments, Listeners, Request, revision, service};
use crate::provider::Provider;
use crate::site;
use crate::sources::Loaded;

/// User as whom the daemon runs, if there is one of that name.
const USER: &str = "conbool-milter";

/// A change, ready to be shown and applied.
struct Plan {
    /// Our configuration file.
    file: PathBuf,
    /// What it will say.
    config: Config,
    /// What it says; `None` if there is none.
    before: Option<Config>,
    /// The configuration directory of the Postfix instance.
    postfix: PathBuf,
    fragments: Fragments,
    listeners: Listeners,
    existing: Existing,
    change: Change,
}

/// Finds out what is to be changed, shows it, and does it if told.
///
/// # Errors
/// A sentence for the administrator; then everything is as it was.
pub fn run(file: &Path, flags: &Flags) -> Result<(), String> {
    let file = std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut asker = Asker::new(flags.unattended);
    let state = flags.state_directory.clone().unwrap_or_else(|| config::salvage(&file).0.state_directory);
    super::recover(&state.join(super::BACKUPS), flags.apply)?;
    let before = if file.exists() { Some(Config::load(&file).map_err(|errors| errors.to_string())?) } else { None };
    let answers = answers::gather(flags, before.as_ref(), &mut asker)?;
    let asker = asker.complete()?;
    let plan = Plan::new(file, before, &answers, flags)?;
    for note in answers.notes.iter().chain(&plan.fragments.notes) {
        eprintln!("note: {note}");
    }
    if plan.change.is_empty() {
        println!("Everything is set up as asked: nothing to change.");
        return Ok(());
    }
    print!("{}", plan.change.diff());
    if !flags.apply && !asker.yes("Put this in force?")? {
        println!("Nothing was changed. With --apply, this is put in force.");
        return Ok(());
    }
    plan.apply(flags)
}

impl Plan {
    fn new(file: PathBuf, before: Option<Config>, answers: &Answers, flags: &Flags) -> Result<Self, String> {
        let text = if before.is_some() { fs::read_to_string(&file) } else { Ok(String::new()) };
        let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
        let text =
            config_file::edited(&text, &answers.settings).map_err(|error| format!("{}: {error}", file.display()))?;
        let config = Config::parse(&text, &file).map_err(|errors| errors.to_string())?;
        super::not_of_an_edge(&config)?;
        let policy =
            site::load_policy(&config).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>());
        let directory = crate::cli::directory(&config);
        crate::cli::together(policy, Loaded::offline(&config, directory.as_ref()))?;
        let provider = Provider::load(&config.provider).map_err(|error| error.message)?;

        let postfix = answers.postfix.clone();
        let existing = Existing::read(&postfix).map_err(|error| format!("{}: {error}", postfix.display()))?;
        let former = before.iter().flat_map(|before| &before.milter.sockets);
        let former: Vec<Socket> = former.filter(|socket| !config.milter.sockets.contains(socket)).cloned().collect();
        let existing = existing.without_milters(&former);
        let listeners = flags.listeners.over(&existing);
        let fragments = postfix::generate(&Request {
            config: &config,
            provider: &provider,
            config_directory: &postfix,
            existing: existing.clone(),
            listeners,
        })
        .map_err(|error| error.to_string())?;
        let mut change = Change::new();
        change.write(&file, text).map_err(|error| error.to_string())?;
        revision::revise(&mut change, &postfix, &fragments).map_err(|error| error.to_string())?;
        Ok(Self { file, config, before, postfix, fragments, listeners, existing, change })
    }

    /// True if more than our own configuration changes.
    fn changes_postfix(&self) -> bool {
        self.change.files().iter().any(|file| file.path.file_name() != self.file.file_name())
    }

    fn apply(&self, flags: &Flags) -> Result<(), String> {
        service::ports_are_free(&self.existing, self.listeners)?;
        let made = self.make_directories()?;
        let result = self.put_in_force(flags);
        if result.is_err() {
            // Those that are not empty have been there before, or are in use.
            made.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
        }
        result
    }

    fn put_in_force(&self, flags: &Flags) -> Result<(), String> {
        let told = |error: ChangeError| error.to_string();
        let mut interruption = Interruption::watch()?;
        let backups = self.config.state_directory.join(super::BACKUPS);
        let mut transaction = self.change.begin(&backups, None).map_err(told)?;
        let own = self.file.file_name();
        if let Err(error) = transaction.place(|path| path.file_name() == own) {
            return Err(transaction.undo(error).to_string());
        }
        let changed = self.change.files().iter().any(|file| file.path.file_name() == own);
        let table = self.fragments.written_by_daemon.as_deref();
        let before = self.before.as_ref();
        let daemon = Daemon { file: &self.file, config: &self.config, before, changed, table };
        let (started, answered) = daemon.take_up(flags.patience(), &mut interruption);
        let answered = answered.map_err(|problem| (problem, false));
        let placed = answered.and_then(|()| self.tell_postfix(&mut transaction));
        match placed {
            Ok(running) => {
                let applied = transaction.commit().map_err(told)?;
                // It looks which sender table Postfix uses, and marks every message until it knows.
                if running && self.changes_postfix() && !daemon::reload(&self.config) {
                    eprintln!("Have conbool-milter look at Postfix again: send it SIGHUP.");
                }
                println!("In force.");
                if let Some(backup) = applied.backup {
                    println!("Back-up of what was before: {}", backup.display());
                    println!("The way back: conbool-milter setup --rollback --config {}", self.file.display());
                }
                if !running {
                    println!("Postfix does not run; it uses this configuration when it is started.");
                }
                Ok(())
            }
            Err((problem, reloaded)) => {
                let error = transaction.undo(ChangeError::Refused(problem)).to_string();
                daemon::put_back(started, before.unwrap_or(&self.config));
                let again = if reloaded { service::reload(&self.postfix, None) } else { Ok(()) };
                let again = again.err().map(|again| format!("\nThen: {again}")).unwrap_or_default();
                Err(format!("{error}\nEverything is as it was.{again}"))
            }
        }
    }

    /// Puts Postfix's files in place and has it use them; tells if it runs. An error comes with whether Postfix was told.
    fn tell_postfix(&self, transaction: &mut Transaction<'_>) -> Result<bool, (String, bool)> {
        let quiet = |problem: String| (problem, false);
        let running = service::is_running(&self.postfix).map_err(quiet)?;
        if !self.changes_postfix() {
            return Ok(running);
        }
        transaction.place(|_| true).map_err(|error| quiet(error.to_string()))?;
        service::check(&self.postfix).map_err(quiet)?;
        if running {
            service::reload(&self.postfix, Some(self.listeners)).map_err(|problem| (problem, true))?;
        }
        Ok(running)
    }

    /// Makes the directories of the unix sockets and of the state; gives back those that were not there.
    ///
    /// A directory for sockets belongs to the daemon's user and Postfix's group, which the sockets in it inherit.
    fn make_directories(&self) -> Result<Vec<PathBuf>, String> {
        let user = User::from_name(USER).ok().flatten().map(|user| user.uid.as_raw());
        let group = Group::from_name("postfix").ok().flatten().map(|group| group.gid.as_raw());
        let sockets = self.config.milter.sockets.iter().filter_map(|socket| match socket {
            Socket::Unix(path) => path.parent(),
            Socket::Inet(..) => None,
        });
        let own =
            [(self.file.parent(), None, None, 0o755), (Some(self.config.state_directory.as_path()), user, None, 0o755)];
        let wanted = own.into_iter().chain(sockets.map(|path| (Some(path), user, group, 0o2750)));
        let mut made = Vec::new();
        for (path, user, group, mode) in wanted {
            let Some(path) = path.filter(|path| !path.exists()) else { continue };
            let result = fs::create_dir_all(path)
                .and_then(|()| chown(path, user, group))
                .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
            made.push(path.to_owned());
            if let Err(error) = result {
                made.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
                return Err(format!("{}: cannot be made: {}", path.display(), config::reason(&error)));
            }
        }
        Ok(made)
    }
}
