//! Every compiled-in preset is whole, and its bounds and units are what they should be.

use super::*;
use crate::spec::selector;

fn measures(preset: &Preset) -> Vec<(&Preset, Family, &Measure)> {
    let mut all = Vec::new();
    for (family, sli) in &preset.slis {
        match &sli.measure {
            Measure::Generations(each) => all.extend(each.iter().map(|one| (preset, *family, &one.measure))),
            one => all.push((preset, *family, one)),
        }
    }
    all
}

#[test]
fn every_preset_loads_and_answers_for_every_family() {
    let presets = Presets::default();
    assert_eq!(presets.names().len(), FILES.len());
    for preset in presets.all() {
        assert!(!preset.labels.is_empty() && !preset.traps.is_empty() && preset.source.is_some(), "{}", preset.name);
        for (word, family) in Family::ALL {
            assert!(preset.slis.contains_key(&family), "{} says nothing of {word}", preset.name);
        }
        let measured = measures(preset).iter().any(|(_, _, measure)| !matches!(measure, Measure::None(_)));
        assert!(measured, "{} measures nothing", preset.name);
    }
}

#[test]
fn a_unit_that_a_name_shows_is_the_unit_that_is_used() {
    for (preset, family, measure) in Presets::default().all().flat_map(measures) {
        let (names, unit) = match measure {
            Measure::Histogram(times) | Measure::Queue { times, .. } => {
                (vec![times.histogram.split('{').next().unwrap_or_default().to_owned()], times.unit)
            }
            Measure::Gauge { expr, unit, .. } => (selector::metrics(expr), *unit),
            _ => continue,
        };
        for name in names {
            let shown = TimeUnit::of_metric(&name);
            assert!(shown.is_none_or(|shown| shown == unit), "{} {}: {name}", preset.name, family.as_str());
        }
    }
}

#[test]
fn no_generation_counts_what_another_one_counts() {
    for preset in Presets::default().all() {
        for sli in preset.slis.values() {
            let Measure::Generations(all) = &sli.measure else { continue };
            let mut names: Vec<String> = all.iter().flat_map(|one| one.measure.metrics()).collect();
            let before = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), before, "{}", preset.name);
        }
    }
}
