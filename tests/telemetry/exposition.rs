//! `/metrics`: what is counted, under which names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use conbool_milter::telemetry::metrics::{Kind, METRICS, Metric};

use crate::http::get;
use crate::running::Daemon;
use crate::{SOCKET, busy, client};

/// Metrics of parts that the daemon of these tests does not use: names and labels are checked all the same.
const OTHER_PARTS: &[&str] = &["conbool_milter_lock_down_", "conbool_milter_policy_", "conbool_milter_socketmap_"];

/// The metrics that a daemon exposes, each with its labels.
pub fn exposed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap().split(',').filter_map(|label| label.split_once('='));
        found.entry(name.to_string()).or_default().extend(labels.map(|(label, _)| label.to_string()));
    }
    found
}

/// The names of the series that a metric has.
pub fn series(metric: &Metric) -> Vec<(String, BTreeSet<String>)> {
    let labels: BTreeSet<String> = metric.labels.iter().map(ToString::to_string).collect();
    if metric.kind != Kind::Histogram {
        return vec![(metric.name.to_string(), labels)];
    }
    let with_bound = labels.iter().cloned().chain(["le".to_string()]).collect();
    let part = |part: &str, labels| (format!("{}_{part}", metric.name), labels);
    vec![part("bucket", with_bound), part("sum", labels.clone()), part("count", labels)]
}

#[test]
fn promtool_finds_nothing_wrong() {
    let (daemon, _client) = busy("promtool");
    let answer = get(&daemon, "/metrics");
    assert_eq!(answer.code, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("promtool is needed: apt-get install prometheus");
    promtool.stdin.take().unwrap().write_all(answer.body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn messages_are_counted_by_what_was_decided() {
    let (daemon, _client) = busy("counted");
    let text = get(&daemon, "/metrics").body;
    for line in [
        "conbool_milter_messages_total{direction=\"outbound\",decision=\"relay\",reason=\"in-scope\",mode=\"enforce\"} 2",
        "conbool_milter_messages_total{direction=\"outbound\",decision=\"direct\",reason=\"null-sender\",mode=\"enforce\"} 1",
        "conbool_milter_messages_total{direction=\"inbound\",decision=\"tempfail\",reason=\"rules-failed\",mode=\"enforce\"} 0",
        "conbool_milter_peer_messages_total{peer=\"internal\"} 3",
        "conbool_milter_forged_headers_total 2",
        "conbool_milter_errors_total{stage=\"reply\"} 0",
        "conbool_milter_connections{door=\"milter\"} 1",
        "conbool_milter_connections_limit{door=\"milter\"} 2000",
        "conbool_milter_config_reload_success 1",
        "conbool_milter_ready 1",
        "conbool_milter_build_info{version=\"0.1.0\"} 1",
        "conbool_milter_verdict_seconds_bucket{le=\"+Inf\"} 3",
        "conbool_milter_verdict_seconds_count 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes ") && text.contains("_bucket{le=\"0.00001\"} "), "{text}");
}

#[test]
fn the_list_of_metrics_is_what_is_exposed() {
    let (daemon, _client) = busy("list");
    let text = get(&daemon, "/metrics").body;
    let found = exposed(&text);
    let listed: BTreeMap<String, BTreeSet<String>> = METRICS.iter().flat_map(series).collect();
    for (name, labels) in found.iter().filter(|(name, _)| !name.starts_with("process_")) {
        assert_eq!(Some(labels), listed.get(name), "{name}");
    }
    let of_others = |name: &str| OTHER_PARTS.iter().any(|part| name.starts_with(part));
    for name in listed.keys().filter(|name| !of_others(name)) {
        assert!(found.contains_key(name), "{name} is not exposed:\n{text}");
    }
    for metric in METRICS.iter().filter(|metric| !of_others(metric.name)) {
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}:\n{text}", metric.name);
    }
}

#[test]
fn a_sender_cannot_make_up_label_values() {
    let script = "require [\"imap4flags\", \"variables\"]; if header :matches \"Subject\" \"*\" { addflag \
                  \"direct:${1}\"; } else { addflag \"direct:vip\"; }";
    let folder = std::env::temp_dir().join(format!("conbool-milter-{}-label-script", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("site.sieve"), script).unwrap();
    let more = format!("[rules]\nsite_script = \"{}/site.sieve\"\n{SOCKET}", folder.display());
    let daemon = Daemon::start_with("labels", &more);
    let mut client = client(&daemon);
    for number in 0..50 {
        client.message("alice@customer.test", &[("Subject", &format!("made-up-{number}"))]);
    }
    client.message("alice@customer.test", &[]);
    let text = get(&daemon, "/metrics").body;
    assert!(text.contains("decision=\"direct\",reason=\"other\",mode=\"enforce\"} 50"), "{text}");
    assert!(text.contains("decision=\"direct\",reason=\"vip\",mode=\"enforce\"} 1"), "{text}");
    assert!(!text.contains("made-up"), "{text}");
    assert!(daemon.log().contains("made-up-49"), "the log has the real reason");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_failed_reload_shows_until_one_succeeds() {
    let daemon = Daemon::start_with("reload", SOCKET);
    let success = || get(&daemon, "/metrics").body.contains("conbool_milter_config_reload_success 1\n");
    assert!(success());
    daemon.configure("customer.test", &format!("{SOCKET}unknown = 1\n"));
    daemon.signal("HUP");
    daemon.wait_for_log("configuration not reloaded", 1);
    assert!(!success());
    daemon.configure("customer.test", SOCKET);
    daemon.signal("HUP");
    daemon.wait_for_log("configuration reloaded", 1);
    assert!(success());
}
