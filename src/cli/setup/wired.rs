//! `conbool-milter setup --wired`: whether a mail server of this host needs the daemon. Packages ask this before they are
//! removed.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config;
use crate::mta::wired::{Names, Wires};
use crate::mta::{postfix, sendmail};

/// Something is wired.
const WIRED: u8 = 0;
/// Nothing is.
const NOT_WIRED: u8 = 1;
/// It cannot be told. Other failures, such as wrong usage, have this status too, or a higher one.
const UNKNOWN: u8 = 2;

/// Tells what is wired: on standard output, a line each; on standard error, why there may be more. The configuration file
/// may be missing, or wrong.
pub fn run(file: &Path) -> ExitCode {
    let wires = wires(file);
    let status = match (wires.found.is_empty(), wires.doubts.is_empty()) {
        (false, _) => WIRED,
        (true, true) => NOT_WIRED,
        (true, false) => UNKNOWN,
    };
    match tell(&wires) {
        Ok(()) => ExitCode::from(status),
        Err(_) => ExitCode::from(if status == NOT_WIRED { UNKNOWN } else { status }),
    }
}

fn wires(file: &Path) -> Wires {
    let (config, mistakes) = config::salvage(file);
    let is_wrong =
        mistakes.is_some_and(|mistakes| mistakes.0.iter().any(|mistake| mistake.key.as_deref() == Some("socket")));
    let names = Names::new(&config, !is_wrong && !config.milter.sockets.is_empty());
    let mut wires = postfix::wired::wires(&names, &config.postfix.config_directory);
    wires.extend(sendmail::wired::wires(&names, &config.sendmail));
    wires
}

fn tell(wires: &Wires) -> io::Result<()> {
    for doubt in &wires.doubts {
        // Standard output is what counts.
        let _ = writeln!(io::stderr(), "{doubt}");
    }
    let mut output = io::stdout().lock();
    for wire in &wires.found {
        writeln!(output, "{wire}")?;
    }
    output.flush()
}
