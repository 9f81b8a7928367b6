//! The stream that milter sessions run on: answers leave as one write, and TCP does not wait.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::frames::Frames;
use crate::telemetry;

/// A connected socket of either family.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix domain.
    Unix(UnixStream),
}

/// A connection of the mail server, with a guard that is dropped with it.
///
/// What is written is kept until the session reads again, when it has said all it has to say: the answers to an end of
/// message are several small writes, and Nagle's algorithm (RFC 896) together with delayed acknowledgements (RFC 1122,
/// 4.2.3.2) would stall each of them over TCP by 40 ms.
#[derive(Debug)]
pub struct MilterStream<G> {
    socket: Socket,
    pending: Vec<u8>,
    written: usize,
    acknowledge: bool,
    frames: Frames,
    /// What was read and not yet passed on: `input[taken..read]`. Empty while nothing comes: most connections are idle.
    input: Box<[u8]>,
    taken: usize,
    read: usize,
    idle_timeout: Duration,
    waiting_since: Option<Instant>,
    _guard: G,
}

impl<G> Drop for MilterStream<G> {
    fn drop(&mut self) {
        if self.waiting_since.is_some_and(|since| since.elapsed() >= self.idle_timeout) {
            telemetry::idle_connection_closed();
        }
    }
}

/// Pending output is written early beyond this, so that a message with very many edits takes no memory.
const MAX_PENDING: usize = 64 << 10;

/// As much is read at once; Postfix writes 4 KiB at a time to a unix socket. Larger packets go past this buffer.
const INPUT: usize = 8 << 10;

impl<G> MilterStream<G> {
    /// Wraps a connected socket. That it was closed for being silent as long as `idle_timeout` is counted.
    pub fn new(socket: Socket, idle_timeout: Duration, guard: G) -> Self {
        if let Socket::Tcp(stream) = &socket {
            // Where it fails, here and below, the session is slower, not wrong.
            let _ = stream.set_nodelay(true);
        }
        Self {
            socket,
            pending: Vec::new(),
            written: 0,
            acknowledge: true,
            frames: Frames::default(),
            input: Box::default(),
            taken: 0,
            read: 0,
            idle_timeout,
            waiting_since: None,
            _guard: guard,
        }
    }

    fn poll_pending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            let written = ready!(match &mut self.socket {
                Socket::Tcp(stream) => Pin::new(stream).poll_write(context, rest),
                Socket::Unix(stream) => Pin::new(stream).poll_write(context, rest),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.acknowledge = true;
        }
        self.pending.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    /// An input buffer that no connection of this thread needs now.
    static SPARE: Cell<Box<[u8]>> = Cell::default();
}

fn take_buffer() -> Box<[u8]> {
    let spare = SPARE.take();
    if spare.is_empty() { vec![0; INPUT].into() } else { spare }
}

impl Socket {
    /// Reads into `space`, which is not empty; 0 is the end.
    fn poll_input(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(space);
        ready!(match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl<G: Unpin> AsyncRead for MilterStream<G> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_pending(context))?;
        // The kernel goes back to delaying acknowledgements by itself (tcp(7), TCP_QUICKACK): asked again after each
        // answer, when the mail server has small things to say.
        if std::mem::take(&mut stream.acknowledge)
            && let Socket::Tcp(socket) = &stream.socket
        {
            let _ = SockRef::from(socket).set_tcp_quickack(true);
        }
        let before = buffer.filled().len();
        loop {
            stream.taken += stream.frames.pass(&stream.input[stream.taken..stream.read], buffer);
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if stream.taken == stream.read && stream.frames.rest() >= INPUT {
                let space = buffer.initialize_unfilled_to(stream.frames.rest().min(buffer.remaining()));
                let count = ready!(stream.socket.poll_input(context, space))?;
                stream.frames.passed(count);
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            // At most the beginning of a packet is left.
            stream.input.copy_within(stream.taken..stream.read, 0);
            stream.read -= stream.taken;
            stream.taken = 0;
            if stream.input.is_empty() {
                stream.input = take_buffer();
            }
            let Poll::Ready(count) = stream.socket.poll_input(context, &mut stream.input[stream.read..]) else {
                if stream.read == 0 {
                    SPARE.set(std::mem::take(&mut stream.input));
                }
                stream.waiting_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            let count = count?;
            stream.waiting_since = None;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            stream.read += count;
        }
    }
}

impl<G: Unpin> AsyncWrite for MilterStream<G> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if stream.pending.len() >= MAX_PENDING {
            ready!(stream.poll_pending(context))?;
        }
        stream.pending.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_pending(context))?;
        match &mut stream.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
