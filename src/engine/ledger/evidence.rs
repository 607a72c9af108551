//! What a number of slow events among all says of a promise: that it is broken, that it is kept, or neither.
//!
//! The share of a sample proves nothing by being over the promise: where 2.5 % of the requests are slow, a slice of 20
//! holds more than 5 % of them one time in ten. So a span of slices has to be *evidence*. It is weighed by a likelihood
//! ratio: how much likelier its counts are if more are slow than was promised (odds of 1.1 to 170 times those of the
//! promise, averaged) than if the share were exactly the promised one. From [`BROKEN`] (e^4.4 = 81 times likelier) on the
//! promise is broken.
//!
//! **What is guaranteed.** While no event is slow with more than the promised probability, whatever came before it, the
//! ratio of the events since any one moment is a nonnegative supermartingale that starts at 1. By Ville's inequality it
//! ever reaches e^4.4 with probability 1/81 = 1.2 % at most, however often one looks and however unevenly events come.
//! That is the rate at the very edge of the promise; what is reached below it is measured in `benches/alert_quality`.
//!
//! **What it is not.** A test that the share is below the promise: a good verdict ([`KEPT`], 1 in 20) says only that the
//! span is unlikely where half, a fifth or none of what was promised is not the truth.

use super::tier::Slot;

/// Logarithm of the ratio from which a promise is broken.
const BROKEN: f64 = 4.4;
/// Logarithm of the ratio from which it is kept: with three ratios to reach it, 1 in 20.
const KEPT: f64 = 4.1;
/// Odds of a slow event in those of the promise, in a broken promise, with their weights. Twice the promised share is
/// what has to be found early. The larger ones find a span of a few events, all slow, at once; the smaller ones a share
/// just over the promise, where there are events enough.
const ODDS: [(f64, f64); 7] = [(2.0, 0.4), (3.5, 0.15), (6.5, 0.1), (20.0, 0.1), (170.0, 0.1), (1.4, 0.1), (1.1, 0.05)];
/// Shares of a kept promise, of the promised one.
const SHARES: [f64; 3] = [0.5, 0.2, 0.01];

/// What is said of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The promise is kept.
    Good,
    /// It is broken.
    Bad,
    /// Neither is likely enough; counts as good.
    Undecided,
}

impl Verdict {
    /// A slot with this said of `slices` of its slices.
    pub fn counted(self, slot: Slot, slices: u32) -> Slot {
        let of = |verdict| if self == verdict { slices } else { 0 };
        Slot { judged: slices, judged_bad: of(Verdict::Bad), undecided: of(Verdict::Undecided), ..slot }
    }
}

/// The test of one promise: at most `share` of the events may be slow.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// In millionths, so that 1 of 20 is exactly 5 % and not over it.
    share: u64,
    /// What each slow event, and each other, adds to the logarithm of a ratio.
    broken: [(f64, f64, f64); ODDS.len()],
    kept: [(f64, f64); SHARES.len()],
}

impl Test {
    /// The test of a share in millionths, in 1..1_000_000.
    pub fn of(share: u64) -> Self {
        let promised = (share as f64 / 1e6).clamp(1e-6, 1.0 - 1e-6);
        let ratio = |other: f64| ((other / promised).ln(), ((1.0 - other) / (1.0 - promised)).ln());
        let broken = ODDS.map(|(odds, weight)| {
            let (slow, fast) = ratio(odds * promised / (1.0 - promised + odds * promised));
            (slow, fast, weight)
        });
        Test { share, broken, kept: SHARES.map(|part| ratio(part * promised)) }
    }

    /// More of them are slow than was promised.
    pub fn is_over(&self, total: u64, slow: u64) -> bool {
        u128::from(slow) * 1_000_000 > u128::from(total) * u128::from(self.share)
    }

    /// That many slow ones are evidence of a broken promise.
    pub fn is_broken(&self, total: u64, slow: u64) -> bool {
        if !self.is_over(total, slow) {
            return false;
        }
        let (slow, fast) = (slow as f64, total.saturating_sub(slow) as f64);
        let logs = self.broken.map(|(by_slow, by_fast, weight)| (slow * by_slow + fast * by_fast, weight));
        let most = logs.iter().fold(f64::NEG_INFINITY, |most, &(log, _)| most.max(log));
        // The weights add up to one, so the largest alone bounds the sum from above.
        most >= BROKEN
            && most + logs.iter().map(|(log, weight)| weight * (log - most).exp()).sum::<f64>().ln() >= BROKEN
    }

    /// That few slow ones are evidence of a kept promise.
    pub fn is_kept(&self, total: u64, slow: u64) -> bool {
        let (slow_f, fast) = (slow as f64, total.saturating_sub(slow) as f64);
        !self.is_over(total, slow)
            && self.kept.iter().any(|(by_slow, by_fast)| slow_f * by_slow + fast * by_fast >= KEPT)
    }

    /// What a span says by itself; `None` of one without events.
    pub(super) fn verdict(&self, total: u64, slow: u64) -> Option<Verdict> {
        let said = || match () {
            () if self.is_broken(total, slow) => Verdict::Bad,
            () if self.is_kept(total, slow) => Verdict::Good,
            () => Verdict::Undecided,
        };
        (total.max(slow) > 0).then(said)
    }
}
