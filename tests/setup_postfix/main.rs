//! The generated Postfix configuration: its text, and what a real Postfix makes of it.
//!
//! Needs Postfix's commands, and to run as root, as `postfix check` does.

mod real;
mod sender_table;
mod text;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use conbool_milter::config::{Config, Milter, ScopeMode};
use conbool_milter::mta::postfix::{Error, Existing, Fragments, Listeners, Request, generate};
use conbool_milter::provider::Provider;

static CONBOOL: LazyLock<Provider> = LazyLock::new(|| Provider::load("conbool").unwrap());

/// A site with two domains, all of their senders in scope.
fn config() -> Config {
    let text = "provider = \"conbool\"\ndomains = [\"customer.test\", \"xn--mller-kva.test\"]\n\
                relay_networks = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n\
                socket = \"unix:/var/spool/postfix/conbool/milter.sock\"\n";
    Config::parse(text, Path::new("milter.toml")).unwrap()
}

fn listed(senders: &[String]) -> Config {
    let mut config = config();
    config.scope.default.mode = ScopeMode::List;
    config.scope.default.senders = senders.to_vec();
    config
}

fn request<'a>(config: &'a Config, directory: &'a Path, existing: Existing) -> Request<'a> {
    Request { config, provider: &CONBOOL, config_directory: directory, existing, listeners: Listeners::default() }
}

fn try_fragments(config: &Config, existing: Existing) -> Result<Fragments, Error> {
    generate(&request(config, Path::new("/etc/postfix"), existing))
}

fn fragments(config: &Config, existing: Existing) -> Fragments {
    try_fragments(config, existing).unwrap()
}

fn table<'a>(fragments: &'a Fragments, name: &str) -> &'a str {
    &fragments.tables.iter().find(|(table, _)| table == name).unwrap().1
}

/// The value of the last setting of this name, one line, white space made single.
fn setting(main_cf: &str, name: &str) -> Option<String> {
    let mut value: Option<Vec<&str>> = None;
    let mut inside = false;
    for line in main_cf.lines() {
        if line.starts_with(char::is_whitespace) {
            if let (true, Some(value)) = (inside, &mut value) {
                value.extend(line.split_whitespace());
            }
        } else if let Some((key, rest)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            inside = key.trim() == name;
            if inside {
                value = Some(rest.split_whitespace().collect());
            }
        }
    }
    value.map(|words| words.join(" "))
}

/// The options of a service in master.cf.
fn service<'a>(master_cf: &'a str, line: &str) -> Vec<&'a str> {
    let mut lines = master_cf.lines().skip_while(|candidate| *candidate != line);
    assert!(lines.next().is_some(), "no {line:?} in {master_cf}");
    lines.take_while(|line| line.starts_with("  -o ")).map(|line| &line[5..]).collect()
}

/// A new empty directory of a test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("setup-postfix-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
