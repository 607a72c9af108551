//! What of the cursors survives a restart, in a compact form.
//!
//! Deliberately absent: what a birth is judged by beside them. That is `lineage`, stored behind everything else.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tracker;
use super::births::Birth;
use super::cursors::{Asleep, Last, Raw};
use super::doubt::{CounterDoubt, Uncountable};
use super::lineage::Lineage;
use super::pace::Pace;
use super::pair::Count;
use super::target::Target;
use super::unplaced::Unplaced;
use crate::engine::Labels;
use crate::query::fanout::{Fanout, SavedFanout};
use crate::query::fetch::Plan;

/// So many last values of silent raw series survive a restart.
const ASLEEP_SAVED_MAX: usize = 20_000;

/// Where reading stood when a process ended. Saved with each poll, so what is much of it is borrowed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursors<'a> {
    raws: Vec<(u128, u32, i64, [f64; 4])>,
    targets: Vec<(u128, Cow<'a, Target>)>,
    series: Vec<SeriesCursor<'a>>,
    /// The usual rate of the total of a series on a target, in files of earlier versions; now it is in the lineage.
    paces: Vec<(u32, u32, f32)>,
    births: Vec<Birth>,
    /// By place among `raws`.
    doubts: Vec<(u32, CounterDoubt)>,
    /// By place among `series`.
    uncountable: Vec<(u32, Vec<Uncountable>)>,
    asleep: Vec<(u128, Asleep)>,
    starts: Vec<(u128, i64)>,
    fanout: SavedFanout,
    /// Stored apart, behind everything else: earlier versions had none.
    #[serde(skip)]
    pub lineage: Lineage,
}

/// One series of an SLI: what was not booked yet, and how far it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SeriesCursor<'a> {
    slo_id: Cow<'a, str>,
    /// What the SLI counts; where that has changed the cursor is none of its own.
    counts: u128,
    labels: Cow<'a, Labels>,
    residual: (f64, f64),
    newest_bad: Cow<'a, [(i64, u64)]>,
    unplaced: Cow<'a, Unplaced>,
    first_ms: Option<i64>,
    newest_ms: Option<i64>,
}

/// The entries of a map in the order of their keys, so that the same state is always the same bytes.
fn sorted<V: Copy>(map: &HashMap<u128, V>) -> Vec<(u128, V)> {
    let mut entries: Vec<(u128, V)> = map.iter().map(|(&key, &value)| (key, value)).collect();
    entries.sort_unstable_by_key(|&(key, _)| key);
    entries
}

/// Whether an SLI counts what cursors were saved for, as this version writes it or an earlier one did.
fn still_counts(plan: &Plan, sli: usize, saved: u128) -> bool {
    plan.slis[sli].counts.contains(&saved)
}

impl SeriesCursor<'_> {
    fn into_owned(self) -> SeriesCursor<'static> {
        SeriesCursor {
            slo_id: Cow::Owned(self.slo_id.into_owned()),
            labels: Cow::Owned(self.labels.into_owned()),
            newest_bad: Cow::Owned(self.newest_bad.into_owned()),
            unplaced: Cow::Owned(self.unplaced.into_owned()),
            counts: self.counts,
            residual: self.residual,
            first_ms: self.first_ms,
            newest_ms: self.newest_ms,
        }
    }
}

impl Cursors<'_> {
    /// The same with nothing borrowed.
    pub fn into_owned(self) -> Cursors<'static> {
        let targets = self.targets.into_iter().map(|(key, target)| (key, Cow::Owned(target.into_owned())));
        Cursors {
            targets: targets.collect(),
            series: self.series.into_iter().map(SeriesCursor::into_owned).collect(),
            raws: self.raws,
            paces: self.paces,
            births: self.births,
            doubts: self.doubts,
            uncountable: self.uncountable,
            asleep: self.asleep,
            starts: self.starts,
            fanout: self.fanout,
            lineage: self.lineage,
        }
    }

    /// SLIs of the plan that counted something else when these were saved.
    pub fn changed(&self, plan: &Plan) -> Vec<usize> {
        let slis: HashMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        let changed = |cursor: &SeriesCursor<'_>| {
            let sli = *slis.get(&*cursor.slo_id)?;
            (!still_counts(plan, sli, cursor.counts)).then_some(sli)
        };
        self.series.iter().filter_map(changed).collect()
    }
}

impl Tracker {
    /// What a restart needs to continue exactly here, if it reads again from `read_again_ms` on.
    pub fn cursors<'a>(&'a self, plan: &'a Plan, read_again_ms: i64) -> Cursors<'a> {
        let raws = self.raws.iter().filter_map(|raw| {
            let Last { at_ms, count } = raw.last?;
            Some((raw.key, raw.target, at_ms, [count.whole, count.part, count.lower, count.good]))
        });
        Cursors {
            raws: raws.collect(),
            targets: self.targets.iter().map(|target| (target.key, Cow::Borrowed(target))).collect(),
            series: self
                .series
                .iter()
                .map(|series| SeriesCursor {
                    slo_id: Cow::Borrowed(&plan.slis[series.sli].id),
                    counts: plan.slis[series.sli].counts[0],
                    labels: Cow::Borrowed(&series.labels),
                    residual: series.residual,
                    newest_bad: Cow::Borrowed(&series.newest_bad),
                    unplaced: Cow::Borrowed(&series.unplaced),
                    first_ms: series.first_ms,
                    newest_ms: series.newest_ms,
                })
                .collect(),
            paces: Vec::new(),
            births: self.births.clone(),
            doubts: self.saved_doubts(),
            uncountable: self.uncountable.iter().map(|(&series, spans)| (series, spans.clone())).collect(),
            asleep: self.saved_asleep(),
            starts: sorted(&self.starts),
            fanout: self.fanout.saved(plan),
            lineage: self.lineage(read_again_ms),
        }
    }

    /// The newest last values of silent series; all of them would be written with each poll.
    fn saved_asleep(&self) -> Vec<(u128, Asleep)> {
        let mut asleep = sorted(&self.asleep);
        if asleep.len() > ASLEEP_SAVED_MAX {
            asleep.sort_by_key(|(_, silent)| std::cmp::Reverse(silent.at_ms));
            asleep.truncate(ASLEEP_SAVED_MAX);
        }
        asleep
    }

    /// Doubts by the place their cursor has among those that are saved.
    fn saved_doubts(&self) -> Vec<(u32, CounterDoubt)> {
        if self.doubts.is_empty() {
            return Vec::new();
        }
        let saved = self.raws.iter().zip(0..).filter(|(raw, _)| raw.last.is_some());
        let doubt = |(place, (_, id)): (usize, (_, u32))| Some((place as u32, self.doubts.get(&id)?.clone()));
        saved.enumerate().filter_map(doubt).collect()
    }

    /// A tracker that continues from saved cursors; those of SLOs that no longer exist, or now count something else,
    /// are dropped.
    pub fn restore(resolution_s: i64, plan: &Plan, mut cursors: Cursors<'_>) -> Self {
        let mut tracker = Tracker::new(resolution_s);
        tracker.fanout = Fanout::restore(plan, cursors.fanout);
        tracker.targets =
            cursors.targets.into_iter().map(|(key, target)| Target { key, ..target.into_owned() }).collect();
        tracker.target_ids = tracker.targets.iter().zip(0..).map(|(target, id)| (target.key, id)).collect();
        let targets = tracker.targets.len();
        let raws = cursors.raws.into_iter().filter(|&(_, target, ..)| (target as usize) < targets);
        tracker.raws = raws
            .map(|(key, target, at_ms, [whole, part, lower, good])| Raw {
                last: Some(Last { at_ms, count: Count { whole, part, lower, good } }),
                seen_ms: Some(at_ms),
                ..Raw::new(key, target)
            })
            .collect();
        tracker.raw_ids = tracker.raws.iter().zip(0..).map(|(raw, id)| (raw.key, id)).collect();
        tracker.starts = cursors.starts.into_iter().collect();
        tracker.births = cursors.births;
        tracker.asleep = cursors.asleep.into_iter().collect();
        let raws = tracker.raws.len() as u32;
        tracker.doubts = cursors.doubts.into_iter().filter(|&(id, _)| id < raws).collect();
        let mut series_of = HashMap::new();
        let slis: HashMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        for (place, cursor) in (0u32..).zip(cursors.series) {
            if let Some(&sli) = slis.get(&*cursor.slo_id)
                && still_counts(plan, sli, cursor.counts)
            {
                tracker.begin(sli, i64::MIN);
                let id = tracker.series_id(sli, cursor.labels.into_owned()) as usize;
                series_of.insert(place, id as u32);
                tracker.series[id].residual = cursor.residual;
                tracker.series[id].newest_bad = cursor.newest_bad.into_owned();
                tracker.series[id].unplaced = cursor.unplaced.into_owned();
                tracker.series[id].first_ms = cursor.first_ms;
                tracker.series[id].newest_ms = cursor.newest_ms;
            }
        }
        let uncountable = cursors.uncountable.into_iter();
        tracker.uncountable = uncountable.filter_map(|(of, spans)| Some((*series_of.get(&of)?, spans))).collect();
        let median = |(of, target, rate)| (of, target, Pace::from(vec![rate]));
        let paces = std::mem::take(&mut cursors.lineage.paces);
        for (of, target, known) in cursors.paces.into_iter().map(median).chain(paces) {
            if let Some(&series) = series_of.get(&of).filter(|_| (target as usize) < targets) {
                let pace = tracker.pace_id(tracker.series[series as usize].sli, target);
                tracker.paces[pace as usize] = known;
            }
        }
        tracker.recall(cursors.lineage);
        tracker
    }
}
