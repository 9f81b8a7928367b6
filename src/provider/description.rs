//! `provider.toml`: read, and checked so far that nothing in it can fail later.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{HandsIn, NamedScope, Provider, ProviderError, Relay, Setting};
use crate::config;
use crate::headers::Markers;
use crate::lock_down::Mode;
use crate::rules::Script;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    #[serde(default)]
    summary: String,
    relay: Option<Relay>,
    #[serde(default = "both")]
    hands_in: HandsIn,
    headers: Markers,
    #[serde(default)]
    lock_down: LockDown,
    #[serde(default)]
    settings: BTreeMap<String, Spanned<Setting>>,
    #[serde(default)]
    scopes: BTreeMap<String, Spanned<NamedScope>>,
}

/// Section `[lock_down]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LockDown {
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    mx_hosts: Vec<Spanned<String>>,
}

/// What a folder that says nothing is taken to mean: then the site has to name the networks.
fn both() -> HandsIn {
    HandsIn { inbound: true, back: true }
}

/// Reads the text of `file`.
///
/// # Errors
/// [`ProviderError`] with the first mistake in it.
pub fn parse(file: &Path, text: &str, policy: Script) -> Result<Provider, ProviderError> {
    let error = |span: Option<Range<usize>>, message: String| ProviderError {
        file: Some(file.to_path_buf()),
        line: span.map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count()),
        message,
    };
    let description: Description =
        toml::from_str(text).map_err(|problem| error(problem.span(), problem.message().to_string()))?;
    let mx_host = |written: &Spanned<String>| {
        let name = config::mx_host(written.get_ref());
        name.map_err(|problem| error(Some(written.span()), format!("{:?} {problem}", written.get_ref())))
    };
    for (name, setting) in &description.settings {
        let wrong = |message: String| error(Some(setting.span()), message);
        config::setting_name(name).map_err(|problem| wrong(format!("{name:?} {problem}")))?;
        let setting = setting.get_ref();
        for value in setting.choices.iter().chain(&setting.default).chain([&setting.example]) {
            config::setting_value(value).map_err(|problem| wrong(format!("{name}: {value:?} {problem}")))?;
            if !setting.allows(value) {
                return Err(wrong(format!("{name}: {value:?} is none of its choices")));
            }
        }
    }
    for (name, scope) in &description.scopes {
        config::scope_name(name).map_err(|problem| error(Some(scope.span()), format!("{name:?} {problem}")))?;
    }
    if let (None, Some((name, scope))) = (&description.relay, description.scopes.first_key_value()) {
        let message = format!("[scopes.{name}] says whose mail goes to the relay, but there is no [relay]");
        return Err(error(Some(scope.span()), message));
    }
    if description.relay.is_none() && description.hands_in.back {
        let message = "a provider without [relay] has nothing to hand back; write back = false in [hands_in]";
        return Err(error(None, message.into()));
    }
    Ok(Provider {
        name: description.name,
        summary: description.summary,
        relay: description.relay,
        hands_in: description.hands_in,
        markers: description.headers,
        lock_down: description.lock_down.mode,
        mx_hosts: description.lock_down.mx_hosts.iter().map(mx_host).collect::<Result<_, _>>()?,
        settings: plain(description.settings),
        scopes: plain(description.scopes),
        policy,
        mailbox: None,
    })
}

impl Setting {
    /// True if it can have this value.
    pub fn allows(&self, value: &str) -> bool {
        self.choices.is_empty() || self.choices.iter().any(|choice| choice == value)
    }
}

fn plain<T>(map: BTreeMap<String, Spanned<T>>) -> BTreeMap<String, T> {
    map.into_iter().map(|(name, value)| (name, value.into_inner())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "name = \"x\"\n[relay]\nhost = \"relay.example\"\n[headers]\nreserved = []\n";

    fn parse(text: &str) -> Result<Provider, ProviderError> {
        super::parse(Path::new("p.toml"), text, Script { file: "p.sieve".into(), text: String::new() })
    }

    #[test]
    fn mx_hosts_are_read_and_checked() {
        let with = |host: &str| parse(&format!("{RELAY}[lock_down]\nmx_hosts = [\"{host}\"]\n"));
        assert!(with("*.MX.example").unwrap().mx_hosts.contains("a.mx.example"));
        let error = with("*").unwrap_err();
        assert_eq!(error.line, Some(7));
        assert!(error.message.starts_with("\"*\" is not the name of a host"), "{}", error.message);
    }

    #[test]
    fn a_folder_that_does_not_say_so_hands_mail_in() {
        let provider = parse(RELAY).unwrap();
        assert_eq!((provider.hands_in, provider.lock_down), (HandsIn { inbound: true, back: true }, Mode::Off));
    }

    #[test]
    fn mistakes_are_reported_with_their_lines() {
        let setting = |more: &str| format!("{RELAY}\n[settings.id]\ndescription = \"d\"\nexample = \"1\"\n{more}");
        for (text, line, part) in [
            (RELAY.replace("[headers]", "prot = 25\n[headers]"), Some(4), "prot"),
            ("name = \"x\"\n[headers]\nreserved = []\n".into(), None, "back = false"),
            (setting("default = \"a\\nb\"\n"), Some(7), "id: \"a\\nb\" cannot stand in a header field"),
            (setting("choices = [\"2\"]\n"), Some(7), "id: \"1\" is none of its choices"),
            (setting("").replace(".id]", ".Id]"), Some(7), "\"Id\" is not the name of a setting"),
            (setting("").replace("example = \"1\"\n", ""), Some(7), "example"),
            (format!("{RELAY}[scopes.\"a b\"]\ndescription = \"d\"\n"), Some(6), "is not the name of a scope"),
            (format!("{RELAY}[lock_down]\nmode = \"on\"\n"), Some(7), "on"),
            (
                "name = \"x\"\n[headers]\nreserved = []\n[hands_in]\ninbound = true\nback = false\n[scopes.a]\n\
                 description = \"d\"\n"
                    .into(),
                Some(7),
                "there is no [relay]",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error:?}");
            assert!(error.message.contains(part), "{text}: {error:?}");
        }
    }
}
