//! Section `[lock_down]`.

use std::time::Duration;

use super::reader::Reader;
use super::{keys, notation};
use crate::lock_down::Mode;

const RECIPIENTS: &str = r#"["postmaster", "abuse@example.com", "@example.org"]"#;
const MX_HOSTS: &str = r#"["mx.example.net", "*.example.net"]"#;

/// Who may write to hosted recipients.
#[derive(Debug, Clone, PartialEq)]
pub struct LockDown {
    /// `lock_down.mode`; `None` means the provider's, or else `"off"`.
    pub mode: Option<Mode>,
    /// `lock_down.open_recipients`: local parts, and addresses and `@domain` of hosted domains, lower case, domain in A-label form.
    pub open_recipients: Vec<String>,
    /// `lock_down.mx_hosts`: names, or `*.` and a domain; `None` means the provider's.
    pub mx_hosts: Option<Vec<String>>,
    /// `lock_down.interval`: seconds between two looks at the MX hosts of a domain, default 900.
    pub interval: Duration,
    /// `lock_down.settle_time`: how long all MX hosts must have been the provider's before mode `auto` enforces, default
    /// 86400 seconds.
    pub settle_time: Duration,
}

/// Asks for the keys of the section. `hosted` are the hosted domains, where they are known.
pub fn read(reader: &mut Reader, hosted: Option<&[String]>) -> LockDown {
    let modes = [("off", Mode::Off), ("monitor", Mode::Monitor), ("enforce", Mode::Enforce), ("auto", Mode::Auto)];
    let mode = reader.choice("lock_down.mode", &modes);
    let open = reader.strings("lock_down.open_recipients", RECIPIENTS, notation::recipient);
    let open = open.unwrap_or_default();
    keys::of_hosted_domains(reader, "lock_down.open_recipients", hosted, &open);
    let mx_hosts = reader.strings("lock_down.mx_hosts", MX_HOSTS, notation::mx_host);
    let mut seconds = |key, least, most, default| {
        Duration::from_secs(reader.integer(key, least..=most, "seconds").unwrap_or(default))
    };
    LockDown {
        mode,
        interval: seconds("lock_down.interval", 1, 86_400, 900),
        settle_time: seconds("lock_down.settle_time", 0, keys::WEEK, 86_400),
        open_recipients: keys::plain(Some(open)),
        mx_hosts: mx_hosts.map(|hosts| keys::plain(Some(hosts))),
    }
}
