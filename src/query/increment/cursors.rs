//! Where reading stands: the cursors, what of them survives a restart, and where older history joins on.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tracker;
use super::pair::Count;
use super::target::Target;
use crate::engine::Labels;
use crate::query::fanout::{Fanout, SavedFanout};
use crate::query::fetch::{Plan, Role};
use crate::query::samples::{RawSeries, Samples, key_of};

/// Where one pair was read to.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub key: u128,
    pub target: u32,
    /// Which series it feeds; `None` after a restart until its labels are seen again.
    pub feeds: Option<Box<[Feed]>>,
    pub last: Option<Last>,
    /// Time of the newest sample in any answer, whatever it said.
    pub seen_ms: Option<i64>,
    /// What is walked.
    pub kind: Kind,
}

/// What is walked with one cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A series by itself.
    Own,
    /// The count of a histogram and one of its buckets.
    Pair,
    /// The count of a histogram and the buckets on both sides of a threshold.
    Between,
}

impl Kind {
    /// Raw series beside the first.
    pub fn more(self) -> usize {
        match self {
            Kind::Own => 0,
            Kind::Pair => 1,
            Kind::Between => 2,
        }
    }
}

impl Raw {
    pub fn series(&self) -> impl Iterator<Item = u32> + '_ {
        self.feeds.iter().flatten().map(|feed| feed.series)
    }
}

/// A series that a raw series counts for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed {
    pub series: u32,
    pub role: Role,
    /// The child of a fan-out that it is booked for.
    pub child: Option<u128>,
}

/// The last count that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Last {
    pub at_ms: i64,
    pub count: Count,
}

/// Raw series whose first sample only set their start, and when that was.
#[derive(Debug, Clone, Default)]
pub struct Starts(pub(super) HashMap<u128, i64>);

impl Starts {
    /// Of series read just after older history ended: the samples up to where the newer reads began. Reading them with
    /// the tracker of the older history books exactly what lies between the two.
    pub fn join(&self, series: Vec<RawSeries>) -> Vec<RawSeries> {
        let up_to_start = |raw: RawSeries| {
            let start = *self.0.get(&key_of(&raw.labels))?;
            let samples = Samples::new(raw.samples.iter().filter(|&(at, _)| at <= start).collect());
            (!samples.is_empty()).then_some(RawSeries { samples, ..raw })
        };
        series.into_iter().filter_map(up_to_start).collect()
    }
}

/// What survives a restart, in a compact form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursors {
    raws: Vec<(u128, u32, i64, [f64; 4])>,
    targets: Vec<(u128, Target)>,
    series: Vec<SeriesCursor>,
    starts: Vec<(u128, i64)>,
    fanout: SavedFanout,
}

/// One series of an SLI: what was not booked yet, and how far it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SeriesCursor {
    slo_id: String,
    /// What the SLI counts; where that has changed the cursor is none of its own.
    counts: u128,
    labels: Labels,
    residual: (f64, f64),
    newest_ms: Option<i64>,
}

fn counts_of(plan: &Plan, sli: usize) -> u128 {
    key_of(&[(String::new(), plan.slis[sli].counts.clone())])
}

impl Cursors {
    /// SLIs of the plan that counted something else when these were saved.
    pub fn changed(&self, plan: &Plan) -> Vec<usize> {
        let slis: HashMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        let changed = |cursor: &SeriesCursor| {
            let sli = *slis.get(cursor.slo_id.as_str())?;
            (counts_of(plan, sli) != cursor.counts).then_some(sli)
        };
        self.series.iter().filter_map(changed).collect()
    }
}

impl Tracker {
    /// What a restart needs to continue exactly here.
    pub fn cursors(&self, plan: &Plan) -> Cursors {
        let counts: Vec<u128> = (0..plan.slis.len()).map(|sli| counts_of(plan, sli)).collect();
        let raws = self.raws.iter().filter_map(|raw| {
            let Last { at_ms, count } = raw.last?;
            Some((raw.key, raw.target, at_ms, [count.whole, count.part, count.lower, count.good]))
        });
        Cursors {
            raws: raws.collect(),
            targets: self.targets.iter().map(|target| (target.key, target.clone())).collect(),
            series: self
                .series
                .iter()
                .map(|series| SeriesCursor {
                    slo_id: plan.slis[series.sli].id.clone(),
                    counts: counts[series.sli],
                    labels: series.labels.clone(),
                    residual: series.residual,
                    newest_ms: series.newest_ms,
                })
                .collect(),
            starts: self.starts.iter().map(|(&key, &at)| (key, at)).collect(),
            fanout: self.fanout.saved(plan),
        }
    }

    /// A tracker that continues from saved cursors; those of SLOs that no longer exist, or now count something else,
    /// are dropped.
    pub fn restore(resolution_s: i64, plan: &Plan, cursors: Cursors) -> Self {
        let mut tracker = Tracker::new(resolution_s);
        tracker.fanout = Fanout::restore(plan, cursors.fanout);
        tracker.targets = cursors.targets.into_iter().map(|(key, target)| Target { key, ..target }).collect();
        tracker.target_ids = tracker.targets.iter().zip(0..).map(|(target, id)| (target.key, id)).collect();
        let targets = tracker.targets.len();
        let raws = cursors.raws.into_iter().filter(|&(_, target, ..)| (target as usize) < targets);
        tracker.raws = raws
            .map(|(key, target, at_ms, [whole, part, lower, good])| Raw {
                key,
                target,
                feeds: None,
                last: Some(Last { at_ms, count: Count { whole, part, lower, good } }),
                seen_ms: Some(at_ms),
                kind: Kind::Own,
            })
            .collect();
        tracker.raw_ids = tracker.raws.iter().zip(0..).map(|(raw, id)| (raw.key, id)).collect();
        tracker.starts = cursors.starts.into_iter().collect();
        let slis: HashMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        for cursor in cursors.series {
            if let Some(&sli) = slis.get(cursor.slo_id.as_str())
                && counts_of(plan, sli) == cursor.counts
            {
                tracker.begin(sli, i64::MIN);
                let id = tracker.series_id(sli, cursor.labels) as usize;
                tracker.series[id].residual = cursor.residual;
                tracker.series[id].newest_ms = cursor.newest_ms;
            }
        }
        tracker
    }
}
