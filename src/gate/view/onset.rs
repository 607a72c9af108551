//! When did the errors begin to rise? A burn clause fires minutes after the first bad event, and a change made in
//! between would look like the cause. So the slices themselves are asked: the split of the last hours into "before"
//! and "after" that is most likely, each with an error ratio of its own.

use crate::engine::{Seconds, SeriesLedger, SliceDelta};

/// The likeliest moment within `reach_s` before `until` at which the error ratio rose; `None` where it did not rise.
/// A moment is the start of the first slice of "after".
pub(super) fn onset(series: &SeriesLedger, until: Seconds, reach_s: i64) -> Option<Seconds> {
    let step_s = series.resolution_s();
    let (first, last) = ((until - reach_s).div_euclid(step_s), until.div_euclid(step_s));
    let slices: Vec<SliceDelta> =
        series.fine().filter(|slice| (first..last).contains(&slice.slice) && slice.total > 0).collect();
    split(&slices).map(|slice| slice * step_s)
}

/// The first slice of "after".
fn split(slices: &[SliceDelta]) -> Option<i64> {
    let all = slices.iter().fold(Counts::default(), |sum, slice| sum.with(slice));
    let (mut before, mut best) = (Counts::default(), None);
    for pair in slices.windows(2) {
        before = before.with(&pair[0]);
        let after = Counts { total: all.total - before.total, bad: all.bad - before.bad };
        if after.ratio() <= before.ratio() {
            continue;
        }
        let likelihood = before.likelihood() + after.likelihood();
        if best.is_none_or(|(_, most)| likelihood > most) {
            best = Some((pair[1].slice, likelihood));
        }
    }
    best.map(|(slice, _)| slice)
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    total: f64,
    bad: f64,
}

impl Counts {
    fn with(self, slice: &SliceDelta) -> Self {
        let total = slice.total as f64;
        Counts { total: self.total + total, bad: self.bad + (slice.bad as f64).min(total) }
    }

    fn ratio(self) -> f64 {
        self.bad / self.total
    }

    /// Logarithm of the likelihood of these counts at their own ratio.
    fn likelihood(self) -> f64 {
        let term = |part: f64| if part > 0.0 { part * (part / self.total).ln() } else { 0.0 };
        term(self.bad) + term(self.total - self.bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(bad: &[u64]) -> Vec<SliceDelta> {
        let slice = |(i, bad): (usize, &u64)| SliceDelta {
            slice: 100 + i64::try_from(i).expect("few"),
            total: 100,
            bad: *bad,
            ..SliceDelta::default()
        };
        bad.iter().enumerate().map(slice).collect()
    }

    #[test]
    fn the_onset_is_the_first_slice_that_is_worse() {
        assert_eq!(split(&slices(&[0, 0, 1, 0, 0, 9, 8, 9, 10])), Some(105));
        assert_eq!(split(&slices(&[0, 0, 0, 0, 1])), Some(104));
        assert_eq!(split(&slices(&[1, 0, 2, 1, 0, 1, 2, 0, 1, 30, 40, 35, 20, 31])), Some(109));
    }

    #[test]
    fn what_never_rises_has_no_onset() {
        assert_eq!(split(&slices(&[5, 5, 5, 5])), None);
        assert_eq!(split(&slices(&[9, 8, 3, 1, 0])), None);
        assert_eq!(split(&slices(&[0, 0, 0])), None);
        assert_eq!(split(&slices(&[7])), None);
        assert_eq!(split(&[]), None);
    }
}
