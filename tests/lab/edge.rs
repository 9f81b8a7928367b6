//! A site whose mail server has no milter: a Postfix without one as the inner server, and before it the edge, made by
//! `conbool-milter setup edge` on a host of its own.
//!
//! All of its instances write one log, so that a message is followed from one to the next.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::certificates::Identity;
use super::daemon::{Daemon, program};
use super::mail::{Mail, Sent};
use super::postfix::{Postfix, add_socket_directory, mailbox_table, user_id};
use super::process::run;
use super::site::{MailServer, Site};
use super::smtp_client::SmtpClient;
use super::users::add_mailboxes;
use super::{Error, Lab, MAIL_SERVER, namespace};

/// Name and address of the inner server.
pub const INNER: (&str, Ipv4Addr) = ("inner.customer.test", Ipv4Addr::new(127, 0, 7, 1));

/// Where the instance listens that the host has already.
const PRIMARY: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 9);

/// A client in the inner server's network.
const DESK: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);

/// Our configuration.
const CONFIG: &str = "\
provider = \"conbool\"
domains = [\"customer.test\", \"second.test\"]
relay_networks = [\"127.0.3.1\"]
socket = \"unix:@lab@/queue/conbool/milter.sock\"
state_directory = \"@lab@/state\"

[relay]
host = \"relay.conbool.test\"
ca_file = \"@lab@/tls/ca.pem\"

[log]
format = \"json\"

[loops]
max_host_passes = 3

[edge]
inner = \"[inner.customer.test]:25\"
inner_networks = [\"127.0.7.1\"]
listen = [\"127.0.1.1\"]
myhostname = \"mail.customer.test\"
certificate = \"@lab@/tls/server.pem\"
key = \"@lab@/tls/server.key\"
";

/// The inner server: hosted mailboxes, and the edge as smart host.
const INNER_MAIN_CF: &str = "\
compatibility_level = 3.6
maillog_file = @lab@/mail.log
maillog_file_prefixes = @lab@
queue_directory = @lab@/inner/queue
data_directory = @lab@/inner/data
syslog_name = inner
myhostname = inner.customer.test
mydestination =
inet_interfaces = 127.0.7.1
smtp_bind_address = 127.0.7.1
inet_protocols = ipv4
mynetworks = 127.0.5.0/24
alias_maps =
alias_database =
virtual_mailbox_domains = customer.test, second.test
virtual_mailbox_base = @lab@/mailboxes
virtual_mailbox_maps = texthash:@lab@/inner/etc/mailboxes
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
relayhost = [mail.customer.test]:25
smtpd_tls_security_level = may
smtpd_tls_cert_file = @lab@/tls/inner.pem
smtpd_tls_key_file = @lab@/tls/inner.key
smtp_tls_security_level = secure
smtp_tls_CAfile = @lab@/tls/ca.pem
minimal_backoff_time = 3s
maximal_backoff_time = 3s
queue_run_delay = 1s
";

/// The instance that the host has already, as its administrator left it.
const PRIMARY_MAIN_CF: &str = "\
# The administrator's own words.
compatibility_level = 3.6
myhostname = host.customer.test
mydestination = localhost
inet_interfaces = 127.0.1.9
inet_protocols = ipv4
alias_maps =
alias_database =
maillog_file = @lab@/mail.log
maillog_file_prefixes = @lab@
";

/// A host on which the edge is to be, and everything around it.
pub struct Host {
    /// Everything around.
    pub lab: Lab,
    /// The instance that the host has already.
    pub primary: Option<Postfix>,
    /// Our configuration.
    pub config: PathBuf,
    /// The inner server's certificate, which it may show as a client too.
    pub identity: Identity,
}

/// The edge at work, and the inner server behind it. Everything stops when it is dropped.
pub struct Edge {
    /// The edge as a site: its mailboxes are the inner server's.
    pub site: Site,
    /// The inner server.
    pub inner: Postfix,
    /// The instance that the host has besides.
    pub primary: Option<Postfix>,
    /// Our configuration.
    pub config: PathBuf,
    /// The inner server's certificate.
    pub identity: Identity,
}

fn fill_in(lab: &Lab, text: &str) -> String {
    text.replace("@lab@", &lab.dir.to_string_lossy())
}

/// The usual configuration with these settings at its end, in section edge.
fn configuration(settings: &str) -> String {
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let replaced: Vec<String> = settings.lines().filter_map(key).collect();
    let (before, edge) = CONFIG.split_at(CONFIG.find("[edge]").unwrap_or(CONFIG.len()));
    let kept = edge.lines().filter(|line| key(line).is_none_or(|key| !replaced.contains(&key)));
    before.to_owned() + &kept.chain(settings.lines()).map(|line| format!("{line}\n")).collect::<String>()
}

impl Host {
    /// A host with these settings of section edge beside the usual ones or in their place; `@inner@` in them is the
    /// fingerprint of the inner server's certificate. It has a Postfix already if `has_primary`. The calling thread is then
    /// in its network and its file system.
    pub fn new(name: &str, settings: &str, has_primary: bool) -> Result<Self, Error> {
        let lab = Lab::start(name)?;
        for address in [INNER.1, PRIMARY] {
            lab.add_address(address)?;
        }
        namespace::own_system(&lab.dir.join("system"))?;
        let identity = lab.authority.issue("inner", INNER.0)?;
        for name in ["queue", "state"] {
            fs::create_dir_all(lab.dir.join(name))?;
        }
        chown(lab.dir.join("state"), Some(user_id(super::daemon::USER)?), None)?;
        add_socket_directory(&lab.dir.join("queue"))?;
        let config = lab.dir.join("conbool-milter.toml");
        fs::write(&config, fill_in(&lab, &configuration(settings)).replace("@inner@", &identity.fingerprint()))?;
        // As the package leaves them.
        fs::create_dir_all("/var/spool/postfix")?;
        fs::create_dir_all("/var/lib/postfix")?;
        chown("/var/lib/postfix", Some(user_id("postfix")?), None)?;
        let mut host = Self { lab, primary: None, config, identity };
        if has_primary {
            let (etc, spool) = (PathBuf::from("/etc/postfix"), PathBuf::from("/var/spool/postfix"));
            host.primary =
                Some(start(&host.lab, PRIMARY_MAIN_CF, &etc, &spool, Path::new("/var/lib/postfix"), PRIMARY)?);
        }
        Ok(host)
    }

    /// Runs `conbool-milter setup edge` with these arguments.
    pub fn setup(&self, arguments: &[&str]) -> Result<Output, Error> {
        setup(&self.config, arguments)
    }

    /// Applies the configuration, and starts the daemon and the inner server, with more lines of its main.cf.
    pub fn apply(self, inner_main_cf: &str) -> Result<Edge, Error> {
        let output = self.setup(&["--apply"])?;
        if !output.status.success() {
            let log = fs::read_to_string(self.lab.dir.join("mail.log")).unwrap_or_default();
            return Err(format!("{}\n{log}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let config = conbool_milter::config::Config::load(&self.config)?;
        let is_only = config.edge.as_ref().is_some_and(conbool_milter::config::Edge::is_only_instance);
        let spool = if is_only { "/var/spool/postfix" } else { "/var/spool/postfix-conbool" };
        let edge = Postfix::of(&self.lab.dir, config.postfix.config_directory, spool.into(), MAIL_SERVER.1);
        let daemon = Daemon::start(&self.config, &self.lab.dir.join("daemon.log"))?;
        add_mailboxes(&self.lab.dir)?;
        let own = self.lab.dir.join("inner");
        let main_cf = INNER_MAIN_CF.to_owned() + inner_main_cf;
        let inner = start(&self.lab, &main_cf, &own.join("etc"), &own.join("queue"), &own.join("data"), INNER.1)?;
        let site = Site { daemon, mail_server: edge, lab: self.lab };
        Ok(Edge { site, inner, primary: self.primary, config: self.config, identity: self.identity })
    }
}

impl Edge {
    /// Runs `conbool-milter setup edge` with these arguments.
    pub fn setup(&self, arguments: &[&str]) -> Result<Output, Error> {
        setup(&self.config, arguments)
    }

    /// Hands a message to the inner server, as a desk does.
    pub fn send_from_desk(&self, mail: &Mail) -> Result<Sent, Error> {
        let mut client = SmtpClient::connect(DESK, self.inner.address())?;
        client.command("EHLO desk.customer.test")?;
        mail.say(client)
    }

    /// A session with the edge from the inner server's own address, up to where MAIL is due. With TLS it may show a
    /// certificate.
    pub fn as_inner(&self, tls: bool, identity: Option<&Identity>) -> Result<SmtpClient, Error> {
        let mut client = SmtpClient::connect(INNER.1, self.site.mail_server.address())?;
        client.command("EHLO inner.customer.test")?;
        if tls {
            client = client.start_tls(MAIL_SERVER.0, self.site.lab.authority.client(identity)?)?;
            client.command("EHLO inner.customer.test")?;
        }
        Ok(client)
    }
}

fn setup(config: &Path, arguments: &[&str]) -> Result<Output, Error> {
    Ok(Command::new(program()?).args(["setup", "edge", "--config"]).arg(config).args(arguments).output()?)
}

/// Starts an instance that is not chrooted.
fn start(lab: &Lab, main_cf: &str, etc: &Path, queue: &Path, data: &Path, address: Ipv4Addr) -> Result<Postfix, Error> {
    for directory in [etc, queue, data] {
        fs::create_dir_all(directory)?;
    }
    chown(data, Some(user_id("postfix")?), None)?;
    fs::write(etc.join("main.cf"), fill_in(lab, main_cf))?;
    fs::write(etc.join("mailboxes"), mailbox_table())?;
    fs::copy("/etc/postfix/master.cf.proto", etc.join("master.cf"))?;
    run(Command::new("postconf").arg("-c").arg(etc).args(["-F", "*/*/chroot=n"]))?;
    let postfix = Postfix::of(&lab.dir, etc.to_owned(), queue.to_owned(), address);
    postfix.control("start").map_err(|error| format!("{error}{}", postfix.log()))?;
    Ok(postfix)
}
