//! Sendmail: what it needs in sendmail.mc and the access map to carry the verdicts out.
//!
//! The milter moves the recipients of a message that belongs on the relay to a pseudo-domain, a rule takes that off again
//! and picks a mailer that goes to the relay and nowhere else, over verified TLS. For recipients that the milter has not
//! seen (those of aliases, say) the rules ask the daemon. Sendmail queues, encrypts, retries and bounces.

mod access;
mod access_map;
mod cf;
mod command;
pub mod delivery;
mod existing;
pub mod inspect;
pub mod listener;
mod mc;
mod milter_client;
mod next_hop;
mod notes;
pub mod queue;
pub mod revision;
pub mod rules;
pub mod service;
pub mod socket_path;
pub mod survey;
pub mod test_mode;
mod tls;
pub mod trial;
mod value;
pub mod wired;

use std::fmt;

use ipnet::IpNet;

use crate::config::{Config, Socket};
use crate::provider::Provider;

pub use cf::Cf;
pub use existing::{Compiled, Existing, ExistingError};
pub use milter_client::milter_client;

/// The mailer that goes to the relay.
pub const RELAY_MAILER: &str = "conbool";

/// The mailer that takes exempt mail to `direct.next_hop`.
pub const DIRECT_MAILER: &str = "conbool-direct";

/// The milter's name in sendmail.mc.
const MILTER: &str = "conbool";

/// How long Sendmail waits for the milter: to connect, to send, for an answer (at the end of a message, too), and in all
/// for the answers to a message's end.
const TIMES: &str = "C:10s;S:30s;R:60s;E:5m";

/// What the Sendmail configuration is generated from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Our configuration.
    pub config: &'a Config,
    /// Its provider. Without a relay that takes mail, nothing is routed, and only the milter is set up.
    pub provider: &'a Provider,
    /// What Sendmail has now.
    pub existing: &'a Existing,
}

/// The generated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    /// For sendmail.mc, before the first `MAILER()` and before rules of the site's own.
    pub features: String,
    /// For the end of sendmail.mc.
    pub rules: String,
    /// Lines for the access map.
    pub access: Vec<String>,
    /// What the administrator should know or decide, one sentence or two each.
    pub notes: Vec<String>,
}

/// Why no configuration can be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A value cannot be written into sendmail.mc.
    Value {
        /// Its key.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The relay is named by address, so nothing says which name its certificate must carry.
    NoTlsName(String),
    /// A relay network would take too many lines of the access map.
    TooManyLines(IpNet),
    /// The site has something else of a name that we need.
    Taken {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// This version of Sendmail is too old.
    TooOld(String),
    /// Sendmail is compiled without what is needed.
    Lacks(Vec<&'static str>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { what, value } => write!(
                f,
                "{what}: Sendmail cannot take {value:?} as a value here: letters, digits and a few signs (. - _ and in \
                 paths / + ~) are all that is safe in sendmail.mc"
            ),
            Self::NoTlsName(host) => {
                write!(f, "relay.host is the address {host}: set relay.tls_name to the name in the relay's certificate")
            }
            Self::TooManyLines(network) => write!(
                f,
                "relay_networks: {network} takes too many lines of the access map, which knows networks at octet \
                 boundaries (IPv6: of 16 bits) only; name the relay's networks more closely"
            ),
            Self::Taken { what, name } => write!(
                f,
                "sendmail.cf has a {what} \"{name}\" of the site's own, and setup needs that name; take out of sendmail.mc what \
                 was put there by hand, or give it another name"
            ),
            Self::TooOld(version) => write!(f, "this is Sendmail {version}, and 8.15 or later is needed"),
            Self::Lacks(options) => write!(
                f,
                "this Sendmail is compiled without {}, which is needed (`sendmail -d0.1 -bt < /dev/null` shows what it has); \
                 install one that has it",
                options.join(" and ")
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Generates the text for sendmail.mc and the lines for the access map.
///
/// The same request gives the same text, and so does the request that is made once it is in place.
///
/// # Errors
/// [`Error`] if a value has no place in sendmail.mc, could not work, or this Sendmail cannot do what is needed.
pub fn generate(request: &Request<'_>) -> Result<Fragments, Error> {
    let Request { config, provider, existing } = request;
    if let Some(program) = &existing.program {
        program.check(if provider.relay.is_some() { &["MILTER", "SOCKETMAP", "STARTTLS"] } else { &["MILTER"] })?;
    }
    let site = existing.site();
    for (what, command, name) in [
        ("milter", 'X', MILTER),
        ("mailer", 'M', RELAY_MAILER),
        ("mailer", 'M', DIRECT_MAILER),
        ("map", 'K', rules::MAP),
    ] {
        if site.names(command).any(|taken| taken.eq_ignore_ascii_case(name)) {
            return Err(Error::Taken { what, name });
        }
    }
    let mut notes = Vec::new();
    let mut features = milter(&config.milter.sockets)?;
    let mut rules = String::new();
    let names = Names::new(request)?;
    if let Some(names) = &names {
        features += "dnl # Verified TLS to the relay.\n";
        features += &tls::settings(request, &site, &mut notes)?;
        features += &tls::rules(&names.rules.relay, &names.tls_name);
        features += "dnl # Mail for the relay, and exempt mail.\n";
        features += &quoted(&rules::routing(&names.rules));
        rules = format!("MAILER_DEFINITIONS\n{}", mailer(RELAY_MAILER, &config.relay.port.to_string()));
        if let Some(port) = &names.direct_port {
            rules += &mailer(DIRECT_MAILER, port);
        }
        rules = mc::Block::Rules.around(&format!("{rules}divert(0)dnl\n"));
        notes.extend(notes::notes(request, &site, &names.rules));
    }
    let access = if provider.hands_in.back { access::lines(&config.relay.networks)? } else { Vec::new() };
    if !access.is_empty() && names.is_none() && site.map("access").is_none() {
        features += "FEATURE(`access_db')dnl\n";
    }
    Ok(Fragments { features: mc::Block::Features.around(&features), rules, access, notes })
}

/// Values for the rules and the mailers, checked and in Sendmail's notation.
#[derive(Debug)]
struct Names {
    rules: rules::Names,
    /// Port of the next hop of exempt mail.
    direct_port: Option<String>,
    /// Name that the relay's certificate must carry.
    tls_name: String,
}

impl Names {
    /// `None` without a relay that takes mail.
    fn new(request: &Request<'_>) -> Result<Option<Self>, Error> {
        let Request { config, provider, .. } = request;
        let Some(relay) = &provider.relay else { return Ok(None) };
        let host = config.relay.host.as_deref().unwrap_or(&relay.host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let direct = config.direct.next_hop.as_deref().map(next_hop::parse).transpose()?;
        let (direct, direct_port) = direct.map(|direct| (direct.host, direct.port)).unzip();
        let relay = value::bracketed("relay.host", host)?;
        let socketmap = used_socket(&config.socketmap.sockets);
        let socketmap = socketmap.map(|socket| value::socket("socketmap.socket", socket)).transpose()?;
        let rules = rules::Names { relay, direct, socketmap, hosted: config.domains.clone() };
        Ok(Some(Self { rules, direct_port, tls_name: tls::name(request, host)? }))
    }
}

/// The milter, before all others: those that sign see the message as it leaves.
fn milter(sockets: &[Socket]) -> Result<String, Error> {
    Ok(format!(
        "dnl # The milter. While it is down, clients try again later: nothing goes past the relay.\n\
         MAIL_FILTER(`{MILTER}', ``S={}, F=T, T={TIMES}'')dnl\n\
         define(`confINPUT_MAIL_FILTERS', `{MILTER}'ifdef(`confINPUT_MAIL_FILTERS', ``, 'defn(`confINPUT_MAIL_FILTERS')'))dnl\n",
        milter_socket(sockets)?
    ))
}

/// The lines between the words for m4 (where in sendmail.cf they belong, and for which sites), so quoted that m4 leaves
/// them as they are.
fn quoted(text: &str) -> String {
    let for_m4 = |line: &str| ["LOCAL_", "ifdef(", "'"].iter().any(|start| line.starts_with(start));
    let line = |line: &str| if for_m4(line) { format!("{line}\n") } else { value::literal(line) };
    let lines: String = text.lines().map(line).collect();
    format!("{lines}divert(0)dnl\n")
}

/// The definition of a mailer that delivers by SMTP.
fn mailer(name: &str, port: &str) -> String {
    value::literal(&format!(
        "M{name},\tP=[IPC], F=mDFMuXa8k, S=EnvFromSMTP/HdrFromSMTP, R=MasqSMTP, E=\\r\\n, L=2040,\n\
         \t\tT=DNS/RFC822/SMTP,\n\
         \t\tA=TCP $h {port}\n"
    ))
}

/// The milter's socket that Sendmail uses.
fn milter_socket(sockets: &[Socket]) -> Result<String, Error> {
    const WHAT: &str = "socket";
    match used_socket(sockets) {
        Some(socket) => value::socket(WHAT, socket),
        None => Err(Error::Value { what: WHAT, value: String::new() }),
    }
}

/// The socket of a door that Sendmail uses: the first unix socket, or else the first.
fn used_socket(sockets: &[Socket]) -> Option<&Socket> {
    sockets.iter().find(|socket| matches!(socket, Socket::Unix(_))).or(sockets.first())
}
