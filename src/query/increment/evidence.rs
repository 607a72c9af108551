//! What one read says of the targets themselves: the evidence that births and falls are judged by.
//!
//! A *moment* is a scrape of a target. One scrape writes one timestamp, so at each moment it is known which older
//! series of the target had a sample too, how many counters rose and how many fell, and how much the totals gained.
//! `up` is one more series of its target. `process_start_time_seconds` says which process answered.
//!
//! Everything here depends on samples up to the moment in question and on what was remembered before the read, never on
//! where a read ends: who reads in one piece and who lives through it find the same.

use std::collections::HashMap;

use super::Tracker;
use super::cursors::Raw;
use super::pace::{FEW, Pace, Rates};
use super::pair::CounterPair;
use super::target::{ProcessMoment, Target};
use crate::query::RawSeries;
use crate::query::plan::Plan;
use crate::query::samples::{UP, key_of};

/// A target that was not scraped for so many intervals was away.
pub(super) const AWAY_INTERVALS: f64 = 2.5;
/// An exporter may have forgotten a series that it left out of three scrapes or more.
pub(super) const FORGOTTEN_INTERVALS: f64 = 3.5;
/// What a process takes over from the one before is at least this share of what that one had.
const RESTORED_SHARE: f64 = 0.5;
/// However a past is read, witnesses are read from so much before, milliseconds: who reads it in pieces knows no more.
const WITNESSED_MS: i64 = 150_000;
/// So many counters must fall together where the process is known to have gone on: then they are not its own.
const MANY: u32 = 3;

/// A counter that is lower than it was; or that is not, though another process answered.
#[derive(Debug, Clone, Copy)]
struct Reading {
    target: u32,
    at_ms: i64,
    raw: u32,
    was_ms: i64,
    before: f64,
    now: f64,
}

/// What is known of one moment of a target.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// The scrape before, of the older series that has the newest; `i64::MIN` where no older series is here.
    before_ms: i64,
    /// An older counter is here, and not `up` alone.
    counts_on: bool,
    rose: u32,
    fell: u32,
    /// Most of its counters fell to what a new process can have.
    most_fell: bool,
    /// ... and one of them too far for an older view of it: its process began anew.
    restarted: bool,
    /// Nothing fell far, and something to what no new process can have: it took over what an older one had counted, from a
    /// file that was some minutes old.
    restored: bool,
    /// Another process answered than before, and one of its counters did not fall though it holds more than a new process can
    /// have.
    kept: bool,
}

const NOTHING: Moment = Moment {
    before_ms: i64::MIN,
    counts_on: false,
    rose: 0,
    fell: 0,
    most_fell: false,
    restarted: false,
    restored: false,
    kept: false,
};

#[derive(Debug, Default)]
pub(super) struct TargetEvidence {
    /// By target: the moments it was scraped at, ascending.
    times: Vec<Vec<i64>>,
    /// By target: where its moments begin in `moments`.
    base: Vec<usize>,
    moments: Vec<Moment>,
    /// By pace: where the rises of its target's moments begin in `rises`.
    pace_base: Vec<Option<usize>>,
    /// What the older series of a total gained, by moment.
    rises: Vec<f64>,
    pub(super) processes: HashMap<u32, Vec<ProcessMoment>>,
    /// By target: when another process answered than before.
    pub(super) began: HashMap<u32, Vec<i64>>,
}

impl Tracker {
    /// Gathers what a read says. `witnesses` are series of `up` and `process_start_time_seconds`.
    pub(super) fn evidence(
        &self,
        plan: &Plan,
        pairs: &[CounterPair<'_>],
        witnesses: &[RawSeries],
        until_ms: i64,
    ) -> TargetEvidence {
        let mut evidence = TargetEvidence { times: vec![Vec::new(); self.targets.len()], ..TargetEvidence::default() };
        for pair in pairs {
            evidence.note_times(self.raws[pair.id as usize].target, pair.whole, until_ms);
        }
        let scraped = self.witnesses(plan, witnesses, until_ms, &mut evidence);
        evidence.lay_out(self, pairs);
        for (target, before_ms, at_ms) in scraped {
            evidence.older(target, at_ms, before_ms);
        }
        let readings = evidence.count_changes(self, pairs, until_ms);
        evidence.judge_kept(self, &readings);
        evidence.judge_falls(self, &readings);
        evidence
    }

    /// Takes what `up` and process starts say. Answers (target, scrape before, scrape) of `up`.
    fn witnesses(
        &self,
        plan: &Plan,
        witnesses: &[RawSeries],
        until_ms: i64,
        evidence: &mut TargetEvidence,
    ) -> Vec<(u32, i64, i64)> {
        let mut scraped = Vec::new();
        if witnesses.is_empty() {
            return scraped;
        }
        let mut names: Vec<&[String]> = plan.slis.iter().map(|sli| sli.target_labels.as_slice()).collect();
        names.sort_unstable();
        names.dedup();
        for series in witnesses {
            for names in &names {
                let pairs: Vec<(String, String)> =
                    names.iter().map(|name| (name.clone(), series.label(name).to_owned())).collect();
                let Some(&target) = self.target_ids.get(&key_of(&pairs)) else { continue };
                let samples = series.samples.iter().take_while(|&(at, _)| at <= until_ms);
                if series.label("__name__") == UP {
                    let times = &mut evidence.times[target as usize];
                    let mut before = None;
                    for (at, _) in samples.filter(|&(_, value)| value == 1.0) {
                        times.push(at);
                        scraped.extend(
                            before.filter(|before| at - before <= WITNESSED_MS).map(|before| (target, before, at)),
                        );
                        before = Some(at);
                    }
                    times.sort_unstable();
                    times.dedup();
                } else {
                    let start = |(at_ms, value): (i64, f64)| ProcessMoment {
                        at_ms,
                        start_ms: (value * 1000.0) as i64,
                        new: false,
                    };
                    let sane = samples.filter(|&(_, value)| value.is_finite() && value > 0.0);
                    evidence.processes.entry(target).or_default().extend(sane.map(start));
                }
            }
        }
        evidence.mark_new(&self.targets);
        scraped
    }
}

impl TargetEvidence {
    fn note_times(&mut self, target: u32, series: &RawSeries, until_ms: i64) {
        let of = &mut self.times[target as usize];
        // Siblings share their scrapes: most series add nothing new.
        let (mut known, before) = (0, of.len());
        for (at, _) in series.samples.iter().take_while(|&(at, _)| at <= until_ms) {
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

    fn lay_out(&mut self, tracker: &Tracker, pairs: &[CounterPair<'_>]) {
        let mut moments = 0;
        for times in &self.times {
            self.base.push(moments);
            moments += times.len();
        }
        self.moments = vec![NOTHING; moments];
        self.pace_base = vec![None; tracker.paces.len()];
        let mut rises = 0;
        for pair in pairs {
            let raw = &tracker.raws[pair.id as usize];
            for pace in raw.paces() {
                if self.pace_base[pace as usize].is_none() {
                    self.pace_base[pace as usize] = Some(rises);
                    rises += self.times[raw.target as usize].len();
                }
            }
        }
        self.rises = vec![0.0; rises];
    }

    /// Counts what rose and what fell at each moment.
    fn count_changes(&mut self, tracker: &Tracker, pairs: &[CounterPair<'_>], until_ms: i64) -> Vec<Reading> {
        let mut readings = Vec::new();
        for pair in pairs {
            let raw = &tracker.raws[pair.id as usize];
            let mut last = tracker.newest_of(pair.id).map(|(at_ms, count)| (at_ms, count.whole));
            let mut moment = 0;
            let new_processes = self.new_processes(raw.target).to_vec();
            for point in pair.points(until_ms) {
                let Some(count) = point.count.filter(|_| raw.ended_ms.is_none_or(|ended| point.at_ms > ended)) else {
                    continue;
                };
                if let Some((was_ms, before)) = last {
                    if point.at_ms <= was_ms {
                        continue;
                    }
                    let times = &self.times[raw.target as usize];
                    while times[moment] < point.at_ms {
                        moment += 1;
                    }
                    let here = &mut self.moments[self.base[raw.target as usize] + moment];
                    here.before_ms = here.before_ms.max(was_ms);
                    here.counts_on = true;
                    let rise = count.whole - before;
                    let (target, at_ms, now) = (raw.target, point.at_ms, count.whole);
                    let reading = Reading { target, at_ms, raw: pair.id, was_ms, before, now };
                    if rise > 0.0 {
                        here.rose += 1;
                        for pace in raw.total_paces() {
                            if let Some(base) = self.pace_base[pace as usize] {
                                self.rises[base + moment] += rise;
                            }
                        }
                    } else if rise < 0.0 {
                        here.fell += 1;
                    }
                    if rise < 0.0 || new_processes.binary_search(&at_ms).is_ok() {
                        readings.push(reading);
                    }
                }
                last = Some((point.at_ms, count.whole));
            }
        }
        readings
    }

    /// Marks where another process has what none can have counted since.
    fn judge_kept(&mut self, tracker: &Tracker, readings: &[Reading]) {
        for reading in readings.iter().filter(|reading| reading.now >= reading.before) {
            let &Reading { target, at_ms, raw, was_ms, before, now } = reading;
            let possible = self.possible(tracker, &tracker.raws[raw as usize], now, Some(before), was_ms, at_ms);
            if let Some(place) = self.place(target, at_ms).filter(|_| !possible) {
                self.moments[place].kept = true;
            }
        }
    }

    /// Where most counters of a target fell to what a new process can have, its process began anew.
    fn judge_falls(&mut self, tracker: &Tracker, readings: &[Reading]) {
        // One that was left out of the scrapes before says nothing of the process: its exporter may have forgotten it.
        let left_out = |reading: &Reading| {
            let since_ms = (reading.at_ms - self.at(reading.target, reading.at_ms).before_ms).max(1);
            (reading.at_ms - reading.was_ms) as f64 > FORGOTTEN_INTERVALS * since_ms as f64
        };
        let fell = |reading: &&Reading| reading.now < reading.before && !left_out(reading);
        let mut sorted: Vec<&Reading> = readings.iter().filter(fell).collect();
        sorted.sort_by_key(|fall| (fall.target, fall.at_ms));
        for together in sorted.chunk_by(|a, b| (a.target, a.at_ms) == (b.target, b.at_ms)) {
            let (target, at_ms) = (together[0].target, together[0].at_ms);
            let Some(place) = self.place(target, at_ms) else { continue };
            let possible = |fall: &&&Reading| {
                let raw = &tracker.raws[fall.raw as usize];
                self.possible(tracker, raw, fall.now, Some(fall.before), fall.was_ms, at_ms)
            };
            let clear = |fall: &&Reading| {
                let raw = &tracker.raws[fall.raw as usize];
                // One counter by itself is no majority, unless most of it is gone.
                let alone = together.len() == 1 && 2.0 * fall.now > fall.before;
                !alone && !self.may_be_older(tracker, raw, fall.before - fall.now, fall.was_ms, at_ms)
            };
            let taken_over = |fall: &&Reading| fall.now >= RESTORED_SHARE * fall.before;
            let of = &tracker.targets[target as usize];
            let restored = self.outlived(of, target, together[0].was_ms, at_ms)
                && together.iter().all(|fall| taken_over(fall) || fall.before <= FEW)
                && together.iter().any(|fall| taken_over(fall) && !possible(&fall));
            let clear = together.iter().copied().filter(|fall| possible(&fall)).any(|fall| clear(&fall));
            let possible = together.iter().filter(possible).count() as u32;
            let others = together.len() as u32 - possible + self.moments[place].rose;
            let goes_on =
                self.began_anew(&tracker.targets[target as usize], target, together[0].was_ms, at_ms) == Some(false);
            let most_fell = possible > others && (!goes_on || possible >= MANY);
            let here = &mut self.moments[place];
            (here.most_fell, here.restarted, here.restored) = (most_fell, most_fell && clear, restored);
        }
    }

    fn place(&self, target: u32, at_ms: i64) -> Option<usize> {
        let place = self.times.get(target as usize)?.binary_search(&at_ms).ok()?;
        Some(self.base[target as usize] + place)
    }

    fn at(&self, target: u32, at_ms: i64) -> Moment {
        self.place(target, at_ms).map_or(NOTHING, |place| self.moments[place])
    }

    fn older(&mut self, target: u32, at_ms: i64, before_ms: i64) {
        if let Some(place) = self.place(target, at_ms) {
            let here = &mut self.moments[place];
            here.before_ms = here.before_ms.max(before_ms);
        }
    }

    /// Every moment a target was scraped at.
    pub fn times(&self, target: u32) -> &[i64] {
        self.times.get(target as usize).map_or(&[], Vec::as_slice)
    }

    /// How often a target was scraped up to `at_ms`, milliseconds.
    pub fn interval_ms(&self, of: &Target, target: u32, at_ms: i64) -> Option<i64> {
        let times = self.times(target);
        of.interval_with(&times[..times.partition_point(|&t| t <= at_ms)])
    }

    /// How far apart the scrapes of one of its scrapers are: where several scrape a target by turns, more than from one
    /// scrape to the next.
    pub fn beat_ms(&self, of: &Target, target: u32, at_ms: i64) -> Option<i64> {
        let times = self.times(target);
        of.beat_with(&times[..times.partition_point(|&t| t <= at_ms)])
    }

    /// No interval between scrapes of a target that is known was shorter, milliseconds.
    pub fn least_interval_ms(&self, of: &Target, target: u32) -> i64 {
        let own = self.times(target).windows(2).map(|pair| pair[1] - pair[0]);
        let least = of.intervals.iter().copied().chain(own).min().unwrap_or(0);
        let across = of.last_ms.and_then(|last| self.times(target).iter().find(|&&at| at > last).map(|at| at - last));
        across.map_or(least, |across| least.min(across))
    }

    /// The scrape of a target before `at_ms`.
    pub fn previous(&self, of: &Target, target: u32, at_ms: i64) -> Option<i64> {
        let times = self.times(target);
        let before = times[..times.partition_point(|&t| t < at_ms)].last().copied();
        before.max(of.last_ms.filter(|&last| last < at_ms))
    }

    /// The next scrape of a target after `at_ms`.
    pub fn next(&self, target: u32, at_ms: i64) -> Option<i64> {
        let times = self.times(target);
        times.get(times.partition_point(|&t| t <= at_ms)).copied()
    }

    /// The scrape before `at_ms` of an older series of the target that has a sample at that very moment: the two were
    /// scraped together.
    pub fn scraped_with(&self, target: u32, at_ms: i64) -> Option<i64> {
        Some(self.at(target, at_ms).before_ms).filter(|&before| before > i64::MIN)
    }

    /// Whether a process that began just then took over the counters of an older one.
    pub fn restored(&self, target: u32, at_ms: i64) -> bool {
        self.at(target, at_ms).restored
    }

    /// Whether another process than before has, just then, what it cannot have counted itself.
    pub fn kept(&self, target: u32, at_ms: i64) -> bool {
        self.at(target, at_ms).kept
    }

    /// Whether an older counter of the target has a sample at this very moment; true where the moment is not of this read.
    pub fn counts_on(&self, target: u32, at_ms: i64) -> bool {
        self.place(target, at_ms).is_none_or(|place| self.moments[place].counts_on)
    }

    /// Whether an older series that was scraped at `was_ms` was scraped again, up to `until_ms`: whoever scraped the target
    /// then goes on.
    pub fn went_on(&self, target: u32, was_ms: i64, until_ms: i64) -> bool {
        let times = self.times(target);
        let (from, to) = (times.partition_point(|&t| t <= was_ms), times.partition_point(|&t| t <= until_ms));
        times[from..to.max(from)].iter().any(|&at| self.at(target, at).before_ms == was_ms)
    }

    pub fn rose(&self, target: u32, at_ms: i64) -> u32 {
        self.at(target, at_ms).rose
    }

    pub fn fell(&self, target: u32, at_ms: i64) -> u32 {
        self.at(target, at_ms).fell
    }

    /// Most counters of the target fell to what a new process can have, one of them too far for an older view.
    pub fn most_fell(&self, target: u32, at_ms: i64) -> bool {
        self.at(target, at_ms).restarted
    }

    /// The same of falls that an older view can be, too: the next sample tells.
    pub fn most_may_have_fallen(&self, target: u32, at_ms: i64) -> bool {
        self.at(target, at_ms).most_fell
    }

    /// Moments at which the process of a target began anew, newest first.
    pub fn restarts(&self, target: u32) -> impl Iterator<Item = i64> + '_ {
        let times = self.times(target).iter().rev().copied();
        let new = move |at: i64| self.new_processes(target).binary_search(&at).is_ok() && self.at(target, at).fell > 0;
        times.filter(move |&at| self.at(target, at).restarted || new(at))
    }

    /// What the older series of the totals that a raw series counts for gained at a moment: the most of them.
    pub fn gained(&self, raw: &Raw, at_ms: i64) -> f64 {
        let Some(place) = self.place(raw.target, at_ms) else { return 0.0 };
        let place = place - self.base[raw.target as usize];
        let of = |pace: u32| self.pace_base.get(pace as usize).copied().flatten().map(|base| self.rises[base + place]);
        raw.paces().filter_map(of).fold(0.0, f64::max)
    }

    pub(super) fn rates_before(&self, remembered: &Pace, pace: u32, target: u32, of: &Target, at_ms: i64) -> Rates {
        let times = self.times(target);
        let before = times.partition_point(|&t| t < at_ms);
        let base = self.pace_base.get(pace as usize).copied().flatten();
        let rates = base.into_iter().flat_map(|base| self.rates(base, target, &times[..before], of).rev());
        remembered.rates(rates)
    }

    /// Events a second, moment by moment, of the pace whose rises begin at `base`. Where several scrape a target by turns,
    /// each has its own scrape before.
    fn rates<'a>(
        &'a self,
        base: usize,
        target: u32,
        times: &'a [i64],
        of: &'a Target,
    ) -> impl DoubleEndedIterator<Item = f64> + 'a {
        let moments = self.base[target as usize];
        (0..times.len()).map(move |i| {
            let own = Some(self.moments[moments + i].before_ms).filter(|&before| before > i64::MIN);
            let before = || if i > 0 { Some(times[i - 1]) } else { of.last_ms.filter(|&last| last < times[0]) };
            own.or_else(before).map_or(0.0, |before| self.rises[base + i] * 1000.0 / (times[i] - before).max(1) as f64)
        })
    }

    /// Lets the paces of all targets of this read know what their totals gained.
    pub fn note_paces(&self, targets: &[Target], pace_targets: &[u32], paces: &mut [Pace]) {
        for (pace, base) in self.pace_base.iter().enumerate() {
            let Some(base) = *base else { continue };
            let target = pace_targets[pace];
            let (times, of) = (self.times(target), &targets[target as usize]);
            let new = times.partition_point(|&at| of.last_ms.is_some_and(|last| at <= last));
            for rate in self.rates(base, target, times, of).skip(new) {
                paces[pace].note(rate);
            }
        }
    }
}
