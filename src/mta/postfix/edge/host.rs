//! What the host's Postfix tells of itself.

use std::path::{Path, PathBuf};

use super::{EdgeError, Layout};
use crate::config::{Config, Edge};
use crate::mta::postfix::{command, revision};

/// Settings that all instances of a host share (postmulti(1), create), and where they log.
const SHARED: [&str; 16] = [
    "command_directory",
    "daemon_directory",
    "html_directory",
    "inet_protocols",
    "mail_owner",
    "mailq_path",
    "maillog_file",
    "maillog_file_prefixes",
    "manpage_directory",
    "meta_directory",
    "newaliases_path",
    "readme_directory",
    "sample_directory",
    "sendmail_path",
    "setgid_group",
    "shlib_directory",
];

/// The Postfix that is installed on this host, and its primary instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Configuration directory of the primary instance.
    pub primary: PathBuf,
    /// Whether it has a main.cf: without one, no instance is set up on this host yet.
    pub has_primary: bool,
    /// `mail_version`, such as `3.7.11`.
    pub version: String,
    /// Name and value of the shared settings that the primary instance has in its main.cf.
    pub(super) shared: Vec<(String, String)>,
    meta_directory: PathBuf,
    queue_directory: PathBuf,
    data_directory: PathBuf,
}

impl Host {
    /// Asks postconf.
    ///
    /// # Errors
    /// [`EdgeError`] if there is no Postfix, or its main.cf cannot be understood.
    pub fn read() -> Result<Self, EdgeError> {
        let defaults = command::run_alone("postconf", &["-dh", "config_directory", "mail_version"])?;
        let mut defaults = defaults.lines().map(|line| line.trim().to_owned());
        let mut next = || defaults.next().unwrap_or_default();
        let (primary, version) = (PathBuf::from(next()), next());
        let has_primary = primary.join("main.cf").exists();
        let ask = |arguments: &[&str]| match has_primary {
            true => command::run("postconf", &primary, arguments),
            // Nothing is set yet.
            false => command::run_alone("postconf", &[&["-d"], arguments].concat()),
        };
        let paths = ask(&["-hx", "meta_directory", "queue_directory", "data_directory"])?;
        let mut paths = paths.lines().map(|line| PathBuf::from(line.trim()));
        let mut next = || paths.next().unwrap_or_default();
        let (meta_directory, queue_directory, data_directory) = (next(), next(), next());
        let shared = if has_primary { ask(&[&["-n"], &SHARED[..]].concat())? } else { String::new() };
        let setting = |line: &str| line.split_once('=').map(|(name, value)| (name.trim().into(), value.trim().into()));
        let shared = shared.lines().filter_map(setting).collect();
        Ok(Self { primary, has_primary, version, shared, meta_directory, queue_directory, data_directory })
    }

    /// The directories of the edge's instance: beside those of the primary instance, as postmulti(1) has it.
    pub fn layout(&self, config: &Config, edge: &Edge) -> Layout {
        let beside = |directory: &Path| match edge.is_only_instance() {
            true => directory.to_owned(),
            false => directory.with_file_name(&edge.instance),
        };
        Layout {
            config: config.postfix.config_directory.clone(),
            queue: beside(&self.queue_directory),
            data: beside(&self.data_directory),
        }
    }

    /// The services that this Postfix has out of the box.
    pub(super) fn services(&self) -> Result<String, EdgeError> {
        let path = self.meta_directory.join("master.cf.proto");
        Ok(revision::read(&path)?)
    }

    /// The level of defaults to ask for (COMPATIBILITY_README): that of 3.6, or the last one before.
    pub(super) fn compatibility_level(&self) -> &'static str {
        let mut numbers = self.version.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or_default());
        let release = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if release >= (3, 6) { "3.6" } else { "2" }
    }
}
