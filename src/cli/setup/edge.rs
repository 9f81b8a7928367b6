//! `conbool-milter setup edge`: a Postfix instance of its own as the smart host of a mail server without a milter.

mod apply;
mod checklist;
mod flags;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::config::{Config, Edge, ONLY_INSTANCE};
use crate::mta::change::Change;
use crate::mta::postfix::edge::{self, Host, Instance, MARK};
use crate::mta::postfix::service;
use crate::provider::Provider;

/// Set up a Postfix instance as the smart host of a mail server that has no milter; shows what it would do
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Do it, after a back-up
    #[arg(long, conflicts_with_all = ["rollback", "checklist"])]
    apply: bool,
    /// Take the edge away again: its instance, or what its last change did to the only one
    #[arg(long, conflicts_with = "checklist")]
    rollback: bool,
    /// Print what is to be set in the inner server
    #[arg(long, value_name = "SERVER")]
    checklist: Option<checklist::Server>,
    #[command(flatten)]
    flags: flags::Flags,
}

/// What is to become of this host.
struct Plan {
    config: Config,
    edge: Edge,
    host: Host,
    instance: Instance,
    /// postmulti(1) commands that make the instance.
    commands: Vec<Vec<String>>,
    files: edge::Files,
    /// Our configuration, and what it is to hold.
    config_file: (PathBuf, String),
}

/// Does what the arguments say, and prints it.
///
/// # Errors
/// A sentence for the administrator.
pub fn run(config: &Path, arguments: &Arguments) -> Result<(), String> {
    if arguments.rollback {
        return apply::roll_back(config);
    }
    let plan = Plan::new(config, &arguments.flags)?;
    if let Some(server) = arguments.checklist {
        return print(&checklist::text(server, &plan.config, &plan.edge));
    }
    let obstacles = plan.obstacles()?;
    let change = plan.change()?;
    let mut text = change.diff();
    for command in &plan.commands {
        text.push_str(&format!("# postmulti {}\n", command.join(" ")));
    }
    if change.is_empty() && plan.commands.is_empty() && is_running(&plan.instance)? {
        return print("The edge is set up and runs; there is nothing to change.\n");
    }
    print(&text)?;
    if !obstacles.is_empty() {
        return Err(obstacles.join("\n"));
    }
    if !arguments.apply {
        return print("\nNothing has been changed. Run it again with --apply to do this.\n");
    }
    apply::apply(&plan)
}

/// # Errors
/// If standard output cannot be written.
fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

/// An error with the file that it is about.
fn about(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

impl Plan {
    fn new(config: &Path, flags: &flags::Flags) -> Result<Self, String> {
        let file = std::path::absolute(config).map_err(about(config))?;
        let text = std::fs::read_to_string(&file).map_err(about(&file))?;
        let host = Host::read().map_err(|error| error.to_string())?;
        let mut text = flags.written_into(&text)?;
        let mut config = Config::parse(&text, &file).map_err(|errors| errors.to_string())?;
        if config.edge.is_some() && !host.has_primary && !text_sets_instance(&text) {
            // It would be another instance on the next run, when there is a primary one.
            text = flags::only_instance(&text)?;
            config = Config::parse(&text, &file).map_err(|errors| errors.to_string())?;
        }
        let Some(edge) = config.edge.clone() else {
            let problem = "has no section edge; write one, or name the inner server: --inner [inner.example.com]:25 \
                           --inner-network 192.0.2.10 --certificate FILE --key FILE";
            return Err(format!("{}: {problem}", file.display()));
        };
        let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
        let instance = Instance::new(&edge, host.layout(&config, &edge));
        if !edge.is_only_instance() && !host.has_primary {
            let primary = host.primary.display();
            return Err(format!(
                "{primary} has no main.cf, so no instance can be made beside it: set edge.instance = \"{ONLY_INSTANCE}\" \
                 (--only-instance) if this host is to have no other Postfix"
            ));
        }
        let commands = instance.missing(&host).map_err(|error| error.to_string())?;
        let files = edge::files(&config, &edge, &provider, &host).map_err(|error| error.to_string())?;
        Ok(Self { config, edge, host, instance, commands, files, config_file: (file, text) })
    }

    /// What the files are to hold; what they hold now is read here.
    fn change(&self) -> Result<Change, String> {
        let mut change = Change::new();
        let directory = &self.instance.layout.config;
        let stale = edge::file_names().filter(|name| self.files.files.iter().all(|(file, _)| file != name));
        for name in stale {
            change.remove(&directory.join(name)).map_err(|error| error.to_string())?;
        }
        for (name, text) in &self.files.files {
            change.write(&directory.join(name), text.as_bytes()).map_err(|error| error.to_string())?;
        }
        let (file, text) = &self.config_file;
        change.write(file, text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(change)
    }

    /// What keeps the edge from working, as far as it can be seen before.
    fn obstacles(&self) -> Result<Vec<String>, String> {
        let mut obstacles = Vec::new();
        if self.edge.is_only_instance() && self.host.has_primary && !is_ours(&self.instance) {
            obstacles.extend(self.lost_with_main_cf()?);
        }
        if is_running(&self.instance)? {
            return Ok(obstacles);
        }
        let everywhere = ["0.0.0.0".parse(), "::".parse()].into_iter().flatten().collect();
        let addresses: Vec<std::net::IpAddr> =
            if self.edge.listen.is_empty() { everywhere } else { self.edge.listen.clone() };
        let listener =
            addresses.iter().map(|address| (*address, self.edge.listen_port, "edge.listen or edge.listen_port"));
        let split = [self.edge.split_port, self.edge.split_port + 1];
        let split = split.map(|port| (std::net::Ipv4Addr::LOCALHOST.into(), port, "edge.split_port"));
        for (address, port, key) in listener.chain(split) {
            match TcpListener::bind((address, port)).map_err(|error| error.kind()) {
                Err(std::io::ErrorKind::AddrInUse) => obstacles.push(format!(
                    "{} is in use by another program, perhaps another Postfix instance: set {key} to something else",
                    std::net::SocketAddr::new(address, port)
                )),
                Err(std::io::ErrorKind::AddrNotAvailable) if !self.edge.listen.is_empty() => {
                    obstacles.push(format!("{address} is no address of this host: set edge.listen to one that is"));
                }
                _ => {}
            }
        }
        Ok(obstacles)
    }
}

impl Plan {
    /// What would be lost with the main.cf of the host's only instance.
    fn lost_with_main_cf(&self) -> Result<Vec<String>, String> {
        let mut lost = Vec::new();
        let primary = self.host.primary.display();
        if !self.host.instances.is_empty() {
            lost.push(format!(
                "{primary}/main.cf names other instances ({}), so the edge cannot be the only one: choose a name for it with \
                 --instance",
                self.host.instances
            ));
        }
        match self.instance.queued().map_err(|error| error.to_string())? {
            0 => {}
            queued => lost.push(format!(
                "{queued} messages are in the queue of the instance in {primary}, and the edge would not deliver them as it \
                 does: let them be delivered first"
            )),
        }
        Ok(lost)
    }
}

/// Whether our configuration says which instance is meant.
fn text_sets_instance(text: &str) -> bool {
    crate::config::line_of(text, "edge.instance").is_some()
}

/// True if the instance is there and runs.
fn is_running(instance: &Instance) -> Result<bool, String> {
    let directory = &instance.layout.config;
    Ok(directory.join("main.cf").exists() && service::is_running(directory)?)
}

/// True if the instance's main.cf was written by this command.
fn is_ours(instance: &Instance) -> bool {
    let main_cf = instance.layout.config.join("main.cf");
    std::fs::read_to_string(main_cf).is_ok_and(|text| text.starts_with(MARK))
}
