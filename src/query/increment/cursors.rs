//! Where reading stands: the cursors, what of them survives a restart, and where older history joins on.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tracker;
use super::births::Birth;
use super::doubt::{CounterDoubt, Uncountable};
use super::ended::LabelHash;
use super::pace::Pace;
use super::pair::Count;
use super::target::Target;
use super::unplaced::Unplaced;
use crate::engine::Labels;
use crate::query::fanout::{Fanout, SavedFanout};
use crate::query::fetch::{Plan, Role};

/// Where one pair was read to.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub key: u128,
    pub target: u32,
    /// Which series it feeds; `None` after a restart until its labels are seen again.
    pub feeds: Option<Box<[Feed]>>,
    pub last: Option<Last>,
    /// Another series goes on from it: what it said up to then is that one's past.
    pub ended_ms: Option<i64>,
    /// Another series may have taken its place: it has ended if its next sample is later than this. A daemon that begins anew
    /// just then does not know.
    pub gone_after_ms: Option<i64>,
    /// It has, and this is what it said last.
    pub gone: Option<Box<Asleep>>,
    /// Time of the newest sample in any answer, whatever it said.
    pub seen_ms: Option<i64>,
    /// What is walked.
    pub kind: Kind,
    /// Its labels, hashed, to tell what a series goes on from; `None` after a restart until they are seen again.
    pub labels: Option<Box<[LabelHash]>>,
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
    /// Ends it: should it come back, it begins anew.
    pub fn end(&mut self) {
        self.ended_ms = self.ended_ms.max(self.last.take().map(|last| last.at_ms));
        self.gone_after_ms = None;
    }

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
    /// How fast the total of its SLI grows on the target.
    pub pace: u32,
    /// It is the one by which the raw series moves that pace.
    pub leads: bool,
}

/// The last count that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Last {
    pub at_ms: i64,
    pub count: Count,
}

/// Most last values of silent raw series that are kept; the oldest go first. One takes 64 bytes, so all of them 16 MB.
const ASLEEP_MAX: usize = 250_000;

/// So many of them survive a restart.
const ASLEEP_SAVED_MAX: usize = 20_000;

/// The last value of a raw series that has been silent for long. Narrow, for there may be many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Asleep {
    pub at_ms: i64,
    count: [f64; 4],
}

impl Asleep {
    pub fn of(last: Last) -> Self {
        let Count { whole, part, lower, good } = last.count;
        Asleep { at_ms: last.at_ms, count: [whole, part, lower, good] }
    }

    pub fn last(self) -> Last {
        let [whole, part, lower, good] = self.count;
        Last { at_ms: self.at_ms, count: Count { whole, part, lower, good } }
    }
}

/// Drops what is older than `oldest_ms`, and the oldest of too many.
pub(super) fn bound(asleep: &mut HashMap<u128, Asleep>, oldest_ms: i64) {
    asleep.retain(|_, silent| silent.at_ms >= oldest_ms);
    if asleep.len() > ASLEEP_MAX {
        let mut times: Vec<i64> = asleep.values().map(|silent| silent.at_ms).collect();
        let (_, &mut newest_of_old, _) = times.select_nth_unstable(asleep.len() - ASLEEP_MAX);
        asleep.retain(|_, silent| silent.at_ms > newest_of_old);
    }
}

/// Raw series whose first sample only set their start, and when that was.
#[derive(Debug, Clone, Default)]
pub struct Starts(pub(super) HashMap<u128, i64>);

/// Where reading older history ends: it books what the newer reads could not, and nothing that they booked.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// Where the newer reads began.
    pub starts: &'a Starts,
    /// Older history ends here, milliseconds; what lies before is its own, also where it was decided on later.
    pub ends_ms: i64,
}

impl Join<'_> {
    /// Up to when increments of a counter that is made of these raw series are booked, milliseconds.
    pub(super) fn until_ms(&self, raws: impl Iterator<Item = u128>) -> i64 {
        let starts = raws.filter_map(|raw| self.starts.0.get(&raw).copied());
        starts.fold(self.ends_ms, i64::max)
    }

    /// The newest sample it can have to do with, milliseconds.
    pub fn newest_ms(&self) -> i64 {
        self.starts.0.values().copied().fold(self.ends_ms, i64::max)
    }
}

/// What survives a restart, in a compact form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursors {
    raws: Vec<(u128, u32, i64, [f64; 4])>,
    targets: Vec<(u128, Target)>,
    series: Vec<SeriesCursor>,
    /// The usual rate of the total of a series on a target.
    paces: Vec<(u32, u32, f32)>,
    births: Vec<Birth>,
    /// By place among `raws`.
    doubts: Vec<(u32, CounterDoubt)>,
    /// By place among `series`.
    uncountable: Vec<(u32, Vec<Uncountable>)>,
    asleep: Vec<(u128, Asleep)>,
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
    newest_bad: Vec<(i64, u64)>,
    unplaced: Unplaced,
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

impl Cursors {
    /// SLIs of the plan that counted something else when these were saved.
    pub fn changed(&self, plan: &Plan) -> Vec<usize> {
        let slis: HashMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        let changed = |cursor: &SeriesCursor| {
            let sli = *slis.get(cursor.slo_id.as_str())?;
            (!still_counts(plan, sli, cursor.counts)).then_some(sli)
        };
        self.series.iter().filter_map(changed).collect()
    }
}

impl Tracker {
    /// What a restart needs to continue exactly here.
    pub fn cursors(&self, plan: &Plan) -> Cursors {
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
                    counts: plan.slis[series.sli].counts[0],
                    labels: series.labels.clone(),
                    residual: series.residual,
                    newest_bad: series.newest_bad.clone(),
                    unplaced: series.unplaced.clone(),
                    first_ms: series.first_ms,
                    newest_ms: series.newest_ms,
                })
                .collect(),
            paces: self.saved_paces(),
            births: self.births.clone(),
            doubts: self.saved_doubts(),
            uncountable: self.uncountable.iter().map(|(&series, spans)| (series, spans.clone())).collect(),
            asleep: self.saved_asleep(),
            starts: sorted(&self.starts),
            fanout: self.fanout.saved(plan),
        }
    }

    /// The pace of each SLI on each target, by the series of the SLI as a whole.
    fn saved_paces(&self) -> Vec<(u32, u32, f32)> {
        let whole = |(pace, &(sli, target)): (&Pace, &(usize, u32))| {
            let series = *self.series_ids.get(&(sli, Labels::new()))?;
            Some((series, target, pace.rates(std::iter::empty()).median()? as f32))
        };
        self.paces.iter().zip(&self.pace_of).filter_map(whole).collect()
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
                ended_ms: None,
                gone_after_ms: None,
                gone: None,
                seen_ms: Some(at_ms),
                kind: Kind::Own,
                labels: None,
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
            if let Some(&sli) = slis.get(cursor.slo_id.as_str())
                && still_counts(plan, sli, cursor.counts)
            {
                tracker.begin(sli, i64::MIN);
                let id = tracker.series_id(sli, cursor.labels) as usize;
                series_of.insert(place, id as u32);
                tracker.series[id].residual = cursor.residual;
                tracker.series[id].newest_bad = cursor.newest_bad;
                tracker.series[id].unplaced = cursor.unplaced;
                tracker.series[id].first_ms = cursor.first_ms;
                tracker.series[id].newest_ms = cursor.newest_ms;
            }
        }
        let uncountable = cursors.uncountable.into_iter();
        tracker.uncountable = uncountable.filter_map(|(of, spans)| Some((*series_of.get(&of)?, spans))).collect();
        for (of, target, rate) in cursors.paces {
            if let Some(&series) = series_of.get(&of).filter(|_| (target as usize) < targets) {
                let pace = tracker.pace_id(tracker.series[series as usize].sli, target);
                tracker.paces[pace as usize] = Pace::of(rate);
            }
        }
        tracker
    }
}
