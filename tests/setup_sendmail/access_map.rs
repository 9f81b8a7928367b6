//! The access map.

use std::fs;

use crate::host::{HEAD, Host, MAILERS, contains, entries, equal, file, make_map};
use crate::lab::Error;

const SITE: &str = "# our own\nFrom:spam@remote.test\tREJECT\nconnect:198.51.100   Relay\n";

fn mc(kind: &str) -> String {
    format!("{HEAD}FEATURE(`access_db', `{kind} -T<TMPF> /etc/mail/access')dnl\n{MAILERS}")
}

/// /24 as it is, /23 as two; what the site has already is not said twice.
pub fn networks() -> Result<(), Error> {
    let host = Host::new("access-networks", &mc("hash"), SITE)?;
    host.apply()?;
    let text = fs::read_to_string(file("access"))?;
    if !text.starts_with(SITE) {
        return Err(text.into());
    }
    let ours: Vec<&str> = text.lines().filter(|line| line.starts_with("Connect:")).collect();
    equal(ours, vec!["Connect:192.0.2\tRELAY", "Connect:198.51.101\tRELAY"])?;
    let expected = [
        "connect:192.0.2\tRELAY",
        "connect:198.51.100\tRelay",
        "connect:198.51.101\tRELAY",
        "from:spam@remote.test\tREJECT",
    ];
    equal(entries("hash", "access")?, expected.map(str::to_owned).to_vec())
}

pub fn other_type() -> Result<(), Error> {
    let host = Host::new("access-type", &mc("btree").replace("/access'", "/access.db'"), SITE)?;
    host.apply()?;
    equal(entries("btree", "access")?.len(), 4)
}

pub fn no_file() -> Result<(), Error> {
    let ldap = "ldap -T<TMPF> -1 -v value -k (key=%0)";
    let mc = format!("{HEAD}FEATURE(`access_db', `{ldap}')dnl\n{MAILERS}");
    let host = Host::new("access-ldap", &mc, "")?;
    let notes = host.apply()?;
    contains(&notes.join("\n"), &["is no file", "Connect:192.0.2 RELAY, Connect:198.51.100 RELAY"])?;
    equal(fs::read_to_string(file("access"))?, String::new())
}

pub fn contradiction() -> Result<(), Error> {
    let host = Host::new("access-contradiction", &mc("hash"), "connect:192.0.2 REJECT\n")?;
    host.refuses(&["/etc/mail/access", "connect:192.0.2 REJECT", "Connect:192.0.2 RELAY"])
}

pub fn stale() -> Result<(), Error> {
    let host = Host::new("access-stale", &mc("hash"), SITE)?;
    fs::write(file("access"), "From:other@remote.test\tREJECT\n")?;
    host.refuses(&["/etc/mail/access.db", "connect:198.51.100 Relay", "makemap"])?;
    make_map("hash", "access", SITE)?;
    host.apply().map(drop)
}

/// Then the feature comes with the map.
pub fn none_before() -> Result<(), Error> {
    let host = Host::new("access-none", &format!("{HEAD}{MAILERS}"), "")?;
    fs::remove_file(file("access"))?;
    host.apply()?;
    equal(host.cf()?.map("access"), Some("hash -T<TMPF> /etc/mail/access"))?;
    equal(entries("hash", "access")?.len(), 3)
}
