//! Who sends a message, and which way it travels.

use super::{Site, named_scope_list};
use crate::address::{Address, AddressSet};
use crate::case::Case;
use crate::scope::{self, FromAddresses};
use crate::verdict::{Direction, Peer};

/// True for the null reverse-path.
pub fn is_null(sender: &str) -> bool {
    matches!(sender.trim(), "" | "<>")
}

/// The sender as scope sees it.
pub struct Sender {
    /// The reverse-path is null.
    pub null: bool,
    /// The envelope sender, if it is an address.
    pub envelope: Option<Address>,
    /// Whether that is in scope.
    pub envelope_in_scope: bool,
    from: Vec<Address>,
    /// Whether an author is in scope, where that counts.
    pub from_in_scope: bool,
}

impl Sender {
    /// Reads the sender of a message that this peer hands in.
    pub fn of(site: &Site, case: &Case, peer: Peer) -> Self {
        let null = is_null(&case.envelope.sender);
        let envelope = Address::parse(&case.envelope.sender);
        let envelope_in_scope = envelope.as_ref().is_some_and(|address| site.scope.senders.contains(address));
        // The From field matters where it widens the scope, or names the domain of a loop marker.
        let look_at_from = match peer {
            Peer::Internal => site.scope.from_field && !null && !envelope_in_scope,
            Peer::Relay => true,
            Peer::World => false,
        };
        let from = if look_at_from { scope::from_addresses(&case.header) } else { FromAddresses::default() };
        // Who is in scope must not be able to hide behind others.
        let any_in_scope = !from.complete || from.addresses.iter().any(|address| site.scope.senders.contains(address));
        let from_in_scope = look_at_from && peer == Peer::Internal && any_in_scope;
        Self { null, envelope, envelope_in_scope, from: from.addresses, from_in_scope }
    }

    /// Whether it is one whose mail belongs on the relay.
    pub fn in_scope(&self) -> bool {
        self.envelope_in_scope || self.from_in_scope
    }

    /// The hosted domains that this sender speaks for.
    pub fn hosted_domains<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = &'a str> {
        self.envelope.iter().chain(&self.from).map(Address::domain).filter(|domain| site.hosted.contains(*domain))
    }
}

/// The named scopes, of those that the rules ask for, that the sender is in: as with the default scope, by the envelope
/// sender, or by an author where the From field counts. The null sender is in none.
pub fn named_scopes(site: &Site, case: &Case, peer: Peer, sender: &Sender) -> Vec<String> {
    let mut authors = None;
    let mut is_in = |scope: &AddressSet| {
        if sender.envelope.as_ref().is_some_and(|address| scope.contains(address)) {
            return true;
        }
        if peer != Peer::Internal || !site.scope.from_field || sender.null {
            return false;
        }
        let authors = authors.get_or_insert_with(|| scope::from_addresses(&case.header));
        // As with the default scope.
        !authors.complete || authors.addresses.iter().any(|address| scope.contains(address))
    };
    let members = |scope: &str| site.lists.get(&named_scope_list(scope));
    let asked = site.rules.named_scopes();
    asked.filter(|scope| members(scope).is_some_and(|members| is_in(members))).map(str::to_owned).collect()
}

/// Which way the message travels.
pub fn direction(site: &Site, case: &Case, peer: Peer, sender: &Sender) -> Direction {
    let is_hosted = |address: &Address| site.hosted.contains(address.domain());
    match peer {
        Peer::Internal => Direction::Outbound,
        Peer::World => Direction::Inbound,
        // The relay brings mail for hosted recipients, and hands back that of hosted senders.
        Peer::Relay => {
            let for_us = case
                .envelope
                .recipients
                .iter()
                .filter_map(|recipient| Address::parse(recipient))
                .any(|to| is_hosted(&to));
            if !for_us && sender.envelope.as_ref().is_some_and(is_hosted) {
                Direction::Outbound
            } else {
                Direction::Inbound
            }
        }
    }
}
