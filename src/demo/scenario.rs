//! Pods that count events and are scraped: the samples a Prometheus would hold, and the truth behind them.
//!
//! A pod lives from start to start. Each life counts from zero, a scrape sees every event up to and including its own
//! second, and what a life counted after its last scrape is lost to everybody. Samples are computed when asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::count::{Count, Timeline, hash, unit};
use crate::engine::Labels;

/// One sample as Prometheus stores it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Value.
    pub value: f64,
}

/// One scraped target.
#[derive(Debug, Clone)]
pub struct Pod {
    job: String,
    instance: String,
    interval_ms: i64,
    phase_ms: i64,
    starts: Vec<i64>,
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
    fn runs(&self, from_ms: i64, to_ms: i64) -> Vec<Run> {
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

    fn at_ms(&self, scrape: i64) -> i64 {
        scrape * self.interval_ms + self.phase_ms
    }
}

/// Scrapes `first..=last` (numbers on the pod's own grid) of the life that began at `started`.
#[derive(Debug, Clone, Copy)]
struct Run {
    started: i64,
    first: i64,
    last: i64,
}

/// A value that goes up and down.
#[derive(Debug, Clone)]
pub enum Gauge {
    /// Start of the running life, as `process_start_time_seconds` gives it.
    ProcessStart,
    /// 1 at every scrape.
    Up,
    /// Seconds since the last refresh; refreshed at each multiple of `period_s` that lies outside all `stalls`.
    Age {
        /// Seconds between refreshes, > 0.
        period_s: i64,
        /// Stalls [from, to), in time order.
        stalls: Vec<(i64, i64)>,
    },
    /// A whole number that follows a timeline, off by up to `swing` in either direction, never below 0.
    Level {
        /// What it follows.
        around: Timeline,
        /// Largest deviation.
        swing: f64,
        /// Seed of the deviation.
        seed: u64,
    },
}

impl Gauge {
    fn value(&self, s: i64, started: i64) -> f64 {
        match self {
            Gauge::ProcessStart => started as f64,
            Gauge::Up => 1.0,
            Gauge::Age { period_s, stalls } => {
                let mut refreshed = s - s.rem_euclid(*period_s);
                for &(from, to) in stalls.iter().rev() {
                    if (from..to).contains(&refreshed) {
                        refreshed = from - 1 - (from - 1).rem_euclid(*period_s);
                    }
                }
                (s - refreshed) as f64
            }
            Gauge::Level { around, swing, seed } => {
                let off = (unit(hash(*seed, s as u64)) * 2.0 - 1.0) * swing;
                (around.at(s) + off).round().max(0.0)
            }
        }
    }
}

/// What a series counts or shows.
#[derive(Debug, Clone)]
enum Value {
    Counter(Count),
    /// A counter that exists only from its first event of each life on, as client libraries do with label values.
    Born(Count),
    /// A histogram's `_sum`: counts times a mean each.
    Sum(Vec<(Count, f64)>),
    Gauge(Gauge),
}

/// One raw series.
#[derive(Debug, Clone)]
pub struct Series {
    /// Labels with `__name__`, `job` and `instance`.
    pub labels: Arc<Labels>,
    pod: usize,
    value: Value,
}

impl Series {
    /// Whether it is a counter (or part of a histogram).
    pub fn is_counter(&self) -> bool {
        !matches!(self.value, Value::Gauge(_))
    }
}

/// What `increase` and `rate` need of a window, found without walking through it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Oldest sample.
    pub first: Sample,
    /// Newest sample.
    pub last: Sample,
    /// Samples from the oldest to the newest.
    pub samples: usize,
    /// Sum of the values just before each fall: `last - first + reset` is what the counter gained.
    pub reset: f64,
}

/// What really happened in a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truth {
    /// All events.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Events that some scrape can have seen: without those a dying process took with it.
    pub seen_total: u64,
    /// Bad ones among them.
    pub seen_bad: u64,
}

impl Truth {
    /// `bad / total`; `None` without events.
    pub fn ratio(&self) -> Option<f64> {
        (self.total > 0).then(|| self.bad as f64 / self.total as f64)
    }

    /// `seen_bad / seen_total`; `None` without events.
    pub fn seen_ratio(&self) -> Option<f64> {
        (self.seen_total > 0).then(|| self.seen_bad as f64 / self.seen_total as f64)
    }
}

#[derive(Debug, Clone)]
struct Known {
    pod: usize,
    total: Count,
    bad: Count,
}

/// Pods, their series and the truth of each SLI.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    pods: Vec<Pod>,
    series: Vec<Series>,
    truths: BTreeMap<String, Vec<Known>>,
}

/// A pod within its scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodId(usize);

impl Scenario {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pod together with its `up` and `process_start_time_seconds`.
    pub fn pod(&mut self, pod: Pod) -> PodId {
        self.pods.push(pod);
        let id = PodId(self.pods.len() - 1);
        self.gauge(id, "up", &[], Gauge::Up);
        self.gauge(id, "process_start_time_seconds", &[], Gauge::ProcessStart);
        id
    }

    /// Adds a counter that is there from the start of each life on.
    pub fn counter(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], count: &Count) {
        self.push(pod, name, labels, Value::Counter(count.clone()));
    }

    /// Adds a counter that appears with its first event, anew in each life.
    pub fn born_counter(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], count: &Count) {
        self.push(pod, name, labels, Value::Born(count.clone()));
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], gauge: Gauge) {
        self.push(pod, name, labels, Value::Gauge(gauge));
    }

    /// Adds a classic histogram `name`: `modes` are the populations it mixes (usual, slow, ...). The `+Inf` bucket is
    /// added to `bounds`; `_count` and `_sum` come with it. Returns the count of events over `threshold`, which must be
    /// one of the bounds.
    pub fn histogram(
        &mut self,
        pod: PodId,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        modes: &[Mode],
    ) -> Histogram {
        let mut buckets = Vec::with_capacity(bounds.len());
        for &bound in bounds {
            let under = modes.iter().map(|mode| mode.count.share(mode.under(bound))).collect();
            let count = Count::sum(under);
            let le = bound.to_string();
            let mut with_le = labels.to_vec();
            with_le.push(("le", &le));
            self.counter(pod, &format!("{name}_bucket"), &with_le, &count);
            buckets.push((bound, count));
        }
        let total = Count::sum(modes.iter().map(|mode| mode.count.clone()).collect());
        let mut with_le = labels.to_vec();
        with_le.push(("le", "+Inf"));
        self.counter(pod, &format!("{name}_bucket"), &with_le, &total);
        self.counter(pod, &format!("{name}_count"), labels, &total);
        let sums = modes.iter().map(|mode| (mode.count.clone(), mode.mean())).collect();
        self.push(pod, &format!("{name}_sum"), labels, Value::Sum(sums));
        Histogram { total, buckets }
    }

    /// States what is true of SLI `sli` on this pod; several pods add up.
    pub fn truth_of(&mut self, sli: &str, pod: PodId, total: &Count, bad: &Count) {
        let known = Known { pod: pod.0, total: total.clone(), bad: bad.clone() };
        self.truths.entry(sli.to_owned()).or_default().push(known);
    }

    fn push(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], value: Value) {
        let at = &self.pods[pod.0];
        let own = [("__name__", name), ("job", &at.job), ("instance", &at.instance)];
        let labels = own.iter().chain(labels).copied().collect::<Labels>();
        self.series.push(Series { labels: Arc::new(labels), pod: pod.0, value });
    }

    /// Takes in another scenario, as one Prometheus scrapes many services.
    pub fn join(&mut self, other: Scenario) {
        let shift = self.pods.len();
        self.pods.extend(other.pods);
        self.series.extend(other.series.into_iter().map(|series| Series { pod: series.pod + shift, ..series }));
        for (sli, known) in other.truths {
            let known = known.into_iter().map(|known| Known { pod: known.pod + shift, ..known });
            self.truths.entry(sli).or_default().extend(known);
        }
    }

    /// All series, in the order they were added.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// Names of the SLIs whose truth is known.
    pub fn slis(&self) -> impl Iterator<Item = &str> {
        self.truths.keys().map(String::as_str)
    }

    /// What really happened to `sli` in the seconds [from, to); `None` for an SLI it does not know.
    pub fn truth(&self, sli: &str, from: i64, to: i64) -> Option<Truth> {
        let mut truth = Truth::default();
        for known in self.truths.get(sli)? {
            let (total, bad) = (known.total.between(from, to), known.bad.between(from, to));
            let (mut lost_total, mut lost_bad) = (0, 0);
            for (lost_from, lost_to) in self.lost(known.pod, from, to) {
                lost_total += known.total.between(lost_from, lost_to);
                lost_bad += known.bad.between(lost_from, lost_to);
            }
            truth.total += total;
            truth.bad += bad;
            truth.seen_total += total - lost_total;
            truth.seen_bad += bad - lost_bad;
        }
        Some(truth)
    }

    /// The spans within [from, to) whose events died with their process: from a life's last scrape to its end.
    fn lost(&self, pod: usize, from: i64, to: i64) -> Vec<(i64, i64)> {
        let pod = &self.pods[pod];
        let ends = pod.starts.windows(2).map(|life| (life[0], life[1]));
        ends.filter(|&(start, end)| end > from && start < to)
            .filter_map(|(start, end)| {
                let last = pod.runs(start * 1000, end * 1000 - 1).last().map(|run| pod.at_ms(run.last));
                let unseen_from = last.map_or(start, |at_ms| at_ms.div_euclid(1000) + 1);
                let span = (unseen_from.max(from), end.min(to));
                (span.0 < span.1).then_some(span)
            })
            .collect()
    }

    /// Runs of samples of a series within [from_ms, to_ms]: as its pod's, without what lies before a birth.
    fn runs(&self, series: &Series, from_ms: i64, to_ms: i64) -> Vec<Run> {
        let pod = &self.pods[series.pod];
        let mut runs = pod.runs(from_ms, to_ms);
        if matches!(series.value, Value::Born(_)) {
            runs.retain_mut(|run| {
                let (mut low, mut high) = (run.first, run.last + 1);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if value(pod, series, run.started, middle) > 0.0 { high = middle } else { low = middle + 1 }
                }
                run.first = low;
                run.first <= run.last
            });
        }
        runs
    }

    /// Appends the samples of series `index` within [from_ms, to_ms] (closed at both ends), oldest first.
    pub fn samples(&self, index: usize, from_ms: i64, to_ms: i64, out: &mut Vec<Sample>) {
        let series = &self.series[index];
        let pod = &self.pods[series.pod];
        for run in self.runs(series, from_ms, to_ms) {
            out.extend((run.first..=run.last).map(|scrape| sample(pod, series, run.started, scrape)));
        }
    }

    /// The newest sample of series `index` within [from_ms, to_ms].
    pub fn newest(&self, index: usize, from_ms: i64, to_ms: i64) -> Option<Sample> {
        let series = &self.series[index];
        let run = self.runs(series, from_ms, to_ms).pop()?;
        Some(sample(&self.pods[series.pod], series, run.started, run.last))
    }

    /// What a series did within [from_ms, to_ms]; `None` without samples. For a counter in time that does not grow with
    /// the window's samples, since between restarts it only rises.
    pub fn window(&self, index: usize, from_ms: i64, to_ms: i64) -> Option<Window> {
        let series = &self.series[index];
        if !series.is_counter() {
            let mut points = Vec::new();
            self.samples(index, from_ms, to_ms, &mut points);
            let (&first, &last) = (points.first()?, points.last()?);
            let falls = points.windows(2).filter(|pair| pair[1].value < pair[0].value);
            let reset = falls.map(|pair| pair[0].value).sum();
            return Some(Window { first, last, samples: points.len(), reset });
        }
        let pod = &self.pods[series.pod];
        let mut window: Option<Window> = None;
        for run in self.runs(series, from_ms, to_ms) {
            let first = sample(pod, series, run.started, run.first);
            let last = sample(pod, series, run.started, run.last);
            let samples = (run.last - run.first + 1) as usize;
            window = Some(match window {
                None => Window { first, last, samples, reset: 0.0 },
                Some(before) => Window {
                    first: before.first,
                    last,
                    samples: before.samples + samples,
                    reset: before.reset + if first.value < before.last.value { before.last.value } else { 0.0 },
                },
            });
        }
        window
    }
}

fn sample(pod: &Pod, series: &Series, started: i64, scrape: i64) -> Sample {
    Sample { at_ms: pod.at_ms(scrape), value: value(pod, series, started, scrape) }
}

fn value(pod: &Pod, series: &Series, started: i64, scrape: i64) -> f64 {
    let second = pod.at_ms(scrape).div_euclid(1000);
    match &series.value {
        Value::Counter(count) | Value::Born(count) => count.between(started, second + 1) as f64,
        Value::Sum(parts) => parts.iter().map(|(count, mean)| count.between(started, second + 1) as f64 * mean).sum(),
        Value::Gauge(gauge) => gauge.value(second, started),
    }
}

/// One population of a histogram: log-normal around a median.
#[derive(Debug, Clone)]
pub struct Mode {
    /// How many belong to it.
    pub count: Count,
    /// Median, in the histogram's unit.
    pub median: f64,
    /// Sigma of the logarithm, > 0: 0.5 puts the p95 at 2.3 medians.
    pub sigma: f64,
}

impl Mode {
    /// Share of it at or under `bound`.
    pub fn under(&self, bound: f64) -> f64 {
        // Logistic stand-in for the normal distribution (off by less than 0.01): rises strictly, needs no table.
        1.0 / (1.0 + (-1.702 * (bound / self.median).ln() / self.sigma).exp())
    }

    /// Mean of a log-normal.
    fn mean(&self) -> f64 {
        self.median * (self.sigma * self.sigma / 2.0).exp()
    }
}

/// The counts behind a histogram.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// All events.
    pub total: Count,
    buckets: Vec<(f64, Count)>,
}

impl Histogram {
    /// Events over `bound`, which must be one of the bucket bounds.
    pub fn over(&self, bound: f64) -> Count {
        let (_, under) =
            self.buckets.iter().find(|(at, _)| *at == bound).expect("a threshold of a scenario is one of its bounds");
        self.total.without(under)
    }
}

#[cfg(test)]
mod tests;
