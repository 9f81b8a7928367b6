//! The records of the hosted domains: MX, SPF, DKIM, DMARC, and the provider's proof of ownership.

mod dkim;
mod dmarc;
mod mx;
mod ownership;
mod spf;
mod tags;
mod zone;

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::resolver::{NoRecord, Resolver};
use crate::config::{Config, Doctor};
use crate::finding::{Area, Finding, Status};
use crate::lock_down::MxHosts;
use crate::provider::Provider;

/// Most domains that are looked at side by side.
const DOMAINS: usize = 8;

/// What the records are to hold.
struct Wanted {
    /// Names of the provider's MX hosts; empty if not known.
    mx_hosts: MxHosts,
    /// The same as they are written in `lock_down.mx_hosts`, for what is to be published.
    mx_names: Vec<String>,
    doctor: Doctor,
    /// Where exempt mail leaves the site, or why that is not known.
    direct: Result<Vec<IpNet>, String>,
}

/// What the checks of a domain share.
struct Survey {
    resolver: Resolver,
    wanted: Wanted,
}

/// Examines the records of every hosted domain until the deadline; what is not known by then is unknown.
pub async fn examine(config: &Config, provider: Option<&Provider>, deadline: Instant) -> Vec<Finding> {
    if config.domains.is_empty() {
        let seen = "the configuration names no hosted domain";
        return vec![finding("domains", "", Status::Unknown, seen).mended_by("domains = [\"example.com\"]")];
    }
    let resolver = match Resolver::new(deadline) {
        Ok(resolver) => resolver,
        Err(problem) => {
            return vec![
                finding("resolver", "", Status::Unknown, format!("no name server can be asked: {problem}"))
                    .mended_by("/etc/resolv.conf: nameserver ADDRESS"),
            ];
        }
    };
    let survey = Arc::new(Survey { resolver, wanted: Wanted::new(config, provider) });
    let turns = Arc::new(Semaphore::new(DOMAINS));
    let mut running = JoinSet::new();
    for (order, domain) in config.domains.iter().cloned().enumerate() {
        let (survey, turns) = (survey.clone(), turns.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await;
            (order, survey.domain(&domain).await)
        });
    }
    let mut found = running.join_all().await;
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().flat_map(|(_, findings)| findings).collect()
}

impl Survey {
    async fn domain(&self, domain: &str) -> Vec<Finding> {
        let (mx, spf, dkim, dmarc, ownership) = tokio::join!(
            mx::examine(self, domain),
            spf::examine(self, domain),
            dkim::examine(self, domain),
            dmarc::examine(self, domain),
            ownership::examine(self, domain),
        );
        [mx, spf, dkim, dmarc, ownership].concat()
    }
}

impl Wanted {
    fn new(config: &Config, provider: Option<&Provider>) -> Self {
        let names = config.lock_down.mx_hosts.clone();
        let providers = || provider.map(|provider| provider.mx_hosts.clone()).unwrap_or_default();
        Self {
            mx_hosts: names.clone().map_or_else(providers, MxHosts::from_iter),
            mx_names: names.unwrap_or_default(),
            direct: direct_addresses(config),
            doctor: config.doctor.clone(),
        }
    }
}

/// The addresses from which exempt mail goes out, as the world sees them.
fn direct_addresses(config: &Config) -> Result<Vec<IpNet>, String> {
    if !config.doctor.direct_addresses.is_empty() {
        return Ok(config.doctor.direct_addresses.clone());
    }
    if let Some(next_hop) = &config.direct.next_hop {
        return Err(format!("exempt mail goes out by {next_hop}"));
    }
    // Documentation addresses (RFC 5737, RFC 3849): nothing is sent, the kernel only chooses the way out.
    let outgoing = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let ways = [outgoing("0.0.0.0:0", "192.0.2.1:25"), outgoing("[::]:0", "[2001:db8::1]:25")];
    let public: Vec<IpNet> = ways.into_iter().flatten().filter(is_public).map(IpNet::from).collect();
    if public.is_empty() { Err("this host has no public address of its own".into()) } else { Ok(public) }
}

/// Whether the world can see this address: not those of RFC 1918, RFC 6598, RFC 3927, RFC 4193 and the like.
fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            let no_host = v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast();
            !(no_host || shared || v4.is_private() || v4.is_loopback() || v4.is_link_local())
        }
        IpAddr::V6(v6) => {
            !(v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local())
        }
    }
}

fn finding(check: &'static str, subject: &str, status: Status, seen: impl Into<String>) -> Finding {
    Finding::new(Area::Dns, check, subject, status, seen)
}

/// What could not be found out is neither there nor absent.
fn unknown(check: &'static str, subject: &str, what: &str, why: &str) -> Finding {
    finding(check, subject, Status::Unknown, format!("{what} could not be looked up: {why}"))
        .mended_by(format!("try again; to see what the name server says: dig {subject}"))
}

/// Why there is no record, as a phrase.
fn absence(missing: &NoRecord) -> &str {
    match missing {
        NoRecord::NoName => "the name does not exist (NXDOMAIN)",
        NoRecord::NoData => "the name exists without such a record",
        NoRecord::Unknown(why) => why,
    }
}
