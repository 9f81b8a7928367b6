//! What `make packages` has built.

use std::fs;
use std::path::{Path, PathBuf};

use super::lab::Error;

/// Where `make packages` puts what it builds.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages")
}

/// The one file there whose name ends so, such as `.deb` or `.el9.x86_64.rpm`.
///
/// # Errors
/// What to run, if there is none; what there is, if there are several.
pub fn package(ending: &str) -> Result<PathBuf, Error> {
    let directory = directory();
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(format!("no {ending} in {}: run `make packages`", directory.display()).into()),
        several => Err(format!("more than one {ending}: remove all but the newest of {several:?}").into()),
    }
}
