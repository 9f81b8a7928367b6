//! Section `[postfix]`.

use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::{Config, Edge, ScopeMode, files};

/// Where the Postfix configuration is looked for when `postfix.config_directory` is not given.
pub const DEFAULT_POSTFIX_DIRECTORY: &str = "/etc/postfix";

/// The Postfix instance whose sender table the daemon writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Postfix {
    /// `postfix.config_directory`: absolute, default `/etc/postfix`, with section `[edge]` that of its instance.
    pub config_directory: PathBuf,
    /// `postfix.table_type`; `None` means the instance's `default_database_type`.
    pub table_type: Option<TableType>,
}

/// A kind of indexed file that Postfix reads and postmap(1) writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableType {
    /// Berkeley DB hash.
    Hash,
    /// Berkeley DB B-tree.
    Btree,
    /// Constant database.
    Cdb,
    /// OpenLDAP LMDB.
    Lmdb,
}

impl TableType {
    /// All of them with the names that Postfix has for them (DATABASE_README).
    pub const NAMES: [(&str, Self); 4] =
        [("hash", Self::Hash), ("btree", Self::Btree), ("cdb", Self::Cdb), ("lmdb", Self::Lmdb)];

    /// The type of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Btree => "btree",
            Self::Cdb => "cdb",
            Self::Lmdb => "lmdb",
        }
    }

    /// What postmap(1) appends to the name of the file, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Hash | Self::Btree => "db",
            Self::Cdb => "cdb",
            Self::Lmdb => "lmdb",
        }
    }
}

impl Config {
    /// True if one pattern says who is in scope, which setup can write into a table once: all senders of the hosted
    /// domains. Otherwise the daemon writes a table, and replaces it when the scope changes.
    pub fn has_static_sender_table(&self) -> bool {
        self.scope.default.mode == ScopeMode::All && self.scope.default.share.is_all()
    }
}

/// Asks for every key of the section.
pub fn read(reader: &mut Reader, folder: &Path, edge: Option<&Edge>) -> Postfix {
    let directory = reader
        .string("postfix.config_directory", r#""/etc/postfix""#, |written| files::resolve(folder, written))
        .unwrap_or_else(|| edge.map_or_else(|| DEFAULT_POSTFIX_DIRECTORY.into(), Edge::default_directory));
    Postfix { config_directory: directory, table_type: reader.choice("postfix.table_type", &TableType::NAMES) }
}
