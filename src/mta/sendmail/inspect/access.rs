//! The access map and the mailertable.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Inspection;
use super::addresses::ELSEWHERE;
use crate::finding::Status;
use crate::mta::postfix::quoted;

/// The types of maps that are files of their own beside their source, with what these are called.
const COMPILED: [(&str, &str); 4] = [("hash", "db"), ("btree", "db"), ("cdb", "cdb"), ("dbm", "pag")];

/// The source and the compiled file of a map, by its definition: `hash -T<TMPF> -o /etc/mail/access`.
fn files(definition: &str) -> Option<(PathBuf, PathBuf)> {
    let mut words = definition.split(' ');
    let extension = words.next().and_then(|kind| COMPILED.iter().find(|(name, _)| *name == kind))?.1;
    let name = words.next_back().filter(|name| name.starts_with('/'))?;
    let suffix = format!(".{extension}");
    let source = name.strip_suffix(suffix.as_str()).unwrap_or(name);
    Some((PathBuf::from(source), PathBuf::from(format!("{source}{suffix}"))))
}

/// What a ruleset makes of its input: what stands behind `returns:` in its last line.
fn returned<'a>(answer: &'a [String], ruleset: &str) -> Option<&'a str> {
    answer.iter().rev().find_map(|line| {
        let (name, value) = line.split_once("returns:")?;
        (name.trim() == ruleset).then(|| value.trim())
    })
}

/// An address as the access map has it.
fn key(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPv6:{address}"),
    }
}

impl Inspection<'_> {
    /// Looks at the maps that come before our rules or decide who may send.
    pub(super) fn maps(&mut self) {
        for map in ["access", "mailertable", "virtuser"] {
            self.compiled(map);
        }
        for network in self.examined.config.relay.networks.clone() {
            self.relay_as_client(network.addr());
        }
        self.mailertable();
    }

    /// A map that is older than its source is not the one that the administrator sees.
    fn compiled(&mut self, map: &str) {
        const CHECK: &str = "map";
        let Some((source, compiled)) = self.cf.map(map).and_then(files) else { return };
        let time = |file: &Path| fs::metadata(file).and_then(|file| file.modified());
        let shown = compiled.display().to_string();
        let make = format!("makemap {} {} < {}", kind(self.cf.map(map)), source.display(), source.display());
        match (time(&source), time(&compiled)) {
            (Ok(of_source), Ok(of_map)) if of_source > of_map => {
                let seen = format!("older than {}: what was changed there is not in force", source.display());
                self.mend(Status::Fail, (CHECK, &shown), seen, make);
            }
            (Ok(_), Err(error)) => {
                let seen = format!("cannot be read: {error}; {} is not in force", source.display());
                self.mend(Status::Fail, (CHECK, &shown), seen, make);
            }
            (Ok(_), Ok(_)) => self.pass(CHECK, shown, format!("as young as {}", source.display())),
            (Err(_), _) => {}
        }
    }

    /// What Sendmail says to a client with the relay's address.
    fn relay_as_client(&mut self, address: IpAddr) {
        let client = key(address);
        let questions = [
            format!(".D{{client_addr}}{client}"),
            format!(".D{{client_name}}[{client}]"),
            ".D{client_resolve}OK".to_owned(),
            ".DrSMTP".to_owned(),
            format!("check_rcpt {ELSEWHERE}"),
            format!("A <{client}> <?> <+ Connect> <>"),
        ];
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let answer = match self.ask(&questions) {
            Ok(answers) => answers.concat(),
            Err(error) => return self.add("hand-back", client, Status::Unknown, error),
        };
        // Without an access map there is no ruleset A.
        let line = returned(&answer, "A").unwrap_or_default().to_owned();
        let word = line.trim_start_matches('<').trim().split([' ', ':', '>']).next().unwrap_or_default().to_owned();
        if matches!(word.as_str(), "REJECT" | "ERROR" | "DISCARD" | "QUARANTINE")
            || word.starts_with(|c: char| c.is_ascii_digit())
        {
            let seen = format!("the access map has {word} for the relay at {client}: it hands nothing in");
            let mend = format!("take the line for {client} out of the access map, then {}", self.make_access());
            return self.mend(Status::Fail, ("relay-refused", &client), seen, mend);
        }
        self.pass("relay-refused", client.clone(), "the access map does not refuse the relay");
        if !self.examined.provider.hands_in.back {
            return;
        }
        match returned(&answer, "check_rcpt") {
            Some("RELAY") => self.pass("hand-back", client, "the relay may hand mail back"),
            answer => {
                let answer = answer.unwrap_or("nothing");
                let seen = format!("the relay cannot hand back mail of hosted senders: Sendmail says {answer}");
                let mend = self.setup();
                self.mend(Status::Fail, ("hand-back", &client), seen, mend);
            }
        }
    }

    fn make_access(&self) -> String {
        let source =
            self.cf.map("access").and_then(files).map_or_else(|| "/etc/mail/access".into(), |(source, _)| source);
        format!("makemap {} {} < {}", kind(self.cf.map("access")), source.display(), source.display())
    }

    /// Routes of the site's own, which come before the relay. The entry for the whole world does not.
    fn mailertable(&mut self) {
        const CHECK: &str = "mailertable";
        if self.examined.provider.relay.is_none() {
            return;
        }
        let Some((source, _)) = self.cf.map("mailertable").and_then(files) else { return };
        let shown = source.display().to_string();
        let Ok(text) = fs::read_to_string(&source) else { return };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let domains = lines.filter_map(|line| line.split_whitespace().next()).filter(|domain| *domain != ".");
        let others: Vec<&str> = domains.filter(|domain| !self.is_hosted(domain.trim_start_matches('.'))).collect();
        match others[..] {
            [] => self.pass(CHECK, shown, "takes no mail for other sites past the relay"),
            [first, ..] => {
                let seen = match others.len() {
                    1 => format!("mail for {first} goes past the relay"),
                    more => format!("mail for {first} and {} others goes past the relay", more - 1),
                };
                let mend = format!("cat {}  # see that each entry is for a host of the site's own", quoted(&shown));
                self.mend(Status::Warn, (CHECK, &shown), seen, mend);
            }
        }
    }

    pub(super) fn is_hosted(&self, domain: &str) -> bool {
        self.examined.config.domains.iter().any(|hosted| hosted.eq_ignore_ascii_case(domain))
    }
}

/// The type of a map.
fn kind(definition: Option<&str>) -> &str {
    definition.and_then(|definition| definition.split(' ').next()).unwrap_or("hash")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_map() {
        let found = files("hash -T<TMPF> -o /etc/mail/access");
        assert_eq!(found, Some(("/etc/mail/access".into(), "/etc/mail/access.db".into())));
        assert_eq!(files("hash /etc/mail/access.db"), found);
        assert_eq!(files("ldap -1 -v mail"), None);
    }

    #[test]
    fn what_a_ruleset_returns() {
        let answer = ["check_rcpt  input: carol", "Relay_ok   returns: RELAY", "check_rcpt       returns: RELAY"];
        let answer = &answer.map(str::to_owned);
        assert_eq!(returned(answer, "check_rcpt"), Some("RELAY"));
        assert_eq!(returned(answer, "A"), None);
    }
}
