//! What a host's Sendmail says of the site: hosted domains and internal networks.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::access_map::{BEGIN, END};
use super::{Existing, test_mode};
use crate::config;

/// What Sendmail is set to, as far as our configuration follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Domains for which it takes mail, but not the host's own names.
    pub domains: Vec<String>,
    /// Networks that it relays for, without this host.
    pub internal_networks: Vec<IpNet>,
    /// What else it said, that cannot be used: clients that are known by name.
    pub unlisted: Vec<String>,
}

/// The classes of domains for which mail is taken (cf/README of Sendmail): the host's own, those of virtusertable, and
/// those that it relays to.
const DOMAIN_CLASSES: [&str; 3] = ["$=w", "$={VirtHost}", "$=R"];

/// Asks Sendmail, and reads the access map.
///
/// # Errors
/// A sentence if Sendmail cannot be run, or does not understand its configuration.
pub fn survey(sendmail: &config::Sendmail) -> Result<Survey, String> {
    let existing = Existing::read(sendmail).map_err(|error| error.to_string())?;
    let questions = [&["$j", "$w", "$k"], DOMAIN_CLASSES.as_slice()].concat();
    let cf = sendmail.directory.join("sendmail.cf");
    let mut answers = test_mode::ask(&sendmail.program, &cf, &questions)?.into_iter();
    let own: Vec<String> = answers.by_ref().take(3).flatten().collect();
    let classes: Vec<String> = answers.flatten().collect();
    let mut survey = Survey::default();
    for name in &classes {
        match network(name) {
            Some(network) => survey.add_network(network),
            None => survey.add_domain(name, &own),
        }
    }
    let access = existing.access.unwrap_or_default();
    for (tag, key) in relayed(&access) {
        match (network(&key), tag.as_str()) {
            (Some(network), "" | "connect") => survey.add_network(network),
            (None, "to") => survey.add_domain(&key, &own),
            (None, "" | "connect") if key != "localhost" => survey.unlisted.push(format!(
                "The access map lets {key} relay, which is a name: if it stands for clients of your own, name their \
                 addresses with --internal-network."
            )),
            _ => {}
        }
    }
    Ok(survey)
}

impl Survey {
    fn add_domain(&mut self, name: &str, own: &[String]) {
        // Where a name begins with a dot, its subdomains are meant.
        let Ok(domain) = config::hosted_domain(name.trim_start_matches('.')) else { return };
        let is_host = own.iter().any(|own| own.eq_ignore_ascii_case(&domain));
        let is_local = is_host || !domain.contains('.') || domain.starts_with("localhost.");
        if !is_local && !self.domains.contains(&domain) {
            self.domains.push(domain);
        }
    }

    fn add_network(&mut self, network: IpNet) {
        if !network.addr().is_loopback() && !self.internal_networks.contains(&network) {
            self.internal_networks.push(network);
        }
    }
}

/// The keys of an access map that stand for permission to relay, each behind its tag (`connect`, `to` or none), in lower
/// case. Those that setup has written are not among them.
fn relayed(access: &str) -> Vec<(String, String)> {
    let mut ours = false;
    let theirs = access.lines().filter(|line| {
        ours |= *line == BEGIN.trim_end();
        let theirs = !ours;
        ours &= *line != END.trim_end();
        theirs
    });
    let entries = theirs.filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        let key = words.next()?.to_ascii_lowercase();
        words.next().filter(|value| value.eq_ignore_ascii_case("RELAY"))?;
        Some(match key.split_once(':') {
            Some((tag @ ("connect" | "to" | "from"), key)) => (tag.to_owned(), key.to_owned()),
            _ => (String::new(), key),
        })
    });
    entries.collect()
}

/// A network as Sendmail writes it: an address, or the groups that it begins with, which are bytes or, after `IPv6:`, 16
/// bits each.
fn network(written: &str) -> Option<IpNet> {
    let lower = written.to_ascii_lowercase();
    if let Some(groups) = lower.strip_prefix("ipv6:") {
        if let Ok(address) = groups.parse::<Ipv6Addr>() {
            return Some(IpAddr::V6(address).into());
        }
        let given: Vec<u16> =
            groups.split(':').map(|group| u16::from_str_radix(group, 16)).collect::<Result<_, _>>().ok()?;
        let mut all = [0; 8];
        all.get_mut(..given.len())?.copy_from_slice(&given);
        return IpNet::new(IpAddr::V6(all.into()), u8::try_from(given.len() * 16).ok()?).ok();
    }
    let given: Vec<u8> = lower.trim_end_matches('.').split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let mut all = [0; 4];
    all.get_mut(..given.len())?.copy_from_slice(&given);
    IpNet::new(IpAddr::V4(all.into()), u8::try_from(given.len() * 8).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_in_sendmail_notation() {
        let text = |written: &str| network(written).map(|network| network.to_string());
        assert_eq!(text("10").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(text("192.0.2").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(text("192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        assert_eq!(text("IPv6:2001:db8:0:1").as_deref(), Some("2001:db8:0:1::/64"));
        assert_eq!(text("ipv6:2001:db8::1").as_deref(), Some("2001:db8::1/128"));
        for name in ["customer.test", "300.1", "1.2.3.4.5", "[192.0.2.1]", "ipv6:x", "ipv6:1:2:3:4:5:6:7:8:9", ""] {
            assert_eq!(text(name), None, "{name}");
        }
    }

    #[test]
    fn what_the_access_map_lets_relay() {
        let access = format!(
            "# comment RELAY\nConnect:10.2\tRELAY\nTo:Customer.test RELAY\n192.0.2 relay\nConnect:1.2.3.4 OK\n\
             {BEGIN}Connect:127.0.3.1\tRELAY\n{END}IPv6:2001:db8::1 RELAY\n"
        );
        let found = relayed(&access);
        let found: Vec<(&str, &str)> = found.iter().map(|(tag, key)| (tag.as_str(), key.as_str())).collect();
        assert_eq!(found, [("connect", "10.2"), ("to", "customer.test"), ("", "192.0.2"), ("", "ipv6:2001:db8::1")]);
    }
}
