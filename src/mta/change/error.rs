//! Why a change was not applied.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config;

/// Why a change was not applied. Unless it is [`Self::NotRestored`], everything is as it was.
#[derive(Debug)]
pub enum ChangeError {
    /// The file system refused: which file, what was tried, why.
    File(PathBuf, &'static str, io::Error),
    /// The file is no longer as it was when the change was made.
    Meanwhile(PathBuf),
    /// Another process changes files with the same back-ups.
    Busy(PathBuf),
    /// An earlier process was killed while it changed files: its back-up.
    Interrupted(PathBuf),
    /// The directory of the back-ups is not safe, or one of them cannot be understood.
    Backup(PathBuf, String),
    /// A check, or what puts the change in force, said no: what it said.
    Refused(String),
    /// Not everything could be put back.
    NotRestored {
        /// What went wrong first.
        cause: Box<ChangeError>,
        /// What went wrong then.
        problems: Vec<String>,
        /// Where the files are as they were.
        backup: PathBuf,
    },
}

impl ChangeError {
    /// The same, with something else that went wrong after everything was put back.
    pub(super) fn with_problem(self, problem: String) -> Self {
        match self {
            Self::NotRestored { cause, mut problems, backup } => {
                problems.push(problem);
                Self::NotRestored { cause, problems, backup }
            }
            other => Self::Refused(format!("{other}\nThe files are as they were, but: {problem}")),
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, tried, error) => {
                write!(formatter, "{}: {tried}: {}", path.display(), config::reason(error))
            }
            Self::Meanwhile(path) => {
                write!(formatter, "{}: somebody else has just changed it; look at it and try again", path.display())
            }
            Self::Busy(path) => {
                write!(
                    formatter,
                    "another conbool-milter setup is at work (it holds {}); try again later",
                    path.display()
                )
            }
            Self::Interrupted(path) => write!(
                formatter,
                "an earlier change was interrupted and must be taken back first: its back-up is {}",
                path.display()
            ),
            Self::Backup(path, problem) => write!(formatter, "{}: {problem}", path.display()),
            Self::Refused(text) => formatter.write_str(text.trim_end()),
            Self::NotRestored { cause, problems, backup } => {
                write!(formatter, "{cause}\nNot everything could be put back:")?;
                problems.iter().try_for_each(|problem| write!(formatter, "\n  {problem}"))?;
                write!(formatter, "\nThe files as they were are in {}", backup.display())
            }
        }
    }
}

impl std::error::Error for ChangeError {}

/// Makes an error of the file system one of a change.
pub(super) fn failed(path: &Path, tried: &'static str) -> impl FnOnce(io::Error) -> ChangeError {
    let path = path.to_owned();
    move |error| ChangeError::File(path, tried, error)
}
