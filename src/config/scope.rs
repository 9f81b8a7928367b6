//! Sections `[scope]` and `[scope.NAME]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::{self, WEEK, plain, size};
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
    /// `scope.sections`: the named scopes that the default scope is made of, with mode `sections`; else empty. What they
    /// list is in [`Self::default`] too.
    pub sections: Vec<String>,
    /// `[scope.NAME]`: lists for the policy scripts. Their addresses may be of any domain, unless they are in
    /// [`Self::sections`].
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
    /// `scope.mode`: `"all"` (default), `"list"` or `"group"`; with `"sections"`, the widest mode of these sections.
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

const SECTIONS: &str = r#"["avg", "nta7516"]"#;

/// Asks for every key of the scopes. `hosted` are the hosted domains, where they are known.
pub fn read(reader: &mut Reader, folder: &Path, hosted: Option<&[String]>) -> Scopes {
    let (mut default, is_whole) = scope(reader, folder, "scope", hosted);
    let from_field = reader.choice("scope.match", &[("header-or-envelope", true), ("envelope", false)]).unwrap_or(true);
    let refresh = Duration::from_secs(reader.integer("scope.refresh", 5..=WEEK, "seconds").unwrap_or(900));
    let below = reader.fraction("scope.hold_back_below").unwrap_or(0.5);
    let from = size(reader.integer("scope.hold_back_from", 0..=1_000_000_000, "addresses")).unwrap_or(10);
    let sections =
        plain(reader.strings("scope.sections", SECTIONS, |written| name(written).map(|()| written.to_owned())));
    if !is_whole && !reader.is_flawed("scope.mode") {
        reader.wrong_value("scope.sections", "has no effect; add scope.mode = \"sections\", or remove it");
    }
    let names = reader.named_sections("scope", name);
    let mut named = BTreeMap::new();
    for name in names {
        let is_part = sections.contains(&name);
        let section = format!("scope.{name}");
        let (scope, _) = scope(reader, folder, &section, hosted.filter(|_| is_part));
        if is_part {
            let problem = "has no effect on the whole that this section is a part of; remove it, or write scope.share";
            reader.wrong_value(&format!("{section}.share"), problem);
        }
        named.insert(name, scope);
    }
    for missing in sections.iter().filter(|section| !named.contains_key(*section)) {
        reader
            .wrong_value("scope.sections", &format!("names \"{missing}\", which is not there; add [scope.{missing}]"));
    }
    if is_whole {
        default = union(sections.iter().filter_map(|name| named.get(name)), default.share);
    }
    Scopes { default, from_field, refresh, hold_back: HoldBack { below, from }, sections, named }
}

/// A scope with the addresses of all these.
fn union<'a>(scopes: impl Iterator<Item = &'a Scope>, share: Share) -> Scope {
    let mut union = Scope { mode: ScopeMode::List, senders: vec![], files: vec![], groups: vec![], share };
    for scope in scopes {
        if scope.mode == ScopeMode::All {
            return Scope { mode: ScopeMode::All, senders: vec![], files: vec![], groups: vec![], share };
        }
        if scope.mode == ScopeMode::Group {
            union.mode = ScopeMode::Group;
        }
        add(&mut union.senders, &scope.senders);
        add(&mut union.files, &scope.files);
        add(&mut union.groups, &scope.groups);
    }
    union
}

fn add<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for entry in more {
        if !all.contains(entry) {
            all.push(entry.clone());
        }
    }
}

/// Checks the name of a scope.
///
/// # Errors
/// What is wrong with it, as a phrase that follows it.
pub fn name(written: &str) -> Result<(), String> {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if written.is_empty() || !written.bytes().all(in_name) {
        return Err("is not the name of a scope; use letters, digits and dashes only".into());
    }
    if written == DEFAULT_SCOPE {
        return Err("is what the scope of section [scope] is called; choose another name".into());
    }
    Ok(())
}

/// `scope.mode` as written: a scope has addresses of its own, or those of other sections.
#[derive(Clone, Copy)]
enum Mode {
    Own(ScopeMode),
    Sections,
}

/// Asks for the keys of one section, and whether it is made of others. Its senders must be of the domains in `hosted`,
/// where given.
fn scope(reader: &mut Reader, folder: &Path, section: &str, hosted: Option<&[String]>) -> (Scope, bool) {
    let key = |name: &str| format!("{section}.{name}");
    let (senders_key, files_key, groups_key) = (key("senders"), key("files"), key("groups"));
    // Only the default scope can be made of others.
    let is_default = section == "scope";
    let modes = [
        ("all", Mode::Own(ScopeMode::All)),
        ("list", Mode::Own(ScopeMode::List)),
        ("group", Mode::Own(ScopeMode::Group)),
        ("sections", Mode::Sections),
    ];
    let mode = reader.choice(&key("mode"), if is_default { &modes } else { &modes[..3] });
    let senders = reader.strings(&senders_key, SENDERS, notation::sender).unwrap_or_default();
    let files = plain(reader.strings(&files_key, FILES, |written| files::readable(folder, written)));
    let groups = plain(reader.strings(&groups_key, GROUPS, group));
    let share = reader.fraction(&key("share")).and_then(Share::new).unwrap_or_default();
    match mode {
        // A mode that is wrong says nothing about the other keys.
        None if reader.has(&key("mode")) => {}
        Some(Mode::Sections) => {
            reader.require("scope.sections", SECTIONS);
            for key in [&senders_key, &files_key, &groups_key] {
                reader.wrong_value(key, "has no effect with mode = \"sections\"; put it into one of the sections");
            }
        }
        None | Some(Mode::Own(ScopeMode::All)) => {
            for (key, mode) in [(&senders_key, "list"), (&files_key, "list"), (&groups_key, "group")] {
                reader.wrong_value(key, &format!("has no effect; add {section}.mode = \"{mode}\", or remove it"));
            }
        }
        Some(Mode::Own(ScopeMode::List)) => {
            if !reader.has(&files_key) {
                reader.require(&senders_key, SENDERS);
            } else if !reader.has(&senders_key) {
                reader.require(&files_key, FILES);
            }
            let problem = format!("has no effect; write {section}.mode = \"group\", or remove it");
            reader.wrong_value(&groups_key, &problem);
        }
        Some(Mode::Own(ScopeMode::Group)) => {
            reader.require(&groups_key, GROUPS);
            if !reader.has("ldap") {
                reader.wrong_value(&groups_key, "cannot be looked up; add section [ldap] with servers and base");
            }
        }
    }
    let (mode, is_whole) = match mode {
        Some(Mode::Own(mode)) => (mode, false),
        Some(Mode::Sections) => (ScopeMode::List, true),
        None => (ScopeMode::All, false),
    };
    keys::of_hosted_domains(reader, &senders_key, hosted, &senders);
    (Scope { mode, senders: plain(Some(senders)), files, groups, share }, is_whole)
}

fn group(written: &str) -> Result<String, String> {
    if written.trim().is_empty() || written.chars().any(char::is_control) {
        return Err("is not a group; write its DN or its name".into());
    }
    Ok(written.trim().to_owned())
}
