//! The policy scripts: standard Sieve (RFC 5228), compiled once, run on every message.
//!
//! Facts come in as environment items (RFC 5183), address lists as external lists (RFC 6134). Decisions come out as
//! keywords (RFC 5232), header edits (RFC 5293) and the ordinary actions; `conbool-milter-sieve(5)` is their
//! reference. A script cannot see or undo what was decided before it runs: trust, and the removal of forged fields.

mod message;
mod script;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sieve::{Envelope, Event, Input, Runtime, Sieve};

use crate::address::{Address, AddressSet};
use crate::case::Case;
use crate::verdict::{Direction, Kind, Peer, Route};

/// A script's text and where it came from.
#[derive(Debug, Clone)]
pub struct Script {
    /// The file, for messages.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

/// A mistake in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The script's file.
    pub file: PathBuf,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// A script that failed on a message. The message must be refused for now: what the script would have said is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesFailure {
    /// The script's file.
    pub file: PathBuf,
    /// What happened.
    pub message: String,
}

/// What the pipeline knows about a message when the scripts run.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Who handed it over.
    pub peer: Peer,
    /// Which way it travels.
    pub direction: Direction,
    /// What it is.
    pub kind: Kind,
    /// Whether its sender is in scope.
    pub in_scope: bool,
    /// Whether the envelope sender is null.
    pub null_sender: bool,
    /// Whether the relay marked it as having been through the relay.
    pub loop_header: bool,
    /// Whether the relay marked it as spam.
    pub flagged: bool,
    /// Whether the relay marked it as released.
    pub released: bool,
    /// How many forged marker fields it came with.
    pub forged: usize,
    /// On which side its recipients are; `None` where no script [asks](Rules::asks_for_recipients).
    pub recipients: Option<Recipients>,
    /// The named scopes that its sender is in, of those that a script [asks](Rules::named_scopes) for.
    pub named_scopes: Vec<String>,
}

/// On which side the recipients of a message are, by the domains of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// All of them in hosted domains, or without a domain.
    Inside,
    /// None of them.
    Outside,
    /// Some of them.
    Mixed,
}

impl Recipients {
    /// Stable name for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Mixed => "mixed",
        }
    }
}

/// The environment items that scripts may read, beside those of RFC 5183, section 4.1, that make sense here.
pub const ENVIRONMENT: &[&str] = &[
    "vnd.conbool.peer",
    "vnd.conbool.direction",
    "vnd.conbool.kind",
    "vnd.conbool.in-scope",
    RECIPIENTS_ITEM,
    "vnd.conbool.null-sender",
    "vnd.conbool.loop-header",
    "vnd.conbool.flagged",
    "vnd.conbool.released",
    "vnd.conbool.forged",
    "vnd.conbool.tls-version",
    "vnd.conbool.certificate",
    "vnd.conbool.authenticated",
    "remote-ip",
    "name",
    "version",
    "location",
    "phase",
];

const RECIPIENTS_ITEM: &str = "vnd.conbool.recipients";

/// Beginning of the items that say whether the sender is in a named scope.
pub const NAMED_SCOPE_ITEM: &str = "vnd.conbool.in-scope.";

/// Beginning of the items that hold the settings of the provider.
pub const SETTING_ITEM: &str = "vnd.conbool.setting.";

fn yes_or_no(fact: bool) -> &'static str {
    if fact { "yes" } else { "no" }
}

impl Facts {
    /// The value of an item that depends on the message; those of the program itself are the runtime's.
    fn environment_item<'a>(&self, item: &str, case: &'a Case) -> Option<Cow<'a, str>> {
        let text = |value: &'a Option<String>| value.as_deref().unwrap_or_default().into();
        Some(match item {
            "vnd.conbool.peer" => self.peer.name().into(),
            "vnd.conbool.direction" => self.direction.name().into(),
            "vnd.conbool.kind" => self.kind.name().into(),
            "vnd.conbool.in-scope" => yes_or_no(self.in_scope).into(),
            "vnd.conbool.null-sender" => yes_or_no(self.null_sender).into(),
            "vnd.conbool.loop-header" => yes_or_no(self.loop_header).into(),
            "vnd.conbool.flagged" => yes_or_no(self.flagged).into(),
            "vnd.conbool.released" => yes_or_no(self.released).into(),
            RECIPIENTS_ITEM => self.recipients.map(Recipients::name).unwrap_or_default().into(),
            "vnd.conbool.forged" => self.forged.to_string().into(),
            "vnd.conbool.tls-version" => text(&case.client.tls_version),
            "vnd.conbool.certificate" => text(&case.client.certificate),
            "vnd.conbool.authenticated" => text(&case.client.authenticated),
            "remote-ip" => case.client.address.map(|address| address.to_string()).unwrap_or_default().into(),
            _ => return None,
        })
    }
}

/// What the scripts decided, the site's script having had the last word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// The route asked for and the reasons given for it; `None` if no script asked.
    pub route: Option<(Route, Vec<String>)>,
    /// `$Junk` (true) or `$NotJunk` (false).
    pub junk: Option<bool>,
    /// What to do with the message other than let it pass.
    pub action: Option<Action>,
    /// Fields to add: name, value, and whether at the end of the section.
    pub added: Vec<(String, String, bool)>,
    /// Positions, from 0, of the fields to remove.
    pub removed: Vec<usize>,
}

/// An action of a script that ends the message's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `reject` or `ereject` with this text.
    Reject(String),
    /// `discard`.
    Discard,
    /// `fileinto "Quarantine"`.
    Quarantine,
}

/// Name of the only mailbox that `fileinto` knows.
pub const QUARANTINE_MAILBOX: &str = "Quarantine";

/// Beginning of the names of external lists.
pub const LIST_PREFIX: &str = "urn:conbool-milter:";

/// Beginning of the names of the lists of named scopes, after [`LIST_PREFIX`].
pub const NAMED_SCOPE_LIST: &str = "scope.";

/// What scripts can refer to, beside the facts.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// The parts of the lists' names after [`LIST_PREFIX`].
    pub lists: BTreeSet<String>,
    /// The settings of the provider, by name, with their values.
    pub settings: BTreeMap<String, String>,
}

/// Greatest number of instructions that one script may run on one message.
const CPU_LIMIT: usize = 10_000;

/// Most recipients, and addresses in header fields, of a message on which a script with `:list` runs: sieve-rs takes
/// time in proportion to the square of their number.
const MAX_ADDRESSES: usize = 5_000;

/// The members of each list, by the part of its name after [`LIST_PREFIX`].
pub type Lists = HashMap<String, Arc<AddressSet>>;

/// The compiled scripts. They know which lists there are, but not who is on them.
pub struct Rules {
    runtime: Runtime,
    scripts: Vec<CompiledScript>,
    asks_for_recipients: bool,
    named_scopes: BTreeSet<String>,
}

struct CompiledScript {
    file: PathBuf,
    sieve: Arc<Sieve>,
    needs: script::Needs,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files: Vec<&Path> = self.scripts.iter().map(|script| script.file.as_path()).collect();
        formatter.debug_struct("Rules").field("scripts", &files).finish_non_exhaustive()
    }
}

impl Rules {
    /// Compiles the scripts, which run in this order, and checks that they use only what is supported.
    ///
    /// # Errors
    /// All mistakes found in all scripts, the first syntax error of each.
    pub fn compile(scripts: &[Script], names: &Names) -> Result<Self, Vec<ScriptError>> {
        let mut compiled = Vec::new();
        let mut errors = Vec::new();
        for source in scripts {
            match script::compile(source, names) {
                Ok((sieve, needs)) => {
                    compiled.push(CompiledScript { file: source.file.clone(), sieve: Arc::new(sieve), needs });
                }
                Err(mistakes) => errors.extend(mistakes),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut runtime = Runtime::new()
            .with_cpu_limit(CPU_LIMIT)
            .with_max_nested_includes(0)
            .with_max_redirects(0)
            .with_max_out_messages(0)
            .with_protected_headers(script::PROTECTED_FIELDS.iter().copied())
            .with_valid_ext_lists(names.lists.iter().map(|name| format!("{LIST_PREFIX}{name}")))
            .with_env_variable("name", env!("CARGO_PKG_NAME"))
            .with_env_variable("version", env!("CARGO_PKG_VERSION"))
            .with_env_variable("location", "MTA")
            .with_env_variable("phase", "during");
        for (name, value) in &names.settings {
            runtime.set_env_variable(format!("{SETTING_ITEM}{name}"), value.clone());
        }
        let asks = |item| compiled.iter().any(|script: &CompiledScript| script.needs.environment.contains(item));
        Ok(Self {
            asks_for_recipients: asks(RECIPIENTS_ITEM),
            named_scopes: compiled.iter().flat_map(|script| script.needs.named_scopes.values().cloned()).collect(),
            runtime,
            scripts: compiled,
        })
    }

    /// Whether a script asks on which side the recipients are.
    pub fn asks_for_recipients(&self) -> bool {
        self.asks_for_recipients
    }

    /// The named scopes of which a script asks whether the sender is in them.
    pub fn named_scopes(&self) -> impl Iterator<Item = &str> {
        self.named_scopes.iter().map(String::as_str)
    }

    /// The reasons for routes that the scripts' text spells out. Others can only be put together by a script from
    /// variables, and so be what a client sent.
    pub fn reasons(&self) -> BTreeSet<String> {
        self.scripts.iter().flat_map(|script| script.needs.reasons.iter().cloned()).collect()
    }

    /// Runs the scripts on a message, with the lists as they are now.
    ///
    /// # Errors
    /// [`RulesFailure`] if a script stops with an error, runs too long, or asks for something that is not supported or
    /// for a list that is not there.
    pub fn run(&self, facts: &Facts, case: &Case, lists: &Lists) -> Result<Effects, RulesFailure> {
        let mut effects = Effects::default();
        // The keywords of one script are there for the next, which can so take back what the provider's policy said.
        let mut keywords = String::new();
        for script in &self.scripts {
            keywords = self.run_script(script, facts, case, lists, keywords, &mut effects)?;
        }
        effects.read_keywords(&keywords);
        Ok(effects)
    }

    fn run_script(
        &self,
        script: &CompiledScript,
        facts: &Facts,
        case: &Case,
        lists: &Lists,
        keywords: String,
        effects: &mut Effects,
    ) -> Result<String, RulesFailure> {
        let failure = |message: String| RulesFailure { file: script.file.clone(), message };
        if script.needs.lists && message::most_addresses(case) > MAX_ADDRESSES {
            return Err(failure(format!(
                "the message may have more than {MAX_ADDRESSES} addresses to look up in lists"
            )));
        }
        let raw = if script.needs.header { message::header_section(&case.header) } else { Vec::new() };
        let parsed = message::parse(&raw);
        let original = message::field_names(&parsed);
        let mut context = self.runtime.filter_parsed(parsed);
        context.set_global_variable(KEYWORDS, keywords);
        for item in &script.needs.environment {
            if let Some(value) = facts.environment_item(item, case) {
                context.set_env_variable(*item, value);
            }
        }
        for (item, scope) in &script.needs.named_scopes {
            context.set_env_variable(item.clone(), yes_or_no(facts.named_scopes.contains(scope)));
        }
        if script.needs.envelope {
            context.set_envelope(Envelope::From, case.envelope.sender.as_str());
            for recipient in &case.envelope.recipients {
                context.set_envelope(Envelope::To, recipient.as_str());
            }
        }
        let mut input = Input::script("policy", script.sieve.clone());
        let mut kept = None;
        while let Some(event) = context.run(input) {
            input = Input::True;
            match event.map_err(|error| failure(script::explain_failure(&error)))? {
                Event::Keep { flags, .. } => kept = Some(flags.join(" ")),
                Event::Discard => effects.act(Action::Discard),
                Event::Reject { reason, .. } => effects.act(Action::Reject(reason)),
                Event::FileInto { folder, .. } if folder.eq_ignore_ascii_case(QUARANTINE_MAILBOX) => {
                    effects.act(Action::Quarantine);
                }
                Event::ListContains { lists: names, values, .. } => {
                    input = Input::from(list_contains(lists, &names, &values).map_err(&failure)?);
                }
                // The rewritten message; the edits themselves are read off the header section below.
                Event::CreatedMessage { .. } => {}
                unsupported => {
                    return Err(failure(format!("asks for something that is not supported: {unsupported:?}")));
                }
            }
        }
        if script.needs.edits {
            let (added, removed) = message::edits(&original, context.message(), &case.header);
            effects.added.extend(added);
            effects.removed.extend(removed);
        }
        let keywords = context.global_variable(KEYWORDS).map(|value| value.to_string().into_owned());
        Ok(kept.or(keywords).unwrap_or_default())
    }
}

fn list_contains(lists: &Lists, names: &[String], values: &[String]) -> Result<bool, String> {
    for name in names {
        let members = name.strip_prefix(LIST_PREFIX).and_then(|name| lists.get(name));
        let members = members.ok_or_else(|| format!("there is no list {name:?}"))?;
        let mut addresses = values.iter().filter_map(|value| Address::parse(value));
        if addresses.any(|address| members.contains(&address)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// sieve-rs keeps the keywords of RFC 5232's internal variable in a global variable of this name.
const KEYWORDS: &str = "__flags";

impl Effects {
    fn act(&mut self, action: Action) {
        self.action = Some(action);
    }

    fn read_keywords(&mut self, keywords: &str) {
        let reasons = |route| -> Vec<String> {
            keywords.split_ascii_whitespace().filter_map(|keyword| keyword_reason(keyword, route)).collect()
        };
        // Where both are asked for, the relay wins: a message must not pass it by mistake.
        for route in [Route::Direct, Route::Relay] {
            let reasons = reasons(route);
            if !reasons.is_empty() {
                self.route = Some((route, reasons));
            }
        }
        for keyword in keywords.split_ascii_whitespace() {
            if keyword.eq_ignore_ascii_case("$NotJunk") {
                self.junk = Some(false);
            } else if keyword.eq_ignore_ascii_case("$Junk") && self.junk.is_none() {
                self.junk = Some(true);
            }
        }
    }
}

/// The reason that a keyword gives for a route, if it asks for that route.
fn keyword_reason(keyword: &str, route: Route) -> Option<String> {
    let keyword = keyword.to_ascii_lowercase();
    let rest = keyword.strip_prefix(route.name())?;
    if rest.is_empty() { Some("rule".to_string()) } else { rest.strip_prefix(':').map(reason_name) }
}

/// A keyword's reason as a name that is safe in logs and as a metric's label.
fn reason_name(text: &str) -> String {
    const MAX_REASON: usize = 40;
    let safe = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let name: String = text.chars().take(MAX_REASON).map(safe).collect();
    if name.is_empty() { "rule".into() } else { name }
}

#[cfg(test)]
mod tests;
