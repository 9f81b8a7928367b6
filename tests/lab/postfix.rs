//! The customer's Postfix: an instance of its own, laid out and chrooted as on Debian.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::maillog::{self, QueueFile};
use super::process::run;
use super::site::MailServer;
use super::users::{ALIASES, DOMAINS, FORWARD, USERS, add_mailboxes, add_passwords, log_in_settings};
use super::{Error, Lab, MAIL_SERVER};

/// What a site has before the milter comes: hosted domains, internal clients, TLS, log-in.
const MAIN_CF: &str = "\
compatibility_level = 3.6
maillog_file = @lab@/mail.log
maillog_file_prefixes = @lab@
queue_directory = @lab@/queue
data_directory = @lab@/data
mail_owner = postfix
setgid_group = postdrop

myhostname = mail.customer.test
mydestination = localhost
inet_interfaces = 127.0.1.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32, 127.0.1.1/32, 127.0.5.0/24
alias_maps =
alias_database =
recipient_delimiter = +

virtual_mailbox_domains = customer.test, second.test
virtual_mailbox_base = @lab@/mailboxes
virtual_mailbox_maps = texthash:@lab@/etc/mailboxes
virtual_alias_maps = texthash:@lab@/etc/aliases
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534

smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_cert_file = @lab@/tls/server.pem
smtpd_tls_key_file = @lab@/tls/server.key
smtpd_tls_CAfile = @lab@/tls/ca.pem
smtpd_tls_ask_ccert = yes
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = customer.test
cyrus_sasl_config_path = @lab@/etc/sasl
smtp_tls_security_level = may

# Tests do not wait for what a real site waits for. With a backoff of a second, the queue manager at times finds a message
# that it has just put off still locked by the delivery agent, and leaves it alone for a minute.
queue_run_delay = 1s
minimal_backoff_time = 3s
maximal_backoff_time = 3s
transport_retry_time = 1s
smtpd_error_sleep_time = 0s
smtpd_client_connection_count_limit = 0
";

/// A running instance; it stops when dropped.
pub struct Postfix {
    dir: PathBuf,
    config: PathBuf,
    queue: PathBuf,
    address: Ipv4Addr,
}

/// A main.cf or master.cf in which each setting stands once, the last time: of one that stands twice every process of
/// Postfix warns, and many warnings at once stop postlogd(8), which then waits for itself. Services may stand twice.
fn without_replaced(text: &str) -> String {
    let name = |line: &str| {
        let setting = line.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        line.split_once('=').filter(|_| setting).map(|(name, _)| name.trim_end().to_owned())
    };
    let mut seen = HashSet::new();
    let mut kept: Vec<&str> = Vec::new();
    let mut continued: Vec<&str> = Vec::new();
    for line in text.lines().rev() {
        if line.starts_with([' ', '\t']) {
            continued.push(line);
            continue;
        }
        match name(line) {
            Some(name) if !name.contains(char::is_whitespace) && !seen.insert(name.clone()) => continued.clear(),
            _ => {
                kept.append(&mut continued);
                kept.push(line);
            }
        }
    }
    kept.iter().rev().flat_map(|line| [line, "\n"]).collect()
}

/// An instance that is laid out but not yet running, so that its configuration can be completed.
pub struct Prepared {
    dir: PathBuf,
}

impl Prepared {
    /// Writes the basic configuration, followed by `extra` lines for main.cf.
    pub fn new(lab: &Lab, extra: &str) -> Result<Self, Error> {
        let dir = lab.dir.clone();
        let prepared = Self { dir };
        for name in ["queue", "data", "state", "etc/sasl"] {
            fs::create_dir_all(prepared.dir.join(name))?;
        }
        chown(prepared.dir.join("data"), Some(user_id("postfix")?), None)?;
        chown(prepared.dir.join("state"), Some(user_id(super::daemon::USER)?), None)?;
        add_mailboxes(&prepared.dir)?;
        let etc = prepared.config();
        fs::write(etc.join("main.cf"), prepared.fill_in(MAIN_CF) + &prepared.fill_in(extra))?;
        fs::copy("/etc/postfix/master.cf.proto", etc.join("master.cf"))?;
        fs::write(etc.join("mailboxes"), mailbox_table())?;
        let alias = |(name, list)| format!("{name}@customer.test {list}\n");
        fs::write(etc.join("aliases"), ALIASES.map(alias).concat() + &alias(FORWARD))?;
        prepared.add_log_in()?;
        add_socket_directory(&prepared.dir.join("queue"))?;
        allow_submission(&etc)?;
        Ok(prepared)
    }

    /// The configuration directory.
    pub fn config(&self) -> PathBuf {
        self.dir.join("etc")
    }

    /// Puts the lab's directory in the place of `@lab@`.
    pub fn fill_in(&self, text: &str) -> String {
        text.replace("@lab@", &self.dir.to_string_lossy())
    }

    /// Appends generated settings to main.cf and master.cf, and copies every other file of the directory as a table.
    pub fn add_fragments(&self, from: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = self.config().join(entry.file_name());
            if matches!(entry.file_name().to_str(), Some("main.cf" | "master.cf")) {
                let text = fs::read_to_string(&target)? + "\n" + &fs::read_to_string(entry.path())?;
                fs::write(target, without_replaced(&text))?;
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    }

    /// Makes the chroot as Debian's start script does, and starts the instance.
    pub fn start(self) -> Result<Postfix, Error> {
        run(Command::new("/usr/lib/postfix/configure-instance.sh").env("MAIL_CONFIG", self.config()))?;
        let started = run(Command::new("postfix").arg("-c").arg(self.config()).arg("start"));
        let postfix = Postfix::of(&self.dir, self.config(), self.dir.join("queue"), MAIL_SERVER.1);
        match started {
            Ok(_) => Ok(postfix),
            Err(error) => Err(format!("{error}{}", postfix.log()).into()),
        }
    }

    /// Cyrus SASL with a password file; smtpd opens it from inside the chroot.
    fn add_log_in(&self) -> Result<(), Error> {
        let settings = log_in_settings(Path::new("/etc/sasldb2"));
        fs::write(self.config().join("sasl/smtpd.conf"), settings)?;
        let directory = self.dir.join("queue/etc");
        fs::create_dir_all(&directory)?;
        let file = directory.join("sasldb2");
        add_passwords(&file)?;
        Ok(chown(file, Some(user_id("postfix")?), None)?)
    }
}

impl Postfix {
    /// An instance with these configuration and queue directories that listens on this address. Its log and its
    /// mailboxes are in the lab's directory `dir`.
    pub fn of(dir: &Path, config: PathBuf, queue: PathBuf, address: Ipv4Addr) -> Self {
        Self { dir: dir.to_owned(), config, queue, address }
    }

    /// The configuration directory.
    pub fn config(&self) -> PathBuf {
        self.config.clone()
    }

    /// Messages in the queue, one JSON object a line (postqueue(1), `-j`).
    pub fn queue(&self) -> Result<String, String> {
        let output = run(Command::new("postqueue").arg("-c").arg(self.config()).arg("-j"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Tries everything in the queue now.
    pub fn flush(&self) -> Result<(), String> {
        run(Command::new("postqueue").arg("-c").arg(self.config()).arg("-f")).map(drop)
    }

    /// Reads the configuration again.
    pub fn reload(&self) -> Result<(), String> {
        self.control("reload")
    }

    /// `start`, `stop`, `reload` … (postfix(1)).
    pub fn control(&self, action: &str) -> Result<(), String> {
        run(Command::new("postfix").arg("-c").arg(self.config()).arg(action)).map(drop)
    }
}

impl MailServer for Postfix {
    const NAME: &'static str = "Postfix";
    const PREVIOUS: &'static str = "main.cf";
    const COMMAND: &'static str = "postfix";
    const SETTINGS: (&'static str, &'static str) = ("", "[postfix]\nconfig_directory = \"@lab@/etc\"\n");
    const LOST_CONNECTION: &'static str = "lost connection after DATA";
    type Prepared = Prepared;

    fn prepare(lab: &Lab, previous: &str) -> Result<Prepared, Error> {
        Prepared::new(lab, previous)
    }

    fn add_fragments(prepared: &mut Prepared, from: &Path) -> Result<(), Error> {
        prepared.add_fragments(from)
    }

    fn start(prepared: Prepared) -> Result<Self, Error> {
        prepared.start()
    }

    fn address(&self) -> SocketAddr {
        (self.address, 25).into()
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("mail.log")).unwrap_or_default()).into_owned()
    }

    fn queue_file(&self, id: &str) -> QueueFile {
        maillog::postfix::find(&self.log(), id)
    }

    fn by_message_id(&self, message_id: &str) -> Option<String> {
        maillog::postfix::by_message_id(&self.log(), message_id).into_iter().next()
    }

    fn delete(&self, queue_id: &str) -> Result<(), String> {
        run(Command::new("postsuper").arg("-c").arg(self.config()).args(["-d", queue_id])).map(drop)
    }

    fn submission(&self) -> Command {
        let mut command = Command::new("/usr/sbin/sendmail");
        command.arg("-C").arg(self.config());
        command
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The master takes all its processes with it. If this fails, the end of the namespace takes care.
        if let Ok(id) = fs::read_to_string(self.queue.join("pid/master.pid")) {
            let _ = run(Command::new("kill").arg(id.trim()));
        }
    }
}

/// The table of mailboxes.
pub fn mailbox_table() -> String {
    let mailbox = |domain: &str| USERS.map(|user| format!("{user}@{domain} {domain}/{user}/\n")).concat();
    DOMAINS.map(mailbox).concat()
}

/// Lets sendmail(1) take this configuration directory: the default main.cf, here the lab's own, has to name it.
fn allow_submission(config: &Path) -> Result<(), Error> {
    let defaults = Path::new("/etc/postfix/main.cf");
    let _one_at_a_time = DEFAULTS.lock().map_err(|_| "another lab failed to start")?;
    let before = fs::read_to_string(defaults)?;
    let list = before.lines().find_map(|line| line.strip_prefix("alternate_config_directories =")).unwrap_or("");
    let text = format!("compatibility_level = 3.6\nalternate_config_directories ={list} {}\n", config.display());
    // Replaced as a whole: Postfix may be reading it.
    let next = defaults.with_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(next, defaults)?)
}

/// The directory of the milter's socket below a queue directory: sockets in it belong to Postfix's group, whoever makes
/// them.
pub fn add_socket_directory(queue: &Path) -> Result<(), Error> {
    let directory = queue.join("conbool");
    fs::create_dir_all(&directory)?;
    chown(&directory, Some(user_id(super::daemon::USER)?), Some(group_id("postfix")?))?;
    Ok(fs::set_permissions(&directory, fs::Permissions::from_mode(0o2750))?)
}

static DEFAULTS: std::sync::Mutex<()> = std::sync::Mutex::new(());

pub fn user_id(name: &str) -> Result<u32, Error> {
    let user = nix::unistd::User::from_name(name)?.ok_or_else(|| format!("there is no user {name}"))?;
    Ok(user.uid.as_raw())
}

fn group_id(name: &str) -> Result<u32, Error> {
    let group = nix::unistd::Group::from_name(name)?.ok_or_else(|| format!("there is no group {name}"))?;
    Ok(group.gid.as_raw())
}
