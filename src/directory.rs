//! The directory: who is in a group, and what e-mail addresses they have, asked of LDAP servers (RFC 4511).
//!
//! An answer that lacks a member takes a sender out of scope, and with it mail past the relay. So every doubt whether
//! an answer is complete is an error: a limit that was hit, a referral, a connection that broke, members none of whom
//! can be read. Only members whose entries are gone are left out, and counted.
//!
//! Group membership is walked entry by entry, as `LDAP_MATCHING_RULE_IN_CHAIN` leaves out primary groups and finds
//! *nobody* on a server that does not know it. Nothing that a server can grow is without a limit.
//! `ldap3_proto` encodes and decodes the messages; the connection is our own, as client crates that were looked at
//! read messages of any size and nesting.

mod addresses;
mod connection;
mod entry;
mod search;
mod walk;
mod wire;

use std::fmt;

use self::connection::Connection;
use crate::config::Ldap;

/// What is wrong, or was seen: a phrase that follows the server's name.
type Problem = String;

/// The members of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Every e-mail address of every member, as the directory spells it; sorted, each once.
    pub addresses: Vec<String>,
    /// How many entries are members, nested groups counted too.
    pub entries: usize,
    /// How many members the group names whose entries do not exist, or are hidden from our account.
    pub missing: usize,
}

/// Why the members of a group could not be found out: one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryError {
    /// The group as the configuration names it.
    pub group: String,
    /// Each server that was asked, in order, and what was wrong.
    pub servers: Vec<(String, String)>,
}

impl fmt::Display for DirectoryError {
    /// The group, then each server with its problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group \"{}\"", self.group)?;
        for (server, problem) in &self.servers {
            write!(f, "; {server}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DirectoryError {}

/// The e-mail addresses of [`group`]'s members.
///
/// # Errors
/// As [`group`].
pub async fn members(settings: &Ldap, name: &str) -> Result<Vec<String>, DirectoryError> {
    group(settings, name).await.map(|members| members.addresses)
}

/// Finds all members of a group, nested ones included. `name` is the name of the group's entry (DN), or its `cn` or
/// `sAMAccountName`, which must be unique below the base. Disabled accounts count: shared mailboxes have them.
///
/// # Errors
/// If no server gives an answer that is surely complete.
pub async fn group(settings: &Ldap, name: &str) -> Result<Members, DirectoryError> {
    let mut servers = Vec::new();
    for server in &settings.servers {
        let asked = async {
            let mut connection = Connection::open(settings, server).await?;
            walk::members(&mut connection, settings, name).await
        };
        match asked.await {
            Ok(members) => return Ok(members),
            Err(problem) => servers.push((server.to_string(), problem)),
        }
    }
    Err(DirectoryError { group: name.to_owned(), servers })
}
