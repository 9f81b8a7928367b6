//! The telemetry door: a thread of its own, so that whoever asks how the daemon is never delays mail.

use std::io;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::Listener;
use super::accept::{self, Acceptor};
use super::listen::SocketFile;
use super::worker::{self, Accepted, Handle};
use crate::telemetry::{self, Door, http, metrics};

/// Most connections at a time; others are closed at once.
const MAX_CONNECTIONS: usize = 16;

/// The running door; it is shut when this is dropped.
#[derive(Debug)]
pub struct Exporter {
    _stop: oneshot::Sender<()>,
    _sockets: Vec<SocketFile>,
}

/// Opens the door. `None` if it has no sockets: nothing is recorded then that nobody can ask for.
///
/// # Errors
/// When the system gives no thread or runtime, or does not take the sockets.
pub fn start(listeners: Vec<Listener>, workers: Arc<[Handle]>) -> io::Result<Option<Exporter>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    for listener in &listeners {
        if let Listener::Tcp(tcp) = listener
            && !tcp.local_addr()?.ip().is_loopback()
        {
            return Err(io::Error::other(format!("{listener} can be reached from other hosts; telemetry must not be")));
        }
    }
    metrics::install().map_err(io::Error::other)?;
    telemetry::door(Door::Telemetry, listeners.iter().map(ToString::to_string), MAX_CONNECTIONS);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut acceptors = Vec::new();
    let mut sockets = Vec::new();
    {
        let _inside = runtime.enter();
        for listener in listeners {
            let (acceptor, socket) = accept::prepare(listener)?;
            acceptors.push(acceptor);
            sockets.extend(socket);
        }
    }
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new().name("telemetry".into()).spawn(move || {
        runtime.block_on(async {
            let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let mut tasks = JoinSet::new();
            for acceptor in acceptors {
                tasks.spawn(accept_for_ever(acceptor, connections.clone(), workers.clone()));
            }
            tasks.spawn(keep_up());
            // An error means that the owner is gone, which is what is waited for.
            let _ = stopped.await;
        });
    })?;
    Ok(Some(Exporter { _stop: stop, _sockets: sockets }))
}

async fn accept_for_ever(listener: Acceptor, connections: Arc<Semaphore>, workers: Arc<[Handle]>) {
    loop {
        let accepted = listener.accept().await;
        let Ok(permit) = connections.clone().try_acquire_owned() else { continue };
        let workers = workers.clone();
        tokio::spawn(async move {
            let _open = (permit, telemetry::connected(Door::Telemetry));
            serve(accepted, &workers).await;
        });
    }
}

async fn keep_up() {
    let mut ticks = tokio::time::interval(telemetry::SAMPLE_EVERY);
    loop {
        ticks.tick().await;
        telemetry::upkeep();
    }
}

async fn serve(stream: Accepted, workers: &[Handle]) {
    let alive = || worker::all_answer(workers);
    // A connection that is gone already needs no answer.
    match stream {
        Accepted::Tcp(stream) => {
            if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                http::serve(stream, alive).await;
            }
        }
        Accepted::Unix(stream) => {
            if let Ok(stream) = tokio::net::UnixStream::from_std(stream) {
                http::serve(stream, alive).await;
            }
        }
    }
}
