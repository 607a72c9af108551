//! The moment of a tick, and whether it may be believed.
//!
//! Most numbers may be wrong for a moment and right again at the next tick. What is forgotten is gone: series that fell
//! out of every window, rows of the state file, cursors of pods that went silent. So whoever forgets is handed a [`Now`],
//! and forgets nothing while it is not trusted.
//!
//! A clock is trusted once it has gone on for an hour without a jump, while Prometheus answers and has the same time.
//! Sweeping is hourly work over days of slack, so an hour of patience costs nothing.
//!
//! Deliberately absent: a clock. Moments come in, one for each tick.

use super::Seconds;

/// A step of the clock longer than this between two ticks is a jump, seconds, forward or back.
pub const JUMP_MAX_S: i64 = 3600;
/// Clocks further apart than this are not the same time, seconds.
pub const SKEW_MAX_S: i64 = 30;
/// How long the clock goes on without a jump before it is trusted again, seconds.
const STEADY_AFTER_S: i64 = 3600;

/// The moment of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// End of the newest slice that the tick looks at.
    pub at: Seconds,
    /// Whether what is old at this moment may be forgotten.
    pub trusted: bool,
}

/// The moments of the ticks so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    last: Option<Seconds>,
    /// The first moment after the last jump; `None` where there was none.
    jumped: Option<Seconds>,
}

impl Pace {
    /// Goes on after a restart, whose last tick was at `last`.
    pub fn after(last: Seconds) -> Self {
        Pace { last: Some(last), jumped: None }
    }

    /// How far a tick at `at` is from where the last one was, if that is a jump.
    pub fn jump(&self, at: Seconds) -> Option<i64> {
        let step_s = at.saturating_sub(self.last?);
        (step_s.saturating_abs() > JUMP_MAX_S).then_some(step_s)
    }

    /// Takes the moment of a tick. `answered` says whether Prometheus answered in it, and `skew_s` how far its clock was
    /// ahead then; `None` where nobody can tell, such as in a replay.
    pub fn follow(&mut self, at: Seconds, answered: bool, skew_s: Option<f64>) -> Now {
        if self.jump(at).is_some() {
            self.jumped = Some(at);
        }
        self.last = Some(at);
        // A clock that went back from where it had jumped to begins its hour there.
        self.jumped = self.jumped.map(|since| since.min(at));
        let steady = self.jumped.is_none_or(|since| at >= since + STEADY_AFTER_S);
        if steady {
            self.jumped = None;
        }
        let agreed = skew_s.is_none_or(|skew_s| skew_s.abs() <= SKEW_MAX_S as f64);
        Now { at, trusted: steady && answered && agreed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Seconds = 1_790_000_010;

    fn lived(pace: &mut Pace, from: Seconds, to: Seconds) -> Vec<bool> {
        (from..=to).step_by(30).map(|at| pace.follow(at, true, Some(0.0)).trusted).collect()
    }

    #[test]
    fn a_steady_clock_is_trusted_from_the_start() {
        assert!(lived(&mut Pace::default(), AT, AT + 7200).iter().all(|&trusted| trusted));
        let restarted = lived(&mut Pace::after(AT), AT + 1800, AT + 3600);
        assert!(restarted.iter().all(|&trusted| trusted), "half an hour away is no jump");
    }

    #[test]
    fn after_a_jump_it_is_trusted_when_an_hour_has_passed_without_another() {
        for jump_s in [40 * 86_400, -2 * 3600, 3630] {
            let mut pace = Pace::default();
            lived(&mut pace, AT, AT + 600);
            assert!(!pace.follow(AT + 600 + jump_s, true, None).trusted, "{jump_s}");
            assert!(!pace.follow(AT + 630, true, None).trusted, "back again is a jump, too");
            assert!(lived(&mut pace, AT + 660, AT + 630 + 3570).iter().all(|&trusted| !trusted), "{jump_s}");
            assert!(pace.follow(AT + 630 + 3600, true, None).trusted, "{jump_s}");
        }
        let mut pace = Pace::after(AT);
        assert!(!pace.follow(AT + 40 * 86_400, true, Some(0.0)).trusted, "a restart with another time is a jump");
    }

    #[test]
    fn a_minute_to_and_fro_is_no_jump() {
        let mut pace = Pace::default();
        for at in [AT, AT + 60, AT, AT + 60, AT - 60, AT + 120] {
            assert!(pace.follow(at, true, Some(0.0)).trusted);
        }
    }

    #[test]
    fn what_prometheus_does_not_confirm_is_not_trusted() {
        let mut pace = Pace::default();
        assert!(!pace.follow(AT, false, Some(0.0)).trusted, "nobody answered");
        assert!(!pace.follow(AT + 30, true, Some(31.0)).trusted);
        assert!(!pace.follow(AT + 60, true, Some(-40.0 * 86_400.0)).trusted);
        assert!(pace.follow(AT + 90, true, Some(-30.0)).trusted);
        assert!(pace.follow(AT + 120, true, None).trusted, "a replay has no clock to compare");
    }
}
