//! The edge: a Postfix instance of its own, all of whose configuration is ours, as the smart host of a mail server that
//! has no milter (the inner server).
//!
//! Its own settings are written first; then what every Postfix gets from us is merged into them as for any other
//! instance, so that messages are routed as everywhere.

mod host;
mod instance;
mod settings;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::{CommandError, Error, Existing, Listeners, Request, command, generate};
use crate::config::{Config, Edge};

pub use host::Host;
pub use instance::{GROUP, Instance};

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

/// Why there is no configuration for an edge.
#[derive(Debug)]
pub enum EdgeError {
    /// A value does not fit.
    Value(Error),
    /// A command of Postfix failed.
    Command(CommandError),
    /// A file could not be read or written.
    File(PathBuf, io::Error),
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(error) => error.fmt(f),
            Self::Command(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for EdgeError {}

impl From<Error> for EdgeError {
    fn from(error: Error) -> Self {
        Self::Value(error)
    }
}

impl From<CommandError> for EdgeError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

/// Generates the whole configuration of the edge's instance. Postfix's own tools put master.cf together, in a directory
/// for the time being: nothing of the host changes.
///
/// # Errors
/// [`EdgeError`]. Nothing is left behind.
pub fn files(config: &Config, edge: &Edge, provider_relay_host: &str, host: &Host) -> Result<Files, EdgeError> {
    let layout = host.layout(config, edge);
    let stage = Stage::new()?;
    let basic = settings::Basic { config, edge, host, layout: &layout };
    stage.write("main.cf", &basic.main_cf()?)?;
    stage.write("master.cf", &host.services()?)?;
    // Not chrooted, so that sockets and files are reached by their names and nothing needs to be copied.
    stage.postconf(&["-F", "*/*/chroot=n"])?;
    stage.postconf(&["-MX", "smtp/inet"])?;
    let request = Request {
        config,
        provider_relay_host,
        config_directory: &layout.config,
        existing: Existing::read(stage.path())?,
        listeners: listeners(edge),
    };
    let fragments = generate(&request)?;
    // Lists of ours that are in the merged ones now.
    let replaced: Vec<&str> = fragments.replaced_settings.iter().map(String::as_str).collect();
    if !replaced.is_empty() {
        stage.postconf(&[&["-X"], replaced.as_slice()].concat())?;
    }
    let main_cf = stage.read("main.cf")? + &fragments.main_cf;
    let master_cf = stage.read("master.cf")? + &basic.master_cf(&request)? + &fragments.master_cf;
    let mut files = fragments.tables;
    files.extend(basic.tables()?);
    files.extend([("main.cf".to_owned(), main_cf), ("master.cf".to_owned(), master_cf)]);
    Ok(Files { files, written_by_daemon: fragments.written_by_daemon })
}

/// Ports of their own, so that an edge and another instance with the milter go together on one host.
fn listeners(edge: &Edge) -> Listeners {
    let relay_port = edge.split_port.saturating_add(1);
    Listeners { direct_port: edge.split_port, relay_port, ..Listeners::default() }
}

/// A directory in which configuration files are put together; it goes when dropped.
struct Stage(PathBuf);

impl Stage {
    fn new() -> Result<Self, EdgeError> {
        let path = std::env::temp_dir().join(format!("conbool-milter-edge-{}", std::process::id()));
        // One that is there already, and be it a symbolic link, is an error.
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(EdgeError::File(path, error)),
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, text: &str) -> Result<(), EdgeError> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(|error| EdgeError::File(path, error))
    }

    fn read(&self, name: &str) -> Result<String, EdgeError> {
        let path = self.0.join(name);
        fs::read_to_string(&path).map_err(|error| EdgeError::File(path, error))
    }

    fn postconf(&self, arguments: &[&str]) -> Result<(), EdgeError> {
        command::run("postconf", &self.0, arguments)?;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left in the temporary directory does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
