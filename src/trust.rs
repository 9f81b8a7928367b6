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
    /// Certificate names of which the relay must show one; empty if its address and TLS are enough. One that begins with
    /// a slash is a whole distinguished name, which only Sendmail tells; any other the CN.
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
            } else if !self.certificate_suffices(client) {
                Err(NotTheRelay::Certificate)
            } else {
                Ok(Peer::Relay)
            };
        }
        let internal = client.authenticated.is_some()
            || address.is_some_and(|address| is_this_host(address) || contains(&self.internal_networks, address));
        Ok(if internal { Peer::Internal } else { Peer::World })
    }

    fn certificate_suffices(&self, client: &Client) -> bool {
        let is_shown = |name: &String| match name.strip_prefix('/') {
            Some(_) => is_whole_name(name, client),
            None => client.certificate.as_ref().is_some_and(|shown| name.eq_ignore_ascii_case(shown)),
        };
        self.relay_certificates.is_empty() || self.relay_certificates.iter().any(is_shown)
    }
}

/// Whether this is the distinguished name in the client's certificate. As text it has nothing that keeps its parts apart
/// (X509_NAME_oneline(3)), so that a slash within one looks as if another began: the CN, which is told by itself too, must
/// be one of the parts, and must be there where the name has one.
fn is_whole_name(name: &str, client: &Client) -> bool {
    const CN: &str = "/cn=";
    let is_subject = client.certificate_subject.as_ref().is_some_and(|shown| name.eq_ignore_ascii_case(shown));
    let name = name.to_ascii_lowercase();
    let has_its_cn = match &client.certificate {
        Some(cn) => format!("{name}/").contains(&format!("{CN}{}/", cn.to_ascii_lowercase())),
        None => !name.contains(CN),
    };
    is_subject && has_its_cn
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
    fn a_distinguished_name_is_asked_for_as_a_whole() {
        const NAME: &str = "/O=Conbool/CN=relay.conbool.test";
        let trust = Trust { relay_certificates: vec![NAME.into()], ..trust() };
        let shown = |cn: Option<&str>, subject: Option<&str>| Client {
            certificate: cn.map(Into::into),
            certificate_subject: subject.map(Into::into),
            ..client("192.0.2.1", true)
        };
        let cn = Some("relay.conbool.test");
        assert_eq!(trust.peer(&shown(cn, Some(NAME))), Ok(Peer::Relay));
        assert_eq!(trust.peer(&shown(cn, Some("/o=conbool/cn=RELAY.conbool.test"))), Ok(Peer::Relay));
        for (cn, subject) in [
            (None, None),
            // Postfix tells the CN alone, whatever is in it.
            (cn, None),
            (Some(NAME), None),
            (Some(NAME), Some("/CN=/O=Conbool/CN=relay.conbool.test")),
            (Some(NAME), Some(NAME)),
            // Another organization; more than that; a part that has another in it.
            (cn, Some("/O=Evil/CN=relay.conbool.test")),
            (cn, Some("/C=XX/O=Conbool/CN=relay.conbool.test")),
            (cn, Some("/O=Conbool/CN=relay.conbool.test/CN=evil.test")),
            (Some("evil.test"), Some(NAME)),
            (Some("conbool.test"), Some(NAME)),
            (None, Some(NAME)),
        ] {
            assert_eq!(trust.peer(&shown(cn, subject)), Err(NotTheRelay::Certificate), "{cn:?} {subject:?}");
        }
        let by_cn = Trust { relay_certificates: vec!["relay.conbool.test".into()], ..trust };
        assert_eq!(by_cn.peer(&shown(cn, Some("/O=Anybody/CN=relay.conbool.test"))), Ok(Peer::Relay));
        assert_eq!(by_cn.peer(&shown(None, Some("relay.conbool.test"))), Err(NotTheRelay::Certificate));
        let without_cn = Trust { relay_certificates: vec!["/O=Conbool/OU=Relay".into()], ..by_cn };
        assert_eq!(without_cn.peer(&shown(None, Some("/O=Conbool/OU=Relay"))), Ok(Peer::Relay));
        assert_eq!(without_cn.peer(&shown(cn, Some("/O=Conbool/OU=Relay"))), Err(NotTheRelay::Certificate));
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
