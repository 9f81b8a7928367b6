//! `make test-packages`: the packages as an administrator meets them. What is in them is looked at where it lies; what they
//! do, on machines of their own, each a Debian that systemd has started.

#[path = "../lab/mod.rs"]
mod lab;

mod built;
mod deb_file;
mod debian;
mod machine;
mod release;
mod rpm;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A machine that starts keeps a processor busy.
    lab::main_with(3, || {
        let modules = [deb_file::trials(), debian::trials(), release::trials(), rpm::trials()];
        Ok(modules.into_iter().flatten().collect())
    })
}
