//! A machine on which the package is installed, as an administrator does it, and mail that goes through it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::built;
use crate::lab::mail::{Ending, Mail, Sender, Sent};
use crate::lab::process::wait_for;
use crate::lab::smtp_client::SmtpClient;
use crate::lab::smtp_host::Received;
use crate::lab::{Error, MAIL_SERVER};
use crate::machine::{Machine, System};

pub const RELAY: &str = "relay.conbool.test";
pub const DIRECT: &str = "mx.remote.test";
/// The units that work where Postfix is.
pub const UNITS: [&str; 3] = ["conbool-milter.service", "conbool-milter.socket", "conbool-milter-postfix.socket"];
/// The socket that smtpd(8) reaches, and the directory in which it is.
pub const POSTFIX_SOCKET: &str = "/var/spool/postfix/conbool/milter.sock";

/// What an administrator types.
pub const SETUP: &str = "conbool-milter setup --unattended --provider conbool --relay-network 127.0.3.1 \
    --internal-network 127.0.5.0/24 --relay-host relay.conbool.test --apply";

/// A field that a meeting request has: such mail goes direct.
pub const MEETING: &str = "Content-Class: urn:content-classes:calendarmessage\r\n";

/// A client in the customer's network.
const DESK: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);

/// The machine, and what stands there of the mail server.
pub struct Host {
    pub machine: Machine,
    main_cf: Vec<u8>,
    master_cf: Vec<u8>,
    set_up_at: String,
}

impl Host {
    pub fn start(name: &str, system: System) -> Result<Self, Error> {
        let machine = Machine::start(name, system)?;
        let (main_cf, master_cf) = mail_server_files(&machine)?;
        Ok(Self { machine, main_cf, master_cf, set_up_at: "@0".into() })
    }

    /// Installs the package and sets it up.
    pub fn set_up(&mut self) -> Result<(), Error> {
        self.install()?;
        self.apply()
    }

    /// Sets up what is installed.
    pub fn apply(&mut self) -> Result<(), Error> {
        let words = self.machine.run(SETUP)?;
        self.set_up_at = self.machine.now()?;
        if words.contains("In force.") { Ok(()) } else { Err(words.into()) }
    }

    /// Installs what `make packages` has built; gives back what apt-get says.
    pub fn install(&self) -> Result<String, Error> {
        self.add_package(&built::package(".deb")?)?;
        self.machine.run("apt-get install --quiet --yes /opt/conbool-milter.deb 2>&1")
    }

    /// Puts a package where the machine finds it as `/opt/conbool-milter.deb`.
    pub fn add_package(&self, package: &Path) -> Result<(), Error> {
        fs::copy(package, self.machine.path("/opt/conbool-milter.deb")?)?;
        Ok(())
    }

    /// Expects Postfix's own files to be as they were at the start, byte for byte.
    pub fn expect_mail_server_untouched(&self) -> Result<(), Error> {
        let (main_cf, master_cf) = mail_server_files(&self.machine)?;
        for (now, before) in [(main_cf, &self.main_cf), (master_cf, &self.master_cf)] {
            if &now != before {
                return Err(format!("changed:\n{}", String::from_utf8_lossy(&now)).into());
            }
        }
        Ok(())
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> Result<String, Error> {
        self.machine.run(&format!("systemctl show --value --property {property} {unit}"))
    }

    /// Process id of the daemon.
    pub fn daemon(&self) -> Result<u32, Error> {
        Ok(self.show("conbool-milter.service", "MainPID")?.parse()?)
    }

    /// Expects a script to say exactly this.
    pub fn expect(&self, script: &str, words: &str) -> Result<(), Error> {
        let said = self.machine.run(script)?;
        if said == words { Ok(()) } else { Err(format!("{script}: {said:?}, not {words:?}").into()) }
    }

    /// Expects a script to fail with this among its words.
    pub fn expect_failure(&self, script: &str, words: &str) -> Result<(), Error> {
        let output = self.machine.output(script)?;
        let said = crate::machine::said(&output);
        match !output.status.success() && said.contains(words) {
            true => Ok(()),
            false => Err(format!("{script}: {}, not a failure that tells {words:?}:\n{said}", output.status).into()),
        }
    }

    /// Expects these units to be active.
    pub fn expect_active(&self, units: &[&str]) -> Result<(), Error> {
        units.iter().try_for_each(|unit| self.expect(&format!("systemctl is-active {unit} || :"), "active"))
    }

    /// Expects neither a warning of ours in the journal nor one of systemd's about our units; what the daemon warns of while
    /// it is being set up does not count.
    pub fn expect_no_warning(&self) -> Result<(), Error> {
        let show = format!("journalctl --quiet --no-pager --priority warning --since {}", self.set_up_at);
        self.expect(&format!("journalctl --sync; {show} --unit 'conbool-milter*'"), "")?;
        self.expect(&format!("{show} --grep conbool || :"), "")
    }

    /// Hands in a message of alice's with this subject from a desk.
    pub fn send(&self, subject: &str, recipient: &str, fields: &str) -> Result<Sent, Error> {
        let message =
            format!("From: alice@customer.test\r\nTo: {recipient}\r\nSubject: {subject}\r\n{fields}\r\nHello\r\n");
        let mail = Mail {
            via: Sender::Internal,
            from: "FROM:<alice@customer.test>".into(),
            recipients: vec![format!("TO:<{recipient}>")],
            message: message.into_bytes(),
            ending: Ending::Dot,
        };
        let mut client = SmtpClient::connect(DESK, (MAIL_SERVER.1, 25).into())?;
        client.command("EHLO desk.customer.test")?;
        mail.say(client)
    }

    /// Hands in a message for carol, waits until it is at this host and at no other, and gives back how it came.
    pub fn expect_at(&self, name: &str, subject: &str, fields: &str) -> Result<Received, Error> {
        let sent = self.send(subject, "carol@remote.test", fields)?;
        if sent.queue_id.is_none() {
            return Err(format!("{subject}: not taken: {sent:?}").into());
        }
        self.arrived(name, subject)
    }

    /// Waits until the message with this subject is at this host, once and nowhere else.
    pub fn arrived(&self, name: &str, subject: &str) -> Result<Received, Error> {
        let arrived = || self.received(subject).into_iter().next();
        let (host, received) = wait_for(&format!("{subject} at {name}"), arrived)?;
        let copies = self.received(subject).len();
        if host == name && copies == 1 {
            return Ok(received);
        }
        Err(format!("{subject}: {copies} copies, the first at {host}, not one at {name}").into())
    }

    /// Everything with this subject that has arrived anywhere outside, each with its host.
    pub fn received(&self, subject: &str) -> Vec<(String, Received)> {
        let line = format!("\r\nSubject: {subject}\r\n");
        let of_host = |host: &crate::lab::smtp_host::SmtpHost| {
            let received = host.received().into_iter();
            let ours = received.filter(|received| String::from_utf8_lossy(&received.message).contains(&line));
            ours.map(|received| (host.name().to_owned(), received)).collect::<Vec<_>>()
        };
        self.machine.lab.hosts.iter().flat_map(of_host).collect()
    }
}

/// main.cf and master.cf; empty where there is no Postfix.
fn mail_server_files(machine: &Machine) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let directory = machine.path("/etc/postfix")?;
    let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
    Ok((read("main.cf"), read("master.cf")))
}
