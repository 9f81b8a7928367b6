//! Puts an edge in force, and takes it away.

use std::path::{Path, PathBuf};

use super::{Plan, about, is_ours, is_running, print};
use crate::config::{Authentication, Config};
use crate::mta::change::{self, Change, ChangeError};
use crate::mta::postfix::edge::{self, Host, Instance, PASSWORDS};
use crate::mta::postfix::service;

/// Where the back-ups of the edge lie: they are no part of what `setup --rollback` goes back through.
fn backups(config: &Config) -> PathBuf {
    config.state_directory.join("backups-edge")
}

/// Makes the instance, writes its files, checks and starts it; all of it or nothing.
///
/// # Errors
/// What failed. Everything is then as it was.
pub fn apply(plan: &Plan) -> Result<(), String> {
    let Plan { instance, commands, .. } = plan;
    let made = instance.make(commands).map_err(|error| error.to_string());
    let result = made.and_then(|()| put_in_force(plan));
    if let Err(error) = result {
        let unmade = match commands.is_empty() || !instance.is_registered(&plan.host).unwrap_or(true) {
            true => Ok(()),
            false => instance.destroy(&plan.host),
        };
        return Err(match unmade {
            Ok(()) => error,
            Err(again) => format!("{error}\nThe instance {} is left behind, stopped: {again}", instance.name),
        });
    }
    print(&next_steps(plan))
}

fn put_in_force(plan: &Plan) -> Result<(), String> {
    let instance = &plan.instance;
    let was_running = is_running(instance)?;
    for (name, _) in &plan.files.files {
        let file = instance.layout.config.join(name);
        let directory = file.parent().unwrap_or(&file);
        std::fs::create_dir_all(directory).map_err(about(directory))?;
    }
    // Anew: a new instance has files by now.
    let change = plan.change()?;
    if change.is_empty() {
        return if was_running { Ok(()) } else { instance.control("start").map_err(|error| error.to_string()) };
    }
    let restart = needs_restart(&change);
    let mut rounds = 0;
    let directory = &instance.layout.config;
    let in_force = || {
        rounds += 1;
        let actions: &[&str] = match (was_running, rounds) {
            (true, _) if restart => &["stop", "start"],
            (true, _) => return service::reload(directory, Some(edge::listeners(&plan.edge))),
            (false, 1) => &["start"],
            // What did not run before, and does not start.
            (false, _) if is_running(instance)? => &["stop"],
            (false, _) => &[],
        };
        actions.iter().try_for_each(|action| instance.control(action)).map_err(|error| error.to_string())
    };
    let check = || service::check(directory);
    change.apply(&backups(&plan.config), check, in_force).map(drop).map_err(|error| error.to_string())
}

/// A master that runs keeps its addresses and instance (postconf(5), inet_interfaces).
fn needs_restart(change: &Change) -> bool {
    const KEPT: [&str; 4] = ["inet_interfaces", "inet_protocols", "queue_directory", "multi_instance_name"];
    change.files().iter().filter(|file| file.path.ends_with("main.cf")).any(|file| {
        let lines = |content: &Option<change::Content>| -> Vec<String> {
            let text = content.as_ref().map(|content| String::from_utf8_lossy(&content.bytes).into_owned());
            let kept = |line: &&str| KEPT.iter().any(|name| line.starts_with(name));
            text.unwrap_or_default().replace(",\n    ", ", ").lines().filter(kept).map(str::to_owned).collect()
        };
        lines(&file.before) != lines(&file.after)
    })
}

fn next_steps(plan: &Plan) -> String {
    let Plan { edge, instance, .. } = plan;
    let directory = instance.layout.config.display();
    let mut steps = Vec::new();
    if let Some(table) = &plan.files.written_by_daemon {
        steps.push(format!(
            "Start conbool-milter now: it writes {}, without which Postfix defers mail.",
            table.display()
        ));
    } else {
        steps.push("Start conbool-milter with this configuration, or restart it if it runs.".to_owned());
    }
    if edge.authentication == Authentication::Password {
        let passwords = instance.layout.config.join(PASSWORDS);
        let passwords = passwords.display();
        let domain = edge.myhostname.as_deref().unwrap_or("NAME-OF-THE-EDGE");
        steps.push(format!(
            "Give the inner server a password: saslpasswd2 -c -f {passwords} -u {domain} USER && chown root:postfix \
             {passwords} && chmod 640 {passwords}"
        ));
    }
    if !edge.is_only_instance() {
        steps.push(format!(
            "Where systemd runs Postfix (Debian: postfix@.service), hand the instance over to it: postmulti -i {0} -p stop \
             && systemctl daemon-reload && systemctl start postfix@{0}",
            instance.name
        ));
    }
    steps.push(
        "Set the inner server as `conbool-milter setup edge --checklist kerio` says (or exchange, or other).".into(),
    );
    let steps: String = steps.iter().map(|step| format!("  - {step}\n")).collect();
    format!("\nThe edge runs, with its configuration in {directory}.\n\nWhat is left to do:\n{steps}")
}

/// Takes the edge away.
///
/// # Errors
/// What is in the way, such as mail in its queue.
pub fn roll_back(config: &Path) -> Result<(), String> {
    let config = Config::load(config).map_err(|errors| errors.to_string())?;
    let edge =
        config.edge.clone().ok_or("the configuration has no section edge, so which edge is meant is not known")?;
    let host = Host::read().map_err(|error| error.to_string())?;
    let instance = Instance::new(&edge, host.layout(&config, &edge));
    let directory = instance.layout.config.display();
    if !is_ours(&instance) {
        return Err(format!("{directory} holds no edge that was set up by this command"));
    }
    let was_running = is_running(&instance)?;
    if was_running {
        instance.control("stop").map_err(|error| error.to_string())?;
    }
    let queued = instance.queued().map_err(|error| error.to_string());
    let result = match queued {
        Ok(0) if edge.is_only_instance() => restore(&config, &instance).and_then(|()| {
            // What was there before the edge.
            let is_there = was_running && instance.layout.config.join("main.cf").exists();
            if is_there { instance.control("start").map_err(|error| error.to_string()) } else { Ok(()) }
        }),
        Ok(0) => instance.destroy(&host).map_err(|error| error.to_string()),
        Ok(queued) => Err(format!(
            "{queued} messages are in the edge's queue and would be lost: let them be delivered (postqueue -c {directory} \
             -p shows them, -f tries them now), then roll back"
        )),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let again = if was_running && is_ours(&instance) { instance.control("start") } else { Ok(()) };
        return Err(match again {
            Ok(()) => error,
            Err(again) => format!("{error}\nThe edge is stopped: {again}"),
        });
    }
    let done = match edge.is_only_instance() {
        true => format!("{directory} is as it was before the edge."),
        false => format!("The instance {} is gone.", instance.name),
    };
    print(&format!("{done}\nTake section edge out of the configuration, and restart conbool-milter.\n"))
}

/// The host's only instance as it was before it became an edge: all changes are taken back, the newest first.
fn restore(config: &Config, instance: &Instance) -> Result<(), String> {
    let backups = backups(config);
    while is_ours(instance) {
        let told = |error: ChangeError| error.to_string();
        let Some(backup) = change::latest_backup(&backups).map_err(told)? else {
            return Err(format!("{} holds no back-up of what was there before", backups.display()));
        };
        let changed = backup.changed_since().map_err(told)?;
        if !changed.is_empty() {
            let files: String = changed.iter().map(|path| format!("\n  {}", path.display())).collect();
            return Err(format!(
                "somebody else has changed since then, and it would be lost:{files}\nWhat was there before is in {}",
                backup.directory().display()
            ));
        }
        let way_back = backup.way_back().map_err(told)?;
        let mut transaction = way_back.begin(&backups, Some(&backup)).map_err(told)?;
        if let Err(error) = transaction.place(|_| true) {
            return Err(transaction.undo(error).to_string());
        }
        transaction.commit().map_err(told)?;
    }
    Ok(())
}
