//! The report: text, JSON, exit codes, areas; a configuration that does not load; and the time that a good site takes.

use std::fs;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::lab::{self, Error, Lab};
use crate::{doctor, findings, good_config, text, write_config};

pub fn trials() -> Vec<Trial> {
    vec![
        lab::trial("a_healthy_site_takes_less_than_five_seconds", healthy),
        lab::trial("the_report_is_text_or_json", shapes),
        lab::trial("a_configuration_that_does_not_load_is_a_finding", broken_configuration),
    ]
}

/// The limit that was set for doctor with DNS on a healthy site.
const LIMIT: Duration = Duration::from_secs(5);

fn healthy() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-healthy")?;
    lab.dns.serve_records(&crate::dns::good_records()?)?;
    let mut keys = good_config();
    let mut set = |key: &str, value: &str| keys.insert(("relay".to_owned(), key.to_owned()), format!("\"{value}\""));
    set("host", "relay.conbool.test");
    set("ca_file", &lab.authority.file().display().to_string());
    let config = write_config(&lab.dir, &keys)?;
    let begun = Instant::now();
    let output = doctor(&config, &["dns", "relay"])?;
    let took = begun.elapsed();
    eprintln!("doctor dns relay on a healthy site: {took:?}\n{}", text(&output.stdout));
    if output.status.code() != Some(0) || took > LIMIT {
        return Err(format!("{took:?}, {}:\n{}", output.status, text(&output.stdout)).into());
    }
    Ok(())
}

fn shapes() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-shapes")?;
    let mut records = crate::dns::good_records()?;
    records.retain(|record| !record.starts_with("_dmarc"));
    records.push("customer.test TXT v=spf1 \x1b[31m -all".into());
    lab.dns.serve_records(&records)?;
    let config = write_config(&lab.dir, &good_config())?;
    let output = doctor(&config, &["dns"])?;
    let page = text(&output.stdout);
    for line in [
        "dns",
        "  pass     mx           customer.test                  10 mx1.provider.test, 20 mx2.provider.test",
        "           _dmarc.customer.test. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@customer.test\"",
        "7 looked at: 1 fail, 1 warn, 0 unknown, 5 pass",
    ] {
        if !page.lines().any(|found| found == line) {
            return Err(format!("{line:?} is missing in:\n{page}").into());
        }
    }
    if page.contains('\x1b') || !output.stderr.is_empty() {
        return Err(format!("colours or progress without a terminal:\n{page}{}", text(&output.stderr)).into());
    }
    let output = doctor(&config, &["dns", "--json"])?;
    let json: Value = serde_json::from_slice(&output.stdout)?;
    let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    let first = json["findings"].get(0).ok_or("no findings")?;
    let expected = ["area", "check", "mend", "seen", "status", "subject"].map(String::from).to_vec();
    if keys(first) != Some(expected) || keys(&json) != Some(["findings", "totals"].map(String::from).to_vec()) {
        return Err(format!("not the shape that it had: {json:#}").into());
    }
    let totals = serde_json::json!({"fail": 1, "warn": 1, "unknown": 0, "pass": 5});
    if json["totals"] != totals {
        return Err(format!("{:#}", json["totals"]).into());
    }
    for (arguments, code) in [(&["nonsense"][..], 2), (&["--timeout", "0"], 2), (&["dns"], 1)] {
        let output = doctor(&config, arguments)?;
        if output.status.code() != Some(code) {
            return Err(format!("{arguments:?}: {}\n{}", output.status, text(&output.stderr)).into());
        }
    }
    Ok(())
}

fn broken_configuration() -> Result<(), Error> {
    let mut lab = Lab::start("doctor-broken")?;
    lab.dns.serve_records(&crate::dns::good_records()?)?;
    let mut keys = good_config();
    keys.insert(("log".into(), "level".into()), "\"loud\"".into());
    let config = write_config(&lab.dir, &keys)?;
    let (found, code) = findings(&config, &["dns"])?;
    let failed: Vec<String> =
        found.iter().filter(|finding| finding.status == "fail").map(|finding| finding.line()).collect();
    if code != 1 || failed.len() != 1 || !failed[0].contains("log.level: \"loud\" is not known") {
        return Err(format!("{failed:?}").into());
    }
    if !found.iter().any(|finding| finding.check == "spf" && finding.status == "pass") {
        return Err("what could be read of the configuration was not used".into());
    }
    // No file at all, and none that is text.
    fs::write(&config, [0xff; 64])?;
    for file in [config, lab.dir.join("missing.toml")] {
        let (found, code) = findings(&file, &["dns", "relay"])?;
        let checks: Vec<&str> = found.iter().map(|finding| finding.check.as_str()).collect();
        if code != 1 || checks != ["configuration", "domains", "relay"] {
            return Err(format!("{}: {checks:?}", file.display()).into());
        }
    }
    Ok(())
}
