//! What the host's Sendmail has now.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::config;

/// The present configuration of Sendmail; by default nothing is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Existing {
    /// The text of sendmail.mc; `None` if there is none.
    pub mc: Option<String>,
    /// The text of sendmail.cf; `None` if there is none.
    pub cf: Option<String>,
    /// The text of the access map's source; `None` if there is none.
    pub access: Option<String>,
}

/// Why nothing can be said of it.
#[derive(Debug)]
pub enum ExistingError {
    /// A file cannot be read.
    File(PathBuf, io::Error),
}

impl fmt::Display for ExistingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {}", path.display(), config::reason(error)),
        }
    }
}

impl std::error::Error for ExistingError {}

impl Existing {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`ExistingError`]; that a file is not there is none.
    pub fn read(sendmail: &config::Sendmail) -> Result<Self, ExistingError> {
        let read = |name: &str| read(&sendmail.directory.join(name));
        Ok(Self { mc: read("sendmail.mc")?, cf: read("sendmail.cf")?, access: read("access")? })
    }
}

fn read(path: &Path) -> Result<Option<String>, ExistingError> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| {
            let error = io::Error::other("it is not in UTF-8; convert it first (iconv -t UTF-8)");
            ExistingError::File(path.to_owned(), error)
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ExistingError::File(path.to_owned(), error)),
    }
}
