//! Keeps Postfix's sender table in step with the scope while the daemon runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::address::AddressSet;
use crate::config::{Config, MailServer};
use crate::judge::Site;
use crate::milter::CurrentSite;
use crate::mta::postfix::{Done, Upkeep};
use crate::mta::{self, postfix};
use crate::provider::Provider;
use crate::scope::SenderTable;
use crate::telemetry;

/// How often it is looked whether the scope is another one. Until the table is written, messages are marked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long to wait after a first failure, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// How long postconf and postmap may take before that is reported.
const STALLED: Duration = Duration::from_secs(120);

/// How long the start of the daemon waits to know what is in the table. Until it is known, messages are marked.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// What keeps the table in step, as long as this is there.
#[derive(Debug)]
pub struct SenderTableKeeper {
    in_force: watch::Sender<Arc<Config>>,
    known: Arc<ArcSwap<SenderTable>>,
}

impl SenderTableKeeper {
    /// A site that is to take the place of the current one, with what is known of the table.
    ///
    /// That a pattern covers the hosted domains was found out of those that there were; it is found out again.
    pub fn known_to(&self, site: Site) -> Site {
        if matches!(**self.known.load(), SenderTable::HostedDomains) {
            self.known.store(Arc::default());
        }
        Site { sender_table: self.known.clone(), ..site }
    }

    /// Has the table kept as this configuration says.
    pub fn configure(&self, config: Config) {
        self.in_force.send_replace(Arc::new(config));
    }
}

/// Starts to keep the table in step with the scope of the current site. Returns when the table has been looked at, and
/// written if need be, or takes long.
pub async fn start(config: Config, current: Arc<CurrentSite>) -> SenderTableKeeper {
    let known = current.load().sender_table.clone();
    let (in_force, configs) = watch::channel(Arc::new(config));
    let (looked, first_look) = oneshot::channel();
    tokio::spawn(keep_in_step(Upkeep::new(known.clone()), current, configs, looked));
    // Where it takes too long, or fails, that is told where it happens.
    let _ = timeout(FIRST_LOOK, first_look).await;
    SenderTableKeeper { in_force, known }
}

/// Writes the table whenever the scope or the configuration is another one, until there is no configuration any more.
async fn keep_in_step(
    mut upkeep: Upkeep,
    current: Arc<CurrentSite>,
    mut configs: watch::Receiver<Arc<Config>>,
    looked: oneshot::Sender<()>,
) {
    let mut patience = RETRY.0;
    let mut looked = Some(looked);
    loop {
        let config = configs.borrow_and_update().clone();
        let senders = current.load().scope.senders.clone();
        let begin = Instant::now();
        let kept;
        (upkeep, kept) = attempt(upkeep, config.clone(), senders.clone()).await;
        // Nobody waits any more if it took too long.
        let _ = looked.take().map(|looked| looked.send(()));
        if let Ok(Done::Written(entries)) = kept {
            telemetry::sender_table_written(entries, begin.elapsed());
        }
        let again = match kept {
            Ok(done) => {
                patience = RETRY.0;
                if config.modes.routes() && done != Done::NoTable && !upkeep.is_in_use() {
                    telemetry::sender_table_unused();
                }
                None
            }
            Err(failure) => {
                telemetry::sender_table_failed(failure.as_ref(), patience);
                let again = Instant::now() + patience;
                patience = (2 * patience).min(RETRY.1);
                Some(again)
            }
        };
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= Instant::now());
        while Arc::ptr_eq(&senders, &current.load().scope.senders) && !is_due(again) {
            match configs.has_changed() {
                Ok(false) => {}
                Ok(true) => break,
                Err(_) => return,
            }
            if is_due(upkeep.next_settlement()) {
                upkeep.settle();
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Does once what there is to do, on a thread that may wait.
async fn attempt(mut upkeep: Upkeep, config: Arc<Config>, senders: Arc<AddressSet>) -> (Upkeep, Result<Done, Failure>) {
    let begin = Instant::now();
    let (done, mut ready) = oneshot::channel();
    // A thread of its own: the end of the daemon does not wait for a postmap that hangs.
    std::thread::spawn(move || {
        let kept = keep_once(&mut upkeep, &config, &senders);
        // The daemon may have ended.
        let _ = done.send((upkeep, kept));
    });
    loop {
        match timeout(STALLED, &mut ready).await {
            Ok(Ok(outcome)) => return outcome,
            // The thread has panicked, which is logged where it happens; the table stays as it is, and so does what is
            // told of it.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => telemetry::sender_table_stalled(begin.elapsed()),
        }
    }
}

fn keep_once(upkeep: &mut Upkeep, config: &Config, senders: &AddressSet) -> Result<Done, Failure> {
    // Sendmail has no table: it asks (crate::socketmap). Before the set-up there is none, and perhaps no mail server.
    if !config.is_set_up() || mta::mail_server(config) == MailServer::Sendmail {
        return Ok(Done::NoTable);
    }
    let provider = Provider::load(&config.provider).map_err(|error| error.message)?;
    let next_hop = postfix::relay_next_hop(config, &provider)?;
    // Where routing is only watched, nobody's mail goes to the relay.
    let nobody = AddressSet::default();
    let senders = if config.modes.routes() { senders } else { &nobody };
    Ok(upkeep.keep_in_step(config, senders, next_hop.as_deref())?)
}
