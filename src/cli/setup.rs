//! `conbool-milter setup`: from nothing to the first relayed message. Without a subcommand it is the assistant, for the
//! Postfix or Sendmail of this host; the subcommands are for other mail servers, one file each.

mod answers;
mod ask;
mod config_file;
mod daemon;
mod directories;
mod edge;
mod exchange_online;
mod install;
mod mta;
mod open_xchange;
mod postfix;
mod rollback;
mod sendmail;
mod systemd;
mod wired;
mod zimbra;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::Config;
use crate::mta::change;
use crate::mta::postfix::{Existing, Listeners};

/// Where the back-ups are, in the state directory.
const BACKUPS: &str = "backups";

/// Set up this host: asks what it has to know, shows what it would change, does it when told, and can take it back
///
/// Without a terminal, or with --unattended, what the flags do not say is taken from the configuration file and from
/// the mail server; what is missing then is an error. Nothing is changed without --apply, or a yes at the prompt.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(subcommand)]
    server: Option<Server>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, clap::Subcommand)]
enum Server {
    Edge(Box<edge::Arguments>),
    Postfix(postfix::Arguments),
    Sendmail(sendmail::Arguments),
    OpenXchange(open_xchange::Arguments),
    Zimbra(zimbra::Arguments),
    ExchangeOnline(Box<exchange_online::Arguments>),
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Provider: the name of a built-in one, or the path of a folder
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Hosted domain; give it once for each [default: those of the mail server]
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<String>,
    /// Mail server to set up [default: the one on this host]
    #[arg(long, value_name = "NAME")]
    mail_server: Option<mta::MailServer>,
    /// Network that the relay connects from; the provider tells it; give it once for each
    #[arg(long = "relay-network", value_name = "NETWORK")]
    relay_networks: Vec<String>,
    /// Network of clients of your own; give it once for each [default: those that the mail server relays for]
    #[arg(long = "internal-network", value_name = "NETWORK")]
    internal_networks: Vec<String>,
    /// Whose mail goes to the relay: "all", or a file with an address or @domain a line
    #[arg(long, value_name = "all|FILE")]
    scope: Option<String>,
    /// A setting that the provider asks for, such as customer_id=4711; give it once for each
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Members of a scope that the provider asks for, such as avg=/etc/conbool-milter/avg; give it once for each
    #[arg(long = "scope-file", value_name = "NAME=FILE")]
    scope_files: Vec<String>,
    /// Host name of the relay [default: the provider's]
    #[arg(long, value_name = "HOST")]
    relay_host: Option<String>,
    /// TCP port of the relay
    #[arg(long, value_name = "PORT")]
    relay_port: Option<u16>,
    /// Trust anchors for the relay's certificate, in PEM [default: the host's]
    #[arg(long, value_name = "FILE")]
    relay_ca_file: Option<PathBuf>,
    /// Where exempt mail goes, such as "[mail.example.com]:25" [default: relayhost of Postfix, or else the recipient's MX]
    #[arg(long, value_name = "NEXT_HOP")]
    direct_next_hop: Option<String>,
    /// Socket of the milter [default: conbool/milter.sock in the queue directory of Postfix, or for Sendmail
    /// /run/conbool-milter/milter.sock]
    #[arg(long, value_name = "SOCKET")]
    socket: Option<String>,
    /// Where the daemon keeps its state, and setup its back-ups
    #[arg(long, value_name = "DIR")]
    state_directory: Option<PathBuf>,
    /// Configuration directory of the Postfix instance [default: that of the only one]
    #[arg(long, value_name = "DIR")]
    postfix_config: Option<PathBuf>,
    /// Directory of sendmail.mc and sendmail.cf [default: /etc/mail]
    #[arg(long, value_name = "DIR", conflicts_with = "postfix_config")]
    sendmail_config: Option<PathBuf>,
    /// Sendmail itself [default: /usr/sbin/sendmail]
    #[arg(long, value_name = "FILE", conflicts_with = "postfix_config", hide_short_help = true)]
    sendmail_program: Option<PathBuf>,
    #[command(flatten)]
    listeners: ListenerFlags,
    /// Ask nothing, even on a terminal
    #[arg(long)]
    unattended: bool,
    /// Put the changes in force
    #[arg(long)]
    apply: bool,
    /// Go back to the files before the last change; with --apply, do it
    #[arg(long)]
    rollback: bool,
    /// With --rollback: even if somebody else has changed the files since
    #[arg(long, requires = "rollback")]
    force: bool,
    /// Tell whether a mail server of this host is wired to conbool-milter, by setup or by hand: exit status 0 and a line for
    /// each place, 1 if none is, 2 if that cannot be told
    #[arg(long, conflicts_with_all = ["apply", "rollback", "unattended"])]
    wired: bool,
    /// Seconds to wait for the daemon
    #[arg(long, value_name = "SECONDS", default_value_t = 60, hide_short_help = true)]
    wait: u64,
}

/// Where the split listeners of Postfix listen.
#[derive(Debug, Clone, Default, clap::Args)]
struct ListenerFlags {
    /// Loopback address of the split listeners [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    split_address: Option<IpAddr>,
    /// Port of the split listener for exempt messages [default: 25035]
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    split_direct_port: Option<u16>,
    /// Port of the split listener for messages that go to the relay [default: 25036]
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    split_relay_port: Option<u16>,
}

impl ListenerFlags {
    /// What the flags say, or else what an earlier run has set up.
    fn over(&self, existing: &Existing) -> Listeners {
        let before = existing.listeners();
        Listeners {
            address: self.split_address.unwrap_or(before.address),
            direct_port: self.split_direct_port.unwrap_or(before.direct_port),
            relay_port: self.split_relay_port.unwrap_or(before.relay_port),
        }
    }
}

impl Flags {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.wait)
    }

    fn way_back(&self) -> rollback::Asked<'_> {
        rollback::Asked { state_directory: self.state_directory.as_deref(), apply: self.apply, force: self.force }
    }
}

/// Sets up what the arguments name, or answers what they ask; gives back the exit status.
///
/// # Errors
/// A sentence for the administrator.
pub fn run(config: &Path, arguments: &Arguments) -> Result<ExitCode, String> {
    let done = match &arguments.server {
        None if arguments.flags.wired => return Ok(wired::run(config)),
        None if arguments.flags.rollback => rollback::run(config, &arguments.flags.way_back()),
        None => install::run(config, &arguments.flags),
        Some(Server::Postfix(arguments)) => postfix::run(config, arguments),
        Some(Server::Sendmail(arguments)) => sendmail::run(config, arguments),
        Some(Server::Edge(arguments)) => edge::run(config, arguments),
        Some(Server::OpenXchange(arguments)) => open_xchange::run(config, arguments),
        Some(Server::Zimbra(arguments)) => zimbra::run(config, arguments),
        Some(Server::ExchangeOnline(arguments)) => exchange_online::run(config, arguments),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The Postfix instance of an edge has a main.cf that is written as a whole.
///
/// # Errors
/// A sentence, if the configuration is an edge's.
fn not_of_an_edge(config: &Config) -> Result<(), String> {
    match config.edge {
        Some(_) => {
            Err("The configuration has a section [edge]: set it up with `conbool-milter setup edge`.".to_owned())
        }
        None => Ok(()),
    }
}

/// Loads a configuration that says of the site what a mail server has to know.
///
/// # Errors
/// As [`crate::cli::load`], and a sentence if it is the one that packages install.
fn load(file: &Path) -> Result<Config, String> {
    let (config, ..) = crate::cli::load(file)?;
    match config.is_set_up() {
        true => Ok(config),
        false => Err(format!(
            "{}: names no domains yet. Run `conbool-milter setup`; or write domains and relay_networks into it, and take out \
             mode = \"monitor\" when its mail is to be changed and routed.",
            file.display()
        )),
    }
}

/// Puts back what a run that was killed has left half-done, and tells what it was. `config` is what our configuration says
/// until then.
///
/// # Errors
/// If there is such a thing and it cannot be put back, or is not to be now.
fn recover(backups: &Path, config: &Config, apply: bool) -> Result<(), String> {
    let Some(backup) = change::interrupted(backups).map_err(|error| error.to_string())? else { return Ok(()) };
    if !apply {
        return Err(format!(
            "An earlier run was killed while it changed files (its back-up: {}). Run this with --apply: it puts them back first.",
            backup.directory().display()
        ));
    }
    let files = change::recover(backups).map_err(|error| error.to_string())?;
    eprintln!("An earlier run was killed while it changed files. Put back as they were:");
    for file in &files {
        eprintln!("  {}", file.display());
    }
    match mta::of_files(files.iter().map(PathBuf::as_path), config) {
        Some(mta) if mta.is_running()? => mta.reload(),
        _ => Ok(()),
    }
}
