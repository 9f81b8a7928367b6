//! What each mail server needs to route as the verdicts say: its configuration, generated from ours.

pub mod change;
pub mod delivery;
pub mod dovecot;
pub mod exchange_online;
mod milter_client;
pub mod postfix;
pub mod sendmail;
pub mod zimbra;

pub use milter_client::MilterClient;
