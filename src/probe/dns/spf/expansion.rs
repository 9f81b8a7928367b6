//! What a record comes to when receivers evaluate it: the look-ups it costs, and who passes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::record::{Domain, Kind, Record, is_spf};
use crate::probe::resolver::{NoRecord, Resolver};

/// Look-ups that are counted; a record that includes itself would go on for ever.
const MAX_COUNTED: usize = 40;

/// Most names of one MX record set that a receiver looks up (RFC 7208, section 4.6.4).
const MAX_EXCHANGES: usize = 10;

/// What came of following every include and redirect.
#[derive(Debug, Default)]
pub struct Expansion {
    /// Look-ups that count against the limit.
    pub look_ups: usize,
    /// True if there were too many to go on.
    pub cut_short: bool,
    /// Each term of the record that costs look-ups, with their number.
    pub costs: Vec<(String, usize)>,
    /// Terms and names for which nothing was found.
    pub void: Vec<String>,
    /// Terms by which the whole record fails, and why.
    pub broken: Vec<(String, String)>,
    /// Names that could not be looked up, and why.
    pub unknown: Vec<(String, String)>,
    /// Domains that are included, directly or not.
    pub includes: Vec<String>,
    /// Whether a part depends on the message.
    pub has_macros: bool,
    networks: Vec<IpNet>,
    everybody: bool,
}

/// A record that is being followed.
#[derive(Debug, Clone)]
struct Place<'a> {
    domain: &'a str,
    /// Whether what it lets pass passes the whole.
    passes: bool,
    /// The record itself, or one that it includes.
    is_first: bool,
}

impl Expansion {
    /// Follows everything that a record names.
    pub async fn of(resolver: &Resolver, domain: &str, record: &Record) -> Self {
        let mut expansion = Self::default();
        expansion.follow(resolver, &Place { domain, passes: true, is_first: true }, record).await;
        expansion
    }

    /// Whether mail from all addresses of this network passes.
    pub fn lets(&self, network: &IpNet) -> bool {
        self.everybody || self.networks.iter().any(|known| known.contains(network))
    }

    async fn follow(&mut self, resolver: &Resolver, place: &Place<'_>, record: &Record) {
        for term in &record.terms {
            if self.look_ups >= MAX_COUNTED {
                self.cut_short = true;
                return;
            }
            let before = self.look_ups;
            let passes = place.passes && term.passes;
            match &term.kind {
                Kind::All => {
                    self.everybody |= passes;
                    // What follows is never looked at (RFC 7208, section 5.1).
                    return;
                }
                Kind::Network(network) => self.networks.extend(passes.then_some(*network)),
                Kind::A(name, v4, v6) => {
                    self.look_ups += 1;
                    if let Some(name) = self.named(name.as_ref(), place.domain) {
                        self.hosts(resolver, &[name], (*v4, *v6), passes).await;
                    }
                }
                Kind::Mx(name, v4, v6) => {
                    self.look_ups += 1;
                    if let Some(name) = self.named(name.as_ref(), place.domain) {
                        self.exchanges(resolver, &name, (*v4, *v6), passes).await;
                    }
                }
                Kind::Ptr => self.look_ups += 1,
                Kind::Exists(domain) => {
                    self.look_ups += 1;
                    if let Some(name) = self.named(Some(domain), place.domain) {
                        match resolver.addresses(&name).await {
                            // What exists matches whoever sends.
                            Ok(_) => self.everybody |= passes,
                            Err(missing) => self.missed(&name, missing),
                        }
                    }
                }
                Kind::Include(domain) => {
                    self.look_ups += 1;
                    if let Some(name) = self.named(Some(domain), place.domain) {
                        let inner = Place { domain: &name, passes, is_first: false };
                        self.other(resolver, &term.text, &inner).await;
                    }
                }
                Kind::Redirect(_) | Kind::Other => {}
            }
            if place.is_first && self.look_ups > before {
                self.costs.push((term.text.clone(), self.look_ups - before));
            }
        }
        if let Some(domain) = record.redirect() {
            let before = self.look_ups;
            self.look_ups += 1;
            if let Some(name) = self.named(Some(domain), place.domain) {
                self.other(resolver, &format!("redirect={name}"), &Place { domain: &name, ..place.clone() }).await;
            }
            if place.is_first {
                self.costs.push(("redirect".into(), self.look_ups - before));
            }
        }
    }

    /// The name in a term; `None` if it depends on the message.
    fn named(&mut self, domain: Option<&Domain>, own: &str) -> Option<String> {
        match domain {
            None => Some(own.to_owned()),
            Some(Domain::Name(name)) => Some(name.clone()),
            Some(Domain::Macro) => {
                self.has_macros = true;
                None
            }
        }
    }

    fn missed(&mut self, name: &str, missing: NoRecord) {
        match missing {
            NoRecord::Unknown(why) => self.unknown.push((name.to_owned(), why)),
            NoRecord::NoName | NoRecord::NoData => self.void.push(name.to_owned()),
        }
    }

    async fn hosts(&mut self, resolver: &Resolver, names: &[String], lengths: (u8, u8), passes: bool) {
        for name in names {
            match resolver.addresses(name).await {
                Ok(found) if passes => self.networks.extend(found.addresses.iter().filter_map(|address| {
                    let length = if address.is_ipv4() { lengths.0 } else { lengths.1 };
                    network(*address, length)
                })),
                Ok(_) => {}
                Err(missing) => self.missed(name, missing),
            }
        }
    }

    async fn exchanges(&mut self, resolver: &Resolver, domain: &str, lengths: (u8, u8), passes: bool) {
        match resolver.mx(domain).await {
            Ok(hosts) => {
                let names: Vec<String> =
                    hosts.into_iter().map(|(_, host)| host).filter(|host| !host.is_empty()).collect();
                if names.len() > MAX_EXCHANGES {
                    let problem = format!("{domain} has {} MX hosts; receivers stop at {MAX_EXCHANGES}", names.len());
                    self.broken.push((format!("mx:{domain}"), problem));
                    return;
                }
                self.hosts(resolver, &names, lengths, passes).await;
            }
            Err(missing) => self.missed(domain, missing),
        }
    }

    /// Follows the record of another domain, which must have exactly one (RFC 7208, sections 5.2 and 6.1).
    async fn other(&mut self, resolver: &Resolver, term: &str, place: &Place<'_>) {
        let is_known = self.includes.iter().any(|name| name == place.domain);
        if !is_known {
            self.includes.push(place.domain.to_owned());
        }
        let broken = match resolver.txt(place.domain).await {
            Err(NoRecord::Unknown(why)) => return self.unknown.push((place.domain.to_owned(), why)),
            Err(NoRecord::NoName) => "the name does not exist".to_owned(),
            Err(NoRecord::NoData) => "there is no SPF record".to_owned(),
            Ok(records) => {
                let texts: Vec<String> =
                    records.iter().map(|record| record.text()).filter(|text| is_spf(text)).collect();
                match texts.as_slice() {
                    [] => "there is no SPF record".to_owned(),
                    [text] => match Record::parse(text) {
                        // Its size is that of what is on the stack, and MAX_COUNTED ends it.
                        Ok(record) => return Box::pin(self.follow(resolver, place, &record)).await,
                        Err(wrong) => format!("in its record, \"{}\" {}", wrong.term, wrong.problem),
                    },
                    more => format!("there are {} SPF records", more.len()),
                }
            }
        };
        self.broken.push((term.to_owned(), format!("{}: {broken}", place.domain)));
    }
}

fn network(address: IpAddr, length: u8) -> Option<IpNet> {
    Some(IpNet::new(address, length).ok()?.trunc())
}
