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

    /// The names of its checks. They are stable, since scripts know them; conbool-milter(8) describes each.
    pub fn checks(self) -> &'static [&'static str] {
        match self {
            Self::Config => {
                &["config", "configuration", "policy", "permissions", "state-directory", "scope", "mode", "lock-down"]
            }
            Self::Sockets => &[
                "sockets",
                "handshake",
                "socket-permissions",
                "socket-directory",
                "policy",
                "socketmap",
                "telemetry",
                "version",
                "configuration-in-force",
                "connections",
            ],
            Self::MailServer => &[
                // Of either.
                "mail-server",
                "milter",
                "milter-failure",
                "milter-order",
                "milter-override",
                "relay-transport",
                "direct-transport",
                "hand-back",
                "bare-newline",
                "client-certificate",
                "tls-offered",
                "trust-anchors",
                "running",
                "reload",
                "queue",
                "probe-submission",
                "probe-verdict",
                "probe-delivery",
                // Of Postfix.
                "postfix",
                "sender-table",
                "milter-maps",
                "milter-protocol",
                "milter-connections",
                "routing-header",
                "hand-back-order",
                "repeated-settings",
                "recipient-limit",
                "transport-limits",
                "split-transport",
                "split-listener",
                "split-cleanup",
                "table",
                "transport-maps",
                "former-route",
                "rewritten-senders",
                "content-filter",
                "relay-in-mynetworks",
                // Of Sendmail.
                "wiring",
                "sendmail",
                "sendmail-cf",
                "relay-tls",
                "socketmap",
                "socketmap-socket",
                "routing-rules",
                "pseudo-domains",
                "access",
                "milter-times",
                "milter-socket",
                "routes",
                "unmarked-mail",
                "listener",
                "submission",
                "local-mailers",
                "masquerade",
                "canonify",
                "map",
                "relay-refused",
                "mailertable",
            ],
            Self::Dns => &[
                "dns",
                "domains",
                "resolver",
                "mx",
                "mx-hosts",
                "mx-provider",
                "spf",
                "spf-length",
                "spf-policy",
                "spf-limits",
                "spf-relay",
                "spf-direct",
                "dkim",
                "dmarc",
                "dmarc-reports",
                "ownership",
            ],
            Self::Relay => &[
                "relay",
                "addresses",
                "trust-anchors",
                "connect",
                "greeting",
                "ehlo",
                "starttls",
                "tls",
                "smtp",
                "certificate-chain",
                "certificate-name",
                "certificate-expiry",
                "certificate",
                "client-certificate",
                "size",
                "reachable",
            ],
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
    /// What was examined: one of the area's [checks](Area::checks).
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
        debug_assert!(area.checks().contains(&check), "{check} is not among the checks of area {}", area.name());
        Self { area, check, subject: subject.into(), status, seen: seen.into(), mend: String::new() }
    }

    /// The same with what mends it.
    #[must_use]
    pub fn mended_by(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }
}
