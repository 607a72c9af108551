//! Which children of a fan-out have rows of their own, and which are counted together in `other`.
//!
//! Every event of an SLO with `by` is booked twice: to its child, and to the **whole**, the series without labels that
//! counts what the SLO would count without `by`. So whatever happens to children, the whole is right, and the children
//! with `other` add up to it.
//!
//! Up to `series_max` children have rows of their own. Who comes later than that is counted in `other`, until
//! [`Fanout::reconsider`] finds that it has twice the traffic of somebody with a row; traffic is remembered for about a
//! day, so nobody comes and goes with the hours. A child keeps its row while something fires on it, and through
//! restarts.
//!
//! `other` keeps the label values that a `when` of the severities names: what is realtime stays realtime.
//!
//! Deliberately absent: the counts. They are in the tracker and the ledger; here is only who is who.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::fetch::{Plan, Sli};
use super::samples::key_of_pairs;
use crate::engine::Labels;

/// The label value that stands for all children without a row of their own.
pub const OTHER: &str = "other";
/// Who has not been seen for this long while siblings were, milliseconds, holds no row any more.
const GONE_MS: i64 = 3_600_000;
/// What an hour-old event still counts: half after a day.
const MEMORY: f64 = 0.971_532;
/// A child must have this many times the traffic of the one whose row it takes.
const CLEARLY: f64 = 2.0;
/// Children without a row that are remembered; beyond, they are counted in `other` and never looked at.
const KNOWN_MAX: usize = 50_000;

/// The children of all fan-outs of a plan.
#[derive(Debug, Clone, Default)]
pub struct Fanout {
    of: BTreeMap<usize, Children>,
}

#[derive(Debug, Clone, Default)]
struct Children {
    known: HashMap<u128, Child>,
    /// How many of them have a row.
    own: usize,
}

/// One child.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Child {
    /// It has a row of its own.
    own: bool,
    /// Its traffic until the last reconsideration, older events counting less.
    traffic: f64,
    /// Its events since then.
    recent: f64,
    seen_ms: i64,
}

/// What survives a restart: who has a row, by SLO.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedFanout(Vec<(String, Vec<(u128, Child)>)>);

/// A child that was met in an answer.
#[derive(Debug, Clone, Copy)]
pub struct Met {
    /// Index into `Plan::slis`.
    pub sli: usize,
    /// [`child_key`] of it.
    pub child: u128,
    /// Its events; of a gauge, its values.
    pub events: f64,
    /// Newest sample, milliseconds.
    pub at_ms: i64,
}

/// Where a raw series is booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// The labels of the series.
    pub labels: Labels,
    /// The child that it is booked for; `None` for a whole.
    pub child: Option<u128>,
}

/// A stable key of a child.
pub fn child_key(labels: &Labels) -> u128 {
    key_of_pairs(labels.iter())
}

/// The row of children that have none.
fn other_of(sli: &Sli, child: &Labels) -> Labels {
    let value = |name: &String| {
        let told = child.get(name).filter(|value| sli.told.get(name).is_some_and(|told| told.contains(*value)));
        (name.clone(), told.unwrap_or(OTHER).to_owned())
    };
    if sli.is_by_every_label() {
        return [("series", OTHER)].into_iter().collect();
    }
    sli.by.iter().map(value).collect()
}

impl Fanout {
    /// The series that a raw label set is booked to: its child, or `other`, and the whole. A label set with none of the
    /// labels of `by` is a part of the whole only.
    pub fn bookings(&self, plan: &Plan, sli: usize, labels: &[(String, String)]) -> Vec<Booking> {
        let whole = Booking { labels: Labels::new(), child: None };
        let child = plan.series_labels(sli, labels);
        if child.is_empty() {
            return vec![whole];
        }
        let key = child_key(&child);
        let row = if self.has_row(sli, key) { child } else { other_of(&plan.slis[sli], &child) };
        vec![Booking { labels: row, child: Some(key) }, whole]
    }

    fn has_row(&self, sli: usize, child: u128) -> bool {
        self.of.get(&sli).and_then(|of| of.known.get(&child)).is_some_and(|child| child.own)
    }

    /// Takes note of the children in an answer. Of those that are new, the ones with the most traffic get the free rows.
    pub fn meet(&mut self, plan: &Plan, met: impl IntoIterator<Item = Met>) {
        let mut new: BTreeMap<usize, HashMap<u128, (f64, i64)>> = BTreeMap::new();
        for Met { sli, child, events, at_ms } in met {
            match self.of.entry(sli).or_default().known.get_mut(&child) {
                Some(known) => known.note(events, at_ms),
                None => {
                    let of = new.entry(sli).or_default().entry(child).or_insert((0.0, at_ms));
                    (of.0, of.1) = (of.0 + events.max(0.0), of.1.max(at_ms));
                }
            }
        }
        for (sli, new) in new {
            let of = self.of.entry(sli).or_default();
            let mut new: Vec<(u128, (f64, i64))> = new.into_iter().collect();
            new.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then(a.0.cmp(&b.0)));
            for (child, (recent, seen_ms)) in new {
                let own = of.own < plan.slis[sli].series_max;
                if own || of.known.len() < KNOWN_MAX {
                    of.own += usize::from(own);
                    of.known.insert(child, Child { own, traffic: 0.0, recent, seen_ms });
                }
            }
        }
    }

    /// Notes events of a child that was met before.
    pub fn note(&mut self, sli: usize, child: u128, events: f64, at_ms: i64) {
        if let Some(known) = self.of.get_mut(&sli).and_then(|of| of.known.get_mut(&child)) {
            known.note(events, at_ms);
        }
    }

    /// Whether a child was met, or there is no more room to remember it.
    pub fn knows(&self, sli: usize, child: u128) -> bool {
        self.of.get(&sli).is_some_and(|of| of.known.contains_key(&child) || of.known.len() >= KNOWN_MAX)
    }

    /// Once an hour: gives the rows of those who are gone to the busiest without one, and lets the clearly busier take
    /// the row of the quietest. Who is in `kept` (SLI, [`child_key`]) keeps its row. Answers in which SLIs rows moved.
    pub fn reconsider(&mut self, plan: &Plan, kept: &BTreeSet<(usize, u128)>) -> Vec<usize> {
        let mut moved = Vec::new();
        for (&sli, of) in &mut self.of {
            let max = plan.slis[sli].series_max;
            if of.reconsider(max, |child| kept.contains(&(sli, child))) {
                moved.push(sli);
            }
        }
        moved
    }

    /// Whether what the series `labels` once counted is now counted in `other`.
    pub fn is_folded(&self, plan: &Plan, sli: usize, labels: &Labels) -> bool {
        let known = self.of.get(&sli).and_then(|of| of.known.get(&child_key(labels)));
        known.is_some_and(|child| !child.own) && other_of(&plan.slis[sli], labels) != *labels
    }

    /// How many children of an SLI were met, and how many of them have rows.
    pub fn extent(&self, sli: usize) -> (usize, usize) {
        self.of.get(&sli).map_or((0, 0), |of| (of.known.len(), of.own))
    }

    /// What a restart needs to keep every row where it is.
    pub fn saved(&self, plan: &Plan) -> SavedFanout {
        let of = |(&sli, of): (&usize, &Children)| {
            let mut own: Vec<_> = of.known.iter().filter(|(_, c)| c.own).map(|(&key, &child)| (key, child)).collect();
            own.sort_by_key(|&(key, _)| key);
            (plan.slis[sli].id.clone(), own)
        };
        SavedFanout(self.of.iter().map(of).collect())
    }

    /// Continues from what was saved; what belongs to SLOs that are gone, or fan out to nothing, is dropped.
    pub fn restore(plan: &Plan, saved: SavedFanout) -> Self {
        let slis: HashMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        let mut fanout = Fanout::default();
        for (id, own) in saved.0 {
            if let Some(&sli) = slis.get(id.as_str()).filter(|&&sli| !plan.slis[sli].by.is_empty()) {
                let own = own.into_iter().take(plan.slis[sli].series_max);
                let known: HashMap<u128, Child> = own.collect();
                fanout.of.insert(sli, Children { own: known.len(), known });
            }
        }
        fanout
    }

    /// The same children under another plan, SLO by SLO.
    pub fn moved(&self, from: &Plan, to: &Plan) -> Self {
        Fanout::restore(to, self.saved(from))
    }
}

impl Child {
    fn note(&mut self, events: f64, at_ms: i64) {
        if events.is_finite() {
            self.recent += events.max(0.0);
        }
        self.seen_ms = self.seen_ms.max(at_ms);
    }
}

impl Children {
    fn reconsider(&mut self, max: usize, kept: impl Fn(u128) -> bool) -> bool {
        let newest_ms = self.known.values().map(|child| child.seen_ms).max().unwrap_or(0);
        for child in self.known.values_mut() {
            child.traffic = child.traffic * MEMORY + std::mem::take(&mut child.recent);
        }
        self.known.retain(|&key, child| child.seen_ms > newest_ms - GONE_MS || child.own && kept(key));
        let ranked = |own: bool| {
            let of = self.known.iter().filter(|(_, child)| child.own == own).map(|(&key, child)| (key, child.traffic));
            let mut of: Vec<(u128, f64)> = of.collect();
            of.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            of
        };
        let mut waiting = ranked(false).into_iter().peekable();
        let mut rows = ranked(true);
        let mut moved = false;
        let mut give = |known: &mut HashMap<u128, Child>, key: u128, own: bool| {
            if let Some(child) = known.get_mut(&key) {
                child.own = own;
                moved = true;
            }
        };
        let mut own = rows.len();
        while let Some((key, _)) = waiting.next_if(|_| own < max) {
            give(&mut self.known, key, true);
            own += 1;
        }
        // Of the rows that may be taken, the quietest is last.
        rows.retain(|&(key, _)| !kept(key));
        while let (Some(&(busy, most)), Some(&(quiet, least))) = (waiting.peek(), rows.last()) {
            if most < 1.0 || most <= CLEARLY * least {
                break;
            }
            give(&mut self.known, busy, true);
            give(&mut self.known, quiet, false);
            waiting.next();
            rows.pop();
        }
        self.own = own;
        moved
    }
}

#[cfg(test)]
mod tests;
