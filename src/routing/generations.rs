//! Routes by queue id, of which the older ones can be forgotten.

use std::collections::HashMap;

use crate::verdict::Route;

/// Routes by queue id, in two generations.
#[derive(Debug, Default)]
pub struct Generations {
    current: HashMap<Box<str>, Route>,
    previous: HashMap<Box<str>, Route>,
}

impl Generations {
    /// What is known of a queue id; the latest, if it was told twice.
    pub fn get(&self, queue_id: &str) -> Option<Route> {
        self.current.get(queue_id).or_else(|| self.previous.get(queue_id)).copied()
    }

    /// Adds to the current generation.
    pub fn insert(&mut self, queue_id: &str, route: Route) {
        self.current.insert(queue_id.into(), route);
    }

    /// The size of the current generation.
    pub fn len(&self) -> usize {
        self.current.len()
    }

    /// Forgets the previous generation, in whose place the current one comes.
    pub fn rotate(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }
}
