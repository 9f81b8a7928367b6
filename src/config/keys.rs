//! The keys: what each means, may hold, and is if it is left out.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use tracing::Level;

use super::reader::Reader;
use super::{
    Config, DEFAULT_SITE_SCRIPT, DEFAULT_STATE_DIRECTORY, Direct, Edge, Log, LogFormat, Loops, MailServer, Milter,
    Relay, Rules, Socket, doctor, edge, files, ldap, limits, lock_down, mailbox, notation, policy, postfix,
    provider_settings, scope, sendmail, socketmap, telemetry,
};
use crate::judge::{LoopAction, Modes};
use crate::kind;
use crate::verdict::Mode;

const PROVIDER: &str = r#""conbool""#;
const DOMAINS: &str = r#"["example.com"]"#;
const NETWORKS: &str = r#"["192.0.2.0/24"]"#;
const SOCKET: &str = r#""unix:/var/spool/postfix/conbool/milter.sock""#;
const HOST: &str = r#""mail.example.com""#;
const PEM: &str = r#""/etc/conbool-milter/relay.pem""#;
const FOLDER: &str = r#""/var/lib/conbool-milter""#;

/// Longest time for a limit in seconds: one week, so that no sum of times can overflow.
pub(super) const WEEK: u64 = 7 * 24 * 3600;

/// Asks `reader` for every key there is.
pub fn read(reader: &mut Reader) -> Config {
    let folder = files::folder_of(reader.file());
    let provider = reader.string("provider", PROVIDER, |written| provider(&folder, written)).unwrap_or_default();
    reader.require("provider", PROVIDER);
    let modes = modes(reader);
    let domains = plain(reader.strings("domains", DOMAINS, notation::hosted_domain));
    let may_host_nobody = modes.whole == Mode::Monitor && !reader.has("edge");
    // A mode that is wrong does not say whether they are needed.
    if !may_host_nobody && !reader.is_flawed("mode") {
        reader.require("domains", DOMAINS);
    }
    let are_known = !reader.is_flawed("domains") && (may_host_nobody || !domains.is_empty());
    let hosted = are_known.then_some(domains.as_slice());
    let relay_networks = plain(reader.strings("relay_networks", NETWORKS, notation::network));
    let socket = sockets(reader, "socket", SOCKET, notation::socket, &[]);
    reader.require("socket", SOCKET);
    let policy = policy::read(reader, &socket);
    let socketmap = socketmap::read(reader, &[socket.as_slice(), &policy.sockets].concat());
    let taken = [socket.as_slice(), &policy.sockets, &socketmap.sockets].concat();
    let telemetry = telemetry::read(reader, &taken);
    let internal_networks = reader.strings("internal_networks", NETWORKS, notation::network).unwrap_or_default();
    disjoint(reader, "internal_networks", &relay_networks, &internal_networks);
    let edge = edge::read(reader, &folder, &relay_networks);
    let internal_networks = with_inner_server(plain(Some(internal_networks)), edge.as_ref());
    let state_directory = reader.string("state_directory", FOLDER, |written| files::resolve(&folder, written));
    let mail_server = reader.choice("mail_server", &MailServer::NAMES);
    Config {
        provider,
        mail_server,
        internal_networks,
        modes,
        relay: relay(reader, &folder, relay_networks, mail_server),
        milter: milter(reader, socket),
        scope: scope::read(reader, &folder, hosted),
        lock_down: lock_down::read(reader, hosted),
        domains,
        state_directory: state_directory.unwrap_or_else(|| DEFAULT_STATE_DIRECTORY.into()),
        kind: kind(reader),
        provider_settings: provider_settings::read(reader),
        rules: rules(reader, &folder),
        direct: Direct { next_hop: reader.string("direct.next_hop", r#""[mail.example.com]:25""#, notation::next_hop) },
        loops: loops(reader),
        mailbox: mailbox::read(reader),
        postfix: postfix::read(reader, &folder, edge.as_ref()),
        sendmail: sendmail::read(reader, &folder),
        edge,
        ldap: ldap::read(reader, &folder),
        limits: limits::read(reader),
        log: log(reader),
        policy,
        socketmap,
        telemetry,
        doctor: doctor::read(reader),
    }
}

fn modes(reader: &mut Reader) -> Modes {
    let modes = [("enforce", Mode::Enforce), ("monitor", Mode::Monitor)];
    let mut mode = |key| reader.choice(key, &modes).unwrap_or(Mode::Enforce);
    Modes { whole: mode("mode"), routing: mode("routing.mode"), spam: mode("spam.mode") }
}

fn relay(reader: &mut Reader, folder: &Path, networks: Vec<IpNet>, mail_server: Option<MailServer>) -> Relay {
    const CERTIFICATES: &str = "relay.certificates";
    let file = |written: &str| files::present(folder, written);
    let certificates = reader.strings(CERTIFICATES, r#"["mail.example.com"]"#, notation::certificate_name);
    let certificates = certificates.unwrap_or_default();
    for name in certificates.iter().filter(|name| name.get_ref().starts_with('/')) {
        if mail_server == Some(MailServer::Postfix) {
            reader.wrong(CERTIFICATES, name.span(), "is a whole name, of which Postfix tells the CN alone; write that");
        }
    }
    let relay = Relay {
        networks,
        certificates: plain(Some(certificates)),
        host: reader.string("relay.host", HOST, notation::host),
        port: reader
            .integer("relay.port", 1..=65535, "TCP port")
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(25),
        tls_name: reader.string("relay.tls_name", HOST, notation::domain),
        ca_file: reader.string("relay.ca_file", PEM, file),
        client_certificate: reader.string("relay.client_certificate", PEM, file),
        client_key: reader.string("relay.client_key", PEM, file),
    };
    let by_address = relay.host.as_ref().is_some_and(|host| host.parse::<std::net::IpAddr>().is_ok());
    if by_address && !reader.has("relay.tls_name") {
        reader.wrong_value("relay.host", "is an address, but a certificate is checked by name; add relay.tls_name");
    }
    for (one, other) in
        [("relay.client_certificate", "relay.client_key"), ("relay.client_key", "relay.client_certificate")]
    {
        if !reader.has(other) {
            reader.wrong_value(one, &format!("is of no use alone; add {other}"));
        }
    }
    relay
}

fn milter(reader: &mut Reader, sockets: Vec<Socket>) -> Milter {
    let mut seconds = |key, least, most, default| {
        Duration::from_secs(reader.integer(key, least..=most, "seconds").unwrap_or(default))
    };
    let idle_timeout = seconds("milter.idle_timeout", 10, WEEK, 7210);
    let drain_timeout = seconds("milter.drain_timeout", 0, 3600, 8);
    Milter {
        sockets,
        socket_mode: socket_mode(reader, "milter.socket_mode"),
        socket_group: reader.string("milter.socket_group", r#""postfix""#, group),
        max_connections: size(reader.integer("milter.max_connections", 1..=100_000, "connections")).unwrap_or(2000),
        idle_timeout,
        workers: size(reader.integer("milter.workers", 0..=1024, "threads, 0 for one a processor")).filter(|n| *n > 0),
        drain_timeout,
    }
}

/// One socket or a list, none of which may be among those of another door.
pub fn sockets(
    reader: &mut Reader,
    key: &str,
    example: &str,
    parse: impl Fn(&str) -> Result<Socket, String>,
    taken: &[Socket],
) -> Vec<Socket> {
    let sockets = reader.string_or_strings(key, example, parse).unwrap_or_default();
    for socket in sockets.iter().filter(|socket| taken.contains(socket.get_ref())) {
        reader.wrong(key, socket.span(), "is in use for another service of the daemon; write another socket");
    }
    plain(Some(sockets))
}

pub fn socket_mode(reader: &mut Reader, key: &str) -> u32 {
    reader.string(key, r#""0660", in quotes: the permission bits in octal"#, notation::socket_mode).unwrap_or(0o660)
}

/// An error for each address in the list whose domain is not among those in `hosted`, where these are known.
pub fn of_hosted_domains(reader: &mut Reader, key: &str, hosted: Option<&[String]>, addresses: &[Spanned<String>]) {
    let Some(hosted) = hosted else { return };
    let hosted: HashSet<&str> = hosted.iter().map(String::as_str).collect();
    for address in addresses {
        let domain = address.get_ref().rsplit_once('@').map(|(_, domain)| domain);
        if let Some(domain) = domain.filter(|domain| !hosted.contains(domain)) {
            let problem = format!("is not of a hosted domain; add \"{domain}\" to domains, or remove the entry");
            reader.wrong(key, address.span(), &problem);
        }
    }
}

fn kind(reader: &mut Reader) -> kind::Settings {
    let default = kind::Settings::default();
    let body_limit = reader.integer("kind.body_limit", 4096..=16_777_216, "bytes");
    // That a body is no larger can be known only of one that is read to its end.
    let whole = body_limit.unwrap_or(default.body_limit as u64) - 1;
    kind::Settings {
        body_limit: size(body_limit).unwrap_or(default.body_limit),
        lenient_calendaring: reader.boolean("kind.lenient_calendaring").unwrap_or(default.lenient_calendaring),
        calendaring_max_size: size(reader.integer("kind.calendaring_max_size", 1..=whole, "bytes"))
            .or(default.calendaring_max_size),
        calendaring_alone: reader.boolean("kind.calendaring_alone").unwrap_or(default.calendaring_alone),
        weak_automatic_reply: reader.boolean("kind.weak_automatic_reply").unwrap_or(default.weak_automatic_reply),
    }
}

fn rules(reader: &mut Reader, folder: &Path) -> Rules {
    const KEY: &str = "rules.site_script";
    let named = reader.string(KEY, r#""/etc/conbool-milter/site.sieve""#, |written| files::readable(folder, written));
    if reader.has(KEY) {
        return Rules { site_script: named };
    }
    let site_script = files::optional(Path::new(DEFAULT_SITE_SCRIPT)).unwrap_or_else(|problem| {
        reader.wrong_without_place(KEY, format!("\"{DEFAULT_SITE_SCRIPT}\" {problem}"));
        None
    });
    Rules { site_script }
}

fn loops(reader: &mut Reader) -> Loops {
    let actions = [("quarantine", LoopAction::Quarantine), ("reject", LoopAction::Reject)];
    Loops {
        max_passes: size(reader.integer("loops.max_passes", 1..=50, "passes")).unwrap_or(4),
        max_host_passes: size(reader.integer("loops.max_host_passes", 1..=50, "passes")).unwrap_or(15),
        action: reader.choice("loops.action", &actions).unwrap_or(LoopAction::Quarantine),
    }
}

fn log(reader: &mut Reader) -> Log {
    let formats = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    let levels = [("error", Level::ERROR), ("warn", Level::WARN), ("info", Level::INFO), ("debug", Level::DEBUG)];
    Log {
        format: reader.choice("log.format", &formats).unwrap_or(LogFormat::Auto),
        level: reader.choice("log.level", &levels).unwrap_or(Level::INFO),
    }
}

/// Clients in an internal network that lies within a relay network would be taken for the relay, and their marker
/// headers believed. The other way round is fine: the relay is the exception in a larger network.
pub fn disjoint(reader: &mut Reader, key: &str, relay: &[IpNet], internal: &[Spanned<IpNet>]) {
    for network in internal {
        if let Some(outer) = relay.iter().find(|outer| outer.contains(network.get_ref())) {
            let problem = format!("lies within \"{outer}\" of relay_networks, whose clients are the relay; remove one");
            reader.wrong(key, network.span(), &problem);
        }
    }
}

/// What the inner server of an edge hands in is the site's own mail.
fn with_inner_server(mut internal: Vec<IpNet>, edge: Option<&Edge>) -> Vec<IpNet> {
    for network in edge.map(|edge| edge.inner_networks.as_slice()).unwrap_or_default() {
        if !internal.contains(network) {
            internal.push(*network);
        }
    }
    internal
}

fn provider(folder: &Path, written: &str) -> Result<String, String> {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if written.contains('/') {
        files::provider(folder, written)
    } else if !written.is_empty() && written.bytes().all(in_name) {
        Ok(written.to_owned())
    } else {
        Err("is not a provider; write a built-in one such as \"conbool\", or the path of a folder".into())
    }
}

pub fn group(written: &str) -> Result<String, String> {
    match nix::unistd::Group::from_name(written) {
        Ok(Some(_)) => Ok(written.to_owned()),
        Ok(None) => Err("is not a group of this host; write one that is, such as \"postfix\"".into()),
        Err(error) => Err(format!("cannot be looked up: {}", error.desc())),
    }
}

/// The values without their places.
pub fn plain<T>(list: Option<Vec<Spanned<T>>>) -> Vec<T> {
    list.into_iter().flatten().map(Spanned::into_inner).collect()
}

/// A number as a size in memory.
pub fn size(number: Option<u64>) -> Option<usize> {
    number.and_then(|number| usize::try_from(number).ok())
}
