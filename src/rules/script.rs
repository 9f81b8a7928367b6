//! Compiling a script, and finding at compile time whatever would not work at run time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sieve::compiler::grammar::Capability;
use sieve::runtime::RuntimeError;
use sieve::{Compiler, Sieve};

use super::{
    ENVIRONMENT, LIST_PREFIX, NAMED_SCOPE_ITEM, NAMED_SCOPE_LIST, Names, QUARANTINE_MAILBOX, SETTING_ITEM, Script,
    ScriptError,
};
use crate::verdict::{CARRIED_ROUTE_FIELD, ROUTE_FIELD, Route, SPAM_FLAG_FIELD};

/// Fields that no script may add or remove: RFC 5293, section 6, and those that have keywords or a meaning of their
/// own here.
pub const PROTECTED_FIELDS: &[&str] =
    &["Received", "Auto-Submitted", SPAM_FLAG_FIELD, ROUTE_FIELD, CARRIED_ROUTE_FIELD];

/// What a script needs, so that nothing is prepared in vain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// These environment items.
    pub environment: BTreeSet<&'static str>,
    /// Whether the sender is in these named scopes: environment item and scope.
    pub named_scopes: BTreeMap<String, String>,
    /// The header section.
    pub header: bool,
    /// The envelope.
    pub envelope: bool,
    /// A look at the header section afterwards.
    pub edits: bool,
    /// Look-ups of addresses in lists.
    pub lists: bool,
    /// Its text spells out these reasons for routes; no need, but found in the same look.
    pub reasons: BTreeSet<String>,
}

/// Compiles one script.
///
/// # Errors
/// The first syntax error, or else every use of something that is not supported.
pub fn compile(script: &Script, names: &Names) -> Result<(Sieve, Needs), Vec<ScriptError>> {
    let error = |line, message| ScriptError { file: script.file.clone(), line, message };
    let sieve = Compiler::new()
        .compile(script.text.as_bytes())
        .map_err(|mistake| vec![error(Some(mistake.line_num().max(1)), mistake.to_string())])?;
    // sieve-rs keeps the instructions private, but serialises them: that is the one way to see what a script uses.
    let program = serde_json::to_value(&sieve)
        .map_err(|cause| vec![error(None, format!("the compiled script cannot be inspected: {cause}"))])?;
    let mut review = Review { text: &script.text, names, needs: Needs::default(), errors: BTreeSet::new() };
    review.visit(&program);
    if review.errors.is_empty() {
        Ok((sieve, review.needs))
    } else {
        Err(review.errors.into_iter().map(|(line, message)| error(line, message)).collect())
    }
}

/// A walk over the compiled program that collects what it needs and what is not supported.
struct Review<'a> {
    text: &'a str,
    names: &'a Names,
    needs: Needs,
    errors: BTreeSet<(Option<usize>, String)>,
}

/// Actions and tests that are not supported: the compiler's name, the word in the script, and why.
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("Redirect", "redirect", "the daemon sends no mail; use keywords to choose the route"),
    ("Notify", "notify", "the daemon sends no mail"),
    ("Vacation", "vacation", "the daemon sends no mail"),
    ("Size", "size", "the body is not read to its end, so the size is not known; use the mail server's limit"),
    ("Body", "body", "the body is not read to its end; use environment \"vnd.conbool.kind\""),
    ("Date", "date", "a verdict must not depend on the time"),
    ("CurrentDate", "currentdate", "a verdict must not depend on the time"),
    ("Duplicate", "duplicate", "verdicts do not depend on earlier messages"),
    ("Include", "include", "write all rules into one file"),
    ("ForEveryPartPush", "foreverypart", "the body is not read to its end; use environment \"vnd.conbool.kind\""),
    ("Replace", "replace", "bodies are never changed"),
    ("Enclose", "enclose", "bodies are never changed"),
    ("ExtractText", "extracttext", "the body is not read to its end"),
    ("Convert", "convert", "bodies are never changed"),
    ("While", "while", "it is not standard Sieve"),
    ("Eval", "eval", "it is not standard Sieve"),
    ("Let", "let", "it is not standard Sieve"),
];

/// The extensions that scripts may require.
fn is_supported(capability: &Capability) -> bool {
    use Capability as C;
    matches!(
        capability,
        C::Comparator(_)
            | C::EditHeader
            | C::EncodedCharacter
            | C::Envelope
            | C::Environment
            | C::Ereject
            | C::ExtLists
            | C::FileInto
            | C::Ihave
            | C::Imap4Flags
            | C::Index
            | C::Reject
            | C::Relational
            | C::SubAddress
            | C::Variables
    )
}

impl Review<'_> {
    fn visit(&mut self, value: &Value) {
        match value {
            Value::String(name) => self.instruction(name, &Value::Null),
            Value::Array(values) => values.iter().for_each(|value| self.visit(value)),
            Value::Object(members) => {
                for (name, inner) in members {
                    // A script's own strings are not code, but may be keywords.
                    if name == "Text" {
                        self.reasons(inner.as_str().unwrap_or_default());
                        continue;
                    }
                    self.instruction(name, inner);
                    if name != "Require" {
                        self.visit(inner);
                    }
                }
            }
            _ => {}
        }
    }

    fn reasons(&mut self, text: &str) {
        for keyword in text.split_ascii_whitespace() {
            let routes = [Route::Direct, Route::Relay];
            self.needs.reasons.extend(routes.into_iter().filter_map(|route| super::keyword_reason(keyword, route)));
        }
    }

    fn instruction(&mut self, name: &str, inner: &Value) {
        match name {
            "Require" => self.require(inner),
            "Invalid" => {
                let word = inner["name"].as_str().unwrap_or_default();
                let line = inner["line_num"].as_u64().and_then(|line| usize::try_from(line).ok());
                self.errors.insert((line, format!("unknown command or test {word:?}")));
            }
            "Header" | "Address" | "Exists" => self.needs.header = true,
            "Envelope" => self.needs.envelope = true,
            "AddHeader" | "DeleteHeader" => {
                self.needs.header = true;
                self.needs.edits = true;
                if let Some(field) = inner["field_name"]["Text"].as_str()
                    && PROTECTED_FIELDS.iter().any(|protected| protected.eq_ignore_ascii_case(field))
                {
                    let advice = if field.eq_ignore_ascii_case(SPAM_FLAG_FIELD) {
                        "; use addflag \"$Junk\" or \"$NotJunk\""
                    } else {
                        ""
                    };
                    let message = format!("the field {field} cannot be edited by a script{advice}");
                    self.errors.insert((self.line_of(field), message));
                }
            }
            "Environment" => {
                if let Some(item) = inner.as_str() {
                    self.environment(item);
                }
            }
            "FileInto" => {
                if let Some(folder) = inner["folder"]["Text"].as_str()
                    && !folder.eq_ignore_ascii_case(QUARANTINE_MAILBOX)
                {
                    let message = format!(
                        "there is no mailbox {folder:?} here; the only one is {QUARANTINE_MAILBOX:?}, the mail server's hold queue"
                    );
                    self.errors.insert((self.line_of(folder), message));
                }
            }
            _ => {
                // A list of the same name as a struct's member may be empty; only real uses carry something.
                if let Some((_, word, why)) = UNSUPPORTED.iter().find(|(compiled, ..)| *compiled == name) {
                    self.errors.insert((self.line_of(word), format!("{word} is not supported: {why}")));
                }
            }
        }
        if inner["match_type"] == "List" {
            self.needs.lists = true;
            self.external_lists(&inner["key_list"]);
        }
    }

    fn require(&mut self, capabilities: &Value) {
        for capability in capabilities.as_array().into_iter().flatten() {
            let Ok(capability) = serde_json::from_value::<Capability>(capability.clone()) else { continue };
            if !is_supported(&capability) {
                let word = capability.to_string();
                self.errors.insert((self.line_of(&word), format!("the extension {word:?} is not supported")));
            }
        }
    }

    fn environment(&mut self, item: &str) {
        if let Some(known) = ENVIRONMENT.iter().find(|known| **known == item) {
            self.needs.environment.insert(known);
            return;
        }
        if item.strip_prefix(SETTING_ITEM).is_some_and(|name| self.names.settings.contains_key(name)) {
            return;
        }
        // The name of an item comes in small letters; two scopes whose names differ in case only are one here.
        let named_scope = item.strip_prefix(NAMED_SCOPE_ITEM);
        if let Some(scope) = named_scope.and_then(|name| self.scopes().find(|scope| scope.eq_ignore_ascii_case(name))) {
            self.needs.named_scopes.insert(item.to_owned(), scope.to_owned());
            return;
        }
        let settings = self.names.settings.keys().map(|name| format!("{SETTING_ITEM}{name}"));
        let scopes = self.scopes().map(|name| format!("{NAMED_SCOPE_ITEM}{name}"));
        let known = ENVIRONMENT.iter().map(ToString::to_string).chain(settings).chain(scopes);
        let likeness = |known: &String| strsim::jaro_winkler(known, item);
        let nearest = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let advice = nearest.map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default();
        self.errors.insert((self.line_of(item), format!("there is no environment item {item:?}{advice}")));
    }

    /// The named scopes.
    fn scopes(&self) -> impl Iterator<Item = &'_ str> {
        self.names.lists.iter().filter_map(|list| list.strip_prefix(NAMED_SCOPE_LIST))
    }

    fn external_lists(&mut self, keys: &Value) {
        for key in keys.as_array().into_iter().flatten() {
            if let Some(name) = key["Text"].as_str()
                && !name.strip_prefix(LIST_PREFIX).is_some_and(|name| self.names.lists.contains(name))
            {
                let known: Vec<&str> = self.names.lists.iter().map(String::as_str).collect();
                let message =
                    format!("there is no list {name:?}; lists begin with {LIST_PREFIX:?}: {}", known.join(", "));
                self.errors.insert((self.line_of(name), message));
            }
        }
    }

    /// The first line on which the word stands outside of a `#` comment, from 1.
    fn line_of(&self, word: &str) -> Option<usize> {
        let word = word.to_ascii_lowercase();
        let lines = self.text.lines().map(|line| line.split('#').next().unwrap_or_default().to_ascii_lowercase());
        lines.enumerate().find(|(_, line)| line.contains(&word)).map(|(index, _)| index + 1)
    }
}

/// A sentence on why a script stopped.
pub fn explain_failure(error: &RuntimeError) -> String {
    match error {
        RuntimeError::ScriptErrorMessage(message) => format!("the script stopped with: {message}"),
        RuntimeError::CPULimitReached => format!("the script ran more than {} instructions", super::CPU_LIMIT),
        other => format!("the script failed: {other:?}"),
    }
}
