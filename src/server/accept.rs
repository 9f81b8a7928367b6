//! Accepting connections, and handing each to the worker with the fewest.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Listener;
use super::listen::SocketFile;
use super::worker::{Accepted, Handle};
use crate::telemetry;

/// A listener on this runtime.
#[derive(Debug)]
pub enum Acceptor {
    /// TCP.
    Tcp(TcpListener),
    /// Unix domain.
    Unix(UnixListener),
}

/// Moves a listener to this runtime; the file of a unix socket is to be kept for as long.
///
/// # Errors
/// When the runtime does not take it.
pub fn prepare(listener: Listener) -> io::Result<(Acceptor, Option<SocketFile>)> {
    Ok(match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            (Acceptor::Tcp(TcpListener::from_std(listener)?), None)
        }
        Listener::Unix(listener, file) => {
            listener.set_nonblocking(true)?;
            (Acceptor::Unix(UnixListener::from_std(listener)?), file)
        }
    })
}

impl Acceptor {
    async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener) => Accepted::Tcp(listener.accept().await?.0.into_std()?),
            Self::Unix(listener) => Accepted::Unix(listener.accept().await?.0.into_std()?),
        })
    }
}

/// Wait after a first failure to accept, and the longest wait.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How often at most the connection limit is reported.
const LIMIT_REPORT: Duration = Duration::from_secs(60);

/// Accepts connections and has each taken, together with its permit. At the connection limit, which `at_limit` is told
/// of each time and whether it is time to report it, new ones are closed at once, a temporary failure to the mail server
/// that need not wait for it; after an error (out of file descriptors, say) it tries again, ever more slowly. Ends only
/// when one is not taken.
pub async fn accept_for_ever(
    listener: Acceptor,
    connections: Arc<Semaphore>,
    take: impl Fn(Accepted, OwnedSemaphorePermit) -> bool,
    at_limit: impl Fn(bool),
) {
    let mut wait = BACK_OFF.0;
    let mut shut = None;
    let mut limit_reported: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok(stream) => {
                wait = BACK_OFF.0;
                shut.take();
                let Ok(permit) = connections.clone().try_acquire_owned() else {
                    let is_due = limit_reported.is_none_or(|reported| reported.elapsed() >= LIMIT_REPORT);
                    if is_due {
                        limit_reported = Some(Instant::now());
                    }
                    at_limit(is_due);
                    continue;
                };
                if !take(stream, permit) {
                    return;
                }
            }
            Err(error) => {
                shut = Some(telemetry::accept_failed(&error, wait));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Gives a connection to the worker with the fewest; false if that worker is gone, which is a defect.
pub fn give(workers: &[Handle], stream: Accepted, permit: OwnedSemaphorePermit) -> bool {
    workers.iter().min_by_key(|worker| worker.load()).is_some_and(|worker| worker.take(stream, permit))
}
