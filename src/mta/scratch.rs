//! A directory of our own for a configuration that is tried before it counts.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The directory; removed when dropped. Only its owner can look into it.
pub(in crate::mta) struct Scratch(pub PathBuf);

/// A file that cannot be written, and why.
pub(in crate::mta) type Failed = (PathBuf, io::Error);

impl Scratch {
    pub fn new() -> Result<Self, Failed> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("conbool-milter-setup-{}-{number}", std::process::id()));
        // One that is there already is somebody else's.
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err((path, error)),
        }
    }

    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failed> {
        let path = self.0.join(name);
        match fs::write(&path, text) {
            Ok(()) => Ok(path),
            Err(error) => Err((path, error)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in the directory for what can be thrown away.
        let _ = fs::remove_dir_all(&self.0);
    }
}
