//! Where one read is walked in parts.
//!
//! A series is placed when all of its target is known, and it takes the place of the one that it goes on from. Where the
//! old name is back in the same read (somebody took his change of labels back), it must go on from the new one, and not
//! from where it stood before: so the read is walked up to there first.
//!
//! Deliberately absent: which of the two goes on from which. That is `births`.

use std::collections::{HashMap, HashSet};

use super::Tracker;
use super::births::{Elder, Waits};
use super::cursors::{Asleep, Raw};
use super::delta::GONE_INTERVALS;
use super::ended::is_like;
use super::pair::CounterPair;
use super::turnover::has_other_values;

/// Parts of one read, at most.
const PARTS_MAX: usize = 64;

/// A series that begins in this read.
struct Begins<'a> {
    at_ms: i64,
    raw: &'a Raw,
    /// Of one that waits: what it may go on from.
    elders: &'a [Elder],
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
                begins.entry(raw.target).or_default().push(Begins { at_ms: first.at_ms, raw, elders: &[] });
            }
        }
        // One that began in a read before, and waits to be placed.
        for birth in &self.births {
            let elders = match &birth.waits {
                Waits::Ends(elders, _) => elders.as_slice(),
                Waits::End(_) => &[],
                Waits::Nothing | Waits::Pace(_) => continue,
            };
            if let Some(&id) = self.raw_ids.get(&birth.key) {
                let raw = &self.raws[id as usize];
                begins.entry(raw.target).or_default().push(Begins { at_ms: birth.at_ms, raw, elders });
            }
        }
        self.add_returns(pairs, until_ms, &mut begins);
        let turned = self.turned_over(pairs, until_ms, &begins);
        let mut ends = Vec::new();
        if !begins.is_empty() {
            begins.values_mut().for_each(|begins| begins.sort_by_key(|begins| begins.at_ms));
            for pair in pairs {
                let raw = &self.raws[pair.id as usize];
                if let Some(begins) = begins.get(&raw.target) {
                    self.ends(pair, raw, begins, &turned, until_ms, &mut ends);
                }
            }
        }
        ends.sort_unstable();
        ends.dedup();
        ends.truncate(PARTS_MAX - 1);
        ends.push(until_ms);
        ends
    }

    /// Ends those whose place another series took, and that were not there at their next scrape.
    pub(super) fn end_gone(&mut self, pairs: &[CounterPair<'_>], until_ms: i64) {
        for pair in pairs {
            let raw = &mut self.raws[pair.id as usize];
            let Some(gone_after_ms) = raw.gone_after_ms else { continue };
            if let Some((_, at_ms)) = gaps(pair, raw, until_ms).next() {
                raw.gone_after_ms = None;
                if at_ms > gone_after_ms {
                    raw.gone = raw.last.map(|last| Box::new(Asleep::of(last)));
                    raw.end();
                }
            }
        }
    }

    /// Adds the series that are there again after they were gone for a while: another one may have gone on from them, and now
    /// they begin anew.
    fn add_returns<'a>(&'a self, pairs: &[CounterPair<'_>], until_ms: i64, begins: &mut HashMap<u32, Vec<Begins<'a>>>) {
        let of = |pair: &CounterPair<'_>| &self.raws[pair.id as usize];
        let mut usual: HashMap<u32, i64> = HashMap::new();
        for pair in pairs.iter().filter(|pair| begins.contains_key(&of(pair).target)) {
            let mut apart: Vec<i64> = gaps(pair, of(pair), until_ms).map(|(was_ms, at_ms)| at_ms - was_ms).collect();
            // Of two replicas that are merged every other gap is short; and one hole says nothing.
            let Some(most) = apart.len().checked_sub(1).map(|last| 3 * last / 4) else { continue };
            let own_ms = *apart.select_nth_unstable(most).1;
            usual.entry(of(pair).target).and_modify(|known| *known = own_ms.min(*known)).or_insert(own_ms);
        }
        for pair in pairs {
            let raw = of(pair);
            let Some((begins, usual_ms)) = begins.get_mut(&raw.target).zip(usual.get(&raw.target)) else { continue };
            let gone = |(was_ms, at_ms): &(i64, i64)| (at_ms - was_ms) as f64 > GONE_INTERVALS * *usual_ms as f64;
            let back = gaps(pair, raw, until_ms).filter(gone).map(|(_, at_ms)| at_ms);
            begins.extend(back.map(|at_ms| Begins { at_ms, raw, elders: &[] }));
        }
    }

    /// Targets that were turned over lately, or may be in this read: at one moment all that they show begins, or was not there
    /// at the scrape before.
    fn turned_over(
        &self,
        pairs: &[CounterPair<'_>],
        until_ms: i64,
        begins: &HashMap<u32, Vec<Begins<'_>>>,
    ) -> HashSet<u32> {
        let of = |pair: &CounterPair<'_>| &self.raws[pair.id as usize];
        let begun = |pair: &&CounterPair<'_>| begins.contains_key(&of(pair).target);
        let mut turned: HashSet<(u32, i64)> = HashSet::new();
        for (&target, begins) in begins {
            turned.extend(begins.iter().map(|begins| (target, begins.at_ms)));
        }
        let mut least: HashMap<u32, i64> = HashMap::new();
        for pair in pairs.iter().filter(begun) {
            let apart = gaps(pair, of(pair), until_ms).map(|(was_ms, at_ms)| at_ms - was_ms);
            let known = self.targets[of(pair).target as usize].intervals.iter().copied();
            if let Some(apart_ms) = apart.chain(known).min() {
                least.entry(of(pair).target).and_modify(|least| *least = apart_ms.min(*least)).or_insert(apart_ms);
            }
        }
        let mut first: HashMap<u32, i64> = HashMap::new();
        for pair in pairs.iter().filter(begun) {
            let target = of(pair).target;
            let begins_ms =
                of(pair).last.map(|last| last.at_ms).or(pair.points(until_ms).next().map(|point| point.at_ms));
            if let Some(begins_ms) = begins_ms {
                first.entry(target).and_modify(|first| *first = begins_ms.min(*first)).or_insert(begins_ms);
            }
            let goes_on = |(was_ms, at_ms): &(i64, i64)| {
                least.get(&target).is_some_and(|&least_ms| ((at_ms - was_ms) as f64) < GONE_INTERVALS * least_ms as f64)
            };
            for (_, at_ms) in gaps(pair, of(pair), until_ms).filter(goes_on) {
                turned.remove(&(target, at_ms));
            }
        }
        let known = begins.keys().copied().filter(|&target| self.was_turned_over(target));
        let later = |&(target, at_ms): &(u32, i64)| first.get(&target).is_some_and(|&first_ms| first_ms < at_ms);
        turned.into_iter().filter(later).map(|(target, _)| target).chain(known).collect()
    }

    /// Just before a series is back that another one may have gone on from.
    fn ends(
        &self,
        pair: &CounterPair<'_>,
        raw: &Raw,
        begins: &[Begins<'_>],
        turned: &HashSet<u32>,
        until_ms: i64,
        ends: &mut Vec<i64>,
    ) {
        let mut last_ms = raw.last.map(|last| last.at_ms);
        for point in pair.points(until_ms) {
            if let Some(was_ms) = last_ms.filter(|&was_ms| point.at_ms > was_ms) {
                // One that is scraped beside it begins with one of its samples, and not between two.
                let after = begins.partition_point(|other| other.at_ms <= was_ms);
                let mut within = begins[after..].iter().take_while(|other| other.at_ms < point.at_ms);
                let goes_on = |other: &Begins<'_>| match (raw.labels.as_deref(), other.raw.labels.as_deref()) {
                    _ if other.elders.iter().any(|elder| elder.key == raw.key) => true,
                    (Some(older), Some(newer)) => {
                        is_like(older, newer) || turned.contains(&raw.target) && has_other_values(older, newer)
                    }
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

/// The times of two samples of a series between which it has none, from where it was read to.
fn gaps<'a>(pair: &CounterPair<'a>, raw: &Raw, until_ms: i64) -> impl Iterator<Item = (i64, i64)> + use<'a> {
    let mut last_ms = raw.last.map(|last| last.at_ms);
    let after_ms = last_ms.max(raw.ended_ms);
    let times = pair.points(until_ms).filter(|point| point.count.is_some()).map(|point| point.at_ms);
    let new = times.filter(move |&at_ms| after_ms.is_none_or(|after_ms| at_ms > after_ms));
    new.filter_map(move |at_ms| last_ms.replace(at_ms).map(|was_ms| (was_ms, at_ms)))
}
