//! A customer's site: a lab with a mail server and the daemon in it, set up from a file in `tests/sites`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use conbool_milter::config::Config;
use conbool_milter::lock_down::Mode;
use conbool_milter::provider::Provider;

use super::daemon::{Daemon, program};
use super::maillog::QueueFile;
use super::postfix::Postfix;
use super::process::{run, wait_for};
use super::{Error, Lab, MAIL_SERVER};

/// The sender table that the daemon writes for Postfix, in the lab's directory.
pub const SENDER_TABLE: &str = "state/conbool_senders.db";

/// A mail server of the lab, as sites and text cases need it; what it has besides is for tests of its own.
pub trait MailServer: Sized {
    /// Its name, as text cases write it.
    const NAME: &'static str;
    /// Extension of the file in `tests/sites` with what a site has before the milter comes.
    const PREVIOUS: &'static str;
    /// Its name, as `setup` takes it.
    const COMMAND: &'static str;
    /// Settings that the lab adds to the daemon's configuration: top-level keys, and sections.
    const SETTINGS: (&'static str, &'static str);
    /// Part of the log line about a client that disconnects before its message is complete.
    const LOST_CONNECTION: &'static str;
    /// What is laid out but not yet running.
    type Prepared;

    /// Lays it out, with what the site had before the milter.
    fn prepare(lab: &Lab, previous: &str) -> Result<Self::Prepared, Error>;

    /// Adds what `setup … --output` has written into a directory.
    fn add_fragments(prepared: &mut Self::Prepared, from: &Path) -> Result<(), Error>;

    /// Starts it.
    fn start(prepared: Self::Prepared) -> Result<Self, Error>;

    /// Where it listens for mail.
    fn address(&self) -> SocketAddr;

    /// Everything logged so far.
    fn log(&self) -> String;

    /// What the log and the queue tell about one queue id.
    fn queue_file(&self, id: &str) -> QueueFile;

    /// Queue id of the message with this Message-ID, once it is in the log.
    fn by_message_id(&self, message_id: &str) -> Option<String>;

    /// Removes one message from the queue, if it is still there.
    fn delete(&self, queue_id: &str) -> Result<(), String>;

    /// sendmail(1), by which programs on the host send.
    fn submission(&self) -> Command;
}

/// A site at work. Everything stops when it is dropped.
pub struct Site<M = Postfix> {
    /// The milter.
    pub daemon: Daemon,
    /// The mail server.
    pub mail_server: M,
    /// Everything around.
    pub lab: Lab,
}

impl Site {
    /// A site with Postfix; see [`Site::described`].
    pub fn start(name: &str) -> Result<Self, Error> {
        Self::described(name)
    }

    /// A site with Postfix; see [`Site::configured`].
    pub fn configure(name: &str, config: &str, main_cf: &str, script: &str) -> Result<Self, Error> {
        Self::configured(name, config, main_cf, script)
    }
}

impl<M: MailServer> Site<M> {
    /// Starts the site that `tests/sites/<name>.toml` describes. Its mail server had before the lines of
    /// `<name>.main.cf`, or for Sendmail `<name>.mc`, if there is such a file. `@lab@` in all of them stands for the
    /// lab's directory. `<name>.sieve` becomes `site.sieve` next to the configuration.
    ///
    /// The calling thread is then in the site's network.
    pub fn described(name: &str) -> Result<Self, Error> {
        let sites = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sites");
        let file = sites.join(name).with_extension("toml");
        let config = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let text = |extension: &str| fs::read_to_string(sites.join(name).with_extension(extension)).unwrap_or_default();
        Self::configured(&format!("{name}-{}", M::COMMAND), &config, &text(M::PREVIOUS), &text("sieve"))
    }

    /// Starts a site with this daemon configuration, these lines for the mail server, and this script in `site.sieve`,
    /// which the configuration may name. Where the lab keeps state and mail server is added to the configuration.
    pub fn configured(name: &str, config: &str, previous: &str, script: &str) -> Result<Self, Error> {
        let lab = Lab::start(name)?;
        let mut prepared = M::prepare(&lab, previous)?;
        fs::write(lab.dir.join("site.sieve"), script)?;
        let file = lab.dir.join("conbool-milter.toml");
        let (keys, sections) = M::SETTINGS;
        let config = format!("state_directory = \"@lab@/state\"\n{keys}{config}\n{sections}");
        fs::write(&file, lab.fill_in(&config))?;
        let fragments = lab.dir.join("fragments");
        let mut setup = Command::new(program()?);
        setup.args(["setup", M::COMMAND, "--config"]).arg(&file).arg("--output").arg(&fragments);
        run(&mut setup)?;
        M::add_fragments(&mut prepared, &fragments)?;
        let daemon = Daemon::start(&file, &lab.dir.join("daemon.log"))?;
        let config = Config::load(&file)?;
        let table = lab.dir.join(SENDER_TABLE);
        if M::NAME == Postfix::NAME && !config.has_static_sender_table() {
            wait_for("the sender table", || table.exists().then_some(()))?;
        }
        let of_provider = || Provider::load(&config.provider).map_or(Mode::Off, |provider| provider.lock_down);
        let is_watched = config.lock_down.mode.unwrap_or_else(of_provider) == Mode::Auto;
        if let Some(mx_hosts) = config.lock_down.mx_hosts.as_ref().filter(|_| is_watched) {
            // It takes more than one look at the MX records before strangers are refused.
            let ours = mx_hosts.iter().any(|host| host == MAIL_SERVER.0);
            let state = if ours { "lock-down is enforced" } else { "lock-down is not enforced yet" };
            let known = || daemon.log().matches(state).count() >= config.domains.len();
            wait_for("what the MX records say of lock-down", || known().then_some(()))?;
        }
        Ok(Self { daemon, mail_server: M::start(prepared)?, lab })
    }
}
