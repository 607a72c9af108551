//! What a tracker stops to follow: series that are counted in another way, that fell silent, or that lost their row.
//!
//! Deliberately absent: when. The source says so, once an hour or after a reload.

use std::collections::{BTreeSet, HashMap};

use super::cursors::{self, Asleep, Feed, Raw};
use super::{TrackedSeries, Tracker};
use crate::query::fetch::Plan;

/// What was silent this long sleeps: of it only the last value is kept, milliseconds.
const FORGET_MS: i64 = 86_400_000;

impl Tracker {
    /// Forgets the raw series that feed any of these SLIs: they are counted in another way from now on.
    pub fn forget_slis(&mut self, slis: &[usize]) {
        let counted = |raw: &Raw| raw.series().any(|series| slis.contains(&self.series[series as usize].sli));
        let keep: Vec<bool> = self.raws.iter().map(|raw| !counted(raw)).collect();
        self.retain(&keep, |_| true);
    }

    /// Forgets what has been silent for a day, so that pods and children that come and go cost nothing: of SLIs that were
    /// `heard`, for of the others nobody knows. The last value of a raw series is kept for `kept_ms`: it may come back.
    pub fn forget_silent(&mut self, now_ms: i64, kept_ms: i64, heard: impl Fn(usize) -> bool) {
        self.forget_unplaced(now_ms - kept_ms);
        let recent = |at: Option<i64>| at.is_some_and(|at| at >= now_ms - FORGET_MS);
        let unheard = |raw: &Raw| raw.series().any(|series| !heard(self.series[series as usize].sli));
        let kept = |raw: &Raw| raw.seen_ms.is_none() || recent(raw.seen_ms) || unheard(raw);
        let keep: Vec<bool> = self.raws.iter().map(kept).collect();
        if keep.contains(&false) {
            let silent = self.raws.iter().zip(&keep).filter(|(_, keep)| !**keep);
            self.asleep.extend(silent.filter_map(|(raw, _)| Some((raw.key, Asleep::of(raw.last?)))));
            self.retain(&keep, |series| recent(series.newest_ms) || !heard(series.sli));
            cursors::bound(&mut self.asleep, now_ms - kept_ms);
        }
    }

    /// Keeps these raw series, their targets, and the series they feed or `keep_series` names.
    fn retain(&mut self, keep: &[bool], keep_series: impl Fn(&TrackedSeries) -> bool) {
        let kept = keep.iter().zip(0..).filter(|(keep, _)| **keep).map(|(_, id)| id);
        let moved_raws: HashMap<u32, u32> = kept.zip(0..).collect();
        let mut flags = keep.iter();
        self.raws.retain(|_| *flags.next().expect("one flag per raw series"));
        self.raw_ids = self.raws.iter().zip(0..).map(|(raw, id)| (raw.key, id)).collect();
        self.matches.clear();

        let used: BTreeSet<u32> = self.raws.iter().map(|raw| raw.target).collect();
        let moved: HashMap<u32, u32> = used.iter().copied().zip(0..).collect();
        self.targets = used.iter().map(|&id| self.targets[id as usize].clone()).collect();
        self.target_ids = self.targets.iter().zip(0..).map(|(target, id)| (target.key, id)).collect();
        let mut fed: BTreeSet<u32> = self.raws.iter().flat_map(Raw::series).collect();
        fed.extend(self.series.iter().zip(0..).filter(|(series, _)| keep_series(series)).map(|(_, id)| id));
        let moved_series: HashMap<u32, u32> = fed.iter().copied().zip(0..).collect();
        self.series = fed.iter().map(|&id| self.series[id as usize].clone()).collect();
        self.series_ids = self.series.iter().zip(0..).map(|(s, id)| ((s.sli, s.labels.clone()), id)).collect();
        let (mut paces, mut pace_of, mut moved_paces) = (Vec::new(), Vec::new(), HashMap::new());
        for (old, (pace, &(sli, target))) in self.paces.drain(..).zip(&self.pace_of).enumerate() {
            if let Some(&target) = moved.get(&target) {
                moved_paces.insert(old as u32, paces.len() as u32);
                paces.push(pace);
                pace_of.push((sli, target));
            }
        }
        self.pace_ids = pace_of.iter().copied().zip(0..).collect();
        (self.paces, self.pace_of) = (paces, pace_of);
        for raw in &mut self.raws {
            raw.target = moved[&raw.target];
            for feed in raw.feeds.iter_mut().flatten() {
                feed.series = moved_series[&feed.series];
                feed.pace = moved_paces[&feed.pace];
            }
        }
        let doubts = std::mem::take(&mut self.doubts).into_iter();
        self.doubts = doubts.filter_map(|(id, doubt)| Some((*moved_raws.get(&id)?, doubt))).collect();
        let uncountable = std::mem::take(&mut self.uncountable).into_iter();
        self.uncountable = uncountable.filter_map(|(id, of)| Some((*moved_series.get(&id)?, of))).collect();
        self.births.retain(|birth| self.raw_ids.contains_key(&birth.key));
        self.turnovers.retain(|target, _| self.target_ids.contains_key(target));
    }

    /// Once an hour: lets the busiest children have rows. Who is in `kept` keeps its own.
    pub fn reconsider(&mut self, plan: &Plan, kept: &BTreeSet<(usize, u128)>) {
        let moved = self.fanout.reconsider(plan, kept);
        if moved.is_empty() {
            return;
        }
        for raw in &mut self.raws {
            let of = |feed: &Feed| moved.binary_search(&self.series[feed.series as usize].sli).is_ok();
            if raw.feeds.iter().flatten().any(of) {
                raw.feeds = None;
            }
        }
        // Found again, with their new rows, when they are seen next.
        self.matches.clear();
    }
}
