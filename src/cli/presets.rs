//! `slowburn presets`: which stacks are known, what each can measure, and what to know before relying on it.

use std::path::PathBuf;

use clap::Args;

use super::suggested::Suggested;
use super::table::Table;
use super::{Exit, Format, complain, print_out};
use crate::spec::model::Part;
use crate::spec::reader::nearest;
use crate::spec::{self, Buckets, Family, Measure, Preset, Presets, Times, shown};

/// Flags of `slowburn presets`.
#[derive(Debug, Args)]
pub struct PresetsArgs {
    /// The preset to explain; all of them in a table when it is not given
    #[arg(value_parser = Suggested(preset_names), hide_possible_values = true)]
    name: Option<String>,
    /// Files or directories of presets of your own, which win over the compiled-in ones (repeatable)
    #[arg(long, value_name = "PATH")]
    presets: Vec<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Lists or explains.
pub fn presets(args: &PresetsArgs) -> Exit {
    let presets = match known(&args.presets) {
        Ok(presets) => presets,
        Err(text) => {
            complain(text.trim_end());
            return Exit::BadConfig;
        }
    };
    let Some(name) = &args.name else {
        print_out(&match args.format {
            Format::Text => list(&presets),
            Format::Json => json(&presets.all().collect::<Vec<_>>()),
        });
        return Exit::Ok;
    };
    let Some(preset) = presets.get(name) else {
        let names = presets.names();
        let instead = nearest(name, &names).map_or_else(|| names.join(", "), str::to_owned);
        complain(&format!("there is no preset {name:?}\n  = write: slowburn presets {instead}"));
        return Exit::Usage;
    };
    print_out(&match args.format {
        Format::Text => explain(preset),
        Format::Json => json(preset),
    });
    Exit::Ok
}

/// Names of the compiled-in presets: what completions offer.
pub(super) fn preset_names() -> Vec<&'static str> {
    Presets::built_in().collect()
}

/// The compiled-in presets and those under `paths`.
pub(super) fn known(paths: &[PathBuf]) -> Result<Presets, String> {
    if paths.is_empty() {
        return Ok(Presets::default());
    }
    let loaded = spec::load(paths);
    match loaded.is_fatal() {
        true => Err(loaded.render(super::colour_on(&std::io::stderr()))),
        false => Ok(loaded.presets),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("presets have text keys only");
    text.push('\n');
    text
}

fn list(presets: &Presets) -> String {
    let mut table = Table::new([
        "preset",
        "availability",
        "latency",
        "ttfb",
        "gpu_queue_time",
        "feature_freshness",
        "select by",
        "stack",
    ]);
    for preset in presets.all() {
        let cell = |(_, family): (&str, Family)| cell(preset, family).to_owned();
        let [availability, latency, ttfb, queue, freshness] = Family::ALL.map(cell);
        let by = preset.workload.first().cloned().unwrap_or_else(|| "-".into());
        let own = preset.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
        let about = format!("{}{own}", preset.about);
        table.push([preset.name.clone(), availability, latency, ttfb, queue, freshness, by, about]);
    }
    let mut text = table.print();
    text += "\nslowburn presets NAME says what is read and what to know; - is not measured, and NAME says why.\n";
    text
}

fn cell(preset: &Preset, family: Family) -> &'static str {
    match preset.slis.get(&family) {
        None => "-",
        Some(sli) if matches!(sli.measure, Measure::None(_)) => "-",
        Some(sli) if sli.experimental.is_some() || preset.experimental.is_some() => "experimental",
        Some(_) => "yes",
    }
}

fn explain(preset: &Preset) -> String {
    let mut text = format!("{}: {}\n", preset.name, preset.about);
    if let Some(source) = &preset.source {
        text += &format!("read in: {source}\n");
    }
    if let Some(file) = &preset.file {
        text += &format!("from:    {file}\n");
    }
    if let Some(why) = &preset.experimental {
        text += &format!("experimental: {why}\n");
    }
    for (word, family) in Family::ALL {
        let Some(sli) = preset.slis.get(&family) else { continue };
        text += &format!("\n{word}\n");
        if let Some(why) = &sli.experimental {
            text += &format!("  experimental: {why}\n");
        }
        text += &measure(&sli.measure, "  ");
        if let Some(labels) = &sli.labels {
            text += &format!("  labels     {}\n", labels.join(", "));
        }
    }
    text += &format!("\nlabels to match on: {}\n", preset.labels.join(", "));
    if !preset.traps.is_empty() {
        text += "\nto know\n";
        for trap in &preset.traps {
            text += &format!("  - {trap}\n");
        }
    }
    let label = preset.workload.first().or(preset.labels.first()).map_or("service", String::as_str);
    text + &format!("\nwrite\n  telemetry: {{preset: {}, match: {{{label}: VALUE}}}}\n", preset.name)
}

fn measure(measure: &Measure, indent: &str) -> String {
    match measure {
        Measure::None(why) => format!("{indent}not measured: {why}\n"),
        Measure::Ratio { total, part: Part::Bad(bad) } => format!("{indent}all   {total}\n{indent}bad   {bad}\n"),
        Measure::Ratio { total, part: Part::Good(good) } => format!("{indent}all   {total}\n{indent}good  {good}\n"),
        Measure::Ratio { total, part: Part::Beside(bad) } => {
            format!("{indent}good  {total}\n{indent}bad   {bad}\n{indent}all   both together\n")
        }
        Measure::Histogram(found) => times(found, indent),
        Measure::Queue { times: found, waiting, through } => {
            let through = through.as_ref().map_or(String::new(), |through| format!("{indent}through    {through}\n"));
            format!(
                "{}{through}{indent}waiting    {waiting}: a slice in which somebody waits and nobody has been let in for longer than \
                 the bound is bad\n",
                times(found, indent)
            )
        }
        Measure::Gauge { expr, unit, trust } => {
            let mut text = format!("{indent}value  {expr}\n{indent}unit   {}\n", unit.as_str());
            if let Some(slices) = trust.frozen_after {
                text += &format!("{indent}unknown where it has not changed for {slices} slices\n");
            }
            if let Some(over) = trust.sentinel_over {
                text += &format!("{indent}unknown where it is over {}\n", shown(over));
            }
            if let Some(under) = trust.sentinel_under {
                text += &format!("{indent}unknown where it is under {}\n", shown(under));
            }
            text
        }
        Measure::Generations(all) => {
            let mut text = format!("{indent}the first of these that exists:\n");
            for one in all {
                let renamed: Vec<String> = one.labels.iter().map(|(from, to)| format!("{from} is {to}")).collect();
                let renamed = if renamed.is_empty() { String::new() } else { format!(" ({})", renamed.join(", ")) };
                let inner = format!("{indent}  ");
                text += &format!("{indent}{}{renamed}\n{}", one.name, self::measure(&one.measure, &inner));
            }
            text
        }
    }
}

fn times(times: &Times, indent: &str) -> String {
    let listed = |bounds: &[f64]| bounds.iter().map(|bound| shown(*bound)).collect::<Vec<_>>().join(" ");
    let buckets = match &times.buckets {
        Buckets::Fixed(bounds) => listed(bounds),
        Buckets::Usual(bounds) => format!("{} (unless configured otherwise)", listed(bounds)),
        Buckets::Unknown => "unknown: see check --prometheus-url".to_owned(),
    };
    let unit = times.unit.as_str();
    format!("{indent}histogram  {}\n{indent}unit       {unit}\n{indent}buckets    {buckets}\n", times.histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_listed_and_explains_itself() {
        let presets = Presets::default();
        let text = list(&presets);
        for preset in presets.all() {
            assert!(text.contains(&preset.about), "{}", preset.name);
            let whole = explain(preset);
            for sli in preset.slis.values() {
                for metric in sli.measure.metrics() {
                    assert!(whole.contains(&metric), "{whole}");
                }
            }
        }
    }

    #[test]
    fn what_is_shown_of_a_preset_is_what_it_does() {
        let presets = Presets::default();
        let triton = explain(presets.get("triton").expect("it"));
        assert!(triton.contains("summary_latencies=true"), "{triton}");
        let volcano = explain(presets.get("volcano").expect("it"));
        assert!(
            volcano.contains("unit       ms") && volcano.contains(" 120000 (unless configured otherwise)\n"),
            "{volcano}"
        );
        assert_eq!(cell(presets.get("knative").expect("it"), Family::Latency), "experimental");
    }
}
