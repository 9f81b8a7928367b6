//! Sendmail: what it needs in sendmail.mc and the access map to carry the verdicts out.
//!
//! The milter moves the recipients of a message that belongs on the relay to a pseudo-domain, a rule takes that off again
//! and picks a mailer that goes to the relay and nowhere else, over verified TLS. For recipients that the milter has not
//! seen (those of aliases, say) the rules ask the daemon. Sendmail queues, encrypts, retries and bounces.

mod access;
mod cf;
mod existing;
pub mod listener;
pub mod queue;
pub mod revision;
pub mod rules;
pub mod service;
pub mod survey;
pub mod test_mode;
mod tls;
pub mod trial;
mod value;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Config, Socket};
use crate::provider::Provider;

pub use cf::Cf;
pub use existing::{Existing, ExistingError};

/// The mailer that goes to the relay.
pub const RELAY_MAILER: &str = "conbool";

/// The mailer that takes exempt mail to `direct.next_hop`.
pub const DIRECT_MAILER: &str = "conbool-direct";

/// The milter's name in sendmail.mc.
const MILTER: &str = "conbool";

/// How long Sendmail waits for the milter: to connect, to send, for an answer, and for the whole message's end.
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
        }
    }
}

impl std::error::Error for Error {}

/// Generates the text for sendmail.mc and the lines for the access map.
///
/// The same request gives the same text, and so does the request that is made once it is in place.
///
/// # Errors
/// [`Error`] if a value has no place in sendmail.mc, or could not work.
pub fn generate(request: &Request<'_>) -> Result<Fragments, Error> {
    let config = request.config;
    let mut features = format!(
        "dnl # The milter. While it is down, clients try again later: nothing goes past the relay.\n\
         MAIL_FILTER(`{MILTER}', ``S={}, F=T, T={TIMES}'')dnl\n\
         define(`confINPUT_MAIL_FILTERS', `{MILTER}'ifdef(`confINPUT_MAIL_FILTERS', ``, 'defn(`confINPUT_MAIL_FILTERS')'))dnl\n",
        milter_socket(&config.milter.sockets)?
    );
    let mut rules = String::new();
    let mut access = Vec::new();
    if let Some(relay) = &request.provider.relay {
        let host = config.relay.host.as_deref().unwrap_or(&relay.host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let names = rules::Names {
            relay: value::bracketed("relay.host", host)?,
            direct: None,
            socketmap: None,
            hosted: config.domains.clone(),
        };
        let tls_name = match &config.relay.tls_name {
            Some(name) => value::host_name("relay.tls_name", name)?,
            None if host.parse::<IpAddr>().is_ok() => return Err(Error::NoTlsName(host.to_owned())),
            None => value::host_name("relay.host", host)?,
        };
        features += &tls::settings(request)?;
        features += &format!("dnl # Mail for the relay, and exempt mail.\n{}", rules::routing(&names));
        features += &tls::rules(&names.relay, &tls_name);
        rules += &mailer(RELAY_MAILER, config.relay.port);
    }
    if request.provider.hands_in.back {
        access = access::lines(&config.relay.networks)?;
    }
    Ok(Fragments { features, rules, access, notes: Vec::new() })
}

/// The definition of a mailer that delivers by SMTP.
fn mailer(name: &str, port: u16) -> String {
    format!(
        "MAILER_DEFINITIONS\n\
         M{name},\tP=[IPC], F=mDFMuXa8k, S=EnvFromSMTP/HdrFromSMTP, R=MasqSMTP, E=\\r\\n, L=2040,\n\
         \t\tT=DNS/RFC822/SMTP,\n\
         \t\tA=TCP $h {port}\n\
         divert(0)dnl\n"
    )
}

/// The socket that Sendmail uses: the first unix socket, or else the first.
fn milter_socket(sockets: &[Socket]) -> Result<String, Error> {
    const WHAT: &str = "socket";
    let unix = sockets.iter().find(|socket| matches!(socket, Socket::Unix(_)));
    match unix.or(sockets.first()) {
        Some(socket) => value::socket(WHAT, socket),
        None => Err(Error::Value { what: WHAT, value: String::new() }),
    }
}
