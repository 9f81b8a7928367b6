//! Accepting connections, and handing each to the worker with the fewest.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

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
    /// Accepts a connection. After an error (out of file descriptors, say) it tries again, ever more slowly.
    pub async fn accept(&self) -> Accepted {
        let mut wait = BACK_OFF.0;
        let mut shut = None;
        loop {
            match self.try_accept().await {
                Ok(accepted) => {
                    drop(shut);
                    return accepted;
                }
                Err(error) => {
                    shut = Some(telemetry::accept_failed(&error, wait));
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener) => Accepted::Tcp(listener.accept().await?.0.into_std()?),
            Self::Unix(listener) => Accepted::Unix(listener.accept().await?.0.into_std()?),
        })
    }
}

/// Wait after a first failure to accept, and the longest wait.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Says when a limit is to be reported again: once a minute at most.
#[derive(Debug, Default)]
pub struct LimitReport(Option<Instant>);

impl LimitReport {
    /// True if it is time; it is then taken as reported.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|reported| reported.elapsed() >= Duration::from_secs(60));
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

/// Accepts connections. At the connection limit new ones are closed at once, a temporary failure to the mail server
/// that need not wait for it. Ends only when a worker is gone, which is a defect.
pub async fn accept_for_ever(listener: Acceptor, connections: Arc<Semaphore>, workers: Arc<[Handle]>) {
    let mut report = LimitReport::default();
    loop {
        let stream = listener.accept().await;
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            telemetry::connection_limit_reached(report.is_due());
            continue;
        };
        let taken = workers.iter().min_by_key(|worker| worker.load()).is_some_and(|worker| worker.take(stream, permit));
        if !taken {
            return;
        }
    }
}
