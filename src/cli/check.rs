//! `conbool-milter check`: the configuration and everything that it names.

use std::io::Write;
use std::path::Path;

/// Says that all is well, or everything that is not.
///
/// # Errors
/// Every mistake, one a line: file, line, key, and what to write instead.
pub fn run(config: &Path) -> Result<(), String> {
    super::load(config)?;
    // A closed standard output is no mistake in the configuration.
    let _ = writeln!(std::io::stdout(), "{}: no errors", config.display());
    Ok(())
}
