//! A Postfix instance as a service: does it run, is its configuration in order, and does it take a new one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::command::{self, CommandError};
use super::{Existing, Listeners};

/// How long the split listeners may take to listen after a reload.
const LISTENING_TIME: Duration = Duration::from_secs(20);

/// Else `postfix check` would look at all instances of the host (postmulti(1)).
const ALONE: [&str; 3] = ["multi_instance_enable=no", "multi_instance_wrapper=", "multi_instance_directories="];

/// Where an instance logs by itself, `postfix check` would say in that log what is wrong.
const TELL_US: [&str; 2] = ["maillog_file=/dev/stdout", "maillog_file_prefixes=/dev/stdout"];

/// True if the instance runs: its master(8) holds its lock.
///
/// # Errors
/// If postconf or master cannot be run.
pub fn is_running(config_directory: &Path) -> Result<bool, String> {
    let daemons = command::run("postconf", config_directory, &["-hx", "daemon_directory"]).map_err(said)?;
    let master = Path::new(daemons.trim()).join("master");
    let mut command = Command::new(&master);
    command.arg("-c").arg(config_directory).arg("-t").env_remove("MAIL_CONFIG");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    // It tells the opposite: success if nobody holds the lock.
    status.map(|status| !status.success()).map_err(|error| format!("cannot run {}: {error}", master.display()))
}

/// Postfix's own check of an instance (postfix(1)).
///
/// # Errors
/// What it says.
pub fn check(config_directory: &Path) -> Result<(), String> {
    checked(config_directory).map_err(|text| {
        let hint = format!("`postfix -c {} check` on a terminal shows why", config_directory.display());
        if text.is_empty() { format!("postfix check fails; {hint}") } else { format!("postfix check: {text}") }
    })
}

/// The same for a copy of a configuration, which is changed for this.
///
/// # Errors
/// What it says.
pub(super) fn check_copy(copy: &Path) -> Result<(), String> {
    // What postconf does not understand, no part of Postfix does.
    for arguments in [&["-n"][..], &["-M"], &["-P"]] {
        command::run("postconf", copy, arguments).map_err(said)?;
    }
    let log = command::run("postconf", copy, &["-h", "maillog_file"]).map_err(said)?;
    let tell_us: &[&str] = if log.trim().is_empty() { &[] } else { &TELL_US };
    command::run("postconf", copy, &[&["-e"], &ALONE[..], tell_us].concat()).map_err(said)?;
    checked(copy).map_err(|text| match text.is_empty() {
        true => {
            "postfix check fails without a word, as it does where a basic setting such as mail_owner is wrong; try \
                 `postfix check` on a terminal"
                .to_owned()
        }
        false => format!("postfix check: {text}"),
    })
}

fn checked(config_directory: &Path) -> Result<(), String> {
    match command::run("postfix", config_directory, &["check"]) {
        Ok(_) => Ok(()),
        Err(CommandError::Failed(_, text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

/// Has the running instance read its configuration again, and waits until it listens where it should.
///
/// `listeners` is `None` for a configuration without split listeners.
///
/// # Errors
/// If it does not, or has ended: then it is started.
pub fn reload(config_directory: &Path, listeners: Option<Listeners>) -> Result<(), String> {
    command::run("postfix", config_directory, &["reload"]).map_err(said)?;
    let end = Instant::now() + LISTENING_TIME;
    loop {
        // master(8) ends if it cannot do what master.cf says, and that takes a moment.
        sleep(Duration::from_millis(300));
        if !is_running(config_directory)? {
            let started = command::run("postfix", config_directory, &["start"]).map_err(said);
            return match started {
                Ok(_) if is_running(config_directory)? => Ok(()),
                _ => Err("Postfix ended when it was to read its configuration again; the mail log says why".to_owned()),
            };
        }
        let silent = listeners.into_iter().flat_map(addresses).find(|address| TcpStream::connect(address).is_err());
        match silent {
            None => return Ok(()),
            Some(address) if Instant::now() > end => {
                return Err(format!("Postfix does not listen on {address}; the mail log says why"));
            }
            Some(_) => {}
        }
    }
}

/// Sees that nobody else listens where the split listeners will: master(8) would end.
///
/// # Errors
/// A sentence.
pub fn ports_are_free(existing: &Existing, listeners: Listeners) -> Result<(), String> {
    let ours = existing.our_services();
    for address in addresses(listeners) {
        if ours.iter().any(|service| *service == format!("{address}/inet")) {
            continue;
        }
        TcpListener::bind(address).map_err(|error| {
            format!(
                "a split listener of Postfix is to listen on {address}, but that is not possible: {error}; choose others \
                 with --split-direct-port and --split-relay-port"
            )
        })?;
    }
    Ok(())
}

fn addresses(listeners: Listeners) -> [SocketAddr; 2] {
    [listeners.direct_port, listeners.relay_port].map(|port| SocketAddr::new(listeners.address, port))
}

fn said(error: CommandError) -> String {
    error.to_string()
}
