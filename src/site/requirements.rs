//! What the provider asks of the configuration.

use std::collections::BTreeMap;

use super::SiteError;
use crate::config::{Config, ScopeMode};
use crate::provider::{Provider, Setting};

/// The settings of the provider with their values: the site's, or else the defaults.
pub fn settings(provider: &Provider, config: &Config) -> BTreeMap<String, String> {
    let value = |(name, setting): (&String, &Setting)| {
        let value = config.provider_settings.get(name).or(setting.default.as_ref()).cloned();
        (name.clone(), value.unwrap_or_default())
    };
    provider.settings.iter().map(value).collect()
}

/// Everything in which the configuration falls short of what the provider asks for.
pub fn mistakes(provider: &Provider, config: &Config) -> Vec<SiteError> {
    let mut errors = Vec::new();
    networks(provider, config, &mut errors);
    relay(provider, config, &mut errors);
    given_settings(provider, config, &mut errors);
    scopes(provider, config, &mut errors);
    errors
}

fn networks(provider: &Provider, config: &Config, errors: &mut Vec<SiteError>) {
    // As long as nobody is hosted, nobody is the relay either.
    let may_be_missing = !config.is_set_up() && config.may_host_nobody();
    if config.relay.networks.is_empty() && !provider.hands_in.is_nothing() && !may_be_missing {
        errors.push(SiteError::of_key(
            "relay_networks",
            format!(
                "missing; mail that {} hands in is known by the addresses it comes from, which it tells its customers; \
                 write for example relay_networks = [\"192.0.2.0/24\"]",
                provider.name
            ),
        ));
    }
}

/// Without a relay, what is said of one, or of whose mail it is to get, is a mistake.
fn relay(provider: &Provider, config: &Config, errors: &mut Vec<SiteError>) {
    if provider.relay.is_some() {
        return;
    }
    let (relay, scope) = (&config.relay, &config.scope.default);
    let is_all = scope.mode == ScopeMode::All && scope.share.is_all() && config.scope.sections.is_empty();
    let said = [
        ("relay.host", relay.host.is_some()),
        ("relay.tls_name", relay.tls_name.is_some()),
        ("relay.ca_file", relay.ca_file.is_some()),
        ("relay.client_certificate", relay.client_certificate.is_some()),
        ("direct.next_hop", config.direct.next_hop.is_some()),
        ("scope", !is_all),
    ];
    let said = said.into_iter().filter(|(_, said)| *said);
    errors.extend(said.map(|(key, _)| {
        SiteError::of_key(key, format!("has no effect; {} takes no outgoing mail; remove it", provider.name))
    }));
}

fn given_settings(provider: &Provider, config: &Config, errors: &mut Vec<SiteError>) {
    let key = |name: &str| format!("provider_settings.{name}");
    for (name, value) in &config.provider_settings {
        let message = match provider.settings.get(name) {
            Some(setting) if setting.allows(value) => continue,
            Some(setting) => {
                format!("\"{value}\" is not known; write one of \"{}\"", setting.choices.join("\", \""))
            }
            None if provider.settings.is_empty() => format!("{} has no settings; remove it", provider.name),
            None => {
                let known: Vec<&str> = provider.settings.keys().map(String::as_str).collect();
                format!("{} has no such setting; its settings are {}", provider.name, known.join(", "))
            }
        };
        errors.push(SiteError::of_key(key(name), message));
    }
    for (name, setting) in &provider.settings {
        if setting.default.is_none() && !config.provider_settings.contains_key(name) {
            let message = format!(
                "missing; {} needs {}; write for example {name} = \"{}\" in [provider_settings]",
                provider.name, setting.description, setting.example
            );
            errors.push(SiteError::of_key(key(name), message));
        }
    }
}

/// Whoever is in a scope that the policy asks for must be in the default scope, and nobody else: else mail would go past
/// the relay, or there without what the provider wants to find in it.
fn scopes(provider: &Provider, config: &Config, errors: &mut Vec<SiteError>) {
    let mut there = Vec::new();
    for (name, scope) in &provider.scopes {
        if config.scope.named.contains_key(name) {
            there.push(name.as_str());
        } else if !scope.optional {
            let message = format!(
                "missing; the policy of {} asks for {}; add for example [scope.{name}] with mode = \"group\" and groups, or \
                 with mode = \"list\" and senders",
                provider.name, scope.description
            );
            errors.push(SiteError::of_key(format!("scope.{name}"), message));
        }
    }
    let sections = &config.scope.sections;
    if !there.is_empty() && there.iter().any(|name| !sections.iter().any(|section| section == name)) {
        let message = format!(
            "with {} the sections of its policy say whose mail goes to the relay; write mode = \"sections\" and sections = \
             [\"{}\"] in [scope]",
            provider.name,
            there.join("\", \"")
        );
        errors.push(SiteError::of_key(if sections.is_empty() { "scope.mode" } else { "scope.sections" }, message));
    }
}
