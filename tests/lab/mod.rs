//! The lab: a small e-mail world on loopback, for tests and for the demonstration.
//!
//! [`namespace::enter`] first moves the program to a machine of its own. A [`Lab`] is one network there: name service,
//! certificates, the provider's relays, remote mail hosts. A [`Site`](site::Site) adds the customer's Postfix or Sendmail
//! with the milter attached as `conbool-milter setup` says. [`Mail`](mail::Mail) goes in by SMTP or sendmail(1), and
//! [`report`] tells where each recipient's copy arrived. Several labs run side by side: each has its own network, so
//! that all of them use the same addresses and port 25.
//!
//! | address | host |
//! |---|---|
//! | 127.0.0.53 | name service |
//! | 127.0.1.1 | `mail.customer.test`, the customer's mail server |
//! | 127.0.2.1, 127.0.2.2 | `mx.remote.test`, `mx.other.test`, the world's mail hosts |
//! | 127.0.3.1 | `relay.conbool.test`, the relay; asks for a client certificate without needing it |
//! | 127.0.3.2 | `wrong.conbool.test`, a relay whose certificate carries another name |
//! | 127.0.3.3 | `plain.conbool.test`, a relay without TLS |
//! | 127.0.3.4 | `strict.conbool.test`, a relay that needs a client certificate |
//! | 127.0.4.1 | `oldrelay.test`, the relayhost of former days |
//! | 127.0.5.1 | an internal client |
//! | 127.0.6.1, 127.0.6.2 | `ldap.customer.test`, `ldap2.customer.test`, where a test may start directories |
//! | 198.51.100.3 | `dc1.ad.test`, where a test may start an Active Directory domain |
//! | 127.0.7.1 | `inner.customer.test`, where a test may start a mail server without a milter |
//! | 127.0.1.9 | where another Postfix of the customer's host listens then |
//! | 127.0.9.9 | a client somewhere in the world |

// Every test program uses some of the lab, none all of it.
#![allow(dead_code)]

pub mod case_file;
pub mod case_run;
pub mod certificates;
pub mod daemon;
pub mod dns;
pub mod dovecot;
pub mod edge;
pub mod envelope;
pub mod mail;
pub mod maillog;
pub mod milter_proxy;
pub mod namespace;
pub mod notation;
pub mod postfix;
pub mod process;
pub mod report;
pub mod samba;
pub mod sendmail;
pub mod site;
pub mod slapd;
pub mod smtp_client;
pub mod smtp_host;
pub mod stream;
pub mod users;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use certificates::{Authority, ClientCertificate, Identity};
use libtest_mimic::{Arguments, Failed, Trial};
use namespace::Network;
use smtp_host::SmtpHost;

/// Anything that keeps the lab from working; tests only show it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The `main` of a test program that uses the lab: enters the namespace, then runs the tests.
pub fn main(trials: impl FnOnce() -> Result<Vec<Trial>, Error>) -> ExitCode {
    // A test mostly waits: for deliveries, and for one that is tried again.
    main_with(8, trials)
}

/// The same with another number of tests at a time, unless the command line names one.
pub fn main_with(threads: usize, trials: impl FnOnce() -> Result<Vec<Trial>, Error>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let entered = if arguments.list { Ok(()) } else { namespace::enter().map_err(Error::from) };
    match entered.and_then(|()| trials()) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A test of the lab with its name.
pub fn trial(name: &str, test: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(error.to_string())))
}

/// Name and address of the customer's mail server.
pub const MAIL_SERVER: (&str, Ipv4Addr) = ("mail.customer.test", Ipv4Addr::new(127, 0, 1, 1));

/// Address from which the relay connects.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);

/// How a simulated host treats TLS.
enum Tls {
    /// A certificate for this name, and what it wants of the client.
    Certificate(&'static str, ClientCertificate),
    None,
}

/// The simulated hosts.
const HOSTS: [(&str, Ipv4Addr, Tls); 7] = {
    use ClientCertificate::{Ignored, Requested, Required};
    use Tls::{Certificate, None};
    [
        ("relay.conbool.test", RELAY, Certificate("relay.conbool.test", Requested)),
        ("wrong.conbool.test", Ipv4Addr::new(127, 0, 3, 2), Certificate("somebody-else.test", Ignored)),
        ("plain.conbool.test", Ipv4Addr::new(127, 0, 3, 3), None),
        ("strict.conbool.test", Ipv4Addr::new(127, 0, 3, 4), Certificate("strict.conbool.test", Required)),
        ("mx.remote.test", Ipv4Addr::new(127, 0, 2, 1), Certificate("mx.remote.test", Ignored)),
        ("mx.other.test", Ipv4Addr::new(127, 0, 2, 2), None),
        ("oldrelay.test", Ipv4Addr::new(127, 0, 4, 1), Certificate("oldrelay.test", Ignored)),
    ]
};

/// True if the lab has a simulated host of this name.
pub fn is_host(name: &str) -> bool {
    HOSTS.iter().any(|(host, ..)| *host == name)
}

/// One network with everything in it but the customer's mail server. Everything stops when it is dropped.
pub struct Lab {
    /// Directory of this lab.
    pub dir: PathBuf,
    /// Signs every certificate of this lab.
    pub authority: Authority,
    /// The simulated hosts.
    pub hosts: Vec<SmtpHost>,
    /// Certificate of the customer's mail server, as server.
    pub server: Identity,
    /// Certificate that the relay shows when it connects to the customer.
    pub relay: Identity,
    /// The name service.
    pub dns: dns::Dns,
    network: Network,
}

impl Lab {
    /// Starts a lab whose files lie below `name`, and moves the calling thread into its network.
    pub fn start(name: &str) -> Result<Self, Error> {
        let network = Network::new(MAIL_SERVER.1)?;
        let dir = Path::new(namespace::ROOT).join(name);
        let authority = Authority::new(&dir.join("tls"))?;
        let server = authority.issue("server", MAIL_SERVER.0)?;
        let relay = authority.issue("relay", "relay.conbool.test")?;
        // The certificate by which the customer's server proves itself to the relay.
        let known = Arc::new(vec![authority.issue("client", "client.customer.test")?]);
        let names = HOSTS
            .iter()
            .map(|(name, address, _)| (*name, *address))
            .chain([MAIL_SERVER, edge::INNER])
            .chain(slapd::HOSTS);
        let dns = dns::Dns::start(&dir, names)?;
        let mut hosts = Vec::new();
        for (name, address, tls) in HOSTS {
            let config = match tls {
                Tls::None => None,
                Tls::Certificate(subject, wants) => Some(authority.server(&authority.issue(name, subject)?, wants)?),
            };
            hosts.push(SmtpHost::start(name, address, config, known.clone())?);
        }
        Ok(Self { dir, authority, hosts, server, relay, dns, network })
    }

    /// Moves the calling thread into this lab's network: to be called first by every thread that connects to something.
    pub fn enter(&self) -> Result<(), Error> {
        Ok(self.network.enter()?)
    }

    /// One more address on which a Postfix can listen. The calling thread is in this lab's network.
    pub fn add_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        Ok(self.network.add_address(address)?)
    }

    /// Puts this lab's directory in the place of `@lab@`.
    pub fn fill_in(&self, text: &str) -> String {
        text.replace("@lab@", &self.dir.to_string_lossy())
    }

    /// The mailbox directories, each with the address that it belongs to.
    pub fn mailboxes(&self) -> Vec<(String, PathBuf)> {
        users::mailboxes(&self.dir)
    }

    /// The simulated host of this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn host(&self, name: &str) -> &SmtpHost {
        self.hosts.iter().find(|host| host.name() == name).unwrap_or_else(|| panic!("the lab has no host {name}"))
    }
}
