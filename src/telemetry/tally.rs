//! How many messages were judged, by what was decided: one counter for each combination that has occurred.
//!
//! Every message passes here, so that what is known already takes no lock and no memory. What is not known is bounded:
//! all values are the program's own words, but for reasons that scripts give, of which those in the scripts' text are
//! counted each, and all others, which may be made of what a client sent, together as `other`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::verdict::Reason;

/// The reason under which those are counted that no script spells out.
pub const OTHER: &str = "other";

/// By what messages are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Labels<'a> {
    /// Which way it travels.
    pub direction: &'static str,
    /// What was done with it.
    pub decision: &'static str,
    /// The deciding reason: borrowed for ever if it is the program's own, else a script's.
    pub reason: Cow<'a, str>,
    /// Whether it was done.
    pub mode: &'static str,
}

type Counters = HashMap<Labels<'static>, Arc<AtomicU64>>;

/// The counters.
#[derive(Debug, Default)]
pub struct Tally {
    counters: ArcSwap<Counters>,
    /// The reasons in the scripts' text.
    scripts: ArcSwap<HashSet<String>>,
}

impl Tally {
    /// Takes note of the reasons in the text of the scripts that are in force now.
    pub fn announce(&self, reasons: impl IntoIterator<Item = String>) {
        self.scripts.store(Arc::new(reasons.into_iter().collect()));
    }

    /// Counts one message.
    pub fn count(&self, direction: &'static str, decision: &'static str, reason: &Reason, mode: &'static str) {
        let labels = Labels { direction, decision, reason: Cow::Borrowed(reason.name.as_ref()), mode };
        if self.add(&labels) {
            return;
        }
        let reason = match &reason.name {
            Cow::Owned(name) if !self.scripts.load().contains(name) => Cow::Borrowed(OTHER),
            known => known.clone(),
        };
        let labels = Labels { reason, ..labels };
        self.open(&labels);
        self.add(&labels);
    }

    /// Has a counter of the program's own reasons begin with 0 now.
    pub fn begin(&self, direction: &'static str, decision: &'static str, reason: &'static str, mode: &'static str) {
        self.open(&Labels { direction, decision, reason: Cow::Borrowed(reason), mode });
    }

    fn open(&self, labels: &Labels<'static>) {
        if find(&self.counters.load(), labels).is_none() {
            self.counters.rcu(|counters| {
                let mut counters = Counters::clone(counters);
                counters.entry(labels.clone()).or_default();
                counters
            });
        }
    }

    fn add(&self, labels: &Labels<'_>) -> bool {
        let counters = self.counters.load();
        let counter = find(&counters, labels);
        counter.map(|counter| counter.fetch_add(1, Ordering::Relaxed)).is_some()
    }

    /// What has been counted.
    pub fn counts(&self) -> Vec<(Labels<'static>, u64)> {
        let counters = self.counters.load();
        counters.iter().map(|(labels, counter)| (labels.clone(), counter.load(Ordering::Relaxed))).collect()
    }
}

/// The counter for labels that need not live as long as the map.
fn find<'a>(counters: &'a HashMap<Labels<'a>, Arc<AtomicU64>>, labels: &Labels<'a>) -> Option<&'a Arc<AtomicU64>> {
    counters.get(labels)
}

/// The sums of counts that have the same word.
pub fn sums<'a>(
    counts: &'a [(Labels<'static>, u64)],
    word: impl Fn(&'a Labels<'static>) -> &'a str,
) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (labels, count) in counts {
        *sums.entry(word(labels).to_string()).or_default() += count;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(tally: &Tally) -> BTreeMap<String, u64> {
        sums(&tally.counts(), |labels| &labels.reason)
    }

    fn ours(name: &'static str) -> Reason {
        Reason { name: Cow::Borrowed(name), text: String::new() }
    }

    fn scripts(name: String) -> Reason {
        Reason { name: Cow::Owned(name), text: String::new() }
    }

    #[test]
    fn a_peer_cannot_make_up_reasons() {
        let tally = Tally::default();
        tally.announce(["vip".to_string()]);
        tally.count("outbound", "direct", &ours("null-sender"), "enforce");
        tally.count("outbound", "direct", &scripts("vip".into()), "enforce");
        tally.count("outbound", "relay", &scripts("vip".into()), "enforce");
        for number in 0..1000 {
            tally.count("outbound", "direct", &scripts(format!("subject-{number}")), "enforce");
        }
        let expected = [("null-sender", 1), ("other", 1000), ("vip", 2)];
        assert_eq!(reasons(&tally), expected.map(|(name, count)| (name.to_string(), count)).into());
    }

    #[test]
    fn nothing_is_lost_when_threads_meet_at_a_new_counter() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..400 {
                        let reason = ["a", "b", "c", "d", "e", "f", "g", "h"][number / 50];
                        tally.count("inbound", "deliver", &ours(reason), "enforce");
                    }
                });
            }
        });
        assert_eq!(reasons(&tally).into_values().collect::<Vec<_>>(), [200; 8]);
    }
}
