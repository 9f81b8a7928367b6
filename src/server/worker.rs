//! A worker thread: a current-thread runtime that serves the connections it is given.

use std::future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::milter::{self, CurrentSite, Judge, MilterStream, Socket, UnderWay};
use crate::routing::Routes;
use crate::telemetry::{self, Connected, Door};

/// A connection on its way from the accepting thread.
#[derive(Debug)]
pub enum Accepted {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix domain.
    Unix(std::os::unix::net::UnixStream),
}

/// What the accepting thread knows of a worker.
#[derive(Debug, Clone)]
pub struct Handle {
    connections: mpsc::UnboundedSender<(Accepted, Guard)>,
    load: Arc<AtomicUsize>,
    runtime: runtime::Handle,
}

impl Handle {
    /// How many connections it has.
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Gives it a connection; false if the worker is gone. The permits bound how many can be on their way.
    pub fn take(&self, stream: Accepted, permit: OwnedSemaphorePermit) -> bool {
        self.load.fetch_add(1, Ordering::Relaxed);
        let guard = Guard { load: self.load.clone(), _permit: permit, _open: telemetry::connected(Door::Milter) };
        self.connections.send((stream, guard)).is_ok()
    }

    /// Waits until it does what it is asked; false if the worker is gone.
    async fn answers(&self) -> bool {
        self.runtime.spawn(async {}).await.is_ok()
    }

    /// Has it do nothing else until something comes.
    #[cfg(test)]
    pub fn block_until(&self, something: std::sync::mpsc::Receiver<()>) {
        self.runtime.spawn(async move { something.recv() });
    }
}

/// How long the worker threads may take to answer, before they count as hanging.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Waits until all worker threads do what they are asked.
///
/// # Errors
/// That one is gone, or that they have not answered for 3 seconds.
pub async fn all_answer(workers: &[Handle]) -> Result<(), String> {
    let answers = async {
        for (number, worker) in workers.iter().enumerate() {
            if !worker.answers().await {
                return Err(format!("worker thread {number} is gone"));
            }
        }
        Ok(())
    };
    let late = |_| Err(format!("the worker threads have not answered for {} seconds", ANSWER_TIMEOUT.as_secs()));
    tokio::time::timeout(ANSWER_TIMEOUT, answers).await.unwrap_or_else(late)
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub struct Guard {
    load: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
    _open: Connected,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running worker thread.
#[derive(Debug)]
pub struct Worker {
    /// To hand it connections.
    pub handle: Handle,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Waits until it has ended.
    pub async fn join(self) {
        // An error means that the thread is gone, which is what is waited for.
        let _ = self.ended.await;
    }
}

/// The connections handed over, as a listener for indymilter.
struct Incoming {
    connections: mpsc::UnboundedReceiver<(Accepted, Guard)>,
    idle_timeout: Duration,
}

impl indymilter::Listener for Incoming {
    type Io = MilterStream<Guard>;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Self::Io>> {
        // indymilter ends for good at the first error, so that none is ever reported to it.
        loop {
            let Some((accepted, guard)) = ready!(self.connections.poll_recv(context)) else { return Poll::Pending };
            let socket = match accepted {
                Accepted::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(Socket::Tcp),
                Accepted::Unix(stream) => tokio::net::UnixStream::from_std(stream).map(Socket::Unix),
            };
            if let Ok(socket) = socket {
                return Poll::Ready(Ok(MilterStream::new(socket, self.idle_timeout, guard)));
            }
        }
    }
}

/// Starts a worker thread. It ends when `stopped` turns true.
///
/// # Errors
/// When the system gives no thread or runtime.
pub fn start(
    number: usize,
    site: Arc<CurrentSite>,
    under_way: Arc<UnderWay>,
    routes: Arc<Routes>,
    judge: Judge,
    idle_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<Worker> {
    let (connections, incoming) = mpsc::unbounded_channel();
    let incoming = Incoming { connections: incoming, idle_timeout };
    let (end, ended) = oneshot::channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = Handle { connections, load: Arc::default(), runtime: runtime.handle().clone() };
    // The limit on connections is kept where they are accepted.
    let config = indymilter::Config {
        max_connections: Semaphore::MAX_PERMITS,
        connection_timeout: idle_timeout,
        ..indymilter::Config::default()
    };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        runtime.block_on(async move {
            let shutdown = async move {
                if stopped.wait_for(|stopped| *stopped).await.is_err() {
                    future::pending::<()>().await;
                }
            };
            let callbacks = milter::callbacks(site, under_way, routes, judge);
            // Ends by the shutdown only: Incoming reports no errors.
            let _ = indymilter::run(incoming, callbacks, config, shutdown).await;
        });
        let _ = end.send(());
    })?;
    Ok(Worker { handle, ended })
}
