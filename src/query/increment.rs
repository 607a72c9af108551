//! Raw samples in, exact increments out.
//!
//! For each raw series the tracker keeps the last `(time, value)` and books what the counter really gained:
//!
//! - a rise is the difference, booked at the newer sample's time;
//! - a fall is a restart of the process: the new value is what it counted since. A fall of less than an eighth is a
//!   glitch (two replicas behind one name answer in turn): nothing is booked until the old value is passed again,
//!   unless another series of the same target restarted at the same moment;
//! - the count of a histogram and its bucket (or the two on both sides of a threshold) are walked as one, at the moments
//!   all have;
//! - a hole is bridged by the difference across it, booked at its end; the slices inside are marked partial;
//! - a series' first sample counts from 0 when other series of its target were scraped before it while its SLI was
//!   being read (the first 5xx of a pod), or when the target itself started since the last read. Otherwise it only sets
//!   the start: the lifetime total of a counter is not news;
//! - what is negative, no number or too large to count by ones is not taken: the next count bridges it.
//!
//! Why not `increase()`: asked each minute over a minute it never sees the step between two windows and counts the next
//! one twice. `tests/it/exactness.rs` measures it.
//!
//! Deliberately absent: what time it is. "Now" is the newest moment the caller says it has read up to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::engine::status::DataReason;
use crate::engine::{Labels, SliceDelta};

use super::fanout::Fanout;
use super::fetch::{Plan, Role, Sli};
use super::samples::{RawSeries, key_of};
use accumulator::Accumulator;
use cursors::{Feed, Kind, Raw};
use delta::{Walk, fell_far};
use pair::CounterPair;
use series_match::{Matched, SeriesMatch};
use target::Target;

pub use cursors::{Cursors, Starts};

mod accumulator;
mod cursors;
mod delta;
mod pair;
mod series_match;
mod target;

/// Without a known scrape interval a raw series is live this long after a sample, milliseconds.
const LIVE_MS: i64 = 60_000;
/// A total waits this long for its part before it is booked without it, milliseconds.
const PAIR_WAIT_MS: i64 = 60_000;
/// What was silent this long is forgotten, milliseconds.
const FORGET_MS: i64 = 86_400_000;

/// What one read gave one series of one SLI.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesHarvest {
    /// Index into `Plan::slis`.
    pub sli: usize,
    /// Series labels (`by`).
    pub labels: Labels,
    /// Changes in slice order.
    pub deltas: Vec<SliceDelta>,
    /// A fault found in its data.
    pub fault: Option<DataReason>,
    /// Where its total was there; of queues only.
    pub marks: Vec<Mark>,
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
pub struct Harvest {
    /// Per series, in (SLI, labels) order.
    pub series: Vec<SeriesHarvest>,
    /// New samples walked.
    pub samples: u64,
    /// Falls taken for restarts.
    pub resets: u64,
    /// Falls taken for glitches.
    pub glitches: u64,
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
    /// Which children have rows.
    fanout: Fanout,
    /// Since when each SLI is read, milliseconds; an SLI that is not named was read from the very start.
    since_ms: HashMap<usize, i64>,
    /// Raw series whose first sample only set their start, and its time: where older history is joined on.
    starts: HashMap<u128, i64>,
    /// No history will be joined on: starts are not remembered.
    forgets_starts: bool,
}

#[derive(Debug, Clone)]
struct Series {
    sli: usize,
    labels: Labels,
    newest_ms: Option<i64>,
    /// Fractions of events not booked yet, (total, bad).
    residual: (f64, f64),
    interval_ms: Option<i64>,
}

/// One read: what came back for the requests of one source.
#[derive(Debug)]
pub struct Read<'a> {
    /// Raw series of counters.
    pub counters: &'a [RawSeries],
    /// Targets (see [`Tracker::new_targets`]) that started since their request was last read.
    pub started: &'a BTreeSet<u128>,
    /// Only samples up to here are taken, milliseconds, inclusive.
    pub until_ms: i64,
}

impl Tracker {
    /// A tracker that has seen nothing. `resolution_s` is the slice length, seconds.
    pub fn new(resolution_s: i64) -> Self {
        Tracker { resolution_ms: resolution_s * 1000, ..Tracker::default() }
    }

    /// An SLI is read from `from_ms` on; nothing changes for one that was read before. What its targets showed earlier
    /// says nothing of its series: nobody looked for them.
    pub fn begin(&mut self, sli: usize, from_ms: i64) {
        self.since_ms.entry(sli).or_insert(from_ms);
    }

    /// Targets of these series that were never seen before: the caller may ask when they started.
    pub fn new_targets<'a>(
        &mut self,
        plan: &Plan,
        counters: impl IntoIterator<Item = &'a RawSeries>,
    ) -> BTreeMap<u128, Labels> {
        let mut new = BTreeMap::new();
        for pair in self.pairs(plan, counters).pairs {
            let raw = &self.raws[pair.id as usize];
            if self.targets[raw.target as usize].first_ms.is_none()
                && let Some(series) = raw.series().next()
            {
                let (key, labels) = series_match::target_of(plan, self.series[series as usize].sli, pair.whole);
                new.insert(key, labels);
            }
        }
        new
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

    /// Whether older history will be joined on. Where it will not, starts are not remembered: pods that come and go would
    /// leave one each.
    pub fn expect_history(&mut self, expected: bool) {
        self.forgets_starts = !expected;
        if !expected {
            self.starts = HashMap::new();
        }
    }

    /// Takes one read of counters.
    pub fn read(&mut self, plan: &Plan, read: &Read<'_>) -> Harvest {
        let Matched { pairs, without_bucket } = self.pairs(plan, read.counters);
        let scrapes = self.scrape_times(&pairs, read.until_ms);
        let restarts = self.restart_times(&pairs, read.until_ms);
        let waits = self.pair_limits(plan, &pairs, read.until_ms);
        let mut harvest = Harvest::default();
        let mut accumulators: BTreeMap<u32, Accumulator> = BTreeMap::new();
        let resolution_ms = self.resolution_ms;
        for pair in &pairs {
            let raw = &self.raws[pair.id as usize];
            let feeds = raw.feeds.as_deref().unwrap_or(&[]);
            let target = raw.target;
            let since = |feed: &Feed| self.since_ms.get(&self.series[feed.series as usize].sli).copied();
            let mut walk = Walk {
                target: &self.targets[target as usize],
                target_id: target,
                scrapes: scrapes.get(&target).map_or(&[], Vec::as_slice),
                restarts: &restarts,
                since_ms: feeds.iter().map(|feed| since(feed).unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN),
                started: read.started.contains(&self.targets[target as usize].key),
                harvest: &mut harvest,
                start_ms: None,
            };
            let wait_of = |feed: &Feed| waits.get(&(feed.series, target));
            let limits = feeds.iter().filter_map(wait_of);
            let until_ms = limits.map(|wait| wait.limit_ms).min().map_or(read.until_ms, |at| at.min(read.until_ms));
            let sli_of = |feed: &Feed| self.series[feed.series as usize].sli;
            // What a child cannot say of its events its whole cannot say either.
            let widowed: Vec<usize> =
                feeds.iter().filter(|feed| wait_of(feed).is_some_and(|wait| wait.widowed)).map(sli_of).collect();
            let mut last = raw.last;
            walk.walk(pair, until_ms, &mut last, |gain| {
                for feed in feeds {
                    let accumulator =
                        accumulators.entry(feed.series).or_insert_with(|| Accumulator::new(resolution_ms));
                    match () {
                        () if widowed.contains(&sli_of(feed)) => accumulator.fault(DataReason::NoBucket),
                        () if raw.kind == Kind::Own => accumulator.book(feed.role, &gain),
                        () => accumulator.book_of(&gain, good(feed.role, gain.events)),
                    }
                    if let Some(child) = feed.child.filter(|_| raw.kind != Kind::Own || feed.role == Role::Total) {
                        self.fanout.note(sli_of(feed), child, gain.events.whole, gain.at_ms);
                    }
                }
            });
            if let Some(start_ms) = walk.start_ms.filter(|_| !self.forgets_starts) {
                let keys =
                    [Some(pair.whole), pair.part, pair.lower].into_iter().flatten().map(|raw| key_of(&raw.labels));
                self.starts.extend(keys.map(|key| (key, start_ms)));
            }
            let seen_ms = pair.points(read.until_ms).last().map(|point| point.at_ms);
            let raw = &mut self.raws[pair.id as usize];
            raw.last = last;
            raw.seen_ms = raw.seen_ms.max(seen_ms);
        }
        for series in without_bucket {
            accumulators.entry(series).or_insert_with(|| Accumulator::new(resolution_ms)).fault(DataReason::NoBucket);
        }
        self.note_targets(&pairs, &scrapes, &restarts);
        self.settle(plan, accumulators, &mut harvest);
        harvest
    }

    fn settle(&mut self, plan: &Plan, accumulators: BTreeMap<u32, Accumulator>, harvest: &mut Harvest) {
        for (id, accumulator) in accumulators {
            let series = &mut self.series[id as usize];
            series.newest_ms = series.newest_ms.max(accumulator.newest_ms());
            let Sli { good_part, queue, .. } = plan.slis[series.sli];
            let marks = if queue.is_some() { accumulator.marks() } else { Vec::new() };
            let (deltas, fault) = accumulator.settle(good_part, &mut series.residual);
            let (sli, labels) = (series.sli, series.labels.clone());
            harvest.series.push(SeriesHarvest { sli, labels, deltas, fault, marks });
        }
        harvest.series.sort_by(|a, b| (a.sli, &a.labels).cmp(&(b.sli, &b.labels)));
    }

    /// Forgets the raw series that feed any of these SLIs: they are counted in another way from now on.
    pub fn forget_slis(&mut self, slis: &[usize]) {
        let counted = |raw: &Raw| raw.series().any(|series| slis.contains(&self.series[series as usize].sli));
        let keep: Vec<bool> = self.raws.iter().map(|raw| !counted(raw)).collect();
        self.retain(&keep, |_| true);
    }

    /// Forgets what has been silent for a day, so that pods and children that come and go cost nothing: of SLIs that were
    /// `heard`, for of the others nobody knows.
    pub fn forget_silent(&mut self, now_ms: i64, heard: impl Fn(usize) -> bool) {
        let recent = |at: Option<i64>| at.is_some_and(|at| at >= now_ms - FORGET_MS);
        let unheard = |raw: &Raw| raw.series().any(|series| !heard(self.series[series as usize].sli));
        let kept = |raw: &Raw| raw.seen_ms.is_none() || recent(raw.seen_ms) || unheard(raw);
        let keep: Vec<bool> = self.raws.iter().map(kept).collect();
        if keep.contains(&false) {
            self.retain(&keep, |series| recent(series.newest_ms) || !heard(series.sli));
        }
    }

    /// Keeps these raw series, their targets, and the series they feed or `keep_series` names.
    fn retain(&mut self, keep: &[bool], keep_series: impl Fn(&Series) -> bool) {
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
        for raw in &mut self.raws {
            raw.target = moved[&raw.target];
            for feed in raw.feeds.iter_mut().flatten() {
                feed.series = moved_series[&feed.series];
            }
        }
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
        let new = Series { sli, labels: labels.clone(), newest_ms: None, residual: (0.0, 0.0), interval_ms: None };
        self.series.push(new);
        self.series_ids.insert((sli, labels), id);
        id
    }

    /// Every moment a target was scraped at in this read, by target.
    fn scrape_times(&self, pairs: &[CounterPair<'_>], until_ms: i64) -> HashMap<u32, Vec<i64>> {
        let mut times: HashMap<u32, Vec<i64>> = HashMap::new();
        for pair in pairs {
            let of = times.entry(self.raws[pair.id as usize].target).or_default();
            // Siblings share their scrapes: most series add nothing new.
            let (mut known, before) = (0, of.len());
            for (at, _) in pair.whole.samples.iter().take_while(|&(at, _)| at <= until_ms) {
                while known < before && of[known] < at {
                    known += 1;
                }
                if known >= before || of[known] != at {
                    of.push(at);
                }
            }
            if of.len() > before {
                of.sort_unstable();
                of.dedup();
            }
        }
        times
    }

    /// Moments at which some series of a target fell so far that its process must have restarted.
    fn restart_times(&self, pairs: &[CounterPair<'_>], until_ms: i64) -> BTreeSet<(u32, i64)> {
        let mut restarts = BTreeSet::new();
        for pair in pairs {
            let raw = &self.raws[pair.id as usize];
            let mut last = raw.last.map(|last| (last.at_ms, last.count));
            for point in pair.points(until_ms) {
                let Some(count) = point.count else { continue };
                match last {
                    Some((was, _)) if point.at_ms <= was => continue,
                    Some((_, before)) if fell_far(before.whole, count.whole) => {
                        restarts.insert((raw.target, point.at_ms));
                    }
                    _ => {}
                }
                last = Some((point.at_ms, count));
            }
        }
        restarts
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

    fn note_targets(
        &mut self,
        pairs: &[CounterPair<'_>],
        scrapes: &HashMap<u32, Vec<i64>>,
        restarts: &BTreeSet<(u32, i64)>,
    ) {
        for (&id, times) in scrapes {
            self.targets[id as usize].note(times);
        }
        for &(id, at) in restarts {
            let target = &mut self.targets[id as usize];
            target.restarted_ms = target.restarted_ms.max(Some(at));
        }
        for pair in pairs {
            let raw = &self.raws[pair.id as usize];
            let interval = self.targets[raw.target as usize].interval_ms();
            for series in raw.series() {
                self.series[series as usize].interval_ms = interval;
            }
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

/// Whether the moments of a total and its part can be matched.
#[derive(Debug, Clone, Copy)]
struct PairLimit {
    limit_ms: i64,
    /// There is a total but no good part: nothing may be said (it would read as "all bad").
    widowed: bool,
}

#[cfg(test)]
mod tests;
