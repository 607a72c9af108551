//! Pods that count events and are scraped: the samples a Prometheus would hold, and the truth behind them.
//!
//! A pod lives from start to start. Each life counts from zero, a scrape sees every event up to and including its own
//! second, and what a life counted after its last scrape is lost to everybody. Samples are computed when asked for.

mod pod;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::count::Count;
use crate::engine::Labels;
pub use pod::Pod;
use pod::Run;
use value::Value;
pub use value::{Gauge, Histogram, Mode};

/// One sample as Prometheus stores it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Value.
    pub value: f64,
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
    /// added to `bounds`; `_count` and `_sum` come with it. Returns the counts behind it.
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

fn value(pod: &Pod, series: &Series, started: i64, scrape: i64) -> f64 {
    series.value.at(pod.at_ms(scrape).div_euclid(1000), started)
}

fn sample(pod: &Pod, series: &Series, started: i64, scrape: i64) -> Sample {
    Sample { at_ms: pod.at_ms(scrape), value: value(pod, series, started, scrape) }
}

#[cfg(test)]
mod tests;
