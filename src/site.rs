//! Loading a site: the provider and the scripts that the configuration names.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::address::AddressSet;
use crate::config::{Config, ScopeMode};
use crate::headers::Markers;
use crate::judge::Site;
use crate::provider::Provider;
use crate::rules::{Rules, Script};
use crate::scope::Scope;
use crate::trust::Trust;

/// A mistake in a file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteError {
    /// The file; `None` for the key `provider` of the configuration.
    pub file: Option<PathBuf>,
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

/// Loads the provider and the scripts that the configuration names.
///
/// # Errors
/// Every mistake found in them.
pub fn load(config: &Config) -> Result<Site, Vec<SiteError>> {
    let hosted: HashSet<String> = config.domains.iter().cloned().collect();
    let senders = match config.scope.mode {
        ScopeMode::All => AddressSet::Domains(hosted.clone()),
        ScopeMode::List => AddressSet::Listed(config.scope.senders.iter().cloned().collect()),
    };
    let (markers, rules) = policy(&config.provider, config.rules.site_script.as_deref(), &hosted, &senders)?;
    Ok(Site {
        hosted,
        trust: Trust {
            relay_networks: config.relay.networks.clone(),
            relay_certificates: config.relay.certificates.clone(),
            internal_networks: config.internal_networks.clone(),
        },
        scope: Scope { senders, from_field: config.scope.from_field },
        sender_table: Arc::default(),
        kind: config.kind.clone(),
        max_passes: config.loops.max_passes,
        on_loop: config.loops.action,
        markers,
        rules,
        modes: config.modes,
    })
}

/// The mistakes in the policy of a configuration that has mistakes of its own, so that all can be told at once.
pub fn policy_mistakes(provider: &str, site_script: Option<&Path>) -> Vec<SiteError> {
    let nobody = AddressSet::Listed(HashSet::new());
    policy(provider, site_script, &HashSet::new(), &nobody).err().unwrap_or_default()
}

fn policy(
    provider: &str,
    site_script: Option<&Path>,
    hosted: &HashSet<String>,
    senders: &AddressSet,
) -> Result<(Markers, Rules), Vec<SiteError>> {
    let mut errors = Vec::new();
    let mut scripts = Vec::new();
    let mut markers = Markers::default();
    match Provider::load(provider) {
        Ok(provider) => {
            scripts.push(provider.policy);
            markers = provider.markers;
        }
        Err(error) => errors.push(SiteError { file: error.file, line: error.line, message: error.message }),
    }
    if let Some(file) = site_script {
        match std::fs::read_to_string(file) {
            Ok(text) => scripts.push(Script { file: file.to_path_buf(), text }),
            Err(error) => {
                let message = format!("cannot be read: {error}");
                errors.push(SiteError { file: Some(file.to_path_buf()), line: None, message });
            }
        }
    }
    let lists = HashMap::from([
        ("hosted-domains".to_string(), AddressSet::Domains(hosted.clone())),
        ("scope".to_string(), senders.clone()),
    ]);
    match Rules::compile(&scripts, lists) {
        Ok(rules) if errors.is_empty() => Ok((markers, rules)),
        compiled => {
            let mistakes = compiled.err().unwrap_or_default().into_iter();
            errors.extend(mistakes.map(|error| SiteError {
                file: Some(error.file),
                line: error.line,
                message: error.message,
            }));
            Err(errors)
        }
    }
}
