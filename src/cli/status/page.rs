//! The state of a daemon on one page, for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};

use crate::telemetry::status::{LockDownStatus, Messages, ScopeStatus, SourceStatus, Status};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();
const HEADING: Style = Style::new().bold();

/// Most words of a kind that are shown, those with the highest counts first.
const MAX_WORDS: usize = 10;

/// The page, with colours.
pub fn page(status: &Status) -> String {
    let mut page = Page::default();
    page.line("conbool-milter", summary(status));
    configuration(&mut page, status);
    for door in &status.doors {
        let connections = format!("{} of {} connections", door.connections, door.limit);
        let connections = if door.connections >= door.limit { styled(WARNING, &connections) } else { connections };
        page.line(&door.door, format!("{connections}, {}", door.sockets.join(" ")));
    }
    messages(&mut page, &status.messages);
    for (name, counts) in [("errors", &status.errors), ("limits reached", &status.limits_reached)] {
        let happened = counts.values().any(|count| *count > 0);
        page.line(name, if happened { styled(WARNING, &words(counts)) } else { "none".into() });
    }
    scopes(&mut page, status);
    lock_down(&mut page, status);
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, name: &str, value: impl AsRef<str>) {
        // A string takes whatever is written to it.
        let _ = writeln!(self.text, "{HEADING}{name:<15}{HEADING:#} {}", value.as_ref());
    }

    fn table(&mut self, heading: &[&str], numbers: &[usize], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(heading.to_vec()).add_rows(rows);
        for number in numbers {
            if let Some(column) = table.column_mut(*number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let _ = writeln!(self.text);
        for line in table.trim_fmt().lines() {
            let _ = writeln!(self.text, "{}", line.strip_prefix(' ').unwrap_or(line));
        }
    }
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn summary(status: &Status) -> String {
    let state = match &status.not_ready {
        None => styled(GOOD, "ready"),
        Some(why) => styled(BAD, &format!("not ready: {why}")),
    };
    let mode = if status.mode == "enforce" { status.mode.clone() } else { styled(WARNING, &status.mode) };
    let up = span(status.uptime_seconds);
    format!("{}, {state}, mode {mode}, up {up}, process {}", status.version, status.pid)
}

fn configuration(page: &mut Page, status: &Status) {
    let ago = |time| span(status.time.saturating_sub(time));
    page.line("configuration", format!("{}, loaded {} ago", status.config.file, ago(status.config.loaded)));
    if let Some(failed) = &status.config.failed {
        let more = if failed.more > 0 { format!(" (and {} more)", failed.more) } else { String::new() };
        let why = format!("not reloaded {} ago: {}{more}", ago(failed.time), failed.mistake);
        page.line("", styled(BAD, &why));
    }
}

fn messages(page: &mut Page, messages: &Messages) {
    let (minute, quarter) = (messages.per_second_1m, messages.per_second_15m);
    let rates = format!("{minute:.2}/s in the last minute, {quarter:.2}/s in 15 minutes");
    page.line("messages", format!("{} since the start, {rates}", messages.total));
    for (name, counts) in [
        ("from", &messages.peers),
        ("directions", &messages.directions),
        ("decisions", &messages.decisions),
        ("reasons", &messages.reasons),
    ] {
        page.line(&format!("  {name}"), words(counts));
    }
    page.line("  forged fields", messages.forged_headers.to_string());
}

fn scopes(page: &mut Page, status: &Status) {
    if status.scopes.is_empty() {
        return;
    }
    let row = |scope: &ScopeStatus| {
        let age = if scope.age_seconds > 0 { span(scope.age_seconds) } else { "-".into() };
        let share = format!("{:.0} %", scope.share * 100.0);
        let of_source = |source: &SourceStatus| {
            let held_back = source.held_back.map(|members| format!("answer with {members} members held back"));
            let state = source.problem.iter().cloned().chain(held_back).collect::<Vec<_>>().join("; ");
            (!state.is_empty()).then(|| format!("{}: {state}", source.name))
        };
        let state: Vec<String> = scope.sources.iter().filter_map(of_source).collect();
        vec![scope.name.clone(), scope.mode.clone(), share, scope.members.to_string(), age, state.join("; ")]
    };
    let rows = status.scopes.iter().map(row).collect();
    page.table(&["scope", "mode", "share", "members", "age", "trouble"], &[2, 3, 4], rows);
}

fn lock_down(page: &mut Page, status: &Status) {
    if status.lock_down.is_empty() {
        return;
    }
    let row = |domain: &LockDownStatus| {
        let state = match (domain.enforced, domain.stepped_back) {
            (true, _) => "enforced",
            (false, true) => "stepped back",
            (false, false) => "not enforced",
        };
        vec![domain.domain.clone(), state.into(), domain.why.clone()]
    };
    let rows = status.lock_down.iter().map(row).collect();
    page.table(&["domain", "lock-down", "why"], &[], rows);
}

/// Words with their counts, the highest first.
fn words(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let rest = counts.len().saturating_sub(MAX_WORDS);
    let mut shown: Vec<String> =
        counts.into_iter().take(MAX_WORDS).map(|(word, count)| format!("{word} {count}")).collect();
    if rest > 0 {
        shown.push(format!("and {rest} more"));
    }
    if shown.is_empty() { "none".into() } else { shown.join(", ") }
}

/// A time in its two greatest units.
fn span(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let greatest = UNITS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, unit) in &UNITS[greatest..UNITS.len().min(greatest + 2)] {
        if rest >= *unit || parts.is_empty() {
            parts.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_two_units() {
        let cases = [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3601, "1 h"), (3725, "1 h 2 min"), (200_000, "2 d 7 h")];
        for (seconds, expected) in cases {
            assert_eq!(span(seconds), expected);
        }
    }
}
