//! What sendmail.mc and sendmail.cf have, compared with what they are to have.

use std::collections::BTreeMap;

use super::Inspection;
use crate::finding::Status;
use crate::mta::sendmail::cf::{Cf, Line};
use crate::mta::sendmail::mc::{self, Block};
use crate::mta::sendmail::rules::MAP;
use crate::mta::sendmail::{DIRECT_MAILER, MILTER, RELAY_MAILER};
use crate::verdict::RELAY_PSEUDO_DOMAIN;

/// What is compared: lines of sendmail.cf that belong together, by what they define.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A mailer or a map, by its letter and name.
    Defined(char, String),
    /// An option.
    Option(String),
    /// The names in a class.
    Class(String),
    /// A ruleset, rule by rule.
    Ruleset(String),
    /// Macros and the like.
    Other(String),
}

impl Part {
    fn of(line: &Line) -> Self {
        let text = &line.text;
        if let Some(ruleset) = &line.ruleset {
            return Self::Ruleset(ruleset.clone());
        }
        let rest = text.get(1..).unwrap_or_default();
        let name = || rest.split([',', ' ']).next().unwrap_or_default().to_owned();
        match text.chars().next() {
            Some(letter @ ('M' | 'K' | 'X' | 'Q')) => Self::Defined(letter, name()),
            Some('O') => Self::Option(rest.split('=').next().unwrap_or_default().trim().to_owned()),
            // The names of a class may be spread over lines.
            Some('C') => Self::Class(rest.to_owned()),
            _ => Self::Other(text.clone()),
        }
    }

    /// What a part is for: its check, and what happens where it is not as needed. `None` for what is none of ours.
    fn meaning(&self, lines: &[&str]) -> Option<(&'static str, &'static str)> {
        let is_ours = |text: &str| text.to_ascii_lowercase().contains("conbool");
        match self {
            Self::Defined('M', name) if name == RELAY_MAILER => {
                Some(("relay-transport", "mail for the relay has no way, or another than it was made for"))
            }
            Self::Defined('M', name) if name == DIRECT_MAILER => Some(("direct-transport", "exempt mail has no way")),
            Self::Defined('K', name) if name != MAP && is_ours(name) => {
                Some(("routing-rules", "the rules for the milter's marks lack a map"))
            }
            Self::Defined('K', name) if name == "access" => {
                Some(("access", "who may hand in mail is decided by another map"))
            }
            Self::Class(name) if name.contains(RELAY_PSEUDO_DOMAIN) => Some((
                "pseudo-domains",
                "Sendmail looks them up in the DNS, and recipients that the milter marks bounce",
            )),
            Self::Ruleset(name) if name == "Local_tls_server" => {
                Some(("relay-tls", "mail goes to the relay though nobody knows that it is the relay"))
            }
            Self::Ruleset(name) if is_ours(name) || lines.iter().any(|line| is_ours(line)) => {
                Some(("routing-rules", "what the milter marks, or the daemon says, does not decide where mail goes"))
            }
            Self::Option(name) if ["ClientCertFile", "ClientKeyFile"].contains(&name.as_str()) => {
                Some(("client-certificate", "the relay does not see who sends"))
            }
            Self::Option(name) if ["CACertFile", "CACertPath"].contains(&name.as_str()) => {
                Some(("trust-anchors", "the relay's certificate is verified by others than it should"))
            }
            Self::Option(name) if name == "SetCertAltnames" => {
                Some(("relay-tls", "only the first name in the relay's certificate counts"))
            }
            _ => None,
        }
    }
}

/// The lines of each part, in their order.
fn parts(cf: &Cf) -> BTreeMap<Part, Vec<&str>> {
    let mut parts: BTreeMap<Part, Vec<&str>> = BTreeMap::new();
    for line in cf.lines().filter(|line| !line.text.starts_with("DZ")) {
        parts.entry(Part::of(line)).or_default().push(&line.text);
    }
    parts
}

/// How lines differ from those that are needed.
fn difference(found: &[&str], needed: &[&str]) -> String {
    let missing = needed.iter().find(|line| !found.contains(line));
    let other = found.iter().find(|line| !needed.contains(line));
    let shown = |line: &str| line.replace('\t', " ");
    match (missing, other) {
        (Some(missing), Some(other)) => {
            format!("sendmail.cf has `{}` where `{}` is needed", shown(other), shown(missing))
        }
        (Some(missing), None) => format!("sendmail.cf lacks `{}`", shown(missing)),
        (None, Some(other)) => format!("sendmail.cf has `{}`, which is not needed", shown(other)),
        (None, None) => "sendmail.cf has the rules in another order, or twice".to_owned(),
    }
}

impl Inspection<'_> {
    /// Sees whether there is anything of ours at all.
    pub(super) fn is_set_up(&mut self) -> bool {
        let marks = [MILTER, RELAY_PSEUDO_DOMAIN];
        let is_ours =
            |line: &Line| line.text.starts_with('X') && line.text.contains(marks[0]) || line.text.contains(marks[1]);
        if self.cf.lines().any(is_ours) {
            return true;
        }
        let has_blocks =
            self.request.existing.mc.as_ref().is_some_and(|mc| mc::without_blocks(mc).is_ok_and(|site| site != *mc));
        let shown = self.cf_file.display().to_string();
        self.has_routes = false;
        self.rebuild_first = has_blocks;
        let seen = match has_blocks {
            true => "sendmail.mc has our lines, and sendmail.cf was not made of it since: no message is judged",
            false => "there is nothing of ours in it: no message is judged, and none goes to the relay",
        };
        let mend = self.mend_cf();
        self.mend(Status::Fail, ("wiring", &shown), seen, mend);
        false
    }

    /// Compares sendmail.cf with what is made of sendmail.mc as it is to be.
    pub(super) fn wiring(&mut self) {
        const CHECK: &str = "sendmail-cf";
        let directory = &self.examined.config.sendmail.directory;
        let shown = directory.join("sendmail.mc").display().to_string();
        let Some(mc) = self.request.existing.mc.clone() else {
            let seen = "is not there, so that sendmail.cf cannot be made anew";
            let mend = "put the file there that sendmail.cf was made of, then run setup again";
            return self.mend(Status::Fail, (CHECK, &shown), seen, mend);
        };
        let revised = Block::Features
            .put(&mc, &self.needed.features)
            .and_then(|text| Block::Rules.put(&text, &self.needed.rules));
        let revised = match revised {
            Ok(revised) => revised,
            Err(marks) => {
                return self.mend(Status::Fail, (CHECK, &shown), marks.to_string(), "put the lines right by hand");
            }
        };
        let made =
            |text: &str| mc::make(directory, text).map(|made| Cf::parse(&made.cf)).map_err(|error| error.to_string());
        let (of_mc, needed) = match (made(&mc), made(&revised)) {
            (Ok(of_mc), Ok(needed)) => (of_mc, needed),
            (Err(error), _) | (_, Err(error)) => {
                let seen = format!("sendmail.cf cannot be made of it: {error}");
                let mend = "apt-get install m4 sendmail-cf; or mend what m4 says of sendmail.mc";
                return self.mend(Status::Fail, (CHECK, &shown), seen, mend);
            }
        };
        // Then it is not for setup to change sendmail.mc, but for m4 to make sendmail.cf of it.
        self.rebuild_first = parts(&of_mc) == parts(&needed);
        self.compare(&needed);
        self.by_hand(&of_mc);
    }

    /// Our own parts.
    fn compare(&mut self, needed: &Cf) {
        self.socketmap(needed);
        let cf = self.cf.clone();
        let found = parts(&cf);
        for (part, lines) in parts(needed) {
            let Some((check, consequence)) = part.meaning(&lines) else { continue };
            let now = found.get(&part).map(Vec::as_slice).unwrap_or_default();
            let subject = match &part {
                Part::Defined(_, name) | Part::Option(name) | Part::Ruleset(name) => name.clone(),
                Part::Class(_) | Part::Other(_) => String::new(),
            };
            if now == lines {
                self.pass(check, subject, "as needed");
                continue;
            }
            self.has_routes &= check != "routing-rules";
            let seen = format!("{}: {consequence}", difference(now, &lines));
            let mend = self.mend_cf();
            self.mend(Status::Fail, (check, &subject), seen, mend);
        }
    }

    /// What somebody wrote into sendmail.cf, which the next build of it takes away; our own parts aside.
    fn by_hand(&mut self, of_mc: &Cf) {
        const CHECK: &str = "sendmail-cf";
        let cf = self.cf.clone();
        let (found, made) = (parts(&cf), parts(of_mc));
        let meaning = |part: &Part, parts: &BTreeMap<Part, Vec<&str>>| {
            part.meaning(parts.get(part).map(Vec::as_slice).unwrap_or_default())
        };
        let is_ours = |part: &Part| {
            let is_examined_apart = matches!(part, Part::Defined('X', name) if name == MILTER)
                || matches!(part, Part::Defined('K', name) if name == MAP)
                || matches!(part, Part::Option(name) if name == "InputMailFilters");
            is_examined_apart || meaning(part, &found).or_else(|| meaning(part, &made)).is_some()
        };
        let only_found = found.keys().filter(|part| !made.contains_key(*part));
        let all = made.keys().chain(only_found);
        let shown = self.cf_file.display().to_string();
        let Some(first) = all.into_iter().find(|part| !is_ours(part) && found.get(*part) != made.get(*part)) else {
            return self.pass(CHECK, shown, "made of sendmail.mc");
        };
        let empty = Vec::new();
        let (now, then) = (found.get(first).unwrap_or(&empty), made.get(first).unwrap_or(&empty));
        let only = |one: &[&str], other: &[&str]| {
            one.iter().find(|line| !other.contains(line)).map_or_else(String::new, |line| line.replace('\t', " "))
        };
        let (now, then) = (only(now, then), only(then, now));
        let seen = match (now.is_empty(), then.is_empty()) {
            (true, true) => "has rules in another order than sendmail.mc".to_owned(),
            (true, false) => format!("lacks `{then}`, which sendmail.mc gives"),
            (false, true) => format!("has `{now}`, which sendmail.mc does not give"),
            (false, false) => format!("has `{now}` where sendmail.mc gives `{then}`"),
        };
        let seen = format!("{seen}: one was changed without the other");
        let mend = format!("put into sendmail.mc what is to stay, then {}", self.rebuild());
        self.mend(Status::Warn, (CHECK, &shown), seen, mend);
    }
}
