//! What series show: counts, gauges, and the counts behind a histogram.

use crate::demo::count::{Count, Timeline, hash, unit};

/// A value that goes up and down.
#[derive(Debug, Clone)]
pub enum Gauge {
    /// Start of the running life, as `process_start_time_seconds` gives it.
    ProcessStart,
    /// 1 at every scrape that had an answer, 0 at those that had none.
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

impl Value {
    /// The value at a scrape in second `s` of the life that began at `started`.
    pub(super) fn at(&self, s: i64, started: i64) -> f64 {
        let counted = |count: &Count| count.between(started, s + 1) as f64;
        match self {
            Value::Counter(count) | Value::Born(count) => counted(count),
            Value::Fleet(lives) => {
                let living = lives.iter().filter(|&&(_, from, to)| (from..to).contains(&s));
                living.map(|(count, from, _)| count.between(*from, s + 1) as f64).sum()
            }
            Value::Sum(parts) => parts.iter().map(|(count, mean)| counted(count) * mean).sum(),
            Value::Gauge(gauge) => gauge.value(s, started),
        }
    }
}

impl Gauge {
    pub(super) fn value(&self, s: i64, started: i64) -> f64 {
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
pub(super) enum Value {
    Counter(Count),
    /// A counter that exists only from its first event of each life on, as client libraries do with label values.
    Born(Count),
    /// A histogram's `_sum`: counts times a mean each.
    Sum(Vec<(Count, f64)>),
    /// The sum of counters of processes that live in [from, to), each from 0.
    Fleet(Vec<(Count, i64, i64)>),
    Gauge(Gauge),
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
    pub(super) fn mean(&self) -> f64 {
        self.median * (self.sigma * self.sigma / 2.0).exp()
    }
}

/// The counts behind a histogram.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// All events.
    pub total: Count,
    pub(super) buckets: Vec<(f64, Count)>,
}

impl Histogram {
    /// Events over `bound`, which must be one of the bucket bounds.
    pub fn over(&self, bound: f64) -> Count {
        let (_, under) =
            self.buckets.iter().find(|(at, _)| *at == bound).expect("a threshold of a scenario is one of its bounds");
        self.total.without(under)
    }
}

/// A bound as Prometheus spells it from 3.0 on: Go's shortest `%g`, with `.0` where that is a whole number.
pub(super) fn spelled_bound(bound: f64) -> String {
    if bound.is_infinite() {
        return if bound > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let text = format!("{bound:e}");
    let (digits, exponent) = text.split_once('e').expect("an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    match exponent {
        -4..6 if bound.fract() == 0.0 => format!("{bound:.1}"),
        -4..6 => bound.to_string(),
        _ => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_spelled_as_prometheus_three_spells_them() {
        let spelled = [1.0, 0.5, 2.5, 10.0, 1e5, 1e6, 1_234_567.0, 1e-5, 0.0001, f64::INFINITY].map(spelled_bound);
        let want = ["1.0", "0.5", "2.5", "10.0", "100000.0", "1e+06", "1.234567e+06", "1e-05", "0.0001", "+Inf"];
        assert_eq!(spelled, want);
    }
}
