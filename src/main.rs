//! The command `conbool-milter`.

use std::process::ExitCode;

// A message is some hundred small allocations and one of the body's size, for which glibc gives memory back to the
// system after every message, only to ask for it again. See benches/README.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    conbool_milter::cli::main()
}
