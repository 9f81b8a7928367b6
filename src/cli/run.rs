//! `conbool-milter run`: the daemon.

mod sender_table;

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::sender_table::SenderTableKeeper;
use super::Failure;
use super::mx_watch::{self, MxWatch};
use crate::config::{self, Config};
use crate::judge::{self, Site};
use crate::milter::CurrentSite;
use crate::policyd::Policyd;
use crate::routing::Routes;
use crate::scope::ScopeSets;
use crate::server::{self, Service, Sockets, Terms};
use crate::socketmap::Socketmap;
use crate::sources::{Directory, Loaded, Mistake, Refresher};
use crate::telemetry::{self, Door};

/// Runs until SIGTERM or SIGINT. SIGHUP loads the configuration and all that it names anew.
///
/// # Errors
/// Whatever keeps the daemon from starting: configuration, scripts, sources of scopes, sockets.
pub fn run(path: &Path) -> Result<(), Failure> {
    avoid_huge_pages();
    let (config, policy) = super::load_policy(path).map_err(Failure::lasting)?;
    telemetry::start(&config.log)
        .map_err(|error| Failure::passing(format!("log.format: the journal cannot be reached: {error}")))?;
    allow_descriptors(config.milter.max_connections + config.policy.max_connections + config.socketmap.max_connections);
    let failed = |error: io::Error| Failure::passing(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let directory = super::directory(&config);
        let loaded = load_scopes(&config, directory.as_ref(), None).await;
        let (site, loaded) = super::together(policy, loaded)?;
        let mut scopes = Refresher::new(loaded, directory);
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
        let mut sockets =
            Sockets::open(&config).map_err(|error| Failure { message: error.to_string(), may_pass: error.may_pass })?;
        let names = sockets.names();
        telemetry::loaded(path, &site);
        let (site, watch) = mx_watch::prepare(&config, site, None);
        let current = Arc::new(CurrentSite::from_pointee(site));
        let routes = Arc::new(routes(&config, &sockets).map_err(Failure::passing)?);
        let services = answer_questions(&config, &mut sockets, &current, &routes).map_err(failed)?;
        let mut watch = watch.map(|watch| mx_watch::start(watch, current.clone()));
        let sender_table = sender_table::start(config.clone(), current.clone()).await;
        let shutdown = async {
            telemetry::started(&names);
            notify(&[NotifyState::Ready]);
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hang_up.recv() => tokio::select! {
                        () = reload(path, &config, &current, &mut scopes, &mut watch, &sender_table) => {}
                        // A directory that does not answer must not keep the daemon from ending.
                        _ = terminate.recv() => break,
                        _ = interrupt.recv() => break,
                    },
                    sets = scopes.changed() => use_scopes(&current, &sets),
                }
            }
            // Running sessions may be given more time than systemd waits by itself (TimeoutStopSec=).
            notify(&[NotifyState::Stopping, extended(config.milter.drain_timeout + STOP_MARGIN)]);
        };
        let served = server::run(sockets, &config.milter, current.clone(), routes, judge::judge, shutdown).await;
        served.map_err(|error| Failure::passing(format!("cannot go on: {error}")))?;
        // Only now: SMTP sessions that went on until here may have asked them.
        let [policy, socketmap] = services;
        tokio::join!(policy.stop(), socketmap.stop());
        telemetry::stopped();
        Ok(())
    })
}

/// What is known of transactions: where Sendmail asks for it, with what was known before.
fn routes(config: &Config, sockets: &Sockets) -> Result<Routes, String> {
    if sockets.socketmap.is_empty() {
        return Ok(Routes::volatile());
    }
    let folder = &config.state_directory;
    Routes::open(folder).map_err(|error| {
        format!("state_directory: the routes of messages cannot be kept in {}: {error}", folder.display())
    })
}

/// Opens the doors that answer questions.
fn answer_questions(
    config: &Config,
    sockets: &mut Sockets,
    current: &Arc<CurrentSite>,
    routes: &Arc<Routes>,
) -> io::Result<[Service; 2]> {
    let config::Policy { max_connections, idle_timeout, .. } = config.policy;
    let policy = Terms { door: Door::Policy, max_connections, idle_timeout };
    let config::Socketmap { max_connections, idle_timeout, .. } = config.socketmap;
    let socketmap = Terms { door: Door::Socketmap, max_connections, idle_timeout };
    let (site, routes) = (current.clone(), routes.clone());
    Ok([
        server::serve_questions(std::mem::take(&mut sockets.policy), policy, Policyd { site: site.clone() })?,
        server::serve_questions(std::mem::take(&mut sockets.socketmap), socketmap, Socketmap { site, routes })?,
    ])
}

/// Puts other members of scopes in force, for the messages that begin from now on.
fn use_scopes(current: &CurrentSite, sets: &ScopeSets) {
    current.rcu(|site| site.with_scopes(sets));
}

/// Loads and checks everything, and then swaps it in; if anything is wrong, all stays as it was.
///
/// `started` is the configuration that the daemon started with.
async fn reload(
    path: &Path,
    started: &Config,
    current: &Arc<CurrentSite>,
    scopes: &mut Refresher,
    watch: &mut Option<MxWatch>,
    sender_table: &SenderTableKeeper,
) {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    notify(&states);
    match load_anew(path, scopes.loaded()).await {
        Ok((config, site, loaded)) => {
            let need_restart = started.differences_that_need_a_restart(&config);
            telemetry::loaded(path, &site);
            // Nothing runs between here and the end of this block, so that no answer of the old watch is lost.
            let (site, next) = mx_watch::prepare(&config, site, watch.take());
            current.store(Arc::new(sender_table.known_to(site)));
            *watch = next.map(|next| mx_watch::start(next, current.clone()));
            scopes.adopt(loaded, super::directory(&config));
            sender_table.configure(config);
            telemetry::reloaded(&need_restart);
        }
        Err(mistakes) => telemetry::reload_failed(&mistakes),
    }
    notify(&[NotifyState::Ready]);
}

/// Loads everything that the configuration names. Groups whose members are known are not looked up.
async fn load_anew(path: &Path, before: &Loaded) -> Result<(Config, Site, Loaded), String> {
    let file = path.to_path_buf();
    let loaded = tokio::task::spawn_blocking(move || super::load_policy(&file)).await;
    let (config, policy) = loaded.map_err(|_| "loading it ended in an internal error")??;
    let loaded = load_scopes(&config, super::directory(&config).as_ref(), Some(before)).await;
    let (site, loaded) = super::together(policy, loaded)?;
    Ok((config, site, loaded))
}

/// When to tell for the first time that the directory is waited for, and how often.
const WAITING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// By how much more time each time: enough until it is told again.
const WAITING_MARGIN: Duration = Duration::from_secs(30);

/// What is left to do when the running sessions have had their time.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Loads the scopes. How long a look-up may take, the settings of the directory say: the service manager, which would end
/// the daemon after TimeoutStartSec=, hears that it goes on, and so does the log.
async fn load_scopes(
    config: &Config,
    directory: Option<&Directory>,
    before: Option<&Loaded>,
) -> Result<Loaded, Vec<Mistake>> {
    let mut loading = pin!(Loaded::load(config, directory, before));
    let begin = Instant::now();
    let mut ticks = tokio::time::interval_at(begin + WAITING.0, WAITING.1);
    loop {
        tokio::select! {
            loaded = &mut loading => return loaded,
            _ = ticks.tick() => {
                notify(&[extended(WAITING_MARGIN)]);
                let servers = config.ldap.iter().flat_map(|ldap| &ldap.servers).map(ToString::to_string);
                telemetry::waiting_for_directory(&servers.collect::<Vec<_>>().join(" "), begin.elapsed());
            }
        }
    }
}

/// A longer time for what is going on, from now on.
fn extended(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

/// Tells systemd (sd_notify(3)), where it started the daemon.
fn notify(states: &[NotifyState<'_>]) {
    // Nobody to tell is no failure.
    let _ = sd_notify::notify(states);
}

/// Where the system gives huge pages to everybody, the heaps of the threads and the buffers of idle connections take memory
/// in them that they never use (benches/README.md has figures). The allocator is built not to ask for such pages.
fn avoid_huge_pages() {
    // Without it the daemon is larger, not wrong.
    let _ = nix::sys::prctl::set_thp_disable(true);
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
