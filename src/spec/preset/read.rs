//! A preset's file, read as strictly as a service's.

use std::collections::{BTreeMap, BTreeSet};

use crate::spec::indicator::Family;
use crate::spec::model::SliSource;
use crate::spec::problem::Code;
use crate::spec::reader::{At, Fields, Report, unknown_key};
use crate::spec::selector::TimeUnit;
use crate::spec::{name, selector, sli, tree};

use super::{Buckets, Measure, Preset, PresetGeneration, PresetSli, Times};

const GENERATIONS_MAX: usize = 8;
const BUCKETS_MAX: usize = 200;

/// Reads a compiled-in preset.
pub(super) fn from_text(name: &str, text: &str) -> Result<Preset, Vec<crate::spec::Problem>> {
    let mut report = Report::new(name, text);
    let nodes = tree::parse(text).unwrap_or_default();
    let preset = nodes.first().and_then(|node| read(&At::root(node), &mut report));
    match preset {
        Some(preset) if report.problems.is_empty() && preset.name == name => Ok(Preset { file: None, ..preset }),
        _ => Err(report.problems),
    }
}

/// Reads the document of a preset.
pub(crate) fn read(root: &At<'_>, report: &mut Report<'_>) -> Option<Preset> {
    let mut fields = root.map(report)?;
    let name = fields.need(report, "preset", "our-gateway").and_then(|at| name::read(&at, report));
    report.subject = name.as_ref().map_or("this preset".into(), |name| format!("preset {name}"));
    let about = fields.need(report, "about", "our gateway").and_then(|at| at.text(report)).map(str::to_string);
    let mut optional = |key| fields.get(key).and_then(|at| at.text(report)).map(str::to_string);
    let (source, experimental) = (optional("source"), optional("experimental"));
    let workload = fields.get("workload").and_then(|at| sli::label_names(&at, report)).unwrap_or_default();
    let labels = fields.need(report, "labels", "[service, namespace]").and_then(|at| sli::label_names(&at, report));
    let traps = fields.get("traps").map(|at| texts(&at, report)).unwrap_or_default();
    let slis_at = fields.need(report, "slis", "{availability: {total: ..., bad: ...}}");
    let slis = slis_at.and_then(|at| read_slis(&at, report));
    if let (Some(labels), Some(at)) = (&labels, fields.get("workload")) {
        for label in workload.iter().filter(|label| !labels.contains(label)) {
            let what = format!("the workload label {label:?} is not among `labels`");
            report.error(&at, Code::UnknownReference, what).write(format!("labels: [{label}, ...]"));
        }
    }
    fields.finish(report);
    let file = Some(report.file.to_string());
    let (name, about) = (name?, about?);
    Some(Preset { name, about, source, experimental, workload, labels: labels?, traps, slis: slis?, file })
}

fn texts(at: &At<'_>, report: &mut Report<'_>) -> Vec<String> {
    let items = at.list(report).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.text(report))
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn read_slis(at: &At<'_>, report: &mut Report<'_>) -> Option<BTreeMap<Family, PresetSli>> {
    let known = Family::ALL.map(|(word, _)| word);
    let mut slis = BTreeMap::new();
    for (key, at) in at.map(report)?.entries() {
        match Family::ALL.into_iter().find(|(word, _)| *word == key.name) {
            Some((_, family)) => drop(read_sli(&at, family, report).map(|sli| slis.insert(family, sli))),
            None => unknown_key(report, key, "slis", &known),
        }
    }
    Some(slis)
}

fn read_sli(at: &At<'_>, family: Family, report: &mut Report<'_>) -> Option<PresetSli> {
    let mut fields = at.map(report)?;
    let experimental = fields.get("experimental").and_then(|at| at.text(report)).map(str::to_string);
    let labels = fields.get("labels").and_then(|at| sli::label_names(&at, report));
    let measure = match (fields.get("none"), fields.get("generations")) {
        (Some(reason), None) => reason.text(report).map(|text| Measure::None(text.to_string())),
        (None, Some(all)) => read_generations(&all, family, report).map(Measure::Generations),
        (Some(_), Some(all)) => {
            report.error(&all, Code::InvalidSli, "`none` and `generations` are both given").write("one of them");
            None
        }
        (None, None) => read_measure(&mut fields, family, report),
    };
    fields.finish(report);
    Some(PresetSli { experimental, labels, measure: measure? })
}

fn read_generations(at: &At<'_>, family: Family, report: &mut Report<'_>) -> Option<Vec<PresetGeneration>> {
    let items = at.list(report)?;
    if !(2..=GENERATIONS_MAX).contains(&items.len()) {
        let what = format!("there are from 2 to {GENERATIONS_MAX} generations of an SLI, found {}", items.len());
        report.error(at, Code::InvalidValue, what).write("the SLI itself where there is one generation");
        return None;
    }
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for item in &items {
        let Some(mut fields) = item.map(report) else { continue };
        let name = fields.need(report, "name", "opencensus").and_then(|at| name::read(&at, report));
        let labels = fields.get("labels").map(|at| renamed(&at, report)).unwrap_or_default();
        let measure = read_measure(&mut fields, family, report);
        let place = fields.place_of("name");
        fields.finish(report);
        let (Some(name), Some(measure)) = (name, measure) else { continue };
        if !names.insert(name.clone()) {
            let what = format!("the generation {name:?} is given twice");
            report.error_at(place, &item.path, Code::DuplicateKey, what).write("another name");
        }
        all.push(PresetGeneration { name, labels, measure });
    }
    (all.len() == items.len()).then_some(all)
}

/// `labels: {service: kn_service_name}`.
fn renamed(at: &At<'_>, report: &mut Report<'_>) -> BTreeMap<String, String> {
    let pairs = crate::spec::alerting::labels(at, report);
    for (_, own) in pairs.iter().filter(|(_, own)| !selector::is_label_name(own)) {
        report.error(at, Code::InvalidName, format!("{own:?} is no label name"));
    }
    pairs.into_iter().collect()
}

fn read_measure(fields: &mut Fields<'_>, family: Family, report: &mut Report<'_>) -> Option<Measure> {
    let at = fields.at.clone();
    let keys = ["total", "bad", "good", "histogram", "waiting", "through", "gauge"];
    let [total, bad, good, histogram, waiting, through, gauge] = keys.map(|key| fields.get(key));
    let counters = total.is_some() || bad.is_some() || good.is_some();
    match (counters, histogram, gauge) {
        (true, None, None) => match sli::ratio(&at, total, bad, good, report)? {
            SliSource::Ratio { total, part } => Some(Measure::Ratio { total, part }),
            _ => {
                let what = "a preset's SLI has one selector of each kind: lists are for services";
                report.error(&at, Code::InvalidSli, what).write("one selector");
                None
            }
        },
        (false, Some(metric), None) => {
            if matches!(family, Family::Availability | Family::FeatureFreshness) {
                let what = format!("a histogram of times does not measure {}", family.as_str());
                report.error(&metric, Code::InvalidSli, what).write("total and bad, or gauge");
                return None;
            }
            let found = sli::histogram_selector(&metric, report)?;
            let unit =
                sli::unit(&metric, TimeUnit::of_metric(found.name.as_deref().unwrap_or_default()), fields, report);
            let buckets = fields.get("buckets").map_or(Some(Buckets::Unknown), |at| read_buckets(&at, report));
            let times = Times { histogram: found.to_string(), unit: unit?, buckets: buckets? };
            match waiting {
                Some(at) => {
                    let waiting = sli::read_selector(&at, report)?.to_string();
                    let through = match through {
                        Some(at) => Some(sli::read_selector(&at, report)?.to_string()),
                        None => None,
                    };
                    Some(Measure::Queue { times, waiting, through })
                }
                None => sli::beside_waiting(through.as_ref(), report).then_some(Measure::Histogram(times)),
            }
        }
        (false, None, Some(gauge)) => {
            if family == Family::Availability {
                report
                    .error(&gauge, Code::InvalidSli, "a preset's availability is counted: a gauge has no bound here")
                    .write("total: ..., bad: ...");
                return None;
            }
            let expr = sli::read_gauge(&gauge, report)?;
            let unit = sli::unit(&gauge, TimeUnit::of_expr(&expr), fields, report);
            let trust = sli::trust(fields, report);
            Some(Measure::Gauge { expr: expr.to_string(), unit: unit?, trust })
        }
        (false, None, None) => {
            report
                .error(&at, Code::InvalidSli, "this SLI names no source")
                .write("total and bad, histogram, gauge, generations, or none: \"why not\"");
            None
        }
        _ => {
            report
                .error(&at, Code::InvalidSli, "an SLI has one source, and this one has several")
                .write("one of {total, bad}, {total, good}, {histogram} and {gauge}");
            None
        }
    }
}

/// `buckets: {fixed: [...]}` or `{usual: [...]}`.
fn read_buckets(at: &At<'_>, report: &mut Report<'_>) -> Option<Buckets> {
    let mut fields = at.map(report)?;
    let (fixed, usual) = (fields.get("fixed"), fields.get("usual"));
    fields.finish(report);
    match (fixed, usual) {
        (Some(at), None) => bounds(&at, report).map(Buckets::Fixed),
        (None, Some(at)) => bounds(&at, report).map(Buckets::Usual),
        _ => {
            report
                .error(at, Code::InvalidSli, "buckets are either `fixed` in the stack's source or `usual` by default")
                .write("buckets: {usual: [0.1, 0.5, 1]}");
            None
        }
    }
}

fn bounds(at: &At<'_>, report: &mut Report<'_>) -> Option<Vec<f64>> {
    let items = at.list(report)?;
    let bounds: Vec<f64> = items.iter().filter_map(|item| item.number(report)).collect();
    let rises = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !rises || bounds.is_empty() || bounds.len() > BUCKETS_MAX {
        let what = format!("bounds rise from one to the next, and there are from 1 to {BUCKETS_MAX} of them");
        report.error(at, Code::InvalidValue, what).write(format!("{}: [0.1, 0.5, 1]", at.key()));
        return None;
    }
    (bounds.len() == items.len()).then_some(bounds)
}
