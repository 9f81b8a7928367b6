//! The findings as text for people, and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::finding::{Area, Finding, Status};

const HEADING: Style = Style::new().bold();
const MEND: Style = AnsiColor::Cyan.on_default();

/// In the order of the summary.
const STATUSES: [Status; 4] = [Status::Fail, Status::Warn, Status::Unknown, Status::Pass];

/// Writes the findings to standard output, with colours only on a terminal.
///
/// # Errors
/// If they cannot be written, unless nobody reads any more.
pub fn print(findings: &[Finding], as_json: bool) -> io::Result<()> {
    let mut output = anstream::AutoStream::auto(io::stdout().lock());
    let text = if as_json { format!("{}\n", json(findings)?) } else { page(findings) };
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[derive(Serialize)]
struct Report<'a> {
    findings: Vec<Entry<'a>>,
    totals: Totals,
}

#[derive(Serialize)]
struct Entry<'a> {
    area: &'a str,
    check: &'a str,
    subject: &'a str,
    status: &'a str,
    seen: &'a str,
    mend: &'a str,
}

#[derive(Serialize)]
struct Totals {
    fail: usize,
    warn: usize,
    unknown: usize,
    pass: usize,
}

impl<'a> From<&'a Finding> for Entry<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            area: finding.area.name(),
            check: finding.check,
            subject: &finding.subject,
            status: finding.status.name(),
            seen: &finding.seen,
            mend: &finding.mend,
        }
    }
}

fn json(findings: &[Finding]) -> serde_json::Result<String> {
    let [fail, warn, unknown, pass] = STATUSES.map(|status| count(findings, status));
    let totals = Totals { fail, warn, unknown, pass };
    serde_json::to_string_pretty(&Report { findings: findings.iter().map(Entry::from).collect(), totals })
}

fn count(findings: &[Finding], status: Status) -> usize {
    findings.iter().filter(|finding| finding.status == status).count()
}

/// The findings, area by area, with colours.
fn page(findings: &[Finding]) -> String {
    let width = |value: fn(&Finding) -> &str| findings.iter().map(|f| value(f).chars().count()).max().unwrap_or(0);
    let (check, subject) = (width(|finding| finding.check), width(|finding| &finding.subject));
    let mut page = String::new();
    for area in Area::ALL {
        let mut of_area = findings.iter().filter(|finding| finding.area == area).peekable();
        if of_area.peek().is_some() {
            // A string takes whatever is written to it.
            let _ = writeln!(page, "{HEADING}{}{HEADING:#}", area.name());
        }
        for finding in of_area {
            let style = style(finding.status);
            let what = format!("{:check$}  {:subject$}", finding.check, printable(&finding.subject));
            let _ = writeln!(page, "  {style}{:7}{style:#}  {what}  {}", finding.status, printable(&finding.seen));
            for line in finding.mend.lines() {
                let _ = writeln!(page, "           {MEND}{}{MEND:#}", printable(line));
            }
        }
    }
    if !page.is_empty() {
        page.push('\n');
    }
    page.push_str(&summary(findings));
    page
}

fn style(status: Status) -> Style {
    match status {
        Status::Pass => AnsiColor::Green.on_default(),
        Status::Unknown => AnsiColor::Magenta.on_default(),
        Status::Warn => AnsiColor::Yellow.on_default(),
        Status::Fail => AnsiColor::Red.on_default().bold(),
    }
}

fn summary(findings: &[Finding]) -> String {
    let counted = STATUSES.map(|status| {
        let count = count(findings, status);
        let style = if count > 0 { style(status) } else { Style::new() };
        format!("{style}{count} {status}{style:#}")
    });
    format!("{HEADING}{} looked at{HEADING:#}: {}\n", findings.len(), counted.join(", "))
}

/// What strangers have published or sent must not command the terminal.
fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            clean.extend(letter.escape_default());
        } else {
            clean.push(letter);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::new(Area::Relay, "greeting", "192.0.2.1", Status::Unknown, "220 \x1b[31mhi"),
            Finding::new(Area::Dns, "spf", "customer.test", Status::Fail, "no SPF record")
                .mended_by("customer.test. IN TXT \"v=spf1 -all\"\nand more"),
            Finding::new(Area::Dns, "mx", "customer.test", Status::Pass, "mx.provider.test"),
        ]
    }

    #[test]
    fn the_page_is_grouped_by_area_with_what_mends_below_and_a_summary() {
        let expected = r#"dns
  fail     spf       customer.test  no SPF record
           customer.test. IN TXT "v=spf1 -all"
           and more
  pass     mx        customer.test  mx.provider.test
relay
  unknown  greeting  192.0.2.1      220 \u{1b}[31mhi

3 looked at: 1 fail, 0 warn, 1 unknown, 1 pass
"#;
        let page = anstream::adapter::strip_str(&page(&findings())).to_string();
        assert_eq!(page, expected);
    }

    #[test]
    fn json_has_every_part_of_a_finding_and_totals() {
        let json: serde_json::Value = serde_json::from_str(&json(&findings()).unwrap()).unwrap();
        let expected = serde_json::json!({
            "findings": [
                {"area": "relay", "check": "greeting", "subject": "192.0.2.1", "status": "unknown",
                 "seen": "220 \u{1b}[31mhi", "mend": ""},
                {"area": "dns", "check": "spf", "subject": "customer.test", "status": "fail",
                 "seen": "no SPF record", "mend": "customer.test. IN TXT \"v=spf1 -all\"\nand more"},
                {"area": "dns", "check": "mx", "subject": "customer.test", "status": "pass",
                 "seen": "mx.provider.test", "mend": ""},
            ],
            "totals": {"fail": 1, "warn": 0, "unknown": 1, "pass": 1},
        });
        assert_eq!(json, expected);
    }
}
