//! What is wrong with a configuration: all of it, each with the place.

use std::fmt;
use std::path::PathBuf;

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration file.
    pub file: PathBuf,
    /// Line, from 1; `None` for what stands in no line, such as a key that is missing.
    pub line: Option<usize>,
    /// Column in characters, from 1; given for TOML syntax errors only.
    pub column: Option<usize>,
    /// The key, with its section (`relay.port`), where there is one.
    pub key: Option<String>,
    /// The value as written, what is wrong with it, and what to write instead.
    pub message: String,
}

impl fmt::Display for ConfigError {
    /// `file:line: key: message`; parts that do not exist are left out, a column follows its line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// All mistakes in the configuration, sorted by line; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    /// One error a line, without a newline after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
