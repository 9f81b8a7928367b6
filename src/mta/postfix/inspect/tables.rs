//! The look-up tables.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Inspection, list, quoted};
use crate::finding::Status;
use crate::mta::postfix::indexed_table::{self, IndexedTable};
use crate::mta::postfix::instance::Instance;
use crate::mta::postfix::table;

const CHECK: &str = "table";
const SENDER_TABLE: &str = "sender-table";

impl Inspection<'_> {
    /// Compares the tables that setup writes with what is needed.
    pub(super) fn tables(&mut self) {
        for (name, needed) in self.needed.fragments.tables.clone() {
            let path = self.request.config_directory.join(&name);
            let shown = path.display().to_string();
            match fs::read_to_string(&path) {
                Ok(text) if table::rules(&text) == table::rules(&needed) => {
                    if self.is_safe(CHECK, &path) {
                        self.pass(CHECK, &shown, format!("up to date, {} rules", table::rules(&text).len()));
                    }
                }
                Ok(text) => {
                    let rules = table::rules(&needed);
                    let missing = rules.iter().find(|rule| !text.lines().any(|line| line == **rule));
                    let seen = match missing {
                        Some(rule) => format!("out of date: it lacks `{rule}`"),
                        None => {
                            "out of date: it has rules, or an order, that the configuration does not give".to_owned()
                        }
                    };
                    let mend = self.setup();
                    self.mend(Status::Fail, (CHECK, &shown), seen, mend);
                }
                Err(error) => {
                    let status =
                        if error.kind() == io::ErrorKind::PermissionDenied { Status::Unknown } else { Status::Fail };
                    let mend = self.setup();
                    self.mend(status, (CHECK, &shown), format!("cannot be read: {error}"), mend);
                }
            }
        }
    }

    /// Looks at the sender table that the daemon writes, if it is one.
    pub(super) fn sender_table(&mut self) {
        let Some(indexed) = self.needed.fragments.written_by_daemon.clone() else { return };
        let shown = indexed.display().to_string();
        let start = "start conbool-milter, or reload it (SIGHUP): it writes the table";
        let instance = match Instance::read(&self.examined.config.postfix) {
            Ok(instance) => instance,
            Err(error) => return self.add(SENDER_TABLE, shown, Status::Fail, error.to_string()),
        };
        let text = indexed_table::path(&self.examined.config.state_directory);
        let table = IndexedTable { text: &text, instance: &instance };
        if let Err(error) = fs::File::open(&indexed) {
            let seen = format!("cannot be read: {error}; without it Postfix defers all mail for other sites");
            let status = if error.kind() == io::ErrorKind::PermissionDenied { Status::Unknown } else { Status::Fail };
            return self.mend(status, (SENDER_TABLE, &shown), seen, start);
        }
        let next_hop = self.needed.relay_next_hop().to_owned();
        let lines = self.examined.senders.map(|senders| indexed_table::lines(senders, &next_hop));
        match (table.read(), lines) {
            (None, _) => {
                let seen = "the indexed file is not the one that was made of the text beside it";
                self.mend(Status::Fail, (SENDER_TABLE, &shown), seen, start);
            }
            (Some(found), Some(lines)) if found.lines != lines => {
                let seen = format!(
                    "out of date: {} entries, where the scope has {}; the milter marks the messages meanwhile",
                    found.lines.lines().count(),
                    lines.lines().count()
                );
                self.mend(Status::Warn, (SENDER_TABLE, &shown), seen, start);
            }
            (Some(found), _) => {
                self.pass(SENDER_TABLE, &shown, format!("up to date, {} entries", found.lines.lines().count()));
            }
        }
    }

    /// Finds out whether the file is one that Postfix can read and nobody else than root can change.
    fn is_safe(&mut self, check: &'static str, path: &Path) -> bool {
        let shown = path.display().to_string();
        let Ok(metadata) = fs::metadata(path) else { return true };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o022 == 0 && mode & 0o004 != 0 {
            return true;
        }
        let (status, what) = match mode & 0o022 {
            0 => (Status::Warn, "Postfix's processes without privileges (proxymap) cannot read it"),
            _ => (Status::Fail, "others than its owner can change who is trusted and where mail goes"),
        };
        let mend = format!("chmod 644 {}", quoted(&shown));
        self.mend(status, (check, &shown), format!("mode {mode:04o}: {what}"), mend);
        false
    }

    /// The tables that a parameter names.
    pub(super) fn tables_of(&self, parameter: &str) -> Vec<String> {
        let value = self.existing().in_force(parameter).unwrap_or_default();
        list::split(value).into_iter().filter(|item| item.contains(':')).map(str::to_owned).collect()
    }
}
