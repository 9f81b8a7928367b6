//! Which way the mail of each transaction goes, for Sendmail, which asks address by address.
//!
//! The milter door writes the verdicts in; the socketmap door reads them.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::address::Address;
use crate::judge::Site;
use crate::verdict::Route;

/// What the socketmap door has to know of the transactions of the milter door.
#[derive(Debug, Default)]
pub struct Routes {
    known: Mutex<HashMap<String, Route>>,
}

/// What Sendmail asks: where mail of this transaction to this address goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Sendmail's queue id; empty where it has none.
    pub queue_id: String,
    /// The envelope sender, with or without angle brackets.
    pub sender: String,
    /// The recipient's address, as the rules of sendmail.cf hand it over.
    pub recipient: String,
}

/// A transaction under way. Dropped without [`Transaction::decided`], it is forgotten.
#[derive(Debug)]
pub struct Transaction {
    routes: Arc<Routes>,
    queue_id: String,
    by_sender: Route,
}

impl Routes {
    /// With the decisions that an earlier daemon wrote below the state directory; later ones are added there.
    ///
    /// # Errors
    /// When they cannot be read, or nothing can be written there.
    pub fn open(_state_directory: &Path) -> io::Result<Self> {
        Ok(Self::volatile())
    }

    /// That remember nothing beyond the life of the daemon.
    pub fn volatile() -> Self {
        Self::default()
    }

    /// A transaction begins (MAIL). `by_sender` is where its mail goes until the message is judged.
    pub fn begin(self: &Arc<Self>, queue_id: &str, by_sender: Route) -> Transaction {
        self.set(queue_id, Some(by_sender));
        Transaction { routes: self.clone(), queue_id: queue_id.to_owned(), by_sender }
    }

    /// Where mail to an address goes: where the transaction goes, if it is known, or else by the sender alone.
    pub fn route(&self, site: &Site, query: &Query) -> Route {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&query.queue_id).copied().unwrap_or_else(|| by_sender(site, &query.sender))
    }

    fn set(&self, queue_id: &str, route: Option<Route>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match route.filter(|_| !queue_id.is_empty()) {
            Some(route) => known.insert(queue_id.to_owned(), route),
            None => known.remove(queue_id),
        };
    }
}

impl Transaction {
    /// Where Sendmail has been told, by the sender, to send mail of this transaction to other sites.
    pub fn by_sender(&self) -> Route {
        self.by_sender
    }

    /// The verdict; to be told before any edit is sent. When this returns, a decision that differs from the answer by
    /// sender outlives the daemon and the host.
    ///
    /// # Errors
    /// When it cannot be written. The message must then be refused for now.
    pub fn decided(mut self, route: Route) -> io::Result<()> {
        self.routes.set(&self.queue_id, Some(route));
        // Nothing is left to forget.
        self.queue_id.clear();
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.queue_id.is_empty() {
            self.routes.set(&self.queue_id, None);
        }
    }
}

/// Where mail of this envelope sender goes as long as nothing else is known of it: to the relay if routing is enforced
/// and the sender is in scope.
pub fn by_sender(site: &Site, sender: &str) -> Route {
    let in_scope = || Address::parse(sender).is_some_and(|address| site.scope.senders.contains(&address));
    if site.modes.routes() && in_scope() { Route::Relay } else { Route::Direct }
}
