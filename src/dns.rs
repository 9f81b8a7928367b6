//! The watch over the MX hosts of the hosted domains, by which lock-down in mode `auto` knows when to begin.
//!
//! It asks the system's resolver in the background, never while a message waits. An answer counts, whatever it says;
//! a failure to get one (SERVFAIL, REFUSED, no reply) changes nothing. What is known is kept on disk, so that a restart
//! without DNS changes nothing either.

mod state;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use state::DomainState;

use crate::config;
use crate::lock_down::MxHosts;

/// The watch over a site's domains.
#[derive(Debug)]
pub struct Watch {
    mx_hosts: MxHosts,
    interval: Duration,
    settle_time: Duration,
    file: PathBuf,
    states: Mutex<BTreeMap<String, DomainState>>,
    look_ups: Semaphore,
}

/// What the watch has to tell.
#[derive(Debug)]
pub enum Event<'a> {
    /// Lock-down is enforced for this domain from now on.
    Entered(&'a DomainState),
    /// Lock-down is not enforced for this domain any more.
    Left(&'a DomainState),
    /// Lock-down is not enforced for this domain, for a new reason.
    Waiting(&'a DomainState),
    /// The MX hosts of this domain could not be looked up.
    LookUpFailed(&'a str, String),
    /// What is known could not be saved.
    NotSaved(&'a std::path::Path, io::Error),
}

/// The MX hosts of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Their names, lower case, in order of preference; empty if there are none. A null MX (RFC 7505) is one empty name.
    pub hosts: Vec<String>,
    /// How long the answer may be kept.
    pub ttl: Duration,
}

/// Most look-ups under way.
const LOOK_UPS: usize = 8;

/// Times the interval that an answer with a long time to live is relied on.
const LONGEST_REST: u32 = 4;

impl Watch {
    /// A watch over these domains that knows what was `known` before; see [`read`]. What belongs to other domains is
    /// dropped, and what was learnt with other names of MX hosts is looked at anew.
    pub fn new(
        settings: &config::LockDown,
        mx_hosts: MxHosts,
        domains: &[String],
        file: PathBuf,
        known: Vec<DomainState>,
    ) -> Self {
        let now = now();
        let mut known: BTreeMap<String, DomainState> =
            known.into_iter().map(|state| (state.domain.clone(), state)).collect();
        let states = domains.iter().map(|domain| {
            let state = known.remove(domain).and_then(|state| state.still_valid(&mx_hosts, now));
            (domain.clone(), state.unwrap_or_else(|| DomainState::unknown(domain, now)))
        });
        Self {
            states: Mutex::new(states.collect()),
            mx_hosts,
            interval: settings.interval,
            settle_time: settings.settle_time,
            file,
            look_ups: Semaphore::new(LOOK_UPS),
        }
    }

    /// The domains for which lock-down is enforced.
    pub fn locked(&self) -> HashSet<String> {
        self.lock().values().filter(|state| state.enforced).map(|state| state.domain.clone()).collect()
    }

    /// What is known of each domain, by name.
    pub fn states(&self) -> Vec<DomainState> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, DomainState>> {
        // A panic elsewhere leaves the states as they were between two answers.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at every domain again and again, until it is dropped. `tell` hears of what happens, after it is true.
    pub async fn run(self: Arc<Self>, tell: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        let tell = Arc::new(tell);
        let domains: Vec<String> = self.lock().keys().cloned().collect();
        let mut tasks: JoinSet<()> =
            domains.into_iter().map(|domain| self.clone().watch(domain, tell.clone())).collect();
        while tasks.join_next().await.is_some() {}
    }

    async fn watch(self: Arc<Self>, domain: String, tell: Arc<impl Fn(&Event<'_>)>) {
        // Not all at once.
        tokio::time::sleep(random_part(self.interval.min(Duration::from_secs(2)))).await;
        loop {
            let answer = match self.look_ups.acquire().await {
                Ok(_permit) => look_up(&domain).await,
                Err(_) => return,
            };
            let rest = match answer {
                Ok(answer) => {
                    self.take(&domain, &answer, &*tell).await;
                    answer.ttl.clamp(self.interval, self.interval * LONGEST_REST)
                }
                Err(failure) => {
                    tell(&Event::LookUpFailed(&domain, failure));
                    self.interval
                }
            };
            tokio::time::sleep(rest - random_part(rest / 10)).await;
        }
    }

    async fn take(self: &Arc<Self>, domain: &str, answer: &Answer, tell: &impl Fn(&Event<'_>)) {
        let (event, save) = {
            let mut states = self.lock();
            let Some(state) = states.get_mut(domain) else { return };
            let before = state.clone();
            state.take(&answer.hosts, &self.mx_hosts, self.settle_time, now());
            (before.change_to(state).map(|change| (change, state.clone())), before.is_worth_saving(state))
        };
        if save {
            // Saved first: what was told must be true after a restart too.
            let this = self.clone();
            let saved = tokio::task::spawn_blocking(move || state::save(&this.file, || this.states())).await;
            if let Err(failure) = saved.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                tell(&Event::NotSaved(&self.file, failure));
            }
        }
        match event {
            Some((state::Change::Entered, state)) => tell(&Event::Entered(&state)),
            Some((state::Change::Left, state)) => tell(&Event::Left(&state)),
            Some((state::Change::Reason, state)) => tell(&Event::Waiting(&state)),
            None => {}
        }
    }
}

/// What an earlier run knew; nothing if there was none.
///
/// # Errors
/// When the file cannot be read, or is not one of ours.
pub fn read(file: &std::path::Path) -> io::Result<Vec<DomainState>> {
    state::read(file)
}

/// Looks up the MX hosts of a domain (RFC 5321, 5.1), with the servers and options of `/etc/resolv.conf` as it is now.
///
/// That a domain, or its MX record, does not exist is an answer.
///
/// # Errors
/// When no server gives an answer, in words.
pub async fn look_up(domain: &str) -> Result<Answer, String> {
    let resolver = || {
        let mut builder = TokioResolver::builder_tokio()?;
        // Each look-up is to see the present; the system's resolver has a cache of its own.
        builder.options_mut().cache_size = 0;
        builder.build()
    };
    let resolver = resolver().map_err(|error| format!("/etc/resolv.conf: {error}"))?;
    // The dot at the end keeps the search list out.
    match resolver.lookup(format!("{domain}."), RecordType::MX).await {
        Ok(found) => {
            let mut hosts = Vec::new();
            let mut ttl = u32::MAX;
            for record in found.answers() {
                if let RData::MX(mx) = &record.data {
                    let name = mx.exchange.to_ascii().to_ascii_lowercase();
                    hosts.push((mx.preference, name.trim_end_matches('.').to_owned()));
                    ttl = ttl.min(record.ttl);
                }
            }
            hosts.sort();
            let hosts = hosts.into_iter().map(|(_, host)| host).collect();
            Ok(Answer { hosts, ttl: Duration::from_secs(ttl.into()) })
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
        {
            let ttl = Duration::from_secs(none.negative_ttl.unwrap_or_default().into());
            Ok(Answer { hosts: Vec::new(), ttl })
        }
        Err(failure) => Err(failure.to_string()),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Between nothing and `whole`.
fn random_part(whole: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    whole.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}
