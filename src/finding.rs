//! What an examination found: data for `doctor`, and for whatever else shows findings.

use std::fmt;

/// A part of an installation that can be examined by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Our configuration and all that it names.
    Config,
    /// The daemon's sockets.
    Sockets,
    /// The mail server's wiring.
    MailServer,
    /// The DNS records of the hosted domains.
    Dns,
    /// The provider's relay.
    Relay,
}

impl Area {
    /// All of them, in the order in which they are examined and shown.
    pub const ALL: [Self; 5] = [Self::Config, Self::Sockets, Self::MailServer, Self::Dns, Self::Relay];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Sockets => "sockets",
            Self::MailServer => "mail-server",
            Self::Dns => "dns",
            Self::Relay => "relay",
        }
    }
}

/// How grave a finding is; the gravest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// As it should be.
    Pass,
    /// It could not be found out.
    Unknown,
    /// It works, but not as it should, or not for long.
    Warn,
    /// Mail is lost, delayed, leaked or fooled by it, or will be.
    Fail,
}

impl Status {
    /// Its name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The part it belongs to.
    pub area: Area,
    /// What was examined: a stable name of lower-case words with dashes, such as `spf` or `sender-table`.
    pub check: &'static str,
    /// Of what: a domain, a file, a host; empty if there is only one.
    pub subject: String,
    /// How it is.
    pub status: Status,
    /// What was seen, in a sentence or part of one.
    pub seen: String,
    /// The exact line, record or command that mends it; empty where there is nothing to mend.
    pub mend: String,
}

impl Finding {
    /// A finding with nothing to mend.
    pub fn new(
        area: Area,
        check: &'static str,
        subject: impl Into<String>,
        status: Status,
        seen: impl Into<String>,
    ) -> Self {
        Self { area, check, subject: subject.into(), status, seen: seen.into(), mend: String::new() }
    }

    /// The same with what mends it.
    #[must_use]
    pub fn mended_by(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }
}
