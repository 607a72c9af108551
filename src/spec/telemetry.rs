//! Where the events of SLOs come from that have no `sli:`: the service's `telemetry:` names a preset and narrows it to
//! the service's own series.

use super::burn::shown;
use super::indicator::Indicator;
use super::model::{Bound, Generation, Part, SliSource};
use super::preset::{Buckets, Measure, Preset, PresetGeneration, Presets, Times};
use super::problem::Code;
use super::reader::{At, Fields, Report, nearest};
use super::selector::{self, TimeUnit};
use super::sli::{KeyBound, convert, target_labels};
use super::tree::Value;

/// The service's `telemetry:`.
#[derive(Debug)]
pub(crate) struct Telemetry<'a> {
    /// A preset is named that does not exist: said once, not for each SLO.
    pub broken: bool,
    pub preset: Option<&'a Preset>,
    /// The one generation that is read, where the user does not leave the choice to what exists.
    pub generation: Option<&'a str>,
    pub labels: Vec<(String, String)>,
    pub target_labels: Option<Vec<String>>,
}

/// Reads `telemetry:`.
pub(crate) fn read<'a>(at: &At<'a>, presets: &'a Presets, report: &mut Report<'_>) -> Option<Telemetry<'a>> {
    let mut fields = at.map(report)?;
    let preset_at = fields.get("preset");
    let match_at = fields.get("match");
    let generation_at = fields.get("generation");
    let targets = fields.get("target_labels").and_then(|at| target_labels(&at, report));
    let mut preset = None;
    if let Some(at) = &preset_at {
        let name = at.text(report).unwrap_or_default();
        match presets.get(name) {
            Some(found) => preset = Some(found),
            None if name.is_empty() => {}
            None => {
                let names = presets.names();
                let instead = match nearest(name, &names) {
                    Some(word) => format!("preset: {word}"),
                    None => format!("one of {}, or an sli: for each SLO", names.join(", ")),
                };
                report.error(at, Code::UnknownReference, format!("there is no preset {name:?}")).write(instead);
            }
        }
        if let Some(why) = preset.and_then(|preset| preset.experimental.as_ref()) {
            report
                .warn(at, Code::InvalidSli, format!("the preset {name} is experimental: {why}"))
                .write("an sli: for each SLO once you have seen its metrics on a live scrape");
        }
    } else if let Some(at) = match_at.as_ref().or(generation_at.as_ref()) {
        let what = format!("`{}` narrows a preset, and no preset is named", at.key());
        report.error(at, Code::MissingKey, what).write("preset: istio, or another of the presets");
    }
    let labels = match_at.as_ref().map(|at| super::alerting::labels(at, report)).unwrap_or_default();
    let mut generation = None;
    if let Some(known) = preset {
        check_match(&fields, known, &labels, report);
        generation = generation_at.as_ref().and_then(|at| read_generation(at, known, report));
    }
    fields.finish(report);
    let broken = preset_at.is_some() && preset.is_none();
    Some(Telemetry { broken, preset, generation, labels, target_labels: targets })
}

fn read_generation<'a>(at: &At<'a>, preset: &Preset, report: &mut Report<'_>) -> Option<&'a str> {
    let name = at.text(report)?;
    let of = |measure: &Measure| match measure {
        Measure::Generations(all) => all.iter().map(|one| one.name.clone()).collect(),
        _ => Vec::new(),
    };
    let mut known: Vec<String> = preset.slis.values().flat_map(|sli| of(&sli.measure)).collect();
    known.sort();
    known.dedup();
    if known.iter().any(|one| one == name) {
        return Some(name);
    }
    let problem =
        report.error(at, Code::UnknownReference, format!("the preset {} has no generation {name:?}", preset.name));
    problem.write(match known.is_empty() {
        true => "leave generation out".to_string(),
        false => format!("one of {}, or leave it out: the first that exists is read", known.join(", ")),
    });
    None
}

fn check_match(fields: &Fields<'_>, preset: &Preset, labels: &[(String, String)], report: &mut Report<'_>) {
    let name = &preset.name;
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

/// Why a preset gives no source.
#[derive(Debug)]
pub(crate) struct NoSource {
    pub reason: String,
    /// The bound cannot be judged at all, so the file is refused; what to write as the bound, in the unit of the key.
    pub refused: Option<f64>,
}

impl From<String> for NoSource {
    fn from(reason: String) -> Self {
        NoSource { reason, refused: None }
    }
}

/// A source, and what its reader should know of it.
#[derive(Debug)]
pub(crate) struct FromPreset {
    pub source: SliSource,
    pub warnings: Vec<String>,
}

/// The source that a preset gives, or why it gives none.
pub(crate) fn from_preset(
    telemetry: Option<&Telemetry<'_>>,
    indicator: Indicator,
    bound: KeyBound,
) -> Result<FromPreset, NoSource> {
    let Some((telemetry, preset)) = telemetry.and_then(|telemetry| Some((telemetry, telemetry.preset?))) else {
        return Err("no sli: and no telemetry preset says where its events come from".to_string().into());
    };
    let missing = || format!("the preset {} does not measure {}", preset.name, indicator.family().as_str());
    let sli = preset.slis.get(&indicator.family()).ok_or_else(missing)?;
    let has = |(name, _): &&(String, String)| sli.labels.as_ref().is_none_or(|known| known.contains(name));
    let labels: Vec<(String, String)> = telemetry.labels.iter().filter(has).cloned().collect();
    let mut narrowed = Narrowed { labels: &labels, indicator, bound, warnings: Vec::new() };
    narrowed.warnings.extend(not_narrowed(preset, indicator, &telemetry.labels, &labels));
    let source = match &sli.measure {
        Measure::Generations(all) => match telemetry.generation {
            Some(name) => {
                let lacks = || format!("the generation {name} of {} does not measure it", preset.name);
                narrowed.generation(all.iter().find(|one| one.name == name).ok_or_else(lacks)?)?.source
            }
            None => {
                let each: Result<Vec<Generation>, NoSource> = all.iter().map(|one| narrowed.generation(one)).collect();
                SliSource::Generations(each?)
            }
        },
        measure => narrowed.source(measure)?,
    };
    if let Some(why) = &sli.experimental {
        narrowed.warnings.push(format!("{} from the preset {} is experimental: {why}", indicator.name(), preset.name));
    }
    Ok(FromPreset { source, warnings: narrowed.warnings })
}

/// What is said of labels of a match that the series of an SLI do not have: it is not narrowed by them.
fn not_narrowed(
    preset: &Preset,
    indicator: Indicator,
    all: &[(String, String)],
    kept: &[(String, String)],
) -> Option<String> {
    let left: Vec<String> = all.iter().filter(|label| !kept.contains(label)).map(|(name, _)| name.clone()).collect();
    if left.is_empty() {
        return None;
    }
    let rest = match kept.is_empty() {
        true => "so it is judged by all traffic that there is: match the job as well".to_string(),
        false => {
            let kept: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
            format!("so it is narrowed by {} alone", kept.join(", "))
        }
    };
    let (name, labels) = (indicator.name(), left.join(", "));
    Some(format!("{name} of the preset {} has no label {labels}, {rest}", preset.name))
}

/// A preset narrowed to one service and one bound.
struct Narrowed<'t> {
    labels: &'t [(String, String)],
    indicator: Indicator,
    bound: KeyBound,
    warnings: Vec<String>,
}

impl Narrowed<'_> {
    fn generation(&mut self, generation: &PresetGeneration) -> Result<Generation, NoSource> {
        let rename =
            |(name, value): &(String, String)| (generation.labels.get(name).unwrap_or(name).clone(), value.clone());
        let labels: Vec<(String, String)> = self.labels.iter().map(rename).collect();
        let mut own = Narrowed { labels: &labels, indicator: self.indicator, bound: self.bound, warnings: Vec::new() };
        let source = own.source(&generation.measure)?;
        self.warnings.append(&mut own.warnings);
        Ok(Generation { name: generation.name.clone(), source })
    }

    fn source(&mut self, measure: &Measure) -> Result<SliSource, NoSource> {
        Ok(match measure {
            Measure::Ratio { total, part } => {
                let part = match part {
                    Part::Bad(bad) => Part::Bad(self.selector(bad)?),
                    Part::Good(good) => Part::Good(self.selector(good)?),
                    Part::Beside(bad) => Part::Beside(self.selector(bad)?),
                };
                SliSource::Ratio { total: self.selector(total)?, part }
            }
            Measure::Histogram(times) => {
                SliSource::Histogram { selector: self.selector(&times.histogram)?, threshold: self.threshold(times)? }
            }
            Measure::Queue { times, waiting, through } => SliSource::Queue {
                histogram: self.selector(&times.histogram)?,
                threshold: self.threshold(times)?,
                bound_s: self.converted(TimeUnit::Seconds)?,
                waiting: self.selector(waiting)?,
                through: through.as_ref().map(|through| self.selector(through)).transpose()?,
            },
            Measure::Gauge { expr, unit, trust } => {
                let mut expr = selector::gauge(expr).map_err(|fault| fault.what)?;
                selector::narrow(&mut expr, self.labels);
                let bound = Bound::Max(self.converted(*unit)?);
                SliSource::Gauge { expr: expr.to_string(), bound, trust: *trust }
            }
            Measure::Generations(_) => return Err("generations within generations are not read".to_string().into()),
            Measure::None(reason) => return Err(reason.clone().into()),
        })
    }

    fn selector(&self, text: &str) -> Result<String, NoSource> {
        let mut found = selector::selector(text).map_err(|fault| fault.what)?;
        selector::narrow_selector(&mut found, self.labels);
        Ok(found.to_string())
    }

    /// The bound in the unit of the metric.
    fn converted(&self, unit: TimeUnit) -> Result<f64, NoSource> {
        let of_key = self.indicator.unit();
        let (bound, of_key) = self.bound.zip(of_key).ok_or_else(|| "it has no bound of time".to_string())?;
        Ok(convert(bound, of_key, unit))
    }

    /// The bound as a bucket of a histogram: refused over its last one, warned of between two that cannot move.
    fn threshold(&mut self, times: &Times) -> Result<f64, NoSource> {
        let threshold = self.converted(times.unit)?;
        let bounds = times.buckets.bounds();
        // Bounds such as 0.0001 × 1.5²⁹ have more digits than a conversion keeps.
        let same = |bound: &&f64| (**bound - threshold).abs() <= 1e-9 * threshold.abs();
        let threshold = bounds.iter().find(same).copied().unwrap_or(threshold);
        let Some(&top) = bounds.last() else { return Ok(threshold) };
        let of_key = self.indicator.unit().unwrap_or(times.unit);
        let back = |bound: f64| convert(bound, times.unit, of_key);
        let metric = times.histogram.split('{').next().unwrap_or_default();
        let unit = of_key.as_str();
        let fixed = matches!(times.buckets, Buckets::Fixed(_));
        if threshold > top {
            let (said, ends) = (shown(back(threshold)), shown(back(top)));
            if fixed {
                let reason = format!(
                    "{metric} has no bucket over {ends} {unit}: of a bound of {said} {unit} it can say nothing"
                );
                return Err(NoSource { reason, refused: Some(back(top)) });
            }
            self.warnings.push(format!(
                "{metric} usually has no bucket over {ends} {unit}, so a bound of {said} {unit} cannot be judged: \
                 configure its buckets, or choose {ends} {unit}"
            ));
        } else if fixed && !bounds.contains(&threshold) {
            let below = bounds.iter().rev().find(|bound| **bound < threshold);
            let above = bounds.iter().find(|bound| **bound > threshold);
            let near: Vec<String> = below.into_iter().chain(above).map(|bound| shown(back(*bound))).collect();
            self.warnings.push(format!(
                "{metric} has no bucket at {} {unit}: choose {} {unit} to be exact",
                shown(back(threshold)),
                near.join(" or ")
            ));
        }
        Ok(threshold)
    }
}
