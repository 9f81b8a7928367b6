//! The state of the scopes, as commands and the status page show it.

use std::time::Duration;

use super::super::group::{Now, age};
use super::super::list_file;
use super::{Loaded, LoadedScope};
use crate::address::{Address, AddressSet};
use crate::config::{DEFAULT_SCOPE, ScopeMode};
use crate::telemetry::status::{ScopeStatus, SourceStatus};

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
    /// The state of every scope.
    pub fn status(&self) -> Vec<ScopeStatus> {
        let now = Now::get();
        self.scopes.iter().map(|scope| self.status_of(scope, now)).collect()
    }

    fn status_of(&self, scope: &LoadedScope, now: Now) -> ScopeStatus {
        let config = &scope.config;
        let (is_default, written) = (scope.name == DEFAULT_SCOPE, self.written(config).len());
        let source = |kind: &str, name: String, members: usize| SourceStatus {
            kind: kind.into(),
            name,
            members: members as u64,
            age_seconds: 0,
            is_known: true,
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
                    held_back: group.held.map(|held| held.members as u64),
                    problem: group.problem.clone(),
                    ..source("group", name.clone(), group.known.members.len())
                },
                None => SourceStatus {
                    is_known: false,
                    problem: Some("its members are not known: there is no snapshot".into()),
                    ..source("group", name.clone(), 0)
                },
            });
        }
        ScopeStatus {
            name: scope.name.clone(),
            mode: config.mode.name().into(),
            share: config.share.value(),
            members: scope.members as u64,
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
}
