//! What `doctor` looks at outside the mail server: the daemon's doors, DNS, the relay.

pub mod account;
pub mod milter;
pub mod policy;
