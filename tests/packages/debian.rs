//! The Debian package's life on a Debian with systemd: installed, set up, upgraded, removed.

use libtest_mimic::Trial;

use super::built;
use super::lab::{self, Error};

pub fn trials() -> Vec<Trial> {
    vec![lab::trial("debian::installed_beside_postfix", installed_beside_postfix)]
}

fn installed_beside_postfix() -> Result<(), Error> {
    built::package(".deb")?;
    Ok(())
}
