//! Postfix, as setup sees it.

use std::path::{Path, PathBuf};

use nix::unistd::Group;
use toml_edit::Value;

use super::super::ListenerFlags;
use super::{Mta, QueueCommands, Sources, Survey, Waiting, Wiring};
use crate::config::{Config, DEFAULT_POSTFIX_DIRECTORY, Socket};
use crate::mta::change::{self, Change};
use crate::mta::postfix::queue::{self, Need};
use crate::mta::postfix::{self, Existing, Request, revision, service, survey};
use crate::provider::Provider;

/// An instance of Postfix.
#[derive(Debug)]
pub struct Postfix {
    /// Its configuration directory.
    pub directory: PathBuf,
    /// Where the split listeners are to listen.
    pub listeners: ListenerFlags,
    /// False if this host has another mail server too.
    pub is_alone: bool,
}

impl Postfix {
    /// The instance whose file this is.
    pub fn of_file(file: &Path) -> Option<Self> {
        let is_ours = file.ends_with("main.cf") || file.ends_with("master.cf");
        let directory = file.parent().filter(|_| is_ours)?.to_owned();
        Some(Self { directory, listeners: ListenerFlags::default(), is_alone: true })
    }

    fn existing(&self) -> Result<Existing, String> {
        Existing::read(&self.directory).map_err(|error| format!("{}: {error}", self.directory.display()))
    }
}

impl Mta for Postfix {
    fn name(&self) -> &'static str {
        "Postfix"
    }

    fn sources(&self) -> Sources {
        Sources {
            domains: "what Postfix has in virtual_mailbox_domains, virtual_alias_domains, relay_domains and mydestination",
            networks: "mynetworks of Postfix",
        }
    }

    fn survey(&self) -> Result<Survey, String> {
        let found =
            survey::survey(&self.directory).map_err(|error| format!("{}: {error}", self.directory.display()))?;
        Ok(Survey {
            domains: found.domains,
            internal_networks: found.internal_networks,
            next_hop: found.relayhost,
            socket: found.queue_directory.join("conbool/milter.sock"),
            notes: found.unlisted,
        })
    }

    fn settings(&self, before: Option<&Config>, _: Option<&str>) -> Vec<(String, Option<Value>)> {
        let written = before.map_or(Path::new(DEFAULT_POSTFIX_DIRECTORY), |config| &config.postfix.config_directory);
        let mut settings = Vec::new();
        if !self.is_alone {
            settings.push(("mail_server".to_owned(), Some("postfix".into())));
        }
        if self.directory != written {
            let directory = self.directory.to_string_lossy();
            settings.push(("postfix.config_directory".to_owned(), Some(directory.as_ref().into())));
        }
        settings
    }

    fn revise(
        &self,
        change: &mut Change,
        config: &Config,
        before: Option<&Config>,
        provider: &Provider,
    ) -> Result<Wiring, String> {
        let former = before.iter().flat_map(|before| &before.milter.sockets);
        let former: Vec<Socket> = former.filter(|socket| !config.milter.sockets.contains(socket)).cloned().collect();
        let existing = self.existing()?.without_milters(&former);
        let listeners = self.listeners.over(&existing);
        let obstacle = service::ports_are_free(&existing, listeners);
        let fragments =
            postfix::generate(&Request { config, provider, config_directory: &self.directory, existing, listeners })
                .map_err(|error| error.to_string())?;
        revision::revise(change, &self.directory, &fragments).map_err(|error| error.to_string())?;
        Ok(Wiring { notes: fragments.notes, table: fragments.written_by_daemon, obstacle })
    }

    fn is_made(&self, _: &Path) -> bool {
        false
    }

    fn socket_group(&self) -> Option<u32> {
        Group::from_name("postfix").ok().flatten().map(|group| group.gid.as_raw())
    }

    fn is_running(&self) -> Result<bool, String> {
        service::is_running(&self.directory)
    }

    fn check(&self) -> Result<(), String> {
        service::check(&self.directory)
    }

    fn reload(&self) -> Result<(), String> {
        service::reload(&self.directory, self.existing()?.split_listeners())
    }

    fn is_watched_by_daemon(&self) -> bool {
        true
    }

    fn waiting(&self, back: &Change, config: &Config) -> Result<Vec<Waiting>, String> {
        let loses = |name: &str, word: &str| {
            back.files().iter().any(|file| {
                let has = |content: &Option<change::Content>| {
                    content.as_ref().is_some_and(|content| String::from_utf8_lossy(&content.bytes).contains(word))
                };
                file.path == self.directory.join(name) && has(&file.before) && !has(&file.after)
            })
        };
        let (transports, routes) = (loses("master.cf", "\nconbool-split "), loses("main.cf", "conbool_senders"));
        if !transports && !routes {
            return Ok(Vec::new());
        }
        let waiting = queue::waiting(&self.directory, &config.domains).map_err(|error| error.to_string())?;
        let needy = waiting.into_iter().filter_map(|message| {
            let fate = match message.need {
                Need::Transport if transports => "is marked for a transport that goes: it could not be delivered",
                Need::Relay if routes => "waits for the relay, and would go past it",
                _ => return None,
            };
            Some(Waiting { queue_id: message.queue_id, sender: message.sender, fate })
        });
        Ok(needy.collect())
    }

    fn queue_commands(&self) -> QueueCommands {
        QueueCommands { flush: "postqueue -f", delete: "postsuper -d" }
    }
}
