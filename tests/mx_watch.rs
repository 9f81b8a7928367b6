//! Lock-down in mode `auto` with a real name server: it begins when all MX hosts are the provider's, ends when they are
//! not, and stays as it is as long as nobody answers.

mod lab;
mod milter_client;

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use lab::daemon::{Daemon, USER, program};
use lab::process::{run, wait_for};
use lab::{Error, Lab};
use milter_client::Client;
use nix::unistd::User;

fn main() -> ExitCode {
    lab::main(|| {
        Ok(vec![
            lab::trial("lock_down_follows_the_mx_records", follows_the_mx_records),
            lab::trial("without_dns_lock_down_stays_as_it_is", stays_as_it_is_without_dns),
            lab::trial("lock_down_waits_for_the_time_to_settle", waits_for_the_time_to_settle),
        ])
    })
}

const PROVIDER: [(&str, &str); 3] = [
    ("customer.test", "a.provider.test"),
    ("customer.test", "b.provider.test"),
    // As long as another domain is not there yet, it is left alone.
    ("second.test", "mail.customer.test"),
];

const ENTERED: &str = "lock-down is enforced from now on";
const LEFT: &str = "lock-down is not enforced any more";
const FAILED: &str = "the MX hosts cannot be looked up";

/// A daemon with a name server of its own, and no mail server.
struct Site {
    daemon: Daemon,
    config: PathBuf,
    lab: Lab,
}

impl Site {
    fn start(name: &str, exchanges: &[(&str, &str)], settle_time: u32) -> Result<Self, Error> {
        let mut lab = Lab::start(name)?;
        lab.dns.serve(exchanges)?;
        let state = lab.dir.join("state");
        fs::create_dir_all(&state)?;
        let user = User::from_name(USER)?.ok_or("no user")?;
        chown(&state, Some(user.uid.as_raw()), None)?;
        let config = lab.dir.join("m.toml");
        let text = format!(
            "provider = \"conbool\"\ndomains = [\"customer.test\", \"second.test\"]\nrelay_networks = [\"127.0.3.1\"]\n\
             socket = \"unix:{0}/m.sock\"\nstate_directory = \"{0}\"\n[lock_down]\nmode = \"auto\"\n\
             mx_hosts = [\"*.provider.test\"]\ninterval = 1\nsettle_time = {settle_time}\n[log]\nformat = \"json\"\n",
            state.display()
        );
        fs::write(&config, text)?;
        let daemon = Daemon::start(&config, &lab.dir.join("daemon.log"))?;
        Ok(Self { daemon, config, lab })
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.daemon.signal("TERM")?;
        wait_for("the daemon's end", || self.daemon.ended().then_some(()))?;
        self.daemon = Daemon::start(&self.config, &self.lab.dir.join("daemon2.log"))?;
        Ok(())
    }

    /// What `explain` says of a stranger's message for customer.test.
    fn explain(&self) -> Result<String, Error> {
        let message = self.lab.dir.join("message.eml");
        fs::write(&message, "From: x@remote.test\r\n\r\nHello\r\n")?;
        let mut command = Command::new(program()?);
        command.args(["explain", "--client", "198.51.100.1", "--rcpt", "alice@customer.test", "--config"]);
        Ok(String::from_utf8_lossy(&run(command.arg(&self.config).arg(message))?.stdout).into_owned())
    }

    fn wait_for_log(&self, text: &str, times: usize) -> Result<(), Error> {
        wait_for(text, || (self.daemon.log().matches(text).count() >= times).then_some(()))
            .map_err(|error| format!("{error}:\n{}", self.daemon.log()).into())
    }

    /// An error unless a stranger is refused at customer.test, or not, as expected; second.test is always open.
    fn refuses(&self, expected: bool) -> Result<(), Error> {
        let mut client = Client::connect(&self.lab.dir.join("state/m.sock"));
        client.negotiate();
        client.connect_from("198.51.100.1");
        client.mail("x@remote.test");
        for (recipient, expected) in [("alice@customer.test", expected), ("alice@second.test", false)] {
            client.rcpt(recipient);
            let (command, data) = client.receive();
            if (command == 'y') != expected {
                let reply = String::from_utf8_lossy(&data).into_owned();
                return Err(format!("{recipient}: {command} {reply}\n{}", self.daemon.log()).into());
            }
        }
        Ok(())
    }
}

fn follows_the_mx_records() -> Result<(), Error> {
    let mut site = Site::start("mx-follow", &lab::dns::MX, 0)?;
    site.wait_for_log("mail.customer.test is not one of the provider's MX hosts", 2)?;
    site.refuses(false)?;
    site.lab.dns.serve(&PROVIDER)?;
    site.wait_for_log(ENTERED, 1)?;
    site.refuses(true)?;
    // One more elsewhere, none at all, no domain at all.
    let second = ("second.test", "mail.customer.test");
    let elsewhere = [PROVIDER[0], ("customer.test", "mx.remote.test"), second];
    for (times, exchanges) in [&elsewhere[..], &[second]].into_iter().enumerate() {
        site.lab.dns.serve(exchanges)?;
        site.wait_for_log(LEFT, times + 1)?;
        site.refuses(false)?;
        site.lab.dns.serve(&PROVIDER)?;
        site.wait_for_log(ENTERED, times + 2)?;
        site.refuses(true)?;
    }
    let log = site.daemon.log();
    let why = ["mx.remote.test is not one of the provider's MX hosts", "there is no MX record"];
    let warned =
        |why: &&str| log.lines().any(|line| line.contains("WARN") && line.contains(LEFT) && line.contains(*why));
    if why.iter().all(warned) { Ok(()) } else { Err(format!("no warning that says why:\n{log}").into()) }
}

fn stays_as_it_is_without_dns() -> Result<(), Error> {
    let mut site = Site::start("mx-outage", &PROVIDER, 0)?;
    site.wait_for_log(ENTERED, 1)?;
    site.lab.dns.refuse()?;
    site.wait_for_log(FAILED, 2)?;
    site.refuses(true)?;
    site.lab.dns.fail()?;
    site.wait_for_log("Server Failure", 2)?;
    site.refuses(true)?;
    let explained = site.explain()?;
    if !explained.contains("550 5.7.1 Mail for customer.test") {
        return Err(format!("explain does not know what the daemon does:\n{explained}").into());
    }
    site.lab.dns.stop();
    site.restart()?;
    site.refuses(true)?;
    site.wait_for_log(FAILED, 2)?;
    site.refuses(true)?;
    site.lab.dns.serve(&lab::dns::MX)?;
    site.wait_for_log(LEFT, 1)?;
    site.lab.dns.stop();
    site.restart()?;
    site.refuses(false)
}

fn waits_for_the_time_to_settle() -> Result<(), Error> {
    let mut site = Site::start("mx-settle", &PROVIDER, 86_400)?;
    let waits = "senders may still have earlier ones in their caches";
    site.wait_for_log(waits, 1)?;
    site.refuses(false)?;
    // The time goes on over a restart, and a reload that makes it shorter counts what has passed.
    site.restart()?;
    let text = fs::read_to_string(&site.config)?.replace("settle_time = 86400", "settle_time = 1");
    fs::write(&site.config, text)?;
    site.daemon.signal("HUP")?;
    site.wait_for_log(ENTERED, 1)?;
    site.refuses(true)
}
