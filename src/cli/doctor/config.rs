//! The configuration and all that it names on this host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::context::Context;
use crate::cli;
use crate::config::{Config, DEFAULT_SCOPE, NOT_SET_UP, Socket};
use crate::dns;
use crate::finding::{Area, Finding, Status};
use crate::lock_down;
use crate::probe::account::{Account, Right, permissions};
use crate::site;
use crate::sources::Loaded;
use crate::telemetry::status::ScopeStatus;
use crate::verdict::Mode;

/// Examines the configuration.
pub fn examine(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let mut findings = Vec::new();
    if context.errors.is_none() {
        findings.push(finding("configuration", "", Status::Pass, format!("{}: no mistakes", context.file.display())));
    }
    findings.extend(set_up(context));
    findings.extend(policy(context));
    findings.extend(files(context));
    findings.extend(state_directory(config));
    findings.extend(scopes(context));
    if config.is_set_up() {
        findings.extend(modes(config));
    }
    findings.extend(lock_down(context));
    findings
}

fn finding(check: &'static str, subject: impl Into<String>, status: Status, seen: impl Into<String>) -> Finding {
    Finding::new(Area::Config, check, subject, status, seen)
}

/// Whether anything is; where there are mistakes, it is not known.
fn set_up(context: &Context) -> Option<Finding> {
    if context.config.is_set_up() || context.errors.is_some() {
        return None;
    }
    Some(finding("set-up", "", Status::Warn, NOT_SET_UP).mended_by(context.command("setup")))
}

/// Provider and scripts.
fn policy(context: &Context) -> Vec<Finding> {
    if context.config.provider.is_empty() {
        return Vec::new();
    }
    match site::load_policy(&context.config) {
        Ok(_) => vec![finding("policy", context.config.provider.clone(), Status::Pass, "provider and scripts compile")],
        Err(errors) => {
            let fail = |error: &site::SiteError| finding("policy", "", Status::Fail, error.told_of(&context.file));
            errors.iter().map(fail).collect()
        }
    }
}

/// Who can change or read what.
fn files(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let secrets =
        [config.ldap.as_ref().and_then(|ldap| ldap.password_file.as_deref()), config.relay.client_key.as_deref()];
    let trusted = [Some(context.file.as_path()), config.rules.site_script.as_deref()];
    let lists = config.scope.iter().flat_map(|(_, scope)| scope.files.iter().map(|file| Some(file.as_path())));
    let mut findings: Vec<Finding> = secrets.into_iter().flatten().map(|file| guarded(file, 0o027)).collect();
    findings.extend(trusted.into_iter().chain(lists).flatten().map(|file| guarded(file, 0o002)));
    findings
}

/// A file with whose mode others must not have these bits.
fn guarded(file: &Path, forbidden: u32) -> Finding {
    const CHECK: &str = "permissions";
    let shown = file.display().to_string();
    match fs::metadata(file) {
        Ok(metadata) if metadata.mode() & forbidden == 0 => finding(CHECK, shown, Status::Pass, permissions(&metadata)),
        Ok(metadata) => {
            let what = if forbidden & 0o004 != 0 {
                "others than the daemon can read or change it"
            } else {
                "everybody can change it"
            };
            let mend = format!("chmod {} {shown}", if forbidden & 0o004 != 0 { "g-w,o-rwx" } else { "o-w" });
            finding(CHECK, shown, Status::Fail, format!("{}: {what}", permissions(&metadata))).mended_by(mend)
        }
        Err(error) => finding(CHECK, shown, Status::Unknown, error.to_string()),
    }
}

/// The user as whom the daemon runs: who owns its sockets, or else its state.
fn daemon(config: &Config) -> Option<Account> {
    let owner = |path: &Path| fs::symlink_metadata(path).ok().map(|metadata| metadata.uid());
    let sockets = config.milter.sockets.iter().filter_map(|socket| match socket {
        Socket::Unix(path) => owner(path),
        Socket::Inet(..) => None,
    });
    // A socket that root owns may be the service manager's.
    let uid = sockets.chain(owner(&config.state_directory)).find(|uid| *uid != 0)?;
    Account::numbered(uid)
}

/// Where the daemon keeps what it must find again.
fn state_directory(config: &Config) -> Option<Finding> {
    const CHECK: &str = "state-directory";
    let shown = config.state_directory.display().to_string();
    let user = daemon(config);
    let name = user.as_ref().map_or("conbool-milter", |user| &user.name).to_owned();
    let install = format!("install -d -o {name} -m 755 {shown}");
    Some(match (fs::metadata(&config.state_directory), user) {
        (Err(error), _) => {
            finding(CHECK, shown, Status::Fail, format!("{error}: nothing survives a restart")).mended_by(install)
        }
        (Ok(metadata), Some(user)) if !user.may(Right::Write, &metadata) => {
            let seen = format!("{}: {name} cannot write there, and nothing survives a restart", permissions(&metadata));
            finding(CHECK, shown, Status::Fail, seen).mended_by(install)
        }
        (Ok(metadata), Some(_)) => {
            finding(CHECK, shown, Status::Pass, format!("{} for {name}", permissions(&metadata)))
        }
        (Ok(metadata), None) => {
            let seen =
                format!("{}; as whom the daemon runs is not known while it does not run", permissions(&metadata));
            finding(CHECK, shown, Status::Unknown, seen).mended_by("systemctl start conbool-milter")
        }
    })
}

/// An answer of the directory is old when it was not confirmed for so many times the interval at which it is asked.
const MISSED_REFRESHES: u32 = 4;

/// Where the addresses of the scopes come from, as far as that is on this host.
fn scopes(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let directory = cli::directory(config);
    let loaded = match Loaded::offline(config, directory.as_ref()) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let fail = |mistake: &crate::sources::Mistake| finding("scope", "", Status::Fail, mistake.to_string());
            return mistakes.iter().map(fail).collect();
        }
    };
    let old = config.scope.refresh * MISSED_REFRESHES;
    loaded.status().iter().flat_map(|scope| one_scope(scope, old, context)).collect()
}

fn one_scope(scope: &ScopeStatus, old: Duration, context: &Context) -> Vec<Finding> {
    const CHECK: &str = "scope";
    let mut findings = Vec::new();
    for source in &scope.sources {
        let subject = if source.name.is_empty() { scope.name.clone() } else { source.name.clone() };
        let age = Duration::from_secs(source.age_seconds);
        if let Some(held) = source.held_back {
            let seen =
                format!("the directory says {held} members, where there are {}: that is held back", source.members);
            let mend = context.command("scope accept");
            findings.push(finding(CHECK, &subject, Status::Warn, seen).mended_by(mend));
        }
        if !source.is_known {
            let seen = format!("nothing is known of this group of scope {}", scope.name);
            let mend = "systemctl start conbool-milter  # asks the directory";
            findings.push(finding(CHECK, &subject, Status::Fail, seen).mended_by(mend));
        } else if let Some(problem) = &source.problem {
            findings.push(finding(CHECK, &subject, Status::Warn, problem.clone()));
        } else if source.kind == "group" && age > old {
            let seen = format!("the directory said so {} hours ago for the last time", age.as_secs() / 3600);
            findings.push(finding(CHECK, &subject, Status::Warn, seen).mended_by("conbool-milter status; see [ldap]"));
        }
    }
    if scope.members == 0 && scope.name == DEFAULT_SCOPE && context.config.is_set_up() {
        let seen = "nobody is in scope: no mail goes to the relay";
        findings.push(finding(CHECK, &scope.name, Status::Warn, seen).mended_by("[scope]\nmode = \"all\""));
    }
    if findings.is_empty() {
        let seen = format!("mode {}, {} addresses and domains", scope.mode, scope.members);
        findings.push(finding(CHECK, &scope.name, Status::Pass, seen));
    }
    findings
}

/// What is only watched.
fn modes(config: &Config) -> Vec<Finding> {
    let modes = config.modes;
    let watched = [
        ("mode", modes.whole, "everything is only logged: no mail is routed, marked or refused"),
        ("routing.mode", modes.routing, "routes are only logged: all mail goes where it went before"),
        ("spam.mode", modes.spam, "spam marks are only logged: users see none"),
    ];
    let watched = watched.iter().filter(|(_, mode, _)| *mode == Mode::Monitor);
    let mut findings: Vec<Finding> = watched
        .map(|(key, _, seen)| {
            let line = key
                .rsplit_once('.')
                .map_or("mode = \"enforce\"".to_owned(), |(section, _)| format!("[{section}]\nmode = \"enforce\""));
            finding("mode", *key, Status::Warn, *seen).mended_by(line)
        })
        .collect();
    if findings.is_empty() {
        findings.push(finding("mode", "mode", Status::Pass, "enforce"));
    }
    findings
}

/// Whether hosted domains take mail from the relay only.
fn lock_down(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    const CHECK: &str = "lock-down";
    let one = |status, seen: &str| vec![finding(CHECK, "", status, seen)];
    let of_provider = context.provider.as_ref().map(|provider| provider.lock_down);
    match config.lock_down.mode.or(of_provider).unwrap_or_default() {
        lock_down::Mode::Off => one(Status::Pass, "off: strangers may deliver past the relay"),
        lock_down::Mode::Enforce => one(Status::Pass, "enforced"),
        lock_down::Mode::Monitor => {
            let found = finding(CHECK, "", Status::Warn, "monitor: who would be refused is only logged");
            vec![found.mended_by("[lock_down]\nmode = \"auto\"")]
        }
        lock_down::Mode::Auto => {
            let file = config.state_directory.join(cli::mx_watch::FILE);
            match dns::read(&file) {
                Ok(states) if states.is_empty() => one(Status::Unknown, "auto: the daemon has not looked yet"),
                Ok(states) => states.iter().map(domain).collect(),
                Err(error) => one(Status::Unknown, &format!("{}: {error}", file.display())),
            }
        }
    }
}

fn domain(state: &dns::DomainState) -> Finding {
    let (status, enforced) = if state.enforced { (Status::Pass, "enforced") } else { (Status::Warn, "not enforced") };
    finding("lock-down", state.domain.clone(), status, format!("auto, {enforced}: {}", state.why))
}
