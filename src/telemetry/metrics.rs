//! The metrics: what there is, and how it is rendered for Prometheus.
//!
//! What is counted lies in the [`Ledger`](super::ledger::Ledger); it goes to the recorder when somebody asks, so that
//! a message costs no look-up of labels. Only the histogram is filled message by message.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Histogram, counter, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use metrics_util::MetricKindMask;

use super::ledger::Ledger;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values up to each of some bounds.
    Histogram,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name; the unit, where it has one, is in it.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One sentence on it.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

const MESSAGES: Metric = metric(
    "conbool_milter_messages_total",
    Kind::Counter,
    &["direction", "decision", "reason", "mode"],
    "Messages judged, by direction, decision, deciding reason and mode.",
);
const PEER_MESSAGES: Metric = metric(
    "conbool_milter_peer_messages_total",
    Kind::Counter,
    &["peer"],
    "Messages judged, by who handed them over: relay, internal or world.",
);
const FORGED_HEADERS: Metric = metric(
    "conbool_milter_forged_headers_total",
    Kind::Counter,
    &[],
    "Header fields found that only the relay or the milter may set.",
);
const ERRORS: Metric =
    metric("conbool_milter_errors_total", Kind::Counter, &["stage"], "Failures of the daemon's own work, by stage.");
const LIMIT_REACHED: Metric = metric(
    "conbool_milter_limit_reached_total",
    Kind::Counter,
    &["limit"],
    "Messages refused for now and connections closed since they went past a limit, by limit.",
);
const VERDICT: Metric =
    metric("conbool_milter_verdict_seconds", Kind::Histogram, &[], "Time that judging a message took.");
const CONNECTIONS: Metric =
    metric("conbool_milter_connections", Kind::Gauge, &["door"], "Connections open now, by door.");
const CONNECTIONS_LIMIT: Metric =
    metric("conbool_milter_connections_limit", Kind::Gauge, &["door"], "Connections that may be open, by door.");
const READY: Metric = metric(
    "conbool_milter_ready",
    Kind::Gauge,
    &[],
    "1 if the daemon takes new connections, 0 if not, as /readyz says.",
);
const RELOAD_SUCCESS: Metric = metric(
    "conbool_milter_config_reload_success",
    Kind::Gauge,
    &[],
    "1 if the last attempt to load the configuration succeeded, 0 if it had mistakes.",
);
const RELOAD_TIMESTAMP: Metric = metric(
    "conbool_milter_config_last_reload_timestamp_seconds",
    Kind::Gauge,
    &[],
    "When the configuration in force was loaded, in seconds since 1970.",
);
const BUILD_INFO: Metric =
    metric("conbool_milter_build_info", Kind::Gauge, &["version"], "Always 1; the label tells the version.");
const SCOPE_MEMBERS: Metric = metric(
    "conbool_milter_scope_members",
    Kind::Gauge,
    &["scope"],
    "Addresses and domains of a scope; the scope of section [scope] is called default.",
);
const SCOPE_AGE: Metric = metric(
    "conbool_milter_scope_age_seconds",
    Kind::Gauge,
    &["scope"],
    "Time since the source of a scope that was not heard of for longest answered; 0 for what stands in the configuration.",
);
const SCOPE_HELD_BACK: Metric = metric(
    "conbool_milter_scope_held_back",
    Kind::Gauge,
    &["scope"],
    "1 if an answer of the scope's sources is not put in force, 0 if not.",
);
const SCOPE_REFRESH_FAILURES: Metric = metric(
    "conbool_milter_scope_refresh_failures_total",
    Kind::Counter,
    &["scope"],
    "How often a source of the scope could not be read again.",
);
const LOCK_DOWN_ENFORCED: Metric = metric(
    "conbool_milter_lock_down_enforced",
    Kind::Gauge,
    &["domain"],
    "1 if mail for the domain is taken from the relay only, 0 if not.",
);
const LOCK_DOWN_STEPPED_BACK: Metric = metric(
    "conbool_milter_lock_down_stepped_back",
    Kind::Gauge,
    &["domain"],
    "1 if the lock-down of the domain was enforced and is not any more, since its MX changed; 0 if not.",
);

const LOCK_DOWN: Metric = metric(
    "conbool_milter_lock_down_total",
    Kind::Counter,
    &["mode", "door"],
    "Recipients that lock-down kept a stranger from, or would keep (mode monitor), by door.",
);
const POLICY_REQUESTS: Metric = metric(
    "conbool_milter_policy_requests_total",
    Kind::Counter,
    &["action", "reason"],
    "Policy requests answered, by action and reason.",
);
const SOCKETMAP_QUESTIONS: Metric = metric(
    "conbool_milter_socketmap_questions_total",
    Kind::Counter,
    &["answer"],
    "Sendmail's questions where mail goes, by answer.",
);

/// All metrics but those of the process, which have the names that Prometheus gives them.
pub const METRICS: &[Metric] = &[
    MESSAGES,
    PEER_MESSAGES,
    FORGED_HEADERS,
    ERRORS,
    LIMIT_REACHED,
    VERDICT,
    CONNECTIONS,
    CONNECTIONS_LIMIT,
    READY,
    RELOAD_SUCCESS,
    RELOAD_TIMESTAMP,
    BUILD_INFO,
    SCOPE_MEMBERS,
    SCOPE_AGE,
    SCOPE_HELD_BACK,
    SCOPE_REFRESH_FAILURES,
    LOCK_DOWN_ENFORCED,
    LOCK_DOWN_STEPPED_BACK,
    LOCK_DOWN,
    POLICY_REQUESTS,
    SOCKETMAP_QUESTIONS,
];

/// Upper bounds of the histogram, in seconds: from a glance at the header to a script at its limit.
const BUCKETS: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Gauges are set again for each answer; one that is not, such as that of a scope that exists no more, disappears after
/// this time.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// The exporter, once there is one.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

struct Exporter {
    prometheus: PrometheusHandle,
    process: metrics_process::Collector,
    verdict: Histogram,
}

/// Starts recording. From then on, [`upkeep`] has to be called every few seconds.
///
/// # Errors
/// When something else in this process records metrics already.
pub fn install() -> Result<(), BuildError> {
    let matcher = Matcher::Full(VERDICT.name.to_string());
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(matcher, BUCKETS)?
        .idle_timeout(MetricKindMask::GAUGE, Some(GONE_AFTER))
        .install_recorder()?;
    for Metric { name, kind, help, .. } in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
    let process = metrics_process::Collector::default();
    process.describe();
    // Where another thread was first, its handles are the same.
    let _ = EXPORTER.set(Exporter { prometheus, process, verdict: metrics::histogram!(VERDICT.name) });
    Ok(())
}

/// The time that a judgement took.
pub fn record_verdict(elapsed: Duration) {
    if let Some(exporter) = EXPORTER.get() {
        exporter.verdict.record(elapsed);
    }
}

/// Sorts the times that have come in since the last call into the histogram, so that they take no memory.
pub fn upkeep() {
    if let Some(exporter) = EXPORTER.get() {
        exporter.prometheus.run_upkeep();
    }
}

/// All metrics in Prometheus's text format, version 0.0.4; empty before [`install`].
pub fn render(ledger: &Ledger) -> String {
    let Some(exporter) = EXPORTER.get() else { return String::new() };
    publish(ledger);
    exporter.process.collect();
    exporter.prometheus.render()
}

fn publish(ledger: &Ledger) {
    let status = ledger.status();
    for (labels, count) in ledger.messages.counts() {
        counter!(
            MESSAGES.name,
            "direction" => labels.direction,
            "decision" => labels.decision,
            "reason" => labels.reason,
            "mode" => labels.mode
        )
        .absolute(count);
    }
    for (peer, count) in status.messages.peers {
        counter!(PEER_MESSAGES.name, "peer" => peer).absolute(count);
    }
    counter!(FORGED_HEADERS.name).absolute(status.messages.forged_headers);
    for (stage, count) in status.errors {
        counter!(ERRORS.name, "stage" => stage).absolute(count);
    }
    for (limit, count) in status.limits_reached {
        counter!(LIMIT_REACHED.name, "limit" => limit).absolute(count);
    }
    for door in status.doors {
        gauge!(CONNECTIONS.name, "door" => door.door.clone()).set(door.connections as f64);
        gauge!(CONNECTIONS_LIMIT.name, "door" => door.door).set(door.limit as f64);
    }
    gauge!(READY.name).set(flag(status.not_ready.is_none()));
    gauge!(RELOAD_SUCCESS.name).set(flag(status.config.failed.is_none()));
    gauge!(RELOAD_TIMESTAMP.name).set(status.config.loaded as f64);
    gauge!(BUILD_INFO.name, "version" => status.version).set(1.0);
    for scope in status.scopes {
        gauge!(SCOPE_MEMBERS.name, "scope" => scope.name.clone()).set(scope.members as f64);
        gauge!(SCOPE_AGE.name, "scope" => scope.name.clone()).set(scope.age_seconds as f64);
        gauge!(SCOPE_HELD_BACK.name, "scope" => scope.name.clone()).set(flag(scope.held_back));
        // There from the start, so that the first failure is an increase.
        let failures = ledger.scope_refresh_failures(&scope.name);
        counter!(SCOPE_REFRESH_FAILURES.name, "scope" => scope.name).absolute(failures);
    }
    for domain in status.lock_down {
        gauge!(LOCK_DOWN_ENFORCED.name, "domain" => domain.domain.clone()).set(flag(domain.enforced));
        gauge!(LOCK_DOWN_STEPPED_BACK.name, "domain" => domain.domain).set(flag(domain.stepped_back));
    }
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
