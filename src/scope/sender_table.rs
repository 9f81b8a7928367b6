//! What the mail server's sender table does by itself.

use std::sync::Arc;

use crate::address::{Address, AddressSet};
use crate::verdict::Route;

/// What is known of the table by which the mail server sends the mail of some envelope senders to the relay. A message
/// needs a mark only where the table is not certain to send it where it belongs.
#[derive(Debug, Clone, Default)]
pub enum SenderTable {
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// It has a pattern for all addresses of the hosted domains, which are all in scope.
    HostedDomains,
    /// It is an indexed file with these entries.
    Indexed(Entries),
}

/// The entries of an indexed table, as Postfix looks them up (postconf(5),
/// `sender_dependent_default_transport_maps`): the whole address, the address without an extension, the domain. Case
/// does not matter.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// The entries of the file: addresses, and `@domain`.
    pub written: Arc<AddressSet>,
    /// Entries that were added or removed so recently that some process of the mail server may still use the table as it
    /// was before.
    pub unsettled: Arc<AddressSet>,
    /// The characters that begin an extension for the mail server (postconf(5), `recipient_delimiter`).
    pub delimiters: String,
}

impl SenderTable {
    /// Where the table sends mail with this envelope sender; `None` where that is not certain.
    ///
    /// `written` is the sender as it was given, `address` what it means, `in_scope` whether that is in scope. Of a sender
    /// out of scope of whom nothing is known it is said that the mail server routes as it always did: should the table
    /// have an entry all the same, the message goes to the relay, not past it.
    pub fn route(&self, written: &str, address: Option<&Address>, in_scope: bool) -> Option<Route> {
        let Some(address) = address else { return Some(Route::Direct) };
        match self {
            Self::Unknown if in_scope => None,
            Self::Unknown => Some(Route::Direct),
            // An address that is not ASCII has many spellings that are equal to us and need not be to the mail server.
            Self::HostedDomains if in_scope => written.is_ascii().then_some(Route::Relay),
            Self::HostedDomains => Some(Route::Direct),
            Self::Indexed(entries) => entries.route(written, address),
        }
    }
}

impl Entries {
    fn route(&self, written: &str, address: &Address) -> Option<Route> {
        if self.may_find(&self.unsettled, address) {
            return None;
        }
        let full = address.full();
        match self.written.listed(address) {
            // Whether an entry without the extension is found is for the mail server to say.
            Some(entry) if entry == full || entry.starts_with('@') => is_plain(written).then_some(Route::Relay),
            _ if self.may_find(&self.written, address) => None,
            _ => Some(Route::Direct),
        }
    }

    /// Whether the mail server, looking up an address, could come upon an entry of the set: one that lists it as we see
    /// it, or with what it takes for an extension cut off.
    fn may_find(&self, entries: &AddressSet, address: &Address) -> bool {
        let full = address.full();
        let cut = || {
            let (local_part, domain) = full.rsplit_once('@')?;
            let end = local_part.find(|character| self.delimiters.contains(character))?;
            Address::parse(&format!("{}@{domain}", local_part.get(..end)?))
        };
        entries.listed(address).is_some() || cut().is_some_and(|plain| entries.listed(&plain).is_some())
    }
}

/// True for an entry that can stand in the table's text, where white space ends a key, `#` begins a comment and quotes
/// mean something (postmap(1)), and that Postfix looks up in one spelling: what is not ASCII has many.
pub fn is_writable(entry: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    !entry.starts_with('#') && entry.contains('@') && entry.bytes().all(fits)
}

/// True for an envelope sender that the mail server looks up as it is written, but for case: `<dot-string@domain>` (RFC
/// 5321, 4.1.2) without what it rewrites (postconf(5), `swap_bangpath` and `allow_percent_hack`).
fn is_plain(written: &str) -> bool {
    let address = written.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(written);
    let Some((local_part, domain)) = address.split_once('@') else { return false };
    let in_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"#$&'*+-/=?^_`{|}~".contains(&byte);
    let is_dot_string =
        |text: &str, fits: fn(u8) -> bool| text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(fits));
    is_dot_string(local_part, in_atom) && is_dot_string(domain, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(written: &[&str], unsettled: &[&str], delimiters: &str) -> SenderTable {
        let set = |entries: &[&str]| Arc::new(entries.iter().collect());
        let (written, unsettled) = (set(written), set(unsettled));
        SenderTable::Indexed(Entries { written, unsettled, delimiters: delimiters.into() })
    }

    fn route(table: &SenderTable, sender: &str) -> Option<Route> {
        table.route(sender, Address::parse(sender).as_ref(), true)
    }

    #[test]
    fn what_is_written_goes_to_the_relay() {
        let table = entries(&["alice@customer.test", "@second.test"], &[], "+");
        for sender in
            ["<alice@customer.test>", "alice@customer.test", "<Alice@CUSTOMER.test>", "<any.one+x@second.test>"]
        {
            assert_eq!(route(&table, sender), Some(Route::Relay), "{sender}");
        }
        for sender in ["<>", "<bob@customer.test>", "<alice.b@customer.test>", "<alice@sub.customer.test>", "<root>"] {
            assert_eq!(route(&table, sender), Some(Route::Direct), "{sender}");
        }
    }

    #[test]
    fn what_the_mail_server_may_look_up_otherwise_is_not_certain() {
        let table = entries(&["alice@customer.test", "@xn--bcher-kva.example", "a%b@customer.test"], &[], "+");
        for sender in [
            "<alice+news@customer.test>",
            "<\"alice\"@customer.test>",
            "<@remote.test:alice@customer.test>",
            "<alice@customer.test.>",
            "< alice@customer.test >",
            "<info@b\u{fc}cher.example>",
            "<a%b@customer.test>",
        ] {
            assert_eq!(route(&table, sender), None, "{sender}");
        }
    }

    #[test]
    fn the_mail_server_says_what_an_extension_is() {
        let news = "<alice-news@customer.test>";
        assert_eq!(route(&entries(&["alice@customer.test"], &[], "+"), news), Some(Route::Direct));
        assert_eq!(route(&entries(&["alice@customer.test"], &[], "+-"), news), None);
        assert_eq!(route(&entries(&["bob@customer.test"], &["alice@customer.test"], "-"), news), None);
        // Our own extension is never certain: whoever changes recipient_delimiter may forget to tell us.
        assert_eq!(route(&entries(&["alice@customer.test"], &[], ""), "<alice+news@customer.test>"), None);
    }

    #[test]
    fn what_changed_a_moment_ago_is_not_certain() {
        let table =
            entries(&["alice@customer.test", "@second.test"], &["alice@customer.test", "bob@customer.test"], "+");
        for sender in ["<alice@customer.test>", "<bob@customer.test>", "<Bob+x@customer.test>"] {
            assert_eq!(route(&table, sender), None, "{sender}");
        }
        assert_eq!(route(&table, "<erin@second.test>"), Some(Route::Relay));
        assert_eq!(route(&table, "<erin@customer.test>"), Some(Route::Direct));
        let table = entries(&[], &["@second.test"], "+");
        assert_eq!(route(&table, "<erin@second.test>"), None);
    }

    #[test]
    fn of_an_unknown_table_nothing_is_certain_for_senders_in_scope() {
        let address = Address::parse("alice@customer.test");
        let route = |table: SenderTable, in_scope| table.route("<alice@customer.test>", address.as_ref(), in_scope);
        assert_eq!(route(SenderTable::Unknown, true), None);
        assert_eq!(route(SenderTable::Unknown, false), Some(Route::Direct));
        assert_eq!(route(SenderTable::HostedDomains, true), Some(Route::Relay));
        assert_eq!(route(SenderTable::HostedDomains, false), Some(Route::Direct));
        let table = SenderTable::HostedDomains;
        assert_eq!(table.route("<\u{fc}@customer.test>", Address::parse("\u{fc}@customer.test").as_ref(), true), None);
    }

    #[test]
    fn entries_that_the_text_cannot_hold() {
        for entry in ["alice@customer.test", "@customer.test", "o'neil+x@customer.test", "a@b@customer.test"] {
            assert!(is_writable(entry), "{entry}");
        }
        for entry in
            ["a b@customer.test", "#a@customer.test", "\u{fc}@customer.test", "a\"@customer.test", "a\nb@x.test", "a"]
        {
            assert!(!is_writable(entry), "{entry}");
        }
    }
}
