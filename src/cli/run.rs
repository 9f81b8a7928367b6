//! `conbool-milter run`: the daemon.

use std::path::Path;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::sender_table;
use crate::config::Config;
use crate::judge::{self, Site};
use crate::milter::CurrentSite;
use crate::mta::postfix::Upkeep;
use crate::server::{self, Sockets};
use crate::telemetry;

/// Runs until SIGTERM or SIGINT. SIGHUP loads the configuration and the scripts anew.
///
/// # Errors
/// Whatever keeps the daemon from starting: configuration, scripts, sockets.
pub fn run(path: &Path) -> Result<(), String> {
    let (config, site) = super::load(path)?;
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
        let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
        let sockets = Sockets::open(&config).map_err(|error| error.to_string())?;
        let names = sockets.names();
        let upkeep = Upkeep::new(site.sender_table.clone());
        let current = Arc::new(CurrentSite::from_pointee(site));
        let (in_force, configs) = watch::channel(Arc::new(config.clone()));
        tokio::spawn(sender_table::keep_in_step(upkeep, current.clone(), configs));
        let shutdown = async {
            telemetry::started(&names);
            notify(&[NotifyState::Ready]);
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hang_up.recv() => reload(path, &config, &current, &in_force).await,
                }
            }
            notify(&[NotifyState::Stopping]);
        };
        let served = server::run(sockets.milter, &config.milter, current.clone(), judge::judge, shutdown).await;
        served.map_err(|error| format!("cannot go on: {error}"))?;
        telemetry::stopped();
        Ok(())
    })
}

/// Loads and checks everything, and then swaps it in; if anything is wrong, all stays as it was.
///
/// `started` is the configuration that the daemon started with.
async fn reload(path: &Path, started: &Config, current: &CurrentSite, in_force: &watch::Sender<Arc<Config>>) {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    notify(&states);
    let file = path.to_path_buf();
    let loaded = tokio::task::spawn_blocking(move || super::load(&file)).await;
    match loaded.unwrap_or_else(|_| Err("loading it ended in an internal error".into())) {
        Ok((config, site)) => {
            let sender_table = current.load().sender_table.clone();
            current.store(Arc::new(Site { sender_table, ..site }));
            telemetry::reloaded(&started.differences_that_need_a_restart(&config));
            in_force.send_replace(Arc::new(config));
        }
        Err(mistakes) => telemetry::reload_failed(&mistakes),
    }
    notify(&[NotifyState::Ready]);
}

/// Tells systemd (sd_notify(3)), where it started the daemon.
fn notify(states: &[NotifyState<'_>]) {
    // Nobody to tell is no failure.
    let _ = sd_notify::notify(states);
}

/// Descriptors needed beside those of connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// Raises the soft limit on open files, by default 1024, to what the connections need, as far as the hard limit goes.
fn allow_descriptors(connections: usize) {
    let wanted = connections as u64 + OTHER_DESCRIPTORS;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < wanted
        && (setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_err() || hard < wanted)
    {
        telemetry::too_few_descriptors(wanted, hard);
    }
}
