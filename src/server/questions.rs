//! Serving the doors that answer questions, on the runtime that accepts: an answer takes some microseconds, and nobody
//! else needs that thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Listener;
use super::accept::{self, Acceptor, LimitReport};
use super::listen::SocketFile;
use super::worker::Accepted;
use crate::questions::{self, Patience, Protocol};
use crate::telemetry;

/// How a door is served.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Which it is.
    pub door: telemetry::Door,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long a silent connection is kept.
    pub idle_timeout: Duration,
}

/// A door that answers questions, while it runs.
#[derive(Debug)]
pub struct Service {
    accepting: JoinSet<()>,
    stop: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    max_connections: usize,
    files: Vec<SocketFile>,
}

/// How long questions that have begun may take when the service stops.
const LAST_QUESTIONS: Duration = Duration::from_secs(1);

/// Answers the questions that come in on these listeners until [`Service::stop`].
///
/// # Errors
/// When the runtime does not take a listener.
pub fn serve<P>(listeners: Vec<Listener>, terms: Terms, protocol: P) -> io::Result<Service>
where
    P: Protocol + Send + Sync + 'static,
    P::Malformed: Send,
{
    telemetry::door(terms.door, listeners.iter().map(ToString::to_string), terms.max_connections);
    let (stop, stopped) = watch::channel(false);
    let protocol = Arc::new(protocol);
    let mut service = Service {
        accepting: JoinSet::new(),
        stop,
        connections: Arc::new(Semaphore::new(terms.max_connections)),
        max_connections: terms.max_connections,
        files: Vec::new(),
    };
    for listener in listeners {
        let (listener, file) = accept::prepare(listener)?;
        service.files.extend(file);
        let door = Door {
            terms,
            connections: service.connections.clone(),
            protocol: protocol.clone(),
            stopped: stopped.clone(),
        };
        service.accepting.spawn(door.accept_for_ever(listener));
    }
    Ok(service)
}

impl Service {
    /// Takes no more connections, and ends those that there are after the question that they are at.
    pub async fn stop(mut self) {
        self.accepting.shutdown().await;
        drop(self.files);
        // With no connection there is nobody to tell.
        let _ = self.stop.send(true);
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        // Whoever has begun a question and does not end it gets no answer, and asks again.
        let _ = tokio::time::timeout(LAST_QUESTIONS, self.connections.acquire_many(all)).await;
    }
}

struct Door<P> {
    terms: Terms,
    connections: Arc<Semaphore>,
    protocol: Arc<P>,
    stopped: watch::Receiver<bool>,
}

impl<P> Door<P>
where
    P: Protocol + Send + Sync + 'static,
    P::Malformed: Send,
{
    /// At the connection limit a newcomer is closed: whoever waited would time out, and the mail server says why if it
    /// cannot ask at once.
    async fn accept_for_ever(self, listener: Acceptor) {
        let mut report = LimitReport::default();
        let patience = Patience { idle: self.terms.idle_timeout, question: Patience::QUESTION };
        loop {
            let accepted = listener.accept().await;
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                telemetry::door_limit_reached(self.terms.door, report.is_due());
                continue;
            };
            let (protocol, stopped) = (self.protocol.clone(), self.stopped.clone());
            let open = (permit, telemetry::connected(self.terms.door));
            tokio::spawn(async move {
                // A connection that breaks ends; the mail server makes another.
                let _ = match accepted {
                    Accepted::Tcp(stream) => match TcpStream::from_std(stream) {
                        Ok(stream) => questions::serve(stream, &*protocol, patience, stopped).await,
                        Err(error) => Err(error),
                    },
                    Accepted::Unix(stream) => match UnixStream::from_std(stream) {
                        Ok(stream) => questions::serve(stream, &*protocol, patience, stopped).await,
                        Err(error) => Err(error),
                    },
                };
                drop(open);
            });
        }
    }
}
