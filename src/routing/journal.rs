//! The verdicts that are not the sender's, on disk: one line each, in two files, of which the older one goes when a third
//! begins. A file is named after the second at which it began.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memchr::memrchr;

use super::generations::Generations;
use crate::verdict::Route;

/// How long one file is added to. What stands in it is known for as long again: Sendmail gives up on a message after five
/// days (`confTO_QUEUERETURN`), and sites that raise this rarely do so to more than this.
const SPAN: Duration = Duration::from_secs(15 * 24 * 3600);

/// Longest queue id, in bytes. Sendmail's have 14 to 20.
const MAX_QUEUE_ID: usize = 100;

/// Most that is read of a file, in bytes.
const MAX_FILE: u64 = 128 << 20;

/// The journal, open for more.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Most lines in a file.
    most: usize,
    current: Current,
}

/// The file that is added to.
#[derive(Debug)]
struct Current {
    file: File,
    /// When it began, in seconds since 1970.
    began: u64,
    lines: usize,
    /// Length of what is known to be complete, in bytes.
    length: u64,
}

impl Journal {
    /// Reads what there is, and makes the folder if there is none. A file has up to `most` lines.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read or written.
    pub fn open(folder: &Path, most: usize, now: SystemTime) -> io::Result<(Self, Generations)> {
        folder.parent().map_or(Ok(()), fs::create_dir_all)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut known = Generations::default();
        let mut current = None;
        for (began, is_kept) in files(folder, seconds(now))? {
            let path = file(folder, began);
            if !is_kept {
                fs::remove_file(path)?;
                continue;
            }
            known.rotate();
            current = Some(Current::load(&path, began, &mut known)?);
        }
        let current = match current {
            Some(current) => current,
            None => Current::create(folder, seconds(now))?,
        };
        Ok((Self { folder: folder.to_owned(), most, current }, known))
    }

    /// Adds a verdict; true if a new generation begins with it. For the relay it is on the disk when this returns: the
    /// other way, what is lost only leaves a message on the relay.
    ///
    /// # Errors
    /// When it cannot be written; then nothing is added. Or if it is no queue id.
    pub fn append(&mut self, queue_id: &str, route: Route, now: SystemTime) -> io::Result<bool> {
        if !is_queue_id(queue_id) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{queue_id:?} is no queue id")));
        }
        self.try_append(queue_id, route, seconds(now)).map_err(|error| {
            let folder = self.folder.display();
            io::Error::new(error.kind(), format!("{folder}: the message's route cannot be kept: {error}"))
        })
    }

    fn try_append(&mut self, queue_id: &str, route: Route, now: u64) -> io::Result<bool> {
        let is_due = self.current.lines >= self.most || self.current.is_old(now);
        if is_due {
            self.begin(now)?;
        }
        self.current.append(format!("{} {queue_id}\n", route.name()).as_bytes(), route == Route::Relay)?;
        Ok(is_due)
    }

    /// Begins a file, and removes the one before the last.
    fn begin(&mut self, now: u64) -> io::Result<()> {
        // Names are in order even if two files begin in one second, or the clock was set back.
        let began = now.max(self.current.began + 1);
        let previous = self.current.began;
        self.current = Current::create(&self.folder, began)?;
        for (began, _) in
            files(&self.folder, now).unwrap_or_default().into_iter().filter(|(began, _)| *began < previous)
        {
            // What stays is removed at the next start.
            let _ = fs::remove_file(file(&self.folder, began));
        }
        Ok(())
    }
}

impl Current {
    fn create(folder: &Path, began: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(file(folder, began))?;
        File::open(folder)?.sync_all()?;
        let length = file.metadata()?.len();
        Ok(Self { file, began, lines: 0, length })
    }

    /// Reads a file. A line that a daemon that was killed left incomplete at its end is closed, and counts for nothing; it is
    /// not cut off, for a daemon that is about to end may still add lines.
    fn load(path: &Path, began: u64, known: &mut Generations) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        (&file).take(MAX_FILE).read_to_end(&mut bytes)?;
        let whole = memrchr(b'\n', &bytes).map_or(0, |last| last + 1);
        let is_torn = whole < bytes.len();
        bytes.truncate(whole);
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Some((queue_id, route)) = verdict(line) {
                known.insert(queue_id, route);
            }
        }
        if is_torn {
            // No queue id has a space in it.
            (&file).write_all(b" \n")?;
        }
        let length = file.metadata()?.len();
        Ok(Self { file, began, lines: known.len(), length })
    }

    fn is_old(&self, now: u64) -> bool {
        now.saturating_sub(self.began) >= SPAN.as_secs()
    }

    fn append(&mut self, line: &[u8], sync: bool) -> io::Result<()> {
        let written = self.file.write_all(line).and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // The next line must not come after half of this one. If this fails too, a reader skips the two.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += line.len() as u64;
        self.lines += 1;
        Ok(())
    }
}

/// The files of the journal, the oldest first, and whether each is still of use.
fn files(folder: &Path, now: u64) -> io::Result<Vec<(u64, bool)>> {
    let mut began = Vec::new();
    for entry in fs::read_dir(folder)? {
        began.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    began.sort_unstable();
    let count = began.len();
    let is_kept =
        |(place, began): (usize, u64)| (began, place + 2 >= count && now.saturating_sub(began) < 2 * SPAN.as_secs());
    Ok(began.into_iter().enumerate().map(is_kept).collect())
}

fn file(folder: &Path, began: u64) -> PathBuf {
    folder.join(began.to_string())
}

fn verdict(line: &[u8]) -> Option<(&str, Route)> {
    let (route, queue_id) = str::from_utf8(line).ok()?.split_once(' ')?;
    let route = [Route::Relay, Route::Direct].into_iter().find(|known| known.name() == route)?;
    is_queue_id(queue_id).then_some((queue_id, route))
}

/// What can stand in a line.
fn is_queue_id(text: &str) -> bool {
    (1..=MAX_QUEUE_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
