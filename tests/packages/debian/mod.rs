//! The Debian package's life on a Debian with systemd: installed, set up, upgraded, removed, and what systemd makes of a
//! daemon that fails.

mod failures;
mod host;
mod installation;
mod removal;
mod set_up;
mod upgrade;

use libtest_mimic::Trial;

use super::lab::{self, Error};
use super::machine::System;
use host::Host;

pub fn trials() -> Vec<Trial> {
    use System::{Plain, Postfix};
    vec![
        trial("beside_postfix", Postfix, installation::beside_postfix),
        trial("before_postfix", Plain, installation::before_postfix),
        trial("set_up", Postfix, set_up::relays),
        trial("stopped_before", Postfix, set_up::stopped_before),
        trial("broken_configuration", Postfix, set_up::broken_configuration),
        trial("upgraded_under_load", Postfix, upgrade::under_load),
        trial("removed", Postfix, removal::removed),
        trial("killed", Postfix, failures::killed),
        trial("hung", Postfix, failures::hung),
    ]
}

/// A test on a machine of its own; what is in its journal is told when it fails.
fn trial(name: &'static str, system: System, test: fn(&mut Host) -> Result<(), Error>) -> Trial {
    lab::trial(&format!("debian::{name}"), move || {
        let mut host = Host::start(name, system)?;
        let outcome = test(&mut host);
        outcome.map_err(|error| format!("{error}\n\nThe machine's journal:\n{}", host.machine.journal()).into())
    })
}
