//! What a message is: calendaring, automatic reply, bounce, read receipt, normal.

/// How message kinds are told apart: section `[kind]` of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `kind.body_limit`: most body bytes looked at, default 131072 (128 KiB), 4096 to 16777216.
    pub body_limit: usize,
    /// `kind.lenient_calendaring`: also a calendar whose method stands only in its body, and TNEF meeting classes;
    /// default false.
    pub lenient_calendaring: bool,
    /// `kind.calendaring_max_size`: greatest body size in bytes of a calendaring message; `None`: no limit.
    pub calendaring_max_size: Option<usize>,
    /// `kind.calendaring_alone`: no other attachment may ride along; default false.
    pub calendaring_alone: bool,
    /// `kind.weak_automatic_reply`: also `X-Autoreply`, `Precedence: auto_reply` and `x-apple-action: vacation`;
    /// default false.
    pub weak_automatic_reply: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_limit: 128 << 10,
            lenient_calendaring: false,
            calendaring_max_size: None,
            calendaring_alone: false,
            weak_automatic_reply: false,
        }
    }
}
