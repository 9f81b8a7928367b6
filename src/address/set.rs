use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Address, Share};

/// A set of addresses and of whole domains, such as the senders in scope.
///
/// Made for 200,000 entries and more: one text and one table of places in it, about 40 bytes an address, and dropped in
/// two steps. A look-up does not allocate; a clone shares the entries.
#[derive(Debug, Clone, Default)]
pub struct AddressSet {
    entries: Arc<Entries>,
    share: Share,
}

#[derive(Debug, Clone, Default)]
struct Entries {
    /// The entries, each with a line feed after it.
    text: String,
    /// Where in the text each entry begins.
    places: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl AddressSet {
    /// Adds an address in the form of [`Address::full`], or `@domain`, in the form of
    /// [`normalize_domain`](super::normalize_domain), for all addresses of a domain.
    ///
    /// Returns false, and adds nothing, if the entry is there already or is neither.
    pub fn insert(&mut self, entry: &str) -> bool {
        Arc::make_mut(&mut self.entries).insert(entry)
    }

    /// The set with only this share of its addresses in it.
    pub fn with_share(mut self, share: Share) -> Self {
        self.share = share;
        self
    }

    /// The share of the addresses listed that are in the set.
    pub fn share(&self) -> Share {
        self.share
    }

    /// True if the address is in the set: listed, and within the share.
    ///
    /// An address with a `+` extension is in the set where the one without it is.
    pub fn contains(&self, address: &Address) -> bool {
        self.listed(address).is_some() && self.share.contains(address)
    }

    /// The entry that lists the address, whatever the share: the address itself, that without its extension, or its
    /// domain.
    pub fn listed(&self, address: &Address) -> Option<&str> {
        let domain = address.domain();
        self.entries
            .find(&address.local_part, domain)
            .or_else(|| self.entries.find(address.user()?, domain))
            .or_else(|| self.entries.find("", domain))
    }

    /// The entries, in the order in which they were added, without the addresses that the share leaves out. Of a domain
    /// (`@domain`) all addresses are in the set only where the share is [`Share::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let is_in = |entry: &&str| match Address::parse(entry) {
            Some(address) if !self.share.is_all() && !entry.starts_with('@') => self.share.contains(&address),
            _ => true,
        };
        self.entries().filter(is_in)
    }

    /// All entries, whatever the share, in the order in which they were added.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.text.lines()
    }

    /// How many entries there are, whatever the share.
    pub fn len(&self) -> usize {
        self.entries.places.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.places.is_empty()
    }

    /// True if both have the same entries, in any order.
    pub fn same_entries(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
            || self.len() == other.len() && self.entries().all(|entry| other.entries.has(entry))
    }

    /// The memory that its entries take, in bytes.
    pub fn memory(&self) -> usize {
        size_of::<Entries>() + self.entries.text.capacity() + self.entries.places.allocation_size()
    }
}

impl<S: AsRef<str>> FromIterator<S> for AddressSet {
    /// The set of all entries that [`AddressSet::insert`] takes, without spare memory.
    fn from_iter<I: IntoIterator<Item = S>>(source: I) -> Self {
        let mut entries = Entries::default();
        for entry in source {
            entries.insert(entry.as_ref());
        }
        entries.text.shrink_to_fit();
        Self { entries: Arc::new(entries), share: Share::ALL }
    }
}

impl Entries {
    fn insert(&mut self, entry: &str) -> bool {
        let Some((local_part, domain)) = entry.rsplit_once('@') else { return false };
        if entry.contains('\n') || self.find(local_part, domain).is_some() {
            return false;
        }
        let place = self.text.len();
        self.text.push_str(entry);
        self.text.push('\n');
        let Self { text, places, hasher } = self;
        places.insert_unique(hash(hasher, local_part, domain), place, |&place| {
            let (local_part, domain) = entry_at(text, place).rsplit_once('@').unwrap_or_default();
            hash(hasher, local_part, domain)
        });
        true
    }

    fn has(&self, entry: &str) -> bool {
        entry.rsplit_once('@').is_some_and(|(local_part, domain)| self.find(local_part, domain).is_some())
    }

    fn find(&self, local_part: &str, domain: &str) -> Option<&str> {
        let length = local_part.len() + 1 + domain.len();
        let is_it = |place: &usize| {
            let rest = self.text.get(*place..).and_then(|rest| rest.strip_prefix(local_part)?.strip_prefix('@'));
            let line_end = rest.and_then(|rest| rest.strip_prefix(domain)).is_some_and(|rest| rest.starts_with('\n'));
            // A local part may hold a line feed, but no entry does.
            line_end && entry_at(&self.text, *place).len() == length
        };
        let place = self.places.find(hash(&self.hasher, local_part, domain), is_it)?;
        self.text.get(*place..place + length)
    }
}

fn entry_at(text: &str, place: usize) -> &str {
    text.get(place..).and_then(|rest| rest.lines().next()).unwrap_or_default()
}

fn hash(hasher: &DefaultHashBuilder, local_part: &str, domain: &str) -> u64 {
    hasher.hash_one((local_part, domain))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn contains(set: &AddressSet, address: &str) -> bool {
        set.contains(&Address::parse(address).unwrap())
    }

    #[test]
    fn a_set_takes_addresses_domains_and_extensions() {
        let set = AddressSet::from_iter(["alice@customer.test", "@second.test", "bob+fax@customer.test"]);
        assert!(contains(&set, "alice@customer.test"));
        assert!(contains(&set, "Alice+news@customer.test"));
        assert!(contains(&set, "anyone@second.test"));
        assert!(contains(&set, "bob+fax@customer.test"));
        assert!(!contains(&set, "bob@customer.test"));
        assert!(!contains(&set, "anyone@sub.second.test"));
        assert!(!contains(&set, "+alice@customer.test"));
        assert!(!contains(&set, "alice@customer.tes"));
        assert!(!contains(&set, "lice@customer.test"));
    }

    #[test]
    fn every_entry_is_in_it_once() {
        let set = AddressSet::from_iter(["a@x.test", "a@x.test", "@x.test", "nothing", "b\n@x.test", "c@x.test"]);
        assert_eq!(set.iter().collect::<Vec<_>>(), ["a@x.test", "@x.test", "c@x.test"]);
        assert_eq!(set.len(), 3);
        assert!(AddressSet::default().is_empty());
    }

    #[test]
    fn the_entry_that_lists_an_address_is_told() {
        let set = AddressSet::from_iter(["alice@x.test", "@x.test"]);
        let listed = |address: &str| set.listed(&Address::parse(address).unwrap());
        assert_eq!(listed("alice+a@x.test"), Some("alice@x.test"));
        assert_eq!(listed("bob@x.test"), Some("@x.test"));
        assert_eq!(listed("bob@y.test"), None);
    }

    #[test]
    fn a_share_leaves_out_addresses_but_not_domains() {
        let entries: Vec<String> = (0..100).map(|number| format!("user{number}@x.test")).collect();
        let all = AddressSet::from_iter(entries.iter().map(String::as_str).chain(["@y.test"]));
        let some = all.clone().with_share(Share::new(0.3).unwrap());
        let left: Vec<&str> = some.iter().collect();
        assert!((10..60).contains(&left.len()), "{}", left.len());
        assert_eq!(left.last(), Some(&"@y.test"));
        for entry in &entries {
            assert_eq!(contains(&some, entry), left.contains(&entry.as_str()), "{entry}");
        }
        assert_eq!(some.len(), all.len());
    }

    #[test]
    fn two_hundred_thousand_addresses_take_little_memory() {
        let set: AddressSet =
            (0..200_000).map(|number| format!("first.last{number}@department.customer.test")).collect();
        assert_eq!(set.len(), 200_000);
        assert!(set.memory() < 12_000_000, "{} bytes", set.memory());
    }

    proptest! {
        #[test]
        fn it_is_the_same_as_a_set_of_strings(
            entries in prop::collection::vec("[ab+]{0,3}@[ab]{1,2}", 0..40), asked in prop::collection::vec("[ab+]{1,3}@[ab]{1,2}", 0..40),
        ) {
            let set = AddressSet::from_iter(&entries);
            let model: HashSet<&str> = entries.iter().map(String::as_str).collect();
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.iter().collect::<HashSet<_>>(), model.clone());
            for address in asked {
                let (local_part, domain) = address.rsplit_once('@').unwrap();
                let user = local_part.split('+').next().unwrap();
                let expected = model.contains(address.as_str())
                    || model.contains(format!("@{domain}").as_str())
                    || !user.is_empty() && model.contains(format!("{user}@{domain}").as_str());
                prop_assert_eq!(contains(&set, &address), expected, "{}", address);
            }
        }
    }
}
