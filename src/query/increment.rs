//! Raw samples in, exact increments out.
//!
//! For each raw series the tracker keeps the last `(time, value)` and books what the counter really gained:
//!
//! - a rise is the difference, booked at the newer sample's time;
//! - a fall is a restart of the process: the new value is what it counted since. A fall of less than an eighth is a
//!   glitch (two replicas behind one name answer in turn): nothing is booked until the old value is passed again,
//!   unless another series of the same target restarted at the same moment;
//! - a hole is bridged by the difference across it, booked at its end; the slices inside are marked partial;
//! - a series' first sample counts from 0 when other series of its target were scraped before it (the first 5xx of a
//!   pod), or when the target itself started since the last read. Otherwise it only sets the start: the lifetime total
//!   of a counter is not news. An SLI that is new says nothing of when its series were born.
//!
//! Why not `increase()`: asked each minute over a minute it never sees the step between two windows and counts the next
//! one twice. Semantics §3 has the measurements.
//!
//! Deliberately absent: what time it is. "Now" is the newest moment the caller says it has read up to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::engine::status::DataReason;
use crate::engine::{Labels, SliceDelta};

use super::plan::{Plan, Role};
use super::samples::{RawSeries, Samples};
use accrual::Accrual;

mod accrual;
mod target;

use target::Target;

/// A gap this many scrape intervals long is a hole, not a late scrape.
const HOLE_INTERVALS: f64 = 2.5;
/// A series silent this long while its target was scraped was gone (Prometheus' own staleness), milliseconds.
const GONE_MS: i64 = 300_000;
/// A raw series is live at least this long after a sample, milliseconds.
const LIVE_MS: i64 = 60_000;
/// A total waits this long for its part before it is booked without it, milliseconds.
const PAIR_WAIT_MS: i64 = 60_000;
/// Raw series that were silent this long are forgotten, milliseconds.
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
    /// Raw series that answered recently.
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
    targets: Vec<Target>,
    target_ids: HashMap<u128, u32>,
    series: Vec<Series>,
    series_ids: HashMap<(usize, Labels), u32>,
    /// Raw series whose first sample only set their start, and its time: where older history is joined on.
    starts: HashMap<u128, i64>,
    /// SLIs that are new to a tracker that has seen others: none of their series has been read yet.
    unread: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
struct Raw {
    key: u128,
    target: u32,
    /// Which series it feeds; `None` after a restart until its labels are seen again.
    feeds: Option<Box<[(u32, Role)]>>,
    last: Option<(i64, f64)>,
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

/// Raw series whose first sample only set their start, and when that was.
#[derive(Debug, Clone, Default)]
pub struct Starts(HashMap<u128, i64>);

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
    raws: Vec<(u128, u32, i64, f64)>,
    targets: Vec<(u128, Target)>,
    series: Vec<SeriesCursor>,
    /// Digests of the SLIs that were being read.
    read: Vec<String>,
    starts: Vec<(u128, i64)>,
}

/// One series of an SLI: what was not booked yet, and how far it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SeriesCursor {
    slo_id: String,
    labels: Labels,
    residual: (f64, f64),
    newest_ms: Option<i64>,
}

/// One read: what came back for the requests of one source, all evaluated at the same moment.
#[derive(Debug)]
pub struct Read<'a> {
    /// Raw series of counters.
    pub counters: &'a [RawSeries],
    /// Start times of targets first seen in this read, milliseconds, by target key (see [`Tracker::new_targets`]).
    pub started: &'a BTreeMap<u128, i64>,
    /// Only samples up to here are taken, milliseconds, inclusive.
    pub until_ms: i64,
    /// The end of the read before this one; `None` on the very first.
    pub previous_ms: Option<i64>,
}

impl Tracker {
    /// A tracker that has seen nothing. `resolution_s` is the slice length, seconds.
    pub fn new(resolution_s: i64) -> Self {
        Tracker { resolution_ms: resolution_s * 1000, ..Tracker::default() }
    }

    /// Targets of these series that were never seen before: the caller may ask when they started.
    pub fn new_targets(&self, plan: &Plan, counters: &[RawSeries]) -> BTreeMap<u128, Labels> {
        let mut new = BTreeMap::new();
        for raw in counters {
            let Some(&(sli, _)) = plan.uses_of(&raw.labels).first() else { continue };
            let (key, labels) = target_of(plan, sli, raw);
            if !self.target_ids.contains_key(&key) {
                new.insert(key, labels);
            }
        }
        new
    }

    /// Takes one read of counters.
    pub fn read(&mut self, plan: &Plan, read: &Read<'_>) -> Harvest {
        let ids: Vec<Option<u32>> = read.counters.iter().map(|raw| self.raw_id(plan, raw)).collect();
        let scrapes = self.scrape_times(read, &ids);
        let restarts = self.restart_times(read, &ids);
        let pairs = self.pair_limits(plan, read, &ids);
        let mut harvest = Harvest::default();
        let mut accruals: BTreeMap<u32, Accrual> = BTreeMap::new();
        for (raw, id) in read.counters.iter().zip(&ids) {
            let Some(id) = *id else { continue };
            let target = self.raws[id as usize].target;
            let mut walk = Walk {
                target: &self.targets[target as usize],
                target_id: target,
                scrapes: scrapes.get(&target).map_or(&[], Vec::as_slice),
                restarts: &restarts,
                started: read.started.get(&self.targets[target as usize].key).copied(),
                read,
                harvest: &mut harvest,
                started_anew: false,
                unread: false,
            };
            let cursor = &mut self.raws[id as usize];
            let feeds = cursor.feeds.as_deref().unwrap_or(&[]);
            if !self.unread.is_empty() {
                let new = |&&(series, _): &&(u32, Role)| self.unread.contains(&self.series[series as usize].sli);
                let news = feeds.iter().filter(new).count();
                if news > 0 && news == feeds.len() {
                    // Nothing was counted of it, whatever is remembered from other times.
                    (walk.unread, cursor.last) = (true, None);
                } else if news > 0 {
                    self.starts.extend(cursor.last.map(|(at, _)| (cursor.key, at)));
                }
            }
            let until = feeds
                .iter()
                .filter_map(|&(series, _)| pairs.get(&(series, target)))
                .map(|pair| pair.limit_ms)
                .min()
                .map_or(read.until_ms, |limit| limit.min(read.until_ms));
            let mut last = cursor.last;
            walk.walk(raw, until, &mut last, |gain| {
                for &(series, role) in feeds {
                    let accrual = accruals.entry(series).or_insert_with(|| Accrual::new(self.resolution_ms));
                    let widowed = pairs.get(&(series, target)).is_some_and(|pair| pair.widowed);
                    accrual.book(role, &gain, widowed);
                }
            });
            if cursor.last.is_none() && walk.started_anew {
                self.starts
                    .extend(raw.samples.iter().find(|(_, value)| value.is_finite()).map(|(at, _)| (cursor.key, at)));
            }
            cursor.last = last;
        }
        if !self.unread.is_empty() {
            let fed = ids.iter().flatten().flat_map(|&id| self.raws[id as usize].feeds.iter().flatten());
            let slis: BTreeSet<usize> = fed.map(|&(series, _)| self.series[series as usize].sli).collect();
            self.unread.retain(|sli| !slis.contains(sli));
        }
        self.note_targets(read, &ids, &scrapes);
        for (id, accrual) in accruals {
            let series = &mut self.series[id as usize];
            if let Some(newest) = accrual.newest_ms() {
                series.newest_ms = Some(series.newest_ms.map_or(newest, |n| n.max(newest)));
            }
            let good_part = plan.slis[series.sli].good_part;
            let (deltas, fault) = accrual.settle(good_part, &mut series.residual);
            harvest.series.push(SeriesHarvest { sli: series.sli, labels: series.labels.clone(), deltas, fault });
        }
        harvest.series.sort_by(|a, b| (a.sli, &a.labels).cmp(&(b.sli, &b.labels)));
        harvest
    }

    /// Forgets the raw series that feed any of these SLIs: they are counted in another way from now on.
    pub fn forget_slis(&mut self, slis: &[usize]) {
        let feeds =
            |raw: &Raw| raw.feeds.iter().flatten().any(|&(series, _)| slis.contains(&self.series[series as usize].sli));
        let keep: Vec<bool> = self.raws.iter().map(|raw| !feeds(raw)).collect();
        let mut kept = keep.iter();
        self.raws.retain(|_| *kept.next().expect("one flag per raw series"));
        self.index_raws();
    }

    fn index_raws(&mut self) {
        self.raw_ids = self.raws.iter().zip(0..).map(|(raw, id)| (raw.key, id)).collect();
        let used: BTreeSet<u32> = self.raws.iter().map(|raw| raw.target).collect();
        let moved: HashMap<u32, u32> = used.iter().copied().zip(0..).collect();
        self.targets = used.iter().map(|&id| self.targets[id as usize].clone()).collect();
        self.target_ids = self.targets.iter().zip(0..).map(|(target, id)| (target.key, id)).collect();
        for raw in &mut self.raws {
            raw.target = moved[&raw.target];
        }
    }

    /// How many raw series are followed.
    pub fn raw_series(&self) -> usize {
        self.raws.len()
    }

    /// How many raw series feed each of the first `slis` SLIs.
    pub fn raw_series_of_slis(&self, slis: usize) -> Vec<usize> {
        let mut counts = vec![0; slis];
        for raw in &self.raws {
            let mut fed: Vec<usize> =
                raw.feeds.iter().flatten().map(|&(series, _)| self.series[series as usize].sli).collect();
            fed.dedup();
            for sli in fed {
                counts[sli] += 1;
            }
        }
        counts
    }

    /// Where this tracker began to read: what older history must be joined on to.
    pub fn starts(&self) -> Starts {
        Starts(self.starts.clone())
    }

    /// Forgets where older history would be joined on; it has been.
    pub fn forget_starts(&mut self) {
        self.starts = HashMap::new();
    }

    /// Liveness of every series seen so far, in (SLI, labels) order. A raw series is live when its newest sample is not
    /// older than two and a half scrapes (a minute at least) and one poll.
    pub fn liveness(&self, now_ms: i64, poll_ms: i64) -> BTreeMap<(usize, &Labels), Liveness> {
        let mut live = vec![0usize; self.series.len()];
        for raw in &self.raws {
            let interval_ms = self.targets[raw.target as usize].interval_ms().unwrap_or(0);
            let age_max_ms = (interval_ms * 5 / 2).max(LIVE_MS) + poll_ms;
            if raw.last.is_some_and(|(at, _)| at >= now_ms - age_max_ms) {
                for &(series, _) in raw.feeds.as_deref().unwrap_or(&[]) {
                    live[series as usize] += 1;
                }
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

    /// Forgets raw series and targets that have been silent for a day, so that pods that come and go cost nothing.
    pub fn forget_silent(&mut self, now_ms: i64) {
        let before = self.raws.len();
        self.raws.retain(|raw| raw.last.is_none_or(|(at, _)| at >= now_ms - FORGET_MS));
        if self.raws.len() != before {
            self.index_raws();
        }
    }

    /// What a restart needs to continue exactly here.
    pub fn cursors(&self, plan: &Plan) -> Cursors {
        Cursors {
            raws: self
                .raws
                .iter()
                .filter_map(|raw| raw.last.map(|(at, value)| (raw.key, raw.target, at, value)))
                .collect(),
            targets: self.targets.iter().map(|target| (target.key, target.clone())).collect(),
            series: self
                .series
                .iter()
                .map(|series| SeriesCursor {
                    slo_id: plan.slis[series.sli].id.clone(),
                    labels: series.labels.clone(),
                    residual: series.residual,
                    newest_ms: series.newest_ms,
                })
                .collect(),
            read: (0..)
                .zip(&plan.slis)
                .filter(|(sli, _)| !self.unread.contains(sli))
                .map(|(_, sli)| sli.digest.clone())
                .collect(),
            starts: self.starts.iter().map(|(&key, &at)| (key, at)).collect(),
        }
    }

    /// A tracker that continues from saved cursors; SLOs that no longer exist are dropped.
    pub fn restore(resolution_s: i64, plan: &Plan, cursors: Cursors) -> Self {
        let mut tracker = Tracker::new(resolution_s);
        tracker.targets = cursors.targets.into_iter().map(|(key, target)| Target { key, ..target }).collect();
        tracker.target_ids = tracker.targets.iter().zip(0..).map(|(target, id)| (target.key, id)).collect();
        let targets = tracker.targets.len();
        tracker.raws = cursors
            .raws
            .into_iter()
            .filter(|&(_, target, ..)| (target as usize) < targets)
            .map(|(key, target, at, value)| Raw { key, target, feeds: None, last: Some((at, value)) })
            .collect();
        tracker.raw_ids = tracker.raws.iter().zip(0..).map(|(raw, id)| (raw.key, id)).collect();
        tracker.starts = cursors.starts.into_iter().collect();
        let slis: HashMap<&str, usize> = plan.slis.iter().zip(0..).map(|(sli, i)| (sli.id.as_str(), i)).collect();
        tracker.unread = slis.values().copied().collect();
        tracker.unread.retain(|&sli| !cursors.read.contains(&plan.slis[sli].digest));
        for cursor in cursors.series {
            if let Some(&sli) = slis.get(cursor.slo_id.as_str()) {
                let id = tracker.series_id(sli, cursor.labels) as usize;
                tracker.series[id].residual = cursor.residual;
                tracker.series[id].newest_ms = cursor.newest_ms;
            }
        }
        tracker
    }

    fn raw_id(&mut self, plan: &Plan, raw: &RawSeries) -> Option<u32> {
        let key = key_of(&raw.labels);
        let known = self.raw_ids.get(&key).copied();
        if let Some(id) = known
            && self.raws[id as usize].feeds.is_some()
        {
            return Some(id);
        }
        let uses = plan.uses_of(&raw.labels);
        let &(first, _) = uses.first()?;
        let (target_key, _) = target_of(plan, first, raw);
        let feeds: Box<[(u32, Role)]> =
            uses.iter().map(|&(sli, role)| (self.series_id(sli, plan.series_labels(sli, &raw.labels)), role)).collect();
        if let Some(id) = known {
            self.raws[id as usize].feeds = Some(feeds);
            return Some(id);
        }
        let target = *self.target_ids.entry(target_key).or_insert_with(|| {
            self.targets.push(Target::new(target_key));
            (self.targets.len() - 1) as u32
        });
        let id = self.raws.len() as u32;
        self.raws.push(Raw { key, target, feeds: Some(feeds), last: None });
        self.raw_ids.insert(key, id);
        Some(id)
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
    fn scrape_times(&self, read: &Read<'_>, ids: &[Option<u32>]) -> HashMap<u32, Vec<i64>> {
        let mut times: HashMap<u32, Vec<i64>> = HashMap::new();
        for (raw, id) in read.counters.iter().zip(ids) {
            let Some(id) = *id else { continue };
            let of = times.entry(self.raws[id as usize].target).or_default();
            // Siblings share their scrapes: most series add nothing new.
            let (mut known, before) = (0, of.len());
            for (at, _) in raw.samples.iter().take_while(|&(at, _)| at <= read.until_ms) {
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
    fn restart_times(&self, read: &Read<'_>, ids: &[Option<u32>]) -> BTreeSet<(u32, i64)> {
        let mut restarts = BTreeSet::new();
        for (raw, id) in read.counters.iter().zip(ids) {
            let Some(id) = *id else { continue };
            let mut last = self.raws[id as usize].last;
            for (at, value) in raw.samples.iter().filter(|(_, value)| value.is_finite()) {
                if last.is_some_and(|(was, _)| at <= was) {
                    continue;
                }
                if last.is_some_and(|(_, was)| value < was && !is_glitch(was, value)) {
                    restarts.insert((self.raws[id as usize].target, at));
                }
                last = Some((at, value));
            }
        }
        restarts
    }

    /// How far the series of paired SLIs may be walked: to the newest moment both total and part have been seen at.
    fn pair_limits(&self, plan: &Plan, read: &Read<'_>, ids: &[Option<u32>]) -> HashMap<(u32, u32), Pair> {
        let mut newest: HashMap<(u32, u32), (Option<i64>, Option<i64>)> = HashMap::new();
        for (raw, id) in read.counters.iter().zip(ids) {
            let Some(id) = *id else { continue };
            let cursor = &self.raws[id as usize];
            let last = raw.samples.iter().rev().map(|(at, _)| at).find(|&at| at <= read.until_ms);
            let Some(last) = last else { continue };
            for &(series, role) in cursor.feeds.as_deref().unwrap_or(&[]) {
                if !plan.slis[self.series[series as usize].sli].paired {
                    continue;
                }
                let entry = newest.entry((series, cursor.target)).or_default();
                let side = if role == Role::Total { &mut entry.0 } else { &mut entry.1 };
                *side = Some(side.map_or(last, |at| at.max(last)));
            }
        }
        let mut newest_part: HashMap<u32, i64> = HashMap::new();
        for (&(series, _), &(_, part)) in &newest {
            if let Some(part) = part {
                newest_part.entry(series).and_modify(|at| *at = part.max(*at)).or_insert(part);
            }
        }
        newest
            .iter()
            .map(|(&(series, target), &(total, part))| {
                let sli = &plan.slis[self.series[series as usize].sli];
                let limit_ms = match (total, part) {
                    (Some(total), Some(part)) if (total - part).abs() <= PAIR_WAIT_MS => total.min(part),
                    _ => i64::MAX,
                };
                let part = if sli.same_targets { part } else { newest_part.get(&series).copied() };
                let widowed =
                    sli.good_part && total.is_some_and(|total| part.is_none_or(|part| total - part > PAIR_WAIT_MS));
                ((series, target), Pair { limit_ms, widowed })
            })
            .collect()
    }

    fn note_targets(&mut self, read: &Read<'_>, ids: &[Option<u32>], scrapes: &HashMap<u32, Vec<i64>>) {
        for (&id, times) in scrapes {
            self.targets[id as usize].note(times);
        }
        for id in read.counters.iter().zip(ids).filter_map(|(_, id)| *id) {
            let raw = &self.raws[id as usize];
            let interval = self.targets[raw.target as usize].interval_ms();
            for &(series, _) in raw.feeds.as_deref().unwrap_or(&[]) {
                self.series[series as usize].interval_ms = interval;
            }
        }
    }
}

/// Whether the moments of a total and its part can be matched.
#[derive(Debug, Clone, Copy)]
struct Pair {
    limit_ms: i64,
    /// There is a total but no good part: nothing may be said (it would read as "all bad").
    widowed: bool,
}

/// What a counter gained between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gain {
    /// Time of the older sample; `None` when the series counts from nothing.
    from_ms: Option<i64>,
    /// Time of the newer sample, where the gain is booked.
    at_ms: i64,
    /// Events gained.
    events: f64,
    /// The gap is longer than scrapes are apart: what happened inside is not known in detail.
    hole: bool,
    /// There was a sample that is no number; it says that something was there, and nothing else.
    not_a_number: bool,
}

struct Walk<'a> {
    target: &'a Target,
    target_id: u32,
    scrapes: &'a [i64],
    restarts: &'a BTreeSet<(u32, i64)>,
    started: Option<i64>,
    read: &'a Read<'a>,
    harvest: &'a mut Harvest,
    /// The first sample only set the start.
    started_anew: bool,
    /// Its SLIs are new, so that siblings read for others say nothing about when it was born.
    unread: bool,
}

impl Walk<'_> {
    fn walk(&mut self, raw: &RawSeries, until_ms: i64, last: &mut Option<(i64, f64)>, mut book: impl FnMut(Gain)) {
        let interval = self.target.interval_with(self.scrapes);
        for (at, value) in raw.samples.iter() {
            if at > until_ms {
                break;
            }
            if last.is_some_and(|(was, _)| at <= was) {
                continue;
            }
            self.harvest.samples += 1;
            if !value.is_finite() {
                book(Gain { from_ms: None, at_ms: at, events: 0.0, hole: false, not_a_number: true });
                continue;
            }
            let gain = |from_ms, events, hole| Gain { from_ms, at_ms: at, events, hole, not_a_number: false };
            match *last {
                None => {
                    let born = self.started_since_last_read() || (!self.unread && self.sibling_before(at));
                    self.started_anew |= !born;
                    book(gain(None, if born { value } else { 0.0 }, false));
                }
                Some((was, before)) => {
                    let apart = at - was;
                    if apart >= GONE_MS && self.scraped_between(was, at) {
                        // It was gone while its siblings were scraped: a new process, or a new label set.
                        book(gain(None, value, false));
                    } else {
                        let hole = interval.is_some_and(|every| apart as f64 > HOLE_INTERVALS * every as f64);
                        let Some(events) = self.gained(at, before, value) else {
                            // Keep the high-water mark: what was counted is counted.
                            *last = Some((at, before));
                            book(gain(Some(was), 0.0, hole));
                            continue;
                        };
                        book(gain(Some(was), events, hole));
                    }
                }
            }
            *last = Some((at, value));
        }
    }

    /// Events gained from `before` to `value`; `None` for a glitch.
    fn gained(&mut self, at: i64, before: f64, value: f64) -> Option<f64> {
        if value >= before {
            return Some(value - before);
        }
        if is_glitch(before, value) && !self.restarts.contains(&(self.target_id, at)) {
            self.harvest.glitches += 1;
            return None;
        }
        self.harvest.resets += 1;
        Some(value)
    }

    /// Some series of this target was scraped before `at`.
    fn sibling_before(&self, at: i64) -> bool {
        self.target.first_ms.is_some_and(|first| first < at) || self.scrapes.first().is_some_and(|&first| first < at)
    }

    fn started_since_last_read(&self) -> bool {
        matches!((self.started, self.read.previous_ms), (Some(start), Some(previous)) if start > previous)
    }

    fn scraped_between(&self, after: i64, before: i64) -> bool {
        self.target.last_ms.is_some_and(|last| last > after && last < before)
            || self.scrapes.get(self.scrapes.partition_point(|&t| t <= after)).is_some_and(|&t| t < before)
    }
}

fn is_glitch(before: f64, value: f64) -> bool {
    (before - value) * 8.0 < before
}

/// A stable 128-bit key of a label set (FNV-1a): the same in every version and on every machine, because it is stored.
fn key_of(labels: &[(String, String)]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut eat = |bytes: &[u8]| {
        for &byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    for (name, value) in labels {
        eat(name.as_bytes());
        eat(value.as_bytes());
    }
    hash
}

fn target_of(plan: &Plan, sli: usize, raw: &RawSeries) -> (u128, Labels) {
    let pairs: Vec<(String, String)> =
        plan.slis[sli].target_labels.iter().map(|name| (name.clone(), raw.label(name).to_owned())).collect();
    (key_of(&pairs), pairs.into_iter().collect())
}

#[cfg(test)]
mod tests;
