//! The load: a number of SMTP sessions at once, each handing its messages to the milter one after another.

pub mod client;
pub mod messages;
pub mod process;
pub mod start;
pub mod wire;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Answer, Session};
use messages::Message;
use wire::Endpoint;

/// Messages that one SMTP session hands over before the next one begins.
const MESSAGES_PER_SESSION: u64 = 10;

/// What a load came to.
pub struct Outcome {
    pub elapsed: Duration,
    pub messages: u64,
    /// Edits of all messages together.
    pub edits: u64,
}

impl Outcome {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends `messages` copies of the message over `connections` at once.
///
/// # Errors
/// When a connection fails or a message is refused: the figures would mean nothing.
pub fn run(endpoint: &Endpoint, message: &Message, connections: usize, messages: u64) -> io::Result<Outcome> {
    let next = AtomicU64::new(0);
    let begin = Instant::now();
    let edits = std::thread::scope(|scope| {
        let sessions: Vec<_> =
            (0..connections).map(|_| scope.spawn(|| sessions(endpoint, message, &next, messages))).collect();
        sessions
            .into_iter()
            .map(|session| session.join().unwrap_or_else(|_| Err(io::Error::other("panic"))))
            .sum::<io::Result<u64>>()
    })?;
    Ok(Outcome { elapsed: begin.elapsed(), messages, edits })
}

fn sessions(endpoint: &Endpoint, message: &Message, next: &AtomicU64, messages: u64) -> io::Result<u64> {
    let mut edits = 0;
    let mut number = next.fetch_add(1, Ordering::Relaxed);
    while number < messages {
        let mut session = Session::open(endpoint)?;
        for _ in 0..MESSAGES_PER_SESSION {
            match session.send(message, number)? {
                Answer::Taken(count) => edits += count,
                Answer::Refused => return Err(io::Error::other("message refused")),
            }
            number = next.fetch_add(1, Ordering::Relaxed);
            if number >= messages {
                break;
            }
        }
        session.quit()?;
    }
    Ok(edits)
}

/// Connections that have sent one message each and wait for the next.
///
/// # Errors
/// When a connection fails or a message is refused.
pub fn idle(endpoint: &Endpoint, message: &Message, connections: usize) -> io::Result<Vec<Session>> {
    (0..connections as u64)
        .map(|number| {
            let mut session = Session::open(endpoint)?;
            match session.send(message, number)? {
                Answer::Taken(_) => Ok(session),
                Answer::Refused => Err(io::Error::other("message refused")),
            }
        })
        .collect()
}
