//! Sendmail, as setup sees it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};
use toml_edit::Value;

use super::super::config_file::strings;
use super::{Mta, QueueCommands, Sources, Survey, Waiting, Wiring};
use crate::config::{self, Config, Socket};
use crate::mta::change::{Change, Content};
use crate::mta::sendmail::{
    self, Cf, Existing, Request, listener, queue, revision, service, socket_path, survey, test_mode,
};
use crate::provider::Provider;
use crate::verdict::RELAY_PSEUDO_DOMAIN;

/// The Sendmail of this host.
#[derive(Debug)]
pub struct Sendmail {
    /// Where its files are.
    pub places: config::Sendmail,
}

impl Sendmail {
    /// The Sendmail whose file this is. `config` knows the rest of it.
    pub fn of_file(file: &Path, config: &Config) -> Option<Self> {
        let is_ours = file.ends_with("sendmail.mc") || file.ends_with("sendmail.cf");
        let directory = file.parent().filter(|_| is_ours)?.to_owned();
        Some(Self { places: config::Sendmail { directory, ..config.sendmail.clone() } })
    }

    fn cf(&self) -> PathBuf {
        self.places.directory.join("sendmail.cf")
    }

    /// The mailers that deliver on this host, without those that the milter knows anyhow.
    fn local_mailers(&self) -> Vec<String> {
        let cf = self.settings_in_place().unwrap_or_default();
        let local = cf.mailers().filter(|mailer| mailer.has_flag('l')).map(|mailer| mailer.name.to_ascii_lowercase());
        local.filter(|name| !config::LOCAL_MAILERS.contains(&name.as_str())).collect()
    }

    /// What its sendmail.cf says.
    fn settings_in_place(&self) -> Result<Cf, String> {
        let cf = self.cf();
        let bytes = fs::read(&cf).map_err(|error| format!("{}: {}", cf.display(), config::reason(&error)))?;
        Ok(Cf::parse(&String::from_utf8_lossy(&bytes)))
    }
}

/// Where the daemon's unix sockets are.
fn unix_sockets(config: &Config) -> impl Iterator<Item = &Path> {
    config.milter.sockets.iter().chain(&config.socketmap.sockets).filter_map(|socket| match socket {
        Socket::Unix(path) => Some(path.as_path()),
        Socket::Inet(..) => None,
    })
}

impl Mta for Sendmail {
    fn name(&self) -> &'static str {
        "Sendmail"
    }

    fn sources(&self) -> Sources {
        Sources {
            domains: "what Sendmail has in class w (local-host-names), VirtHost and relay-domains",
            networks: "the networks that the access map and relay-domains of Sendmail let relay",
        }
    }

    fn survey(&self) -> Result<Survey, String> {
        let found = survey::survey(&self.places)?;
        Ok(Survey {
            domains: found.domains,
            internal_networks: found.internal_networks,
            // A smart host stays one: exempt mail is routed as ever.
            next_hop: None,
            socket: Path::new(socket_path::SOCKETS).join("milter.sock"),
            notes: found.unlisted,
        })
    }

    fn settings(&self, before: Option<&Config>, socket: Option<&str>) -> Vec<(String, Option<Value>)> {
        let mut settings = vec![("mail_server".to_owned(), Some("sendmail".into()))];
        let mut set = |key: &str, value: Value| settings.push((key.to_owned(), Some(value)));
        if before.is_none_or(|before| before.socketmap.sockets.is_empty()) {
            let milter = socket.and_then(|socket| config::socket(socket).ok());
            let beside = milter.iter().chain(before.into_iter().flat_map(|before| &before.milter.sockets));
            set("socketmap.socket", socket_path::beside(beside).to_string().into());
        }
        let default = config::Sendmail::default();
        let written = before.map_or(&default, |before| &before.sendmail);
        let path = |path: &Path| Value::from(path.to_string_lossy().as_ref());
        if self.places.directory != written.directory {
            set("sendmail.directory", path(&self.places.directory));
        }
        if self.places.program != written.program {
            set("sendmail.program", path(&self.places.program));
        }
        let mut local = written.local_mailers.clone();
        local.extend(self.local_mailers().into_iter().filter(|name| !written.local_mailers.contains(name)));
        if local != written.local_mailers {
            set("sendmail.local_mailers", strings(&local));
        }
        settings
    }

    fn revise(
        &self,
        change: &mut Change,
        config: &Config,
        _: Option<&Config>,
        provider: &Provider,
    ) -> Result<Wiring, String> {
        let existing = Existing::read(&config.sendmail).map_err(|error| error.to_string())?;
        let request = Request { config, provider, existing: &existing };
        let fragments = sendmail::generate(&request).map_err(|error| error.to_string())?;
        let more = revision::revise(change, &request, &fragments).map_err(|error| error.to_string())?;
        let notes = fragments.notes.into_iter().chain(more).collect();
        let mut sockets = unix_sockets(config);
        let obstacle = sockets.try_for_each(|path| socket_path::check(path, &existing.in_force()));
        Ok(Wiring { notes, table: None, obstacle })
    }

    fn is_made(&self, file: &Path) -> bool {
        file.extension().is_some_and(|extension| ["cf", "db", "cdb"].iter().any(|made| extension == *made))
    }

    /// The group of RunAsUser; without one, Sendmail opens the sockets as root.
    fn socket_group(&self) -> Option<u32> {
        let cf = self.settings_in_place().ok()?;
        let (user, group) = cf.option("RunAsUser").map(|written| match written.split_once([':', '.']) {
            Some((user, group)) => (user.to_owned(), Some(group.to_owned())),
            None => (written.to_owned(), None),
        })?;
        match group {
            Some(group) => group.parse().ok().or_else(|| Some(Group::from_name(&group).ok()??.gid.as_raw())),
            None => Some(User::from_name(&user).ok()??.gid.as_raw()),
        }
    }

    fn is_running(&self) -> Result<bool, String> {
        service::running(&self.places).map(|daemon| daemon.is_some())
    }

    fn check(&self) -> Result<(), String> {
        test_mode::ask(&self.places.program, &self.cf(), &[])?;
        let cf = self.settings_in_place()?;
        let sockets: Vec<String> = cf.milters().filter_map(|milter| milter.equate("S").map(str::to_owned)).collect();
        sockets.iter().try_for_each(|socket| match config::socket(socket) {
            Ok(Socket::Unix(path)) => socket_path::check(&path, &cf),
            // Others are in the mail server's own hands.
            _ => Ok(()),
        })
    }

    fn reload(&self) -> Result<(), String> {
        service::reload(&self.places)?;
        let cf = self.settings_in_place()?;
        let listeners: Vec<&str> = cf.options("DaemonPortOptions").collect();
        listener::address(&listeners).map_or(Ok(()), listener::wait_for)
    }

    fn is_watched_by_daemon(&self) -> bool {
        false
    }

    fn waiting(&self, back: &Change, config: &Config) -> Result<Vec<Waiting>, String> {
        let has_rules = |content: &Option<Content>| {
            content.as_ref().is_some_and(|cf| String::from_utf8_lossy(&cf.bytes).contains(RELAY_PSEUDO_DOMAIN))
        };
        let mut files = back.files().iter().filter(|file| file.path.ends_with("sendmail.cf"));
        if !files.any(|file| has_rules(&file.before) && !has_rules(&file.after)) {
            return Ok(Vec::new());
        }
        let waiting = queue::waiting(&self.places, None, &config.domains)?.into_iter().map(|message| Waiting {
            queue_id: message.queue_id,
            sender: message.sender,
            fate: "needs the rules: without them it would bounce, or go past the relay",
        });
        Ok(waiting.collect())
    }

    fn queue_commands(&self) -> QueueCommands {
        QueueCommands { flush: "sendmail -q", delete: "remove its files from the queue directory" }
    }
}
