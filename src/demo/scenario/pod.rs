//! Scraped targets: when they live, and when they are looked at.

/// One scraped target.
#[derive(Debug, Clone)]
pub struct Pod {
    pub(super) job: String,
    pub(super) instance: String,
    interval_ms: i64,
    phase_ms: i64,
    pub(super) starts: Vec<i64>,
    holes: Vec<(i64, i64)>,
}

impl Pod {
    /// A pod scraped every 30 s at `phase_ms` after each multiple of the interval, running since `started` (s).
    pub fn new(job: &str, instance: &str, phase_ms: i64, started: i64) -> Self {
        let (job, instance) = (job.to_owned(), instance.to_owned());
        Pod { job, instance, interval_ms: 30_000, phase_ms, starts: vec![started], holes: Vec::new() }
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

    /// Is not scraped in [from, to), seconds. Holes are given in time order and do not overlap.
    pub fn hole(mut self, from: i64, to: i64) -> Self {
        self.holes.push((from * 1000, to * 1000));
        self
    }

    /// Unbroken runs of scrapes within [from_ms, to_ms], oldest first: no restart and no hole inside a run.
    pub(super) fn runs(&self, from_ms: i64, to_ms: i64) -> Vec<Run> {
        let mut runs = Vec::new();
        let first = self.starts.partition_point(|&start| start * 1000 <= from_ms).max(1) - 1;
        for (i, &start) in self.starts.iter().enumerate().skip(first) {
            let mut from = from_ms.max(start * 1000);
            if from > to_ms {
                break;
            }
            let end = self.starts.get(i + 1).map_or(to_ms, |&next| to_ms.min(next * 1000 - 1));
            for &(hole_from, hole_to) in &self.holes[self.holes.partition_point(|&(_, to)| to <= from)..] {
                if hole_from > end {
                    break;
                }
                self.push_run(&mut runs, start, from, hole_from - 1);
                from = hole_to;
            }
            self.push_run(&mut runs, start, from, end);
        }
        runs
    }

    fn push_run(&self, runs: &mut Vec<Run>, started: i64, from_ms: i64, to_ms: i64) {
        let first = (from_ms - self.phase_ms + self.interval_ms - 1).div_euclid(self.interval_ms);
        let last = (to_ms - self.phase_ms).div_euclid(self.interval_ms);
        if first <= last {
            runs.push(Run { started, first, last });
        }
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
