//! Where the addresses of the scopes come from.

mod list_file;

use std::collections::HashSet;
use std::sync::Arc;

use crate::address::AddressSet;
use crate::config::{Config, DEFAULT_SCOPE, Scope, ScopeMode};
use crate::scope::ScopeSets;

pub use list_file::Mistake;

/// Loads all scopes.
///
/// # Errors
/// Every mistake in the list files, and every group.
pub fn load(config: &Config) -> Result<ScopeSets, Vec<Mistake>> {
    let hosted: HashSet<String> = config.domains.iter().cloned().collect();
    let mut sets = ScopeSets::default();
    let mut mistakes = Vec::new();
    for (name, scope) in config.scope.iter() {
        let is_default = name == DEFAULT_SCOPE;
        if let Some(group) = scope.groups.first() {
            let file = config.state_directory.join("scopes").join(name).with_extension("json");
            mistakes.push(Mistake {
                file,
                line: None,
                message: format!("does not exist; nobody knows who is in {group:?}"),
            });
        }
        match set(scope, &hosted, is_default) {
            Ok(set) if is_default => sets.default = Arc::new(set),
            Ok(set) => drop(sets.named.insert(name.to_owned(), Arc::new(set))),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(sets) } else { Err(mistakes) }
}

fn set(scope: &Scope, hosted: &HashSet<String>, hosted_only: bool) -> Result<AddressSet, Vec<Mistake>> {
    let mut entries: Vec<String> = match scope.mode {
        ScopeMode::All => hosted.iter().map(|domain| format!("@{domain}")).collect(),
        ScopeMode::List | ScopeMode::Group => scope.senders.clone(),
    };
    for file in &scope.files {
        let text = list_file::read(file).map_err(|mistake| vec![mistake])?;
        let found = list_file::parse(file, &text, hosted_only.then_some(hosted))?;
        entries.extend(found.into_iter().map(|(_, entry)| entry));
    }
    Ok(AddressSet::from_iter(entries).with_share(scope.share))
}
