//! What `doctor` looks at outside the mail server: the daemon's doors, the DNS records of the hosted domains, the relay.
//!
//! Whoever answers may be slow, broken or hostile: everything has a deadline and a limit, and what is not known is
//! never taken for what is not there.

pub mod account;
pub mod dns;
pub mod milter;
pub mod policy;
pub mod relay;
mod resolver;
pub mod socketmap;

/// A text from elsewhere as it is shown: on one line and not longer than `MAX_SHOWN` characters.
fn shown(text: &str) -> String {
    const MAX_SHOWN: usize = 300;
    let mut shown: String =
        text.chars().take(MAX_SHOWN).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
