//! A provider is a folder: `provider.toml` (what it is called, what its relay and its marker fields are, what it needs to
//! know of a site) and `policy.sieve`.

mod description;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::headers::Markers;
use crate::lock_down::{Mode, MxHosts};
use crate::rules::Script;

/// A cloud e-mail security service, as read from its folder.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name, for people.
    pub name: String,
    /// What it does for a site, in a sentence without a full stop; empty if its folder does not say.
    pub summary: String,
    /// Its relay; `None` if it takes no outgoing mail, so that nothing is ever routed.
    pub relay: Option<Relay>,
    /// What mail it hands in.
    pub hands_in: HandsIn,
    /// Its marker fields.
    pub markers: Markers,
    /// What lock-down does unless the site says otherwise.
    pub lock_down: Mode,
    /// Names of the MX hosts that its customers' domains have; empty if it does not publish them.
    pub mx_hosts: MxHosts,
    /// What it has to be told of a site, by the names of the settings.
    pub settings: BTreeMap<String, Setting>,
    /// The named scopes that its policy needs, by name. The default scope is made of them.
    pub scopes: BTreeMap<String, NamedScope>,
    /// Its policy script.
    pub policy: Script,
    /// Its script for the mailboxes, which Dovecot Pigeonhole runs; `None` if its folder has no `mailbox.sieve`.
    pub mailbox: Option<Script>,
}

/// The provider's relay: section `[relay]` of `provider.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Host that takes the mail; also the name its certificate must carry.
    pub host: String,
}

/// What mail comes in from the provider's networks, which the site then has to name: section `[hands_in]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandsIn {
    /// Mail for hosted recipients.
    pub inbound: bool,
    /// Mail of hosted senders, handed back for delivery to other sites.
    pub back: bool,
}

impl HandsIn {
    /// True if no mail comes in from there.
    pub fn is_nothing(self) -> bool {
        !self.inbound && !self.back
    }
}

/// A value that the site has to give: a section `[settings.NAME]`. It goes to the policy as environment item
/// `vnd.conbool.setting.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What it is, and who gives it to the site; a phrase without a full stop.
    pub description: String,
    /// A value to show to people.
    pub example: String,
    /// What it is if the site does not say; `None`: the site has to.
    pub default: Option<String>,
    /// The only values that it can have; empty: any.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// A scope that the policy asks for: a section `[scopes.NAME]`. Its members are those of the site's section
/// `[scope.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedScope {
    /// Who is in it; a phrase without a full stop.
    pub description: String,
    /// Whether a site can do without.
    #[serde(default)]
    pub optional: bool,
}

/// The files of a provider that comes with the program.
struct Folder {
    name: &'static str,
    description: &'static str,
    policy: &'static str,
}

macro_rules! built_in {
    ($($name:literal),+) => {
        &[$(Folder {
            name: $name,
            description: include_str!(concat!("../sieve/", $name, "/provider.toml")),
            policy: include_str!(concat!("../sieve/", $name, "/policy.sieve")),
        }),+]
    };
}

const BUILT_IN: &[Folder] = built_in!("conbool", "secumailer", "mailprotector");

/// The names of the providers that come with the program, as `provider` in the configuration has them.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|folder| folder.name)
}

/// Those of them that have a `mailbox.sieve`: name and script.
const MAILBOX_SCRIPTS: &[(&str, &str)] = &[("conbool", include_str!("../sieve/conbool/mailbox.sieve"))];

/// A provider that could not be loaded: which file, which line, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    /// The file at fault; `None` when the name itself is wrong.
    pub file: Option<PathBuf>,
    /// Line in it, from 1.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Provider {
    /// Loads a built-in provider by name, or one of the site's own by the absolute path of its folder.
    ///
    /// # Errors
    /// [`ProviderError`] if there is no such provider, a file cannot be read, or `provider.toml` is malformed. The
    /// script is compiled later, by [`Rules`](crate::rules::Rules).
    pub fn load(name: &str) -> Result<Self, ProviderError> {
        if name.starts_with('/') {
            let folder = Path::new(name);
            let read = |file: &str| {
                let path = folder.join(file);
                match fs::read_to_string(&path) {
                    Ok(text) => Ok((path, text)),
                    Err(error) => {
                        let message = format!("cannot be read: {error}");
                        Err(ProviderError { file: Some(path), line: None, message })
                    }
                }
            };
            let mailbox = if folder.join("mailbox.sieve").exists() { Some(read("mailbox.sieve")?) } else { None };
            let (file, text) = read("provider.toml")?;
            let (policy, script) = read("policy.sieve")?;
            let mailbox = mailbox.map(|(file, text)| Script { file, text });
            let provider = description::parse(&file, &text, Script { file: policy, text: script })?;
            return Ok(Self { mailbox, ..provider });
        }
        let Some(built_in) = BUILT_IN.iter().find(|folder| folder.name == name) else {
            let names: Vec<&str> = self::built_in().collect();
            return Err(ProviderError {
                file: None,
                line: None,
                message: format!(
                    "no provider is called {name:?}; built in: {}; for one of your own give the absolute path of its folder",
                    names.join(", ")
                ),
            });
        };
        let folder = PathBuf::from(format!("sieve/{name}"));
        let mailbox = MAILBOX_SCRIPTS.iter().find(|(built_in, _)| *built_in == name);
        let mailbox = mailbox.map(|(_, text)| Script { file: folder.join("mailbox.sieve"), text: (*text).to_owned() });
        let policy = Script { file: folder.join("policy.sieve"), text: built_in.policy.to_owned() };
        let provider = description::parse(&folder.join("provider.toml"), built_in.description, policy)?;
        Ok(Self { mailbox, ..provider })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_provider_loads() {
        for name in built_in() {
            let provider = Provider::load(name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert!(!provider.name.is_empty() && !provider.summary.is_empty());
        }
    }

    #[test]
    fn an_unknown_provider_is_answered_with_the_known_ones() {
        let error = Provider::load("conbol").unwrap_err();
        assert!(error.message.contains("built in: conbool, secumailer, mailprotector;"), "{}", error.message);
    }
}
