//! Pods that count events and are scraped: the samples a Prometheus would hold, and the truth behind them.
//!
//! A pod lives from start to start. Each life counts from zero, a scrape sees every event up to and including its own
//! second, and what a life counted after its last scrape is lost to everybody. Samples are computed when asked for.

mod exposure;
mod pod;
mod truth;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::count::Count;
use crate::engine::Labels;
pub use exposure::{Exposure, Twist};
pub use pod::Pod;
use pod::Run;
use truth::Known;
pub use truth::Truth;
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
    /// Labels with `__name__` and those of its target.
    pub labels: Arc<Labels>,
    pod: usize,
    value: Value,
    /// When it is shown at all, milliseconds, both ends within.
    spans: Vec<(i64, i64)>,
    twist: Option<Twist>,
}

impl Series {
    /// Whether it is a counter (or part of a histogram).
    pub fn is_counter(&self) -> bool {
        !matches!(self.value, Value::Gauge(_))
    }

    /// Whether it only rises within a life, at the moments of its pod's scrapes.
    fn is_plain(&self) -> bool {
        self.is_counter() && self.twist.is_none() && !matches!(self.value, Value::Fleet(_))
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

/// Pods, their series and the truth of each SLI.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    pods: Vec<Pod>,
    series: Vec<Series>,
    truths: BTreeMap<String, Vec<Known>>,
    /// Whether each life of a counter begins with a 0 at the moment it was created.
    zeros: bool,
}

/// A pod within its scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodId(usize);

impl Scenario {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pod together with its `up` and `process_start_time_seconds`, where it has them.
    pub fn pod(&mut self, pod: Pod) -> PodId {
        let (has_up, has_start_time) = (pod.has_up, pod.has_start_time);
        self.pods.push(pod);
        let id = PodId(self.pods.len() - 1);
        if has_up {
            self.gauge(id, "up", &[], Gauge::Up);
        }
        if has_start_time {
            self.gauge(id, "process_start_time_seconds", &[], Gauge::ProcessStart);
        }
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

    /// Adds a counter that is shown in a way of its own.
    pub fn shown(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], count: &Count, how: Exposure) {
        let value = if how.born { Value::Born(count.clone()) } else { Value::Counter(count.clone()) };
        self.push_shown(pod, name, labels, value, how);
    }

    /// Adds what a rule records as the sum over processes that come and go: `(count, from, to)`, seconds. It falls when
    /// one of them goes.
    pub fn summed(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], lives: Vec<(Count, i64, i64)>) {
        self.push(pod, name, labels, Value::Fleet(lives));
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], gauge: Gauge) {
        self.push(pod, name, labels, Value::Gauge(gauge));
    }

    /// Adds a gauge that is shown in a way of its own.
    pub fn shown_gauge(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], gauge: Gauge, how: Exposure) {
        self.push_shown(pod, name, labels, Value::Gauge(gauge), how);
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

    fn push(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], value: Value) {
        self.push_shown(pod, name, labels, value, Exposure::new());
    }

    /// One series for each set of labels that its target has in turn.
    fn push_shown(&mut self, pod: PodId, name: &str, labels: &[(&str, &str)], value: Value, how: Exposure) {
        let names = &self.pods[pod.0].names;
        let ends = names.iter().skip(1).map(|&(from, _)| from).chain([i64::MAX]);
        let eras: Vec<_> = names.iter().zip(ends).map(|((from, target), to)| (*from, to, target.clone())).collect();
        for (from, to, target) in eras {
            let target = target.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels =
                [("__name__", name)].into_iter().chain(target).chain(labels.iter().copied()).collect::<Labels>();
            let spans = how.spans.clone().unwrap_or_else(|| vec![(i64::MIN, i64::MAX)]);
            let within = spans.into_iter().map(|(a, b)| (a.max(from), b.min(to))).filter(|(a, b)| a < b);
            let spans = within.map(|(a, b)| (a.saturating_mul(1000), b.saturating_mul(1000) - 1)).collect();
            let (value, twist) = (value.clone(), how.twist.clone());
            self.series.push(Series { labels: Arc::new(labels), pod: pod.0, value, spans, twist });
        }
    }

    /// The same as a Prometheus with `created-timestamp-zero-ingestion` stores it: each life of a counter begins with a 0
    /// at the moment it was created, before the scrape that first shows it.
    pub fn with_zero_samples(self) -> Self {
        Scenario { zeros: true, ..self }
    }

    /// The same as a Prometheus from 3.0 on stores it: bounds of buckets are spelled as numbers with a point (`1.0`,
    /// `1e+06`), however the target spells them.
    pub fn with_bounds_spelled_anew(mut self) -> Self {
        for series in &mut self.series {
            if let Some(bound) = series.labels.get("le").and_then(|le| le.parse::<f64>().ok()) {
                Arc::make_mut(&mut series.labels).set("le", value::spelled_bound(bound));
            }
        }
        self
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

    /// Runs of samples of a series within [from_ms, to_ms]: as its pod's, without what is not shown.
    fn runs(&self, series: &Series, from_ms: i64, to_ms: i64) -> Vec<Run> {
        let pod = &self.pods[series.pod];
        let mut runs = Vec::new();
        for &(from, to) in &series.spans {
            let (from, to) = (from.max(from_ms), to.min(to_ms));
            match series.value {
                _ if from > to => {}
                Value::Gauge(Gauge::Up) => runs.extend(pod.tries(from, to)),
                _ => runs.extend(pod.runs(from, to)),
            }
        }
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
        let Some(twist) = &series.twist else {
            self.each_run(series, from_ms, to_ms, |sample, _| out.push(sample));
            return;
        };
        // Samples may lie beside the scrape that they are of, by less than an interval.
        let begin = out.len();
        for run in self.runs(series, from_ms.saturating_sub(60_000), to_ms.saturating_add(60_000)) {
            for scrape in run.first..=run.last {
                twist.samples(pod, &series.value, (scrape, run.started), out);
            }
        }
        let mut place = begin;
        for index in begin..out.len() {
            if (from_ms..=to_ms).contains(&out[index].at_ms) {
                out.swap(place, index);
                place += 1;
            }
        }
        out.truncate(place);
    }

    /// The same with the moment at which the counter of each sample was created, milliseconds. Gauges have none, and
    /// neither have series whose samples are not those of a plain scrape.
    pub fn samples_with_starts(&self, index: usize, from_ms: i64, to_ms: i64) -> Vec<(Sample, Option<i64>)> {
        let mut all = Vec::new();
        let series = &self.series[index];
        if series.twist.is_none() {
            self.each_run(series, from_ms, to_ms, |sample, created| all.push((sample, created)));
            return all;
        }
        let mut samples = Vec::new();
        self.samples(index, from_ms, to_ms, &mut samples);
        samples.into_iter().map(|sample| (sample, None)).collect()
    }

    fn each_run(&self, series: &Series, from_ms: i64, to_ms: i64, mut take: impl FnMut(Sample, Option<i64>)) {
        let pod = &self.pods[series.pod];
        for run in self.runs(series, from_ms, to_ms) {
            let created = self.created(series, run);
            let created_ms = created.map(|(at_ms, _)| at_ms);
            // The 0 was stored by the scrape that first showed the counter: without that scrape there is none.
            if let Some((at_ms, first)) = created
                && self.zeros
                && at_ms >= from_ms
                && first == run.first
            {
                take(Sample { at_ms, value: 0.0 }, created_ms);
            }
            (run.first..=run.last).for_each(|scrape| take(sample(pod, series, run.started, scrape), created_ms));
        }
    }

    /// When the counter of a run was created, milliseconds, and the scrape that first showed it; `None` for gauges.
    fn created(&self, series: &Series, run: Run) -> Option<(i64, i64)> {
        let pod = &self.pods[series.pod];
        let started_ms = run.started * 1000;
        let lives = self.runs(series, started_ms, pod.at_ms(run.first)).into_iter();
        let first = lives.filter(|life| life.started == run.started).map(|life| life.first).min()?;
        let at_ms = match series.value {
            Value::Gauge(_) | Value::Fleet(_) => return None,
            Value::Counter(_) | Value::Sum(_) => started_ms,
            // Between the scrape that did not show it and the one that did.
            Value::Born(_) => (pod.at_ms(first - 1).max(started_ms) + pod.at_ms(first)) / 2,
        };
        (at_ms < pod.at_ms(first)).then_some((at_ms, first))
    }

    /// The newest sample of series `index` within [from_ms, to_ms].
    pub fn newest(&self, index: usize, from_ms: i64, to_ms: i64) -> Option<Sample> {
        let series = &self.series[index];
        if series.twist.is_some() {
            let mut points = Vec::new();
            self.samples(index, from_ms, to_ms, &mut points);
            return points.last().copied();
        }
        let run = self.runs(series, from_ms, to_ms).pop()?;
        Some(sample(&self.pods[series.pod], series, run.started, run.last))
    }

    /// What a series did within [from_ms, to_ms]; `None` without samples. For a plain counter in time that does not grow
    /// with the window's samples, since between restarts it only rises.
    pub fn window(&self, index: usize, from_ms: i64, to_ms: i64) -> Option<Window> {
        let series = &self.series[index];
        if !series.is_plain() || self.zeros {
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
    match series.value {
        Value::Gauge(Gauge::Up) => f64::from(u8::from(pod.answers(scrape))),
        _ => series.value.at(pod.at_ms(scrape).div_euclid(1000), started),
    }
}

fn sample(pod: &Pod, series: &Series, started: i64, scrape: i64) -> Sample {
    Sample { at_ms: pod.at_ms(scrape), value: value(pod, series, started, scrape) }
}

#[cfg(test)]
mod tests;
