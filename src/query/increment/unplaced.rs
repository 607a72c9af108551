//! First samples and new values that only set a start because nothing says what they are worth: remembered for as long as
//! they lie in a window, so that it can be said that its counts may be low.
//!
//! Deliberately absent: how much they held. Nobody knows; that is what is said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// They are remembered to this span, milliseconds.
const SPAN_MS: i64 = 6 * 3_600_000;

/// How many there were, by span and reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Unplaced(pub BTreeMap<(i64, Reason), u32>);

impl Unplaced {
    /// Takes one more.
    pub fn note(&mut self, at_ms: i64, reason: Reason) {
        self.add((at_ms.div_euclid(SPAN_MS), reason), 1);
    }

    pub fn add(&mut self, of: (i64, Reason), more: u32) {
        let count = self.0.entry(of).or_default();
        *count = count.saturating_add(more);
    }

    /// Those since `since_ms`, by reason.
    pub fn since(&self, since_ms: i64) -> BTreeMap<Reason, u32> {
        let mut counts: BTreeMap<Reason, u32> = BTreeMap::new();
        for (&(_, reason), count) in self.0.range((since_ms.div_euclid(SPAN_MS), Reason::Rose)..) {
            let sum = counts.entry(reason).or_default();
            *sum = sum.saturating_add(*count);
        }
        counts
    }

    pub fn forget_before(&mut self, oldest_ms: i64) {
        self.0 = self.0.split_off(&(oldest_ms.div_euclid(SPAN_MS), Reason::Rose));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_no_window_any_more_is_not_said() {
        let mut unplaced = Unplaced::default();
        for hour in [0, 1, 30, 31, 200] {
            unplaced.note(hour * 3_600_000, if hour == 31 { Reason::Older } else { Reason::NotPlaced });
        }
        let since = |of: &Unplaced, hour: i64| of.since(hour * 3_600_000).into_iter().collect::<Vec<_>>();
        assert_eq!(since(&unplaced, 0), [(Reason::NotPlaced, 4), (Reason::Older, 1)]);
        assert_eq!(since(&unplaced, 30), [(Reason::NotPlaced, 2), (Reason::Older, 1)]);
        unplaced.forget_before(100 * 3_600_000);
        assert_eq!(since(&unplaced, 0), [(Reason::NotPlaced, 1)]);
        assert!(since(&unplaced, 300).is_empty());
    }
}
