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
//!   (`delta`, `doubt`).
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
use super::fetch::{Plan, Role, Sli};
use super::samples::{RawSeries, key_of};
use accumulator::{Accumulator, Settled};
use births::{Birth, Waits};
use cursors::{Asleep, Feed, Kind, Raw};
use delta::{CounterDelta, Deltas, FirstSample};
use doubt::{Doubt, Uncountable};
use evidence::Evidence;
use pace::Pace;
use pair::{Count, CounterPair};
use series_match::{Matched, SeriesMatch};
use target::Target;
use unplaced::Unplaced;

pub use super::samples::{PROCESS_START, UP};
pub use cursors::{Cursors, Join, Starts};
pub use reason::Reason;
pub use remembered::Remembered;
pub use trace::{Traced, Tracing};

mod accumulator;
mod births;
mod cursors;
mod delta;
mod doubt;
mod ended;
mod evidence;
mod pace;
mod pair;
mod possible;
mod reason;
mod remembered;
mod series_match;
mod target;
mod trace;
mod unplaced;

/// Without a known scrape interval a raw series is live this long after a sample, milliseconds.
const LIVE_MS: i64 = 60_000;
/// A total waits this long for its part before it is booked without it, milliseconds.
const PAIR_WAIT_MS: i64 = 60_000;
/// What was silent this long sleeps: of it only the last value is kept, milliseconds.
const FORGET_MS: i64 = 86_400_000;
/// Where several processes answer in turn the time before it showed is not trusted either, milliseconds.
const DISTRUSTED_MS: i64 = 3_600_000;

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

/// The liveness of one series: what its data state is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Liveness {
    /// Time of the newest sample that says something of the total, milliseconds.
    pub newest_ms: Option<i64>,
    /// Raw series (of a histogram, counts with their bucket) that answered recently.
    pub live: usize,
    /// Scrape interval as observed, milliseconds.
    pub interval_ms: Option<i64>,
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
    series: Vec<Series>,
    series_ids: HashMap<(usize, Labels), u32>,
    /// How fast the total of an SLI grows on a target.
    paces: Vec<Pace>,
    /// Of each pace, its SLI and target.
    pace_of: Vec<(usize, u32)>,
    pace_ids: HashMap<(usize, u32), u32>,
    /// First samples that wait to be placed.
    births: Vec<Birth>,
    /// What is doubtful about counters, by cursor.
    doubts: HashMap<u32, Doubt>,
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
struct Series {
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
        let evidence = self.evidence(plan, &pairs, read.witnesses, read.until_ms);
        let waits = self.pair_limits(plan, &pairs, read.until_ms);
        let mut found = ReadDeltas::default();
        let mut accumulators: BTreeMap<u32, Accumulator> = BTreeMap::new();
        let (mut births, mut walked) = (Vec::new(), Vec::new());
        if let Some(tracing) = &mut self.tracing {
            tracing.meet(&pairs, &self.raws, |series| self.series[series as usize].sli);
        }
        for pair in &pairs {
            self.walk(pair, &evidence, &waits, read, &mut walked, &mut accumulators, &mut births, &mut found);
        }
        self.place_births(&evidence, births, read.until_ms, &mut accumulators, &mut found);
        for series in without_bucket {
            accumulator(series, self.resolution_ms, &mut accumulators).fault(DataReason::NoBucket);
        }
        self.note_targets(&pairs, &evidence);
        self.settle(plan, accumulators, read.until_ms, &mut found);
        found
    }

    /// Walks one pair from where its cursor stands.
    #[allow(clippy::too_many_arguments)]
    fn walk(
        &mut self,
        pair: &CounterPair<'_>,
        evidence: &Evidence,
        waits: &HashMap<(u32, u32), PairLimit>,
        read: &Read<'_>,
        walked: &mut Vec<CounterDelta>,
        accumulators: &mut BTreeMap<u32, Accumulator>,
        births: &mut Vec<Birth>,
        found: &mut ReadDeltas,
    ) {
        let until_ms = read.until_ms;
        let raws = || [Some(pair.whole), pair.part, pair.lower].into_iter().flatten().map(|raw| key_of(&raw.labels));
        let ours = |at_ms: i64, until_ms: Option<i64>| until_ms.is_none_or(|until_ms| at_ms <= until_ms);
        let join_ms = read.join.map(|join| join.until_ms(raws()));
        let doubt = self.doubts.remove(&pair.id).unwrap_or_default();
        let raw = &self.raws[pair.id as usize];
        let feeds = raw.feeds.as_deref().unwrap_or(&[]);
        let since = |feed: &Feed| self.since_ms.get(&self.series[feed.series as usize].sli).copied();
        let since_ms = feeds.iter().map(|feed| since(feed).unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN);
        let wait_of = |feed: &Feed| waits.get(&(feed.series, raw.target));
        let limit_ms = feeds.iter().filter_map(wait_of).map(|wait| wait.limit_ms).min();
        let sli_of = |feed: &Feed| self.series[feed.series as usize].sli;
        // What a child cannot say of its events its whole cannot say either.
        let widowed: Vec<usize> =
            feeds.iter().filter(|feed| wait_of(feed).is_some_and(|wait| wait.widowed)).map(sli_of).collect();
        let last = raw.last;
        let mut deltas =
            Deltas { tracker: self, evidence, raw, since_ms, last, doubt, first: None, flickers: Vec::new(), found };
        walked.clear();
        deltas.walk(pair, limit_ms.map_or(until_ms, |at| at.min(until_ms)), |delta| walked.push(delta));
        let Deltas { last, doubt, first, flickers, .. } = deltas;
        // Where values are no counts from before the seam on, what others count in those slices is not known either.
        let no_count = |delta: &CounterDelta| {
            matches!(delta.why, Reason::NotANumber | Reason::TooLarge)
                && delta.from_ms.is_some_and(|at| ours(at, join_ms))
        };
        for delta in walked.iter().filter(|delta| ours(delta.at_ms, join_ms) || no_count(delta)) {
            let there = |feed: &&Feed| !widowed.contains(&sli_of(feed));
            book(
                &mut self.fanout,
                &self.series,
                self.resolution_ms,
                raw.kind,
                feeds.iter().filter(there),
                delta,
                accumulators,
            );
            for feed in feeds.iter().filter(|feed| !there(feed)) {
                accumulator(feed.series, self.resolution_ms, accumulators).fault(DataReason::NoBucket);
            }
            if delta.why.is_doubt() {
                *found.reasons.entry(delta.why).or_default() += 1;
                note_doubt(feeds, self.resolution_ms, (delta.at_ms, delta.why), accumulators);
            }
            if let Some(tracing) = &mut self.tracing {
                tracing.note(raw.key, pair, delta);
            }
        }
        for delta in walked.iter().filter(|delta| !ours(delta.at_ms, join_ms) && !no_count(delta)) {
            for feed in feeds {
                let bad = bad_by(raw.kind, feed.role, delta.events);
                accumulator(feed.series, self.resolution_ms, accumulators).booked_by_newer(delta.at_ms, bad);
            }
        }
        if let Some(FirstSample { at_ms, count, start_ms }) = first.filter(|first| ours(first.at_ms, join_ms)) {
            births.push(Birth {
                key: raw.key,
                at_ms,
                count,
                since_ms,
                start_ms,
                waits: Waits::Nothing,
                beat_ms: 0,
                raws: raws().collect(),
            });
        }
        let nameless = self.targets[raw.target as usize].nameless;
        for (since_ms, at_ms) in flickers.into_iter().filter(|&(_, at_ms)| ours(at_ms, join_ms)) {
            let reason = if nameless { DataReason::CounterSummed } else { DataReason::CounterFlickers };
            for feed in feeds {
                distrust(self.uncountable.entry(feed.series).or_default(), since_ms, at_ms, reason);
            }
        }
        if !doubt.is_over(last.map_or(until_ms, |last| last.at_ms)) {
            self.doubts.insert(pair.id, doubt);
        }
        if let Some(FirstSample { at_ms, .. }) = first {
            for feed in feeds {
                let series = &mut self.series[feed.series as usize];
                series.first_ms = Some(series.first_ms.map_or(at_ms, |known| known.min(at_ms)));
            }
        }
        let seen_ms = pair.points(until_ms).last().map(|point| point.at_ms);
        let raw = &mut self.raws[pair.id as usize];
        raw.last = last;
        raw.seen_ms = raw.seen_ms.max(seen_ms);
    }

    fn settle(
        &mut self,
        plan: &Plan,
        mut accumulators: BTreeMap<u32, Accumulator>,
        until_ms: i64,
        found: &mut ReadDeltas,
    ) {
        // What was booked of a series before it showed that it flickers is taken back though it says nothing now.
        for (&id, spans) in &self.uncountable {
            if spans.iter().any(|span| !span.said) {
                accumulator(id, self.resolution_ms, &mut accumulators);
            }
        }
        let slice_of = |at_ms: i64| at_ms.div_euclid(self.resolution_ms);
        for (id, accumulator) in accumulators {
            let series = &mut self.series[id as usize];
            series.newest_ms = series.newest_ms.max(accumulator.newest_ms());
            accumulator.unplaced().iter().for_each(|&(at_ms, why)| series.unplaced.note(at_ms, why));
            let Sli { good_part, histogram, queue, .. } = plan.slis[series.sli];
            let mut marks = if queue.is_some() { accumulator.marks() } else { Vec::new() };
            let Settled { mut deltas, mut fault, corrections } = accumulator.settle(good_part, histogram, series);
            let mut void = None;
            if let Some(spans) = self.uncountable.get_mut(&id) {
                let new = spans.iter().filter(|span| !span.said).map(|span| slice_of(span.since_ms));
                void = new.min().map(|from| (from, slice_of(until_ms) + 1));
                for span in &mut *spans {
                    let (from, to) = (slice_of(span.since_ms), slice_of(span.until_ms));
                    deltas.retain(|delta| !(from..=to).contains(&delta.slice));
                    marks.retain(|mark| !(from..=to).contains(&mark.slice));
                    span.said = true;
                    if span.until_ms >= until_ms.min(series.newest_ms.unwrap_or(until_ms)) {
                        fault = Some(span.reason);
                    }
                }
                if let Some((_, to)) = &mut void {
                    // What comes after the last of them is known again, and is booked below.
                    *to = spans.iter().map(|span| slice_of(span.until_ms) + 1).max().map_or(*to, |end| end.min(*to));
                }
            }
            let (sli, labels) = (series.sli, series.labels.clone());
            found.series.push(SeriesDeltas { sli, labels, deltas, void, corrections, fault, marks });
        }
        let old_ms = until_ms.saturating_sub(2 * DISTRUSTED_MS);
        self.uncountable.retain(|_, spans| {
            spans.retain(|span| span.until_ms >= old_ms);
            !spans.is_empty()
        });
        found.series.sort_by(|a, b| (a.sli, &a.labels).cmp(&(b.sli, &b.labels)));
    }

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

    /// Keeps these raw series, their targets, and the series they feed or `keep_series` names.
    fn retain(&mut self, keep: &[bool], keep_series: impl Fn(&Series) -> bool) {
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
    }

    /// The children of all fan-outs.
    pub fn fanout(&self) -> &Fanout {
        &self.fanout
    }

    /// Lets answers that have no cursors be counted for the children they hold, or takes the children from elsewhere.
    pub fn fanout_mut(&mut self) -> &mut Fanout {
        &mut self.fanout
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

    /// Whether a series is followed.
    pub fn follows(&self, key: &(usize, Labels)) -> bool {
        self.series_ids.contains_key(key)
    }

    /// How many raw series are followed.
    pub fn raw_series(&self) -> usize {
        self.raws.iter().map(|raw| 1 + raw.kind.more()).sum()
    }

    /// How many raw series feed each of the first `slis` SLIs.
    pub fn raw_series_of_slis(&self, slis: usize) -> Vec<usize> {
        let mut counts = vec![0; slis];
        for raw in &self.raws {
            let mut fed: Vec<usize> = raw.series().map(|series| self.series[series as usize].sli).collect();
            fed.dedup();
            for sli in fed {
                counts[sli] += 1 + raw.kind.more();
            }
        }
        counts
    }

    /// The usual scrape interval of the targets of each of the first `slis` SLIs as observed, milliseconds.
    pub fn intervals_ms(&self, slis: usize) -> Vec<Option<i64>> {
        let mut intervals = vec![None; slis];
        for series in &self.series {
            intervals[series.sli] = intervals[series.sli].max(series.interval_ms);
        }
        intervals
    }

    /// Where this tracker began to read: what older history must be joined on to.
    pub fn starts(&self) -> Starts {
        Starts(self.starts.clone())
    }

    /// Forgets where older history would be joined on; it has been.
    pub fn forget_starts(&mut self) {
        self.starts = HashMap::new();
    }

    /// Whether older history will be joined on. Where it will not, starts are not remembered: pods that come and go would
    /// leave one each.
    pub fn expect_history(&mut self, expected: bool) {
        self.joining = expected;
        if !expected {
            self.starts = HashMap::new();
        }
    }

    /// Liveness of every series seen so far, in (SLI, labels) order. A raw series is live until two scrapes of its
    /// target, and two polls, have gone by without a sample of it.
    pub fn liveness(&self, now_ms: i64, poll_ms: i64) -> BTreeMap<(usize, &Labels), Liveness> {
        let mut live = vec![0usize; self.series.len()];
        for raw in &self.raws {
            let patience_ms = self.targets[raw.target as usize].interval_ms().unwrap_or(LIVE_MS).max(poll_ms) * 2;
            if raw.seen_ms.is_some_and(|at| at > now_ms - patience_ms) {
                raw.series().for_each(|series| live[series as usize] += 1);
            }
        }
        self.series
            .iter()
            .zip(live)
            .map(|(series, live)| {
                let liveness = Liveness { newest_ms: series.newest_ms, live, interval_ms: series.interval_ms };
                ((series.sli, &series.labels), liveness)
            })
            .collect()
    }

    fn series_id(&mut self, sli: usize, labels: Labels) -> u32 {
        if let Some(&id) = self.series_ids.get(&(sli, labels.clone())) {
            return id;
        }
        let id = self.series.len() as u32;
        let new = Series { sli, labels: labels.clone(), ..Series::default() };
        self.series.push(new);
        self.series_ids.insert((sli, labels), id);
        id
    }

    /// Where total and part are different metrics: how far they may be walked, to the newest moment of a target that
    /// both have been seen at.
    fn pair_limits(&self, plan: &Plan, pairs: &[CounterPair<'_>], until_ms: i64) -> HashMap<(u32, u32), PairLimit> {
        let mut newest: HashMap<(u32, u32), (Option<i64>, Option<i64>)> = HashMap::new();
        let mut newest_part: HashMap<u32, i64> = HashMap::new();
        for pair in pairs {
            let raw = &self.raws[pair.id as usize];
            for &Feed { series, role, .. } in raw.feeds.as_deref().unwrap_or(&[]) {
                let sli = &plan.slis[self.series[series as usize].sli];
                if sli.histogram || !sli.paired {
                    continue;
                }
                let Some(last) = pair.points(until_ms).last().map(|point| point.at_ms) else { continue };
                let entry = newest.entry((series, raw.target)).or_default();
                let side = if role == Role::Total { &mut entry.0 } else { &mut entry.1 };
                *side = Some(side.map_or(last, |at| at.max(last)));
                if role != Role::Total {
                    newest_part.entry(series).and_modify(|at| *at = last.max(*at)).or_insert(last);
                }
            }
        }
        type Newest = (Option<i64>, Option<i64>);
        let limit_of = |(&(series, target), &(total, part)): (&(u32, u32), &Newest)| {
            let sli = &plan.slis[self.series[series as usize].sli];
            let limit_ms = match (total, part) {
                (Some(total), Some(part)) if (total - part).abs() <= PAIR_WAIT_MS => total.min(part),
                _ => i64::MAX,
            };
            let alone = |total| newest_part.get(&series).is_none_or(|&part| total - part > PAIR_WAIT_MS);
            ((series, target), PairLimit { limit_ms, widowed: sli.good_part && total.is_some_and(alone) })
        };
        newest.iter().map(limit_of).collect()
    }

    fn note_targets(&mut self, pairs: &[CounterPair<'_>], evidence: &Evidence) {
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

/// Nothing is known from an hour before a counter fell until an hour after: who answers in turn did so before it showed.
fn distrust(spans: &mut Vec<Uncountable>, since_ms: i64, at_ms: i64, reason: DataReason) {
    let until_ms = at_ms + DISTRUSTED_MS;
    match spans.last_mut().filter(|span| since_ms <= span.until_ms) {
        Some(span) => span.until_ms = span.until_ms.max(until_ms),
        None => spans.push(Uncountable { since_ms: since_ms - DISTRUSTED_MS, until_ms, reason, said: false }),
    }
}

/// Books what a counter pair gained to the series that it feeds.
fn book<'a>(
    fanout: &mut Fanout,
    series: &[Series],
    resolution_ms: i64,
    kind: Kind,
    feeds: impl Iterator<Item = &'a Feed>,
    delta: &CounterDelta,
    accumulators: &mut BTreeMap<u32, Accumulator>,
) {
    for feed in feeds {
        let accumulator = accumulator(feed.series, resolution_ms, accumulators);
        match kind {
            Kind::Own => accumulator.book(feed.role, delta),
            _ => accumulator.book_of(delta, good(feed.role, delta.events)),
        }
        if let Some(child) = feed.child.filter(|_| kind != Kind::Own || feed.role == Role::Total) {
            fanout.note(series[feed.series as usize].sli, child, delta.events.whole, delta.at_ms);
        }
    }
}

/// How many of these events of a histogram are good to the series that plays `role`.
fn good(role: Role, events: pair::Count) -> f64 {
    match role {
        Role::Upper => events.good,
        Role::Lower => events.lower,
        _ => events.part,
    }
}

/// How many of these events are bad, where the other ones are counted.
fn bad_by(kind: Kind, role: Role, events: pair::Count) -> f64 {
    match (kind, role) {
        (Kind::Own, Role::Total) => events.whole,
        (Kind::Own, _) => -events.whole,
        (_, role) => events.whole - good(role, events),
    }
}

/// Whether the moments of a total and its part can be matched.
#[derive(Debug, Clone, Copy)]
struct PairLimit {
    limit_ms: i64,
    /// There is a total but no good part: nothing may be said (it would read as "all bad").
    widowed: bool,
}

#[cfg(test)]
mod proof;
#[cfg(test)]
mod tests;
