//! Presets: the metric names of common stacks, so that a service needs to say only which workload it is.
//!
//! They are data (`rules/presets/*.yaml`), compiled in. A preset that cannot measure something says so with the
//! reason, which becomes the reason of an SLO without a source. Deliberately absent: guesses of metric names.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::indicator::Family;
use super::reader::{At, Report};
use super::selector;
use super::tree;

/// The metric names of one stack.
#[derive(Debug)]
pub(crate) struct Preset {
    /// Labels that can be matched on; others are probably typos.
    pub labels: Vec<String>,
    pub slis: BTreeMap<Family, PresetSli>,
}

/// How a stack measures one family.
#[derive(Debug, Clone)]
pub(crate) enum PresetSli {
    Ratio {
        total: String,
        bad: String,
    },
    Histogram(String),
    Gauge(String),
    /// Why it does not.
    Absent(String),
}

const FILES: [(&str, &str); 7] = [
    ("feast", include_str!("../../rules/presets/feast.yaml")),
    ("ingress-nginx", include_str!("../../rules/presets/ingress-nginx.yaml")),
    ("istio", include_str!("../../rules/presets/istio.yaml")),
    ("kueue", include_str!("../../rules/presets/kueue.yaml")),
    ("linkerd", include_str!("../../rules/presets/linkerd.yaml")),
    ("otel-http", include_str!("../../rules/presets/otel-http.yaml")),
    ("vllm", include_str!("../../rules/presets/vllm.yaml")),
];

static PRESETS: LazyLock<BTreeMap<&'static str, Preset>> = LazyLock::new(|| {
    let load = |(name, text)| (name, read(name, text).expect("presets are compiled in and tested"));
    FILES.into_iter().map(load).collect()
});

/// The preset of this name.
pub(crate) fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.get(name)
}

/// Names of all presets, sorted.
pub fn names() -> Vec<&'static str> {
    FILES.iter().map(|(name, _)| *name).collect()
}

fn read(name: &str, text: &str) -> Result<Preset, Vec<super::Problem>> {
    let mut report = Report::new(name, text);
    let preset = read_document(name, text, &mut report);
    match preset {
        Some(preset) if report.problems.is_empty() => Ok(preset),
        _ => Err(report.problems),
    }
}

fn read_document(name: &str, text: &str, report: &mut Report<'_>) -> Option<Preset> {
    let documents = tree::parse(text).ok()?;
    let root = At::root(documents.first()?);
    let mut fields = root.map(report)?;
    let named = fields.get("preset")?.text(report)?;
    let labels = fields.get("labels")?.list(report)?;
    let labels = labels.iter().filter_map(|at| at.text(report)).map(str::to_string).collect();
    let mut slis = BTreeMap::new();
    for (key, at) in fields.get("slis")?.map(report)?.entries() {
        let (_, family) = Family::ALL.into_iter().find(|(word, _)| *word == key.name)?;
        slis.insert(family, read_sli(&at, report)?);
    }
    fields.finish(report);
    (named == name).then_some(Preset { labels, slis })
}

fn read_sli(at: &At<'_>, report: &mut Report<'_>) -> Option<PresetSli> {
    let mut fields = at.map(report)?;
    let mut text = |key| fields.get(key).and_then(|at| at.text(report)).map(str::to_string);
    let plain = |text: &String| selector::selector(text).ok().map(|found| found.to_string());
    let sli = match (text("total"), text("bad"), text("histogram"), text("gauge"), text("none")) {
        (Some(total), Some(bad), None, None, None) => PresetSli::Ratio { total: plain(&total)?, bad: plain(&bad)? },
        (None, None, Some(metric), None, None) => PresetSli::Histogram(plain(&metric)?),
        (None, None, None, Some(expr), None) => PresetSli::Gauge(selector::gauge(&expr).ok()?.to_string()),
        (None, None, None, None, Some(reason)) => PresetSli::Absent(reason),
        _ => return None,
    };
    fields.finish(report);
    Some(sli)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::selector::TimeUnit;

    #[test]
    fn every_preset_loads_and_answers_for_every_family() {
        for name in names() {
            let preset = preset(name).expect(name);
            assert!(!preset.labels.is_empty(), "{name}");
            for (word, family) in Family::ALL {
                let sli = preset.slis.get(&family);
                assert!(sli.is_some(), "{name} says nothing of {word}");
                if let Some(PresetSli::Histogram(metric)) = sli {
                    let metric = selector::selector(metric).expect("a selector");
                    assert!(metric.name.as_deref().and_then(TimeUnit::of_metric).is_some(), "{name} {word}: no unit");
                }
            }
        }
    }
}
