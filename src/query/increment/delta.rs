//! One pair walked from where its cursor stands: each count against the one before it.

use std::collections::BTreeSet;

use super::Harvest;
use super::cursors::Last;
use super::pair::{Count, CounterPair};
use super::target::Target;

/// A gap this many scrape intervals long is a hole, not a late scrape.
const HOLE_INTERVALS: f64 = 2.5;
/// A series silent this long while its target was scraped was gone (Prometheus' own staleness), milliseconds.
const GONE_MS: i64 = 300_000;

/// What a pair gained between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CounterDelta {
    /// Time of the older sample; `None` when the series counts from nothing.
    pub from_ms: Option<i64>,
    /// Time of the newer sample, where the gain is booked.
    pub at_ms: i64,
    /// Events gained.
    pub events: Count,
    /// The gap is longer than scrapes are apart: what happened inside is not known in detail.
    pub hole: bool,
    /// There was a sample that is no count; it says that something was there, and nothing else.
    pub not_a_number: bool,
}

pub(super) struct Walk<'a> {
    pub target: &'a Target,
    pub target_id: u32,
    /// Every moment its target was scraped at in this read.
    pub scrapes: &'a [i64],
    /// Moments at which some series of a target fell far.
    pub restarts: &'a BTreeSet<(u32, i64)>,
    /// Since when its SLIs are read, milliseconds.
    pub since_ms: i64,
    /// Its target started since the last read.
    pub started: bool,
    pub harvest: &'a mut Harvest,
    /// Set when the first sample only set the start; its time.
    pub start_ms: Option<i64>,
}

/// How a counter went from one sample to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Rise,
    /// A fall of under an eighth: what was counted stays counted.
    Glitch,
    Reset,
}

impl Walk<'_> {
    pub fn walk(
        &mut self,
        pair: &CounterPair<'_>,
        until_ms: i64,
        last: &mut Option<Last>,
        mut book: impl FnMut(CounterDelta),
    ) {
        let interval = self.target.interval_with(self.scrapes);
        for point in pair.points(until_ms) {
            let at_ms = point.at_ms;
            // What an SLI did before it was read this way is not counted this way.
            if last.map_or(at_ms < self.since_ms, |last| at_ms <= last.at_ms) {
                continue;
            }
            self.harvest.samples += 1;
            let none =
                CounterDelta { from_ms: None, at_ms, events: Count::default(), hole: false, not_a_number: false };
            let Some(count) = point.count else {
                book(CounterDelta { not_a_number: true, ..none });
                continue;
            };
            let Some(before) = *last else {
                let born = self.started || self.scraped_before(at_ms);
                self.start_ms = (!born).then_some(at_ms);
                book(CounterDelta { events: if born { count } else { Count::default() }, ..none });
                *last = Some(Last { at_ms, count });
                continue;
            };
            if self.is_new_process(before.at_ms, at_ms) {
                book(CounterDelta { events: count, ..none });
                *last = Some(Last { at_ms, count });
                continue;
            }
            let apart = at_ms - before.at_ms;
            let hole = interval.is_some_and(|every| apart as f64 > HOLE_INTERVALS * every as f64);
            let (events, stands) = self.gained(at_ms, before.count, count);
            book(CounterDelta { from_ms: Some(before.at_ms), events, hole, ..none });
            *last = Some(Last { at_ms, count: stands });
        }
    }

    /// Events gained from `before` to `now`, and what the next sample is compared with. A bucket follows its count:
    /// what only one of the two did is no restart of both.
    fn gained(&mut self, at_ms: i64, before: Count, now: Count) -> (Count, Count) {
        let restarted = self.restarts.contains(&(self.target_id, at_ms));
        match change(before.whole, now.whole, restarted) {
            Change::Glitch => {
                self.harvest.glitches += 1;
                (Count::default(), before)
            }
            Change::Reset => {
                self.harvest.resets += 1;
                (now, now)
            }
            Change::Rise => {
                let whole = now.whole - before.whole;
                let follow = |before: f64, now: f64, most: f64| match change(before, now, restarted) {
                    Change::Rise => (now - before, now),
                    Change::Glitch => (0.0, before),
                    Change::Reset => (now.min(most), now),
                };
                let (part, part_stands) = follow(before.part, now.part, whole);
                let (lower, lower_stands) = follow(before.lower, now.lower, part);
                let (good, good_stands) = follow(before.good, now.good, part);
                let stands = Count { whole: now.whole, part: part_stands, lower: lower_stands, good: good_stands };
                (Count { whole, part, lower, good: good.clamp(lower.min(part), part) }, stands)
            }
        }
    }

    /// A sibling was scraped before `at`, at a moment at which this series would have been read had it been there.
    fn scraped_before(&self, at_ms: i64) -> bool {
        let seen = |scrape: i64| scrape >= self.since_ms && scrape < at_ms;
        self.target.last_ms.is_some_and(seen)
            || self.scrapes.get(self.scrapes.partition_point(|&t| t < self.since_ms)).copied().is_some_and(seen)
    }

    /// It was gone while its siblings were scraped, and its target restarted meanwhile: what it says now it counted
    /// since. Without a restart it was hidden, and counted on.
    fn is_new_process(&self, was_ms: i64, at_ms: i64) -> bool {
        let between = |t: i64| t > was_ms && t < at_ms;
        let scraped = || {
            self.target.last_ms.is_some_and(between)
                || self.scrapes.get(self.scrapes.partition_point(|&t| t <= was_ms)).copied().is_some_and(between)
        };
        let restarted = || {
            self.target.restarted_ms.is_some_and(|t| t > was_ms && t <= at_ms)
                || self.restarts.range((self.target_id, was_ms + 1)..=(self.target_id, at_ms)).next().is_some()
        };
        at_ms - was_ms >= GONE_MS && scraped() && restarted()
    }
}

fn change(before: f64, now: f64, restarted: bool) -> Change {
    match () {
        () if now >= before => Change::Rise,
        () if fell_far(before, now) || restarted => Change::Reset,
        () => Change::Glitch,
    }
}

/// A fall too deep for a glitch.
pub(super) fn fell_far(before: f64, now: f64) -> bool {
    (before - now) * 8.0 >= before && now < before
}
