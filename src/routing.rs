//! Which way mail goes that Sendmail asks for address by address: the verdicts come in by the milter door, the questions
//! by the socketmap door.
//!
//! A transaction is known by its queue id, from MAIL on. Until its message is judged its mail goes by the sender alone;
//! from then on the verdict counts, for what Sendmail makes of aliases, too. A verdict that is another than the sender's
//! ([`Transaction::decided`]) is kept for as long as Sendmail may keep the message, across restarts, in the [`journal`]:
//! the alias's copy of a message that is in scope by its From field alone would pass the relay otherwise. What else is
//! known is kept for some minutes, so that it does not matter how Sendmail writes the sender.

mod generations;
mod journal;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::address::{Address, normalize_domain, with_at_sign};
use crate::judge::Site;
use crate::verdict::Route;

use generations::Generations;
use journal::Journal;

/// The name under which Sendmail knows the socketmap, with which each of its questions begins.
pub const MAP: &str = "conbool";

/// How long a verdict that is the sender's too is kept at least; at most it is twice as long while there is traffic.
const RECENTLY: Duration = Duration::from_secs(600);

/// Most of those verdicts, in each of two generations.
const MOST_RECENT: usize = 20_000;

/// Most verdicts that are not the sender's, in each of two generations: some tens of megabytes, if there ever are so many.
const MOST_LASTING: usize = 500_000;

/// What the socketmap door has to know of the transactions of the milter door.
#[derive(Debug)]
pub struct Routes {
    memory: Mutex<Memory>,
    /// `None`: nothing is kept on disk.
    journal: Option<Mutex<Journal>>,
}

/// What is known, by queue id.
#[derive(Debug)]
struct Memory {
    /// Transactions that are not decided: their number, and where they go by their sender.
    under_way: HashMap<Box<str>, (u64, Route)>,
    /// How many have begun.
    begun: u64,
    /// Verdicts that are the sender's too.
    recent: Generations,
    recent_since: Instant,
    /// Those that are not.
    lasting: Generations,
}

/// What Sendmail asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its queue id; empty where it has none.
    pub queue_id: String,
    /// The envelope sender. It may be spelled so oddly that it could be one of several.
    pub senders: Vec<String>,
    /// The recipient's domain, or address literal, if it is certain.
    pub domain: Option<String>,
}

/// Where the mail goes that Sendmail asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// To the relay.
    Relay,
    /// Past it, although the sender's mail goes there.
    Direct,
    /// Where it would go without us.
    Usual,
}

impl Answer {
    /// Stable name, for the rules in sendmail.cf, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Direct => "direct",
            Self::Usual => "usual",
        }
    }
}

/// A transaction under way. Dropped without [`Transaction::decided`], it is forgotten.
#[derive(Debug)]
pub struct Transaction {
    routes: Arc<Routes>,
    queue_id: Box<str>,
    number: u64,
    by_sender: Route,
}

impl Routes {
    /// With the verdicts that an earlier daemon left below the state directory; later ones are added there.
    ///
    /// # Errors
    /// When they cannot be read, or nothing can be written there.
    pub fn open(state_directory: &Path) -> io::Result<Self> {
        let (journal, lasting) = Journal::open(&state_directory.join("routes"), MOST_LASTING, SystemTime::now())?;
        Ok(Self::with(lasting, Some(Mutex::new(journal))))
    }

    /// That remember nothing beyond the life of the daemon.
    pub fn volatile() -> Self {
        Self::with(Generations::default(), None)
    }

    fn with(lasting: Generations, journal: Option<Mutex<Journal>>) -> Self {
        let memory = Memory {
            under_way: HashMap::new(),
            begun: 0,
            recent: Generations::default(),
            recent_since: Instant::now(),
            lasting,
        };
        Self { memory: Mutex::new(memory), journal }
    }

    /// A transaction begins (MAIL). `by_sender` is where its mail goes until the message is judged.
    pub fn begin(self: &Arc<Self>, queue_id: &str, by_sender: Route) -> Transaction {
        let mut memory = self.memory();
        memory.begun += 1;
        let number = memory.begun;
        if !queue_id.is_empty() {
            memory.under_way.insert(queue_id.into(), (number, by_sender));
        }
        drop(memory);
        Transaction { routes: self.clone(), queue_id: queue_id.into(), number, by_sender }
    }

    /// Where mail goes that Sendmail asks for: the way of its transaction, or by the sender alone where that is not known.
    ///
    /// Mail for hosted domains never goes out by the relay, and none does where routing is not enforced.
    pub fn route(&self, site: &Site, query: &Query) -> Answer {
        let is_hosted = query.domain.as_deref().is_some_and(|domain| site.hosted.contains(&normalize_domain(domain)));
        if is_hosted || !site.modes.routes() {
            return Answer::Usual;
        }
        let by_senders = || match query.senders.iter().any(|sender| by_sender(site, sender) == Route::Relay) {
            true => Answer::Relay,
            false => Answer::Usual,
        };
        self.memory().answer(&query.queue_id).unwrap_or_else(by_senders)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// What is known of a queue id.
    fn answer(&self, queue_id: &str) -> Option<Answer> {
        let by_sender = self.under_way.get(queue_id).map(|(_, route)| *route).or_else(|| self.recent.get(queue_id));
        match (by_sender, self.lasting.get(queue_id)) {
            (Some(Route::Relay), _) | (None, Some(Route::Relay)) => Some(Answer::Relay),
            (Some(Route::Direct), _) => Some(Answer::Usual),
            (None, Some(Route::Direct)) => Some(Answer::Direct),
            (None, None) => None,
        }
    }

    /// Ends a transaction, unless a later one has its queue id.
    fn end(&mut self, queue_id: &str, number: u64) {
        if self.under_way.get(queue_id).is_some_and(|(current, _)| *current == number) {
            self.under_way.remove(queue_id);
        }
    }

    fn remember_recent(&mut self, queue_id: &str, route: Route) {
        if self.recent.len() >= MOST_RECENT || self.recent_since.elapsed() >= RECENTLY {
            self.recent.rotate();
            self.recent_since = Instant::now();
        }
        self.recent.insert(queue_id, route);
    }
}

impl Transaction {
    /// Where Sendmail has been told, by the sender, to send mail of this transaction.
    pub fn by_sender(&self) -> Route {
        self.by_sender
    }

    /// The verdict; to be told before any edit is sent. When this returns, a verdict that is not the sender's outlives the
    /// daemon, and one for the relay outlives the host, too.
    ///
    /// # Errors
    /// When it cannot be written. The message must then be refused for now.
    pub fn decided(self, route: Route) -> io::Result<()> {
        // Dropped at the end, when what replaces it is in place.
        if route == self.by_sender {
            if !self.queue_id.is_empty() {
                self.routes.memory().remember_recent(&self.queue_id, route);
            }
            return Ok(());
        }
        let mut is_new_generation = false;
        if let Some(journal) = &self.routes.journal {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            is_new_generation = journal.append(&self.queue_id, route, SystemTime::now())?;
        }
        let mut memory = self.routes.memory();
        if is_new_generation || memory.lasting.len() >= MOST_LASTING {
            memory.lasting.rotate();
        }
        if !self.queue_id.is_empty() {
            memory.lasting.insert(&self.queue_id, route);
        }
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.routes.memory().end(&self.queue_id, self.number);
    }
}

/// Where mail of this envelope sender goes as long as nothing else is known of it: to the relay if routing is enforced
/// and the sender is in scope.
pub fn by_sender(site: &Site, sender: &str) -> Route {
    let address = || Address::parse(&with_at_sign(sender));
    let in_scope = || address().is_some_and(|address| site.scope.senders.contains(&address));
    if site.modes.routes() && in_scope() { Route::Relay } else { Route::Direct }
}

#[cfg(test)]
mod tests;
