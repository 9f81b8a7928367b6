//! The Dovecot of this host: what it is set to now, as doveconf(1) tells it, and our part in it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Generation, Settings, settings};
use crate::mta::change::{Change, ChangeError};
use crate::mta::postfix::CommandError;
use crate::mta::postfix::command;

/// Below the configuration directory: our settings, read after the site's, and the script.
const SETTINGS_FILE: &str = "conf.d/99-conbool-milter.conf";
const SCRIPT_FILE: &str = "conbool-milter.sieve";

/// The protocols by which mail is delivered to mailboxes.
const PROTOCOLS: [&str; 2] = ["lmtp", "lda"];

/// Why the Dovecot of this host cannot be set up.
#[derive(Debug)]
pub enum DovecotError {
    /// One of its commands gave no answer.
    Command(CommandError),
    /// Its version is none that is known; what it calls itself.
    Version(String),
    /// A file of ours cannot be made part of a change.
    Change(ChangeError),
    /// `dovecot.conf` does not read the folder of our settings; its path.
    NotIncluded(PathBuf),
}

impl fmt::Display for DovecotError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(formatter),
            Self::Version(text) => {
                write!(formatter, "dovecot --version says {:?}: only Dovecot 2 is supported", text.trim())
            }
            Self::Change(error) => error.fmt(formatter),
            Self::NotIncluded(file) => write!(
                formatter,
                "{} does not read the settings in conf.d: add the line `!include conf.d/*.conf` at its end",
                file.display()
            ),
        }
    }
}

impl std::error::Error for DovecotError {}

impl From<CommandError> for DovecotError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<ChangeError> for DovecotError {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}

/// What the Dovecot of this host is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    directory: PathBuf,
    generation: Generation,
    /// `sieve_before` settings of the site's own, by number from 1.
    before: Vec<(usize, String)>,
    /// The protocols that run no Sieve without our settings, with the plugins that they have.
    without_sieve: Vec<(&'static str, String)>,
}

impl Installed {
    /// Asks Dovecot's own commands about the configuration in `directory` (`/etc/dovecot`).
    ///
    /// # Errors
    /// [`DovecotError`] if a command cannot be run, does not understand the configuration, or is of another Dovecot.
    pub fn read(directory: &Path) -> Result<Self, DovecotError> {
        let version = command::run_alone("dovecot", &["--version"])?;
        let generation = Generation::of_version(&version).ok_or(DovecotError::Version(version))?;
        let ask = |arguments: &[&str]| command::run("doveconf", &directory.join("dovecot.conf"), arguments);
        let ours = fs::read_to_string(directory.join(SETTINGS_FILE)).unwrap_or_default();
        let script = directory.join(SCRIPT_FILE).display().to_string();
        let before = match generation {
            Generation::Two3 => before(&ask(&["plugin"])?, &script),
            Generation::Two4 => Vec::new(),
        };
        let mut without_sieve = Vec::new();
        for protocol in PROTOCOLS {
            // What our own settings add is not the site's.
            if let Some(plugins) = plugins_kept(&ours, protocol) {
                without_sieve.push((protocol, plugins));
                continue;
            }
            let plugins = ask(&["-f", &format!("protocol={protocol}"), "-h", "mail_plugins"])?;
            if !plugins
                .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .any(|name| name == "sieve")
            {
                without_sieve.push((protocol, plugins.trim().to_owned()));
            }
        }
        Ok(Self { directory: directory.to_owned(), generation, before, without_sieve })
    }

    /// Adds our script and our settings to `change`.
    ///
    /// # Errors
    /// If what is there now cannot be read.
    pub fn revise(&self, change: &mut Change, script: &str) -> Result<(), DovecotError> {
        let file = self.directory.join(SCRIPT_FILE);
        let taken = |number: &usize| self.before.iter().any(|(other, _)| other == number);
        let wanted = Settings {
            position: (1..).find(|number| !taken(number)).unwrap_or(1),
            without_sieve: self.without_sieve.iter().map(|(protocol, plugins)| (*protocol, plugins.as_str())).collect(),
        };
        change.write(&file, script)?;
        change.write(&self.directory.join(SETTINGS_FILE), settings(self.generation, &file, &wanted))?;
        Ok(())
    }

    /// What the administrator should know, one sentence or two each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .before
            .iter()
            .map(|(number, value)| {
                let number = if *number > 1 { number.to_string() } else { String::new() };
                format!(
                    "sieve_before{number} = {value} runs before ours: what it files, ours does not see. If it could file \
                     released mail, give it a number behind ours."
                )
            })
            .collect();
        if self.generation == Generation::Two4 {
            notes.push(
                "This is Dovecot 2.4 or later. Its settings were not tried on one: \
                 only doveconf checks them. Scripts of type before that the site has run in the order of their names."
                    .to_owned(),
            );
        }
        notes
    }

    /// Compiles the script, and sees that Dovecot understands its configuration and that our settings are part of it.
    ///
    /// # Errors
    /// [`DovecotError`].
    pub fn check(&self) -> Result<(), DovecotError> {
        let conf = self.directory.join("dovecot.conf");
        let script = self.directory.join(SCRIPT_FILE);
        // Users may not write beside it, so they need it compiled.
        command::run("sievec", &conf, &[&script])?;
        let in_force = command::run("doveconf", &conf, &["-n"])?;
        if in_force.contains(&script.display().to_string()) { Ok(()) } else { Err(DovecotError::NotIncluded(conf)) }
    }

    /// Has a running Dovecot read its configuration again; one that does not run is left alone.
    ///
    /// # Errors
    /// [`DovecotError`] if it does not.
    pub fn reload(directory: &Path) -> Result<(), DovecotError> {
        let conf = directory.join("dovecot.conf");
        let base = command::run("doveconf", &conf, &["-h", "base_dir"])?;
        let id = fs::read_to_string(Path::new(base.trim()).join("master.pid")).unwrap_or_default();
        if !id.trim().is_empty() && Path::new("/proc").join(id.trim()).exists() {
            command::run("doveadm", &conf, &["reload"])?;
        }
        Ok(())
    }

    /// The files that [`Self::check`] makes beside those of the change.
    pub fn compiled(directory: &Path) -> PathBuf {
        directory.join(SCRIPT_FILE).with_extension("svbin")
    }
}

/// The `sieve_before` settings in what doveconf prints of the section `plugin`, without ours.
fn before(plugin: &str, ours: &str) -> Vec<(usize, String)> {
    let settings = plugin.lines().filter_map(|line| line.trim().strip_prefix("sieve_before")?.split_once('='));
    settings
        .filter_map(|(number, value)| {
            let number = if number.trim().is_empty() { 1 } else { number.trim().parse().ok()? };
            Some((number, value.trim().to_owned()))
        })
        .filter(|(_, value)| value != ours)
        .collect()
}

/// The plugins beside Sieve that our settings of an earlier run name for a protocol; `None` if they do not name it.
fn plugins_kept(ours: &str, protocol: &str) -> Option<String> {
    let mut lines = ours.lines().skip_while(|line| *line != format!("protocol {protocol} {{")).skip(1);
    let plugins = lines.next()?.trim().strip_prefix("mail_plugins")?.trim();
    Some(plugins.strip_prefix('=').and_then(|list| list.strip_suffix("sieve")).unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_the_site_keep_their_numbers() {
        let plugin = "plugin {\n  sieve = file:~/sieve\n  sieve_before = /a.sieve\n  sieve_before2 = /ours\n  sieve_before10 = /b\n}\n";
        assert_eq!(before(plugin, "/ours"), [(1, "/a.sieve".to_owned()), (10, "/b".to_owned())]);
    }

    #[test]
    fn what_an_earlier_run_added_is_known_again() {
        for generation in [Generation::Two3, Generation::Two4] {
            let wanted = Settings { position: 1, without_sieve: vec![("lmtp", "quota acl")] };
            let text = settings(generation, Path::new("/x.sieve"), &wanted);
            let kept = plugins_kept(&text, "lmtp");
            assert_eq!(kept.as_deref(), Some(if generation == Generation::Two3 { "quota acl" } else { "" }));
            assert_eq!(plugins_kept(&text, "lda"), None);
        }
    }
}
