//! How fast one principal may ask: a token bucket each. Pure; time is an argument.

use std::collections::HashMap;

/// Most principals that are remembered. Buckets that are full again are forgotten first: they say nothing.
const KEPT_MAX: usize = 10_000;

/// Requests of each principal.
#[derive(Debug)]
pub struct Pace {
    per_minute: f64,
    burst: f64,
    buckets: HashMap<String, (f64, i64)>,
}

impl Pace {
    /// At most `per_minute` in the long run and `burst` at once, for each.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        Pace { per_minute: f64::from(per_minute), burst: f64::from(burst.max(1)), buckets: HashMap::new() }
    }

    /// Takes one request of `who` at `now_ms`. `Err` is the time until the next one would be taken, seconds, at least 1.
    pub fn take(&mut self, who: &str, now_ms: i64) -> Result<(), u64> {
        if self.buckets.len() >= KEPT_MAX && !self.buckets.contains_key(who) {
            let (rate, burst) = (self.per_minute / 60_000.0, self.burst);
            self.buckets.retain(|_, (left, at_ms)| *left + (now_ms - *at_ms).max(0) as f64 * rate < burst);
            if self.buckets.len() >= KEPT_MAX {
                return Err(60);
            }
        }
        let (left, at_ms) = self.buckets.get(who).copied().unwrap_or((self.burst, now_ms));
        // A clock that was set back gives nothing.
        let gained = (now_ms - at_ms).max(0) as f64 * self.per_minute / 60_000.0;
        let left = (left + gained).min(self.burst);
        if left >= 1.0 {
            self.buckets.insert(who.to_owned(), (left - 1.0, now_ms));
            return Ok(());
        }
        self.buckets.insert(who.to_owned(), (left, now_ms));
        let seconds = (1.0 - left) * 60.0 / self.per_minute.max(f64::MIN_POSITIVE);
        Err(seconds.ceil().clamp(1.0, 3600.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_then_the_rate_holds() {
        let mut pace = Pace::new(60, 3);
        for _ in 0..3 {
            assert_eq!(pace.take("orca", 1_000), Ok(()));
        }
        assert_eq!(pace.take("orca", 1_000), Err(1));
        assert_eq!(pace.take("ada", 1_000), Ok(()), "each has a bucket of its own");
        assert_eq!(pace.take("orca", 1_999), Err(1));
        assert_eq!(pace.take("orca", 2_001), Ok(()));
        assert_eq!(pace.take("orca", 2_001), Err(1));
    }

    #[test]
    fn a_clock_set_back_gives_nothing_and_takes_nothing() {
        let mut pace = Pace::new(60, 1);
        assert_eq!(pace.take("orca", 1_000_000), Ok(()));
        assert_eq!(pace.take("orca", 10), Err(1));
        assert_eq!(pace.take("orca", 1_010), Ok(()));
    }

    #[test]
    fn strangers_without_end_are_bounded() {
        let mut pace = Pace::new(60, 2);
        for n in 0..KEPT_MAX {
            assert_eq!(pace.take(&format!("p{n}"), 0), Ok(()));
        }
        assert_eq!(pace.take("one more", 0), Err(60));
        assert_eq!(pace.take("p1", 0), Ok(()), "whoever is known is not shut out");
        assert_eq!(pace.take("one more", 120_000), Ok(()), "buckets that are full again make room");
    }
}
