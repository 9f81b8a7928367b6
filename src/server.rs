//! Composition root: sockets, worker threads, limits, drain.
//!
//! One thread accepts. Each connection goes to the worker thread with the fewest, which runs it on a current-thread
//! runtime of its own: at the message rates of a mail server, waking up tasks across threads costs more than judging.

mod accept;
mod exporter;
mod listen;
mod questions;
mod watchdog;
mod worker;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

pub use listen::{ListenError, Listener, Sockets, bind};
pub use questions::{Service, Terms, serve as serve_questions};

use crate::config;
use crate::milter::{CurrentSite, Judge, UnderWay};
use crate::routing::Routes;
use crate::telemetry::{self, Door};

/// Serves connections on these sockets until `shutdown` completes; then lets running SMTP sessions finish for
/// `settings.drain_timeout`. Telemetry is served to the end.
///
/// # Errors
/// When threads or sockets cannot be set up, or a worker thread is gone. An error of a single connection, or in accepting
/// one, ends nothing.
pub async fn run(
    sockets: Sockets,
    settings: &config::Milter,
    site: Arc<CurrentSite>,
    routes: Arc<Routes>,
    judge: Judge,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(settings.max_connections));
    let (stop, stopped) = watch::channel(false);
    let under_way = Arc::new(UnderWay::default());
    let count = settings.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut workers = Vec::with_capacity(count);
    for number in 0..count {
        workers.push(worker::start(
            number,
            site.clone(),
            under_way.clone(),
            routes.clone(),
            judge,
            settings.idle_timeout,
            stopped.clone(),
        )?);
    }
    let handles: Arc<[worker::Handle]> = workers.iter().map(|worker| worker.handle.clone()).collect();
    let _exporter = exporter::start(sockets.telemetry, handles.clone())?;
    // While it drains, too.
    let _watchdog = watchdog::start(handles.clone());
    telemetry::door(Door::Milter, sockets.milter.iter().map(ToString::to_string), settings.max_connections);
    let mut accepting = tokio::task::JoinSet::new();
    let mut files = Vec::new();
    for listener in sockets.milter {
        let (listener, file) = accept::prepare(listener)?;
        files.extend(file);
        accepting.spawn(accept::accept_for_ever(listener, connections.clone(), handles.clone()));
    }
    tokio::select! {
        () = shutdown => {}
        // Better started anew by the service manager than running on with half of its workers.
        _ = accepting.join_next() => return Err(io::Error::other("a worker thread has ended")),
    }

    telemetry::stopping();
    accepting.shutdown().await;
    drop(files);
    drain(&connections, settings).await;
    // The workers may have gone already; then there is nobody to tell.
    let _ = stop.send(true);
    for worker in workers {
        worker.join().await;
    }
    Ok(())
}

/// Waits until every connection is closed, which Postfix does when the SMTP session ends.
async fn drain(connections: &Semaphore, settings: &config::Milter) {
    let all = u32::try_from(settings.max_connections).unwrap_or(u32::MAX);
    let open = settings.max_connections - connections.available_permits();
    if open > 0 {
        telemetry::draining(open, settings.drain_timeout);
    }
    if tokio::time::timeout(settings.drain_timeout, connections.acquire_many(all)).await.is_err() {
        telemetry::drain_incomplete(settings.max_connections - connections.available_permits());
        // Lets the commands that are being answered right now be answered.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
