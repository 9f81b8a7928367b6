//! Inbound lock-down: mail for hosted domains comes from the relay, or from the site's own clients, and from nobody else.
//!
//! A client that delivers past the relay goes past whatever the relay is there for. Who the client is, is decided by
//! [`trust`](crate::trust); here it is decided which recipients a stranger may write to.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::address::{Address, AddressSet, normalize_domain};
use crate::verdict::Reply;

/// The lock-down of a site.
#[derive(Debug, Clone, Default)]
pub struct LockDown {
    /// Whether strangers are refused.
    pub mode: Mode,
    /// Recipients that stay open to everybody.
    pub open: OpenRecipients,
    /// For [`Mode::Auto`]: names of the provider's MX hosts.
    pub mx_hosts: MxHosts,
    /// For [`Mode::Auto`]: the hosted domains whose MX hosts are known to be the provider's.
    pub locked: Arc<HashSet<String>>,
}

/// `lock_down.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Everybody may deliver.
    #[default]
    Off,
    /// Everybody may; the log tells who would be refused.
    Monitor,
    /// Strangers are refused.
    Enforce,
    /// Strangers are refused for domains whose MX hosts are the provider's; for the others the log tells who would be.
    Auto,
}

/// Recipients that stay open to everybody: a local part opens it at every hosted domain, an address only itself, and
/// `@domain` all of the domain.
#[derive(Debug, Clone, Default)]
pub struct OpenRecipients {
    local_parts: HashSet<String>,
    addresses: AddressSet,
}

impl FromIterator<String> for OpenRecipients {
    /// Local parts in lower case, addresses in the form of [`Address::full`], and `@domain`.
    fn from_iter<T: IntoIterator<Item = String>>(recipients: T) -> Self {
        let mut open = Self::default();
        for recipient in recipients {
            if !open.addresses.insert(&recipient) {
                open.local_parts.insert(recipient);
            }
        }
        open
    }
}

impl OpenRecipients {
    fn contains(&self, address: &Address) -> bool {
        let mut names = std::iter::once(address.local_part()).chain(address.user());
        names.any(|name| self.local_parts.contains(name)) || self.addresses.contains(address)
    }
}

/// A recipient to whom a stranger must not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The hosted domain; `None` where that is for the mail server to tell, as with a name without a domain.
    pub domain: Option<String>,
    /// Whether the client is refused; if not, only the log tells.
    pub refused: bool,
}

impl LockDown {
    /// Whether any recipient can be refused now or later, without a reload.
    pub fn may_refuse(&self) -> bool {
        matches!(self.mode, Mode::Enforce | Mode::Auto)
    }

    /// Whether a client that is neither the relay nor internal may write to a recipient. `recipient` is the path of
    /// RCPT, with or without angle brackets; `hosted` are the hosted domains.
    ///
    /// Other domains are not our business: the mail server's relay restrictions take care of them. A name without a
    /// domain, an address literal (RFC 5321, 4.1.3), and whatever does not look like a domain (Postfix takes quotes and
    /// comments in one) are for the mail server to understand, which may well see a hosted domain in them; they are
    /// locked as soon as one of the hosted domains is. Only `<postmaster>` by itself is always open (RFC 5321, 4.5.1).
    pub fn check(&self, hosted: &HashSet<String>, recipient: &str) -> Option<Locked> {
        if self.mode == Mode::Off {
            return None;
        }
        let Some(address) = Address::parse(recipient) else {
            let name = recipient.trim_matches(['<', '>', '"', ' ']);
            return (!name.eq_ignore_ascii_case("postmaster")).then(|| self.locked(None));
        };
        if self.open.contains(&address) {
            return None;
        }
        let domain = address.domain();
        if hosted.contains(domain) {
            return Some(self.locked(Some(domain.to_owned())));
        }
        let in_domain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte) || !byte.is_ascii();
        (!domain.bytes().all(in_domain)).then(|| self.locked(None))
    }

    fn locked(&self, domain: Option<String>) -> Locked {
        let refused = match self.mode {
            Mode::Off | Mode::Monitor => false,
            Mode::Enforce => true,
            Mode::Auto => domain.as_ref().map_or(!self.locked.is_empty(), |domain| self.locked.contains(domain)),
        };
        Locked { domain, refused }
    }
}

impl Locked {
    /// What the client is told: its administrator, or the hosted domain's own, must find out what is wrong. The domain
    /// is named once, so that the line keeps to 512 bytes (RFC 5321, 4.5.3.1.5).
    pub fn reply(&self, client: Option<IpAddr>) -> Reply {
        let client = client.map_or("this client".into(), |address| address.to_canonical().to_string());
        let text = match &self.domain {
            Some(domain) => format!(
                "Mail for {domain} is accepted from its e-mail security service only, not from {client}; deliver to the \
                 MX hosts of the domain"
            ),
            None => format!(
                "Mail is accepted here from an e-mail security service only, not from {client}; deliver to the MX hosts \
                 of the recipient's domain"
            ),
        };
        Reply { code: "550", enhanced: "5.7.1", text }
    }

    /// Why, for the log and for `explain`.
    pub fn why(&self) -> String {
        let whose = self.domain.as_deref().unwrap_or("the mail server itself");
        format!("mail for {whose} is taken from the relay and from internal clients only")
    }
}

/// The names of the provider's MX hosts: each a name, or `*.` and the domain that they are below, however deep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MxHosts(Vec<String>);

impl FromIterator<String> for MxHosts {
    /// Names in the form of [`normalize_domain`].
    fn from_iter<T: IntoIterator<Item = String>>(names: T) -> Self {
        Self(names.into_iter().collect())
    }
}

impl MxHosts {
    /// True if no name is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the host is one of them.
    pub fn contains(&self, host: &str) -> bool {
        let host = normalize_domain(host);
        self.0.iter().any(|name| match name.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => *name == host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_down(mode: Mode, open: &[&str]) -> LockDown {
        LockDown { mode, open: open.iter().map(ToString::to_string).collect(), ..LockDown::default() }
    }

    fn hosted() -> HashSet<String> {
        ["customer.test", "second.test"].map(String::from).into()
    }

    fn refused(lock_down: &LockDown, recipient: &str) -> Option<bool> {
        lock_down.check(&hosted(), recipient).map(|locked| locked.refused)
    }

    #[test]
    fn every_way_to_write_a_hosted_recipient_is_locked() {
        let enforce = lock_down(Mode::Enforce, &["postmaster", "abuse@customer.test"]);
        for recipient in [
            "alice@customer.test",
            "<Alice@CUSTOMER.test>",
            "alice+news@customer.test",
            "\"alice\"@customer.test",
            "<@relay.test,@other.test:alice@customer.test>",
            "alice@customer.test.",
            "alice%remote.test@customer.test",
            "nobody@second.test",
            "abuse@second.test",
            "\"post master\"@customer.test",
            "postmasters@customer.test",
            // The mail server's own, whatever it makes of them.
            "alice",
            "<alice>",
            "customer.test!alice",
            "alice%customer.test",
            "alice@[192.0.2.25]",
            "alice@\"customer.test\"",
            "alice@customer(comment).test",
            "alice@customer.test(at@remote.test)",
            "alice@customer .test",
            "@customer.test:alice",
            "\"abuse@customer.test\"@second.test",
            "postmaster@",
        ] {
            assert_eq!(refused(&enforce, recipient), Some(true), "{recipient}");
        }
    }

    #[test]
    fn the_open_recipients_and_other_domains_are_not_locked() {
        let enforce = lock_down(Mode::Enforce, &["postmaster", "abuse@customer.test"]);
        for recipient in [
            "postmaster@customer.test",
            "PostMaster@second.test",
            "postmaster+spam@customer.test",
            "\"postmaster\"@customer.test",
            "<@relay.test:postmaster@customer.test>",
            "abuse@customer.test",
            "Abuse+1@Customer.Test",
            "alice@sub.customer.test",
            "alice@remote.test",
            "alice@customer.test.remote.test",
        ] {
            assert_eq!(refused(&enforce, recipient), None, "{recipient}");
        }
    }

    #[test]
    fn a_whole_domain_can_be_open() {
        let enforce = lock_down(Mode::Enforce, &["@second.test"]);
        assert_eq!(refused(&enforce, "alice@second.test"), None);
        assert_eq!(refused(&enforce, "alice@customer.test"), Some(true));
    }

    #[test]
    fn postmaster_without_a_domain_is_always_open() {
        for recipient in ["postmaster", "<Postmaster>", "\"postmaster\""] {
            assert_eq!(refused(&lock_down(Mode::Enforce, &[]), recipient), None, "{recipient}");
        }
        assert_eq!(refused(&lock_down(Mode::Enforce, &[]), "postmaster@customer.test"), Some(true));
    }

    #[test]
    fn the_mode_decides_who_is_refused() {
        assert_eq!(refused(&lock_down(Mode::Off, &[]), "alice@customer.test"), None);
        assert_eq!(refused(&lock_down(Mode::Monitor, &[]), "alice@customer.test"), Some(false));
        let mut auto = lock_down(Mode::Auto, &[]);
        assert_eq!(refused(&auto, "alice@customer.test"), Some(false));
        assert_eq!(refused(&auto, "alice"), Some(false));
        auto.locked = Arc::new(["customer.test".to_string()].into());
        assert_eq!(refused(&auto, "alice@customer.test"), Some(true));
        assert_eq!(refused(&auto, "alice@second.test"), Some(false));
        assert_eq!(refused(&auto, "alice"), Some(true));
    }

    #[test]
    fn the_reply_names_the_domain_and_the_client() {
        let locked = Locked { domain: Some("customer.test".into()), refused: true };
        let reply = locked.reply(Some("::ffff:198.51.100.1".parse().unwrap()));
        assert_eq!((reply.code, reply.enhanced), ("550", "5.7.1"));
        assert_eq!(
            reply.text,
            "Mail for customer.test is accepted from its e-mail security service only, not from 198.51.100.1; deliver \
             to the MX hosts of the domain"
        );
    }

    #[test]
    fn mx_hosts_are_names_or_everything_below_a_domain() {
        let hosts: MxHosts = ["mx.example.net", "*.mail.example.org"].map(String::from).into_iter().collect();
        for host in ["mx.example.net", "MX.Example.Net.", "a.mail.example.org", "b.a.mail.example.org"] {
            assert!(hosts.contains(host), "{host}");
        }
        for host in
            ["example.net", "a.mx.example.net", "mail.example.org", ".mail.example.org", "xmail.example.org", ""]
        {
            assert!(!hosts.contains(host), "{host}");
        }
    }
}
