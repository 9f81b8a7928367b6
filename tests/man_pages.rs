//! The manual pages are well-formed, and name what scripts can use. (`tests/config.rs` compares the settings.)

use std::path::Path;
use std::process::Command;

use conbool_milter::rules;

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
        assert!(page.contains(&format!(".It Li {item} Ns Ar NAME\n")), "{item} is not in conbool-milter-sieve.5");
    }
    for word in page.split_whitespace().filter(|word| word.starts_with("vnd.conbool.")) {
        assert!(
            rules::ENVIRONMENT.contains(&word) || with_names.contains(&word),
            "conbool-milter-sieve.5 names {word}, which does not exist"
        );
    }
}

#[test]
fn mandoc_finds_nothing_to_warn_of() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("man")).unwrap() {
        let path = entry.unwrap().path();
        let output = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&path).output();
        let output = output.expect("mandoc is needed: apt-get install mandoc");
        assert!(output.status.success(), "{}:\n{}", path.display(), String::from_utf8_lossy(&output.stdout));
    }
}
