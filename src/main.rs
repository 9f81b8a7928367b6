//! The command `conbool-milter`.

use std::process::ExitCode;

fn main() -> ExitCode {
    conbool_milter::cli::main()
}
