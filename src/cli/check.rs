//! `conbool-milter check`: the configuration and everything that it names.

use std::io::Write;
use std::path::Path;

use crate::config::NOT_SET_UP;

/// Says that all is well, and whether anything is set up yet, or everything that is not well.
///
/// # Errors
/// Every mistake, one a line: file, line, key, and what to write instead.
pub fn run(config: &Path) -> Result<(), String> {
    let (loaded, ..) = super::load(config)?;
    let mut said = format!("{}: no errors\n", config.display());
    if !loaded.is_set_up() {
        said += &format!("{}: {NOT_SET_UP}; run conbool-milter setup\n", config.display());
    }
    // A closed standard output is no mistake in the configuration.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(())
}
