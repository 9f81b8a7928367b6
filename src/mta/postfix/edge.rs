//! The edge: a Postfix instance of its own, all of whose configuration is ours, as the smart host of a mail server that
//! has no milter (the inner server).
//!
//! Its own settings are written first; then what every Postfix gets from us is merged into them as for any other
//! instance, so that messages are routed as everywhere.

mod host;
mod instance;
mod settings;

use std::fmt;
use std::path::PathBuf;

use super::revision::{self, RevisionError};
use super::{CommandError, Error, Existing, Listeners, Request, command, generate};
use crate::config::{Config, Edge};
use crate::mta::scratch::Scratch;
use crate::provider::Provider;

pub use host::Host;
pub use instance::{GROUP, Instance};
pub use settings::{PASSWORDS, SASL_DIRECTORY, file_names};

/// What every main.cf of an edge begins with, by which it is known again.
pub const MARK: &str = "# The edge: written by `conbool-milter setup edge`";

/// The directories of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `config_directory`.
    pub config: PathBuf,
    /// `queue_directory`.
    pub queue: PathBuf,
    /// `data_directory`.
    pub data: PathBuf,
}

/// All that the configuration directory of the instance holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// File name and text, main.cf and master.cf last.
    pub files: Vec<(String, String)>,
    /// The sender table, where the daemon has to write it before mail for other sites is delivered.
    pub written_by_daemon: Option<PathBuf>,
}

/// Why there is no edge.
#[derive(Debug)]
pub enum EdgeError {
    /// A value does not fit.
    Value(Error),
    /// Its configuration could not be made.
    Revision(RevisionError),
    /// Postfix has an instance of this name, or in this directory, that is none of ours.
    Taken(String),
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(error) => error.fmt(f),
            Self::Revision(error) => error.fmt(f),
            Self::Taken(instance) => {
                write!(f, "there is an instance {instance} already: set edge.instance to another name")
            }
        }
    }
}

impl std::error::Error for EdgeError {}

impl From<Error> for EdgeError {
    fn from(error: Error) -> Self {
        Self::Value(error)
    }
}

impl From<RevisionError> for EdgeError {
    fn from(error: RevisionError) -> Self {
        Self::Revision(error)
    }
}

impl From<CommandError> for EdgeError {
    fn from(error: CommandError) -> Self {
        Self::Revision(error.into())
    }
}

/// Generates the whole configuration of the edge's instance. Postfix's own tools put master.cf together, in a directory
/// for the time being: nothing of the host changes.
///
/// # Errors
/// [`EdgeError`]. Nothing is left behind.
pub fn files(config: &Config, edge: &Edge, provider: &Provider, host: &Host) -> Result<Files, EdgeError> {
    let layout = host.layout(config, edge);
    let stage = Scratch::new().map_err(RevisionError::from)?;
    let postconf = |arguments: &[&str]| command::run("postconf", &stage.0, arguments);
    let basic = settings::Basic { config, edge, host, layout: &layout };
    stage.write("main.cf", &basic.main_cf()?).map_err(RevisionError::from)?;
    stage.write("master.cf", &host.services()?).map_err(RevisionError::from)?;
    // Not chrooted, so that sockets and files are reached by their names and nothing needs to be copied.
    postconf(&["-F", "*/*/chroot=n"])?;
    postconf(&["-MX", "smtp/inet"])?;
    let request = Request {
        config,
        provider,
        config_directory: &layout.config,
        existing: Existing::read(&stage.0)?,
        listeners: listeners(edge),
    };
    let fragments = generate(&request)?;
    // Lists of ours that are in the merged ones now.
    let replaced: Vec<&str> = fragments.replaced_settings.iter().map(String::as_str).collect();
    if !replaced.is_empty() {
        postconf(&[&["-X"], replaced.as_slice()].concat())?;
    }
    let main_cf = revision::read(&stage.0.join("main.cf"))? + &fragments.main_cf;
    let master_cf = revision::read(&stage.0.join("master.cf"))? + &basic.master_cf(&request)? + &fragments.master_cf;
    let mut files = fragments.tables;
    files.extend(basic.tables()?);
    files.extend([("main.cf".to_owned(), main_cf), ("master.cf".to_owned(), master_cf)]);
    Ok(Files { files, written_by_daemon: fragments.written_by_daemon })
}

/// Ports of their own, so that an edge and another instance with the milter go together on one host.
pub fn listeners(edge: &Edge) -> Listeners {
    let relay_port = edge.split_port.saturating_add(1);
    Listeners { direct_port: edge.split_port, relay_port, ..Listeners::default() }
}
