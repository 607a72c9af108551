//! Scraped targets: when they live, when they are looked at, and under which labels.

use crate::demo::count::{hash, unit};

/// One scraped target.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Target labels, and since when (seconds) it has them; in time order.
    pub(super) names: Vec<(i64, Vec<(String, String)>)>,
    interval_ms: i64,
    phase_ms: i64,
    pub(super) starts: Vec<i64>,
    /// When its last life ended, seconds.
    pub(super) end: Option<i64>,
    holes: Vec<Hole>,
    /// Seed and share of scrapes that fail.
    lost: Option<(u64, f64)>,
    pub(super) has_up: bool,
    pub(super) has_start_time: bool,
}

/// A span without samples, milliseconds, [from, to).
#[derive(Debug, Clone, Copy)]
struct Hole {
    from: i64,
    to: i64,
    /// Nobody asked (`up` has no sample either), or nobody answered (`up` is 0).
    asked: bool,
}

impl Pod {
    /// A pod scraped every 30 s at `phase_ms` after each multiple of the interval, running since `started` (s).
    pub fn new(job: &str, instance: &str, phase_ms: i64, started: i64) -> Self {
        let names = [("job", job), ("instance", instance)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Pod {
            names: vec![(i64::MIN, names.to_vec())],
            interval_ms: 30_000,
            phase_ms,
            starts: vec![started],
            end: None,
            holes: Vec::new(),
            lost: None,
            has_up: true,
            has_start_time: true,
        }
    }

    /// What a rule group records: evaluated every 30 s, without target labels, `up` or a start time.
    pub fn recorded(phase_ms: i64, started: i64) -> Self {
        let pod = Pod::new("", "", phase_ms, started);
        Pod { names: vec![(i64::MIN, Vec::new())], has_up: false, has_start_time: false, ..pod }
    }

    /// Has more target labels from `from` (s) on, until the next such moment. An empty value takes a label away.
    pub fn labelled(mut self, from: i64, labels: &[(&str, &str)]) -> Self {
        let mut names = self.names[self.names.len() - 1].1.clone();
        for &(name, value) in labels {
            names.retain(|(known, _)| known != name);
            if !value.is_empty() {
                names.push((name.to_owned(), value.to_owned()));
            }
        }
        self.names.push((from, names));
        self
    }

    /// Scraped every `interval_s` seconds (> 0) instead.
    pub fn every_s(mut self, interval_s: i64) -> Self {
        self.interval_ms = interval_s * 1000;
        self
    }

    /// Dies and starts anew at each of these seconds.
    pub fn restarts(mut self, at: impl IntoIterator<Item = i64>) -> Self {
        let first = self.starts[0];
        self.starts.extend(at.into_iter().filter(|&s| s > first));
        self.starts.sort_unstable();
        self.starts.dedup();
        self
    }

    /// Is gone from `at` (s) on, and no target any more.
    pub fn ends(mut self, at: i64) -> Self {
        self.end = Some(at);
        self
    }

    /// Is not scraped in [from, to), seconds. Holes are given in time order and do not overlap.
    pub fn hole(mut self, from: i64, to: i64) -> Self {
        self.holes.push(Hole { from: from * 1000, to: to * 1000, asked: false });
        self
    }

    /// Does not answer scrapes in [from, to), seconds: a hole in which `up` is 0.
    pub fn silent(mut self, from: i64, to: i64) -> Self {
        self.holes.push(Hole { from: from * 1000, to: to * 1000, asked: true });
        self
    }

    /// A share of its scrapes fails, by chance.
    pub fn loses(mut self, seed: u64, share: f64) -> Self {
        self.lost = Some((seed, share));
        self
    }

    /// Its process does not say when it began.
    pub fn without_start_time(mut self) -> Self {
        self.has_start_time = false;
        self
    }

    /// Its lives, [start, end) in seconds; the last one may be open.
    pub(super) fn lives(&self) -> impl Iterator<Item = (i64, Option<i64>)> + '_ {
        let ends = self.starts.iter().skip(1).copied().map(Some).chain([self.end]);
        self.starts.iter().copied().zip(ends)
    }

    /// Unbroken runs of samples within [from_ms, to_ms], oldest first: no restart and no hole inside a run.
    pub(super) fn runs(&self, from_ms: i64, to_ms: i64) -> Vec<Run> {
        self.runs_of(from_ms, to_ms, false)
    }

    /// The same of all scrapes that were tried.
    pub(super) fn tries(&self, from_ms: i64, to_ms: i64) -> Vec<Run> {
        self.runs_of(from_ms, to_ms, true)
    }

    fn runs_of(&self, from_ms: i64, to_ms: i64, tries: bool) -> Vec<Run> {
        let mut runs = Vec::new();
        let first = self.starts.partition_point(|&start| start * 1000 <= from_ms).max(1) - 1;
        for (start, end) in self.lives().skip(first) {
            let mut from = from_ms.max(start * 1000);
            if from > to_ms {
                break;
            }
            let end = end.map_or(to_ms, |next| to_ms.min(next * 1000 - 1));
            for hole in &self.holes[self.holes.partition_point(|hole| hole.to <= from)..] {
                if hole.from > end {
                    break;
                }
                if !(tries && hole.asked) {
                    self.push_runs(&mut runs, start, (from, hole.from - 1), tries);
                    from = hole.to;
                }
            }
            self.push_runs(&mut runs, start, (from, end), tries);
        }
        runs
    }

    fn push_runs(&self, runs: &mut Vec<Run>, started: i64, (from_ms, to_ms): (i64, i64), tries: bool) {
        let mut first = (from_ms - self.phase_ms + self.interval_ms - 1).div_euclid(self.interval_ms);
        let last = (to_ms - self.phase_ms).div_euclid(self.interval_ms);
        if self.lost.is_some() && !tries {
            for lost in (first..=last).filter(|&scrape| self.fails(scrape)) {
                if first < lost {
                    runs.push(Run { started, first, last: lost - 1 });
                }
                first = lost + 1;
            }
        }
        if first <= last {
            runs.push(Run { started, first, last });
        }
    }

    fn fails(&self, scrape: i64) -> bool {
        self.lost.is_some_and(|(seed, share)| unit(hash(seed, scrape as u64)) < share)
    }

    /// Whether a scrape that was tried had an answer.
    pub(super) fn answers(&self, scrape: i64) -> bool {
        let at_ms = self.at_ms(scrape);
        let silent = |hole: &Hole| hole.asked && (hole.from..hole.to).contains(&at_ms);
        !self.fails(scrape) && !self.holes.iter().any(silent)
    }

    pub(super) fn at_ms(&self, scrape: i64) -> i64 {
        scrape * self.interval_ms + self.phase_ms
    }
}

/// Scrapes `first..=last` (numbers on the pod's own grid) of the life that began at `started`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub started: i64,
    pub first: i64,
    pub last: i64,
}
