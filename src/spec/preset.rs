//! Presets: the metric names of common stacks, so that a service needs to say only which workload it is.
//!
//! They are data: `rules/presets/*.yaml`, compiled in, and documents of the same form among the user's rules, which win
//! over a compiled-in preset of the same name. A preset that cannot measure something says so with the reason, which
//! becomes the reason of an SLO without a source. Deliberately absent: guesses of metric names.

mod read;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Serialize;

use super::indicator::Family;
use super::model::{Part, Trust};
use super::selector::TimeUnit;

pub(crate) use read::read;

/// The metric names of one stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preset {
    /// What a service's `telemetry.preset` says.
    pub name: String,
    /// The stack in one sentence.
    pub about: String,
    /// Where its names were read.
    pub source: Option<String>,
    /// Why it is not to be relied on yet; `None` where its names were read in the stack's own source.
    pub experimental: Option<String>,
    /// Labels that tell one service or model from another, the usual one first.
    pub workload: Vec<String>,
    /// All labels that can be matched on; others are probably typos.
    pub labels: Vec<String>,
    /// What to know before relying on it.
    pub traps: Vec<String>,
    /// How it measures each family.
    pub slis: BTreeMap<Family, PresetSli>,
    /// The user's file it is from; `None` where it is compiled in.
    pub file: Option<String>,
}

/// How a stack measures one family.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PresetSli {
    /// Why this one is not to be relied on yet.
    pub experimental: Option<String>,
    /// The labels that its series have, where those are not all of the preset's: a match holds for the others.
    pub labels: Option<Vec<String>>,
    /// What is read.
    pub measure: Measure,
}

/// What is read for one family. Selectors are PromQL, parsed once and printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Two counters.
    Ratio {
        /// All events.
        total: String,
        /// The bad or the good ones.
        part: Part,
    },
    /// A histogram of times.
    Histogram(Times),
    /// A histogram of waits, and a gauge of those who wait.
    Queue {
        /// Waits of those who got through.
        times: Times,
        /// Those who wait.
        waiting: String,
        /// A counter that moves when somebody is let in; `None` where the histogram does.
        through: Option<String>,
    },
    /// A value in a unit of time, good while it is not over the bound.
    Gauge {
        /// PromQL.
        expr: String,
        /// Unit of the value.
        unit: TimeUnit,
        /// Which of its values are no values.
        trust: Trust,
    },
    /// One SLI under several names, of which the first that exists is read.
    Generations(Vec<PresetGeneration>),
    /// Why it is not measured.
    None(String),
}

/// A histogram of times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Times {
    /// Selector with the base name.
    pub histogram: String,
    /// Unit of its bounds.
    pub unit: TimeUnit,
    /// Its finite bounds.
    pub buckets: Buckets,
}

/// What is known of a histogram's finite bounds, in its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Buckets {
    /// These, in every installation.
    Fixed(Vec<f64>),
    /// These, unless somebody has configured others.
    Usual(Vec<f64>),
    /// Nothing.
    Unknown,
}

/// One of several names for the same events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PresetGeneration {
    /// What the stack calls it.
    pub name: String,
    /// Labels that this generation calls otherwise: the preset's name, then this generation's.
    pub labels: BTreeMap<String, String>,
    /// What is read; never generations again.
    pub measure: Measure,
}

impl Measure {
    /// Metrics that are read, with base names for histograms, in the order they are named.
    pub fn metrics(&self) -> Vec<String> {
        let name = |text: &str| text.split('{').next().unwrap_or_default().to_owned();
        match self {
            Measure::Ratio { total, part: Part::Bad(part) | Part::Good(part) | Part::Beside(part) } => {
                let mut names = vec![name(total), name(part)];
                names.dedup();
                names
            }
            Measure::Histogram(times) => vec![name(&times.histogram)],
            Measure::Queue { times, waiting, through } => {
                [&times.histogram, waiting].into_iter().chain(through).map(|text| name(text)).collect()
            }
            Measure::Gauge { expr, .. } => super::selector::metrics(expr),
            Measure::Generations(all) => all.iter().flat_map(|one| one.measure.metrics()).collect(),
            Measure::None(_) => Vec::new(),
        }
    }
}

impl Buckets {
    /// The bounds, ascending.
    pub fn bounds(&self) -> &[f64] {
        match self {
            Buckets::Fixed(bounds) | Buckets::Usual(bounds) => bounds,
            Buckets::Unknown => &[],
        }
    }
}

/// Presets under earlier names, which services may still say.
const RENAMED: [(&str, &str); 1] = [("grpc-go", "grpc")];

/// Presets by name: the compiled-in ones, and the user's own before them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Presets {
    own: BTreeMap<String, Preset>,
}

impl Presets {
    /// The preset of this name.
    pub fn get(&self, name: &str) -> Option<&Preset> {
        let renamed = RENAMED.iter().find(|(earlier, _)| *earlier == name).map(|(_, now)| *now);
        self.own.get(name).or_else(|| BUILT_IN.get(renamed.unwrap_or(name)))
    }

    /// All presets, by name.
    pub fn all(&self) -> impl Iterator<Item = &Preset> {
        let names: std::collections::BTreeSet<&str> =
            BUILT_IN.keys().copied().chain(self.own.keys().map(String::as_str)).collect();
        names.into_iter().filter_map(|name| self.get(name))
    }

    /// Names of all presets, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.all().map(|preset| preset.name.as_str()).collect()
    }

    /// Names of the compiled-in presets.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.keys().copied()
    }

    /// Takes in a preset of the user's; the one of that name that was taken in before is handed back.
    pub(crate) fn add(&mut self, preset: Preset) -> Option<Preset> {
        self.own.insert(preset.name.clone(), preset)
    }

    /// A preset of the user's.
    pub(crate) fn own(&self, name: &str) -> Option<&Preset> {
        self.own.get(name)
    }
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../rules/presets/", $name, ".yaml")))),*];
    };
}

built_in!(
    "agentgateway",
    "apisix",
    "bentoml",
    "dynamo",
    "envoy",
    "envoy-ai-gateway",
    "fastapi",
    "feast",
    "flink",
    "gateway-inference",
    "gen-ai",
    "grpc",
    "haproxy",
    "http",
    "ingress-nginx",
    "istio",
    "kafka-lag",
    "knative",
    "kong",
    "kserve",
    "kube-scheduler",
    "kueue",
    "kueue-local-queue",
    "last-success",
    "linkerd",
    "litellm",
    "materialize",
    "micrometer",
    "mlserver",
    "openllmetry",
    "otel-http",
    "ray-serve",
    "sglang",
    "smg",
    "tei",
    "tgi",
    "traefik",
    "triton",
    "trtllm",
    "vllm",
    "volcano",
);

static BUILT_IN: LazyLock<BTreeMap<&'static str, Preset>> = LazyLock::new(|| {
    let load = |&(name, text)| {
        let preset = read::from_text(name, text).unwrap_or_else(|problems| panic!("preset {name}: {problems:#?}"));
        (name, preset)
    };
    FILES.iter().map(load).collect()
});

#[cfg(test)]
mod tests;
