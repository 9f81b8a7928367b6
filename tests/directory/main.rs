//! Groups of a directory: who their members are, and what addresses they have. Against real slapd and Samba.

mod active_directory;
#[path = "../lab/mod.rs"]
mod lab;
mod openldap;
mod servers;
mod value_limit;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::main(|| {
        Ok([openldap::trials(), servers::trials(), active_directory::trials()].into_iter().flatten().collect())
    })
}
