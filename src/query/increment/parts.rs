//! Where one read is walked in parts.
//!
//! A series is placed when all of its target is known, and it takes the place of the one that it goes on from. Where the
//! old name is back in the same read (somebody took his change of labels back), it must go on from the new one, and not
//! from where it stood before: so the read is walked up to there first.
//!
//! Deliberately absent: which of the two goes on from which. That is `births`.

use std::collections::HashMap;

use super::Tracker;
use super::cursors::Raw;
use super::ended::is_like;
use super::pair::CounterPair;

/// Parts of one read, at most.
const PARTS_MAX: usize = 64;

/// A series that begins in this read.
struct Begins<'a> {
    at_ms: i64,
    raw: &'a Raw,
}

impl Tracker {
    /// Up to where the parts of a read reach, ascending; the last one is all of it.
    pub(super) fn parts(&self, pairs: &[CounterPair<'_>], until_ms: i64) -> Vec<i64> {
        let mut begins: HashMap<u32, Vec<Begins<'_>>> = HashMap::new();
        for pair in pairs {
            let raw = &self.raws[pair.id as usize];
            if raw.last.is_none()
                && let Some(first) = pair
                    .points(until_ms)
                    .find(|point| point.count.is_some() && raw.ended_ms.is_none_or(|ended_ms| point.at_ms > ended_ms))
            {
                begins.entry(raw.target).or_default().push(Begins { at_ms: first.at_ms, raw });
            }
        }
        let mut ends = Vec::new();
        if !begins.is_empty() {
            begins.values_mut().for_each(|begins| begins.sort_by_key(|begins| begins.at_ms));
            for pair in pairs {
                let raw = &self.raws[pair.id as usize];
                if let Some(begins) = begins.get(&raw.target) {
                    self.ends(pair, raw, begins, until_ms, &mut ends);
                }
            }
        }
        ends.sort_unstable();
        ends.dedup();
        ends.truncate(PARTS_MAX - 1);
        ends.push(until_ms);
        ends
    }

    /// Just before a series is back that another one may have gone on from.
    fn ends(&self, pair: &CounterPair<'_>, raw: &Raw, begins: &[Begins<'_>], until_ms: i64, ends: &mut Vec<i64>) {
        let mut last_ms = raw.last.map(|last| last.at_ms);
        for point in pair.points(until_ms) {
            if let Some(was_ms) = last_ms.filter(|&was_ms| point.at_ms > was_ms) {
                // One that is scraped beside it begins with one of its samples, and not between two.
                let after = begins.partition_point(|other| other.at_ms <= was_ms);
                let mut within = begins[after..].iter().take_while(|other| other.at_ms < point.at_ms);
                let goes_on = |other: &Begins<'_>| match (raw.labels.as_deref(), other.raw.labels.as_deref()) {
                    (Some(older), Some(newer)) => is_like(older, newer),
                    _ => false,
                };
                if within.any(goes_on) {
                    ends.push(point.at_ms - 1);
                }
            }
            last_ms = last_ms.max(Some(point.at_ms));
        }
    }
}
