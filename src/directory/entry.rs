//! Entries and their values.

use ldap3_proto::proto::{LdapPartialAttribute, LdapSearchResultEntry};

use super::Problem;

/// Attributes that say what an entry is and whom it holds.
pub const STRUCTURE: [&str; 8] =
    ["objectClass", "member", "uniqueMember", "memberUid", "memberURL", "uid", "gidNumber", "objectSid"];

/// Classes of groups: Active Directory, RFC 4519, RFC 2307, RFC 2307bis, dynamic groups, FreeIPA's and UCS' among them.
pub const GROUP_CLASSES: [&str; 8] = [
    "group",
    "groupOfNames",
    "groupOfUniqueNames",
    "groupOfMembers",
    "groupOfEntries",
    "groupOfURLs",
    "posixGroup",
    "univentionGroup",
];

/// An entry that a server returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its distinguished name, as the server spells it.
    pub dn: String,
    attributes: Vec<LdapPartialAttribute>,
}

/// What is still to be asked of an attribute whose values a server returned in part (`member;range=0-1499`).
#[derive(Debug, PartialEq, Eq)]
pub struct Rest {
    /// The attribute, without options.
    pub attribute: String,
    /// Position of the first value that is missing.
    pub from: usize,
}

impl From<LdapSearchResultEntry> for Entry {
    fn from(entry: LdapSearchResultEntry) -> Self {
        Self { dn: entry.dn, attributes: entry.attributes }
    }
}

impl Entry {
    /// The values of an attribute, whatever its options and case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |attribute: &&LdapPartialAttribute| base_name(attribute).eq_ignore_ascii_case(name);
        self.attributes.iter().filter(same).flat_map(|attribute| &attribute.vals).map(Vec::as_slice)
    }

    /// The values of an attribute as text.
    ///
    /// # Errors
    /// If one is none.
    pub fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Result<&'a str, Problem>> {
        self.values(name).map(move |value| self.text(name, value))
    }

    /// The values of all attributes whose names `wanted` takes.
    ///
    /// # Errors
    /// If one is no text.
    pub fn texts_of(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Result<&str, Problem>> {
        let attributes = self.attributes.iter().filter(move |attribute| wanted(base_name(attribute)));
        attributes.flat_map(|attribute| attribute.vals.iter().map(|value| self.text(base_name(attribute), value)))
    }

    fn text<'a>(&self, name: &str, value: &'a [u8]) -> Result<&'a str, Problem> {
        std::str::from_utf8(value).map_err(|_| format!("{} has a value of {name} that is no text", self.dn))
    }

    /// Whether the entry has this class.
    pub fn is_a(&self, class: &str) -> bool {
        self.values("objectClass").any(|value| value.eq_ignore_ascii_case(class.as_bytes()))
    }

    /// Whether the entry is a group: by its class, or because it has members.
    pub fn is_group(&self) -> bool {
        GROUP_CLASSES.iter().any(|class| self.is_a(class))
            || ["member", "uniqueMember", "memberUid"].iter().any(|name| self.values(name).next().is_some())
    }

    /// Domain and relative identifier of the security identifier (MS-DTYP, section 2.4.2.2), if there is one.
    pub fn sid(&self) -> Option<(&[u8], u32)> {
        let sid = self.values("objectSid").next()?;
        let (domain, relative) = sid.split_last_chunk::<4>()?;
        Some((domain, u32::from_le_bytes(*relative)))
    }

    /// The attribute that the server returned in part (MS-ADTS, section 3.1.1.3.1.3.3), if any.
    ///
    /// # Errors
    /// If it does not say which part.
    pub fn rest(&self) -> Result<Option<Rest>, Problem> {
        for attribute in &self.attributes {
            let Some(range) = range(attribute) else { continue };
            let strange = || format!("{} has a value range that is not understood: {}", self.dn, attribute.atype);
            // The first part begins at the first value, and so does what was put together.
            let high = range.strip_prefix("0-").ok_or_else(strange)?;
            if high == "*" {
                continue;
            }
            let high: usize = high.parse().map_err(|_| strange())?;
            if high.checked_add(1) != Some(attribute.vals.len()) {
                return Err(strange());
            }
            return Ok(Some(Rest { attribute: base_name(attribute).to_owned(), from: attribute.vals.len() }));
        }
        Ok(None)
    }

    /// Adds the part that was asked for.
    ///
    /// # Errors
    /// If `more` is not the part that follows.
    pub fn extend(&mut self, rest: &Rest, more: Self) -> Result<(), Problem> {
        let start = format!("{}-", rest.from);
        let follows = |attribute: &LdapPartialAttribute| {
            base_name(attribute).eq_ignore_ascii_case(&rest.attribute)
                && range(attribute).is_some_and(|range| range.starts_with(&start))
        };
        let Some(part) = more.attributes.into_iter().find(follows) else {
            return Err(format!("does not return the values of {} in {} from {}", rest.attribute, self.dn, rest.from));
        };
        let same = |attribute: &&mut LdapPartialAttribute| {
            base_name(attribute).eq_ignore_ascii_case(&rest.attribute) && range(attribute).is_some()
        };
        if let Some(attribute) = self.attributes.iter_mut().find(same) {
            let high = range(&part).and_then(|range| range.split_once('-')).map_or("", |(_, high)| high);
            attribute.atype = format!("{};range=0-{high}", rest.attribute);
            attribute.vals.extend(part.vals);
        }
        Ok(())
    }

    /// How many values the entry has.
    pub fn size(&self) -> usize {
        self.attributes.iter().map(|attribute| attribute.vals.len()).sum()
    }
}

/// An attribute's description without its options (RFC 4512, section 2.5).
fn base_name(attribute: &LdapPartialAttribute) -> &str {
    attribute.atype.split(';').next().unwrap_or_default()
}

fn range(attribute: &LdapPartialAttribute) -> Option<&str> {
    let mut options = attribute.atype.split(';').skip(1);
    options.find_map(|option| {
        let (name, range) = option.split_once('=')?;
        name.eq_ignore_ascii_case("range").then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(atype: &str, values: usize) -> Entry {
        let vals = (0..values).map(|number| number.to_string().into_bytes()).collect();
        Entry { dn: "cn=a".into(), attributes: vec![LdapPartialAttribute { atype: atype.into(), vals }] }
    }

    #[test]
    fn values_have_their_name_whatever_its_options() {
        assert_eq!(entry("Member;range=0-1", 2).values("member").count(), 2);
        assert_eq!(entry("members", 2).values("member").count(), 0);
    }

    #[test]
    fn parts_are_put_together() {
        let mut whole = entry("member;range=0-1", 2);
        for (part, values, next) in [("member;range=2-4", 3, Some(5)), ("member;Range=5-*", 1, None)] {
            let rest = whole.rest().unwrap().unwrap();
            whole.extend(&rest, entry(part, values)).unwrap();
            assert_eq!(whole.rest().unwrap().map(|rest| rest.from), next);
        }
        assert_eq!(whole.values("member").count(), 6);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        for strange in
            ["member;range=0-5", "member;range=x-1", "member;range=7", "member;range=1-2", "member;range=1-*"]
        {
            assert!(entry(strange, 2).rest().is_err(), "{strange}");
        }
        assert!(entry("member;range=0-0", 0).rest().is_err());
        let rest = Rest { attribute: "member".into(), from: 2 };
        for other in ["member", "member;range=3-*", "uniqueMember;range=2-*", "member;range=20-*"] {
            assert!(entry("member;range=0-1", 2).extend(&rest, entry(other, 1)).is_err(), "{other}");
        }
    }

    #[test]
    fn a_security_identifier_ends_in_the_relative_one() {
        let mut person = entry("objectSid", 0);
        let domain = [1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0];
        person.attributes[0].vals.push([&domain[..], &513_u32.to_le_bytes()].concat());
        assert_eq!(person.sid(), Some((&domain[..], 513)));
    }
}
