//! A provider is a folder: `provider.toml` (its relay and marker fields) and `policy.sieve`.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config;
use crate::headers::Markers;
use crate::lock_down::MxHosts;
use crate::rules::Script;

/// A cloud e-mail security service, as read from its folder.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name, for people.
    pub name: String,
    /// Its relay.
    pub relay: Relay,
    /// Its marker fields.
    pub markers: Markers,
    /// Names of the MX hosts that its customers' domains have; empty if it does not publish them.
    pub mx_hosts: MxHosts,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    relay: Relay,
    headers: Markers,
    #[serde(default)]
    lock_down: LockDown,
}

/// Section `[lock_down]` of `provider.toml`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LockDown {
    #[serde(default)]
    mx_hosts: Vec<toml::Spanned<String>>,
}

/// The providers that come with the program: name, `provider.toml`, `policy.sieve`.
const BUILT_IN: &[(&str, &str, &str)] =
    &[("conbool", include_str!("../sieve/conbool/provider.toml"), include_str!("../sieve/conbool/policy.sieve"))];

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
            let (description, text) = read("provider.toml")?;
            let (policy, script) = read("policy.sieve")?;
            let mailbox = mailbox.map(|(file, text)| Script { file, text });
            return Ok(Self { mailbox, ..Self::parse(&description, &text, &policy, script)? });
        }
        let Some((_, text, script)) = BUILT_IN.iter().find(|(built_in, ..)| *built_in == name) else {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, ..)| *name).collect();
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
        let provider =
            Self::parse(&folder.join("provider.toml"), text, &folder.join("policy.sieve"), (*script).to_string())?;
        Ok(Self { mailbox, ..provider })
    }

    fn parse(file: &Path, text: &str, policy: &Path, script: String) -> Result<Self, ProviderError> {
        let error = |span: Option<Range<usize>>, message: String| ProviderError {
            file: Some(file.to_path_buf()),
            line: span.map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count()),
            message,
        };
        let description: Description =
            toml::from_str(text).map_err(|problem| error(problem.span(), problem.message().to_string()))?;
        let mx_host = |written: &toml::Spanned<String>| {
            let name = config::mx_host(written.get_ref());
            name.map_err(|problem| error(Some(written.span()), format!("{:?} {problem}", written.get_ref())))
        };
        Ok(Self {
            name: description.name,
            relay: description.relay,
            markers: description.headers,
            mx_hosts: description.lock_down.mx_hosts.iter().map(mx_host).collect::<Result<_, _>>()?,
            policy: Script { file: policy.to_path_buf(), text: script },
            mailbox: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_provider_loads() {
        for (name, ..) in BUILT_IN {
            let provider = Provider::load(name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert!(!provider.relay.host.is_empty());
        }
    }

    #[test]
    fn an_unknown_provider_is_answered_with_the_known_ones() {
        let error = Provider::load("conbol").unwrap_err();
        assert!(error.message.contains("built in: conbool"), "{}", error.message);
    }

    #[test]
    fn mx_hosts_are_read_and_checked() {
        let text = |host: &str| {
            format!(
                "name = \"x\"\n[relay]\nhost = \"relay.example\"\n[headers]\nreserved = []\n[lock_down]\nmx_hosts = [\"{host}\"]\n"
            )
        };
        let parse = |host| Provider::parse(Path::new("p.toml"), &text(host), Path::new("p.sieve"), String::new());
        assert!(parse("*.MX.example").unwrap().mx_hosts.contains("a.mx.example"));
        let error = parse("*").unwrap_err();
        assert_eq!(error.line, Some(7));
        assert!(error.message.starts_with("\"*\" is not the name of a host"), "{}", error.message);
    }

    #[test]
    fn a_mistake_in_provider_toml_is_reported_with_its_line() {
        let text = "name = \"x\"\n[relay]\nhost = \"relay.example\"\nprot = 25\n[headers]\nreserved = []\n";
        let error = Provider::parse(Path::new("p.toml"), text, Path::new("p.sieve"), String::new()).unwrap_err();
        assert_eq!(error.line, Some(4));
        assert!(error.message.contains("prot"), "{}", error.message);
    }
}
