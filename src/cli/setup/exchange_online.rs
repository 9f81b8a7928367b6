//! `conbool-milter setup exchange-online`: PowerShell scripts that set up Exchange Online, and take it back.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::config::{self, Config, ScopeMode};
use crate::mta::exchange_online::{self, Guide, Request, Scope, Scripts};
use crate::mta::postfix::readable;
use crate::provider::Provider;

/// Write PowerShell scripts that set up Exchange Online as the provider's guide says, and one that takes it back
///
/// What is not given comes from the configuration, where there is one.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whose guide: conbool, secumailer or mailprotector
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// A hosted domain; can be repeated
    #[arg(long = "domain", value_name = "DOMAIN", value_parser = config::hosted_domain)]
    domains: Vec<String>,
    /// Whose mail goes to the relay: all, list:ADDRESS,ADDRESS... or group:ADDRESS
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Address or network from which the provider sends; can be repeated
    #[arg(long = "relay-network", value_name = "NETWORK", value_parser = config::network)]
    relay_networks: Vec<IpNet>,
    /// Name of the provider's MX hosts, or *.DOMAIN; can be repeated (mailprotector)
    #[arg(long = "mx-host", value_name = "HOST", value_parser = config::mx_host)]
    mx_hosts: Vec<String>,
    /// The value of X-Secumail-Id, from SecuMailer (secumailer)
    #[arg(long, value_name = "ID")]
    customer_id: Option<String>,
    /// With the group and rules for NTA 7516 (secumailer)
    #[arg(long)]
    nta: bool,
    /// Address of the owner of new groups, if it is not to be who runs the script (secumailer)
    #[arg(long, value_name = "ADDRESS")]
    group_owner: Option<String>,
    /// A name of the site's own, as in --name 'avg-group=Relay users'; can be repeated (secumailer, mailprotector)
    #[arg(long = "name", value_name = "ITEM=NAME", value_parser = named)]
    names: Vec<(String, String)>,
    /// Leave mail between mailboxes inside alone (conbool)
    #[arg(long)]
    outbound_only: bool,
    /// Only what the guide says, without the rules and conditions that make it safer
    #[arg(long)]
    guide_only: bool,
    /// Write both scripts into this directory instead of printing the first
    #[arg(long, value_name = "DIR", conflicts_with = "removal")]
    output: Option<PathBuf>,
    /// Print the script that takes it back
    #[arg(long)]
    removal: bool,
}

fn named(written: &str) -> Result<(String, String), String> {
    let (item, name) = written.split_once('=').ok_or("is not ITEM=NAME, such as avg-group=Relay")?;
    Ok((item.to_owned(), name.to_owned()))
}

/// Prints a script, or writes both and prints what to do with them; notes for the administrator go to standard error.
///
/// # Errors
/// A sentence for the administrator if something is missing or wrong, or a script cannot be written.
pub fn run(config: &Path, args: &Arguments) -> Result<(), String> {
    // An organization that has all its mail in Exchange Online needs no daemon, and has no configuration of ours.
    let config = match config.try_exists() {
        Ok(false) if config == Path::new(config::DEFAULT_PATH) => None,
        _ => Some(Config::load(config).map_err(|errors| errors.to_string())?),
    };
    let scripts = exchange_online::generate(&request(config.as_ref(), args)?)?;
    for note in &scripts.notes {
        eprintln!("note: {note}");
    }
    let text = match &args.output {
        Some(output) => {
            let failed = |error: io::Error| format!("{}: {error}", output.display());
            fs::create_dir_all(output).map_err(failed)?;
            for script in [&scripts.set_up, &scripts.removal] {
                readable::replace(&output.join(&script.file_name), &script.text).map_err(failed)?;
            }
            next_steps(output, &scripts)
        }
        None if args.removal => scripts.removal.text,
        None => scripts.set_up.text,
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

fn request(config: Option<&Config>, args: &Arguments) -> Result<Request, String> {
    let provider = args.provider.as_deref().or(config.map(|config| config.provider.as_str()));
    let provider = provider.ok_or("whose guide? Give --provider conbool, secumailer or mailprotector")?;
    let guide = Guide::ALL.into_iter().find(|guide| guide.key() == provider).ok_or_else(|| {
        format!("there is no guide for Exchange Online of provider {provider:?}; give --provider conbool, secumailer or mailprotector")
    })?;
    // What the configuration says of another provider's relay is not about this one.
    let same = config.filter(|config| config.provider == provider);
    let relay = same.map(|config| &config.relay);
    if let Some(relay) = relay.filter(|relay| relay.port != 25) {
        eprintln!("note: relay.port is {}; Exchange Online sends to port 25 only", relay.port);
    }
    let host = relay.and_then(|relay| relay.host.clone());
    let built_in = Provider::load(guide.key()).map_err(|error| error.message)?;
    let host = host.or_else(|| built_in.relay.map(|relay| relay.host)).unwrap_or_default();
    let domains = either(&args.domains, config.map(|config| config.domains.as_slice()));
    if domains.is_empty() {
        return Err("which domains? Give each with --domain".into());
    }
    let scope = match (&args.scope, same) {
        (Some(scope), _) => parse_scope(scope)?,
        // The other guides have no use for it.
        (None, Some(config)) if guide == Guide::Conbool => scope_of(config)?,
        (None, _) => Scope::All,
    };
    let owner = args.group_owner.as_deref();
    Ok(Request {
        guide,
        domains,
        scope,
        relay_tls_name: relay.and_then(|relay| relay.tls_name.clone()).unwrap_or_else(|| host.clone()),
        relay_host: host,
        networks: either(&args.relay_networks, relay.map(|relay| relay.networks.as_slice())),
        mx_hosts: either(&args.mx_hosts, same.and_then(|config| config.lock_down.mx_hosts.as_deref())),
        customer_id: args.customer_id.clone().or_else(|| same?.provider_settings.get("customer_id").cloned()),
        nta: args.nta,
        group_owner: owner.map(|owner| exchange_online::address("--group-owner", owner)).transpose()?,
        names: args.names.clone(),
        outbound_only: args.outbound_only,
        guide_only: args.guide_only,
    })
}

/// What the flags give, or else the configuration; each once.
fn either<T: Clone + PartialEq>(given: &[T], configured: Option<&[T]>) -> Vec<T> {
    let all = if given.is_empty() { configured.unwrap_or_default() } else { given };
    let mut each = Vec::new();
    for value in all {
        if !each.contains(value) {
            each.push(value.clone());
        }
    }
    each
}

fn parse_scope(written: &str) -> Result<Scope, String> {
    let address = |address: &str| exchange_online::address("--scope", address.trim());
    match written.split_once(':') {
        None if written == "all" => Ok(Scope::All),
        Some(("list", list)) => Ok(Scope::List(each(list.split(',').map(address))?)),
        Some(("group", group)) => Ok(Scope::Group(address(group)?)),
        _ => Err(format!("--scope: {written:?} is none of all, list:ADDRESS,ADDRESS... and group:ADDRESS")),
    }
}

fn each(addresses: impl Iterator<Item = Result<String, String>>) -> Result<Vec<String>, String> {
    let addresses: Vec<String> = addresses.collect::<Result<_, _>>()?;
    Ok(either(&addresses, None))
}

/// The configuration's scope, as far as a rule of Exchange Online can have it.
fn scope_of(config: &Config) -> Result<Scope, String> {
    let scope = &config.scope.default;
    if scope.share != Default::default() {
        return Err("scope.share: Exchange Online knows no share of the senders; give --scope".into());
    }
    match scope.mode {
        ScopeMode::All => Ok(Scope::All),
        ScopeMode::List if scope.files.is_empty() => {
            let address = |sender: &String| exchange_online::address("scope.senders (--scope says otherwise)", sender);
            Ok(Scope::List(each(scope.senders.iter().map(address))?))
        }
        ScopeMode::List => Err("scope.files: give the addresses as --scope list:ADDRESS,ADDRESS..., or a group of \
                                Exchange Online as --scope group:ADDRESS"
            .into()),
        ScopeMode::Group => Err("scope.groups are groups of the directory; give the address of the group in Exchange \
                                 Online: --scope group:ADDRESS"
            .into()),
    }
}

fn next_steps(output: &Path, scripts: &Scripts) -> String {
    let (set_up, removal) = (&scripts.set_up.file_name, &scripts.removal.file_name);
    format!(
        "Written to {}: {set_up} and {removal}. Nothing is in force yet.\n\n\
         In PowerShell, in that directory, first to see what it would do:\n\n  \
         Install-Module ExchangeOnlineManagement -Scope CurrentUser\n  \
         Connect-ExchangeOnline\n  \
         .\\{set_up} -WhatIf\n  \
         .\\{set_up}\n\n\
         To take it back: .\\{removal}\n",
        output.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        assert_eq!(parse_scope("all"), Ok(Scope::All));
        let list = Scope::List(vec!["alice@example.com".into(), "bob@example.com".into()]);
        assert_eq!(parse_scope("list:Alice@example.com, bob@example.com,alice@EXAMPLE.com"), Ok(list));
        assert_eq!(parse_scope("group:Relay@example.com"), Ok(Scope::Group("relay@example.com".into())));
        for wrong in ["", "list", "list:", "list:@example.com", "group:", "group:relay", "group:ä@example.com", "All"]
        {
            assert!(parse_scope(wrong).is_err(), "{wrong:?}");
        }
    }
}
