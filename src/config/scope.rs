//! Sections `[scope]` and `[scope.NAME]`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::{WEEK, plain, size};
use super::reader::Reader;
use super::{files, notation};
use crate::address::Share;

/// The default scope, the named ones, and what is common to all.
#[derive(Debug, Clone, PartialEq)]
pub struct Scopes {
    /// `[scope]`: whose mail belongs on the relay. All its addresses are of hosted domains.
    pub default: Scope,
    /// `scope.match`: `"header-or-envelope"` (default: true) or `"envelope"` (false).
    pub from_field: bool,
    /// `scope.refresh`: seconds between two look-ups of a group, default 900, at least 5.
    pub refresh: Duration,
    /// `scope.hold_back_below` and `scope.hold_back_from`.
    pub hold_back: HoldBack,
    /// `[scope.NAME]`: lists for the policy scripts. Their addresses may be of any domain.
    pub named: BTreeMap<String, Scope>,
}

impl Scopes {
    /// All scopes with their names; that of the default scope is [`DEFAULT_SCOPE`].
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Scope)> {
        std::iter::once((DEFAULT_SCOPE, &self.default))
            .chain(self.named.iter().map(|(name, scope)| (name.as_str(), scope)))
    }
}

/// Name of the default scope in commands, logs and metrics; no named scope can have it.
pub const DEFAULT_SCOPE: &str = "default";

/// A scope: a set of addresses, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// `scope.mode`: `"all"` (default), `"list"` or `"group"`.
    pub mode: ScopeMode,
    /// `scope.senders`: addresses and `@domain` entries, lower case, domain in A-label form.
    pub senders: Vec<String>,
    /// `scope.files`: files with such entries; absolute paths.
    pub files: Vec<PathBuf>,
    /// `scope.groups`: groups of the directory, as written; not empty with mode `group`, else empty.
    pub groups: Vec<String>,
    /// `scope.share`: the share of these addresses that is in the scope, default 1.0, all.
    pub share: Share,
}

/// `scope.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeMode {
    /// All addresses of hosted domains.
    All,
    /// Those that `senders` and `files` list.
    List,
    /// The members of `groups`, and those that `senders` and `files` list.
    Group,
}

impl ScopeMode {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::List => "list",
            Self::Group => "group",
        }
    }
}

/// Which answers of the directory are not believed at once: an empty one where the last was not, and one that is much
/// smaller than the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HoldBack {
    /// `scope.hold_back_below`: the part of the last answer that the new one must have, from 0.0 to 1.0, default 0.5.
    pub below: f64,
    /// `scope.hold_back_from`: the number of addresses from which on that is asked of a group, default 10.
    pub from: usize,
}

const SENDERS: &str = r#"["alice@example.com", "@example.org"]"#;
const FILES: &str = r#"["/etc/conbool-milter/senders"]"#;
const GROUPS: &str = r#"["cn=relay,ou=groups,dc=example,dc=com"]"#;

/// Asks for every key of the scopes. `domains` are the hosted domains, empty if they are not known.
pub fn read(reader: &mut Reader, folder: &Path, domains: &[String]) -> Scopes {
    let default = scope(reader, folder, "scope", Some(domains).filter(|domains| !domains.is_empty()));
    let from_field = reader.choice("scope.match", &[("header-or-envelope", true), ("envelope", false)]).unwrap_or(true);
    let refresh = Duration::from_secs(reader.integer("scope.refresh", 5..=WEEK, "seconds").unwrap_or(900));
    let below = reader.fraction("scope.hold_back_below").unwrap_or(0.5);
    let from = size(reader.integer("scope.hold_back_from", 0..=1_000_000_000, "addresses")).unwrap_or(10);
    let names = reader.named_sections("scope", name);
    let named = names.into_iter().map(|name| {
        let scope = scope(reader, folder, &format!("scope.{name}"), None);
        (name, scope)
    });
    Scopes { default, from_field, refresh, hold_back: HoldBack { below, from }, named: named.collect() }
}

fn name(written: &str) -> Result<(), String> {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if written.is_empty() || !written.bytes().all(in_name) {
        return Err("is not the name of a scope; use letters, digits and dashes only".into());
    }
    if written == DEFAULT_SCOPE {
        return Err("is what the scope of section [scope] is called; choose another name".into());
    }
    Ok(())
}

/// Asks for the keys of one section. Its senders must be of the domains in `hosted`, where given.
fn scope(reader: &mut Reader, folder: &Path, section: &str, hosted: Option<&[String]>) -> Scope {
    let key = |name: &str| format!("{section}.{name}");
    let (senders_key, files_key, groups_key) = (key("senders"), key("files"), key("groups"));
    let modes = [("all", ScopeMode::All), ("list", ScopeMode::List), ("group", ScopeMode::Group)];
    let mode = reader.choice(&key("mode"), &modes);
    let senders = reader.strings(&senders_key, SENDERS, notation::sender).unwrap_or_default();
    let files = plain(reader.strings(&files_key, FILES, |written| files::readable(folder, written)));
    let groups = plain(reader.strings(&groups_key, GROUPS, group));
    let share = reader.fraction(&key("share")).and_then(Share::new).unwrap_or_default();
    match mode {
        // A mode that is wrong says nothing about the other keys.
        None if reader.has(&key("mode")) => {}
        None | Some(ScopeMode::All) => {
            for (key, mode) in [(&senders_key, "list"), (&files_key, "list"), (&groups_key, "group")] {
                reader.wrong_value(key, &format!("has no effect; add {section}.mode = \"{mode}\", or remove it"));
            }
        }
        Some(ScopeMode::List) => {
            if !reader.has(&files_key) {
                reader.require(&senders_key, SENDERS);
            } else if !reader.has(&senders_key) {
                reader.require(&files_key, FILES);
            }
            let problem = format!("has no effect; write {section}.mode = \"group\", or remove it");
            reader.wrong_value(&groups_key, &problem);
        }
        Some(ScopeMode::Group) => {
            reader.require(&groups_key, GROUPS);
            if !reader.has("ldap") {
                reader.wrong_value(&groups_key, "cannot be looked up; add section [ldap] with servers and base");
            }
        }
    }
    // A domain with a mistake in it is one mistake, not one for each of its senders.
    if let Some(hosted) = hosted.filter(|_| !reader.is_flawed("domains")) {
        let hosted: HashSet<&str> = hosted.iter().map(String::as_str).collect();
        for sender in &senders {
            let domain = sender.get_ref().rsplit_once('@').map_or("", |(_, domain)| domain);
            if !hosted.contains(domain) {
                let problem = format!("is not of a hosted domain; add \"{domain}\" to domains, or remove the entry");
                reader.wrong(&senders_key, sender.span(), &problem);
            }
        }
    }
    Scope { mode: mode.unwrap_or(ScopeMode::All), senders: plain(Some(senders)), files, groups, share }
}

fn group(written: &str) -> Result<String, String> {
    if written.trim().is_empty() || written.chars().any(char::is_control) {
        return Err("is not a group; write its DN or its name".into());
    }
    Ok(written.trim().to_owned())
}
