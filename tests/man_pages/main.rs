//! The manual pages are well-formed, and name what there is and nothing else: subcommands, flags, reasons, checks of doctor,
//! facts for scripts. (`tests/config.rs` compares the settings, `tests/telemetry` the metrics.)

mod commands;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use conbool_milter::finding::Area;
use conbool_milter::provider::Provider;
use conbool_milter::verdict::REASONS;
use conbool_milter::{config, provider, rules};

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name)).unwrap()
}

#[test]
fn every_environment_item_is_described() {
    let page = page("conbool-milter-sieve.5");
    for item in rules::ENVIRONMENT {
        let mut words = page.lines().filter(|line| line.starts_with(".It Li ")).flat_map(str::split_whitespace);
        assert!(words.any(|word| word == *item), "{item} is not in conbool-milter-sieve.5");
    }
    let with_names = [rules::NAMED_SCOPE_ITEM, rules::SETTING_ITEM];
    for item in with_names {
        assert!(page.contains(&format!(".It Li {item}\\& Ns Ar NAME\n")), "{item} is not in conbool-milter-sieve.5");
    }
    let words = page.split_whitespace().map(|word| word.trim_end_matches("\\&"));
    for word in words.filter(|word| word.starts_with("vnd.conbool.")) {
        assert!(
            rules::ENVIRONMENT.contains(&word) || with_names.contains(&word),
            "conbool-milter-sieve.5 names {word}, which does not exist"
        );
    }
}

/// The words that the items of a list describe: `.It Li connect , greeting , ehlo`.
fn items(line: &str) -> impl Iterator<Item = &str> {
    line.strip_prefix(".It Li ").into_iter().flat_map(|words| words.split(" , "))
}

#[test]
fn every_reason_is_described() {
    let page = page("conbool-milter.8");
    let section = page.split_once(".Sh REASONS\n").unwrap().1.split("\n.Sh ").next().unwrap();
    let described: BTreeSet<String> = section.lines().flat_map(items).map(str::to_owned).collect();
    let mut reasons: BTreeSet<String> = REASONS.map(str::to_owned).into();
    // Those of the providers' scripts, and of a script that gives none.
    for name in provider::built_in() {
        let policy = Provider::load(name).unwrap().policy.text;
        let keywords =
            policy.split('"').filter_map(|word| word.strip_prefix("direct:").or(word.strip_prefix("relay:")));
        reasons.extend(keywords.map(str::to_owned));
    }
    reasons.insert("rule".to_owned());
    assert_eq!(described, reasons);
}

#[test]
fn every_check_of_doctor_is_described() {
    let page = page("conbool-milter.8");
    let section = page.split_once(".Sh DOCTOR\n").unwrap().1.split("\n.Sh ").next().unwrap();
    let mut described: BTreeSet<(Area, &str)> = BTreeSet::new();
    let mut area = None;
    for line in section.lines() {
        let named = line.strip_prefix(".Ss Area ").or(line.strip_prefix(".It Cm "));
        area = Area::ALL.into_iter().find(|area| Some(area.name()) == named).or(area);
        described.extend(area.into_iter().flat_map(|area| items(line).map(move |check| (area, check))));
    }
    let checks = Area::ALL.into_iter().flat_map(|area| area.checks().iter().map(move |check| (area, *check)));
    assert_eq!(described, checks.collect());
}

#[test]
fn only_settings_that_exist_are_named() {
    let page = page("conbool-milter.8");
    let words: Vec<&str> = page.split_whitespace().collect();
    for pair in words.windows(2).filter(|pair| pair[0] == "Ic" || pair[0] == ".Ic") {
        let key = pair[1];
        // A setting, a section, or a provider's setting.
        let is_known = config::keys().iter().any(|known| known == key || known.split('.').next() == Some(key))
            || key.starts_with("provider_settings.");
        assert!(is_known, "conbool-milter.8 names a setting {key}, which does not exist");
    }
}

fn pages() -> impl Iterator<Item = PathBuf> {
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("man")).unwrap();
    folder.map(|entry| entry.unwrap().path())
}

#[test]
fn mandoc_finds_nothing_to_complain_of() {
    // Other manual pages need not be on this host; and a heading is close to one that pages of programs have.
    let not_meant = ["referenced manual not found", "Sh ACTIONS instead of AUTHORS"];
    for page in pages() {
        let output = Command::new("mandoc").args(["-Tlint", "-Wstyle"]).arg(page).output();
        let told = String::from_utf8(output.expect("mandoc is needed: apt-get install mandoc").stdout).unwrap();
        let told: Vec<&str> = told.lines().filter(|line| !not_meant.iter().any(|text| line.contains(text))).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}

#[test]
fn groff_shows_them_without_a_warning() {
    for page in pages() {
        let output = Command::new("groff").args(["-mandoc", "-ww", "-Tutf8"]).arg(page).output();
        let output = output.expect("groff is needed: apt-get install groff-base");
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warnings.is_empty(), "{warnings}");
    }
}
