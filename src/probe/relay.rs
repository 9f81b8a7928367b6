//! The way to the relay: name, connection, greeting, STARTTLS, certificate. No message is sent.

mod certificate;
mod smtp;
mod tls;
mod visit;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::visit::Outcome;
use super::resolver::{NoRecord, Resolver};
use crate::config::Config;
use crate::finding::{Area, Finding, Status};
use crate::provider::Provider;

/// Most addresses that are tried; they are tried side by side.
const MAX_ADDRESSES: usize = 16;

/// Longest wait for a connection; a relay that is there may still take its time to greet.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The mail server that is the relay's client, as far as it matters there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What it is called.
    pub name: &'static str,
    /// The largest message that it takes, in bytes, where that is known and there is a limit.
    pub message_size_limit: Option<u64>,
    /// What sets this limit, with `LIMIT` in the place of a number of bytes.
    pub set_message_size_limit: &'static str,
    /// The files that it takes its trust anchors from, and directories of such files; empty where it takes what the
    /// configuration says.
    pub trust_anchors: Vec<PathBuf>,
}

/// The relay as the mail server is told of it.
struct Relay {
    host: String,
    port: u16,
    tls: tls::Settings,
    client: Client,
    deadline: Instant,
}

/// Tries every address of the relay until the deadline.
pub async fn examine(config: &Config, provider: Option<&Provider>, client: Client, deadline: Instant) -> Vec<Finding> {
    if let Some(provider) = provider.filter(|provider| provider.relay.is_none()) {
        return vec![finding("relay", "", Status::Pass, format!("{} takes no outgoing mail", provider.name))];
    }
    let host = config.relay.host.clone().or_else(|| Some(provider?.relay.as_ref()?.host.clone()));
    let Some(host) = host else {
        let seen = "neither the configuration nor the provider names a relay";
        return vec![finding("relay", "", Status::Unknown, seen).mended_by("[relay] host = \"mail.example.net\"")];
    };
    let name = config.relay.tls_name.clone().unwrap_or_else(|| host.clone());
    let (addresses, mut found) = match addresses(&host, deadline).await {
        Ok((addresses, finding)) => (addresses, vec![finding]),
        Err(finding) => return vec![finding],
    };
    let settings = match tls::Settings::read(&config.relay, &name, &client.trust_anchors) {
        Ok((settings, findings)) => {
            found.extend(findings);
            settings
        }
        Err(finding) => {
            found.push(finding);
            return found;
        }
    };
    let relay = Arc::new(Relay { host, port: config.relay.port, tls: settings, client, deadline });
    let mut running = JoinSet::new();
    for (order, address) in addresses.into_iter().take(MAX_ADDRESSES).enumerate() {
        let relay = relay.clone();
        running.spawn(async move { (order, relay.visit(SocketAddr::new(address, relay.port)).await) });
    }
    let mut visits = running.join_all().await;
    visits.sort_by_key(|(order, _)| *order);
    let outcomes: Vec<Outcome> = visits.iter().map(|(_, (outcome, _))| *outcome).collect();
    found.extend(visits.into_iter().flat_map(|(_, (_, findings))| findings));
    found.push(relay.summary(&outcomes));
    found
}

/// The relay's addresses of both families.
async fn addresses(host: &str, deadline: Instant) -> Result<(Vec<IpAddr>, Finding), Finding> {
    const CHECK: &str = "addresses";
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((vec![address], finding(CHECK, host, Status::Pass, "is an address")));
    }
    let unknown = |why: String| {
        finding(CHECK, host, Status::Unknown, format!("its addresses could not be looked up: {why}"))
            .mended_by(format!("try again; to see what the name server says: dig {host}"))
    };
    let resolver = Resolver::new(deadline).map_err(unknown)?;
    let found = match resolver.addresses(host).await {
        Ok(found) => found.addresses,
        Err(NoRecord::Unknown(why)) => return Err(unknown(why)),
        Err(NoRecord::NoName | NoRecord::NoData) => {
            let seen = "the relay has no address: mail for it waits in the queue and then goes back";
            let mend = "[relay] host = \"mail.example.net\", with the name that the provider has given you";
            return Err(finding(CHECK, host, Status::Fail, seen).mended_by(mend));
        }
    };
    let listed: Vec<String> = found.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect();
    Ok((found, finding(CHECK, host, Status::Pass, listed.join(", "))))
}

impl Relay {
    /// Whether mail gets to the relay at all.
    fn summary(&self, outcomes: &[Outcome]) -> Finding {
        let subject = format!("{}:{}", self.host, self.port);
        let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        let (reached, tried) = (count(Outcome::Reached), outcomes.len() - count(Outcome::NotFromHere));
        let (status, seen) = match reached {
            0 if count(Outcome::Refused) > 0 => (Status::Fail, "SMTP with verified TLS not reachable".to_owned()),
            0 => (Status::Unknown, "whether SMTP is reachable could not be found out".to_owned()),
            _ if reached == tried => (Status::Pass, "SMTP reachable".to_owned()),
            _ => (Status::Warn, format!("SMTP reachable at {reached} of {tried} addresses")),
        };
        finding("reachable", &subject, status, seen)
    }
}

fn finding(check: &'static str, subject: &str, status: Status, seen: impl Into<String>) -> Finding {
    Finding::new(Area::Relay, check, subject, status, seen)
}
