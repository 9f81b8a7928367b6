//! A verdict for people, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::Refused;
use crate::case::Case;
use crate::telemetry;
use crate::verdict::{Direction, Disposition, HeaderEdit, Kind, Mode, Peer, Reply, Route, Spam, Verdict};

#[derive(Serialize)]
struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    kind: Kind,
    direction: Direction,
    peer: Peer,
    in_scope: bool,
    route: Route,
    spam: Spam,
    disposition: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<&'a str, String>,
    reasons: Vec<&'a str>,
    explanation: Vec<&'a str>,
    edits: Vec<Edit<'a>>,
    mode: Mode,
}

#[derive(Serialize)]
struct Edit<'a> {
    op: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
}

impl<'a> From<&'a HeaderEdit> for Edit<'a> {
    fn from(edit: &'a HeaderEdit) -> Self {
        match edit {
            HeaderEdit::Delete { name, index } => Self { op: "delete", name, index: Some(*index), value: None },
            HeaderEdit::Add { name, value } => Self { op: "add", name, index: None, value: Some(value) },
            HeaderEdit::Insert { name, value } => Self { op: "insert", name, index: Some(0), value: Some(value) },
        }
    }
}

fn reply(disposition: &Disposition) -> Option<String> {
    match disposition {
        Disposition::Tempfail(reply) | Disposition::Reject(reply) => Some(line_of(reply)),
        _ => None,
    }
}

fn line_of(Reply { code, enhanced, text }: &Reply) -> String {
    format!("{code} {enhanced} {text}")
}

/// One JSON object, on one line.
pub fn json(verdict: &Verdict, refused: &[Refused], file: Option<&Path>) -> String {
    let (mode, verdict) = (verdict.mode, verdict.decided());
    let report = Report {
        file: file.map(|file| file.display().to_string()),
        kind: verdict.kind,
        direction: verdict.direction,
        peer: verdict.peer,
        in_scope: verdict.in_scope,
        route: verdict.route,
        spam: verdict.spam,
        disposition: verdict.disposition.name(),
        reply: reply(&verdict.disposition),
        refused: refused.iter().map(|(recipient, reply)| (recipient.as_str(), line_of(reply))).collect(),
        reasons: verdict.reasons.iter().map(|reason| reason.name.as_ref()).collect(),
        explanation: verdict.reasons.iter().map(|reason| reason.text.as_str()).collect(),
        edits: verdict.edits.iter().map(Edit::from).collect(),
        mode,
    };
    serde_json::to_string(&report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// One line for people.
pub fn line(file: &Path, verdict: &Verdict) -> String {
    let monitored = if verdict.mode == Mode::Monitor { ", monitored" } else { "" };
    let verdict = verdict.decided();
    let names: Vec<&str> = verdict.reasons.iter().map(|reason| reason.name.as_ref()).collect();
    format!(
        "{}: {} ({}), {}, {}, spam {}{monitored}",
        file.display(),
        telemetry::decision(verdict),
        names.join(", "),
        verdict.direction.name(),
        verdict.kind.name(),
        verdict.spam.name()
    )
}

/// The whole decision for people.
pub fn full(case: &Case, verdict: &Verdict, refused: &[Refused]) -> String {
    let mode = verdict.mode;
    let verdict = verdict.decided();
    let mut text = String::new();
    let mut row = |label: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:<12}{value}");
    };
    row("decision", telemetry::decision(verdict));
    if let Some(reply) = reply(&verdict.disposition) {
        row("reply", &reply);
    }
    for (recipient, reply) in refused {
        row("refused", &format!("{}: {}", recipient.escape_debug(), line_of(reply)));
    }
    for (number, reason) in verdict.reasons.iter().enumerate() {
        row(if number == 0 { "because" } else { "also" }, &format!("{} - {}", reason.name, reason.text));
    }
    let sender = if case.envelope.sender.is_empty() { "<>" } else { &case.envelope.sender };
    let scope = if verdict.in_scope { "in scope" } else { "not in scope" };
    row("sender", &format!("{} ({scope})", sender.escape_debug()));
    let client = case.client.address.map(|address| address.to_string()).unwrap_or_else(|| "unknown".into());
    let tls = case.client.tls_version.as_deref().map_or("no TLS".to_string(), |version| format!("TLS ({version})"));
    row("client", &format!("{client}, {tls}: {}", verdict.peer.name()));
    row("direction", verdict.direction.name());
    row("kind", verdict.kind.name());
    row("spam", verdict.spam.name());
    if mode == Mode::Monitor {
        row("mode", "monitor - not, or not all of it, carried out: see mode, routing.mode, spam.mode");
    }
    for edit in &verdict.edits {
        row(
            "edit",
            &match edit {
                HeaderEdit::Delete { name, index } => format!("delete {} number {index}", name.escape_debug()),
                HeaderEdit::Add { name, value } => format!("add {name}: {value}"),
                HeaderEdit::Insert { name, value } => format!("insert {name}: {value}"),
            },
        );
    }
    text.truncate(text.trim_end().len());
    text
}
