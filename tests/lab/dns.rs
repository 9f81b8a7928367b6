//! The lab's name service: dnsmasq with the zone `test`, the same in every network.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::namespace::NAME_SERVER;
use super::process::{Process, wait_for};

/// Exchange hosts by domain.
const MX: [(&str, &str); 4] = [
    ("remote.test", "mx.remote.test"),
    ("other.test", "mx.other.test"),
    ("customer.test", "mail.customer.test"),
    ("second.test", "mail.customer.test"),
];

/// A name server on [`NAME_SERVER`]; it stops when dropped.
pub struct Dns {
    _process: Process,
}

impl Dns {
    /// Starts the name server with an address record for each host, and the exchanges of the lab's domains.
    pub fn start<'a>(dir: &Path, hosts: impl Iterator<Item = (&'a str, Ipv4Addr)>) -> Result<Self, String> {
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"]);
        command.args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--log-facility=-"]);
        command.arg(format!("--listen-address={NAME_SERVER}"));
        // Nothing is forwarded: what is not here does not exist.
        command.args(["--local=/test/", "--local=/in-addr.arpa/", "--local=/ip6.arpa/", "--local=//"]);
        for (name, address) in hosts {
            command.arg(format!("--host-record={name},{address}"));
        }
        for (domain, exchange) in MX {
            command.arg(format!("--mx-host={domain},{exchange},10"));
        }
        let log = dir.join("dns.log");
        let mut process = Process::start(&mut command, &log).map_err(|error| format!("dnsmasq: {error}"))?;
        wait_for("dnsmasq to start", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            (text.contains("started") || process.ended()).then_some(())
        })?;
        if process.ended() {
            return Err(format!("dnsmasq: {}", std::fs::read_to_string(&log).unwrap_or_default()));
        }
        Ok(Self { _process: process })
    }
}
