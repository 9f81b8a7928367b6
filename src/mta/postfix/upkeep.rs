//! Keeps the indexed sender table in step with the scope, and knows what Postfix is certain to find in it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::indexed_table::{self, Found, IndexedTable, TableError};
use super::instance::Instance;
use crate::address::AddressSet;
use crate::config::Config;
use crate::scope::{Entries, SenderTable};

/// How long after a change some process of Postfix may still use the table as it was: trivial-rewrite(8) looks every 10 s
/// whether a table was replaced, and the queue manager remembers its last answer for 30 s. The rest is for a host under
/// load.
pub const SETTLING_TIME: Duration = Duration::from_secs(60);

/// The sender table of a site, and what is known of it.
#[derive(Debug)]
pub struct Upkeep {
    known: Arc<ArcSwap<SenderTable>>,
    /// Whether the table is the pattern that setup wrote.
    pattern: bool,
    /// Whether Postfix uses the table.
    in_use: bool,
    contents: Option<Contents>,
    unsettled: Vec<Unsettled>,
    delimiters: String,
}

/// What the indexed table holds.
#[derive(Debug)]
struct Contents {
    generation: String,
    entries: Arc<AddressSet>,
}

/// Entries that changed, and when it is certain that Postfix uses the table as it is now.
#[derive(Debug)]
struct Unsettled {
    until: Instant,
    entries: Arc<AddressSet>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing: the table that setup made is all that is needed.
    NotNeeded,
    /// Nothing: there is no relay that takes mail, and no table of ours in use; or the mail server is one without tables.
    NoTable,
    /// Nothing: the table is in step.
    InStep,
    /// The table was replaced; it has so many entries.
    Written(usize),
}

impl Upkeep {
    /// The upkeep of the table that `known` tells of; nothing is known of it yet.
    pub fn new(known: Arc<ArcSwap<SenderTable>>) -> Self {
        known.store(Arc::default());
        Self { known, pattern: false, in_use: false, contents: None, unsettled: Vec::new(), delimiters: String::new() }
    }

    /// Writes the table if it does not hold these senders. `next_hop` is the relay's, `[host]:port`. Without a relay, a
    /// table that is in use all the same is emptied.
    ///
    /// Blocks for as long as postconf and postmap take.
    ///
    /// # Errors
    /// [`TableError`] if it cannot be written. What is told of the table is then true all the same.
    pub fn keep_in_step(
        &mut self,
        config: &Config,
        senders: &AddressSet,
        next_hop: Option<&str>,
    ) -> Result<Done, TableError> {
        let text = indexed_table::path(&config.state_directory);
        let is_needed = next_hop.is_some() && !config.has_static_sender_table();
        if !is_needed && matches!(config.postfix.config_directory.join("main.cf").try_exists(), Ok(false)) {
            // The mail server is on another host, where setup was done.
            return Ok(self.leave_to_the_pattern(next_hop, true));
        }
        let instance = Instance::read(&config.postfix)?;
        if !is_needed && !instance.uses(&text) {
            let uses_pattern = next_hop.is_some_and(|next_hop| instance.uses_pattern(config, next_hop));
            return Ok(self.leave_to_the_pattern(next_hop, uses_pattern));
        }
        self.in_use &= !std::mem::take(&mut self.pattern);
        let table = IndexedTable { text: &text, instance: &instance };
        let found = self.look(&table);
        let lines = next_hop.map(|next_hop| indexed_table::lines(senders, next_hop)).unwrap_or_default();
        if found.as_ref().is_some_and(|found| found.lines == lines) {
            self.tell(None);
            return Ok(Done::InStep);
        }
        let changed = Arc::new(difference(found.as_ref().map_or("", |found| &found.lines), &lines));
        // Before the table changes, nothing may be certain of what changes in it.
        match table.write(&lines, || self.tell(Some(&changed))) {
            Ok(generation) => {
                let entries: AddressSet = indexed_table::entries(&lines).collect();
                let done = Done::Written(entries.len());
                self.contents = Some(Contents { generation, entries: Arc::new(entries) });
                self.unsettle(changed, SystemTime::now());
                self.tell(None);
                Ok(done)
            }
            Err(error) => {
                self.look(&table);
                self.tell(None);
                Err(error)
            }
        }
    }

    /// False if Postfix is not set to use the table, or uses one that is out of date.
    pub fn is_in_use(&self) -> bool {
        self.in_use
    }

    /// When [`Self::settle`] will have something to do.
    pub fn next_settlement(&self) -> Option<Instant> {
        self.unsettled.iter().map(|unsettled| unsettled.until).min()
    }

    /// Lets the changes settle whose time is over.
    pub fn settle(&mut self) {
        let now = Instant::now();
        self.unsettled.retain(|unsettled| unsettled.until > now);
        self.tell(None);
    }

    fn leave_to_the_pattern(&mut self, next_hop: Option<&str>, in_use: bool) -> Done {
        (self.pattern, self.in_use, self.contents) = (true, in_use && next_hop.is_some(), None);
        self.tell(None);
        if next_hop.is_some() { Done::NotNeeded } else { Done::NoTable }
    }

    /// Finds out what the table holds and whether it is in use.
    fn look(&mut self, table: &IndexedTable<'_>) -> Option<Found> {
        let found = table.read();
        let as_before = |found: &Found| self.contents.as_ref().is_some_and(|c| c.generation == found.generation);
        match &found {
            None => self.contents = None,
            Some(found) if as_before(found) => {}
            Some(found) => {
                let entries: Arc<AddressSet> = Arc::new(indexed_table::entries(&found.lines).collect());
                self.unsettle(entries.clone(), found.made);
                self.contents = Some(Contents { generation: found.generation.clone(), entries });
            }
        }
        let in_use = table.instance.uses(table.text);
        if in_use && !self.in_use {
            let all = self.contents.as_ref().map(|contents| contents.entries.clone()).unwrap_or_default();
            self.unsettle(all, table.instance.configured);
        }
        self.in_use = in_use;
        self.delimiters.clone_from(&table.instance.delimiters);
        found
    }

    fn unsettle(&mut self, entries: Arc<AddressSet>, changed: SystemTime) {
        // A change that seems to lie in the future happened now at the latest.
        let left = SETTLING_TIME.saturating_sub(changed.elapsed().unwrap_or_default());
        if !left.is_zero() && !entries.is_empty() {
            self.unsettled.push(Unsettled { until: Instant::now() + left, entries });
        }
    }

    /// Tells what is certain; `changing` is not.
    fn tell(&self, changing: Option<&Arc<AddressSet>>) {
        let mut unsettled = self.unsettled.iter().map(|unsettled| &unsettled.entries).chain(changing);
        let table = match &self.contents {
            _ if self.pattern && self.in_use => SenderTable::HostedDomains,
            Some(contents) if self.in_use => SenderTable::Indexed(Entries {
                written: contents.entries.clone(),
                unsettled: match (unsettled.next(), unsettled.next()) {
                    (None, _) => Arc::default(),
                    (Some(one), None) => one.clone(),
                    (Some(one), Some(other)) => {
                        Arc::new([one, other].into_iter().chain(unsettled).flat_map(|set| set.iter()).collect())
                    }
                },
                delimiters: self.delimiters.clone(),
            }),
            _ => SenderTable::Unknown,
        };
        self.known.store(Arc::new(table));
    }
}

/// The entries of the lines that are in one text and not in the other.
fn difference(old: &str, new: &str) -> AddressSet {
    let [old_lines, new_lines] = [old, new].map(|text| text.lines().collect::<HashSet<_>>());
    let only = old_lines.symmetric_difference(&new_lines);
    only.flat_map(|line| indexed_table::entries(line)).collect()
}
