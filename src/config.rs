//! The configuration file: TOML in, checked plain values out.

mod doctor;
mod edge;
mod error;
mod files;
mod keys;
mod ldap;
mod limits;
mod lock_down;
mod mailbox;
mod notation;
mod policy;
mod postfix;
mod provider_settings;
mod reader;
mod scope;
mod sendmail;
mod socketmap;
mod suggest;
mod syntax;
mod telemetry;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use ipnet::IpNet;

pub use self::doctor::Doctor;
pub use self::edge::{Authentication, Edge, InnerTls, ONLY_INSTANCE, VerifyRecipients};
pub use self::error::{ConfigError, ConfigErrors};
pub use self::files::reason;
pub use self::ldap::{Ldap, LdapServer, Membership, Plaintext};
pub use self::lock_down::LockDown;
pub use self::mailbox::{DEFAULT_SPAM_FOLDER, Mailbox};
pub use self::notation::{entry_name, hosted_domain, mx_host, network, sender, socket};
pub use self::policy::Policy;
pub use self::postfix::{DEFAULT_POSTFIX_DIRECTORY, Postfix, TableType};
pub use self::provider_settings::{name as setting_name, value as setting_value};
pub use self::scope::{DEFAULT_SCOPE, HoldBack, Scope, ScopeMode, Scopes, name as scope_name};
pub use self::sendmail::{DEFAULT_SENDMAIL_DIRECTORY, LOCAL_MAILERS, Sendmail};
pub use self::socketmap::Socketmap;
pub use self::telemetry::Telemetry;
use crate::case::Limits;
pub use crate::case::MailServer;
use crate::judge::{LoopAction, Modes};
use crate::kind;
use crate::verdict::Mode;

/// Where the configuration is looked for when `--config` is not given.
pub const DEFAULT_PATH: &str = "/etc/conbool-milter/conbool-milter.toml";

/// The site's own script, if `rules.site_script` does not name another.
pub const DEFAULT_SITE_SCRIPT: &str = "/etc/conbool-milter/site.sieve";

/// Where the daemon keeps its state, if `state_directory` does not name another.
pub const DEFAULT_STATE_DIRECTORY: &str = "/var/lib/conbool-milter";

/// What a configuration without hosted domains comes to, for people.
pub const NOT_SET_UP: &str = "nothing is set up yet: no domains are named, and no mail is changed, routed or refused";

/// The whole configuration, checked and with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `provider`: name of a built-in provider, or path of a folder with `provider.toml` and `policy.sieve`.
    pub provider: String,
    /// `domains`: the hosted domains, lower case, in A-label form (RFC 5890); empty only as long as nothing is set up,
    /// see [`Self::is_set_up`].
    pub domains: Vec<String>,
    /// `mail_server`: the software that the milter serves; `None`: each connection says it.
    pub mail_server: Option<MailServer>,
    /// `internal_networks`, and `edge.inner_networks`: clients whose mail is the site's own. This host is always internal.
    pub internal_networks: Vec<IpNet>,
    /// `mode`, `routing.mode`, `spam.mode`: what is carried out, and what is only watched; all of it by default.
    pub modes: Modes,
    /// `relay_networks` and section `[relay]`.
    pub relay: Relay,
    /// `socket` and section `[milter]`.
    pub milter: Milter,
    /// `state_directory`: where the daemon keeps what it must find again after a restart.
    pub state_directory: PathBuf,
    /// Section `[scope]` and sections `[scope.NAME]`.
    pub scope: Scopes,
    /// Section `[lock_down]`.
    pub lock_down: LockDown,
    /// Section `[kind]`.
    pub kind: kind::Settings,
    /// Section `[provider_settings]`: the settings that the provider asks for, by name.
    pub provider_settings: BTreeMap<String, String>,
    /// Section `[rules]`.
    pub rules: Rules,
    /// Section `[direct]`.
    pub direct: Direct,
    /// Section `[loops]`.
    pub loops: Loops,
    /// Section `[postfix]`.
    pub postfix: Postfix,
    /// Section `[sendmail]`.
    pub sendmail: Sendmail,
    /// Section `[mailbox]`.
    pub mailbox: Mailbox,
    /// Section `[edge]`; `None` without one.
    pub edge: Option<Edge>,
    /// Section `[ldap]`; `None` without one.
    pub ldap: Option<Ldap>,
    /// Section `[limits]`.
    pub limits: Limits,
    /// Section `[log]`.
    pub log: Log,
    /// Section `[policy]`.
    pub policy: Policy,
    /// Section `[socketmap]`.
    pub socketmap: Socketmap,
    /// Section `[telemetry]`.
    pub telemetry: Telemetry,
    /// Section `[doctor]`.
    pub doctor: Doctor,
}

impl Config {
    /// False as long as no domain is hosted, which only mode `monitor` allows: then nobody is the relay, no mail is
    /// changed, routed or refused, and nothing is written for the mail server.
    pub fn is_set_up(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Whether `domains` may be missing: in mode `monitor`, unless section `[edge]` says that something is set up.
    pub fn may_host_nobody(&self) -> bool {
        self.modes.whole == Mode::Monitor && self.edge.is_none()
    }

    /// The keys whose values in `new` take effect only when the daemon is started anew: its sockets, limits and log.
    pub fn differences_that_need_a_restart(&self, new: &Self) -> Vec<&'static str> {
        let differences = [
            ("socket", self.milter.sockets != new.milter.sockets),
            ("milter.socket_mode", self.milter.socket_mode != new.milter.socket_mode),
            ("milter.socket_group", self.milter.socket_group != new.milter.socket_group),
            ("milter.max_connections", self.milter.max_connections != new.milter.max_connections),
            ("milter.idle_timeout", self.milter.idle_timeout != new.milter.idle_timeout),
            ("milter.workers", self.milter.workers != new.milter.workers),
            ("milter.drain_timeout", self.milter.drain_timeout != new.milter.drain_timeout),
            ("log.format", self.log.format != new.log.format),
            ("log.level", self.log.level != new.log.level),
            ("policy.socket", self.policy.sockets != new.policy.sockets),
            ("policy.max_connections", self.policy.max_connections != new.policy.max_connections),
            ("policy.idle_timeout", self.policy.idle_timeout != new.policy.idle_timeout),
            ("socketmap.socket", self.socketmap.sockets != new.socketmap.sockets),
            ("socketmap.max_connections", self.socketmap.max_connections != new.socketmap.max_connections),
            ("socketmap.idle_timeout", self.socketmap.idle_timeout != new.socketmap.idle_timeout),
            ("telemetry.socket", self.telemetry.sockets != new.telemetry.sockets),
            ("telemetry.socket_mode", self.telemetry.socket_mode != new.telemetry.socket_mode),
            ("telemetry.socket_group", self.telemetry.socket_group != new.telemetry.socket_group),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// Reads the configuration file.
    ///
    /// # Errors
    /// All mistakes in the file; or one, without a line, if the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(&text_of(path)?, path)
    }

    /// Reads the configuration file as far as it is right, and tells what is wrong with the rest, which has its defaults.
    ///
    /// # Errors
    /// If nothing of it can be read.
    pub fn load_flawed(path: &Path) -> Result<(Self, Vec<ConfigError>), ConfigErrors> {
        Ok(reader::read_flawed(path, &text_of(path)?, keys::read))
    }

    /// Checks the configuration in `text`. `file` is named in errors, and its folder is where relative paths start.
    /// Looks at the files and the group that the configuration names.
    ///
    /// # Errors
    /// All mistakes. After a syntax error in one value the others are checked all the same; after one that hides where
    /// keys and sections begin, only syntax errors are reported.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigErrors> {
        reader::read(file, text, keys::read)
    }
}

/// The sockets of `telemetry.socket` in a file, whatever else is wrong in it: a daemon that runs has read what was right
/// before.
///
/// # Errors
/// If there are none: all mistakes in the file.
pub fn telemetry_sockets(path: &Path) -> Result<Vec<Socket>, ConfigErrors> {
    let text = text_of(path)?;
    let mut sockets = Vec::new();
    // The errors would be about keys that are not asked for here.
    let _ = reader::read(path, &text, |reader| sockets = telemetry::read(reader, &[]).sockets);
    if sockets.is_empty() {
        sockets = Config::parse(&text, path)?.telemetry.sockets;
    }
    Ok(sockets)
}

fn text_of(path: &Path) -> Result<String, ConfigErrors> {
    let error = |line, message| {
        ConfigErrors(vec![ConfigError { file: path.to_owned(), line, column: None, key: None, message }])
    };
    let bytes = std::fs::read(path).map_err(|e| error(None, format!("cannot be read: {}", files::reason(&e))))?;
    String::from_utf8(bytes).map_err(|e| {
        let newlines = e.as_bytes().iter().take(e.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n').count();
        error(Some(newlines + 1), "is not UTF-8; save the file in UTF-8".to_owned())
    })
}

/// What a file says, whatever is wrong in it, for whoever must look at more than the file: each value that is missing or
/// wrong is the default, or empty where there is none. The mistakes come with it, as [`Config::load`] tells them.
pub fn salvage(path: &Path) -> (Config, Option<ConfigErrors>) {
    let (text, unreadable) = match text_of(path) {
        Ok(text) => (text, None),
        Err(errors) => (String::new(), Some(errors)),
    };
    let (config, mistakes) = reader::read_flawed(path, &text, keys::read);
    (config, unreadable.or_else(|| (!mistakes.is_empty()).then_some(ConfigErrors(mistakes))))
}

/// Every key that a configuration can hold, with its section (`relay.port`).
pub fn keys() -> &'static [String] {
    static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| reader::keys_of(keys::read));
    &KEYS
}

/// The line, from 1, on which a file sets a key (`relay.port`).
pub fn line_of(text: &str, key: &str) -> Option<usize> {
    reader::line_of(text, key)
}

/// The provider's relay, as a peer that hands mail in and as the next hop that takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Relay {
    /// `relay_networks`: addresses the relay connects from; empty where the provider hands no mail in.
    pub networks: Vec<IpNet>,
    /// `relay.certificates`: names of which the relay's client certificate must carry one; empty: not asked for.
    pub certificates: Vec<String>,
    /// `relay.host`: next hop; `None` means the provider's.
    pub host: Option<String>,
    /// `relay.port`, default 25.
    pub port: u16,
    /// `relay.tls_name`: name the relay's certificate must carry; `None` means the host.
    pub tls_name: Option<String>,
    /// `relay.ca_file`: trust anchors for that certificate; `None` means the system's.
    pub ca_file: Option<PathBuf>,
    /// `relay.client_certificate`: PEM file shown to the relay; always together with the key.
    pub client_certificate: Option<PathBuf>,
    /// `relay.client_key`: PEM file with its key.
    pub client_key: Option<PathBuf>,
}

/// The milter's sockets and limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Milter {
    /// `socket`: one string or a list; not empty.
    pub sockets: Vec<Socket>,
    /// `milter.socket_mode`: permission bits of unix sockets, written as a string, default `"0660"`.
    pub socket_mode: u32,
    /// `milter.socket_group`: group that owns unix sockets; `None` leaves the process's (or, in a set-group-id
    /// directory, the directory's).
    pub socket_group: Option<String>,
    /// `milter.max_connections`, default 2000, 1 to 100000.
    pub max_connections: usize,
    /// `milter.idle_timeout`: seconds a silent connection is kept, default 7210, as libmilter, at least 10.
    pub idle_timeout: Duration,
    /// `milter.workers`: threads; `None` (0, the default) means one a processor.
    pub workers: Option<usize>,
    /// `milter.drain_timeout`: seconds that running SMTP sessions get to finish when the daemon stops, default 8.
    pub drain_timeout: Duration,
}

/// A listening socket, in Postfix's or Sendmail's notation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Socket {
    /// `unix:/path` or `local:/path`; the path is absolute.
    Unix(PathBuf),
    /// `inet:host:port`, `inet:port@host`, `inet6:…`; the host is an address.
    Inet(IpAddr, u16),
}

impl fmt::Display for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Inet(address, port) => write!(formatter, "inet:{}", SocketAddr::new(*address, *port)),
        }
    }
}

/// The policy scripts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// `rules.site_script`: the site's own script, run after the provider's. Default
    /// `/etc/conbool-milter/site.sieve` if that file exists; a file that is named must exist.
    pub site_script: Option<PathBuf>,
}

/// Where exempt mail goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Direct {
    /// `direct.next_hop`: in Postfix notation (`[host]:port`), the relayhost that the site used before; `None`: the
    /// recipient's MX.
    pub next_hop: Option<String>,
}

/// Messages that go round between this host and the relay.
#[derive(Debug, Clone, PartialEq)]
pub struct Loops {
    /// `loops.max_passes`: how often the relay may hand in the same message, default 4, 1 to 50.
    pub max_passes: usize,
    /// `loops.max_host_passes`: how often this host may have had the same message before, default 15, 1 to 50.
    pub max_host_passes: usize,
    /// `loops.action`: what is done with one that goes round more often, `"quarantine"` (default) or `"reject"`.
    pub action: LoopAction,
}

/// The log.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// `log.format`, default `"auto"`: `text` on a terminal, `journald` under systemd, else `json`.
    pub format: LogFormat,
    /// `log.level`: `"error"`, `"warn"`, `"info"` (default) or `"debug"`.
    pub level: tracing::Level,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Decided at start.
    Auto,
    /// Lines for people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// Fields for the systemd journal.
    Journald,
}
