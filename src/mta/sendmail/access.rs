//! Lines for the access map: who may hand mail back for other sites.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Error;

/// More lines than this are a mistake, or a network for which there are better ways.
const MOST_LINES: usize = 4096;

/// `Connect:` lines for these networks.
///
/// The access map knows IPv4 networks at octet boundaries and IPv6 networks at those of 16 bits, by their beginnings.
///
/// # Errors
/// [`Error::TooManyLines`].
pub fn lines(networks: &[IpNet]) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for network in networks {
        let step = if matches!(network, IpNet::V4(_)) { 8 } else { 16 };
        let length = network.prefix_len().div_ceil(step).max(1) * step;
        let too_many = || Error::TooManyLines(*network);
        if u32::from(length - network.prefix_len()) > MOST_LINES.ilog2() {
            return Err(too_many());
        }
        let parts = network.subnets(length).map_err(|_| too_many())?;
        lines.extend(parts.map(|part| format!("Connect:{}\tRELAY", key(part.addr(), length / step))));
        if lines.len() > MOST_LINES {
            return Err(too_many());
        }
    }
    Ok(lines)
}

/// The first groups of an address.
fn key(address: IpAddr, groups: u8) -> String {
    let groups = usize::from(groups);
    match address {
        IpAddr::V4(address) => {
            address.octets().iter().take(groups).map(ToString::to_string).collect::<Vec<_>>().join(".")
        }
        IpAddr::V6(address) => {
            let groups: Vec<String> =
                address.segments().iter().take(groups).map(|group| format!("{group:x}")).collect();
            format!("IPv6:{}", groups.join(":"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(networks: &[&str]) -> Result<Vec<String>, Error> {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let key = |line: String| line.strip_prefix("Connect:").unwrap().strip_suffix("\tRELAY").unwrap().to_owned();
        Ok(lines(&networks)?.into_iter().map(key).collect())
    }

    #[test]
    fn networks_by_their_beginnings() {
        assert_eq!(keys(&["192.0.2.0/24", "10.0.0.0/8"]).unwrap(), ["192.0.2", "10"]);
        let quarters = ["198.51.100", "198.51.101", "198.51.102", "198.51.103"];
        assert_eq!(keys(&["198.51.100.0/22"]).unwrap(), quarters);
        assert_eq!(keys(&["192.0.2.8/31", "192.0.2.1/32"]).unwrap(), ["192.0.2.8", "192.0.2.9", "192.0.2.1"]);
        assert_eq!(keys(&["192.0.2.128/25"]).unwrap().len(), 128);
        assert_eq!(keys(&["2001:db8::/32"]).unwrap(), ["IPv6:2001:db8"]);
        assert_eq!(keys(&["2001:db8::/31"]).unwrap(), ["IPv6:2001:db8", "IPv6:2001:db9"]);
        assert_eq!(keys(&["2001:db8:0:1::/64"]).unwrap(), ["IPv6:2001:db8:0:1"]);
        assert_eq!(keys(&["2001:db8::1/128"]).unwrap(), ["IPv6:2001:db8:0:0:0:0:0:1"]);
    }

    #[test]
    fn no_network_takes_too_many_lines() {
        assert_eq!(keys(&["2001:db8::/33"]), Err(Error::TooManyLines("2001:db8::/33".parse().unwrap())));
        assert!(keys(&["2001:db8::/36"]).is_ok_and(|keys| keys.len() == 4096));
        assert!(keys(&["2001:db8::/36", "192.0.2.0/24"]).is_err());
    }
}
