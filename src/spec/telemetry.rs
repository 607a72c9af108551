//! Where the events of SLOs come from that have no `sli:`: the service's `telemetry:` names a preset and narrows it to
//! the service's own series.

use super::indicator::Indicator;
use super::model::{Bound, Part, SliSource, Trust};
use super::preset::{Preset, PresetSli};
use super::problem::Code;
use super::reader::{At, Fields, Report, nearest};
use super::selector::{self, TimeUnit};
use super::sli::{KeyBound, convert, label_names};
use super::tree::Value;

/// The service's `telemetry:`.
#[derive(Debug)]
pub(crate) struct Telemetry<'a> {
    /// A preset is named that does not exist: said once, not for each SLO.
    pub broken: bool,
    pub preset: Option<(&'a str, &'static Preset)>,
    pub labels: Vec<(String, String)>,
    pub target_labels: Option<Vec<String>>,
}

/// Reads `telemetry:`.
pub(crate) fn read<'a>(at: &At<'a>, report: &mut Report<'_>) -> Option<Telemetry<'a>> {
    let mut fields = at.map(report)?;
    let preset_at = fields.get("preset");
    let match_at = fields.get("match");
    let target_labels = fields.get("target_labels").and_then(|at| label_names(&at, report));
    let mut preset = None;
    if let Some(at) = &preset_at {
        let name = at.text(report).unwrap_or_default();
        match super::preset::preset(name) {
            Some(found) => preset = Some((name, found)),
            None if name.is_empty() => {}
            None => {
                let names = super::preset::names();
                let instead = match nearest(name, &names) {
                    Some(word) => format!("preset: {word}"),
                    None => format!("one of {}, or an sli: for each SLO", names.join(", ")),
                };
                report.error(at, Code::UnknownReference, format!("there is no preset {name:?}")).write(instead);
            }
        }
    } else if let Some(at) = &match_at {
        report
            .error(at, Code::MissingKey, "`match` narrows a preset, and no preset is named")
            .write("preset: istio, or another of the presets");
    }
    let labels = match_at.as_ref().map(|at| super::alerting::labels(at, report)).unwrap_or_default();
    if let Some((name, known)) = preset {
        check_match(&fields, name, known, &labels, report);
    }
    fields.finish(report);
    let broken = preset_at.is_some() && preset.is_none();
    Some(Telemetry { broken, preset, labels, target_labels })
}

fn check_match(fields: &Fields<'_>, name: &str, preset: &Preset, labels: &[(String, String)], report: &mut Report<'_>) {
    let Some((_, at)) = fields.entries().find(|(key, _)| key.name == "match") else {
        let what = format!("without `match` this service is judged by all traffic that {name} sees");
        report
            .warn(&fields.at, Code::InvalidSli, what)
            .write("match: {LABEL: VALUE}, the labels of this service's series");
        return;
    };
    let known: Vec<&str> = preset.labels.iter().map(String::as_str).collect();
    for (label, _) in labels {
        if !known.contains(&label.as_str()) {
            let what =
                format!("{label:?} is no label that {name} is known to have: if no series has it, there is no data");
            let place = at.node;
            let place = match &place.value {
                Value::Map(entries) => entries.iter().find(|(key, _)| key.name == *label),
                _ => None,
            };
            let Some((key, value)) = place else { continue };
            let here = at.child(value, &key.name);
            report.warn(&here, Code::InvalidSli, what).instead = nearest(label, &known).map(|word| format!("{word}:"));
        }
    }
}

/// The source that a preset gives, or why it gives none.
pub(crate) fn from_preset(
    telemetry: Option<&Telemetry<'_>>,
    indicator: Indicator,
    bound: KeyBound,
) -> Result<SliSource, String> {
    let Some((name, preset)) = telemetry.and_then(|telemetry| telemetry.preset) else {
        return Err("no sli: and no telemetry preset says where its events come from".into());
    };
    let labels = telemetry.map(|telemetry| telemetry.labels.as_slice()).unwrap_or_default();
    let narrowed = |text: &str| {
        let mut found = selector::selector(text).map_err(|fault| fault.what)?;
        selector::narrow_selector(&mut found, labels);
        Ok::<_, String>(found)
    };
    let missing = || format!("the preset {name} does not measure {}", indicator.family().as_str());
    match preset.slis.get(&indicator.family()).ok_or_else(missing)? {
        PresetSli::Ratio { total, bad } => {
            let part = Part::Bad(narrowed(bad)?.to_string());
            Ok(SliSource::Ratio { total: narrowed(total)?.to_string(), part })
        }
        PresetSli::Histogram(metric) => {
            let found = narrowed(metric)?;
            let unit = found.name.as_deref().and_then(TimeUnit::of_metric).ok_or_else(missing)?;
            let (bound, key_unit) = (bound.ok_or_else(missing)?, indicator.unit().ok_or_else(missing)?);
            Ok(SliSource::Histogram { selector: found.to_string(), threshold: convert(bound, key_unit, unit) })
        }
        PresetSli::Gauge(expr) => {
            let mut expr = selector::gauge(expr).map_err(|fault| fault.what)?;
            selector::narrow(&mut expr, labels);
            let unit = TimeUnit::of_expr(&expr).ok_or_else(missing)?;
            let (bound, key_unit) = (bound.ok_or_else(missing)?, indicator.unit().ok_or_else(missing)?);
            Ok(SliSource::Gauge {
                expr: expr.to_string(),
                bound: Bound::Max(convert(bound, key_unit, unit)),
                trust: Trust::default(),
            })
        }
        PresetSli::Absent(reason) => Err(reason.clone()),
    }
}
