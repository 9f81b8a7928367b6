//! Loading a site: the provider and the scripts that the configuration names.

mod requirements;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{self, Config, ConfigError};
use crate::judge::{self, HOSTED_DOMAINS_LIST, SCOPE_LIST, Site, named_scope_list};
use crate::lock_down::{LockDown, Mode, MxHosts};
use crate::provider::Provider;
use crate::rules::{self, Lists, Rules, Script};
use crate::scope::{Scope, ScopeSets, SenderTable};
use crate::sources::{self, Loaded};
use crate::trust::Trust;
use crate::verdict;

/// A mistake in a file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteError {
    /// The file, or the group; `None` for a key of the configuration.
    pub file: Option<PathBuf>,
    /// That key; empty for a mistake in another file.
    pub key: Cow<'static, str>,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl SiteError {
    fn of_key(key: impl Into<Cow<'static, str>>, message: String) -> Self {
        Self { file: None, key: key.into(), line: None, message }
    }

    /// The mistake as a line; one in a key of the configuration with its place there.
    pub fn told_of(&self, config: &Path) -> String {
        if self.file.is_some() {
            return self.to_string();
        }
        let text = std::fs::read_to_string(config).unwrap_or_default();
        let place = config::line_of(&text, &self.key).map(|line| format!("{}:{line}", config.display()));
        format!("{}: {}: {}", place.unwrap_or_else(|| config.display().to_string()), self.key, self.message)
    }
}

impl fmt::Display for SiteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(formatter, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(formatter, "{line}:")?;
            }
            write!(formatter, " ")?;
        }
        formatter.write_str(&self.message)
    }
}

impl From<sources::Mistake> for SiteError {
    fn from(mistake: sources::Mistake) -> Self {
        Self { file: Some(mistake.place.into()), key: "".into(), line: mistake.line, message: mistake.message }
    }
}

/// Loads the provider, the scripts and the scopes that the configuration names, as far as they are on this host.
///
/// # Errors
/// Every mistake found in them.
pub fn load(config: &Config) -> Result<Site, Vec<SiteError>> {
    let loaded = Loaded::offline(config, None).and_then(|loaded| match loaded.unknown() {
        unknown if unknown.is_empty() => Ok(loaded),
        unknown => Err(unknown),
    });
    match (load_policy(config), loaded) {
        (Ok(site), Ok(loaded)) => Ok(site.with_scopes(&loaded.sets())),
        (site, loaded) => {
            let mut errors = site.err().unwrap_or_default();
            errors.extend(loaded.err().into_iter().flatten().map(SiteError::from));
            Err(errors)
        }
    }
}

/// Loads the provider and the scripts that the configuration names. All scopes of the site are empty.
///
/// # Errors
/// Every mistake found in them, and in what the configuration says of them.
pub fn load_policy(config: &Config) -> Result<Site, Vec<SiteError>> {
    let Policy { provider, lock_down, rules } = policy(config)?;
    let hosted_domains = config.domains.iter().map(|domain| format!("@{domain}")).collect();
    let mut lists = Lists::from([(HOSTED_DOMAINS_LIST.into(), Arc::new(hosted_domains))]);
    // Those that the site does without have no members.
    lists.extend(provider.scopes.keys().map(|name| (named_scope_list(name), Arc::default())));
    Ok(Site {
        lock_down,
        hosted: config.domains.iter().cloned().collect(),
        trust: Trust {
            relay_networks: config.relay.networks.clone(),
            relay_certificates: config.relay.certificates.clone(),
            internal_networks: config.internal_networks.clone(),
        },
        mail_server: config.mail_server,
        local_mailers: config.sendmail.local_mailers.clone(),
        relay: provider.relay.is_some().then_some(judge::Relay { hands_back: provider.hands_in.back }),
        scope: Scope { senders: Arc::default(), from_field: config.scope.from_field },
        sender_table: Arc::new(ArcSwap::from_pointee(match config.has_static_sender_table() {
            true => SenderTable::HostedDomains,
            false => SenderTable::Unknown,
        })),
        kind: config.kind.clone(),
        max_passes: config.loops.max_passes,
        max_host_passes: config.loops.max_host_passes,
        on_loop: config.loops.action,
        markers: provider.markers,
        limits: config.limits,
        rules: Arc::new(rules),
        lists: Arc::new(lists),
        modes: config.modes,
    }
    .with_scopes(&ScopeSets::default()))
}

/// The lock-down that is in force.
fn lock_down(config: &Config, provider: &Provider) -> Result<LockDown, SiteError> {
    let settings = &config.lock_down;
    let mx_hosts = settings.mx_hosts.clone().map_or_else(|| provider.mx_hosts.clone(), MxHosts::from_iter);
    let mode = settings.mode.unwrap_or(provider.lock_down);
    if mode == Mode::Auto && mx_hosts.is_empty() {
        let needs = "needs the names of the provider's MX hosts, which this provider does not publish; write for example \
                     mx_hosts = [\"mx.example.net\", \"*.example.net\"] in [lock_down]";
        return Err(match settings.mode {
            Some(_) => SiteError::of_key("lock_down.mode", format!("\"auto\" {needs}")),
            None => SiteError::of_key(
                "lock_down.mx_hosts",
                format!("missing; {} locks a domain down once its MX records point to it, and {needs}", provider.name),
            ),
        });
    }
    // What watches everything watches this too.
    let mode = if config.modes.whole == verdict::Mode::Monitor && mode != Mode::Off { Mode::Monitor } else { mode };
    let open = settings.open_recipients.iter().cloned().collect();
    Ok(LockDown { mode, open, mx_hosts, locked: Arc::default() })
}

/// The mistakes in the policy of a configuration that has mistakes of its own, so that all can be told at once. What
/// follows from those of its own is left out.
pub fn mistakes(config: &Config, own: &[ConfigError]) -> Vec<SiteError> {
    if config.provider.is_empty() {
        return Vec::new();
    }
    let is_within = |key: &str, section: &str| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    let follows = |mistake: &SiteError, error: &ConfigError| {
        let key = error.key.as_deref().unwrap_or_default();
        key == mistake.key
            || is_within(key, &mistake.key)
            || is_within(&mistake.key, key)
            // Whether they are needed, the mode says.
            || (key == "mode" && mistake.key == "relay_networks")
            // A key that seems to be missing may be there, with another name, or behind an error in the syntax.
            || error.column.is_some()
            || error.message.contains(&format!("\"{}\"", mistake.key))
    };
    let mut mistakes = load_policy(config).err().unwrap_or_default();
    mistakes.retain(|mistake| mistake.file.is_some() || !own.iter().any(|error| follows(mistake, error)));
    mistakes
}

struct Policy {
    provider: Provider,
    lock_down: LockDown,
    rules: Rules,
}

fn policy(config: &Config) -> Result<Policy, Vec<SiteError>> {
    let provider = Provider::load(&config.provider).map_err(|error| SiteError {
        file: error.file,
        key: "provider".into(),
        line: error.line,
        message: error.message,
    });
    let mut names = rules::Names::default();
    names.lists.extend([HOSTED_DOMAINS_LIST, SCOPE_LIST].map(String::from));
    names.lists.extend(config.scope.named.keys().map(|name| named_scope_list(name)));
    let mut errors = Vec::new();
    let mut scripts = Vec::new();
    let found = provider.map(|provider| {
        names.lists.extend(provider.scopes.keys().map(|name| named_scope_list(name)));
        names.settings = requirements::settings(&provider, config);
        scripts.push(provider.policy.clone());
        errors.extend(requirements::mistakes(&provider, config));
        (lock_down(config, &provider), provider)
    });
    let in_file = |file: &Path, line, message| SiteError { file: Some(file.into()), key: "".into(), line, message };
    if let Some(file) = &config.rules.site_script {
        match std::fs::read_to_string(file) {
            Ok(text) => scripts.push(Script { file: file.clone(), text }),
            Err(error) => errors.push(in_file(file, None, format!("cannot be read: {error}"))),
        }
    }
    match (found, Rules::compile(&scripts, &names)) {
        (Ok((Ok(lock_down), provider)), Ok(rules)) if errors.is_empty() => Ok(Policy { provider, lock_down, rules }),
        (found, rules) => {
            let first = found.map_or_else(Some, |(lock_down, _)| lock_down.err());
            let mistakes = rules.err().unwrap_or_default().into_iter();
            let mistakes = mistakes.map(|error| in_file(&error.file, error.line, error.message));
            Err(first.into_iter().chain(errors).chain(mistakes).collect())
        }
    }
}
