//! The customer's Sendmail: Debian's, from the folder into which `tests/install-packages` unpacks it, with a configuration
//! made by its own m4 files, in the place of the lab's Postfix.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::maillog::{self, QueueFile};
use super::postfix::add_socket_directory;
use super::process::{Process, run, wait_for};
use super::site::MailServer;
use super::users::{ALIASES, DOMAINS, FORWARD, MAILBOX_OWNER, USERS, add_mailboxes, add_passwords, log_in_settings};
use super::{Error, Lab, MAIL_SERVER};

/// Where Sendmail's packages are unpacked.
pub const FOLDER: &str = "/usr/local/lib/conbool-milter-tests/sendmail";

/// Sendmail itself.
pub const PROGRAM: &str = "/usr/local/lib/conbool-milter-tests/sendmail/usr/libexec/sendmail/sendmail";

/// The maps in the configuration directory, which makemap(8) compiles.
const MAPS: [&str; 2] = ["access", "virtusertable"];

/// Who may send to the world: the host itself and the internal clients.
const ACCESS: &str = "Connect:127.0.0.1\tRELAY\nConnect:127.0.5\tRELAY\n";

/// A Sendmail that is laid out but not yet running, so that its configuration can be completed.
pub struct Prepared {
    dir: PathBuf,
    features: String,
    rules: String,
}

/// A running Sendmail; it stops when dropped.
pub struct Sendmail {
    dir: PathBuf,
    process: Option<Process>,
}

impl Prepared {
    /// Writes everything but sendmail.cf, which [`Self::start`] makes with the `features`, lines for sendmail.mc before its
    /// mailers.
    pub fn new(lab: &Lab, features: &str) -> Result<Self, Error> {
        let dir = lab.dir.clone();
        for name in ["etc/sasl", "queue/mail", "queue/submission", "state"] {
            fs::create_dir_all(dir.join(name))?;
        }
        fs::set_permissions(dir.join("queue/mail"), fs::Permissions::from_mode(0o700))?;
        // The submission program does not run as root.
        fs::set_permissions(dir.join("queue/submission"), fs::Permissions::from_mode(0o770))?;
        chown(dir.join("queue/submission"), Some(MAILBOX_OWNER), Some(MAILBOX_OWNER))?;
        chown(dir.join("state"), Some(super::postfix::user_id(super::daemon::USER)?), None)?;
        add_mailboxes(&dir)?;
        add_socket_directory(&dir.join("queue"))?;
        // Sendmail, unlike Postfix, insists on keys that only root can read.
        for name in ["server", "client"] {
            fs::set_permissions(dir.join("tls").join(name).with_extension("key"), fs::Permissions::from_mode(0o600))?;
        }
        let mut prepared = Self { dir, features: String::new(), rules: String::new() };
        prepared.add_features(features);
        let etc = prepared.config();
        fs::write(etc.join("local-host-names"), DOMAINS.map(|domain| format!("{domain}\n")).concat())?;
        fs::write(etc.join("service.switch"), "hosts files dns\naliases files\n")?;
        fs::write(etc.join("access"), ACCESS)?;
        fs::write(etc.join("virtusertable"), virtual_users())?;
        fs::write(etc.join("aliases"), aliases())?;
        fs::write(etc.join("deliver"), prepared.fill_in(include_str!("sendmail/deliver")))?;
        fs::set_permissions(etc.join("deliver"), fs::Permissions::from_mode(0o755))?;
        fs::write(etc.join("sasl/Sendmail.conf"), log_in_settings(&etc.join("sasldb2")))?;
        add_passwords(&etc.join("sasldb2"))?;
        // What setup prints depends on it.
        prepared.write_mc()?;
        Ok(prepared)
    }

    /// The configuration directory.
    pub fn config(&self) -> PathBuf {
        self.dir.join("etc")
    }

    /// Puts the lab's directory in the place of `@lab@`.
    pub fn fill_in(&self, text: &str) -> String {
        text.replace("@lab@", &self.dir.to_string_lossy()).replace("@program@", FOLDER)
    }

    /// Adds lines to sendmail.mc before its mailers.
    pub fn add_features(&mut self, lines: &str) {
        self.features += lines;
    }

    /// Adds lines to the end of sendmail.mc.
    pub fn add_rules(&mut self, lines: &str) {
        self.rules += lines;
    }

    /// Adds lines to the access map.
    pub fn add_access(&self, lines: &str) -> Result<(), Error> {
        let file = self.config().join("access");
        Ok(fs::write(&file, fs::read_to_string(&file)? + lines)?)
    }

    fn write_mc(&self) -> Result<(), Error> {
        let text = include_str!("sendmail/sendmail.mc");
        let text = text.replace("@features@", self.features.trim_end()).replace("@rules@", self.rules.trim_end());
        Ok(fs::write(self.config().join("sendmail.mc"), self.fill_in(&text))?)
    }

    /// Compiles the configuration and starts Sendmail.
    pub fn start(self) -> Result<Sendmail, Error> {
        let mut sendmail = self.compiled()?;
        sendmail.run()?;
        Ok(sendmail)
    }

    /// A Sendmail that could be started.
    pub fn compiled(self) -> Result<Sendmail, Error> {
        let etc = self.config();
        self.write_mc()?;
        fs::write(etc.join("submit.mc"), self.fill_in(include_str!("sendmail/submit.mc")))?;
        let sendmail = Sendmail { dir: self.dir, process: None };
        sendmail.compile()?;
        Ok(sendmail)
    }
}

/// The local user, or the alias, for every address of the hosted domains; all others do not exist.
fn virtual_users() -> String {
    let user = |domain: &str, suffix: &str| {
        let line = |user: &str| format!("{user}@{domain}\t{user}{suffix}\n{user}+*@{domain}\t{user}{suffix}+%2\n");
        USERS.map(line).concat() + &format!("@{domain}\terror:5.1.1:550 No such user\n")
    };
    let alias = |(name, _)| format!("{name}@customer.test\t{name}\n");
    let forward = format!("{}@customer.test\t{}\n", FORWARD.0, FORWARD.1);
    ALIASES.map(alias).concat() + &forward + &user(DOMAINS[0], "") + &user(DOMAINS[1], ".second")
}

fn aliases() -> String {
    let aliases = ALIASES.map(|(name, list)| format!("{name}: {list}\n")).concat();
    format!("postmaster: alice@customer.test\nMAILER-DAEMON: postmaster\n{aliases}")
}

impl Sendmail {
    /// The configuration directory.
    pub fn config(&self) -> PathBuf {
        self.dir.join("etc")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("mail.log")
    }

    /// Directory of the queue files.
    pub fn queue(&self) -> PathBuf {
        self.dir.join("queue/mail")
    }

    /// Makes sendmail.cf and submit.cf, and compiles the maps and the aliases.
    pub fn compile(&self) -> Result<(), Error> {
        let etc = self.config();
        for name in ["sendmail", "submit"] {
            let output = run(Command::new("m4").arg(etc.join(name).with_extension("mc")))?;
            fs::write(etc.join(name).with_extension("cf"), output.stdout)?;
        }
        for map in MAPS {
            let mut command = Command::new(Path::new(FOLDER).join("usr/sbin/makemap"));
            command.arg("-C").arg(etc.join("sendmail.cf")).arg("hash").arg(etc.join(map));
            run(command.stdin(fs::File::open(etc.join(map))?))?;
        }
        run(self.command("sendmail.cf").arg("-bi"))?;
        Ok(())
    }

    /// Starts the daemon, which tries the queue every two seconds, and waits until it takes connections.
    pub fn run(&mut self) -> Result<(), Error> {
        let output = self.dir.join("sendmail.out");
        let mut process = Process::start(self.command("sendmail.cf").args(["-bD", "-q2s"]), &output)?;
        let listens = || std::net::TcpStream::connect(self.address()).is_ok();
        wait_for("Sendmail", || (listens() || process.ended()).then_some(()))?;
        if process.ended() {
            return Err(format!("Sendmail ended at once:\n{}{}", fs::read_to_string(output)?, self.log()).into());
        }
        self.process = Some(process);
        Ok(())
    }

    /// Stops the daemon; deliveries and sessions go on to their end.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// sendmail(8) with one of the configuration files. It logs beside the daemon.
    pub fn command(&self, configuration: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("-D").arg(self.log_file()).arg("-d89.8").arg("-C").arg(self.config().join(configuration));
        command
    }

    /// Tries everything in the queue now.
    pub fn flush(&self) -> Result<(), String> {
        run(self.command("sendmail.cf").arg("-q")).map(drop)
    }
}

impl MailServer for Sendmail {
    const NAME: &'static str = "Sendmail";
    const PREVIOUS: &'static str = "mc";
    const COMMAND: &'static str = "sendmail";
    const SETTINGS: (&'static str, &'static str) = (
        "mail_server = \"sendmail\"\n",
        "[sendmail]\ndirectory = \"@lab@/etc\"\nprogram = \"/usr/local/lib/conbool-milter-tests/sendmail/usr/libexec/sendmail/sendmail\"\n\
         [socketmap]\nsocket = \"unix:@lab@/queue/conbool/socketmap.sock\"\n",
    );
    const LOST_CONNECTION: &'static str = "collect: premature EOM";
    type Prepared = Prepared;

    fn prepare(lab: &Lab, previous: &str) -> Result<Prepared, Error> {
        Prepared::new(lab, previous)
    }

    fn add_fragments(prepared: &mut Prepared, from: &Path) -> Result<(), Error> {
        prepared.add_features(&fs::read_to_string(from.join("features.mc"))?);
        prepared.add_rules(&fs::read_to_string(from.join("rules.mc"))?);
        prepared.add_access(&fs::read_to_string(from.join("access"))?)
    }

    fn start(prepared: Prepared) -> Result<Self, Error> {
        prepared.start()
    }

    fn address(&self) -> SocketAddr {
        (MAIL_SERVER.1, 25).into()
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    fn queue_file(&self, id: &str) -> QueueFile {
        // The names of macros in it are no UTF-8.
        let file = fs::read(self.queue().join(format!("qf{id}"))).ok();
        let file = file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        maillog::sendmail::find(&self.log(), id, file.as_deref())
    }

    fn by_message_id(&self, message_id: &str) -> Option<String> {
        maillog::sendmail::by_message_id(&self.log(), message_id).into_iter().next()
    }

    fn delete(&self, queue_id: &str) -> Result<(), String> {
        for kind in ["qf", "df", "hf"] {
            match fs::remove_file(self.queue().join(format!("{kind}{queue_id}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.to_string()),
                _ => {}
            }
        }
        Ok(())
    }

    fn submission(&self) -> Command {
        self.command("submit.cf")
    }
}
