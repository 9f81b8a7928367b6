//! The alert rules, the dashboard and the manual page, against the metrics that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use conbool_milter::telemetry::metrics::{Kind, METRICS, Metric};
use promql_parser::parser::{self, Expr, LabelModifier};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

use crate::busy;
use crate::exposition::{exposed, series};
use crate::http::get;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn promtool(arguments: &[&str]) {
    let mut command = Command::new("promtool");
    let command = command.args(arguments).current_dir(file("packaging/prometheus"));
    let output = command.output().expect("promtool is needed: apt-get install prometheus");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_alert_rules_are_right_and_fire_when_they_should() {
    promtool(&["check", "rules", "conbool-milter.rules.yml"]);
    promtool(&["test", "rules", "conbool-milter.rules.test.yml"]);
}

/// What Prometheus adds to each series.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// The metrics, each with its labels: those that a daemon exposes, and those of parts that it does not use.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let (daemon, _client) = busy("packaging");
    let mut metrics = exposed(&get(&daemon, "/metrics").body);
    metrics.extend(METRICS.iter().flat_map(series));
    metrics.insert("up".into(), BTreeSet::new());
    for labels in metrics.values_mut() {
        labels.extend(TARGET_LABELS.map(String::from));
    }
    metrics
}

/// Collects what is wrong in a query.
struct Check<'a> {
    metrics: &'a BTreeMap<String, BTreeSet<String>>,
    used: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn query(&mut self, query: &str) {
        // Grafana's variables are no PromQL.
        let query = query.replace("$__rate_interval", "5m");
        match parser::parse(&query) {
            Ok(expression) => {
                let Ok(_) = walk_expr(self, &expression);
            }
            Err(mistake) => self.wrong.push(format!("{query}: {mistake}")),
        }
    }

    /// Labels by which the result of an expression may be grouped.
    fn labels_in(&self, expression: &Expr) -> BTreeSet<String> {
        let mut selectors = Selectors::default();
        let Ok(_) = walk_expr(&mut selectors, expression);
        selectors.0.iter().filter_map(|name| self.metrics.get(name)).flatten().cloned().collect()
    }
}

#[derive(Default)]
struct Selectors(Vec<String>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        if let Some((name, _)) = selector(expression) {
            self.0.push(name);
        }
        Ok(true)
    }
}

/// Name and label names of a selector.
fn selector(expression: &Expr) -> Option<(String, Vec<String>)> {
    let vector = match expression {
        Expr::VectorSelector(vector) => vector,
        Expr::MatrixSelector(matrix) => &matrix.vs,
        _ => return None,
    };
    let labels = vector.matchers.matchers.iter().map(|matcher| matcher.name.clone()).collect();
    Some((vector.name.clone().unwrap_or_default(), labels))
}

impl ExprVisitor for Check<'_> {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        if let Some((name, labels)) = selector(expression) {
            match self.metrics.get(&name) {
                None => self.wrong.push(format!("there is no metric {name:?}")),
                Some(known) => {
                    let unknown = labels.iter().filter(|label| !known.contains(*label));
                    self.wrong.extend(unknown.map(|label| format!("{name} has no label {label:?}")));
                }
            }
            self.used.insert(name);
        }
        if let Expr::Aggregate(aggregate) = expression
            && let Some(LabelModifier::Include(labels)) = &aggregate.modifier
        {
            let known = self.labels_in(&aggregate.expr);
            let unknown = labels.labels.iter().filter(|label| !known.contains(*label));
            self.wrong.extend(unknown.map(|label| format!("nothing in {} has a label {label:?}", aggregate.expr)));
        }
        Ok(true)
    }
}

/// The values of all members of this name, at any depth.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(name).and_then(Value::as_str));
            object.values().for_each(|value| members(value, name, found));
        }
        Value::Array(array) => array.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

/// The `expr` of each rule; promtool has checked that it is YAML.
fn expressions_of_rules() -> Vec<String> {
    let text = std::fs::read_to_string(file("packaging/prometheus/conbool-milter.rules.yml")).unwrap();
    let mut expressions = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.trim_start().strip_prefix("expr: ") else { continue };
        let mut expression = first.trim_start_matches(">-").to_string();
        while let Some(more) = lines.next_if(|line| line.starts_with("          ")) {
            expression = expression + " " + more.trim();
        }
        expressions.push(expression);
    }
    assert_eq!(expressions.len(), text.matches("- alert: ").count());
    expressions
}

#[test]
fn queries_name_metrics_and_labels_that_exist() {
    let metrics = metrics();
    let mut check = Check { metrics: &metrics, used: BTreeSet::new(), wrong: Vec::new() };
    for expression in expressions_of_rules() {
        check.query(&expression);
    }
    let text = std::fs::read_to_string(file("packaging/grafana/conbool-milter.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    members(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    queries.into_iter().for_each(|query| check.query(query));
    let mut variables = Vec::new();
    members(&dashboard["templating"], "definition", &mut variables);
    for variable in variables {
        let values = variable.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = values.and_then(|values| values.rsplit_once(", ")).unwrap();
        check.query(&format!("count by ({label}) ({selector})"));
    }
    assert!(check.wrong.is_empty(), "{}", check.wrong.join("\n"));
    // Whatever is measured is looked at somewhere.
    for metric in METRICS {
        assert!(series(metric).iter().any(|(name, _)| check.used.contains(name)), "nothing shows {}", metric.name);
    }
}

#[test]
fn the_manual_page_lists_the_metrics() {
    let page = std::fs::read_to_string(file("man/conbool-milter.8")).unwrap();
    let section = page.split(".Sh METRICS\n").nth(1).expect("a section METRICS").split("\n.Sh ").next().unwrap();
    let described: BTreeMap<&str, (&str, BTreeSet<&str>)> = section
        .split("\n.It Li ")
        .skip(1)
        .map(|item| {
            let (line, text) = item.split_once('\n').unwrap();
            let (name, labels) = line.split_once(" Pq Li ").unwrap_or((line, ""));
            // As the page says of its list.
            let kind = match () {
                () if name.ends_with("_total") => "counter",
                () if text.starts_with("Histogram ") => "histogram",
                () => "gauge",
            };
            (name, (kind, labels.split([' ', ',']).filter(|label| !label.is_empty()).collect()))
        })
        .collect();
    let kind = |metric: &Metric| match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let listed = METRICS.iter().map(|metric| (metric.name, (kind(metric), metric.labels.iter().copied().collect())));
    assert_eq!(described, listed.collect());
}
