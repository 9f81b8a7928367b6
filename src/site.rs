//! Loading a site: the provider and the scripts that the configuration names.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{self, Config};
use crate::headers::Markers;
use crate::judge::{HOSTED_DOMAINS_LIST, Modes, SCOPE_LIST, Site, named_scope_list};
use crate::lock_down::{LockDown, Mode, MxHosts};
use crate::provider::Provider;
use crate::rules::{Lists, Rules, Script};
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
    pub key: &'static str,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
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
        Self { file: Some(mistake.place.into()), key: "", line: mistake.line, message: mistake.message }
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
/// Every mistake found in them.
pub fn load_policy(config: &Config) -> Result<Site, Vec<SiteError>> {
    let scopes = config.scope.named.keys().map(String::as_str);
    let (markers, providers_mx_hosts, rules) = policy(&config.provider, config.rules.site_script.as_deref(), scopes)?;
    let hosted_domains = config.domains.iter().map(|domain| format!("@{domain}")).collect();
    Ok(Site {
        lock_down: lock_down(&config.lock_down, config.modes, providers_mx_hosts)?,
        hosted: config.domains.iter().cloned().collect(),
        trust: Trust {
            relay_networks: config.relay.networks.clone(),
            relay_certificates: config.relay.certificates.clone(),
            internal_networks: config.internal_networks.clone(),
        },
        scope: Scope { senders: Arc::default(), from_field: config.scope.from_field },
        sender_table: Arc::new(ArcSwap::from_pointee(match config.has_static_sender_table() {
            true => SenderTable::HostedDomains,
            false => SenderTable::Unknown,
        })),
        kind: config.kind.clone(),
        max_passes: config.loops.max_passes,
        on_loop: config.loops.action,
        markers,
        limits: config.limits,
        rules: Arc::new(rules),
        lists: Arc::new(Lists::from([(HOSTED_DOMAINS_LIST.into(), Arc::new(hosted_domains))])),
        modes: config.modes,
    }
    .with_scopes(&ScopeSets::default()))
}

/// The lock-down that is in force.
fn lock_down(
    settings: &config::LockDown,
    modes: Modes,
    providers_mx_hosts: MxHosts,
) -> Result<LockDown, Vec<SiteError>> {
    let mx_hosts = settings.mx_hosts.clone().map_or(providers_mx_hosts, MxHosts::from_iter);
    if settings.mode == Mode::Auto && mx_hosts.is_empty() {
        let message = "\"auto\" needs the names of the provider's MX hosts, which this provider does not publish; write for \
                       example mx_hosts = [\"mx.example.net\", \"*.example.net\"] in [lock_down]";
        return Err(vec![SiteError { file: None, key: "lock_down.mode", line: None, message: message.into() }]);
    }
    // What watches everything watches this too.
    let mode =
        if modes.whole == verdict::Mode::Monitor && settings.mode != Mode::Off { Mode::Monitor } else { settings.mode };
    let open = settings.open_recipients.iter().cloned().collect();
    Ok(LockDown { mode, open, mx_hosts, locked: Arc::default() })
}

/// The mistakes in the policy of a configuration that has mistakes of its own, so that all can be told at once.
pub fn policy_mistakes<'a>(
    provider: &str,
    site_script: Option<&Path>,
    named_scopes: impl Iterator<Item = &'a str>,
) -> Vec<SiteError> {
    policy(provider, site_script, named_scopes).err().unwrap_or_default()
}

fn policy<'a>(
    provider: &str,
    site_script: Option<&Path>,
    named_scopes: impl Iterator<Item = &'a str>,
) -> Result<(Markers, MxHosts, Rules), Vec<SiteError>> {
    let mut errors = Vec::new();
    let mut scripts = Vec::new();
    let (mut markers, mut mx_hosts) = (Markers::default(), MxHosts::default());
    match Provider::load(provider) {
        Ok(provider) => {
            scripts.push(provider.policy);
            (markers, mx_hosts) = (provider.markers, provider.mx_hosts);
        }
        Err(error) => {
            errors.push(SiteError { file: error.file, key: "provider", line: error.line, message: error.message });
        }
    }
    if let Some(file) = site_script {
        match std::fs::read_to_string(file) {
            Ok(text) => scripts.push(Script { file: file.to_path_buf(), text }),
            Err(error) => {
                let message = format!("cannot be read: {error}");
                errors.push(SiteError { file: Some(file.to_path_buf()), key: "", line: None, message });
            }
        }
    }
    let mut lists = BTreeSet::from([HOSTED_DOMAINS_LIST, SCOPE_LIST].map(String::from));
    lists.extend(named_scopes.map(named_scope_list));
    match Rules::compile(&scripts, &lists) {
        Ok(rules) if errors.is_empty() => Ok((markers, mx_hosts, rules)),
        compiled => {
            let mistakes = compiled.err().unwrap_or_default().into_iter();
            errors.extend(mistakes.map(|error| SiteError {
                file: Some(error.file),
                key: "",
                line: error.line,
                message: error.message,
            }));
            Err(errors)
        }
    }
}
