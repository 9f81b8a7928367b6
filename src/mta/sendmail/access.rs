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
