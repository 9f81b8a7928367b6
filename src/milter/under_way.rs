//! The messages under way on all connections, and what they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the messages under way and the bytes that they hold.
#[derive(Debug, Default)]
pub struct UnderWay {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// One message's part of it; given back when dropped.
#[derive(Debug)]
pub struct Place {
    under_way: Arc<UnderWay>,
    /// What was taken for it, and how much of that is in use.
    taken: usize,
    used: usize,
}

/// As much is taken at once where there is room, so that threads do not meet at the count for every field.
const STEP: usize = 16 << 10;

impl UnderWay {
    /// A place for one more message; `None` if there are `most` already.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Place> {
        add_within(&self.messages, 1, most).then(|| Place { under_way: self.clone(), taken: 0, used: 0 })
    }
}

impl Place {
    /// Takes `bytes` more; false if all messages together would then hold more than `most`, and nothing is taken.
    pub fn hold(&mut self, bytes: usize, most: usize) -> bool {
        let missing = (self.used + bytes).saturating_sub(self.taken);
        let mut take = |bytes: usize| {
            let is_there = add_within(&self.under_way.bytes, bytes, most);
            self.taken += if is_there { bytes } else { 0 };
            is_there
        };
        let held = missing == 0 || take(missing.max(STEP)) || take(missing);
        self.used += if held { bytes } else { 0 };
        held
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.messages.fetch_sub(1, Ordering::Relaxed);
        self.under_way.bytes.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Adds to a count unless that would take it past `most`.
fn add_within(count: &AtomicUsize, more: usize, most: usize) -> bool {
    let sum = |present: usize| present.checked_add(more).filter(|sum| *sum <= most);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(under_way: &UnderWay) -> (usize, usize) {
        (under_way.messages.load(Ordering::Relaxed), under_way.bytes.load(Ordering::Relaxed))
    }

    #[test]
    fn places_and_bytes_are_given_back() {
        let under_way = Arc::new(UnderWay::default());
        let mut first = under_way.enter(2).unwrap();
        let second = under_way.enter(2).unwrap();
        assert!(under_way.enter(2).is_none());
        assert!(first.hold(60, 100) && !first.hold(41, 100) && first.hold(40, 100));
        assert_eq!(counts(&under_way), (2, 100));
        drop((first, second));
        assert_eq!(counts(&under_way), (0, 0));
    }
}
