//! Mailprotector's guide "Office 365 - Inbound Connector".

use ipnet::IpNet;

use super::object::{Kind, Object};
use super::powershell::Value;
use super::{Plan, Request, Scope};

const NAMES: &[(&str, &str)] = &[("connector", "Inbound from Mailprotector Only")];

/// The largest network that a connector takes has this prefix length.
const WIDEST: u8 = 24;

/// Entries of a connector's address list that are still sensible.
const RANGES_MAX: usize = 256;

/// The connector, switched off.
///
/// # Errors
/// A sentence for the administrator if the request cannot be met.
pub fn plan(request: &Request) -> Result<Plan, String> {
    request.only_names(NAMES)?;
    if request.scope != Scope::All || request.outbound_only {
        return Err(
            "the Mailprotector guide is about mail from outside only; leave --scope and --outbound-only out".into()
        );
    }
    let addresses = addresses(&request.networks)?;
    let connector = Object::new(
        Kind::InboundConnector,
        &request.name("connector", NAMES),
        "Refuses mail that does not come from Mailprotector.",
    )?
    .text("ConnectorType", "Partner")
    .with("SenderDomains", Value::texts(["*"]))
    .flag("RequireTls", true)
    .flag("RestrictDomainsToIPAddresses", true)
    .with("SenderIPAddresses", Value::texts(addresses))
    .flag("RestrictDomainsToCertificate", false)
    .when_new("Enabled", Value::Flag(false));
    let notes = vec![
        "The connector is made switched off. Once the MX records of all domains are Mailprotector's, run the script \
         with -Enable: it looks at the MX records of every domain of the organization first."
            .to_owned(),
        "Switched on, it refuses all mail from outside that does not come from the addresses given, for every domain of \
         the organization: printers, applications and other services that send without a login too."
            .to_owned(),
    ];
    Ok(Plan { objects: vec![connector], own_groups: Vec::new(), switched_off: true, notes })
}

/// Networks as a connector takes them: IPv4, not wider than /24.
fn addresses(networks: &[IpNet]) -> Result<Vec<String>, String> {
    if networks.is_empty() {
        return Err(
            "Mailprotector's addresses are missing: they are not published; ask Mailprotector for them, and give \
                    each as --relay-network, or set relay_networks in the configuration"
                .into(),
        );
    }
    let mut ranges = Vec::new();
    for network in networks {
        let IpNet::V4(v4) = network else {
            return Err(format!("{network} is IPv6; an inbound connector takes IPv4 addresses only"));
        };
        let parts = v4.subnets(v4.prefix_len().max(WIDEST)).map_err(|error| format!("{network}: {error}"))?;
        ranges.extend(parts.map(|part| super::range(&IpNet::V4(part))).take(RANGES_MAX + 1));
        if ranges.len() > RANGES_MAX {
            return Err(format!(
                "{network} makes more than {RANGES_MAX} entries of /{WIDEST}, the widest that a connector takes; give \
                 the networks that are Mailprotector's own"
            ));
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_as_a_connector_takes_them() {
        let networks = |list: &[&str]| addresses(&list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(
            networks(&["192.0.2.7/32", "198.51.100.0/23", "203.0.113.0/28"]).unwrap(),
            ["192.0.2.7", "198.51.100.0/24", "198.51.101.0/24", "203.0.113.0/28"]
        );
        assert!(networks(&["2001:db8::/64"]).unwrap_err().contains("IPv4 addresses only"));
        assert!(networks(&["10.0.0.0/8"]).unwrap_err().contains("more than 256"));
        assert!(networks(&[]).unwrap_err().contains("--relay-network"));
    }
}
