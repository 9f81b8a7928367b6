//! Files that the configuration names.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The folder of the configuration file, made absolute: where relative paths in it start.
pub fn folder_of(config: &Path) -> PathBuf {
    let absolute = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

/// A file that the MTA reads, such as a private key: it must exist, but this process need not be allowed to read it
/// or to look into its folder (`/etc/ssl/private`).
pub fn present(folder: &Path, written: &str) -> Result<PathBuf, String> {
    let path = resolve(folder, written)?;
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err("is not a file; write the path of a PEM file".into()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(path),
        Err(error) => Err(unreadable(&error, written)),
    }
}

/// A file that this process reads.
pub fn readable(folder: &Path, written: &str) -> Result<PathBuf, String> {
    let path = resolve(folder, written)?;
    match fs::metadata(&path) {
        // Opening anything else, such as a FIFO, could block.
        Ok(metadata) if !metadata.is_file() => Err("is not a file; write the path of a file".into()),
        Ok(_) => File::open(&path).map(|_| path).map_err(|error| unreadable(&error, written)),
        Err(error) => Err(unreadable(&error, written)),
    }
}

/// A file that is read if it is there. Only its certain absence is `None`: a file that is hidden by permissions must
/// not be taken for one that does not exist.
pub fn optional(path: &Path) -> Result<Option<PathBuf>, String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => readable(Path::new(""), &path.to_string_lossy()).map(Some),
    }
}

/// The folder of a provider.
pub fn provider(folder: &Path, written: &str) -> Result<String, String> {
    let path = resolve(folder, written)?;
    for file in ["provider.toml", "policy.sieve"] {
        if let Err(error) = fs::metadata(path.join(file)) {
            return Err(format!(
                "cannot be used: {file} in it: {}; write the path of a folder with provider.toml and policy.sieve",
                reason(&error)
            ));
        }
    }
    Ok(path.to_string_lossy().into_owned())
}

/// What went wrong, in the system's words, without the error number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn unreadable(error: &io::Error, written: &str) -> String {
    let hint = if Path::new(written).is_relative() { "; a relative path starts at this file's folder" } else { "" };
    format!("cannot be read: {}{hint}", reason(error))
}

/// A path that need not exist; a relative one starts at `folder`.
pub fn resolve(folder: &Path, written: &str) -> Result<PathBuf, String> {
    if written.is_empty() {
        return Err("is empty; write a path, or leave the key out".into());
    }
    if written.chars().any(char::is_control) {
        return Err("contains a control character; write a plain path".into());
    }
    // By components, so that no "./" stays in the middle.
    Ok(folder.join(written).components().collect())
}
