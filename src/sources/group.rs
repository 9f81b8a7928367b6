//! One group of the directory: who is in it, since when that is known, and what was held back.

use std::time::{Duration, Instant, SystemTime};

use super::snapshot::{Kind, Snapshot, Store};
use super::stamp::Stamp;
use crate::address::AddressSet;
use crate::config::{self, HoldBack};
use crate::telemetry;

/// What the directory says when it is asked for a group: the members' addresses as it spells them, or why it cannot.
pub type Answer = Result<Vec<String>, String>;

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For telling.
    pub time: SystemTime,
}

impl Now {
    /// The time now.
    pub fn get() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }
}

/// How often groups are looked up, and which answers are not believed.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Time between two look-ups.
    pub refresh: Duration,
    /// Which answers are held back.
    pub hold_back: HoldBack,
}

/// An answer that is not in force, because it is empty or much smaller than the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How many addresses it has.
    pub members: usize,
    /// Since when the directory answers so.
    pub since: SystemTime,
}

/// A group whose members are known.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its members, and when the directory said so.
    pub known: Snapshot,
    /// The answer that is held back, if there is one.
    pub held: Option<Held>,
    /// Why the last look-up failed, if it did.
    pub problem: Option<String>,
    /// When it is to be looked up again.
    pub due: Instant,
    failures: u32,
    /// The snapshot's file as this process last wrote or read it.
    file: Option<Stamp>,
}

/// First wait after a failed look-up; it doubles with each further one, up to the time between look-ups.
const FIRST_RETRY: Duration = Duration::from_secs(15);

impl Group {
    /// A group as it was when the daemon last ran; `None` if there is no snapshot.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn remembered(store: &Store, name: &str, now: Now) -> Result<Option<Self>, String> {
        let file = store.stamp(name);
        let Some(known) = store.read(name, Kind::Good)? else { return Ok(None) };
        let held = store.read(name, Kind::Held)?;
        let held = held.map(|held| Held { members: held.members.len(), since: held.fetched });
        Ok(Some(Self { known, held, problem: None, due: now.instant, failures: 0, file }))
    }

    /// A group of which nothing was known before the first answer.
    ///
    /// # Errors
    /// When there is no answer, or nobody in the group: whether that is so, somebody has to say.
    pub fn first(store: &Store, name: &str, answer: Answer, policy: Policy, now: Now) -> Result<Self, String> {
        let mut group = Self::answered(name, &answer?, policy, now);
        if group.known.members.is_empty() {
            store.write(name, Kind::Held, &group.known)?;
            return Err("has no member with an e-mail address; correct the group, or say that this is right: \
                        conbool-milter scope accept"
                .into());
        }
        group.save(store, name);
        Ok(group)
    }

    /// A group as the directory says it is, whatever was known before.
    pub fn answered(name: &str, raw: &[String], policy: Policy, now: Now) -> Self {
        let known = Snapshot { members: addresses(name, raw), fetched: now.time };
        Self { known, held: None, problem: None, due: next(policy.refresh, now), failures: 0, file: None }
    }

    /// Takes in an answer. Returns whether the members are others now.
    pub fn take(&mut self, store: &Store, name: &str, answer: Answer, policy: Policy, now: Now) -> bool {
        let raw = match answer {
            Ok(raw) => raw,
            Err(problem) => {
                let retry = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(policy.refresh);
                self.due = next(retry, now);
                self.failures = self.failures.saturating_add(1);
                telemetry::group_not_refreshed(name, &problem, age(self.known.fetched, now));
                self.problem = Some(problem);
                return false;
            }
        };
        (self.failures, self.problem, self.due) = (0, None, next(policy.refresh, now));
        let found = Snapshot { members: addresses(name, &raw), fetched: now.time };
        let (last, members) = (self.known.members.len(), found.members.len());
        if is_doubtful(last, members, policy.hold_back) {
            if self.held.is_none_or(|held| held.members != members) {
                telemetry::group_held_back(name, last, members);
                if let Err(problem) = store.write(name, Kind::Held, &found) {
                    telemetry::snapshot_not_written(&problem);
                }
            }
            let since = self.held.map_or(now.time, |held| held.since);
            self.held = Some(Held { members, since });
            return false;
        }
        if self.held.take().is_some() {
            store.remove_held(name);
        }
        let changed = !found.members.same_entries(&self.known.members);
        if changed {
            self.known = found;
        } else {
            self.known.fetched = found.fetched;
        }
        self.save(store, name);
        changed
    }

    /// Takes in a snapshot that somebody else put in place: `conbool-milter scope accept`. Returns whether the members
    /// are others now.
    pub fn look(&mut self, store: &Store, name: &str, now: Now) -> bool {
        let file = store.stamp(name);
        if file == self.file {
            return false;
        }
        self.file = file;
        match store.read(name, Kind::Good) {
            Ok(Some(accepted)) => {
                let changed = !accepted.members.same_entries(&self.known.members);
                telemetry::group_accepted(name, accepted.members.len());
                (self.known, self.held, self.due) = (accepted, None, now.instant);
                changed
            }
            // Without a snapshot there is only less to go back to; the next refresh writes one.
            Ok(None) => false,
            Err(problem) => {
                telemetry::snapshot_not_read(&problem);
                false
            }
        }
    }

    fn save(&mut self, store: &Store, name: &str) {
        if let Err(problem) = store.write(name, Kind::Good, &self.known) {
            telemetry::snapshot_not_written(&problem);
        }
        self.file = store.stamp(name);
    }
}

/// How long ago something was; 0 if the clock was set back.
pub fn age(since: SystemTime, now: Now) -> Duration {
    now.time.duration_since(since).unwrap_or_default()
}

/// Whether an answer is not to be believed after the last one.
fn is_doubtful(last: usize, members: usize, hold_back: HoldBack) -> bool {
    last > 0 && members == 0 || last >= hold_back.from && (members as f64) < last as f64 * hold_back.below
}

/// A tenth more or less than this time from now, so that not all groups of all hosts are looked up at once.
fn next(wait: Duration, now: Now) -> Instant {
    now.instant + wait.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// The directory's spellings as a set; what is no address is left out, and told.
fn addresses(group: &str, raw: &[String]) -> AddressSet {
    // "@example.com", which would be everybody there, is no address of anybody.
    let address = |written: &String| config::sender(written).ok().filter(|address| !address.starts_with('@'));
    let addresses: Vec<String> = raw.iter().filter_map(address).collect();
    let left_out = raw.len() - addresses.len();
    if left_out > 0 {
        let example = raw.iter().find(|written| address(written).is_none());
        telemetry::no_addresses(group, left_out, example.map_or("", String::as_str));
    }
    addresses.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::*;

    const POLICY: Policy = Policy { refresh: Duration::from_secs(900), hold_back: HoldBack { below: 0.5, from: 10 } };

    fn raw(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("user{number}@customer.test")).collect()
    }

    fn store(name: &str) -> Store {
        let store = Store::new(&folder(name), "a directory");
        store.prepare().unwrap();
        store
    }

    fn group(store: &Store, count: usize) -> Group {
        Group::first(store, "g", Ok(raw(count)), POLICY, Now::get()).unwrap()
    }

    #[test]
    fn an_empty_answer_and_a_much_smaller_one_are_held_back() {
        let store = store("group-held");
        for (last, next, held) in
            [(20, 0, true), (20, 9, true), (20, 10, false), (20, 50, false), (9, 1, false), (9, 0, true), (1, 0, true)]
        {
            let mut group = group(&store, last);
            let changed = group.take(&store, "g", Ok(raw(next)), POLICY, Now::get());
            assert_eq!((changed, group.held.is_some()), (!held, held), "{last} → {next}");
            assert_eq!(group.known.members.len(), if held { last } else { next }, "{last} → {next}");
        }
    }

    #[test]
    fn what_is_held_back_is_given_up_when_the_answer_is_full_again() {
        let store = store("group-full-again");
        let mut group = group(&store, 20);
        assert!(!group.take(&store, "g", Ok(raw(1)), POLICY, Now::get()));
        assert!(store.read("g", Kind::Held).unwrap().is_some());
        assert!(group.take(&store, "g", Ok(raw(19)), POLICY, Now::get()));
        assert!(group.held.is_none() && store.read("g", Kind::Held).unwrap().is_none());
    }

    #[test]
    fn what_is_held_back_comes_into_force_when_it_is_accepted() {
        let store = store("group-accept");
        let mut group = group(&store, 20);
        group.take(&store, "g", Ok(raw(1)), POLICY, Now::get());
        assert!(!group.look(&store, "g", Now::get()));
        store.accept("g").unwrap();
        assert!(group.look(&store, "g", Now::get()));
        assert_eq!((group.known.members.len(), group.held), (1, None));
        assert!(!group.take(&store, "g", Ok(raw(1)), POLICY, Now::get()));
        assert_eq!(group.held, None);
    }

    #[test]
    fn a_failure_keeps_the_members_and_is_tried_again_soon_then_less_often() {
        let store = store("group-failure");
        let (mut group, now) = (group(&store, 20), Now::get());
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(!group.take(&store, "g", Err("no answer".into()), POLICY, now));
            waits.push((group.due - now.instant).as_secs_f64());
        }
        assert_eq!((group.known.members.len(), group.problem.as_deref()), (20, Some("no answer")));
        assert!((13.0..17.0).contains(&waits[0]) && (26.0..34.0).contains(&waits[1]), "{waits:?}");
        assert!((800.0..1000.0).contains(&waits[7]), "{waits:?}");
        assert!(!group.take(&store, "g", Ok(raw(20)), POLICY, now));
        assert_eq!(group.problem, None);
    }

    #[test]
    fn what_was_known_is_remembered() {
        let store = store("group-remembered");
        assert!(Group::remembered(&store, "g", Now::get()).unwrap().is_none());
        group(&store, 20).take(&store, "g", Ok(raw(2)), POLICY, Now::get());
        let remembered = Group::remembered(&store, "g", Now::get()).unwrap().unwrap();
        assert_eq!((remembered.known.members.len(), remembered.held.map(|held| held.members)), (20, Some(2)));
    }

    #[test]
    fn that_nobody_is_in_a_new_group_has_to_be_accepted() {
        let store = store("group-empty");
        let told = Group::first(&store, "g", Ok(vec![]), POLICY, Now::get()).unwrap_err();
        assert!(told.contains("conbool-milter scope accept"), "{told}");
        store.accept("g").unwrap();
        assert!(Group::remembered(&store, "g", Now::get()).unwrap().unwrap().known.members.is_empty());
    }

    #[test]
    fn only_addresses_are_members() {
        let written = ["Alice@Customer.test", "@customer.test", "alice", "smtp:x", "a@b@c", "info@b\u{fc}cher.test"];
        let set = addresses("g", &written.map(String::from));
        assert_eq!(set.entries().collect::<Vec<_>>(), ["alice@customer.test", "info@xn--bcher-kva.test"]);
    }
}
