//! All scopes with what their sources said last.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};

use super::group::{Answer, Group, Now, Policy, age};
use super::list_file::{self, ListFile};
use super::snapshot::{Kind, Store};
use super::{Directory, Mistake, SourceStatus, Status};
use crate::address::{Address, AddressSet};
use crate::config::{Config, DEFAULT_SCOPE, Scope, ScopeMode};
use crate::scope::ScopeSets;
use crate::telemetry;

/// How long a start or a reload waits for the directory where a snapshot could do.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// What an address is in a scope by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// In words: `senders`, a file with a line, a group, a domain.
    pub source: String,
    /// The entry: the address, that without its extension, or `@domain`.
    pub entry: String,
    /// How long ago the source said so.
    pub age: Duration,
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
        let (config, before) = (config.clone(), before.cloned());
        let description = directory.map(|directory| directory.description.clone());
        let read = spawn_blocking(move || Self::read(&config, description, before.as_ref()));
        let (loaded, mut mistakes) = read.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let answers = match directory {
            Some(directory) => loaded.ask(directory).await,
            None => Vec::new(),
        };
        let finish = spawn_blocking(move || {
            let mut loaded = loaded;
            mistakes.extend(loaded.take_first_answers(answers));
            loaded.build(|_| true);
            if mistakes.is_empty() { Ok(loaded) } else { Err(mistakes) }
        });
        finish.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Loads all scopes as far as they are known on this host: files, and snapshots of groups of this directory.
    ///
    /// # Errors
    /// Every mistake in the files.
    pub fn offline(config: &Config, directory: Option<&Directory>) -> Result<Self, Vec<Mistake>> {
        let (mut loaded, mistakes) = Self::read(config, directory.map(|directory| directory.description.clone()), None);
        loaded.build(|_| true);
        if mistakes.is_empty() { Ok(loaded) } else { Err(mistakes) }
    }

    /// Everything that is on this host, and the mistakes in it. The sets are not made yet.
    fn read(config: &Config, directory: Option<String>, before: Option<&Self>) -> (Self, Vec<Mistake>) {
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
        let before = before.filter(|before| before.directory == loaded.directory);
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
                if let Some(known) = before.and_then(|before| before.groups.get(group)) {
                    loaded.groups.insert(group.clone(), known.clone());
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

    /// Asks for all groups that are due, which those of a snapshot are, and those that nothing is known of.
    async fn ask(&self, directory: &Directory) -> Vec<(String, Answer)> {
        let now = Instant::now();
        let due = self.groups.iter().filter(|(_, group)| group.due <= now).map(|(name, _)| (name, true));
        let unknown = self.unknown.keys().map(|name| (name, false));
        let mut asks = JoinSet::new();
        for (name, has_snapshot) in due.chain(unknown) {
            let (directory, name) = (directory.clone(), name.clone());
            asks.spawn(async move {
                let answer = match tokio::time::timeout(PATIENCE, directory.members(&name)).await {
                    Ok(answer) => answer,
                    // Where there is nothing to go on with, there is nothing but to wait.
                    Err(_) if !has_snapshot => directory.members(&name).await,
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
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
            return vec![Mistake { place: "state_directory".into(), line: None, message }];
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
            if file.look(path, hosted_only.then_some(&*self.hosted), now.time) {
                changed_files.insert(path.clone());
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
            Mistake { place: place(name), line: None, message: message.join("; ") }
        };
        self.unknown.iter().map(mistake).collect()
    }

    /// The state of every scope.
    pub fn status(&self) -> Vec<Status> {
        let now = Now::get();
        self.scopes.iter().map(|scope| self.status_of(scope, now)).collect()
    }

    fn status_of(&self, scope: &LoadedScope, now: Now) -> Status {
        let config = &scope.config;
        let (is_default, written) = (scope.name == DEFAULT_SCOPE, self.written(config).len());
        let source = |kind, name: String, members| SourceStatus {
            kind,
            name,
            members,
            age_seconds: 0,
            held_back: None,
            problem: None,
        };
        let mut sources = Vec::new();
        if written > 0 {
            let kind = if config.mode == ScopeMode::All { "domains" } else { "senders" };
            sources.push(source(kind, String::new(), written));
        }
        for path in &config.files {
            if let Some(file) = self.file(path, is_default) {
                sources.push(SourceStatus {
                    age_seconds: age(file.confirmed, now).as_secs(),
                    problem: file.problem.clone(),
                    ..source("file", path.display().to_string(), file.members.len())
                });
            }
        }
        for name in &config.groups {
            sources.push(match self.groups.get(name) {
                Some(group) => SourceStatus {
                    age_seconds: age(group.known.fetched, now).as_secs(),
                    held_back: group.held.map(|held| held.members),
                    problem: group.problem.clone(),
                    ..source("group", name.clone(), group.known.members.len())
                },
                None => SourceStatus {
                    problem: Some("its members are not known".into()),
                    ..source("group", name.clone(), 0)
                },
            });
        }
        Status {
            name: scope.name.clone(),
            mode: config.mode.name(),
            share: config.share.value(),
            members: scope.members,
            age_seconds: sources.iter().map(|source| source.age_seconds).max().unwrap_or_default(),
            held_back: sources.iter().any(|source| source.held_back.is_some()),
            sources,
        }
    }

    /// Every source by which an address is listed in a scope, whatever the share.
    pub fn origins(&self, scope: &str, address: &Address) -> Vec<Origin> {
        let Some(scope) = self.scopes.iter().find(|candidate| candidate.name == scope) else { return Vec::new() };
        let (config, is_default, now) = (&scope.config, scope.name == DEFAULT_SCOPE, Now::get());
        let mut origins = Vec::new();
        let mut add = |set: &AddressSet, age, source: &dyn Fn(&str) -> String| {
            let listed = set.listed(address);
            origins.extend(listed.map(|entry| Origin { source: source(entry), entry: entry.to_owned(), age }));
        };
        let written = if config.mode == ScopeMode::All { "domains" } else { "senders" };
        add(&self.written(config), Duration::ZERO, &|_| written.to_owned());
        for path in &config.files {
            if let Some(file) = self.file(path, is_default) {
                let place = |entry: &str| match list_file::line_of(path, entry) {
                    Some(line) => format!("{}:{line}", path.display()),
                    None => path.display().to_string(),
                };
                add(&file.members, age(file.confirmed, now), &place);
            }
        }
        if !is_default || self.hosted.contains(address.domain()) {
            for name in &config.groups {
                if let Some(group) = self.groups.get(name) {
                    add(&group.known.members, age(group.known.fetched, now), &|_| format!("group {name:?}"));
                }
            }
        }
        origins
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

/// A group as it is named in errors.
fn place(group: &str) -> String {
    format!("group {group:?}")
}

fn domain_of(entry: &str) -> &str {
    entry.rsplit_once('@').map_or("", |(_, domain)| domain)
}
