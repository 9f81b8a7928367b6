//! What is known of a domain's MX hosts, and what follows from it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lock_down::MxHosts;

/// What is known of a domain. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainState {
    /// The hosted domain.
    pub domain: String,
    /// Whether lock-down is enforced for it; else it only monitors.
    pub enforced: bool,
    /// Since when.
    pub since: u64,
    /// Why.
    pub why: String,
    /// The MX hosts of the last answer.
    pub mx: Vec<String>,
    /// When that answer came; `None` if there has been none.
    pub looked_up: Option<u64>,
    /// Since when all answers have named the provider's MX hosts only.
    pub providers_since: Option<u64>,
    /// How many such answers there have been in a row, counted to 2.
    pub providers_answers: u8,
}

/// A change that somebody should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Enforced from now on.
    Entered,
    /// Not enforced any more.
    Left,
    /// Not enforced, for another reason than before.
    Reason,
}

/// So many answers in a row must agree before lock-down is enforced.
const AGREEING_ANSWERS: u8 = 2;

/// Knowledge older than this is none: a week.
const MAX_AGE: u64 = 7 * 24 * 3600;

/// The time of the last answer is saved this often, in seconds, if nothing else changes.
const SAVE_INTERVAL: u64 = 3600;

impl DomainState {
    /// Nothing is known yet.
    pub fn unknown(domain: &str, now: u64) -> Self {
        Self {
            domain: domain.to_owned(),
            enforced: false,
            since: now,
            why: "the MX hosts have not been looked up yet".into(),
            mx: Vec::new(),
            looked_up: None,
            providers_since: None,
            providers_answers: 0,
        }
    }

    /// What an earlier run knew, as far as it still counts.
    pub fn still_valid(mut self, mx_hosts: &MxHosts, now: u64) -> Option<Self> {
        let age = now.saturating_sub(self.looked_up?);
        if age > MAX_AGE {
            return None;
        }
        if (self.enforced || self.providers_since.is_some()) && foreign(&self.mx, mx_hosts).is_some() {
            return None;
        }
        // The clock may have been set back.
        self.since = self.since.min(now);
        self.providers_since = self.providers_since.map(|since| since.min(now));
        Some(self)
    }

    /// Takes an answer: the names of the MX hosts.
    ///
    /// One answer is enough to stop enforcing, for mail is refused that should not be. To begin, the MX hosts must have
    /// been the provider's for `settle_time`: until then, senders may have the earlier ones in their caches.
    pub fn take(&mut self, hosts: &[String], mx_hosts: &MxHosts, settle_time: Duration, now: u64) {
        self.mx = hosts.to_vec();
        self.looked_up = Some(now);
        let (enforced, why) = match foreign(hosts, mx_hosts) {
            Some(why) => {
                (self.providers_since, self.providers_answers) = (None, 0);
                (false, why)
            }
            None => {
                let since = self.providers_since.unwrap_or(now).min(now);
                self.providers_since = Some(since);
                self.providers_answers = self.providers_answers.saturating_add(1).min(AGREEING_ANSWERS);
                let settled = now - since >= settle_time.as_secs() && self.providers_answers >= AGREEING_ANSWERS;
                let names = hosts.join(", ");
                if self.enforced || settled {
                    (true, format!("all MX hosts are the provider's: {names}"))
                } else {
                    let wait = "senders may still have earlier ones in their caches";
                    (false, format!("all MX hosts are the provider's now: {names}; {wait}"))
                }
            }
        };
        if enforced != self.enforced {
            (self.enforced, self.since) = (enforced, now);
        }
        self.why = why;
    }

    /// What somebody should hear of when this state is followed by that one.
    pub fn change_to(&self, after: &Self) -> Option<Change> {
        match (self.enforced, after.enforced) {
            (false, true) => Some(Change::Entered),
            (true, false) => Some(Change::Left),
            (false, false) if self.why != after.why => Some(Change::Reason),
            _ => None,
        }
    }

    /// Whether the file needs to be written anew when this state is followed by that one.
    pub fn is_worth_saving(&self, after: &Self) -> bool {
        let hour = |state: &Self| state.looked_up.map(|time| time / SAVE_INTERVAL);
        hour(self) != hour(after) || *self != Self { looked_up: self.looked_up, ..after.clone() }
    }
}

/// Why these are not the provider's MX hosts; `None` if they all are.
fn foreign(hosts: &[String], mx_hosts: &MxHosts) -> Option<String> {
    match hosts {
        [] => Some("there is no MX record".into()),
        [null] if null.is_empty() => Some("the MX record says that the domain takes no mail".into()),
        hosts => {
            let foreign: Vec<&str> = hosts.iter().map(String::as_str).filter(|host| !mx_hosts.contains(host)).collect();
            let are = if foreign.len() == 1 { "is not one" } else { "are not" };
            (!foreign.is_empty()).then(|| format!("{} {are} of the provider's MX hosts", foreign.join(", ")))
        }
    }
}

/// Reads what [`save`] wrote; nothing if there is no such file.
pub fn read(file: &Path) -> io::Result<Vec<DomainState>> {
    match fs::read(file) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Puts the states in place as a whole, as they are when it is the turn of this call: answers for several domains may
/// come at once.
pub fn save(file: &Path, states: impl FnOnce() -> Vec<DomainState>) -> io::Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _saving = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = file.with_extension("new");
    let mut output = fs::File::create(&temporary)?;
    output.write_all(&serde_json::to_vec_pretty(&states())?)?;
    output.sync_all()?;
    fs::rename(temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn provider() -> MxHosts {
        MxHosts::from_iter(["*.provider.test".to_string()])
    }

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn state() -> DomainState {
        DomainState::unknown("customer.test", 1_000)
    }

    fn take(state: &mut DomainState, names: &[&str], settle_time: Duration, now: u64) -> Option<Change> {
        let before = state.clone();
        state.take(&hosts(names), &provider(), settle_time, now);
        before.change_to(state)
    }

    #[test]
    fn enforcement_begins_when_all_mx_hosts_have_been_the_providers_for_long_enough() {
        let mut state = state();
        let mx = ["a.provider.test", "b.provider.test"];
        assert_eq!(take(&mut state, &mx, DAY, 2_000), Some(Change::Reason));
        assert_eq!(take(&mut state, &mx, DAY, 3_000), None);
        assert_eq!(take(&mut state, &mx, DAY, 2_000 + 86_399), None);
        assert_eq!(take(&mut state, &mx, DAY, 2_000 + 86_400), Some(Change::Entered));
        assert_eq!((state.enforced, state.since), (true, 88_400));
        assert_eq!(take(&mut state, &mx, DAY, 90_000), None);
    }

    #[test]
    fn one_answer_is_not_enough_to_begin() {
        let mut state = state();
        assert_eq!(take(&mut state, &["a.provider.test"], Duration::ZERO, 2_000), Some(Change::Reason));
        assert_eq!(take(&mut state, &["a.provider.test"], Duration::ZERO, 2_001), Some(Change::Entered));
    }

    #[test]
    fn one_answer_is_enough_to_stop_and_the_wait_begins_anew() {
        for foreign in [&["a.provider.test", "mx.remote.test"][..], &["mx.remote.test"], &[], &[""], &["provider.test"]]
        {
            let mut state = state();
            for now in [2_000, 3_000] {
                take(&mut state, &["a.provider.test"], Duration::ZERO, now);
            }
            assert!(state.enforced);
            assert_eq!(take(&mut state, foreign, Duration::ZERO, 4_000), Some(Change::Left), "{foreign:?}");
            assert_eq!(take(&mut state, &["a.provider.test"], DAY, 5_000), Some(Change::Reason));
            assert_eq!(take(&mut state, &["a.provider.test"], DAY, 5_000 + 86_399), None);
            assert_eq!(take(&mut state, &["a.provider.test"], DAY, 5_000 + 86_400), Some(Change::Entered));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_the_wait_longer_not_shorter() {
        let mut state = state();
        take(&mut state, &["a.provider.test"], DAY, 500_000);
        assert_eq!(take(&mut state, &["a.provider.test"], DAY, 1_000), None);
        assert_eq!(take(&mut state, &["a.provider.test"], DAY, 1_000 + 86_399), None);
        assert_eq!(take(&mut state, &["a.provider.test"], DAY, 1_000 + 86_400), Some(Change::Entered));
    }

    #[test]
    fn the_reason_is_told_in_words() {
        let why = |names: &[&str]| {
            let mut state = state();
            take(&mut state, names, DAY, 2_000);
            state.why
        };
        assert_eq!(why(&["a.provider.test", "mx.remote.test"]), "mx.remote.test is not one of the provider's MX hosts");
        assert_eq!(why(&["x.test", "y.test"]), "x.test, y.test are not of the provider's MX hosts");
        assert_eq!(why(&[]), "there is no MX record");
        assert_eq!(why(&[""]), "the MX record says that the domain takes no mail");
    }

    #[test]
    fn what_was_known_counts_as_long_as_it_is_fresh_and_the_hosts_are_still_the_providers() {
        let mut known = state();
        for now in [2_000, 3_000] {
            take(&mut known, &["a.provider.test"], Duration::ZERO, now);
        }
        assert_eq!(known.clone().still_valid(&provider(), 4_000), Some(known.clone()));
        assert_eq!(known.clone().still_valid(&provider(), 3_000 + MAX_AGE + 1), None);
        let others = MxHosts::from_iter(["mx.example.net".to_string()]);
        assert_eq!(known.still_valid(&others, 4_000), None);
        assert_eq!(state().still_valid(&provider(), 4_000), None);
    }

    #[test]
    fn states_are_saved_and_read_and_nothing_is_no_mistake() {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-lock-down", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("lock-down.json");
        assert_eq!(read(&file).unwrap(), []);
        let mut known = state();
        take(&mut known, &["a.provider.test"], DAY, 2_000);
        save(&file, || vec![known.clone()]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| save(&file, || vec![known.clone()]).unwrap()));
            }
        });
        assert_eq!(read(&file).unwrap(), [known]);
        fs::write(&file, "[{").unwrap();
        assert!(read(&file).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
