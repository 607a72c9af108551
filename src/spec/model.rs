//! The model: everything the daemon needs to know of the user's files, resolved and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::engine::{Slo, Unit};

pub use super::origin::{Origin, OriginFormat};

/// All SLOs of all files, in id order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Model {
    /// SLOs sorted by id; ids are unique.
    pub slos: Vec<SloSpec>,
    /// Services sorted by name.
    pub services: Vec<Service>,
}

/// A service as its owner describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// Name; the first part of every SLO id.
    pub name: String,
    /// Owning team; never empty.
    pub owner: String,
    /// `kubernetes`, ...; free text.
    pub runtime: Option<String>,
    /// `incident.channel`.
    pub channel: Option<String>,
    /// `incident.runbook`.
    pub runbook: Option<String>,
    /// What runs it.
    pub workloads: Vec<super::workload::Workload>,
}

/// One SLO and where its events come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloSpec {
    /// What it promises.
    pub slo: Arc<Slo>,
    /// Where its events come from; `Err` says why there is no source (shown to the user, never treated as "fine").
    pub source: Result<SliSource, String>,
    /// Labels that name one scraped target; default `job, instance`.
    pub target_labels: Vec<String>,
    /// What another tool calls it, where its file was imported.
    pub origin: Option<Origin>,
}

/// Where the events of an SLI come from. Selectors are PromQL instant-vector selectors, already parsed once; the
/// `query` module rewrites and merges them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum SliSource {
    /// Two counters, or one counter and a subset of it.
    Ratio {
        /// Selector of all events.
        total: String,
        /// The subset that is bad, or the subset that is good.
        part: Part,
    },
    /// Counters of several metrics that are added up; a series that several selectors match counts once.
    Counters {
        /// Selectors of all events.
        total: Vec<String>,
        /// Selectors of the bad ones, or of the good ones.
        part: Vec<String>,
        /// `part` is the good ones: bad = total - good.
        good: bool,
    },
    /// A classic histogram: an event is bad (slow) when it is not in the bucket `le = threshold`.
    Histogram {
        /// Selector with the base name, without `_bucket` or `_count`: `http_request_duration_seconds{service="a"}`.
        selector: String,
        /// Upper bound of good events, in the unit of the metric.
        threshold: f64,
    },
    /// Any PromQL instant vector or scalar, evaluated once a slice; bad where it breaks the bound.
    Gauge {
        /// PromQL.
        expr: String,
        /// The bound it must keep.
        bound: Bound,
        /// Which of its values are no values.
        trust: Trust,
    },
    /// Waiting for a turn: a histogram of waits sees only those who got through, so a gauge of those who wait is read
    /// beside it. A slice is bad where somebody waits and nobody has been let in for longer than the bound.
    Queue {
        /// As of [`SliSource::Histogram`]; its `_count` is the completions.
        histogram: String,
        /// Longest good wait, in the unit of the histogram.
        threshold: f64,
        /// The same in seconds: so long a silence proves nothing.
        bound_s: f64,
        /// Gauge of those who wait: an instant-vector selector; several series add up.
        waiting: String,
        /// Counter that moves when somebody is let in: an instant-vector selector. `None` where the completions say so.
        through: Option<String>,
    },
    /// Ratios that somebody else's query makes, used as they are where they cannot be read as counters. Approximate.
    Query {
        /// PromQL of bad events a second, or of the error ratio where there is no `total`. `[slice]` stands where the
        /// range goes.
        bad: String,
        /// PromQL of all events a second; `None` where `bad` is a ratio already, of which each slice is one event.
        total: Option<String>,
        /// Why it could not be read exactly; shown to the user.
        why: String,
    },
    /// One SLI under the names of several generations of a stack. The first whose series exist is read, and only that.
    Generations(Vec<Generation>),
}

/// One of several names for the same events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation {
    /// What the stack calls it, e.g. `llm_d_epp`.
    pub name: String,
    /// Its source; never itself a list of generations.
    pub source: SliSource,
}

/// Which values of a gauge are no values: unknown, never good.
#[derive(Clone, Copy, Default, PartialEq, Serialize)]
pub struct Trust {
    /// A gauge that has not changed for so many slices is frozen: its exporter has died inside.
    pub frozen_after: Option<u32>,
    /// Values over this stand for "not yet known" (Materialize's `u64::MAX`).
    pub sentinel_over: Option<f64>,
    /// Values under this do (the -1 of many exporters).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_under: Option<f64>,
}

impl fmt::Debug for Trust {
    /// The digest of several generations is made of this text, so what is new shows only where it is used.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Trust");
        text.field("frozen_after", &self.frozen_after).field("sentinel_over", &self.sentinel_over);
        if self.sentinel_under.is_some() {
            text.field("sentinel_under", &self.sentinel_under);
        }
        text.finish()
    }
}

impl Trust {
    /// Whether a value stands for "not known".
    pub fn is_sentinel(&self, value: f64) -> bool {
        self.sentinel_over.is_some_and(|most| value > most) || self.sentinel_under.is_some_and(|least| value < least)
    }
}

/// Which part of `total` a second selector counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Part {
    /// Bad events.
    Bad(String),
    /// Good events; bad = total - good.
    Good(String),
    /// Bad events that `total` does not hold: all events are both together.
    Beside(String),
}

/// A bound on a gauge. With several series in a slice the worst one decides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Bound {
    /// Bad when over it.
    Max(f64),
    /// Bad when under it.
    Min(f64),
}

impl SloSpec {
    /// Where the source alone decides what an event is, the unit follows it: ratios have no events, only slices.
    pub(crate) fn settle_unit(&mut self) {
        let of_ratios = |source: &SliSource| matches!(source, SliSource::Query { total: None, .. });
        let ratios = match &self.source {
            Ok(SliSource::Generations(all)) => all.iter().any(|one| of_ratios(&one.source)),
            Ok(source) => of_ratios(source),
            Err(_) => false,
        };
        if ratios {
            Arc::make_mut(&mut self.slo).unit = Unit::RatioSlices;
        }
    }

    /// A digest of what its history depends on: source, target labels, unit and fan-out. Objective, window and alerting
    /// may change without losing the past. The text behind it must not change from version to version.
    pub fn digest(&self) -> String {
        self.digest_of(self.source.as_ref())
    }

    /// The same where it is read from another source: the generation of its metrics that is there.
    pub fn digest_of(&self, source: Result<&SliSource, &String>) -> String {
        use sha2::{Digest, Sha256};
        let source: Vec<String> = match source {
            Err(_) => vec!["none".into()],
            Ok(SliSource::Ratio { total, part: Part::Bad(bad) }) => vec!["bad".into(), total.clone(), bad.clone()],
            Ok(SliSource::Ratio { total, part: Part::Good(good) }) => vec!["good".into(), total.clone(), good.clone()],
            Ok(SliSource::Ratio { total, part: Part::Beside(bad) }) => {
                vec!["beside".into(), total.clone(), bad.clone()]
            }
            Ok(SliSource::Counters { total, part, good }) => {
                let word = if *good { "good of several" } else { "bad of several" };
                let parts = part.iter().cloned().chain(["of all".to_string()]);
                [word.to_string()].into_iter().chain(parts).chain(total.iter().cloned()).collect()
            }
            Ok(SliSource::Histogram { selector, threshold }) => {
                vec!["histogram".into(), selector.clone(), threshold.to_string()]
            }
            Ok(SliSource::Gauge { expr, bound: Bound::Max(max), .. }) => {
                vec!["max".into(), expr.clone(), max.to_string()]
            }
            Ok(SliSource::Gauge { expr, bound: Bound::Min(min), .. }) => {
                vec!["min".into(), expr.clone(), min.to_string()]
            }
            Ok(SliSource::Queue { histogram, threshold, waiting, through, .. }) => {
                let own = ["queue".into(), histogram.clone(), threshold.to_string(), waiting.clone()];
                own.into_iter().chain(through.clone()).collect()
            }
            Ok(SliSource::Query { bad, total, .. }) => {
                vec!["query".into(), bad.clone(), total.clone().unwrap_or_default()]
            }
            Ok(SliSource::Generations(all)) => {
                let names = all.iter().map(|one| format!("{} {:?}", one.name, one.source));
                ["generations".to_string()].into_iter().chain(names).collect()
            }
        };
        let unit = serde_json::to_string(&self.slo.unit).expect("a unit is a word or a number");
        let text = serde_json::to_vec(&(source, unit, &self.target_labels, &self.slo.by)).expect("lists of strings");
        Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Model {
    /// The SLO with this id.
    pub fn slo(&self, id: &str) -> Option<&SloSpec> {
        self.slos.binary_search_by(|spec| spec.slo.id.as_str().cmp(id)).ok().map(|i| &self.slos[i])
    }

    /// Ids by service, for the surfaces that group by service.
    pub fn by_service(&self) -> BTreeMap<&str, Vec<&SloSpec>> {
        let mut groups: BTreeMap<&str, Vec<&SloSpec>> = BTreeMap::new();
        for spec in &self.slos {
            groups.entry(&spec.slo.service).or_default().push(spec);
        }
        groups
    }
}
