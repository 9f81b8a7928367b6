//! Routes that the site had before, and those that come before the sender table.

use super::{Inspection, command, list};
use crate::finding::Status;

/// A site that is certainly another one (RFC 2606), and an address there.
const PROBES: [&str; 3] = ["*", "example.com", "postmaster@example.com"];

/// Kinds of tables whose entries postmap(1) can list.
const LISTABLE: [&str; 5] = ["hash", "btree", "cdb", "lmdb", "texthash"];

impl Inspection<'_> {
    /// transport_maps come before the sender table.
    pub(super) fn transport_maps(&mut self) {
        const CHECK: &str = "transport-maps";
        let tables = self.tables_of("transport_maps");
        if tables.is_empty() {
            self.pass(CHECK, "", "transport_maps is empty");
        }
        for table in tables {
            let found = PROBES.iter().find_map(|key| match self.look_up(&table, key) {
                // Neither a transport nor a next hop: as if it were not there.
                Ok(None) => None,
                Ok(Some(value)) if value.is_empty() || value == ":" => None,
                Ok(Some(value)) => Some(Ok((*key, value))),
                Err(error) => Some(Err(error)),
            });
            match found {
                Some(Ok((key, value))) if value.starts_with("conbool-relay:") => {
                    let seen = format!("{key} has {value}: everybody's mail goes to the relay, in scope or not");
                    self.mend(Status::Warn, (CHECK, &table), seen, format!("take {key} out of {table}"));
                }
                Some(Ok((key, value))) => {
                    let seen =
                        format!("{key} has {value}, before the sender table: mail for other sites goes past the relay");
                    self.mend(Status::Fail, (CHECK, &table), seen, format!("take {key} out of {table}"));
                }
                Some(Err(error)) => self.add(CHECK, &table, Status::Unknown, error.to_string()),
                None => self.listed_transports(CHECK, &table),
            }
        }
    }

    /// Entries for single domains of others.
    fn listed_transports(&mut self, check: &'static str, table: &str) {
        let kind = table.split(':').next().unwrap_or_default();
        let listing = if LISTABLE.contains(&kind) {
            command::run("postmap", self.request.config_directory, &["-s", table]).unwrap_or_default()
        } else {
            String::new()
        };
        let entries = listing.lines().filter_map(|line| line.split_once(['\t', ' ']));
        let past: Vec<&str> = entries
            .filter(|(key, value)| {
                let value = value.trim();
                let domain = key.rsplit('@').next().unwrap_or(key).trim_start_matches('.');
                !matches!(value, "" | ":") && !value.starts_with("conbool-relay:") && !self.is_own_domain(domain)
            })
            .map(|(key, _)| key)
            .collect();
        match past[..] {
            [] => self.pass(check, table, "takes no mail for other sites past the relay, as far as it can be asked"),
            [first, ..] => {
                let seen = match past.len() {
                    1 => format!("mail for {first} goes past the relay"),
                    more => format!("mail for {first} and {} others goes past the relay", more - 1),
                };
                let mend = format!("postmap -s {table}  # see that each entry is for a host of the site's own");
                self.mend(Status::Warn, (check, table), seen, mend);
            }
        }
    }

    /// True for domains that mail is delivered to by this site: hosted ones, those below them, and those that main.cf
    /// names.
    fn is_own_domain(&self, domain: &str) -> bool {
        let own =
            |hosted: &str| domain == hosted || domain.strip_suffix(hosted).is_some_and(|rest| rest.ends_with('.'));
        let names = ["mydestination", "relay_domains", "virtual_mailbox_domains", "virtual_alias_domains"];
        self.examined.config.domains.iter().any(|hosted| own(hosted))
            || names.iter().flat_map(|name| self.in_force(name)).any(|item| item.eq_ignore_ascii_case(domain))
    }

    /// Where mail went before there was a relay, and exempt mail should go now.
    pub(super) fn former_routes(&mut self) {
        const CHECK: &str = "former-route";
        let next_hop = self.examined.config.direct.next_hop.clone();
        let request = self.request;
        let value = |name: &str| request.existing.in_force(name).unwrap_or_default().to_owned();
        let relayhost = value("relayhost");
        let (relay_host, _) = self.needed.relay_next_hop().rsplit_once(':').unwrap_or_default();
        if !relayhost.is_empty() && !relay_host.is_empty() && relayhost.contains(relay_host.trim_matches(['[', ']'])) {
            let seen = format!(
                "relayhost = {relayhost} is the relay: mail of senders out of scope and returned mail goes there too, with \
                 smtp_tls_security_level = {}, which need not verify its name",
                value("smtp_tls_security_level")
            );
            let mend = self.unset("relayhost");
            return self.mend(Status::Warn, (CHECK, "relayhost"), seen, mend);
        }
        let filter_next_hop = value("default_filter_nexthop");
        if next_hop.is_none() && !filter_next_hop.is_empty() {
            let seen = format!("default_filter_nexthop = {filter_next_hop}: all exempt mail goes there");
            let mend = self.unset("default_filter_nexthop");
            self.mend(Status::Fail, (CHECK, "default_filter_nexthop"), seen, mend);
        }
        let others =
            [("relayhost", relayhost), ("sender_dependent_relayhost_maps", value("sender_dependent_relayhost_maps"))];
        let transport = value("default_transport");
        let transport = ("default_transport", if transport == "smtp" { String::new() } else { transport });
        let in_use: Vec<_> = others.into_iter().chain([transport]).filter(|(_, value)| !value.is_empty()).collect();
        match (in_use.first(), next_hop) {
            (None, _) => self.pass(CHECK, "", "mail of senders out of scope goes to the recipient's MX"),
            (Some((name, value)), Some(next_hop)) => {
                self.pass(CHECK, *name, format!("{value}; exempt mail goes to {next_hop}"));
            }
            (Some((name, value)), None) => {
                let seen = format!("{name} = {value}, but exempt mail goes to the recipient's MX, past it");
                let host = if *name == "relayhost" { value.as_str() } else { "[mail.example.com]:25" };
                let mend = format!("[direct]\nnext_hop = \"{host}\"");
                self.mend(Status::Warn, (CHECK, name), seen, mend);
            }
        }
        let rewritten = ["sender_canonical_maps", "canonical_maps", "masquerade_domains"];
        let rewritten = rewritten.iter().find_map(|name| Some((*name, self.existing().written(name)?.to_owned())));
        if let Some((name, value)) = rewritten {
            let delimiter = list::split(&value).join(", ");
            self.pass("rewritten-senders", name, format!("{delimiter}: Postfix routes by the rewritten sender"));
        }
    }
}
