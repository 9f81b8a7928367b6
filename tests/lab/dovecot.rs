//! The customer's Dovecot with Pigeonhole: an instance of its own behind the lab's Postfix, which delivers by LMTP.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, run, wait_for};
use super::{Error, Lab, namespace};

/// What main.cf needs to deliver to Dovecot. The socket lies below the queue directory, for the client runs chrooted.
pub const MAIN_CF: &str = "virtual_transport = lmtp:unix:dovecot/lmtp\n";

/// What the host needs, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 4] = [
    ("/usr/sbin/dovecot", "dovecot-core"),
    ("/usr/lib/dovecot/lmtp", "dovecot-lmtpd"),
    ("/usr/bin/sievec", "dovecot-sieve"),
    ("/usr/bin/sieve-test", "dovecot-sieve"),
];

/// What a site has before our script comes: mailboxes of any user, in directories of their own, owned by nobody.
const DOVECOT_CONF: &str = "\
base_dir = @dovecot@/run
state_dir = @dovecot@/run
log_path = @dovecot@/log
protocols = lmtp
ssl = no
mail_location = maildir:~/Maildir
mail_home = @dovecot@/mail/%d/%n
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = allow_all_users=yes
}
service lmtp {
  unix_listener @lab@/queue/dovecot/lmtp {
    user = postfix
    mode = 0600
  }
}
protocol lmtp {
  postmaster_address = postmaster@customer.test
}
!include_try conf.d/*.conf
";

/// An instance that is laid out but not yet running, so that its configuration can be completed.
pub struct Prepared {
    dir: PathBuf,
}

impl Prepared {
    /// Writes the basic configuration.
    pub fn new(lab: &Lab) -> Result<Self, Error> {
        namespace::need(&PROGRAMS)?;
        let dir = lab.dir.join("dovecot");
        for name in ["run", "conf.d", "mail"] {
            fs::create_dir_all(dir.join(name))?;
        }
        fs::create_dir_all(lab.dir.join("queue/dovecot"))?;
        let nobody = nix::unistd::User::from_name("nobody")?.ok_or("there is no user nobody")?;
        chown(dir.join("mail"), Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()))?;
        let fill_in =
            |text: &str| text.replace("@dovecot@", &dir.to_string_lossy()).replace("@lab@", &lab.dir.to_string_lossy());
        fs::write(dir.join("dovecot.conf"), fill_in(DOVECOT_CONF))?;
        Ok(Self { dir })
    }

    /// The configuration directory.
    pub fn config(&self) -> &Path {
        &self.dir
    }

    /// Gives a user a script of the user's own.
    pub fn add_user_script(&self, user: &str, script: &str) -> Result<(), Error> {
        let (name, domain) = user.split_once('@').ok_or("the user has no domain")?;
        let home = self.dir.join("mail").join(domain).join(name);
        fs::create_dir_all(&home)?;
        fs::write(home.join(".dovecot.sieve"), script)?;
        // All of it as Dovecot would have made it.
        run(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(self.dir.join("mail"))).map(drop)?;
        Ok(())
    }

    /// Starts the instance.
    pub fn start(self) -> Result<Dovecot, Error> {
        let config = self.dir.join("dovecot.conf");
        let log = self.dir.join("master.log");
        let mut process = Process::start(Command::new("dovecot").args(["-F", "-c"]).arg(&config), &log)?;
        let dovecot_log = self.dir.join("log");
        let ready = || fs::read_to_string(&dovecot_log).is_ok_and(|text| text.contains("starting up"));
        wait_for("Dovecot", || (ready() || process.ended()).then_some(()))?;
        if process.ended() {
            return Err(format!("Dovecot ended at once:\n{}", fs::read_to_string(log)?).into());
        }
        Ok(Dovecot { config, log: dovecot_log, _process: process })
    }
}

/// A running instance; it is stopped when dropped.
pub struct Dovecot {
    config: PathBuf,
    log: PathBuf,
    _process: Process,
}

impl Dovecot {
    /// Everything in a user's mailboxes: name of the mailbox and subject of the message, sorted.
    pub fn messages(&self, user: &str) -> Result<Vec<(String, String)>, Error> {
        let mut command = Command::new("doveadm");
        command.arg("-c").arg(&self.config).args(["-f", "tab", "fetch", "-u", user, "mailbox hdr.subject", "ALL"]);
        let output = run(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows = text.lines().skip(1).filter_map(|line| line.split_once('\t'));
        let mut messages: Vec<_> = rows.map(|(mailbox, subject)| (mailbox.to_owned(), subject.to_owned())).collect();
        messages.sort();
        Ok(messages)
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
