//! The scripts for Exchange Online: what they ask for is what the guides ask for, they are PowerShell, and they change
//! nothing without asking PowerShell's ShouldProcess.
//!
//! `UPDATE_SNAPSHOTS=1` writes the scripts in `tests/exchange_online/` anew: one for each guide, without the parts that are
//! files by themselves in `src/mta/exchange_online/`, and for the other requests what is different in theirs.

mod asking;
mod command;
mod guides;
mod powershell;
mod values;

use std::fs;
use std::path::Path;

use conbool_milter::mta::exchange_online::{Guide, Request, Scope, Scripts, generate};
use conbool_milter::provider::Provider;
use similar::TextDiff;

use crate::powershell::{all, parse};

fn request(guide: Guide) -> Request {
    let host = Provider::load(guide.key()).unwrap().relay.map(|relay| relay.host).unwrap_or_default();
    Request {
        guide,
        domains: vec!["example.com".into()],
        scope: Scope::All,
        relay_tls_name: host.clone(),
        relay_host: host,
        networks: vec!["192.0.2.0/24".parse().unwrap(), "198.51.100.7/32".parse().unwrap()],
        mx_hosts: vec!["mx.example.net".into(), "*.mx.example.net".into()],
        customer_id: Some("customer-4711".into()),
        nta: false,
        group_owner: None,
        names: Vec::new(),
        outbound_only: false,
        guide_only: false,
    }
}

/// What there are snapshots of.
fn cases() -> Vec<(&'static str, Request)> {
    let two_domains = vec!["example.com".to_owned(), "example.org".to_owned()];
    let names =
        [("avg-group", "Größe ’s $(Get-Date) `n"), ("avg-address", "relay@example.com"), ("connector", "O'Brien")];
    vec![
        ("conbool", request(Guide::Conbool)),
        ("conbool-guide-only", Request { guide_only: true, ..request(Guide::Conbool) }),
        (
            "conbool-list-two-domains",
            Request {
                domains: two_domains,
                scope: Scope::List(vec!["alice@example.com".into(), "o'brien@example.org".into()]),
                outbound_only: true,
                ..request(Guide::Conbool)
            },
        ),
        (
            "conbool-group",
            Request {
                scope: Scope::Group("relay-users@example.com".into()),
                networks: vec![],
                ..request(Guide::Conbool)
            },
        ),
        ("secumailer", request(Guide::SecuMailer)),
        ("secumailer-guide-only", Request { nta: true, guide_only: true, ..request(Guide::SecuMailer) }),
        (
            "secumailer-nta-names",
            Request {
                nta: true,
                names: names.map(|(item, name)| (item.to_owned(), name.to_owned())).to_vec(),
                group_owner: Some("alice@example.com".into()),
                ..request(Guide::SecuMailer)
            },
        ),
        ("mailprotector", request(Guide::Mailprotector)),
        ("mailprotector-no-mx", Request { mx_hosts: vec![], ..request(Guide::Mailprotector) }),
    ]
}

fn scripts(request: &Request) -> Scripts {
    generate(request).unwrap()
}

fn set_up(request: &Request) -> String {
    scripts(request).set_up.text
}

/// The parts that are the same in every script.
const PARTS: [(&str, &str); 5] = [
    ("common.ps1", include_str!("../../src/mta/exchange_online/common.ps1")),
    ("set_up.ps1", include_str!("../../src/mta/exchange_online/set_up.ps1")),
    ("set_up_main.ps1", include_str!("../../src/mta/exchange_online/set_up_main.ps1")),
    ("enable.ps1", include_str!("../../src/mta/exchange_online/enable.ps1")),
    ("removal_main.ps1", include_str!("../../src/mta/exchange_online/removal_main.ps1")),
];

/// A script as it is kept.
fn kept_text(script: &str) -> String {
    let text = script.replace("\r\n", "\n").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    PARTS.iter().fold(text, |text, (file, part)| text.replace(part.trim_end(), &format!("# The text of {file}.")))
}

#[test]
fn scripts_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchange_online");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut bases: Vec<((&str, &str), String)> = Vec::new();
    for (name, request) in cases() {
        let scripts = scripts(&request);
        for (kind, script) in [("set-up", scripts.set_up), ("removal", scripts.removal)] {
            assert!(script.text.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "{name}: {kind}");
            let text = kept_text(&script.text);
            let (path, text) = match bases.iter().find(|((base, of), _)| name.starts_with(base) && *of == kind) {
                Some((_, base)) => {
                    let difference = TextDiff::from_lines(base, &text).unified_diff().context_radius(1).to_string();
                    (folder.join(format!("{name}.{kind}.diff")), difference)
                }
                None => {
                    bases.push(((name, kind), text.clone()));
                    (folder.join(format!("{name}.{kind}.ps1.snapshot")), text)
                }
            };
            if update && !text.is_empty() {
                fs::write(&path, &text).unwrap();
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == text, "{} differs; look at it with UPDATE_SNAPSHOTS=1 and git diff", path.display());
        }
    }
}

#[test]
fn scripts_are_powershell() {
    for (name, request) in cases() {
        let scripts = scripts(&request);
        for script in [scripts.set_up, scripts.removal] {
            let source = script.text.trim_start_matches('\u{feff}');
            let tree = parse(source);
            for node in all(&tree) {
                let place = node.start_position();
                assert!(
                    !node.is_error() && !node.is_missing(),
                    "{name}, {}: line {}: {}",
                    script.file_name,
                    place.row + 1,
                    source.lines().nth(place.row).unwrap_or_default()
                );
            }
        }
    }
    assert!(all(&parse("if ($x { }")).iter().any(|node| node.is_error() || node.is_missing()));
}
