//! Questions to the name servers of `/etc/resolv.conf`, with answers told apart from failures to get one.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most look-ups under way: a resolver serves others too.
const LOOK_UPS: usize = 16;

/// Longest wait for one server. One that takes longer has the answer when it is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers kept, so that what several records name is asked for once.
const CACHE_SIZE: u64 = 1024;

/// Asks until its deadline; afterwards nothing is answered any more.
pub struct Resolver {
    resolver: TokioResolver,
    look_ups: Semaphore,
    deadline: Instant,
}

/// Why there is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRecord {
    /// The name does not exist (NXDOMAIN).
    NoName,
    /// The name exists, but has no record of that type (NODATA).
    NoData,
    /// Nobody gave an answer; why, in words.
    Unknown(String),
}

/// A TXT record: its strings (RFC 1035, section 3.3.14). What is not UTF-8 is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txt(pub Vec<String>);

impl Txt {
    /// All strings in one, as SPF, DKIM and DMARC take them.
    pub fn text(&self) -> String {
        self.0.concat()
    }
}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// What the name is an alias for, if it is one.
    pub alias_for: Option<String>,
}

impl Resolver {
    /// A resolver with the servers and options of `/etc/resolv.conf`, that does not look into `/etc/hosts`, as others do
    /// not either.
    ///
    /// # Errors
    /// If there is no such file, or no server in it.
    pub fn new(deadline: Instant) -> Result<Self, String> {
        let build = || {
            let mut builder = TokioResolver::builder_tokio()?;
            let options = builder.options_mut();
            options.use_hosts_file = ResolveHosts::Never;
            options.preserve_intermediates = true;
            options.cache_size = CACHE_SIZE;
            options.timeout = options.timeout.min(PATIENCE);
            options.attempts = options.attempts.min(2);
            builder.build()
        };
        let resolver = build().map_err(|error: NetError| format!("/etc/resolv.conf: {error}"))?;
        Ok(Self { resolver, look_ups: Semaphore::new(LOOK_UPS), deadline })
    }

    /// The TXT records of a name.
    pub async fn txt(&self, name: &str) -> Result<Vec<Txt>, NoRecord> {
        self.ask(name, RecordType::TXT, |record| match &record.data {
            RData::TXT(txt) => {
                Some(Txt(txt.txt_data.iter().map(|string| String::from_utf8_lossy(string).into_owned()).collect()))
            }
            _ => None,
        })
        .await
    }

    /// The MX records of a domain: preference and host, lower case, the best first. The host of a null MX (RFC 7505) is
    /// empty.
    pub async fn mx(&self, domain: &str) -> Result<Vec<(u16, String)>, NoRecord> {
        let mut hosts = self
            .ask(domain, RecordType::MX, |record| match &record.data {
                RData::MX(mx) => Some((mx.preference, plain(&mx.exchange.to_ascii()))),
                _ => None,
            })
            .await?;
        hosts.sort();
        Ok(hosts)
    }

    /// The addresses of a host of both families. Those of one family are enough; if there are none, what is not known
    /// counts more than what does not exist.
    pub async fn addresses(&self, host: &str) -> Result<Addresses, NoRecord> {
        if host.parse::<IpAddr>().is_ok() {
            // An address in place of a name, which servers answer in odd ways: no top-level domain is a number.
            return Err(NoRecord::NoName);
        }
        let (v4, v6) = tokio::join!(self.records(host, RecordType::A), self.records(host, RecordType::AAAA));
        let (records, failure) = match (v4, v6) {
            (Ok(v4), Ok(v6)) => (v4.into_iter().chain(v6).collect(), None),
            (Ok(some), Err(failure)) | (Err(failure), Ok(some)) => (some, Some(failure)),
            (Err(v4), Err(v6)) => return Err(if matches!(v6, NoRecord::Unknown(_)) { v6 } else { v4 }),
        };
        let alias_for = records.iter().find_map(|record: &Record| match &record.data {
            RData::CNAME(name) => Some(plain(&name.to_ascii())),
            _ => None,
        });
        let addresses: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
        if addresses.is_empty() {
            return Err(failure.unwrap_or(NoRecord::NoData));
        }
        Ok(Addresses { addresses, alias_for })
    }

    /// The records that `wanted` takes, at least one.
    async fn ask<T>(
        &self,
        name: &str,
        record_type: RecordType,
        wanted: impl Fn(&Record) -> Option<T>,
    ) -> Result<Vec<T>, NoRecord> {
        let found: Vec<T> = self.records(name, record_type).await?.iter().filter_map(wanted).collect();
        if found.is_empty() { Err(NoRecord::NoData) } else { Ok(found) }
    }

    async fn records(&self, name: &str, record_type: RecordType) -> Result<Vec<Record>, NoRecord> {
        let asked = async {
            let _permit = self.look_ups.acquire().await;
            // The dot at the end keeps the search list out.
            self.resolver.lookup(format!("{}.", name.trim_end_matches('.')), record_type).await
        };
        match tokio::time::timeout_at(self.deadline, asked).await {
            Ok(Ok(found)) => Ok(found.answers().to_vec()),
            Ok(Err(failure)) => Err(NoRecord::from(failure)),
            Err(_) => Err(NoRecord::Unknown(NO_ANSWER.into())),
        }
    }
}

const NO_ANSWER: &str = "no answer from the name server";

impl From<NetError> for NoRecord {
    fn from(failure: NetError) -> Self {
        match failure {
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NoError => Self::NoData,
                ResponseCode::NXDomain => Self::NoName,
                code => Self::Unknown(format!("the name server says {}", name(code))),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => {
                Self::Unknown(format!("the name server says {}", name(code)))
            }
            NetError::Timeout => Self::Unknown(NO_ANSWER.into()),
            failure => Self::Unknown(failure.to_string()),
        }
    }
}

/// As administrators know them (RFC 1035, section 4.1.1; dig(1)).
fn name(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        code => code.to_str().to_owned(),
    }
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().trim_end_matches('.').to_owned()
}
