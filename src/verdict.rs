//! What was decided: the one value that replies, logs, metrics and `explain` are made from. Data only.

use std::borrow::Cow;

use serde::Serialize;

/// The field by which the milter tells Postfix's `milter_header_checks` where a message goes. It never stays in a
/// message, and nobody but the milter may set it.
pub const ROUTE_FIELD: &str = "X-Conbool-Route";

/// The field in which Postfix carries the milter's route through a content filter, where [`ROUTE_FIELD`] cannot act at
/// once. Postfix makes it of that field, and takes it out behind the filter; nobody else may set it.
pub const CARRIED_ROUTE_FIELD: &str = "X-Conbool-Carried-Route";

/// The domain below which Sendmail has the recipients of a message that belongs on the relay: `user@remote.test` becomes
/// `user@remote.test.conbool-relay.invalid`, which a rule in sendmail.cf takes off again. RFC 2606 keeps it from ever
/// being anybody's.
pub const RELAY_PSEUDO_DOMAIN: &str = "conbool-relay.invalid";

/// The same for a message that goes past the relay although its sender's mail goes there.
pub const DIRECT_PSEUDO_DOMAIN: &str = "conbool-direct.invalid";

/// The spam flag that mail stores act on.
pub const SPAM_FLAG_FIELD: &str = "X-Spam-Flag";

/// The decision on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the mail server takes the message.
    pub disposition: Disposition,
    /// Where the message's external recipients go.
    pub route: Route,
    /// Where the mail server's sender table alone would send them; a mark is needed only where it differs from `route`.
    /// `None`: not known.
    pub sender_table_route: Option<Route>,
    /// The spam mark that the message leaves with.
    pub spam: Spam,
    /// What the message is.
    pub kind: Kind,
    /// Which way it travels.
    pub direction: Direction,
    /// Who handed it over.
    pub peer: Peer,
    /// Whether the sender is one whose mail belongs on the relay.
    pub in_scope: bool,
    /// Header edits, in the order in which they must be carried out.
    pub edits: Vec<HeaderEdit>,
    /// Why, the deciding reason first; never empty.
    pub reasons: Vec<Reason>,
    /// How many forged marker header fields the message came with.
    pub forged: usize,
    /// Whether everything that was decided is carried out.
    pub mode: Mode,
    /// The decision, where this verdict, which is carried out, leaves some of it undone.
    pub would: Option<Box<Verdict>>,
}

impl Verdict {
    /// What was decided, whether it is carried out or only watched.
    pub fn decided(&self) -> &Self {
        self.would.as_deref().unwrap_or(self)
    }
}

/// Whether decisions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They are.
    Enforce,
    /// They are only told in the log.
    Monitor,
}

/// Whether the mail server takes the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Take it, with the edits and the route of the verdict.
    Continue,
    /// Refuse it for now; the client tries again.
    Tempfail(Reply),
    /// Refuse it for good.
    Reject(Reply),
    /// Take it and throw it away.
    Discard,
    /// Take it and hold it for the administrator, for the reason given.
    Quarantine(String),
}

impl Disposition {
    /// Stable name for logs and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Tempfail(_) => "tempfail",
            Self::Reject(_) => "reject",
            Self::Discard => "discard",
            Self::Quarantine(_) => "quarantine",
        }
    }
}

/// An SMTP reply (RFC 5321, 4.2) with its enhanced status code (RFC 3463).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three-digit code, 4yz or 5yz.
    pub code: &'static str,
    /// Enhanced code of the same class.
    pub enhanced: &'static str,
    /// One line of text without CR and LF.
    pub text: String,
}

/// Where the external recipients of a message go. Local recipients stay local on either route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// To the provider's relay.
    Relay,
    /// Past it: the recipient's MX, or whatever the mail server did before.
    Direct,
}

/// The spam mark that a message leaves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spam {
    /// No statement; an `X-Spam-Flag` from the sender is removed.
    None,
    /// Spam: exactly one `X-Spam-Flag: YES`.
    Flagged,
    /// Released from the quarantine: no spam mark at all.
    Trusted,
}

/// What a message is, from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Delivery report (RFC 3464, and the other shapes in use).
    Bounce,
    /// Message disposition notification (RFC 8098).
    ReadReceipt,
    /// Meeting request or response (RFC 6047).
    Calendaring,
    /// Automatic reply such as an out-of-office note (RFC 3834).
    AutomaticReply,
    /// Everything else.
    Normal,
}

/// Which way a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To a hosted recipient, from outside.
    Inbound,
    /// From a hosted sender or an internal client.
    Outbound,
}

/// Who handed the message over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// The provider's relay, by network and TLS.
    Relay,
    /// An authenticated or internal client, or this host.
    Internal,
    /// Everybody else.
    World,
}

/// One edit of the header section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Remove the `index`th field of this name, counted from 1 among the fields of that name.
    Delete {
        /// Field name as received.
        name: String,
        /// Which one, from 1.
        index: u32,
    },
    /// Append a field at the end of the header section.
    Add {
        /// Field name.
        name: String,
        /// Value, without CR and LF.
        value: String,
    },
    /// Insert a field before the first one.
    Insert {
        /// Field name.
        name: String,
        /// Value, without CR and LF.
        value: String,
    },
}

/// One reason for a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Stable name, for logs, metrics and scripts; borrowed if it is the program's own, so that there are only so many.
    pub name: Cow<'static, str>,
    /// One sentence for the administrator.
    pub text: String,
}

impl Reason {
    /// One of the program's own, with a sentence for the administrator; `name` is one of [`REASONS`].
    pub fn own(name: &'static str, text: String) -> Self {
        debug_assert!(REASONS.contains(&name), "{name} is not among the reasons");
        Self { name: Cow::Borrowed(name), text }
    }
}

/// The names of the program's own reasons; scripts have others. Stable, since scripts, alerts and dashboards know them;
/// conbool-milter(8) describes each.
pub const REASONS: [&str; 25] = [
    "in-scope",
    "from-in-scope",
    "out-of-scope",
    "inbound",
    "flagged",
    "forged-header",
    "spam-flag-removed",
    "relay-without-tls",
    "relay-certificate",
    "lock-down",
    "relay-loop",
    "host-loop",
    "rules-failed",
    "internal-error",
    "mail-server",
    "unroutable-recipient",
    "pseudo-domain",
    "not-handed-back",
    "header-limit",
    "message-limit",
    "memory-limit",
    "recipient-limit",
    "rule-reject",
    "rule-discard",
    "rule-quarantine",
];

macro_rules! names {
    ($($type:ident: $($variant:ident = $name:literal),+;)+) => {$(
        impl $type {
            /// Stable name for logs, metrics, JSON and scripts.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    )+};
}

names! {
    Route: Relay = "relay", Direct = "direct";
    Spam: None = "none", Flagged = "flagged", Trusted = "trusted";
    Kind: Bounce = "bounce", ReadReceipt = "read-receipt", Calendaring = "calendaring",
        AutomaticReply = "automatic-reply", Normal = "normal";
    Direction: Inbound = "inbound", Outbound = "outbound";
    Mode: Enforce = "enforce", Monitor = "monitor";
    Peer: Relay = "relay", Internal = "internal", World = "world";
}
