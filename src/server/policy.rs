//! Serving the policy sockets, on the runtime that accepts: an answer takes some microseconds, and nobody else needs
//! that thread.

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
use crate::config;
use crate::milter::CurrentSite;
use crate::policyd::{self, Patience};
use crate::telemetry;

/// The running policy service.
#[derive(Debug)]
pub struct PolicyService {
    accepting: JoinSet<()>,
    stop: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    max_connections: usize,
    files: Vec<SocketFile>,
}

/// How long requests that have begun may take when the service stops.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Serves policy requests on these listeners until [`PolicyService::stop`].
///
/// # Errors
/// When the runtime does not take a listener.
pub fn serve(
    listeners: Vec<Listener>,
    settings: &config::Policy,
    site: &Arc<CurrentSite>,
) -> io::Result<PolicyService> {
    telemetry::door(telemetry::Door::Policy, listeners.iter().map(ToString::to_string), settings.max_connections);
    let (stop, stopped) = watch::channel(false);
    let mut service = PolicyService {
        accepting: JoinSet::new(),
        stop,
        connections: Arc::new(Semaphore::new(settings.max_connections)),
        max_connections: settings.max_connections,
        files: Vec::new(),
    };
    for listener in listeners {
        let (listener, file) = accept::prepare(listener)?;
        service.files.extend(file);
        let door = Door {
            connections: service.connections.clone(),
            site: site.clone(),
            patience: Patience { idle: settings.idle_timeout, request: Patience::REQUEST },
            stopped: stopped.clone(),
        };
        service.accepting.spawn(door.accept_for_ever(listener));
    }
    Ok(service)
}

impl PolicyService {
    /// Takes no more connections, and ends those that there are after the request that they are at.
    pub async fn stop(mut self) {
        self.accepting.shutdown().await;
        drop(self.files);
        // With no connection there is nobody to tell.
        let _ = self.stop.send(true);
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        // Whoever has begun a request and does not end it gets no answer, and asks again.
        let _ = tokio::time::timeout(LAST_REQUESTS, self.connections.acquire_many(all)).await;
    }
}

struct Door {
    connections: Arc<Semaphore>,
    site: Arc<CurrentSite>,
    patience: Patience,
    stopped: watch::Receiver<bool>,
}

impl Door {
    /// At the connection limit a newcomer is closed: whoever waited would time out, and Postfix says why if it cannot
    /// ask at once.
    async fn accept_for_ever(self, listener: Acceptor) {
        let mut report = LimitReport::default();
        loop {
            let accepted = listener.accept().await;
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                telemetry::policy_limit_reached(report.is_due());
                continue;
            };
            let (site, patience, stopped) = (self.site.clone(), self.patience, self.stopped.clone());
            let open = (permit, telemetry::connected(telemetry::Door::Policy));
            tokio::spawn(async move {
                // A connection that breaks ends; Postfix makes another.
                let _ = match accepted {
                    Accepted::Tcp(stream) => match TcpStream::from_std(stream) {
                        Ok(stream) => policyd::serve(stream, &site, patience, stopped).await,
                        Err(error) => Err(error),
                    },
                    Accepted::Unix(stream) => match UnixStream::from_std(stream) {
                        Ok(stream) => policyd::serve(stream, &site, patience, stopped).await,
                        Err(error) => Err(error),
                    },
                };
                drop(open);
            });
        }
    }
}
