//! Habits of real metrics on which counters are easily counted wrongly, each a service of its own with a known truth.
//!
//! All of them lie behind one Prometheus, as in life: what one service does must not move the counts of another. Each
//! covers [`HOURS`] hours; most have the same thirty minutes of outage as the other scenarios, in the last hour.

mod fault;
mod identity;
mod life;
mod series;

use super::{REQUESTS, Scenario, incident, origin};
use crate::demo::count::{Count, DAY, Shape, Timeline, Traffic};
use crate::demo::scenario::{Exposure, Pod, PodId};

/// Hours that every case covers.
pub const HOURS: i64 = 30;
const HOUR: i64 = 3600;
/// Errors outside of the outage.
const BACKGROUND: f64 = 0.002;

/// What counting a case must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The truth.
    Counted,
    /// The truth, or a data fault by name: what there is does not decide it.
    CountedOrNamed,
    /// A data fault by name: from these samples nobody can count.
    Named,
}

/// What an SLO of the case reads.
#[derive(Debug, Clone)]
pub enum Source {
    /// Two selectors of counters.
    Counters {
        /// All events.
        total: String,
        /// Bad ones.
        bad: String,
    },
    /// A classic histogram; slow is over `bound`.
    Histogram {
        /// Its selector, without `_bucket`.
        name: String,
        /// Matchers of its series.
        matchers: String,
        /// Threshold, seconds.
        bound: f64,
    },
}

impl Source {
    /// An SLO that reads it, a line of YAML under `slo:`.
    pub fn slo(&self) -> String {
        match self {
            Source::Counters { total, bad } => {
                format!("availability: {{objective: 99.9, sli: {{total: '{total}', bad: '{bad}'}}}}")
            }
            Source::Histogram { name, matchers, bound } => {
                let selector = format!("{name}{{{matchers}}}");
                let max_ms = bound * 1000.0;
                format!(
                    "latency_p95_ms: {{max: {max_ms}, method: events, objective: 99.9, sli: {{histogram: '{selector}'}}}}"
                )
            }
        }
    }
}

/// One habit.
#[derive(Debug, Clone)]
pub struct Case {
    /// Value of its `service` label and name of its SLI.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What is read.
    pub source: Source,
    /// What that must come to.
    pub expected: Expected,
    /// Its pods and series.
    pub scenario: Scenario,
}

/// A case while it is made.
struct Making {
    name: &'static str,
    end: i64,
    scenario: Scenario,
}

impl Making {
    fn new(name: &'static str, end: i64) -> Self {
        Making { name, end, scenario: Scenario::new() }
    }

    /// Where the samples begin.
    fn oldest(&self) -> i64 {
        self.end - HOURS * HOUR
    }

    /// A pod that has been running for days.
    fn old_pod(&self, number: usize) -> Pod {
        let phase_ms = [7_300, 19_850, 13_100][number % 3];
        Pod::new("api", &format!("{}-{number}:8080", self.name), phase_ms, self.oldest() - 3 * DAY - 777)
    }

    /// Even traffic.
    fn traffic(&self, rate: f64) -> Count {
        Count::of(Traffic { rate, shape: Shape::Flat, wobble: None, origin: origin(self.oldest()) })
    }

    /// A little background, and the outage.
    fn errors(&self) -> Timeline {
        let (from, to) = incident(self.end);
        Timeline::new(BACKGROUND).during(from, to, 0.5)
    }

    /// Requests of a pod by code, each shown as `how` says for it, and their truth.
    fn requests(
        &mut self,
        pod: PodId,
        extra: &[(&str, &str)],
        counts: (&Count, &Count),
        how: impl Fn(&str) -> Exposure,
    ) {
        let (total, bad) = counts;
        let good = total.without(bad);
        let missing = good.share(0.03);
        for (code, count) in [("200", good.without(&missing)), ("404", missing), ("500", bad.clone())] {
            let labels: Vec<_> =
                [("service", self.name), ("code", code)].into_iter().chain(extra.iter().copied()).collect();
            self.scenario.shown(pod, REQUESTS, &labels, &count, how(code));
        }
        self.scenario.truth_of(self.name, pod, total, bad);
    }

    /// Two old pods, each as `change` makes it, with the usual traffic, shown as `how` says for each code.
    fn two_pods(&mut self, change: impl Fn(Pod) -> Pod, how: impl Fn(&str) -> Exposure) {
        for (number, rate) in [2.0, 1.8].into_iter().enumerate() {
            let pod = self.scenario.pod(change(self.old_pod(number)));
            let total = self.traffic(rate);
            let bad = total.part(&self.errors());
            self.requests(pod, &[], (&total, &bad), &how);
        }
    }

    fn counted(self, about: &'static str) -> Case {
        self.case(about, Expected::Counted)
    }

    fn case(self, about: &'static str, expected: Expected) -> Case {
        let name = self.name;
        let total = format!("{REQUESTS}{{service=\"{name}\"}}");
        let bad = format!("{REQUESTS}{{service=\"{name}\",code=~\"5..\"}}");
        self.case_of(about, expected, Source::Counters { total, bad })
    }

    fn case_of(self, about: &'static str, expected: Expected, source: Source) -> Case {
        Case { name: self.name, about, source, expected, scenario: self.scenario }
    }
}

/// As it comes.
fn plain(_code: &str) -> Exposure {
    Exposure::new()
}

/// As client libraries show label values: from the first event on.
fn errors_born(code: &str) -> Exposure {
    if code.starts_with('5') { Exposure::new().born() } else { Exposure::new() }
}

/// All cases, each ending at `end` (seconds).
pub fn all(end: i64) -> Vec<Case> {
    let rooms = [identity::all, life::all, series::all, fault::all];
    rooms.into_iter().flat_map(|room| room(end)).collect()
}

/// Several cases behind one Prometheus.
pub fn joined(cases: &[Case]) -> Scenario {
    let mut all = Scenario::new();
    for case in cases {
        all.join(case.scenario.clone());
    }
    all
}

#[cfg(test)]
mod tests;
