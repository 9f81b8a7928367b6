//! The Debian package's life on a Debian with systemd: installed, set up, upgraded, removed.

use libtest_mimic::Trial;

use super::lab::{self, Error};
use super::machine::{Machine, System};

/// A test on a machine of its own; what is in its journal is told when it fails.
fn trial(name: &'static str, system: System, test: fn(&Machine) -> Result<(), Error>) -> Trial {
    lab::trial(&format!("debian::{name}"), move || {
        let machine = Machine::start(name, system)?;
        test(&machine).map_err(|error| format!("{error}\n\nThe machine's journal:\n{}", machine.journal()).into())
    })
}

pub fn trials() -> Vec<Trial> {
    vec![trial("installed_beside_postfix", System::Postfix, installed_beside_postfix)]
}

fn installed_beside_postfix(machine: &Machine) -> Result<(), Error> {
    println!("{}", machine.run("systemctl --no-pager list-units; ps aux; ip a; cat /etc/resolv.conf; mount; systemd-analyze; systemd-analyze blame --no-pager | head")?);
    Err("x".into())
}
