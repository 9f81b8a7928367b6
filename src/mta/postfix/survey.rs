//! What a host's Postfix says of the site: its instances, hosted domains and internal networks.

use std::fs;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use super::command::{self, CommandError};
use super::list;
use crate::config::{self, TableType};

/// What an instance is set to, as far as our configuration follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Domains for which it takes mail, but not the host's own names.
    pub domains: Vec<String>,
    /// `mynetworks` without this host.
    pub internal_networks: Vec<IpNet>,
    /// `queue_directory`.
    pub queue_directory: PathBuf,
    /// `relayhost`, if it is set.
    pub relayhost: Option<String>,
    /// What else it said, that cannot be used: settings whose values lie where they cannot be listed.
    pub unlisted: Vec<String>,
}

/// Where an instance takes mail for: local, virtual and relayed domains (ADDRESS_CLASS_README).
const DOMAIN_LISTS: [&str; 4] = ["virtual_mailbox_domains", "virtual_alias_domains", "relay_domains", "mydestination"];

/// The configuration directories of all instances on this host, the primary one first (postmulti(1)); empty if there is no
/// Postfix.
pub fn instances() -> Vec<PathBuf> {
    let Ok(text) = command::run_alone("postconf", &["-dh", "config_directory"]) else { return Vec::new() };
    let primary = PathBuf::from(text.trim());
    if !primary.join("main.cf").exists() {
        return Vec::new();
    }
    let more = command::run("postconf", &primary, &["-hx", "multi_instance_directories"]).unwrap_or_default();
    let more = list::split(&more).into_iter().map(PathBuf::from).collect::<Vec<_>>();
    std::iter::once(primary).chain(more).collect()
}

/// Asks the instance.
///
/// # Errors
/// [`CommandError`] if there is no Postfix or it does not understand its configuration.
pub fn survey(config_directory: &Path) -> Result<Survey, CommandError> {
    let ask =
        |name: &str| command::run("postconf", config_directory, &["-hx", name]).map(|text| text.trim().to_owned());
    let mut survey = Survey { queue_directory: ask("queue_directory")?.into(), ..Survey::default() };
    survey.relayhost = Some(ask("relayhost")?).filter(|host| !host.is_empty());
    let own = ask("myhostname")?.to_ascii_lowercase();
    for name in DOMAIN_LISTS {
        let value = ask(name)?;
        let mut domains = Vec::new();
        members(config_directory, name, &value, &mut domains, &mut survey.unlisted);
        // The host's name is a domain of its own only where mail is meant for it.
        let hosted = domains.iter().filter_map(|domain| config::hosted_domain(domain).ok());
        for domain in hosted.filter(|domain| *domain != own && !domain.starts_with("localhost.")) {
            if !survey.domains.contains(&domain) {
                survey.domains.push(domain);
            }
        }
    }
    let value = ask("mynetworks")?;
    let mut networks = Vec::new();
    members(config_directory, "mynetworks", &value, &mut networks, &mut survey.unlisted);
    for network in networks.iter().filter_map(|written| network(written)) {
        if !network.addr().is_loopback() && !survey.internal_networks.contains(&network) {
            survey.internal_networks.push(network);
        }
    }
    Ok(survey)
}

/// The items of a list, with those of the files and tables in it (DATABASE_README).
fn members(directory: &Path, name: &str, value: &str, found: &mut Vec<String>, unlisted: &mut Vec<String>) {
    for item in list::split(value) {
        let keys = match item.split_once(':') {
            _ if item.starts_with('/') => fs::read_to_string(item).ok().map(|text| words_of_lines(&text)),
            Some(("texthash", path)) => fs::read_to_string(path).ok().map(|text| words_of_lines(&text)),
            Some((kind, path)) if path.starts_with('/') && TableType::named(kind).is_some() => {
                command::run("postmap", directory, &["-s", item]).ok().map(|text| words_of_lines(&text))
            }
            Some((_, path)) if path.starts_with('/') => None,
            _ => Some(vec![item.to_owned()]),
        };
        match keys {
            Some(keys) => found.extend(keys),
            None => unlisted.push(format!("{name} has {item}, which cannot be listed")),
        }
    }
}

/// The first word of each line that is no comment.
fn words_of_lines(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// A network as `mynetworks` has it, in brackets if IPv6. Debian's has `[::ffff:127.0.0.0]/104`, which is IPv4.
fn network(written: &str) -> Option<IpNet> {
    let plain: String = written.chars().filter(|character| !matches!(character, '[' | ']')).collect();
    let network = plain.parse::<IpNet>().ok().or_else(|| plain.parse::<std::net::IpAddr>().ok().map(IpNet::from))?;
    match network.trunc() {
        IpNet::V6(mapped) if mapped.prefix_len() >= 96 => match mapped.addr().to_ipv4_mapped() {
            Some(address) => Ipv4Net::new(address, mapped.prefix_len() - 96).ok().map(IpNet::V4),
            None => Some(IpNet::V6(mapped)),
        },
        network => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_in_postfix_notation() {
        let text = |written: &str| network(written).map(|network| network.to_string());
        assert_eq!(text("10.1.2.3/8").unwrap(), "10.0.0.0/8");
        assert_eq!(text("[2001:db8::1]/128").unwrap(), "2001:db8::1/128");
        assert_eq!(text("[fe80::]/64").unwrap(), "fe80::/64");
        assert_eq!(text("192.0.2.7").unwrap(), "192.0.2.7/32");
        assert_eq!(text("[::ffff:127.0.0.0]/104").unwrap(), "127.0.0.0/8");
        assert_eq!(text("!10.0.0.1"), None);
    }
}
