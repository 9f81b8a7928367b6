//! Nothing that a configuration holds is anything but a value in sendmail.mc and sendmail.cf.

use std::fs;

use conbool_milter::config::{Config, Socket};
use conbool_milter::mta::sendmail::{self, Existing, Request};
use conbool_milter::provider::Provider;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use crate::host::{HEAD, Host, MAILERS, contains, file, m4};
use crate::lab::Error;

/// Words that m4 or Sendmail's m4 files know as macros, and such that look like more than they are.
const WORDS: &[&str] = &[
    "dnl",
    "define",
    "divert",
    "divnum",
    "shift",
    "len",
    "index",
    "eval",
    "syscmd",
    "sysval",
    "include",
    "undefine",
    "FEATURE",
    "MAILER",
    "LOCAL_CONFIG",
    "LOCAL_RULE_0",
    "confCACERT",
    "confLOG_LEVEL",
    "lower",
    "A",
    "X",
    "_CF_DIR_",
    "__file__",
    "__line__",
    "unix",
    "linux",
    "DOL",
    "PUSHDIVERT",
    "OSTYPE",
    "a",
    "mail",
    "7",
    "x-y",
    "_ARG_",
];

fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(WORDS)
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(word(), 1..5).prop_map(|words| format!("/{}", words.join("/")))
}

fn host() -> impl Strategy<Value = String> {
    let label = word().prop_map(|word| word.replace('_', "u").trim_matches('-').to_ascii_lowercase());
    proptest::collection::vec(label, 1..4).prop_map(|labels| format!("{}.test", labels.join(".")))
}

/// What is a value for the configuration is the same value in sendmail.cf.
pub fn values() -> Result<(), Error> {
    let site = Host::new("values", &format!("{HEAD}{MAILERS}"), "")?;
    let config = site.config()?;
    let existing = Existing::read(&config.sendmail)?;
    let provider = Provider::load("conbool").map_err(|error| error.message)?;
    let mut runner = TestRunner::new(Runs { cases: 48, failure_persistence: None, ..Runs::default() });
    let result = runner.run(
        &(path(), path(), path(), host(), host(), host()),
        |(socket, anchors, key, relay, direct, domain)| {
            let mut config = config.clone();
            config.milter.sockets = vec![Socket::Unix(socket.clone().into())];
            config.relay.ca_file = Some(anchors.clone().into());
            config.relay.client_certificate = Some(key.clone().into());
            config.relay.client_key = Some(key.clone().into());
            config.relay.host = Some(relay.clone());
            config.direct.next_hop = Some(format!("[{direct}]:shift"));
            config.domains = vec![domain.clone()];
            let fragments = sendmail::generate(&Request { config: &config, provider: &provider, existing: &existing });
            let fragments = fragments.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let text = format!("{HEAD}{}{MAILERS}{}", fragments.features, fragments.rules);
            let failed = |error: Error| TestCaseError::fail(error.to_string());
            fs::write(file("sendmail.mc"), &text).map_err(|error| failed(error.into()))?;
            let cf = m4(&file("sendmail.mc")).map_err(failed)?;
            for line in [
                format!("\nXconbool, S=unix:{socket}, F=T, T="),
                format!("\nO CACertFile={anchors}\n"),
                format!("\nO ClientCertFile={key}\n"),
                format!("\nO ClientKeyFile={key}\n"),
                format!("$#conbool $@ [{relay}] $: "),
                format!("$#conbool-direct $@ [{direct}] $: "),
                format!("+CN:{relay}>\n"),
                "A=TCP $h shift\n".to_owned(),
            ] {
                prop_assert!(cf.contains(&line), "{line:?} is not in sendmail.cf of {text}");
            }
            Ok(())
        },
    );
    result.map_err(|error| error.to_string().into())
}

/// How a value comes into the configuration, and under which key.
type Change = (&'static str, fn(&mut Config, &str));

const CHANGES: [Change; 7] = [
    ("socket", |config, value| config.milter.sockets = vec![Socket::Unix(format!("/{value}").into())]),
    ("relay.ca_file", |config, value| config.relay.ca_file = Some(format!("/{value}").into())),
    ("relay.host", |config, value| config.relay.host = Some(value.to_owned())),
    ("relay.tls_name", |config, value| config.relay.tls_name = Some(value.to_owned())),
    ("direct.next_hop", |config, value| config.direct.next_hop = Some(format!("[{value}]"))),
    ("direct.next_hop", |config, value| config.direct.next_hop = Some(format!("a:{value}"))),
    ("relay.client_certificate", |config, value| {
        config.relay.client_certificate = Some(format!("/{value}").into());
        config.relay.client_key = Some("/key".into());
    }),
];

/// And what could be more than a value is no value.
pub fn refused() -> Result<(), Error> {
    let site = Host::new("refused", &format!("{HEAD}{MAILERS}"), "")?;
    let config = site.config()?;
    let existing = Existing::read(&config.sendmail)?;
    let provider = Provider::load("conbool").map_err(|error| error.message)?;
    for sign in ["`", "'", ",", "#", "\n", "$j", "(", ")", " ", "\t", "\"", "\\", "<", ";", "{", "ü", "\u{1}"] {
        for (key, change) in CHANGES {
            let mut config = config.clone();
            change(&mut config, &format!("a{sign}b"));
            let request = Request { config: &config, provider: &provider, existing: &existing };
            match sendmail::generate(&request) {
                Ok(fragments) => return Err(format!("{key}: {sign:?} is let through: {}", fragments.features).into()),
                Err(error) => contains(&error.to_string(), &[key])?,
            }
        }
    }
    Ok(())
}
