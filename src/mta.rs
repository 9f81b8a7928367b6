//! What each mail server needs to route as the verdicts say: its configuration, generated from ours.

pub mod change;
pub mod dovecot;
pub mod exchange_online;
pub mod postfix;
pub mod sendmail;
pub mod zimbra;
