//! Searches: one entry by its name, many below a base page by page (RFC 2696), and the rest of long lists of values.

use std::collections::HashMap;

use ldap3_proto::LdapFilter;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapDerefAliases, LdapMsg, LdapOp, LdapResult, LdapResultCode, LdapSearchRequest, LdapSearchScope,
};

use super::Problem;
use super::connection::{Connection, described, within};
use super::entry::{Entry, Rest};

/// How many entries are asked for before the first answer is waited for.
const WINDOW: usize = 50;

/// The most values of one entry that are put together.
const VALUES_MAX: usize = 2_000_000;

/// How many pages in a row may be empty: a server may send some while it looks on.
const EMPTY_PAGES_MAX: usize = 1000;

/// Where Active Directory refers to from the root of each domain; nobody's account is there.
const NO_ACCOUNTS: [&str; 3] = ["cn=configuration,", "dc=domaindnszones,", "dc=forestdnszones,"];

/// A search below a base, page by page.
pub struct Pages<'a> {
    /// Where to search.
    pub base: &'a str,
    /// What to search for.
    pub filter: LdapFilter,
    /// The attributes wanted.
    pub attributes: &'a [String],
    /// Entries a page.
    pub size: u32,
    cookie: Option<Vec<u8>>,
    empty: usize,
}

/// One page.
#[derive(Debug, Default)]
pub struct Page {
    /// What was found.
    pub entries: Vec<Entry>,
    /// Where else there may be more, as the server says.
    pub references: Vec<String>,
}

impl<'a> Pages<'a> {
    /// Nothing is asked yet.
    pub fn new(base: &'a str, filter: LdapFilter, attributes: &'a [String], size: u32) -> Self {
        Self { base, filter, attributes, size, cookie: Some(Vec::new()), empty: 0 }
    }

    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// If the search fails or may lack something.
    pub async fn next(&mut self, connection: &mut Connection) -> Result<Option<Page>, Problem> {
        let Some(cookie) = self.cookie.take() else { return Ok(None) };
        let what = format!("a search below {}", self.base);
        let (mut page, cookie) = within(connection.timeout(), &what, self.page(connection, cookie)).await?;
        self.empty = if page.entries.is_empty() { self.empty + 1 } else { 0 };
        if self.empty > EMPTY_PAGES_MAX {
            return Err(format!("{what} goes on without end"));
        }
        self.cookie = Some(cookie).filter(|cookie| !cookie.is_empty());
        for entry in &mut page.entries {
            complete(connection, entry).await?;
        }
        Ok(Some(page))
    }

    async fn page(&self, connection: &mut Connection, cookie: Vec<u8>) -> Result<(Page, Vec<u8>), Problem> {
        let request = request(self.base, LdapSearchScope::Subtree, self.filter.clone(), self.attributes);
        let paging = LdapControl::SimplePagedResults { size: i64::from(self.size), cookie };
        let id = connection.send(LdapOp::SearchRequest(request), vec![paging]).await?;
        let mut page = Page::default();
        loop {
            let message = connection.receive().await?;
            match message.op {
                LdapOp::SearchResultEntry(entry) if message.msgid == id => page.entries.push(entry.into()),
                LdapOp::SearchResultReference(reference) if message.msgid == id => {
                    page.references.extend(reference.uris.into_iter().filter(|uri| may_hold_accounts(uri)));
                }
                LdapOp::SearchResultDone(result) if message.msgid == id => {
                    if result.code != LdapResultCode::Success {
                        return Err(failed(&result, self.base));
                    }
                    let cookie = message.ctrl.into_iter().find_map(|control| match control {
                        LdapControl::SimplePagedResults { cookie, .. } => Some(cookie),
                        _ => None,
                    });
                    return Ok((page, cookie.unwrap_or_default()));
                }
                _ => return Err(unexpected()),
            }
        }
    }
}

/// Reads entries by their names; `None` for each that does not exist.
///
/// # Errors
/// If one cannot be read.
pub async fn read(
    connection: &mut Connection,
    names: &[&str],
    attributes: &[String],
) -> Result<Vec<Option<Entry>>, Problem> {
    let mut entries = Vec::with_capacity(names.len());
    for names in names.chunks(WINDOW) {
        let what = format!("reading {} and others", names.first().unwrap_or(&""));
        let mut found = within(connection.timeout(), &what, read_window(connection, names, attributes)).await?;
        for entry in found.iter_mut().flatten() {
            complete(connection, entry).await?;
        }
        entries.extend(found);
    }
    Ok(entries)
}

async fn read_window(
    connection: &mut Connection,
    names: &[&str],
    attributes: &[String],
) -> Result<Vec<Option<Entry>>, Problem> {
    let mut entries = vec![None; names.len()];
    let mut open = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        let present = LdapFilter::Present("objectClass".into());
        let request = request(name, LdapSearchScope::Base, present, attributes);
        open.insert(connection.send(LdapOp::SearchRequest(request), vec![]).await?, (index, *name));
    }
    while !open.is_empty() {
        let LdapMsg { msgid, op, .. } = connection.receive().await?;
        let (index, name) = *open.get(&msgid).ok_or_else(unexpected)?;
        match (op, entries.get_mut(index)) {
            (LdapOp::SearchResultEntry(entry), Some(place)) if place.is_none() => *place = Some(entry.into()),
            (LdapOp::SearchResultDone(result), Some(place)) => {
                match result.code {
                    // A success without an entry is one that is hidden from our account.
                    LdapResultCode::Success => {}
                    LdapResultCode::NoSuchObject => *place = None,
                    _ => return Err(failed(&result, name)),
                }
                open.remove(&msgid);
            }
            (LdapOp::SearchResultReference(_), _) => return Err(refers(name)),
            _ => return Err(unexpected()),
        }
    }
    Ok(entries)
}

/// Asks for the values that the server left out.
async fn complete(connection: &mut Connection, entry: &mut Entry) -> Result<(), Problem> {
    while let Some(rest) = entry.rest()? {
        let Rest { attribute, from } = &rest;
        let attributes = [format!("{attribute};range={from}-*")];
        let what = format!("reading {attribute} of {}", entry.dn);
        let name = [entry.dn.as_str()];
        let part = within(connection.timeout(), &what, read_window(connection, &name, &attributes)).await?;
        let part = part.into_iter().next().flatten();
        entry.extend(&rest, part.ok_or_else(|| format!("{} disappeared while it was read", entry.dn))?)?;
        if entry.size() > VALUES_MAX {
            return Err(format!("has more than {VALUES_MAX} values in {}", entry.dn));
        }
    }
    Ok(())
}

fn request(base: &str, scope: LdapSearchScope, filter: LdapFilter, attributes: &[String]) -> LdapSearchRequest {
    LdapSearchRequest {
        base: base.to_owned(),
        scope,
        // A member may be named by an alias of its entry.
        aliases: LdapDerefAliases::FindingBaseObj,
        sizelimit: 0,
        timelimit: 0,
        typesonly: false,
        filter,
        attrs: attributes.to_vec(),
    }
}

fn may_hold_accounts(uri: &str) -> bool {
    let name = uri.splitn(4, '/').nth(3).unwrap_or_default().to_ascii_lowercase();
    !NO_ACCOUNTS.iter().any(|partition| name.starts_with(partition))
}

fn failed(result: &LdapResult, base: &str) -> Problem {
    let advice = match result.code {
        LdapResultCode::Referral => return refers(base),
        LdapResultCode::SizeLimitExceeded | LdapResultCode::AdminLimitExceeded => {
            "; raise the server's limit for our account, or lower ldap.page_size"
        }
        LdapResultCode::TimeLimitExceeded => "; raise the server's time limit for our account",
        LdapResultCode::NoSuchObject => "; it does not exist, or our account (ldap.bind_dn) may not see it",
        LdapResultCode::OperationsError
        | LdapResultCode::InsufficentAccessRights
        | LdapResultCode::StrongerAuthRequired
        | LdapResultCode::InappropriateAuthentication => "; does it need ldap.bind_dn and ldap.password_file?",
        _ => "",
    };
    format!("cannot search {base}: {}{advice}", described(result))
}

fn refers(name: &str) -> Problem {
    format!(
        "refers to another server for {name}, which is not followed; name a server that holds everything, such as the \
         global catalog of Active Directory on port 3269"
    )
}

fn unexpected() -> Problem {
    "sent an answer that was not asked for".into()
}

#[cfg(test)]
mod tests {
    use super::may_hold_accounts;

    #[test]
    fn partitions_without_accounts_make_no_answer_incomplete() {
        for (uri, may) in [
            ("ldap://ad.test/CN=Configuration,DC=ad,DC=test", false),
            ("ldap://ForestDnsZones.ad.test/DC=ForestDnsZones,DC=ad,DC=test", false),
            ("ldap://DomainDnsZones.ad.test/DC=DomainDnsZones,DC=ad,DC=test", false),
            ("ldap://child.ad.test/DC=child,DC=ad,DC=test", true),
            ("ldap://other.test", true),
        ] {
            assert_eq!(may_hold_accounts(uri), may, "{uri}");
        }
    }
}
