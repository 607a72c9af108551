//! How long to wait before the next attempt. The schedule is data; chance comes in as an argument.

use std::time::Duration;

/// Waits between attempts, in the time of the clock: the first after one failure, the last from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

impl Schedule {
    /// A schedule of these steps; an empty list waits one second each time.
    pub fn new(steps: Vec<Duration>) -> Self {
        if steps.is_empty() { Schedule(vec![Duration::from_secs(1)]) } else { Schedule(steps) }
    }

    /// The wait after `failures` attempts in a row (1 and up) have failed.
    ///
    /// `asked` is the destination's `Retry-After`: it may make the wait longer, up to the schedule's longest step,
    /// never shorter; a confused peer must not hold a page back for an hour. `chance` in 0..1 spreads the result by
    /// ±20 %, so that many daemons do not return to a recovering peer in step.
    pub fn wait(&self, failures: usize, asked: Option<Duration>, chance: f64) -> Duration {
        let step = self.0[failures.saturating_sub(1).min(self.0.len() - 1)];
        let longest = self.0.iter().copied().max().unwrap_or(step);
        let wait = asked.map_or(step, |asked| asked.clamp(step, longest));
        wait.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
    }
}

impl Default for Schedule {
    /// 1, 2, 5, 10 and then every 15 seconds: a peer that comes back hears of a page within 18 s.
    fn default() -> Self {
        Schedule([1, 2, 5, 10, 15].map(Duration::from_secs).to_vec())
    }
}

/// A seeded source of numbers in 0..1 (SplitMix64): the same seed waits the same.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Chance(seed)
    }

    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: f64 = 0.5;

    #[test]
    fn waits_grow_along_the_steps_and_stay_at_the_last() {
        let schedule = Schedule::default();
        let waits: Vec<u64> = (1..=7).map(|failures| schedule.wait(failures, None, EVEN).as_secs()).collect();
        assert_eq!(waits, [1, 2, 5, 10, 15, 15, 15]);
    }

    #[test]
    fn retry_after_lengthens_a_wait_but_never_past_the_longest_step() {
        let schedule = Schedule::default();
        let wait = |asked| schedule.wait(1, Some(Duration::from_secs(asked)), EVEN).as_secs();
        assert_eq!(wait(0), 1);
        assert_eq!(wait(7), 7);
        assert_eq!(wait(3600), 15);
    }

    #[test]
    fn chance_spreads_by_a_fifth_either_way() {
        let schedule = Schedule::new(vec![Duration::from_secs(10)]);
        assert_eq!(schedule.wait(1, None, 0.0), Duration::from_secs(8));
        assert_eq!(schedule.wait(1, None, 1.0), Duration::from_secs(12));
        let mut chance = Chance::new(7);
        let drawn: Vec<f64> = (0..1000).map(|_| chance.next()).collect();
        assert!(drawn.iter().all(|c| (0.0..1.0).contains(c)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
