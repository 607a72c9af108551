//! Raw samples in, exact increments out.
//!
//! For each raw series the tracker keeps the last `(time, value)` and books what the counter really gained. **Nothing is
//! booked that the target could not have counted since it was last seen**: what cannot be decided is a named doubt, never
//! a number. The rules, each with its evidence ([`Reason`] has one name for each outcome):
//!
//! - *A rise* is the difference, booked at the newer sample's time. A hole is bridged by the difference across it, booked
//!   at its end; the slices inside are marked partial.
//! - *A first sample* is a lifetime total and no news, unless its process (or the counter itself) began since the scrape
//!   before, or it was scraped together with older series of its target, was not there the time before, and what it
//!   holds can have been gained since (`births`).
//! - *Another name*: a series that begins where one with the same labels but for some has ended goes on from it.
//! - *A return*: the last value of a silent series is kept as long as the longest window; it goes on from there.
//! - *A fall* is a restart where the process says that it began anew, where the target was away, or where most of its
//!   counters fell to what a new process can have. Else the counter waits, and is booked across when it comes back
//!   (`delta`, `doubt`, `process`).
//! - *Forgotten*: what was left out of some scrapes and stays low was begun anew by its exporter, and counts from nothing.
//! - *Falls again and again* without a new process are a flicker: nothing of such a series is known.
//! - The count of a histogram and its bucket (or the two on both sides of a threshold) are walked as one, at the moments
//!   all have.
//! - What is negative, no number or too large to count by ones is not taken: the next count bridges it.
//!
//! What can have been gained is judged by the pace of the same total on the same target (`pace`, `evidence`). All of it
//! depends on samples up to the moment in question (a birth may wait for the next), never on how a history is cut into
//! reads: who reads it at once and who lives through it book the same.
//!
//! Why not `increase()`: asked each minute over a minute it never sees the step between two windows and counts the next
//! one twice. `tests/it/exactness.rs` measures it.
//!
//! Deliberately absent: what time it is. "Now" is the newest moment the caller says it has read up to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::engine::ledger::{Applied, SeriesLedger};
use crate::engine::status::DataReason;
use crate::engine::{Labels, SliceDelta};

use super::fanout::Fanout;
use super::fetch::Plan;
use super::samples::RawSeries;
use accumulator::Accumulator;
use births::Birth;
use cursors::{Asleep, Feed, Raw};
use doubt::{CounterDoubt, Uncountable};
use evidence::TargetEvidence;
use pace::Pace;
use pair::{Count, CounterPair};
use series_match::{Matched, SeriesMatch};
use target::Target;
use turnover::Turnover;
use unplaced::Unplaced;

pub use super::samples::{PROCESS_START, UP};
pub use cursors::{Join, Starts};
pub use lineage::Lineage;
pub use liveness::Liveness;
pub use reason::Reason;
pub use remembered::Remembered;
pub use saved::Cursors;
pub use trace::{Traced, Tracing};

mod accumulator;
mod births;
mod cursors;
mod delta;
mod doubt;
mod ended;
mod evidence;
mod forgetting;
mod lineage;
mod liveness;
mod pace;
mod pair;
mod parts;
mod possible;
mod process;
mod reason;
mod remembered;
mod saved;
mod series_match;
mod settling;
mod target;
mod trace;
mod turnover;
mod unplaced;
mod walk;

/// What one read gave one series of one SLI.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesDeltas {
    /// Index into `Plan::slis`.
    pub sli: usize,
    /// Series labels (`by`).
    pub labels: Labels,
    /// Changes in slice order.
    pub deltas: Vec<SliceDelta>,
    /// Slices `[from, to)` of which nothing is known after all, whatever was booked before; they come first.
    pub void: Option<(i64, i64)>,
    /// Slices that were booked before, and how many events of them were not bad after all.
    pub corrections: Vec<(i64, u64)>,
    /// A fault found in its data.
    pub fault: Option<DataReason>,
    /// Where its total was there; of queues only.
    pub marks: Vec<Mark>,
}

impl SeriesDeltas {
    /// Books them.
    pub fn apply_to(&self, series: &mut SeriesLedger) -> Applied {
        if let Some((from, to)) = self.void {
            series.void(from, to);
        }
        for &(slice, bad) in &self.corrections {
            series.take_back(slice, bad);
        }
        series.apply(&self.deltas)
    }

    /// Takes back what was booked before slice `end`, and answers what is left to book.
    pub fn undo_before(mut self, end: i64, series: &mut SeriesLedger) -> SeriesDeltas {
        if let Some((from, to)) = self.void {
            series.void(from, to.min(end));
            self.void = (to > end).then_some((from.max(end), to));
        }
        let (older, newer): (Vec<_>, Vec<_>) = self.corrections.into_iter().partition(|&(slice, _)| slice < end);
        for (slice, bad) in older {
            series.take_back(slice, bad);
        }
        SeriesDeltas { corrections: newer, ..self }
    }

    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        self.deltas.is_empty() && self.void.is_none() && self.corrections.is_empty()
    }

    /// Whether they change what was booked before, and not only add to it.
    pub fn rewrites(&self) -> bool {
        self.void.is_some() || !self.corrections.is_empty()
    }
}

/// A slice that samples of a total tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The slice.
    pub slice: i64,
    /// Events may have happened in it: an interval between samples that touches it has some.
    pub moved: bool,
    /// A first sample in it only set a start: what happened before it in the slice nobody knows.
    pub begins: bool,
}

/// What one read gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadDeltas {
    /// Per series, in (SLI, labels) order.
    pub series: Vec<SeriesDeltas>,
    /// New samples walked.
    pub samples: u64,
    /// Falls taken for restarts.
    pub resets: u64,
    /// Falls that nothing explains.
    pub glitches: u64,
    /// First samples and doubtful values, by what became of them.
    pub reasons: BTreeMap<Reason, u64>,
}

/// Cursors of all raw series, and the SLI series they feed.
#[derive(Debug, Default)]
pub struct Tracker {
    resolution_ms: i64,
    raws: Vec<Raw>,
    raw_ids: HashMap<u128, u32>,
    /// What each label set is, found once: filled as series are seen, emptied when ids move.
    matches: HashMap<u128, SeriesMatch>,
    targets: Vec<Target>,
    target_ids: HashMap<u128, u32>,
    series: Vec<TrackedSeries>,
    series_ids: HashMap<(usize, Labels), u32>,
    /// How fast the total of an SLI grows on a target.
    paces: Vec<Pace>,
    /// Of each pace, its SLI and target.
    pace_of: Vec<(usize, u32)>,
    pace_ids: HashMap<(usize, u32), u32>,
    /// First samples that wait to be placed.
    births: Vec<Birth>,
    /// Which labels of a target had another value lately, by its key.
    turnovers: HashMap<u128, Vec<Turnover>>,
    /// What is doubtful about counters, by cursor.
    doubts: HashMap<u32, CounterDoubt>,
    /// Series that flicker, until when; by series.
    uncountable: BTreeMap<u32, Vec<Uncountable>>,
    /// Jobs of all targets: by them their witnesses are asked for.
    jobs: BTreeSet<String>,
    /// The last values of silent series.
    asleep: HashMap<u128, Asleep>,
    /// Which children have rows.
    fanout: Fanout,
    /// Since when each SLI is read, milliseconds; an SLI that is not named was read from the very start.
    since_ms: HashMap<usize, i64>,
    /// Raw series whose first sample only set their start, and its time: where older history is joined on.
    starts: HashMap<u128, i64>,
    /// Older history will be joined on.
    joining: bool,
    /// What is written down of every change, while somebody asks.
    tracing: Option<Tracing>,
}

#[derive(Debug, Clone, Default)]
struct TrackedSeries {
    sli: usize,
    labels: Labels,
    /// Time of the first sample of all, milliseconds.
    first_ms: Option<i64>,
    newest_ms: Option<i64>,
    /// Fractions of events not booked yet, (total, bad).
    residual: (f64, f64),
    /// The newest slices with bad events, and how many were booked: their bucket may have been read too early.
    newest_bad: Vec<(i64, u64)>,
    /// What could not be placed of it.
    unplaced: Unplaced,
    interval_ms: Option<i64>,
}

/// One read: what came back for the requests of one source.
#[derive(Debug)]
pub struct Read<'a> {
    /// Raw series of counters.
    pub counters: &'a [RawSeries],
    /// Series of [`UP`] and [`PROCESS_START`] of their targets; needed where [`Tracker::doubtful`] names some.
    pub witnesses: &'a [RawSeries],
    /// Only samples up to here are taken, milliseconds, inclusive.
    pub until_ms: i64,
    /// All of it was read by others from somewhere on: what they booked is not booked again.
    pub join: Option<Join<'a>>,
}

impl Tracker {
    /// A tracker that has seen nothing. `resolution_s` is the slice length, seconds.
    pub fn new(resolution_s: i64) -> Self {
        Tracker { resolution_ms: resolution_s * 1000, joining: true, ..Tracker::default() }
    }

    /// An SLI is read from `from_ms` on; nothing changes for one that was read before. What its targets showed earlier
    /// says nothing of its series: nobody looked for them.
    pub fn begin(&mut self, sli: usize, from_ms: i64) {
        self.since_ms.entry(sli).or_insert(from_ms);
    }

    /// Labels of the targets in these answers of which more must be known: some of their series are new, or fell. The
    /// caller asks for their witnesses before it lets them be read.
    pub fn doubtful<'a>(&mut self, plan: &Plan, counters: impl IntoIterator<Item = &'a RawSeries>) -> BTreeSet<Labels> {
        let pairs = self.pairs(plan, counters).pairs;
        let mut doubtful = BTreeSet::new();
        for pair in pairs {
            let newest = self.newest_of(pair.id);
            let fell = |(at_ms, count): (i64, Count)| {
                let mut before = count.whole;
                pair.points(i64::MAX).filter(|point| point.at_ms > at_ms).filter_map(|point| point.count).any(|now| {
                    let fell = now.whole < before;
                    before = now.whole;
                    fell
                })
            };
            if newest.is_none_or(fell)
                && let Some(series) = self.raws[pair.id as usize].series().next()
            {
                doubtful.insert(series_match::target_of(plan, self.series[series as usize].sli, pair.whole).1);
            }
        }
        doubtful
    }

    /// The newest sample of a cursor.
    fn newest_of(&self, id: u32) -> Option<(i64, Count)> {
        let last = self.raws[id as usize].last?;
        let low = self.doubts.get(&id).and_then(|doubt| doubt.low);
        Some((last.at_ms, low.map_or(last.count, |low| low.newest)))
    }

    /// Where an answer must be read again from, milliseconds: some of its series have counts that were not in earlier
    /// answers, and now begin too late to join on to them. Looks for cursors in `(oldest_ms, asked_ms)`; what is older
    /// is too long ago, what is newer was asked for.
    pub fn gap<'a>(
        &mut self,
        plan: &Plan,
        counters: impl IntoIterator<Item = &'a RawSeries>,
        oldest_ms: i64,
        asked_ms: i64,
    ) -> Option<i64> {
        let pairs = self.pairs(plan, counters).pairs;
        let gap = |pair: CounterPair<'_>| {
            let raw = &self.raws[pair.id as usize];
            let last_ms = raw.last.map(|last| last.at_ms).filter(|&at| at > oldest_ms && at < asked_ms)?;
            let every_ms = self.targets[raw.target as usize].interval_ms()?;
            let next = pair.points(i64::MAX).find(|point| point.at_ms > last_ms && point.count.is_some())?;
            (2 * (next.at_ms - last_ms) > 3 * every_ms).then_some(last_ms)
        };
        pairs.into_iter().filter_map(gap).min()
    }

    /// Takes one read of counters.
    pub fn read(&mut self, plan: &Plan, read: &Read<'_>) -> ReadDeltas {
        let Matched { pairs, without_bucket } = self.pairs(plan, read.counters);
        let mut found = ReadDeltas::default();
        let mut accumulators: BTreeMap<u32, Accumulator> = BTreeMap::new();
        if let Some(tracing) = &mut self.tracing {
            tracing.meet(&pairs, &self.raws, |series| self.series[series as usize].sli);
        }
        self.end_gone(&pairs, read.until_ms);
        for until_ms in self.parts(&pairs, read.until_ms) {
            self.read_part(plan, &pairs, &Read { until_ms, ..*read }, &mut accumulators, &mut found);
        }
        for series in without_bucket {
            accumulator(series, self.resolution_ms, &mut accumulators).fault(DataReason::NoBucket);
        }
        self.settle(plan, accumulators, read.until_ms, &mut found);
        found
    }

    /// Walks all pairs on, and places what began.
    fn read_part(
        &mut self,
        plan: &Plan,
        pairs: &[CounterPair<'_>],
        read: &Read<'_>,
        accumulators: &mut BTreeMap<u32, Accumulator>,
        found: &mut ReadDeltas,
    ) {
        self.end_gone(pairs, read.until_ms);
        let evidence = self.evidence(plan, pairs, read.witnesses, read.until_ms);
        let waits = self.pair_limits(plan, pairs, read.until_ms);
        let (mut births, mut walked) = (Vec::new(), Vec::new());
        for pair in pairs {
            self.walk(pair, &evidence, &waits, read, &mut walked, accumulators, &mut births, found);
        }
        self.place_births(&evidence, births, read.until_ms, accumulators, found);
        self.note_targets(pairs, &evidence);
    }

    /// Jobs of the targets that were seen.
    pub fn jobs(&self) -> &BTreeSet<String> {
        &self.jobs
    }

    /// Writes down every change of what these SLIs count, from now on.
    pub fn trace(&mut self, slis: BTreeSet<usize>) {
        self.tracing = Some(Tracing::of(slis));
    }

    /// What was written down.
    pub fn traced(&self) -> Option<&Tracing> {
        self.tracing.as_ref()
    }

    /// How many last values of silent raw series are kept.
    pub fn asleep(&self) -> usize {
        self.asleep.len()
    }

    /// The children of all fan-outs.
    pub fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// Lets answers that have no cursors be counted for the children they hold, or takes the children from elsewhere.
    pub fn fanout_mut(&mut self) -> &mut Fanout {
        &mut self.fanout
    }

    /// Whether a series is followed.
    pub fn follows(&self, key: &(usize, Labels)) -> bool {
        self.series_ids.contains_key(key)
    }

    /// Where this tracker began to read: what older history must be joined on to.
    pub fn starts(&self) -> Starts {
        Starts(self.starts.clone())
    }

    /// Whether older history will be joined on. Where it will not, starts are not remembered: pods that come and go would
    /// leave one each.
    pub fn expect_history(&mut self, expected: bool) {
        self.joining = expected;
        if !expected {
            self.starts = HashMap::new();
        }
    }

    fn series_id(&mut self, sli: usize, labels: Labels) -> u32 {
        if let Some(&id) = self.series_ids.get(&(sli, labels.clone())) {
            return id;
        }
        let id = self.series.len() as u32;
        let new = TrackedSeries { sli, labels: labels.clone(), ..TrackedSeries::default() };
        self.series.push(new);
        self.series_ids.insert((sli, labels), id);
        id
    }

    fn note_targets(&mut self, pairs: &[CounterPair<'_>], evidence: &TargetEvidence) {
        let pace_targets: Vec<u32> = self.pace_of.iter().map(|&(_, target)| target).collect();
        evidence.note_paces(&self.targets, &pace_targets, &mut self.paces);
        for (target, id) in self.targets.iter_mut().zip(0..) {
            if evidence.times(id).is_empty() {
                continue;
            }
            target.restarted_ms = target.restarted_ms.max(evidence.restarts(id).next());
            target.process = match (target.process, evidence.newest_process(id)) {
                (Some(known), Some(newer)) if newer.start_ms <= known.start_ms => Some(known),
                (known, newer) => newer.or(known),
            };
            target.note(evidence.times(id));
        }
        for pair in pairs {
            let raw = &self.raws[pair.id as usize];
            let interval = self.targets[raw.target as usize].interval_ms();
            for series in raw.series() {
                self.series[series as usize].interval_ms = interval;
            }
        }
    }

    /// A first sample only set a start, or waits: of the slice before it nothing is known of this counter.
    fn begins(&self, feeds: &[Feed], at_ms: i64, why: Option<Reason>, accumulators: &mut BTreeMap<u32, Accumulator>) {
        for feed in feeds {
            accumulator(feed.series, self.resolution_ms, accumulators).begins(at_ms);
        }
        if let Some(why) = why {
            note_doubt(feeds, self.resolution_ms, (at_ms, why), accumulators);
        }
    }
}

/// Notes a doubt, once for each series that a counter feeds.
fn note_doubt(
    feeds: &[Feed],
    resolution_ms: i64,
    (at_ms, why): (i64, Reason),
    accumulators: &mut BTreeMap<u32, Accumulator>,
) {
    if why.is_doubt() {
        let series: BTreeSet<u32> = feeds.iter().map(|feed| feed.series).collect();
        series.into_iter().for_each(|of| accumulator(of, resolution_ms, accumulators).doubt(at_ms, why));
    }
}

/// What a series gains while one read is walked.
fn accumulator(series: u32, resolution_ms: i64, all: &mut BTreeMap<u32, Accumulator>) -> &mut Accumulator {
    all.entry(series).or_insert_with(|| Accumulator::new(resolution_ms))
}

#[cfg(test)]
mod proof;
#[cfg(test)]
mod tests;
