//! `conbool-milter run`: the daemon.

use std::path::Path;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::judge;
use crate::server;
use crate::telemetry;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps the daemon from starting: configuration, scripts, sockets.
pub fn run(config: &Path) -> Result<(), String> {
    let (config, site) = super::load(config)?;
    telemetry::start(&config.log).map_err(|error| format!("log.format: the journal cannot be reached: {error}"))?;
    allow_descriptors(config.milter.max_connections);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let failed = |error: std::io::Error| format!("cannot start: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let listeners = server::bind(&config.milter).map_err(|error| error.to_string())?;
        let sockets: Vec<String> = listeners.iter().map(ToString::to_string).collect();
        let shutdown = async {
            telemetry::started(&sockets);
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server::run(listeners, &config.milter, Arc::new(site), judge::judge, shutdown).await.map_err(failed)?;
        telemetry::stopped();
        Ok(())
    })
}

/// Descriptors needed beside those of connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// Raises the soft limit on open files, by default 1024, to what the connections need, as far as the hard limit goes.
fn allow_descriptors(connections: usize) {
    let wanted = connections as u64 + OTHER_DESCRIPTORS;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < wanted
        && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_err() | (hard < wanted)
    {
        telemetry::too_few_descriptors(wanted, hard);
    }
}
