//! What all examinations start from.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use crate::address::AddressSet;
use crate::config::{self, Config, ConfigError, ConfigErrors};
use crate::finding::{Area, Finding, Status};
use crate::mta::postfix::quoted;
use crate::provider::Provider;
use crate::sources::Loaded;

/// What is known before anything is examined.
#[derive(Debug)]
pub struct Context {
    /// The configuration file.
    pub file: PathBuf,
    /// What it says, as far as that can be told: what is missing or wrong in it is the default or empty.
    pub config: Config,
    /// What is wrong in it.
    pub errors: Option<ConfigErrors>,
    /// The provider; `None` if it cannot be loaded.
    pub provider: Option<Provider>,
    /// When the examinations must have ended.
    pub deadline: Instant,
}

impl Context {
    /// Reads the configuration and the provider.
    pub fn load(file: &Path, deadline: Instant) -> Self {
        let (config, errors) = config::salvage(file);
        let provider = Provider::load(&config.provider).ok();
        Self { file: file.to_owned(), config, errors, provider, deadline }
    }

    /// Somebody whose mail goes to the relay: the postmaster of a domain in scope, or else the first in it.
    pub fn sender_in_scope(&self) -> Option<String> {
        let directory = crate::cli::directory(&self.config);
        let sets = Loaded::offline(&self.config, directory.as_ref()).ok()?.sets();
        let set: &AddressSet = &sets.default;
        let mut entries: Vec<&str> = set.iter().collect();
        entries.sort_unstable();
        let domain = entries.iter().find(|entry| entry.starts_with('@') && set.share().is_all());
        let address = || entries.iter().find(|entry| !entry.starts_with('@')).map(|entry| (*entry).to_owned());
        domain.map(|domain| format!("postmaster{domain}")).or_else(address)
    }

    /// A command line of this program for the same configuration.
    pub fn command(&self, subcommand: &str) -> String {
        match self.file == Path::new(config::DEFAULT_PATH) {
            true => format!("conbool-milter {subcommand}"),
            false => format!("conbool-milter --config {} {subcommand}", quoted(&self.file.display().to_string())),
        }
    }

    /// A finding for each mistake in the configuration: whatever is examined, it rests on that.
    pub fn mistakes(&self) -> Vec<Finding> {
        let errors = self.errors.iter().flat_map(|errors| &errors.0);
        let finding = |error: &ConfigError| {
            let place = error.line.map_or_else(String::new, |line| format!(":{line}"));
            let key = error.key.as_ref().map_or_else(String::new, |key| format!("{key}: "));
            let (subject, seen) = (format!("{}{place}", self.file.display()), format!("{key}{}", error.message));
            Finding::new(Area::Config, "configuration", subject, Status::Fail, seen)
        };
        errors.map(finding).collect()
    }
}
