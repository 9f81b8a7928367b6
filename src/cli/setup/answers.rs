//! What setup has to know: from the flags, the configuration file, the mail server, or whoever sits at the terminal.

use std::fs;
use std::path::Path;

use toml_edit::Value;

use super::Flags;
use super::ask::{Asker, Question};
use super::config_file::strings;
use super::mta::{Mta, Survey};
use crate::config::{self, Config, ScopeMode, Socket};
use crate::provider::Provider;

/// The milter's socket in the configuration that packages install.
const PACKAGED_SOCKET: &str = "/run/conbool-milter/milter.sock";

/// What was answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// Keys of the configuration file (`relay.port`) with their values; `None`: to be removed.
    pub settings: Vec<(String, Option<Value>)>,
    /// What the administrator should know of them, a sentence each.
    pub notes: Vec<String>,
}

/// Where the site's answers come from, beside the terminal.
struct Sources<'a> {
    flags: &'a Flags,
    /// The configuration file as it is; `None` without one.
    before: Option<&'a Config>,
    mta: &'a dyn Mta,
    survey: Survey,
}

/// Finds out everything, or asks.
///
/// # Errors
/// Wrong answers; what is missing without a terminal, `asker` knows.
pub fn gather(flags: &Flags, before: Option<&Config>, mta: &dyn Mta, asker: &mut Asker) -> Result<Answers, String> {
    let survey = mta.survey()?;
    let mut answers = Answers { notes: survey.notes.clone(), ..Answers::default() };
    let sources = Sources { flags, before, mta, survey };
    let provider = sources.provider(asker, &mut answers)?;
    sources.domains(asker, &mut answers)?;
    sources.networks(asker, &mut answers, provider.as_ref())?;
    // Where the provider says which scopes there are, the default one is made of them.
    match provider.as_ref().filter(|provider| !provider.scopes.is_empty()) {
        None => sources.scope(asker, &mut answers)?,
        Some(provider) => sources.named_scopes(asker, &mut answers, provider)?,
    }
    if let Some(provider) = &provider {
        sources.provider_settings(asker, &mut answers, provider)?;
        sources.relay(asker, &mut answers, provider)?;
    }
    sources.direct(&mut answers);
    sources.places(&mut answers);
    Ok(answers)
}

impl Sources<'_> {
    /// The provider's name. With another one than before, what was said of the old one's relay goes.
    fn provider(&self, asker: &mut Asker, answers: &mut Answers) -> Result<Option<Provider>, String> {
        let question = Question {
            prompt: "Provider",
            flag: "--provider NAME",
            why: "The e-mail security service whose relay is put behind this server: the name of a built-in provider, or \
                  the path of a folder with provider.toml and policy.sieve.",
        };
        let default = self.before.map(|config| config.provider.clone());
        let default = default.or_else(|| asker.is_attended().then(|| "conbool".to_owned()));
        let named = |text: &str| match text.contains('/') {
            true => std::path::absolute(text).map_or_else(|_| text.to_owned(), |path| path.display().to_string()),
            false => text.to_owned(),
        };
        let loads = |text: &str| Provider::load(&named(text)).map(drop).map_err(|error| format!("- {}", error.message));
        let provider = asker.text(&question, self.flags.provider.clone(), default, loads)?;
        if provider.is_empty() {
            return Ok(None);
        }
        let provider = named(&provider);
        answers.set("provider", provider.as_str());
        if let Some(before) = self.before.filter(|before| before.provider != provider) {
            answers.leave_provider(before);
        }
        Provider::load(&provider).map(Some).map_err(|error| error.message)
    }

    /// The configuration file, unless it is the one that packages install, which answers nothing yet but what somebody has
    /// written into it.
    fn set_up(&self) -> Option<&Config> {
        self.before.filter(|before| before.is_set_up())
    }

    /// True if the provider is another one than before, so that nothing said of its relay counts any more.
    fn is_other_provider(&self, answers: &Answers) -> bool {
        let now =
            answers.settings.iter().find(|(key, _)| key == "provider").and_then(|(_, value)| value.as_ref()?.as_str());
        self.before.is_some_and(|before| Some(before.provider.as_str()) != now)
    }

    fn domains(&self, asker: &mut Asker, answers: &mut Answers) -> Result<(), String> {
        let source = self.mta.sources().domains;
        let question = Question {
            prompt: "Hosted domains",
            flag: "--domain DOMAIN",
            why: &format!("The domains whose mail this server takes and sends. The default is {source}."),
        };
        let default = self.set_up().map_or(&self.survey.domains, |config| &config.domains);
        let default = Some(default.as_slice()).filter(|domains| !domains.is_empty());
        let domains = asker.list(&question, &self.flags.domains, default, config::hosted_domain)?;
        answers.set("domains", strings(&domains));
        Ok(())
    }

    fn networks(&self, asker: &mut Asker, answers: &mut Answers, provider: Option<&Provider>) -> Result<(), String> {
        let question = Question {
            prompt: "Networks of the relay",
            flag: "--relay-network NETWORK (the provider tells which)",
            why: "Where the provider's relay connects from: its marker headers are believed from there only. Providers do \
                  not publish these networks, so there is no default; ask yours.",
        };
        let written = |networks: &[ipnet::IpNet]| networks.iter().map(network).collect::<Vec<_>>();
        let before = self.before.filter(|_| !self.is_other_provider(answers));
        let before = before.filter(|config| config.is_set_up() || !config.relay.networks.is_empty());
        let default = before.map(|config| written(&config.relay.networks));
        let hands_in = provider.is_none_or(|provider| !provider.hands_in.is_nothing());
        if hands_in || !self.flags.relay_networks.is_empty() {
            let relay = asker.list(&question, &self.flags.relay_networks, default.as_deref(), config::network)?;
            answers.set("relay_networks", strings(&relay));
        } else if self.is_other_provider(answers) {
            answers.settings.push(("relay_networks".to_owned(), None));
        }

        let source = self.mta.sources().networks;
        let question = Question {
            prompt: "Internal networks",
            flag: "--internal-network NETWORK",
            why: &format!(
                "Clients of your own, whose mail is outgoing without a log-in. The default is {source}; this host itself is \
                 always internal."
            ),
        };
        let before = self.before.filter(|config| config.is_set_up() || !config.internal_networks.is_empty());
        let found = before.map_or(&self.survey.internal_networks, |config| &config.internal_networks);
        let default = written(found);
        let internal = asker.list(&question, &self.flags.internal_networks, Some(&default), config::network)?;
        if !internal.is_empty() || !found.is_empty() {
            answers.set("internal_networks", strings(&internal));
        }
        Ok(())
    }

    /// `scope.mode` and `scope.files`. What is neither asked for nor answered stays, such as groups.
    fn scope(&self, asker: &mut Asker, answers: &mut Answers) -> Result<(), String> {
        let question = Question {
            prompt: "Scope",
            flag: "--scope all|FILE",
            why: "Whose mail goes to the relay: \"all\" senders of the hosted domains, or those in a file, with an address \
                  or @domain a line. For members of LDAP groups write section [ldap] into the configuration first, see \
                  conbool-milter.toml(5); \"as it is\" keeps what is written there.",
        };
        const AS_IT_IS: &str = "as it is";
        let now = self.before.map(|config| &config.scope.default);
        let simple = now.is_none_or(|scope| scope.mode == ScopeMode::All);
        let default = if simple { "all" } else { AS_IT_IS };
        let answer = asker.text(&question, self.flags.scope.clone(), Some(default.to_owned()), |text| match text {
            "all" | AS_IT_IS => Ok(()),
            path => {
                fs::File::open(path).map(drop).map_err(|error| format!("cannot be read: {}", config::reason(&error)))
            }
        })?;
        let file = match answer.as_str() {
            AS_IT_IS => return Ok(()),
            "all" if simple => return Ok(()),
            "all" => None,
            path => Some(std::path::absolute(path).map_err(|error| format!("{path}: {error}"))?),
        };
        if let Some(now) = now {
            let lists: [(&str, Vec<String>); 3] = [
                ("scope.senders", now.senders.clone()),
                ("scope.files", now.files.iter().map(|path| path.display().to_string()).collect()),
                ("scope.groups", now.groups.clone()),
            ];
            let kept = file.as_ref().map(|path| path.display().to_string());
            for (key, entries) in lists {
                if entries.iter().any(|entry| kept.as_ref() != Some(entry)) {
                    answers
                        .notes
                        .push(format!("{key} is replaced by the scope you chose; it was {}", entries.join(", ")));
                }
            }
        }
        for key in ["scope.senders", "scope.groups"] {
            answers.settings.push((key.to_owned(), None));
        }
        let mode = if file.is_some() { "list" } else { "all" };
        answers.set("scope.mode", mode);
        let files = file.map(|path| strings(&[path.to_string_lossy()]));
        answers.settings.push(("scope.files".to_owned(), files));
        Ok(())
    }

    /// What the provider has to be told of a site.
    fn provider_settings(&self, asker: &mut Asker, answers: &mut Answers, provider: &Provider) -> Result<(), String> {
        let given = pairs("--setting", &self.flags.settings, provider.settings.keys())?;
        let before = self.before.filter(|_| !self.is_other_provider(answers)).map(|config| &config.provider_settings);
        for (name, setting) in &provider.settings {
            let flag = format!("--setting {name}={} ({})", setting.example, setting.description);
            let why = format!("{} asks for this: {}.", provider.name, setting.description);
            let question = Question { prompt: name, flag: &flag, why: &why };
            let written = before.and_then(|settings| settings.get(name).cloned());
            let default = written.clone().or_else(|| setting.default.clone());
            let value = asker.text(&question, given(name), default, |value| match setting.choices.as_slice() {
                [] => config::setting_value(value).map(drop),
                choices if choices.iter().any(|choice| choice == value) => Ok(()),
                choices => Err(format!("is none of {}", choices.join(", "))),
            })?;
            if written.is_some() || Some(&value) != setting.default.as_ref() {
                answers.set(&format!("provider_settings.{name}"), value);
            }
        }
        Ok(())
    }

    /// The scopes that the provider's policy asks for: files with their members.
    fn named_scopes(&self, asker: &mut Asker, answers: &mut Answers, provider: &Provider) -> Result<(), String> {
        if self.flags.scope.is_some() {
            return Err(format!("--scope: the scope of {} is made of others; use --scope-file", provider.name));
        }
        let given = pairs("--scope-file", &self.flags.scope_files, provider.scopes.keys())?;
        for (name, scope) in &provider.scopes {
            let known = self.before.is_some_and(|config| config.scope.named.contains_key(name));
            if known && given(name).is_none() {
                continue;
            }
            let flag = format!("--scope-file {name}=FILE ({})", scope.description);
            let why = format!(
                "{} asks for this scope: {}. A file with an address or @domain a line.",
                provider.name, scope.description
            );
            let question = Question { prompt: &format!("Scope {name}"), flag: &flag, why: &why };
            let default = scope.optional.then(String::new);
            let file = asker.text(&question, given(name), default, |path| match path {
                "" if scope.optional => Ok(()),
                path => fs::File::open(path)
                    .map(drop)
                    .map_err(|error| format!("cannot be read: {}", config::reason(&error))),
            })?;
            if file.is_empty() {
                continue;
            }
            let file = std::path::absolute(&file).map_err(|error| format!("{file}: {error}"))?;
            answers.set(&format!("scope.{name}.mode"), "list");
            answers.set(&format!("scope.{name}.files"), strings(&[file.to_string_lossy()]));
        }
        Ok(())
    }

    fn relay(&self, asker: &mut Asker, answers: &mut Answers, provider: &Provider) -> Result<(), String> {
        // One that takes no outgoing mail has no relay to send it to.
        let Some(relay) = &provider.relay else { return Ok(()) };
        let question = Question {
            prompt: "Relay host",
            flag: "--relay-host HOST",
            why: "The host that outgoing mail goes to; its certificate must carry this name. The default is the one that \
                  the provider has published.",
        };
        let before = self.before.filter(|_| !self.is_other_provider(answers)).map(|config| &config.relay);
        let own = before.and_then(|before| before.host.clone());
        let default = own.clone().unwrap_or_else(|| relay.host.clone());
        let host = asker.text(&question, self.flags.relay_host.clone(), Some(default), |_| Ok(()))?;
        if own.is_some() || host != relay.host {
            answers.set("relay.host", host);
        }
        if let Some(port) = self.flags.relay_port {
            answers.set("relay.port", i64::from(port));
        }
        if let Some(file) = &self.flags.relay_ca_file {
            let file = std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))?;
            answers.set("relay.ca_file", file.to_string_lossy().as_ref());
        }
        Ok(())
    }

    /// Exempt mail goes where all mail went before.
    fn direct(&self, answers: &mut Answers) {
        let is_open = || self.set_up().is_none() && self.before.is_none_or(|before| before.direct.next_hop.is_none());
        let found = || self.survey.next_hop.clone().filter(|_| is_open());
        if let Some(next_hop) = self.flags.direct_next_hop.clone().or_else(found) {
            answers.set("direct.next_hop", next_hop);
        }
    }

    /// Socket, state, and which mail server, as far as they are not the defaults.
    fn places(&self, answers: &mut Answers) {
        let usual = || Socket::Unix(self.survey.socket.clone()).to_string();
        // The one that packages have is where everybody reaches it but a mail server in a chroot.
        let packaged = [Socket::Unix(PACKAGED_SOCKET.into())];
        let is_open = self.set_up().is_none() && self.before.is_none_or(|before| before.milter.sockets == packaged);
        let socket = self.flags.socket.clone().or_else(|| is_open.then(usual));
        let of_mta = self.mta.settings(self.before, socket.as_deref());
        answers.settings.extend(socket.map(|socket| ("socket".to_owned(), Some(socket.into()))));
        let directory = |path: &Path| {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            Some(absolute.to_string_lossy().as_ref().into())
        };
        let state = self.flags.state_directory.as_deref();
        answers.settings.extend(state.map(|path| ("state_directory".to_owned(), directory(path))));
        answers.settings.extend(of_mta);
    }
}

impl Answers {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.push((key.to_owned(), Some(value.into())));
    }

    /// What was said of the old provider's relay must not be taken for the new one's.
    fn leave_provider(&mut self, before: &Config) {
        let relay = &before.relay;
        for (key, is_set) in [
            ("relay.host", relay.host.is_some()),
            ("relay.port", relay.port != 25),
            ("relay.tls_name", relay.tls_name.is_some()),
            ("relay.ca_file", relay.ca_file.is_some()),
            ("relay.certificates", !relay.certificates.is_empty()),
        ] {
            if is_set {
                self.notes.push(format!("{key} was for the provider {}, and goes with it.", before.provider));
                self.settings.push((key.to_owned(), None));
            }
        }
        for name in before.provider_settings.keys() {
            self.notes
                .push(format!("provider_settings.{name} was for the provider {}, and goes with it.", before.provider));
            self.settings.push((format!("provider_settings.{name}"), None));
        }
        let scopes: Vec<&str> = before.scope.named.keys().map(String::as_str).collect();
        if !scopes.is_empty() {
            self.notes.push(format!(
                "The scopes {} stay in the configuration; if only the provider {} used them, remove them.",
                scopes.join(", "),
                before.provider
            ));
        }
    }
}

/// What a flag of pairs `NAME=VALUE` gives for a name.
///
/// # Errors
/// If it gives something for another name.
fn pairs<'a>(
    flag: &str,
    given: &'a [String],
    mut known: impl Iterator<Item = &'a String> + Clone,
) -> Result<impl Fn(&str) -> Option<String>, String> {
    let mut pairs = Vec::new();
    for pair in given {
        match pair.split_once('=') {
            Some((name, value)) if known.clone().any(|known| known == name) => pairs.push((name, value)),
            _ => {
                let names: Vec<&str> = known.by_ref().map(String::as_str).collect();
                return Err(format!("{flag}: {pair:?} is not NAME=VALUE for one of: {}", names.join(", ")));
            }
        }
    }
    Ok(move |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned()))
}

/// A network as people write it: one address without its length.
fn network(network: &ipnet::IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}
