//! Postfix: the settings, services and tables that carry the verdicts out.
//!
//! For senders in scope the relay is the default, by a sender table; exempt mail is taken out of it. The milter adds a
//! header, Postfix turns that into a FILTER to a *split listener* of its own, one recipient a transaction, and there
//! hosted recipients route as ever and all others go direct. A second listener of the same kind serves messages that
//! belong on the relay although their envelope sender is not in the table. Postfix queues, encrypts, retries and
//! bounces; a message whose mark was lost goes to the relay, never past it.

pub(in crate::mta) mod command;
pub mod delivery;
pub mod edge;
mod existing;
mod indexed_table;
pub mod inspect;
mod instance;
pub(in crate::mta) mod list;
mod main_cf;
mod master_cf;
mod milter_client;
mod notes;
pub mod queue;
pub mod readable;
pub mod revision;
pub mod service;
pub mod survey;
mod table;
mod upkeep;
pub mod wired;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::config::{Config, Socket, TableType};
use crate::provider::Provider;

pub use command::{CommandError, quoted};
pub use existing::Existing;
pub use indexed_table::TableError;
pub use milter_client::milter_client;
pub use upkeep::{Done, SETTLING_TIME, Upkeep};

/// What the Postfix configuration is generated from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Our configuration.
    pub config: &'a Config,
    /// Its provider. Without a relay that takes mail, nothing is routed, and only the milter is set up.
    pub provider: &'a Provider,
    /// Where the tables will lie: the Postfix instance's configuration directory.
    pub config_directory: &'a Path,
    /// What the instance has now. Lists are merged with it; empty if unknown.
    pub existing: Existing,
    /// Where the split listeners listen.
    pub listeners: Listeners,
}

/// The split listeners of one Postfix instance.
///
/// Whoever can connect to them may send past the relay, so the address is a loopback address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    /// Loopback address, default 127.0.0.1.
    pub address: IpAddr,
    /// Port of the listener for exempt messages, default 25035.
    pub direct_port: u16,
    /// Port of the listener for messages that go to the relay whoever sent them, default 25036.
    pub relay_port: u16,
}

impl Default for Listeners {
    fn default() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), direct_port: 25035, relay_port: 25036 }
    }
}

/// The generated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    /// Settings, to be appended to main.cf (postconf(5)).
    pub main_cf: String,
    /// Services, to be appended to master.cf (master(5)).
    pub master_cf: String,
    /// File name and text of each look-up table.
    pub tables: Vec<(String, String)>,
    /// The sender table, where it is one that the daemon writes. Postfix defers all mail for other sites while it is set
    /// to use the table and this file is not there.
    pub written_by_daemon: Option<PathBuf>,
    /// What the administrator should know or decide, one sentence or two each. They also stand at the head of `main_cf`.
    pub notes: Vec<String>,
    /// Settings of `main_cf` that the instance's main.cf has now. They must go from there (`postconf -#`): the last one
    /// counts, but every Postfix process would log a warning.
    pub replaced_settings: Vec<String>,
    /// Services of an earlier run in the instance's master.cf, `name/type`. They must go from there (`postconf -M#`).
    pub replaced_services: Vec<String>,
}

/// Why no configuration can be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A value cannot be written into a Postfix configuration file.
    Value {
        /// Its key.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The relay is named by address, so nothing says which name its certificate must carry.
    NoTlsName(String),
    /// The split listeners would be reachable from elsewhere, or are one and the same.
    Listeners(Listeners),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { what, value } => write!(f, "{what}: Postfix cannot take {value:?} as a value here"),
            Self::NoTlsName(host) => {
                write!(f, "relay.host is the address {host}: set relay.tls_name to the name in the relay's certificate")
            }
            Self::Listeners(listeners) => write!(
                f,
                "split listeners {}, ports {} and {}: they need a loopback address and two different ports",
                listeners.address, listeners.direct_port, listeners.relay_port
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Generates main.cf settings, master.cf services and tables for one Postfix instance.
///
/// The same request gives the same text, and so does the request that is made once the settings are in place.
///
/// # Errors
/// [`Error`] if a value has no place in a Postfix configuration file, or could not work.
pub fn generate(request: &Request<'_>) -> Result<Fragments, Error> {
    generate_with(request, &Names::new(request)?)
}

/// The same for an instance that hands all mail to a content filter and takes it back on a listener of its own
/// (FILTER_README).
///
/// There the milter's routes cannot act at once: a FILTER would take the filter's place. Nor can the milter be attached to
/// the listener behind the filter, for that one sees no client but the filter: nobody would be the relay. So the route is
/// carried through the filter in a header field, which `conbool-filtered`, a cleanup(8) of that listener's own, acts on.
/// The listener needs `cleanup_service_name=conbool-filtered`, and `receive_override_options` with `no_milters` and
/// without `no_header_body_checks`.
///
/// # Errors
/// As [`generate`].
pub fn generate_behind_filter(request: &Request<'_>) -> Result<Fragments, Error> {
    generate_with(request, &Names { behind_filter: true, ..Names::new(request)? })
}

fn generate_with(request: &Request<'_>, names: &Names) -> Result<Fragments, Error> {
    let config = request.config;
    let is_static = config.has_static_sender_table();
    let mut tables = Vec::new();
    let mut written_by_daemon = None;
    if let Some(routing) = &names.routing {
        if is_static {
            tables.push((table::SENDERS.to_owned(), table::senders(config, &routing.relay_next_hop)));
        } else if config.modes.routes() {
            let text = indexed_table::path(&config.state_directory);
            written_by_daemon = Some(indexed_table::indexed(routing.table_type, &text));
        }
        tables.push((table::ROUTES.to_owned(), table::routes(routing, names.behind_filter)));
        if names.behind_filter {
            tables.push((table::FILTERED.to_owned(), table::filtered(routing, config)));
            tables.push((table::CARRIED.to_owned(), table::carried()));
        }
        tables.push((table::STATUS.to_owned(), table::status()));
    }
    if names.hand_back {
        tables.push((table::HOSTED.to_owned(), table::hosted(config)));
        tables.push((table::CLIENTS.to_owned(), table::clients(config)));
    }
    let notes = notes::notes(request, names);
    let main_cf = main_cf::generate(request, names, &notes)?;
    let settings: Vec<String> = list::settings(&main_cf).into_iter().map(|(name, _)| name).collect();
    // What an earlier run set for a relay may not be needed any more.
    let ours = request.existing.our_settings().filter(|name| !settings.iter().any(|set| set == name));
    let written = settings.iter().map(String::as_str).filter(|name| request.existing.is_written(name));
    Ok(Fragments {
        replaced_settings: written.chain(ours).map(str::to_owned).collect(),
        replaced_services: request.existing.our_services(),
        master_cf: match &names.routing {
            Some(routing) => master_cf::generate(request, names, routing)?,
            None => String::new(),
        },
        main_cf,
        tables,
        written_by_daemon,
        notes,
    })
}

/// Values that appear in several files, checked and in Postfix's notation.
#[derive(Debug)]
struct Names {
    /// What routes mail; `None` without a relay that takes any.
    routing: Option<Routing>,
    /// Whether the relay may hand back mail for other sites.
    hand_back: bool,
    /// Whether all mail goes through a content filter before it is routed.
    behind_filter: bool,
    /// The configuration directory, in main.cf notation.
    directory: String,
    /// The milter's socket as Postfix sees it, in main.cf notation.
    socket: String,
}

/// Where mail goes.
#[derive(Debug)]
struct Routing {
    /// `[host]:port` of the relay.
    relay_next_hop: String,
    /// Name that the relay's certificate must carry.
    tls_name: String,
    /// Next hop of exempt mail; empty for the recipient's MX.
    direct_next_hop: String,
    /// `[address]:port` of the listener for exempt messages.
    direct_listener: String,
    /// `[address]:port` of the listener for the relay's messages.
    relay_listener: String,
    /// The kind of the table that the daemon writes.
    table_type: TableType,
    /// The sender table, `type:path`, in main.cf notation.
    sender_table: String,
}

impl Names {
    fn new(request: &Request<'_>) -> Result<Self, Error> {
        let directory = path("the Postfix configuration directory", request.config_directory)?;
        Ok(Self {
            routing: match relay_host(request.config, request.provider)? {
                Some(host) => Some(Routing::new(request, &host, &directory)?),
                None => None,
            },
            hand_back: request.provider.hands_in.back && !request.config.relay.networks.is_empty(),
            behind_filter: false,
            directory,
            socket: milter_socket(&request.config.milter.sockets, &request.existing.queue_directory())?,
        })
    }
}

impl Routing {
    fn new(request: &Request<'_>, relay_host: &str, directory: &str) -> Result<Self, Error> {
        let Listeners { address, direct_port, relay_port } = request.listeners;
        if !address.is_loopback() || direct_port == relay_port {
            return Err(Error::Listeners(request.listeners));
        }
        let tls_name = match &request.config.relay.tls_name {
            Some(name) => host_name("relay.tls_name", name)?,
            None if relay_host.parse::<IpAddr>().is_ok() => return Err(Error::NoTlsName(relay_host.to_owned())),
            None => relay_host.to_owned(),
        };
        let direct = request.config.direct.next_hop.as_deref().unwrap_or_default();
        if !direct.chars().all(|character| is_host_character(character) || matches!(character, '[' | ']')) {
            return Err(Error::Value { what: "direct.next_hop", value: direct.to_owned() });
        }
        let table_type = table_type(request)?;
        let sender_table = if request.config.has_static_sender_table() {
            format!("regexp:{directory}/{}", table::SENDERS)
        } else {
            let indexed = path("state_directory", &indexed_table::path(&request.config.state_directory))?;
            format!("{}:{indexed}", table_type.name())
        };
        Ok(Self {
            relay_next_hop: next_hop(request.config, relay_host),
            tls_name,
            direct_next_hop: direct.to_owned(),
            direct_listener: format!("[{address}]:{direct_port}"),
            relay_listener: format!("[{address}]:{relay_port}"),
            table_type,
            sender_table,
        })
    }
}

/// The kind of indexed files to use: the configured one, or else the instance's default.
fn table_type(request: &Request<'_>) -> Result<TableType, Error> {
    let default = request.existing.in_force("default_database_type").unwrap_or("hash");
    let unusable = || Error::Value { what: "postfix.table_type: default_database_type", value: default.to_owned() };
    match request.config.postfix.table_type.or_else(|| TableType::named(default)) {
        None if !request.config.has_static_sender_table() => Err(unusable()),
        found => Ok(found.unwrap_or(TableType::Hash)),
    }
}

/// The relay as a next hop, `[host]:port`: that of the configuration, or else the provider's. `None` if the provider has
/// none.
///
/// # Errors
/// [`Error`] if the host cannot be written into a table.
pub fn relay_next_hop(config: &Config, provider: &Provider) -> Result<Option<String>, Error> {
    Ok(relay_host(config, provider)?.map(|host| next_hop(config, &host)))
}

fn next_hop(config: &Config, host: &str) -> String {
    format!("[{host}]:{}", config.relay.port)
}

fn relay_host(config: &Config, provider: &Provider) -> Result<Option<String>, Error> {
    let Some(relay) = &provider.relay else { return Ok(None) };
    let host = config.relay.host.as_deref().unwrap_or(&relay.host);
    host_name("relay.host", host.trim_start_matches('[').trim_end_matches(']')).map(Some)
}

fn is_host_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':')
}

fn host_name(what: &'static str, name: &str) -> Result<String, Error> {
    if name.is_empty() || !name.chars().all(is_host_character) {
        return Err(Error::Value { what, value: name.to_owned() });
    }
    Ok(name.to_owned())
}

/// A path as one word of main.cf or master.cf, where `$` is `$$`.
fn path(what: &'static str, path: &Path) -> Result<String, Error> {
    match path.to_str() {
        Some(text)
            if !text.is_empty()
                && !text.contains(|character: char| {
                    character.is_whitespace() || character.is_control() || ",{}\"#".contains(character)
                }) =>
        {
            Ok(text.replace('$', "$$"))
        }
        _ => Err(Error::Value { what, value: path.to_string_lossy().into_owned() }),
    }
}

/// The socket that Postfix uses: one below its queue directory if there is, written relative to it, which means the same
/// file whether the Postfix process runs chrooted or not; else the first.
fn milter_socket(sockets: &[Socket], queue_directory: &Path) -> Result<String, Error> {
    const WHAT: &str = "socket";
    let below = sockets.iter().find_map(|socket| match socket {
        Socket::Unix(path) => path.strip_prefix(queue_directory).ok(),
        Socket::Inet(..) => None,
    });
    match (below, sockets.first()) {
        (Some(below), _) => Ok(format!("unix:{}", path(WHAT, below)?)),
        (None, Some(Socket::Unix(absolute))) => Ok(format!("unix:{}", path(WHAT, absolute)?)),
        (None, Some(Socket::Inet(address, port))) => Ok(match address {
            IpAddr::V4(address) if address.is_unspecified() => format!("inet:127.0.0.1:{port}"),
            IpAddr::V4(address) => format!("inet:{address}:{port}"),
            IpAddr::V6(address) if address.is_unspecified() => format!("inet:[::1]:{port}"),
            IpAddr::V6(address) => format!("inet:[{address}]:{port}"),
        }),
        (None, None) => Err(Error::Value { what: WHAT, value: String::new() }),
    }
}

/// Well-known places of the system's trust anchors: Debian, Red Hat, SUSE, Alpine and the BSDs.
const CA_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// The system's trust anchors, if they are in one of the well-known places.
pub(in crate::mta) fn find_ca_bundle() -> Option<PathBuf> {
    CA_BUNDLES.iter().map(PathBuf::from).find(|bundle| bundle.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_as_postfix_sees_it() {
        let queue = Path::new("/var/spool/postfix");
        let unix = |path: &str| Socket::Unix(PathBuf::from(path));
        let inet = |address: &str| Socket::Inet(address.parse().unwrap(), 8895);
        let seen = |sockets: &[Socket]| milter_socket(sockets, queue);
        assert_eq!(seen(&[unix("/var/spool/postfix/conbool/milter.sock")]).unwrap(), "unix:conbool/milter.sock");
        assert_eq!(seen(&[unix("/run/a"), unix("/var/spool/postfix/b")]).unwrap(), "unix:b");
        assert_eq!(seen(&[inet("::"), unix("/var/spool/postfix/b")]).unwrap(), "unix:b");
        assert_eq!(seen(&[unix("/run/a$b")]).unwrap(), "unix:/run/a$$b");
        assert_eq!(seen(&[inet("192.0.2.1")]).unwrap(), "inet:192.0.2.1:8895");
        assert_eq!(seen(&[inet("0.0.0.0")]).unwrap(), "inet:127.0.0.1:8895");
        assert_eq!(seen(&[inet("::")]).unwrap(), "inet:[::1]:8895");
        assert!(seen(&[]).is_err());
        assert!(seen(&[unix("/run/a b")]).is_err());
    }
}
