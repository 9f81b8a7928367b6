//! The indexed sender table (postmap(1)): a text and the file that is made of it, in the daemon's state directory.
//!
//! The text says what the indexed file holds, and the indexed file says of which text it was made: both carry a
//! *generation*, as a key that can be no sender's. Whatever happens between the two renames, or to one of the files, the
//! generations then differ, and nothing is taken for known.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::command::{self, CommandError};
use super::instance::Instance;
use super::{readable, table};
use crate::address::AddressSet;
use crate::config::TableType;
use crate::scope::sender_table;

/// Why the sender table is not what it should be.
#[derive(Debug)]
pub enum TableError {
    /// One of Postfix's commands gave no answer.
    Command(CommandError),
    /// Postfix's default for indexed files is none that can be replaced at once.
    Type(String),
    /// postmap made a file in which what was written is not found.
    Unsound(PathBuf),
    /// The file system refused.
    File(PathBuf, io::Error),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::Type(name) => {
                let known: Vec<&str> = TableType::NAMES.iter().map(|(name, _)| *name).collect();
                let known = known.join(", ");
                write!(f, "default_database_type of Postfix is {name}: set postfix.table_type to one of {known}")
            }
            Self::Unsound(path) => write!(f, "{}: postmap made a file that lacks what was written", path.display()),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for TableError {}

impl From<CommandError> for TableError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

/// Where the table lies, without the extension of the indexed file.
pub fn path(state_directory: &Path) -> PathBuf {
    state_directory.join(table::SENDERS)
}

/// The indexed file that postmap(1) makes of this text.
pub fn indexed(table_type: TableType, text: &Path) -> PathBuf {
    let mut name = text.as_os_str().to_owned();
    name.push(format!(".{}", table_type.extension()));
    name.into()
}

/// The lines for these entries, in an order of their own, without those that [cannot be
/// written](sender_table::is_writable).
///
/// `next_hop` is the relay's, `[host]:port`. A domain of a set of which only a share is in scope has no line: a table
/// cannot tell who of it is.
pub fn lines(entries: &AddressSet, next_hop: &str) -> String {
    let whole_domains = entries.share().is_all();
    let mut entries: Vec<&str> = entries
        .iter()
        .filter(|entry| sender_table::is_writable(entry) && (whole_domains || !entry.starts_with('@')))
        .collect();
    entries.sort_unstable();
    let mut lines = String::with_capacity(entries.iter().map(|entry| entry.len() + next_hop.len() + 20).sum());
    for entry in entries {
        lines.extend([entry, VALUE, next_hop, "\n"]);
    }
    lines
}

/// What stands between an entry and the relay's next hop.
const VALUE: &str = "\tconbool-relay:";

/// The entries of lines of the table.
pub fn entries(lines: &str) -> impl Iterator<Item = &str> {
    lines.lines().filter_map(|line| line.split('\t').next())
}

/// What an indexed file is certain to hold.
#[derive(Debug)]
pub struct Found {
    /// Tells it from every other.
    pub generation: String,
    /// Its lines, without that of the generation.
    pub lines: String,
    /// When it was made.
    pub made: SystemTime,
}

/// The table of one Postfix instance.
#[derive(Debug)]
pub struct IndexedTable<'a> {
    /// The text; the indexed file lies beside it.
    pub text: &'a Path,
    /// The Postfix instance that reads it.
    pub instance: &'a Instance,
}

impl IndexedTable<'_> {
    /// What the indexed file is certain to hold; `None` if nothing is certain.
    pub fn read(&self) -> Option<Found> {
        let text = fs::read_to_string(self.text).ok()?;
        let made = fs::metadata(self.indexed(self.text)).and_then(|metadata| metadata.modified()).ok()?;
        let (generation, lines) = text.strip_prefix(HEAD)?.split_once("\tDUNNO\n")?;
        let found = || Found { generation: generation.to_owned(), lines: lines.to_owned(), made };
        self.holds(self.text, generation).then(found)
    }

    /// Puts these lines in the place of what there is, and gives back their generation. The indexed file is replaced at
    /// once; right before that, `ready` is called.
    ///
    /// # Errors
    /// [`TableError`] if that fails. Unless `ready` was called, the table is what it was.
    pub fn write(&self, lines: &str, ready: impl FnOnce()) -> Result<String, TableError> {
        let next = self.text.with_extension("next");
        let generation = generation();
        let written = self.prepare(&next, &generation, lines).and_then(|()| {
            ready();
            self.replace(&next)
        });
        if written.is_err() {
            // The first error is the one to tell.
            let _ = self.remove(&next);
        }
        written.map(|()| generation)
    }

    fn prepare(&self, next: &Path, generation: &str, lines: &str) -> Result<(), TableError> {
        let folder = self.text.parent().unwrap_or(self.text);
        fs::create_dir_all(folder).map_err(failed(folder))?;
        // Left over from a daemon that was killed.
        self.remove(next).map_err(failed(next))?;
        readable::write(next, &format!("{HEAD}{generation}\tDUNNO\n{lines}")).map_err(failed(next))?;
        command::run("postmap", &self.instance.config_directory, &[self.reference(next)])?;
        let indexed = self.indexed(next);
        File::open(&indexed).and_then(|file| readable::finish(&file)).map_err(failed(&indexed))?;
        if self.holds(next, generation) { Ok(()) } else { Err(TableError::Unsound(indexed)) }
    }

    fn replace(&self, next: &Path) -> Result<(), TableError> {
        let indexed = self.indexed(self.text);
        fs::rename(self.indexed(next), &indexed).map_err(failed(&indexed))?;
        fs::rename(next, self.text).map_err(failed(self.text))?;
        let folder = self.text.parent().unwrap_or(self.text);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
    }

    fn remove(&self, text: &Path) -> io::Result<()> {
        [self.indexed(text), text.to_owned()].iter().try_for_each(|path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    /// True if the indexed file beside this text has the key.
    fn holds(&self, text: &Path, key: &str) -> bool {
        let asked = ["-q".to_owned(), key.to_owned(), self.reference(text)];
        command::run("postmap", &self.instance.config_directory, &asked).is_ok_and(|found| found.trim() == "DUNNO")
    }

    /// `type:path`, as main.cf and postmap(1) name it.
    fn reference(&self, text: &Path) -> String {
        self.instance.reference(text)
    }

    fn indexed(&self, text: &Path) -> PathBuf {
        indexed(self.instance.table_type, text)
    }
}

/// How the text begins. A look-up of the line that follows, should anybody write from such a domain, changes nothing.
const HEAD: &str = "\
# Written by conbool-milter when the scope changes; do not edit.
# Envelope senders whose mail to other sites goes to the relay.
";

/// A key that no other table has, and no sender (RFC 2606, `.invalid`).
fn generation() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("@{}.{}.{}.invalid", now.as_nanos(), std::process::id(), table::SENDERS)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TableError {
    let path = path.to_owned();
    move |error| TableError::File(path, error)
}
