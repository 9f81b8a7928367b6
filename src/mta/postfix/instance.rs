//! What a running daemon has to know of a Postfix instance to write its sender table.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::command;
use super::indexed_table::TableError;
use super::{list, table};
use crate::config::{self, Config, TableType};

/// A Postfix instance, as postconf(1) tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its configuration directory.
    pub config_directory: PathBuf,
    /// The kind of indexed files to write for it.
    pub table_type: TableType,
    /// `recipient_delimiter`.
    pub delimiters: String,
    /// When its main.cf changed last.
    pub configured: SystemTime,
    /// `sender_dependent_default_transport_maps`.
    sender_tables: Vec<String>,
}

impl Instance {
    /// Asks postconf.
    ///
    /// # Errors
    /// [`TableError`] if there is no such instance, or it has no kind of indexed file that can be used.
    pub fn read(settings: &config::Postfix) -> Result<Self, TableError> {
        const PARAMETERS: [&str; 4] =
            ["-hx", "default_database_type", "recipient_delimiter", "sender_dependent_default_transport_maps"];
        let values = command::run("postconf", &settings.config_directory, &PARAMETERS)?;
        let mut values = values.lines().map(str::trim);
        let mut next = || values.next().unwrap_or_default().to_owned();
        let default = next();
        let table_type = settings.table_type.or_else(|| TableType::named(&default)).ok_or(TableError::Type(default))?;
        let (delimiters, tables) = (next(), next());
        let main_cf = settings.config_directory.join("main.cf");
        let configured = fs::metadata(&main_cf).and_then(|metadata| metadata.modified());
        Ok(Self {
            configured: configured.map_err(|error| TableError::File(main_cf, error))?,
            config_directory: settings.config_directory.clone(),
            table_type,
            delimiters,
            sender_tables: list::split(&tables).into_iter().map(str::to_owned).collect(),
        })
    }

    /// `type:path`, as main.cf names an indexed table.
    pub fn reference(&self, text: &Path) -> String {
        format!("{}:{}", self.table_type.name(), text.display())
    }

    /// True if it looks senders up in this table before any other.
    pub fn uses(&self, text: &Path) -> bool {
        self.sender_tables.first().is_some_and(|first| *first == self.reference(text))
    }

    /// True if the table that it looks senders up in first is the pattern that setup writes for this configuration.
    /// `next_hop` is the relay's.
    pub fn uses_pattern(&self, config: &Config, next_hop: &str) -> bool {
        let path = self.sender_tables.first().and_then(|first| first.strip_prefix("regexp:")).map(Path::new);
        let file = path.filter(|path| path.file_name().is_some_and(|name| name == table::SENDERS));
        let Some(written) = file.and_then(|file| fs::read_to_string(file).ok()) else { return false };
        table::rules(&written) == table::rules(&table::senders(config, next_hop))
    }
}
