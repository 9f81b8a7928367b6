//! Files that Postfix's processes read, which have no privileges: everybody may read them, whatever the umask here.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file. When this returns, it is on the disk.
///
/// # Errors
/// Of the file system.
pub fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content.as_bytes())?;
    finish(&file)
}

/// Lets everybody read a file that something else wrote, and waits until it is on the disk.
///
/// # Errors
/// Of the file system.
pub fn finish(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()
}

/// Writes a file that is never seen half-written.
///
/// # Errors
/// Of the file system; then the file is what it was.
pub fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}
