//! What stands in a sendmail.cf.

/// The text of a sendmail.cf, and questions to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cf<'a> {
    /// Logical lines: a line that begins with white space continues the one before.
    lines: Vec<std::borrow::Cow<'a, str>>,
}

impl<'a> Cf<'a> {
    /// Reads it.
    pub fn parse(text: &'a str) -> Self {
        let mut lines: Vec<std::borrow::Cow<'a, str>> = Vec::new();
        for line in text.lines() {
            match lines.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => {
                    let last = last.to_mut();
                    last.push(' ');
                    last.push_str(line.trim());
                }
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => lines.push(line.into()),
            }
        }
        Self { lines }
    }

    /// The lines of a command (`M`, `K`, `X`, …), without its letter.
    fn lines(&self, command: char) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(command))
    }

    /// The value of an option, `O Name=value`; the last one counts.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.lines('O').rev().find_map(|line| {
            let (found, value) = line.strip_prefix(' ')?.split_once('=')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The milters, in the order in which they are asked.
    pub fn milters(&self) -> Vec<&str> {
        let list = self.option("InputMailFilters").unwrap_or_default();
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
    }

    /// The names of all that commands of this letter define: `X` milters, `M` mailers, `K` maps.
    pub fn names(&self, command: char) -> impl Iterator<Item = &str> {
        self.lines(command).filter_map(|line| line.split([',', ' ', '\t']).next())
    }

    /// The mailers that deliver on this host: those with flag `l`.
    pub fn local_mailers(&self) -> Vec<&str> {
        let is_local = |line: &&str| equate(line, "F").is_some_and(|flags| flags.contains('l'));
        self.lines('M').filter(is_local).filter_map(|line| line.split(',').next()).map(str::trim).collect()
    }

    /// What defines a map: type, flags and the rest, as words.
    pub fn map(&self, name: &str) -> Option<Vec<&str>> {
        let words = |line: &'_ str| line.trim_start().split_whitespace().next().is_some_and(|found| found == name);
        let line = self.lines('K').rev().find(|line| words(line))?;
        Some(line.split_whitespace().skip(1).collect())
    }

    /// The value of a macro, `DSvalue`; the last definition counts.
    pub fn definition(&self, name: char) -> Option<&str> {
        self.lines('D').rev().find_map(|line| line.strip_prefix(name)).filter(|value| !value.is_empty())
    }

    /// True if a line begins so.
    pub fn has(&self, beginning: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(beginning))
    }

    /// True if there is a ruleset of this name.
    pub fn has_ruleset(&self, name: &str) -> bool {
        self.lines('S').any(|line| line.split(['=', ' ', '\t']).next() == Some(name))
    }

    /// The directories of its queues, patterns included: the option's and those of queue groups.
    pub fn queue_directories(&self) -> Vec<&str> {
        let option = self.option("QueueDirectory").unwrap_or("/var/spool/mqueue");
        std::iter::once(option).chain(self.lines('Q').filter_map(|line| equate(line, "P"))).collect()
    }

    /// Its lines that mean something, without those that tell which build of the macros made it.
    pub fn meaning(&self) -> Vec<&str> {
        self.lines.iter().map(AsRef::as_ref).filter(|line| !line.starts_with("DZ")).collect()
    }
}

/// The value of an equate, `, F=value`.
fn equate<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split(',').skip(1).find_map(|field| {
        let (found, value) = field.split_once('=')?;
        (found.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_it() {
        let text = "# O PidFile=/no\nO PidFile=/old\nO PidFile=/run/sendmail.pid\nO inputmailfilters=a, b\nXa, S=unix:/a\nXb, S=inet:1@::1\n\
                    Mlocal,\t\tP=/usr/bin/procmail, F=lsDFMAw5:/|@qSPfhn9, S=EnvFromL/HdrFromL,\n\t\tT=DNS/RFC822/X-Unix\n\
                    Mesmtp,\tP=[IPC], F=mDFMuXa, A=TCP $h\n\
                    Mlucky, P=[IPC],\n F=ml\n\
                    Kaccess hash -T<TMPF> -o /etc/mail/access.db\n\
                    Qslow, P=/var/spool/slow, F=f\nSLocal_tls_server\nSParse0=99\nDZ8.17.1\n";
        let cf = Cf::parse(text);
        assert_eq!(cf.option("PidFile"), Some("/run/sendmail.pid"));
        assert_eq!(cf.option("QueueDirectory"), None);
        assert_eq!(cf.milters(), ["a", "b"]);
        assert_eq!(cf.names('X').collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cf.local_mailers(), ["local", "lucky"]);
        assert_eq!(cf.map("access").unwrap(), ["hash", "-T<TMPF>", "-o", "/etc/mail/access.db"]);
        assert_eq!(cf.map("acces"), None);
        assert!(cf.has_ruleset("Local_tls_server") && cf.has_ruleset("Parse0") && !cf.has_ruleset("Parse"));
        assert_eq!(cf.queue_directories(), ["/var/spool/mqueue", "/var/spool/slow"]);
        assert!(!cf.meaning().iter().any(|line| line.starts_with("DZ") || line.starts_with('#')));
    }
}
