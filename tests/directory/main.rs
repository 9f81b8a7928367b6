//! Groups of a directory: who their members are, and what addresses they have. Against real slapd and Samba,
//! and servers that do what these never do.

mod active_directory;
mod hostile;
#[path = "../lab/mod.rs"]
mod lab;
mod openldap;
mod servers;
mod value_limit;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::main(|| {
        Ok([openldap::trials(), servers::trials(), hostile::trials(), active_directory::trials()]
            .into_iter()
            .flatten()
            .collect())
    })
}
