//! What the daemon has counted and how it is: the one source of metrics and status.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::rates::{self, Rates};
use super::status::{Configuration, DoorStatus, FailedReload, LockDownStatus, Messages, ScopeStatus, Status};
use super::tally::{self, Tally};
use crate::verdict::Peer;

/// What failed, where the daemon itself is at work. Messages that fail are counted as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Accepting a connection.
    Accept,
    /// Agreeing with a mail server on what can be done.
    Negotiate,
    /// Telling the mail server the verdict.
    Reply,
    /// Loading the configuration anew.
    Reload,
    /// Reading policy requests.
    Policy,
    /// Reading Sendmail's questions.
    Socketmap,
    /// Looking up MX hosts.
    MxLookUp,
    /// Reading and writing what is known, in the state directory.
    State,
    /// Keeping the mail server's sender table in step.
    SenderTable,
    /// A defect of the program.
    Panic,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Accept,
        Self::Negotiate,
        Self::Reply,
        Self::Reload,
        Self::Policy,
        Self::Socketmap,
        Self::MxLookUp,
        Self::State,
        Self::SenderTable,
        Self::Panic,
    ];

    /// Stable name, for the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Negotiate => "negotiate",
            Self::Reply => "reply",
            Self::Reload => "reload",
            Self::Policy => "policy",
            Self::Socketmap => "socketmap",
            Self::MxLookUp => "mx-look-up",
            Self::State => "state",
            Self::SenderTable => "sender-table",
            Self::Panic => "panic",
        }
    }
}

/// Where connections come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The mail server's milter connections.
    Milter,
    /// Postfix's policy requests.
    Policy,
    /// Sendmail's questions.
    Socketmap,
    /// Whoever wants to know how the daemon is.
    Telemetry,
}

impl Door {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Milter, Self::Policy, Self::Socketmap, Self::Telemetry];

    /// Stable name, for the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milter => "milter",
            Self::Policy => "policy",
            Self::Socketmap => "socketmap",
            Self::Telemetry => "telemetry",
        }
    }
}

/// What has a limit.
pub const LIMITS: [&str; 8] = [
    "connections",
    "header",
    "idle",
    "memory",
    "messages",
    "policy-connections",
    "recipients",
    "socketmap-connections",
];

const PEERS: [Peer; 3] = [Peer::Relay, Peer::Internal, Peer::World];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Draining,
}

/// One for the process: its parts are where the daemon's threads meet.
pub static LEDGER: LazyLock<Ledger> = LazyLock::new(Ledger::new);

/// What has been counted, and how things are.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    /// The messages judged.
    pub messages: Tally,
    peers: [AtomicU64; PEERS.len()],
    forged: AtomicU64,
    errors: [AtomicU64; Stage::ALL.len()],
    limits: [AtomicU64; LIMITS.len()],
    connections: [AtomicU64; Door::ALL.len()],
    failing_to_accept: AtomicUsize,
    scope_failures: Mutex<BTreeMap<String, u64>>,
    rates: Mutex<Rates>,
    state: Mutex<State>,
}

/// What changes rarely.
#[derive(Debug)]
struct State {
    phase: Phase,
    mode: String,
    config: Configuration,
    doors: [(Vec<String>, u64); Door::ALL.len()],
    /// As they were then.
    scopes: (Instant, Vec<ScopeStatus>),
    lock_down: BTreeMap<String, LockDownStatus>,
}

/// A panic elsewhere leaves nothing half done in what these guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Ledger {
    fn new() -> Self {
        let started = Instant::now();
        let state = State {
            phase: Phase::Starting,
            mode: String::new(),
            config: Configuration::default(),
            doors: Default::default(),
            scopes: (started, Vec::new()),
            lock_down: BTreeMap::new(),
        };
        Self {
            started,
            messages: Tally::default(),
            peers: Default::default(),
            forged: AtomicU64::new(0),
            errors: Default::default(),
            limits: Default::default(),
            connections: Default::default(),
            failing_to_accept: AtomicUsize::new(0),
            scope_failures: Mutex::default(),
            rates: Mutex::new(Rates::new(started)),
            state: Mutex::new(state),
        }
    }

    /// One message was judged.
    pub fn message(&self, peer: Peer, forged: usize) {
        if let Some(number) = PEERS.iter().position(|known| *known == peer) {
            self.peers[number].fetch_add(1, Ordering::Relaxed);
        }
        if forged > 0 {
            self.forged.fetch_add(forged as u64, Ordering::Relaxed);
        }
    }

    /// Something failed.
    pub fn error(&self, stage: Stage) {
        self.errors[stage as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Something went past one of [`LIMITS`].
    pub fn limit(&self, name: &str) {
        if let Some(number) = LIMITS.iter().position(|known| *known == name) {
            self.limits[number].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A configuration was put in force.
    pub fn loaded(&self, file: String, mode: String) {
        let mut state = lock(&self.state);
        state.config = Configuration { file, loaded: now(), failed: None };
        state.mode = mode;
    }

    /// A configuration was not put in force.
    pub fn not_loaded(&self, mistakes: &str) {
        let mut lines = mistakes.lines();
        let mistake = lines.next().unwrap_or_default().to_string();
        lock(&self.state).config.failed = Some(FailedReload { time: now(), mistake, more: lines.count() });
    }

    /// A door has these sockets, and this many connections may be open.
    pub fn door(&self, door: Door, sockets: Vec<String>, limit: usize) {
        lock(&self.state).doors[door as usize] = (sockets, limit as u64);
    }

    /// The daemon takes connections.
    pub fn running(&self) {
        lock(&self.state).phase = Phase::Running;
    }

    /// The daemon takes no more connections.
    pub fn draining(&self) {
        lock(&self.state).phase = Phase::Draining;
    }

    /// A source of a scope could not be read again.
    pub fn scope_refresh_failed(&self, scope: &str) {
        *lock(&self.scope_failures).entry(scope.to_owned()).or_default() += 1;
    }

    /// How often a source of a scope could not be read again.
    pub fn scope_refresh_failures(&self, scope: &str) -> u64 {
        lock(&self.scope_failures).get(scope).copied().unwrap_or_default()
    }

    /// How the scopes are now.
    pub fn scopes(&self, scopes: Vec<ScopeStatus>) {
        lock(&self.state).scopes = (Instant::now(), scopes);
    }

    /// How the lock-down of a domain is now; `stepped_back`: `None` if that is as it was.
    pub fn lock_down(&self, domain: &str, enforced: bool, stepped_back: Option<bool>, why: &str) {
        let mut state = lock(&self.state);
        let status = state.lock_down.entry(domain.to_owned()).or_default();
        *status = LockDownStatus {
            domain: domain.to_owned(),
            enforced,
            stepped_back: stepped_back.unwrap_or(status.stepped_back),
            why: why.to_owned(),
        };
    }

    /// The lock-down of these domains is watched, each with whether it is enforced and why, and of no others.
    pub fn lock_down_watched<'a>(&self, domains: impl IntoIterator<Item = (&'a str, bool, &'a str)>) {
        let before = std::mem::take(&mut lock(&self.state).lock_down);
        for (domain, enforced, why) in domains {
            let stepped_back = before.get(domain).is_some_and(|before| before.stepped_back && !enforced);
            self.lock_down(domain, enforced, Some(stepped_back), why);
        }
    }

    /// Counts a connection for as long as the value lives.
    pub fn connected(&'static self, door: Door) -> Connected {
        let open = &self.connections[door as usize];
        open.fetch_add(1, Ordering::Relaxed);
        Connected { open }
    }

    /// A listener cannot accept, for as long as the value lives.
    pub fn cannot_accept(&'static self) -> CannotAccept {
        self.failing_to_accept.fetch_add(1, Ordering::Relaxed);
        CannotAccept { failing: &self.failing_to_accept }
    }

    /// Takes note of the number of messages, for the rates; to be called every [`rates::SAMPLE_EVERY`].
    pub fn sample(&self) {
        lock(&self.rates).sample(Instant::now(), self.total());
    }

    /// All messages.
    fn total(&self) -> u64 {
        self.peers.iter().map(load).sum()
    }

    /// Why no new connections are taken; `None` if they are.
    pub fn not_ready(&self) -> Option<String> {
        match lock(&self.state).phase {
            Phase::Starting => Some("starting".into()),
            Phase::Draining => Some("stopping; running sessions are being finished".into()),
            Phase::Running if self.failing_to_accept.load(Ordering::Relaxed) > 0 => {
                Some("connections cannot be accepted; the log says why".into())
            }
            Phase::Running => None,
        }
    }

    /// Everything, as it is now.
    pub fn status(&self) -> Status {
        let not_ready = self.not_ready();
        let messages = self.message_status();
        let state = lock(&self.state);
        let doors = Door::ALL.into_iter().zip(&state.doors).zip(&self.connections);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            time: now(),
            uptime_seconds: self.started.elapsed().as_secs(),
            not_ready,
            mode: state.mode.clone(),
            config: state.config.clone(),
            doors: doors
                .filter(|((_, (sockets, _)), _)| !sockets.is_empty())
                .map(|((door, (sockets, limit)), open)| DoorStatus {
                    door: door.name().into(),
                    sockets: sockets.clone(),
                    connections: load(open),
                    limit: *limit,
                })
                .collect(),
            messages,
            errors: Stage::ALL.iter().map(|stage| stage.name().into()).zip(self.errors.iter().map(load)).collect(),
            limits_reached: LIMITS.iter().map(ToString::to_string).zip(self.limits.iter().map(load)).collect(),
            scopes: aged(&state.scopes.1, state.scopes.0.elapsed().as_secs()),
            lock_down: state.lock_down.values().cloned().collect(),
            probes: super::probes::kept(),
        }
    }

    fn message_status(&self) -> Messages {
        let (now, total) = (Instant::now(), self.total());
        let rates = lock(&self.rates);
        let counts = self.messages.counts();
        Messages {
            total,
            per_second_1m: rates.per_second(now, total, Duration::from_secs(60)),
            per_second_15m: rates.per_second(now, total, rates::LONGEST),
            directions: tally::sums(&counts, |labels| labels.direction),
            decisions: tally::sums(&counts, |labels| labels.decision),
            reasons: tally::sums(&counts, |labels| &labels.reason),
            modes: tally::sums(&counts, |labels| labels.mode),
            peers: PEERS.iter().map(|peer| peer.name().into()).zip(self.peers.iter().map(load)).collect(),
            forged_headers: load(&self.forged),
        }
    }
}

/// The scopes some seconds later. What stands in the configuration does not grow older.
fn aged(scopes: &[ScopeStatus], seconds: u64) -> Vec<ScopeStatus> {
    let mut scopes = scopes.to_vec();
    for scope in &mut scopes {
        let mut grows_older = false;
        for source in scope.sources.iter_mut().filter(|source| matches!(source.kind.as_str(), "file" | "group")) {
            source.age_seconds += seconds;
            grows_older = true;
        }
        scope.age_seconds += if grows_older { seconds } else { 0 };
    }
    scopes
}

/// An open connection.
#[derive(Debug)]
pub struct Connected {
    open: &'static AtomicU64,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A listener that cannot accept.
#[derive(Debug)]
pub struct CannotAccept {
    failing: &'static AtomicUsize,
}

impl Drop for CannotAccept {
    fn drop(&mut self) {
        self.failing.fetch_sub(1, Ordering::Relaxed);
    }
}
