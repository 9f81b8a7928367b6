//! A proxy between a mail server and the milter: it breaks a connection where a test says, as if the milter were killed
//! there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What the milter sends at the end of a message that is no edit: the verdict, or that it is still alive.
const NO_EDIT: &[u8] = b"acdfrsty";

/// Commands that are answered by nothing, or that come when all is over.
const UNANSWERED: &[u8] = b"ADKQ";

/// Where a connection breaks; once, then all goes well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// When the mail server sends this command: the milter never sees it.
    Command(u8),
    /// When the milter has sent this many edits at the end of the message, with more or with the verdict to come.
    Edits(usize),
    /// When the milter sends its verdict, after all edits.
    Verdict,
    /// It does not break, but from this command on the milter's answers do not arrive.
    Silence(u8),
}

/// A running proxy.
pub struct MilterProxy {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    fault: Mutex<Option<Fault>>,
    commands: Mutex<BTreeSet<u8>>,
    most_edits: AtomicUsize,
}

/// A test that panicked while it held the lock has said what is wrong; the data is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// True, once, if this is the fault to come.
    fn strikes(&self, is: impl FnOnce(Fault) -> bool) -> bool {
        lock(&self.fault).take_if(|fault| is(*fault)).is_some()
    }
}

impl MilterProxy {
    /// Takes the place of a milter's socket, whose owner goes on listening at another name.
    pub fn in_place_of(socket: &Path) -> io::Result<Self> {
        let behind = socket.with_extension("behind");
        fs::rename(socket, &behind)?;
        let listener = UnixListener::bind(socket)?;
        let owner = fs::metadata(&behind)?;
        chown(socket, Some(owner.uid()), Some(owner.gid()))?;
        fs::set_permissions(socket, fs::Permissions::from_mode(owner.mode() & 0o777))?;
        let proxy = Self { state: Arc::default() };
        let state = proxy.state.clone();
        thread::spawn(move || {
            for front in listener.incoming().flatten() {
                let (state, behind) = (state.clone(), behind.clone());
                thread::spawn(move || serve(&state, front, &behind));
            }
        });
        Ok(proxy)
    }

    /// Has this fault strike next.
    pub fn set(&self, fault: Fault) {
        *lock(&self.state.fault) = Some(fault);
    }

    /// True if there is no fault to come any more.
    pub fn has_struck(&self) -> bool {
        lock(&self.state.fault).is_none()
    }

    /// The commands seen so far that a milter acts on.
    pub fn commands(&self) -> BTreeSet<u8> {
        lock(&self.state.commands).clone()
    }

    /// How many edits the milter has made to a message at most.
    pub fn most_edits(&self) -> usize {
        self.state.most_edits.load(Ordering::SeqCst)
    }
}

/// One connection of the mail server, to its end. What goes wrong with it is what the mail server is to see.
fn serve(state: &State, front: UnixStream, behind: &PathBuf) {
    let Ok(back) = UnixStream::connect(behind) else { return };
    let (at_end, is_silent) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = commands(state, &front, &back, &at_end, &is_silent);
            cut(&front, &back);
        });
        let _ = answers(state, &front, &back, &at_end, &is_silent);
        cut(&front, &back);
    });
}

fn cut(front: &UnixStream, back: &UnixStream) {
    let _ = front.shutdown(Shutdown::Both);
    let _ = back.shutdown(Shutdown::Both);
}

fn commands(
    state: &State,
    mut front: &UnixStream,
    mut back: &UnixStream,
    at_end: &AtomicBool,
    is_silent: &AtomicBool,
) -> io::Result<()> {
    loop {
        let frame = frame(&mut front)?;
        let command = frame[4];
        if !UNANSWERED.contains(&command) {
            lock(&state.commands).insert(command);
        }
        at_end.store(command == b'E', Ordering::SeqCst);
        if state.strikes(|fault| fault == Fault::Command(command)) {
            return Ok(());
        }
        if state.strikes(|fault| fault == Fault::Silence(command)) {
            is_silent.store(true, Ordering::SeqCst);
        }
        back.write_all(&frame)?;
    }
}

fn answers(
    state: &State,
    mut front: &UnixStream,
    mut back: &UnixStream,
    at_end: &AtomicBool,
    is_silent: &AtomicBool,
) -> io::Result<()> {
    let mut edits = 0;
    loop {
        let frame = frame(&mut back)?;
        if is_silent.load(Ordering::SeqCst) {
            continue;
        }
        if at_end.load(Ordering::SeqCst) && frame[4] != b'p' {
            let is_edit = !NO_EDIT.contains(&frame[4]);
            if state.strikes(|fault| fault == Fault::Edits(edits) || (fault == Fault::Verdict && !is_edit)) {
                return Ok(());
            }
            edits = if is_edit { edits + 1 } else { 0 };
            state.most_edits.fetch_max(edits, Ordering::SeqCst);
        }
        front.write_all(&frame)?;
    }
}

/// A frame of the milter protocol: length, command, data. An error at the end of the stream, too.
fn frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let size = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if size == 0 {
        return Err(io::Error::other("a frame without a command"));
    }
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}
