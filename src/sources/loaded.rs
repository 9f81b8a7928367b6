//! All scopes with what their sources said last.

mod status;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};

use super::group::{Answer, Group, Now, Policy, age};
use super::list_file::{ListFile, Look};
use super::snapshot::{Kind, Store};
use super::{Directory, Mistake};
use crate::address::AddressSet;
use crate::config::{Config, DEFAULT_SCOPE, Scope, ScopeMode};
use crate::scope::ScopeSets;
use crate::telemetry;
pub use status::Origin;

/// How long a start or a reload waits for the directory where a snapshot could do.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same where that snapshot is what a daemon that ran until now went by: mail servers wait for the one that takes over.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);

/// A list file, and whether all of its entries must be of hosted domains.
type FileKey = (PathBuf, bool);

/// The scopes of a configuration with the addresses that are in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Loaded {
    hosted: Arc<HashSet<String>>,
    policy: Policy,
    store: Store,
    directory: Option<String>,
    files: BTreeMap<FileKey, ListFile>,
    groups: BTreeMap<String, Group>,
    /// Groups of which nothing is known, and what is wrong with the directory's answers and the snapshots.
    unknown: BTreeMap<String, Vec<String>>,
    scopes: Vec<LoadedScope>,
}

#[derive(Debug, Clone)]
struct LoadedScope {
    name: String,
    config: Scope,
    set: Arc<AddressSet>,
    /// How many entries of the set are within the share.
    members: usize,
}

impl Loaded {
    /// Loads all scopes for the daemon: reads all files, and asks the directory for all groups. Groups of the same
    /// directory that are in `before` are taken from there and not asked for.
    ///
    /// # Errors
    /// Every mistake in the files, and every group of which nothing is known.
    pub async fn load(
        config: &Config,
        directory: Option<&Directory>,
        before: Option<&Self>,
    ) -> Result<Self, Vec<Mistake>> {
        let description = directory.map(|directory| directory.description.clone());
        let before = before.filter(|before| before.directory == description);
        let (config, known) = (config.clone(), before.map(|before| before.groups.clone()).unwrap_or_default());
        let already: BTreeSet<String> = known.keys().cloned().collect();
        let read = spawn_blocking(move || Self::read(&config, description, &known));
        let (loaded, mut mistakes) = read.await.map_err(internal_error)?;
        let answers = match directory {
            Some(directory) => loaded.ask(directory, &already).await,
            None => Vec::new(),
        };
        let finish = spawn_blocking(move || {
            let mut loaded = loaded;
            mistakes.extend(loaded.take_first_answers(answers));
            loaded.build(|_| true);
            if mistakes.is_empty() { Ok(loaded) } else { Err(mistakes) }
        });
        finish.await.map_err(internal_error)?
    }

    /// Loads all scopes as far as they are known on this host: files, and snapshots of groups of this directory.
    ///
    /// # Errors
    /// Every mistake in the files.
    pub fn offline(config: &Config, directory: Option<&Directory>) -> Result<Self, Vec<Mistake>> {
        let (mut loaded, mistakes) =
            Self::read(config, directory.map(|directory| directory.description.clone()), &BTreeMap::new());
        loaded.build(|_| true);
        if mistakes.is_empty() { Ok(loaded) } else { Err(mistakes) }
    }

    /// These scopes with the members that the directory gives for their groups now. Nothing is written or held back.
    ///
    /// # Errors
    /// Every group that the directory gives no answer for.
    pub async fn queried(mut self, directory: &Directory) -> Result<Self, Vec<Mistake>> {
        let now = Now::get();
        let names: BTreeSet<&String> = self.groups.keys().chain(self.unknown.keys()).collect();
        let (mut groups, mut mistakes) = (BTreeMap::new(), Vec::new());
        for name in names {
            match directory.members(name).await {
                Ok(raw) => drop(groups.insert(name.clone(), Group::answered(name, &raw, self.policy, now))),
                Err(message) => mistakes.push(Mistake { place: place(name), line: None, message, may_pass: true }),
            }
        }
        (self.groups, self.unknown) = (groups, BTreeMap::new());
        self.build(|_| true);
        if mistakes.is_empty() { Ok(self) } else { Err(mistakes) }
    }

    /// Everything that is on this host, and the mistakes in it. Groups in `known` need no snapshot. The sets are not made
    /// yet.
    fn read(config: &Config, directory: Option<String>, known: &BTreeMap<String, Group>) -> (Self, Vec<Mistake>) {
        let now = Now::get();
        let mut mistakes = Vec::new();
        let mut loaded = Self {
            hosted: Arc::new(config.domains.iter().cloned().collect()),
            policy: Policy { refresh: config.scope.refresh, hold_back: config.scope.hold_back },
            store: Store::new(&config.state_directory, directory.as_deref().unwrap_or_default()),
            directory,
            files: BTreeMap::new(),
            groups: BTreeMap::new(),
            unknown: BTreeMap::new(),
            scopes: Vec::new(),
        };
        for (name, scope) in config.scope.iter() {
            for path in &scope.files {
                let key = (path.clone(), name == DEFAULT_SCOPE);
                let hosted = key.1.then(|| &*loaded.hosted);
                match ListFile::load(path, hosted, now.time) {
                    Ok(file) => drop(loaded.files.insert(key, file)),
                    Err(found) => mistakes.extend(found),
                }
            }
            for group in &scope.groups {
                if let Some(known) = known.get(group) {
                    // The time between look-ups may be another now.
                    let mut known = known.clone();
                    known.due = known.due.min(now.instant + loaded.policy.refresh);
                    loaded.groups.insert(group.clone(), known);
                } else {
                    match Group::remembered(&loaded.store, group, now) {
                        Ok(Some(known)) => drop(loaded.groups.insert(group.clone(), known)),
                        Ok(None) => drop(loaded.unknown.insert(group.clone(), Vec::new())),
                        Err(problem) => drop(loaded.unknown.insert(group.clone(), vec![problem])),
                    }
                }
            }
            loaded.scopes.push(LoadedScope {
                name: name.to_owned(),
                config: scope.clone(),
                set: Arc::default(),
                members: 0,
            });
        }
        (loaded, mistakes)
    }

    /// Asks for all groups but those whose members are in memory already.
    async fn ask(&self, directory: &Directory, already: &BTreeSet<String>) -> Vec<(String, Answer)> {
        let now = Now::get();
        let mut asks = JoinSet::new();
        for name in self.groups.keys().chain(self.unknown.keys()).filter(|name| !already.contains(*name)) {
            let snapshot = self.groups.get(name).map(|group| age(group.known.fetched, now));
            let patience = snapshot.map(|age| patience(age, self.policy.refresh));
            let (directory, name) = (directory.clone(), name.clone());
            asks.spawn(async move {
                let asked = directory.members(&name);
                let answer = match patience {
                    Some(patience) => {
                        let late = |_| Err(format!("no answer within {} s", patience.as_secs()));
                        tokio::time::timeout(patience, asked).await.unwrap_or_else(late)
                    }
                    None => asked.await,
                };
                (name, answer)
            });
        }
        asks.join_all().await
    }

    fn take_first_answers(&mut self, answers: Vec<(String, Answer)>) -> Vec<Mistake> {
        if self.groups.is_empty() && self.unknown.is_empty() {
            return Vec::new();
        }
        if let Err(message) = self.store.prepare() {
            return vec![Mistake { place: "state_directory".into(), line: None, message, may_pass: true }];
        }
        let now = Now::get();
        for (name, answer) in answers {
            if self.groups.contains_key(&name) {
                self.take(&name, answer, now);
                if let Some(group) = self.groups.get(&name).filter(|group| group.problem.is_some()) {
                    telemetry::snapshot_used(&name, age(group.known.fetched, now));
                }
                continue;
            }
            match Group::first(&self.store, &name, answer, self.policy, now) {
                Ok(group) => {
                    self.groups.insert(name.clone(), group);
                    self.unknown.remove(&name);
                }
                Err(message) => self.unknown.entry(name).or_default().insert(0, message),
            }
        }
        self.unknown()
    }

    /// Takes in an answer of the directory. Returns whether the group has other members now.
    fn take(&mut self, name: &str, answer: Answer, now: Now) -> bool {
        let Some(group) = self.groups.get_mut(name) else { return false };
        let changed = group.take(&self.store, name, answer, self.policy, now);
        if group.problem.is_some() {
            for scope in self.scopes.iter().filter(|scope| scope.config.groups.iter().any(|group| group == name)) {
                telemetry::scope_refresh_failed(&scope.name);
            }
        }
        changed
    }

    /// One look at everything, on a thread that may wait: files that have changed, and the answers of the directory that
    /// have come since the last look. Returns whether a scope has other members now.
    pub(super) fn look(&mut self, answers: Vec<(String, Answer)>) -> bool {
        let now = Now::get();
        let mut changed_files = BTreeSet::new();
        for ((path, hosted_only), file) in &mut self.files {
            match file.look(path, hosted_only.then_some(&*self.hosted), now.time) {
                Look::Same => {}
                Look::Changed => drop(changed_files.insert(path.clone())),
                Look::Refused => {
                    for scope in self.scopes.iter().filter(|scope| scope.config.files.contains(path)) {
                        telemetry::scope_refresh_failed(&scope.name);
                    }
                }
            }
        }
        let mut changed_groups = BTreeSet::new();
        for (name, group) in &mut self.groups {
            if group.look(&self.store, name, now) {
                changed_groups.insert(name.clone());
            }
        }
        for (name, answer) in answers {
            if self.take(&name, answer, now) {
                changed_groups.insert(name);
            }
        }
        let changed = !changed_files.is_empty() || !changed_groups.is_empty();
        if changed {
            let before: Vec<usize> = self.scopes.iter().map(|scope| scope.members).collect();
            let is_concerned = |scope: &Scope| {
                scope.files.iter().any(|file| changed_files.contains(file))
                    || scope.groups.iter().any(|group| changed_groups.contains(group))
            };
            self.build(is_concerned);
            for (scope, before) in self.scopes.iter().zip(before).filter(|(scope, _)| is_concerned(&scope.config)) {
                telemetry::scope_changed(&scope.name, before, scope.members);
            }
        }
        changed
    }

    /// Makes the sets of the scopes for which `wanted` says so.
    fn build(&mut self, wanted: impl Fn(&Scope) -> bool) {
        for index in 0..self.scopes.len() {
            if wanted(&self.scopes[index].config) {
                let set = self.set(&self.scopes[index]);
                let scope = &mut self.scopes[index];
                scope.members = if set.share().is_all() { set.len() } else { set.iter().count() };
                scope.set = Arc::new(set);
            }
        }
    }

    fn set(&self, scope: &LoadedScope) -> AddressSet {
        let is_default = scope.name == DEFAULT_SCOPE;
        let config = &scope.config;
        let mut parts = vec![self.written(config)];
        parts.extend(config.files.iter().filter_map(|file| Some(self.file(file, is_default)?.members.clone())));
        for group in config.groups.iter().filter_map(|group| self.groups.get(group)) {
            let members = &group.known.members;
            // People have private addresses too, and those are not the relay's.
            let is_hosted = |entry: &&str| !is_default || self.hosted.contains(domain_of(entry));
            let all = members.entries().all(|entry| is_hosted(&entry));
            parts.push(if all { members.clone() } else { members.entries().filter(is_hosted).collect() });
        }
        parts.retain(|part| !part.is_empty());
        let whole = match parts.as_slice() {
            [only] => only.clone(),
            several => several.iter().flat_map(AddressSet::entries).collect(),
        };
        whole.with_share(config.share)
    }

    /// What stands in the configuration itself.
    fn written(&self, scope: &Scope) -> AddressSet {
        match scope.mode {
            ScopeMode::All => self.hosted.iter().map(|domain| format!("@{domain}")).collect(),
            ScopeMode::List | ScopeMode::Group => scope.senders.iter().collect(),
        }
    }

    fn file(&self, path: &Path, is_default: bool) -> Option<&ListFile> {
        self.files.get(&(path.to_owned(), is_default))
    }

    /// The addresses that are in force.
    pub fn sets(&self) -> ScopeSets {
        let mut sets = ScopeSets::default();
        for scope in &self.scopes {
            if scope.name == DEFAULT_SCOPE {
                sets.default = scope.set.clone();
            } else {
                sets.named.insert(scope.name.clone(), scope.set.clone());
            }
        }
        sets
    }

    /// Whether anything here can change while the daemon runs.
    pub fn can_change(&self) -> bool {
        !self.files.is_empty() || !self.groups.is_empty()
    }

    /// Makes every group one that should be looked up now.
    #[cfg(test)]
    pub(super) fn make_due(&mut self) {
        self.groups.values_mut().for_each(|group| group.due = Instant::now());
    }

    /// The groups that should be looked up now.
    pub(super) fn due(&self) -> impl Iterator<Item = &String> {
        let now = Instant::now();
        self.groups.iter().filter(move |(_, group)| group.due <= now).map(|(name, _)| name)
    }

    /// The groups of which nothing is known on this host; the scopes with such a group lack its members.
    pub fn unknown(&self) -> Vec<Mistake> {
        let mistake = |(name, problems): (&String, &Vec<String>)| {
            let snapshot = format!("there is no snapshot of its members in {}", self.store.folder().display());
            let mut message = problems.clone();
            // What is wrong with a snapshot that is there has been said.
            if !message.iter().any(|problem| problem.contains("snapshot")) {
                message.push(snapshot);
            }
            Mistake { place: place(name), line: None, message: message.join("; "), may_pass: true }
        };
        self.unknown.iter().map(mistake).collect()
    }

    /// Puts what was held back of the groups of these scopes (all, if there is no name) in force, for a daemon that
    /// runs now and for one that is started later. Returns each group with the number of addresses that it has now.
    ///
    /// # Errors
    /// The file, and why this cannot be done.
    pub fn accept_held(&self, scope: Option<&str>) -> Result<Vec<(String, usize)>, String> {
        let wanted = self.scopes.iter().filter(|candidate| scope.is_none_or(|scope| scope == candidate.name));
        let groups: BTreeSet<&String> = wanted.flat_map(|scope| &scope.config.groups).collect();
        let mut accepted = Vec::new();
        for group in groups {
            if let Some(held) = self.store.read(group, Kind::Held)? {
                self.store.accept(group)?;
                accepted.push((group.clone(), held.members.len()));
            }
        }
        Ok(accepted)
    }
}

/// How long to wait for the directory where there is a snapshot of this age. While a daemon runs, one gets as old as
/// `refresh`, and a little older.
fn patience(age: Duration, refresh: Duration) -> Duration {
    if age <= 2 * refresh { SHORT_PATIENCE } else { PATIENCE }
}

fn internal_error(_: tokio::task::JoinError) -> Vec<Mistake> {
    let message = "loading it ended in an internal error".into();
    vec![Mistake { place: "scope".into(), line: None, message, may_pass: true }]
}

/// A group as it is named in errors.
fn place(group: &str) -> String {
    format!("group {group:?}")
}

fn domain_of(entry: &str) -> &str {
    entry.rsplit_once('@').map_or("", |(_, domain)| domain)
}
