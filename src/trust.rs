//! Who handed a message over: the relay, an internal client, or the world.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::case::Client;
use crate::verdict::Peer;

/// What makes a client the relay or internal.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Networks the relay connects from.
    pub relay_networks: Vec<IpNet>,
    /// Certificate names of which the relay must show one; empty if its address and TLS are enough.
    pub relay_certificates: Vec<String>,
    /// Networks of the site's own clients.
    pub internal_networks: Vec<IpNet>,
}

/// A client that comes from the relay's networks without being the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTheRelay {
    /// The session is not encrypted.
    WithoutTls,
    /// None of the names wanted is in its verified certificate.
    Certificate,
}

impl Trust {
    /// Decides who the client is.
    ///
    /// The relay's networks come first: an administrator may have put them among the internal ones as well, to get
    /// them past other restrictions.
    ///
    /// # Errors
    /// [`NotTheRelay`] if the client comes from the relay's networks but does not prove to be the relay. Such a
    /// message must be refused for now: it may be the relay's, so that treating it as anybody's would lose its
    /// markers.
    pub fn peer(&self, client: &Client) -> Result<Peer, NotTheRelay> {
        let address = client.address.map(|address| address.to_canonical());
        if address.is_some_and(|address| contains(&self.relay_networks, address)) {
            return if client.tls_version.is_none() {
                Err(NotTheRelay::WithoutTls)
            } else if !self.certificate_suffices(client.certificate.as_deref()) {
                Err(NotTheRelay::Certificate)
            } else {
                Ok(Peer::Relay)
            };
        }
        let internal = client.authenticated.is_some()
            || address.is_some_and(|address| is_this_host(address) || contains(&self.internal_networks, address));
        Ok(if internal { Peer::Internal } else { Peer::World })
    }

    fn certificate_suffices(&self, shown: Option<&str>) -> bool {
        self.relay_certificates.is_empty()
            || shown.is_some_and(|shown| self.relay_certificates.iter().any(|name| name.eq_ignore_ascii_case(shown)))
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Mail submitted on this host; Postfix reports sendmail(1) mail as coming from 127.0.0.1 (MILTER_README,
/// "Non-SMTP mail"). The rest of 127.0.0.0/8 is left to the configuration.
fn is_this_host(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust() -> Trust {
        Trust {
            relay_networks: vec!["192.0.2.0/24".parse().unwrap()],
            relay_certificates: Vec::new(),
            internal_networks: vec!["10.0.0.0/8".parse().unwrap(), "192.0.2.7/32".parse().unwrap()],
        }
    }

    fn client(address: &str, tls: bool) -> Client {
        Client {
            address: Some(address.parse().unwrap()),
            tls_version: tls.then(|| "TLSv1.3".into()),
            ..Client::default()
        }
    }

    #[test]
    fn the_relay_is_known_by_network_and_tls() {
        assert_eq!(trust().peer(&client("192.0.2.1", true)), Ok(Peer::Relay));
        assert_eq!(trust().peer(&client("192.0.2.1", false)), Err(NotTheRelay::WithoutTls));
        assert_eq!(trust().peer(&client("::ffff:192.0.2.1", true)), Ok(Peer::Relay));
        assert_eq!(trust().peer(&client("198.51.100.1", true)), Ok(Peer::World));
    }

    #[test]
    fn the_relay_stays_the_relay_where_its_network_is_internal_too() {
        assert_eq!(trust().peer(&client("192.0.2.7", false)), Err(NotTheRelay::WithoutTls));
        assert_eq!(trust().peer(&client("192.0.2.7", true)), Ok(Peer::Relay));
    }

    #[test]
    fn a_certificate_is_asked_for_where_the_site_wants_one() {
        let trust = Trust { relay_certificates: vec!["relay.conbool.test".into()], ..trust() };
        let mut client = client("192.0.2.1", true);
        assert_eq!(trust.peer(&client), Err(NotTheRelay::Certificate));
        client.certificate = Some("evil.test".into());
        assert_eq!(trust.peer(&client), Err(NotTheRelay::Certificate));
        client.certificate = Some("Relay.Conbool.test".into());
        assert_eq!(trust.peer(&client), Ok(Peer::Relay));
    }

    #[test]
    fn internal_means_authenticated_or_own_network_or_this_host() {
        assert_eq!(trust().peer(&client("10.1.2.3", false)), Ok(Peer::Internal));
        assert_eq!(trust().peer(&client("127.0.0.1", false)), Ok(Peer::Internal));
        assert_eq!(trust().peer(&client("::1", false)), Ok(Peer::Internal));
        assert_eq!(trust().peer(&client("127.0.0.2", false)), Ok(Peer::World));
        let authenticated = Client { authenticated: Some("alice".into()), ..client("198.51.100.1", true) };
        assert_eq!(trust().peer(&authenticated), Ok(Peer::Internal));
        assert_eq!(trust().peer(&Client::default()), Ok(Peer::World));
    }
}
