//! From a group to its members, and to theirs.

use std::collections::HashSet;

use ldap3_proto::LdapFilter;

use super::addresses::Addresses;
use super::connection::Connection;
use super::entry::{Entry, GROUP_CLASSES, STRUCTURE};
use super::search::{Page, Pages, read};
use super::{Members, Problem};
use crate::config::{Ldap, Membership, entry_name};

/// How deeply groups may be nested.
const DEPTH_MAX: usize = 32;

/// How many `uid`s are looked up by one search.
const UIDS: usize = 100;

/// All members of the group of that name.
///
/// # Errors
/// If one cannot be found out, or it is not sure that these are all.
pub async fn members(connection: &mut Connection, settings: &Ldap, name: &str) -> Result<Members, Problem> {
    let attributes = STRUCTURE.iter().map(|name| (*name).to_owned()).chain(settings.mail_attributes.clone()).collect();
    let addresses = Addresses::new(&settings.mail_attributes);
    let mut walk = Walk { connection, settings, attributes, addresses, seen: HashSet::new(), entries: 0, missing: 0 };
    let group = walk.find(name).await?;
    walk.seen.insert(key(&group.dn));
    let start = group.dn.clone();
    let mut level = vec![group];
    let mut depth = 0;
    while !level.is_empty() {
        depth += 1;
        if depth > DEPTH_MAX {
            return Err(format!("groups are nested more than {DEPTH_MAX} deep in {start}"));
        }
        let mut nested = Vec::new();
        for group in &level {
            walk.group(group, depth == 1, &mut nested).await?;
        }
        level = nested;
    }
    let Walk { addresses, entries, missing, .. } = walk;
    let members = Members { addresses: addresses.found(), entries, missing };
    if members.entries == 0 && members.missing > 0 {
        return Err(format!(
            "none of the {} members of {start} can be found; may our account (ldap.bind_dn) read them?",
            members.missing
        ));
    }
    if members.entries > 0 && members.addresses.is_empty() {
        return Err(format!(
            "none of the {} members of {start} has an address in {}; may our account (ldap.bind_dn) read these?",
            members.entries,
            settings.mail_attributes.join(", ")
        ));
    }
    Ok(members)
}

/// Names are compared without case, as nearly every server does. Where that, or a spelling, misleads, an entry is read
/// once more than it need be.
fn key(dn: &str) -> String {
    dn.to_lowercase()
}

struct Walk<'a> {
    connection: &'a mut Connection,
    settings: &'a Ldap,
    attributes: Vec<String>,
    addresses: Addresses<'a>,
    seen: HashSet<String>,
    entries: usize,
    missing: usize,
}

impl Walk<'_> {
    /// The entry of the group that the configuration names.
    async fn find(&mut self, name: &str) -> Result<Entry, Problem> {
        let found = if entry_name(name).is_ok() {
            let found = read(self.connection, &[name], &self.attributes).await?.pop().flatten();
            found.ok_or("has no such entry, or our account (ldap.bind_dn) may not see it")?
        } else {
            self.find_by_simple_name(name).await?
        };
        if found.is_group() { Ok(found) } else { Err(format!("{} is no group", found.dn)) }
    }

    async fn find_by_simple_name(&mut self, name: &str) -> Result<Entry, Problem> {
        let equal = |attribute: &str, value: &str| LdapFilter::Equality(attribute.into(), value.into());
        let is_group = LdapFilter::Or(GROUP_CLASSES.iter().map(|class| equal("objectClass", class)).collect());
        let has_name = LdapFilter::Or(vec![equal("cn", name), equal("sAMAccountName", name)]);
        let base = self.settings.base.as_str();
        let filter = LdapFilter::And(vec![is_group, has_name]);
        let mut pages = Pages::new(base, filter, &self.attributes, self.settings.page_size);
        let mut found = Page::default();
        while let Some(page) = pages.next(self.connection).await? {
            found.references.extend(page.references);
            // Two are one too many already.
            found.entries.extend(page.entries.into_iter().take(2));
        }
        let mut entries = found.entries.into_iter();
        match (entries.next(), entries.next()) {
            (Some(entry), None) => Ok(entry),
            (Some(one), Some(other)) => Err(format!(
                "has several groups of that name: {} and {}; write the whole name of the entry",
                one.dn, other.dn
            )),
            (None, _) => Err(match found.references.first() {
                Some(reference) => format!("has no group of that name below {base}, but refers to {reference}"),
                None => format!("has no group of that name below {base} (ldap.base) that our account may see"),
            }),
        }
    }

    /// Takes all members of one group; those that are groups themselves are added to `nested`.
    async fn group(&mut self, group: &Entry, is_first: bool, nested: &mut Vec<Entry>) -> Result<(), Problem> {
        match self.settings.membership {
            Membership::Members => self.named_members(group, nested).await?,
            Membership::MemberOf => self.members_that_say_so(group, is_first, nested).await?,
        }
        self.uids(group, nested).await?;
        self.primary_group(group, nested).await
    }

    /// `member` and `uniqueMember` (RFC 4519): names of entries.
    async fn named_members(&mut self, group: &Entry, nested: &mut Vec<Entry>) -> Result<(), Problem> {
        let named = names(group)?;
        let must_have = ["groupOfNames", "groupOfUniqueNames"].iter().any(|class| group.is_a(class));
        let may_be_empty = ["posixGroup", "nestedGroup"].iter().any(|class| group.is_a(class));
        let visible = ["member", "uniqueMember", "memberUid"].iter().any(|name| group.values(name).next().is_some());
        if !visible && must_have && !may_be_empty {
            return Err(format!(
                "shows no member of {}, though its class must have one; may our account (ldap.bind_dn) read it?",
                group.dn
            ));
        }
        if !visible && group.values("memberURL").next().is_some() {
            return Err(format!("does not expand the dynamic group {} (memberURL)", group.dn));
        }
        let unread: Vec<&str> = named.into_iter().filter(|name| !self.seen.contains(&key(name))).collect();
        if unread.len() > self.settings.max_members {
            return Err(self.too_many());
        }
        for names in unread.chunks(1000) {
            let entries = read(self.connection, names, &self.attributes).await?;
            for (name, entry) in names.iter().zip(entries) {
                match entry {
                    Some(entry) => self.take(entry, nested)?,
                    None if self.seen.insert(key(name)) => self.missing += 1,
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// `memberOf`, which the server maintains.
    async fn members_that_say_so(
        &mut self,
        group: &Entry,
        is_first: bool,
        nested: &mut Vec<Entry>,
    ) -> Result<(), Problem> {
        let filter = LdapFilter::Equality("memberOf".into(), group.dn.clone());
        let base = self.settings.base.as_str();
        let found = self.take_all(base, filter, nested).await?;
        complete(base, &found.references)?;
        // A server that does not know memberOf finds nobody, and calls that success.
        if found.count == 0 && (is_first || !names(group)?.is_empty()) {
            return Err(format!("has no entry with memberOf {}; does it maintain memberOf?", group.dn));
        }
        Ok(())
    }

    /// `memberUid` and `gidNumber` (RFC 2307): accounts below the base.
    async fn uids(&mut self, group: &Entry, nested: &mut Vec<Entry>) -> Result<(), Problem> {
        let equal = |attribute: &str, value: &str| LdapFilter::Equality(attribute.into(), value.into());
        let base = self.settings.base.as_str();
        let uids = group.texts("memberUid").collect::<Result<Vec<_>, _>>()?;
        for uids in uids.chunks(UIDS) {
            let filter = LdapFilter::Or(uids.iter().map(|uid| equal("uid", uid)).collect());
            let found = self.take_all(base, filter, nested).await?;
            let absent = uids.iter().filter(|uid| !found.uids.contains(&uid.to_lowercase())).count();
            if absent > 0 {
                complete(base, &found.references)?;
            }
            self.missing += absent;
        }
        if group.is_a("posixGroup") {
            for number in group.texts("gidNumber") {
                let filter = vec![equal("objectClass", "posixAccount"), equal("gidNumber", number?)];
                let found = self.take_all(base, LdapFilter::And(filter), nested).await?;
                complete(base, &found.references)?;
            }
        }
        Ok(())
    }

    /// The accounts whose primary group this is (MS-ADTS, section 3.1.1.1.1): Active Directory does not list them.
    async fn primary_group(&mut self, group: &Entry, nested: &mut Vec<Entry>) -> Result<(), Problem> {
        let Some((domain, relative)) = group.sid() else { return Ok(()) };
        let filter = LdapFilter::Equality("primaryGroupID".into(), relative.to_string());
        // They are of the group's domain, wherever in it; other domains count from the same numbers.
        let base = domain_of(&group.dn).unwrap_or(&self.settings.base);
        let of_domain = |entry: &Entry| entry.sid().is_none_or(|(of, _)| of == domain);
        self.take_those(base, filter, of_domain, nested).await.map(drop)
    }

    /// Takes everything that a search finds.
    async fn take_all(&mut self, base: &str, filter: LdapFilter, nested: &mut Vec<Entry>) -> Result<Found, Problem> {
        self.take_those(base, filter, |_| true, nested).await
    }

    async fn take_those(
        &mut self,
        base: &str,
        filter: LdapFilter,
        wanted: impl Fn(&Entry) -> bool,
        nested: &mut Vec<Entry>,
    ) -> Result<Found, Problem> {
        let attributes = self.attributes.clone();
        let mut pages = Pages::new(base, filter, &attributes, self.settings.page_size);
        let mut found = Found::default();
        while let Some(page) = pages.next(self.connection).await? {
            found.references.extend(page.references);
            found.count += page.entries.len();
            // Counted here too, as a server may return the same entries again and again.
            if found.count > self.settings.max_members {
                return Err(self.too_many());
            }
            for entry in page.entries.into_iter().filter(&wanted) {
                for uid in entry.texts("uid") {
                    found.uids.insert(uid?.to_lowercase());
                }
                self.take(entry, nested)?;
            }
        }
        Ok(found)
    }

    /// Takes one member, unless it was taken before.
    fn take(&mut self, entry: Entry, nested: &mut Vec<Entry>) -> Result<(), Problem> {
        if !self.seen.insert(key(&entry.dn)) {
            return Ok(());
        }
        self.entries += 1;
        if self.entries > self.settings.max_members {
            return Err(self.too_many());
        }
        if entry.is_a("foreignSecurityPrincipal") {
            return Err(format!(
                "knows no address of the member {}, an account of another domain; take it out of the group",
                entry.dn
            ));
        }
        self.addresses.add(&entry)?;
        if entry.is_group() {
            nested.push(entry);
        }
        Ok(())
    }

    fn too_many(&self) -> Problem {
        format!("has more than {} members (ldap.max_members) in the group", self.settings.max_members)
    }
}

/// What a search found, beside what was taken.
#[derive(Default)]
struct Found {
    count: usize,
    uids: HashSet<String>,
    references: Vec<String>,
}

/// The names in `member` and `uniqueMember`, without those that name nobody: a groupOfNames must have a member, and one
/// without any has an empty name.
fn names(group: &Entry) -> Result<Vec<&str>, Problem> {
    let unique = group.texts("uniqueMember").map(|name| name.map(without_uid));
    group.texts("member").chain(unique).filter(|name| *name != Ok("")).collect()
}

/// A name without the identifier that may follow it (RFC 4517, section 3.3.21).
fn without_uid(name: &str) -> &str {
    match name.rsplit_once("#'") {
        Some((dn, bits))
            if bits.strip_suffix("'B").is_some_and(|bits| bits.bytes().all(|bit| b"01".contains(&bit))) =>
        {
            dn
        }
        _ => name,
    }
}

/// The name of the domain that an entry of Active Directory lies in.
fn domain_of(dn: &str) -> Option<&str> {
    let lower = dn.to_ascii_lowercase();
    let at = if lower.starts_with("dc=") { 0 } else { lower.find(",dc=")? + 1 };
    dn.get(at..)
}

/// An error if a search below `base` left something to other servers.
fn complete(base: &str, references: &[String]) -> Result<(), Problem> {
    match references.first() {
        None => Ok(()),
        Some(reference) => {
            Err(format!("refers to {reference} for a part of {base}, which is not followed: there may be more members"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_no_part_of_a_name() {
        assert_eq!(without_uid("cn=a,dc=b#'0101'B"), "cn=a,dc=b");
        assert_eq!(without_uid("cn=a#'x'B"), "cn=a#'x'B");
        assert_eq!(without_uid("cn=a#1,dc=b"), "cn=a#1,dc=b");
    }

    #[test]
    fn a_domain_is_the_end_of_a_name() {
        assert_eq!(domain_of("CN=Staff,OU=A,DC=ad,DC=test"), Some("DC=ad,DC=test"));
        assert_eq!(domain_of("DC=ad,DC=test"), Some("DC=ad,DC=test"));
        assert_eq!(domain_of("cn=staff,o=example"), None);
    }
}
