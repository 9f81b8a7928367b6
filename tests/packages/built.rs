//! What `make packages` has built.

use std::fs;
use std::path::{Path, PathBuf};

use super::lab::Error;

/// What the files of a package may take, in bytes.
const SIZE: u64 = 12_000_000;

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

/// Compares what a package has with what is expected, line by line, in any order.
///
/// # Errors
/// What is missing, and what is there unexpected.
pub fn compare(listed: &[String], expected: &str) -> Result<(), Error> {
    let missing: Vec<_> = expected.lines().filter(|line| !listed.iter().any(|listed| listed == line)).collect();
    let more: Vec<_> = listed.iter().filter(|listed| !expected.lines().any(|line| line == *listed)).collect();
    if missing.is_empty() && more.is_empty() {
        return Ok(());
    }
    Err(format!("missing {missing:#?}, not expected {more:#?}").into())
}

/// # Errors
/// If `package` takes too much, which is `size` bytes when installed.
pub fn small_enough(package: &Path, size: u64) -> Result<(), Error> {
    println!("{}: {size} bytes installed", package.display());
    if size < SIZE {
        return Ok(());
    }
    Err(format!("{}: {size} bytes installed, not less than {SIZE}", package.display()).into())
}
