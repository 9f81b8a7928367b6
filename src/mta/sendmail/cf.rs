//! sendmail.cf as data (Sendmail Installation and Operation Guide, section 5).

use std::collections::BTreeMap;

/// What a configuration file says, comments and the layout of lines aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cf {
    lines: Vec<Line>,
}

/// A line with those that continue it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The ruleset that it belongs to, for rules.
    pub ruleset: Option<String>,
    /// The text on one line, with single spaces; of a rule both sides, separated by a tab.
    pub text: String,
}

/// A mailer (`M`) or a milter (`X`), with its equates by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub name: String,
    equates: BTreeMap<String, String>,
}

impl Agent {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default().to_owned();
        let equates = parts.filter_map(|part| part.split_once('='));
        let equates = equates.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
        Self { name, equates }
    }

    /// The value of an equate, `S` in `S=unix:/run/milter.sock`.
    pub fn equate(&self, name: &str) -> Option<&str> {
        self.equates.get(name).map(String::as_str)
    }

    /// True if the equate `F` has this flag.
    pub fn has_flag(&self, flag: char) -> bool {
        self.equate("F").is_some_and(|flags| flags.contains(flag))
    }
}

impl Cf {
    /// Reads the text of a configuration file.
    pub fn parse(text: &str) -> Self {
        let mut joined: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match joined.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => {
                    last.push(' ');
                    last.push_str(line.trim());
                }
                _ if line.trim().is_empty() => {}
                _ => joined.push(line.trim_end().to_owned()),
            }
        }
        let mut lines = Vec::new();
        let mut ruleset = None;
        for line in joined {
            if let Some(name) = line.strip_prefix('S') {
                // `SCanonify=3` names a ruleset and numbers it.
                ruleset = Some(name.split('=').next().unwrap_or_default().trim().to_owned());
            }
            let text = match line.starts_with('R') {
                // What follows the second side is a comment.
                true => {
                    line.split('\t').filter(|side| !side.is_empty()).take(2).map(spaced).collect::<Vec<_>>().join("\t")
                }
                false => spaced(&line),
            };
            lines.push(Line { ruleset: line.starts_with('R').then(|| ruleset.clone()).flatten(), text });
        }
        Self { lines }
    }

    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// The values of an option, which a few may have more than once.
    pub fn options<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| {
            let (option, value) = line.text.strip_prefix("O ")?.split_once('=')?;
            option.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The value of an option, which is that of its last line.
    pub fn option<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.options(name).last()
    }

    /// The mailers.
    pub fn mailers(&self) -> impl Iterator<Item = Agent> {
        self.lines.iter().filter_map(|line| line.text.strip_prefix('M')).map(Agent::parse)
    }

    /// The milters.
    pub fn milters(&self) -> impl Iterator<Item = Agent> {
        self.lines.iter().filter_map(|line| line.text.strip_prefix('X')).map(Agent::parse)
    }

    /// The definition of a map, without its name.
    pub fn map(&self, name: &str) -> Option<&str> {
        self.lines.iter().rev().find_map(|line| {
            let (map, definition) = line.text.strip_prefix('K')?.split_once(' ')?;
            (map == name).then(|| definition.trim())
        })
    }

    /// The value of a macro of one letter.
    pub fn letter(&self, name: char) -> Option<&str> {
        self.lines.iter().rev().find_map(|line| line.text.strip_prefix('D')?.strip_prefix(name))
    }

    /// The names of all that lines of this letter define: `X` milters, `M` mailers, `K` maps.
    pub fn names(&self, command: char) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(move |line| line.text.strip_prefix(command)?.split([',', ' ']).next())
    }

    /// The rules of a ruleset, in their order.
    pub fn rules<'a>(&'a self, ruleset: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |line| line.ruleset.as_deref() == Some(ruleset)).map(|line| line.text.as_str())
    }
}

/// A text with single spaces.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
DMcustomer.test
CPconbool-relay.invalid
Kaccess hash -T<TMPF> /etc/mail/access
O MaxMessageSize=1000
O DaemonPortOptions=Name=MTA
O DaemonPortOptions=Port=587, Name=MSA, M=E
O InputMailFilters=conbool,other

SLocal_tls_server=99
R$*\t\t\t$: $1 $| $&h\tthe host
R$* $|  mail.example $*\t$: <CONBOOL> $1
Xconbool, S=unix:/run/milter.sock, F=T, T=C:10s;S:30s
Mlocal,\t\tP=/bin/procmail, F=lsDFM,
\t\tA=procmail -d $u
";

    #[test]
    fn lines_are_taken_apart() {
        let cf = Cf::parse(TEXT);
        assert_eq!(cf.letter('M'), Some("customer.test"));
        assert_eq!(cf.map("access"), Some("hash -T<TMPF> /etc/mail/access"));
        assert_eq!(cf.option("maxmessagesize"), Some("1000"));
        assert_eq!(cf.options("DaemonPortOptions").count(), 2);
        let rules: Vec<&str> = cf.rules("Local_tls_server").collect();
        assert_eq!(rules, ["R$*\t$: $1 $| $&h", "R$* $| mail.example $*\t$: <CONBOOL> $1"]);
        let milter = cf.milters().next().unwrap();
        assert_eq!((milter.name.as_str(), milter.equate("S")), ("conbool", Some("unix:/run/milter.sock")));
        assert!(milter.has_flag('T') && !milter.has_flag('R'));
        let mailer = cf.mailers().next().unwrap();
        assert_eq!((mailer.name.as_str(), mailer.equate("A")), ("local", Some("procmail -d $u")));
        assert!(mailer.has_flag('l'));
    }
}
