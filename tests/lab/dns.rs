//! The lab's name service: dnsmasq with the zone `test`, the same in every network.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::namespace::NAME_SERVER;
use super::process::{Process, wait_for};

/// Exchange hosts by domain.
pub const MX: [(&str, &str); 4] = [
    ("remote.test", "mx.remote.test"),
    ("other.test", "mx.other.test"),
    ("customer.test", "mail.customer.test"),
    ("second.test", "mail.customer.test"),
];

/// Nothing is forwarded: what is not here does not exist.
const LOCAL: [&str; 5] =
    ["--local=/test/", "--local=/com/", "--local=/in-addr.arpa/", "--local=/ip6.arpa/", "--local=//"];

/// A name server on [`NAME_SERVER`]; it stops when dropped.
pub struct Dns {
    hosts: Vec<String>,
    log: PathBuf,
    zone: PathBuf,
    process: Option<Process>,
    failure: Option<Failure>,
    deaf: Option<UdpSocket>,
}

/// Answers every question with SERVFAIL, until it is dropped.
struct Failure {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Failure {
    fn start() -> std::io::Result<Self> {
        let socket = UdpSocket::bind((NAME_SERVER, 53))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            let mut message = [0; 1024];
            while !seen.load(Ordering::Relaxed) {
                if let Ok((length @ 4.., client)) = socket.recv_from(&mut message) {
                    // RFC 1035, 4.1.1: a response (QR) with code 2.
                    message[2] |= 0x80;
                    message[3] = 0x82;
                    let _ = socket.send_to(&message[..length], client);
                }
            }
        });
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Failure {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // A panic there has been seen.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Dns {
    /// Starts the name server with an address record for each host, and the exchanges of the lab's domains.
    pub fn start<'a>(dir: &Path, hosts: impl Iterator<Item = (&'a str, Ipv4Addr)>) -> Result<Self, String> {
        let hosts = hosts.map(|(name, address)| format!("--host-record={name},{address}")).collect();
        let (log, zone) = (dir.join("dns.log"), dir.join("dns.zone"));
        let mut dns = Self { hosts, log, zone, process: None, failure: None, deaf: None };
        dns.serve(&MX)?;
        Ok(dns)
    }

    /// Serves these exchanges, by domain, in place of what it served before.
    pub fn serve(&mut self, exchanges: &[(&str, &str)]) -> Result<(), String> {
        let records = exchanges.iter().map(|(domain, exchange)| format!("{domain} MX 10 {exchange}"));
        self.serve_records(&records.collect::<Vec<_>>())
    }

    /// Serves these records, one a line as `NAME TYPE VALUE`, beside the addresses of the lab's hosts, in place of what it
    /// served before. A TXT value is one text, without quotes, or several strings in quotes.
    pub fn serve_records(&mut self, records: &[String]) -> Result<(), String> {
        let records: Vec<String> = records.iter().map(|record| option(record)).collect::<Result<_, _>>()?;
        std::fs::write(&self.zone, records.join("\n")).map_err(|error| format!("{}: {error}", self.zone.display()))?;
        let zone = format!("--conf-file={}", self.zone.display());
        self.run(self.hosts.iter().cloned().chain(LOCAL.map(String::from)).chain([zone]).collect())
    }

    /// Answers every question with REFUSED.
    pub fn refuse(&mut self) -> Result<(), String> {
        self.run(Vec::new())
    }

    /// Answers every question with SERVFAIL.
    pub fn fail(&mut self) -> Result<(), String> {
        self.stop();
        self.failure = Some(Failure::start().map_err(|error| format!("a failing name server: {error}"))?);
        Ok(())
    }

    /// Takes every question and answers none.
    pub fn hang(&mut self) -> Result<(), String> {
        self.stop();
        let deaf = UdpSocket::bind((NAME_SERVER, 53)).map_err(|error| format!("a deaf name server: {error}"))?;
        self.deaf = Some(deaf);
        Ok(())
    }

    /// Answers nothing any more.
    pub fn stop(&mut self) {
        self.process = None;
        self.failure = None;
        self.deaf = None;
    }

    fn run(&mut self, arguments: Vec<String>) -> Result<(), String> {
        self.stop();
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--pid-file=", "--user=root"]);
        command.args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--log-facility=-"]);
        command.arg(format!("--listen-address={NAME_SERVER}")).args(&arguments);
        if !arguments.iter().any(|argument| argument.starts_with("--conf-file=")) {
            command.arg("--conf-file=/dev/null");
        }
        let mut process = Process::start(&mut command, &self.log).map_err(|error| format!("dnsmasq: {error}"))?;
        wait_for("dnsmasq to start", || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            (text.contains("started") || process.ended()).then_some(())
        })?;
        if process.ended() {
            return Err(format!("dnsmasq: {}", std::fs::read_to_string(&self.log).unwrap_or_default()));
        }
        self.process = Some(process);
        Ok(())
    }
}

/// A record as an option in dnsmasq's configuration file.
fn option(record: &str) -> Result<String, String> {
    let mut parts = record.trim().splitn(3, ' ');
    let (Some(name), Some(kind), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("no record: {record:?}"));
    };
    let value = value.trim();
    Ok(match kind {
        "A" | "AAAA" => format!("host-record={name},{value}"),
        "CNAME" => format!("cname={name},{value}"),
        // Type 15, preference 0, the root: dnsmasq has no other way to write it.
        "MX" if value == "0 ." => format!("dns-rr={name},15,000000"),
        "MX" => {
            let (preference, host) = value.split_once(' ').ok_or_else(|| format!("no preference: {record:?}"))?;
            format!("mx-host={name},{host},{preference}")
        }
        "TXT" => {
            let strings: Vec<String> = match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
                Some(inner) => inner.split("\" \"").map(str::to_owned).collect(),
                // RFC 1035, 3.3: a string has at most 255 bytes.
                None => value.as_bytes().chunks(255).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect(),
            };
            let quoted: Vec<String> = strings.iter().map(|string| format!("\"{string}\"")).collect();
            format!("txt-record={name},{}", quoted.join(","))
        }
        _ => return Err(format!("no type of record that the lab serves: {record:?}")),
    })
}
