//! Messages a second over the last minutes, from samples of a counter: bounded memory, however long it runs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often a sample is to be taken.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// The longest time over which a rate can be told.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Samples kept: those of the longest time, and the one that it begins with.
const SAMPLES: usize = (LONGEST.as_secs() / SAMPLE_EVERY.as_secs()) as usize + 1;

/// Samples of a counter that only grows.
#[derive(Debug)]
pub struct Rates {
    samples: VecDeque<(Instant, u64)>,
}

impl Rates {
    /// From here on; the counter is at 0.
    pub fn new(now: Instant) -> Self {
        Self { samples: VecDeque::from([(now, 0)]) }
    }

    /// Takes note of the counter.
    pub fn sample(&mut self, now: Instant, total: u64) {
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, total));
    }

    /// The mean rate a second over the last `time`, or since the beginning if that is less.
    pub fn per_second(&self, now: Instant, total: u64, time: Duration) -> f64 {
        // The youngest sample that is old enough, or else the oldest one.
        let older = self.samples.iter().rev().find(|(taken, _)| now.saturating_duration_since(*taken) >= time);
        let Some((taken, before)) = older.or(self.samples.front()) else { return 0.0 };
        let elapsed = now.saturating_duration_since(*taken).as_secs_f64();
        if elapsed > 0.0 { total.saturating_sub(*before) as f64 / elapsed } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_rate_is_that_of_its_time() {
        let begin = Instant::now();
        let mut rates = Rates::new(begin);
        assert_eq!(rates.per_second(begin, 0, MINUTE), 0.0);
        assert_eq!(rates.per_second(begin + Duration::from_secs(2), 4, MINUTE), 2.0);
        // An hour with one message a second, then a minute with ten.
        let mut total = 0;
        let mut now = begin;
        for second in (5..=3660).step_by(5) {
            now = begin + Duration::from_secs(second);
            total += if second <= 3600 { 5 } else { 50 };
            rates.sample(now, total);
        }
        assert_eq!(rates.per_second(now, total, MINUTE), 10.0);
        assert_eq!(rates.per_second(now, total, LONGEST), (14.0 + 10.0) / 15.0);
        assert_eq!(rates.samples.len(), SAMPLES);
    }
}
