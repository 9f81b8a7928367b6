//! Everything that judging needs of one site, loaded and checked once.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use crate::config::{Config, ScopeMode};
use crate::headers::Markers;
use crate::kind;
use crate::provider::Provider;
use crate::rules::{Rules, Script};
use crate::scope::{Scope, Senders};
use crate::trust::Trust;

/// One site: its domains, whom it trusts, whose mail is in scope, and its rules.
#[derive(Debug)]
pub struct Site {
    /// The hosted domains, in the form of [`normalize_domain`](crate::address::normalize_domain).
    pub hosted: HashSet<String>,
    /// What makes a client the relay or internal.
    pub trust: Trust,
    /// Whose mail belongs on the relay.
    pub scope: Scope,
    /// How kinds are told apart.
    pub kind: kind::Settings,
    /// The provider's marker fields.
    pub markers: Markers,
    /// The compiled policy.
    pub rules: Rules,
}

/// A mistake in a file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteError {
    /// The file; `None` for the configuration itself.
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

impl Site {
    /// Loads the provider and the scripts that the configuration names.
    ///
    /// # Errors
    /// Every mistake found in them.
    pub fn load(config: &Config) -> Result<Self, Vec<SiteError>> {
        let provider = Provider::load(&config.provider).map_err(|error| {
            let message = match &error.file {
                Some(_) => error.message,
                None => format!("provider: {}", error.message),
            };
            vec![SiteError { file: error.file, line: error.line, message }]
        })?;
        let mut scripts = vec![provider.policy];
        if let Some(file) = &config.rules.site_script {
            let text = std::fs::read_to_string(file).map_err(|error| {
                vec![SiteError { file: Some(file.clone()), line: None, message: format!("cannot be read: {error}") }]
            })?;
            scripts.push(Script { file: file.clone(), text });
        }
        let hosted: HashSet<String> = config.domains.iter().cloned().collect();
        let senders = match config.scope.mode {
            ScopeMode::All => Senders::All(hosted.clone()),
            ScopeMode::List => Senders::List(config.scope.senders.iter().cloned().collect()),
        };
        let lists = HashMap::from([
            ("hosted-domains".to_string(), Senders::All(hosted.clone())),
            ("scope".to_string(), senders.clone()),
        ]);
        let rules = Rules::compile(&scripts, lists).map_err(|errors| -> Vec<SiteError> {
            let mistake = |error: crate::rules::ScriptError| SiteError {
                file: Some(error.file),
                line: error.line,
                message: error.message,
            };
            errors.into_iter().map(mistake).collect()
        })?;
        Ok(Self {
            hosted,
            trust: Trust {
                relay_networks: config.relay.networks.clone(),
                relay_certificates: config.relay.certificates.clone(),
                internal_networks: config.internal_networks.clone(),
            },
            scope: Scope { senders, from_field: config.scope.from_field },
            kind: config.kind.clone(),
            markers: provider.markers,
            rules,
        })
    }
}
