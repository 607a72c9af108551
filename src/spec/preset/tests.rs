//! Every compiled-in preset is whole, and its bounds and units are what they should be.

use std::collections::BTreeSet;

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
            // One metric may stand in several where each demands a label of its own.
            let own = |one: &crate::spec::PresetGeneration| -> Vec<String> {
                let metrics = one.measure.metrics().into_iter();
                let Measure::Ratio { total, .. } = &one.measure else { return metrics.collect() };
                let demanded = total.split(['{', ',', '}']).find(|text| text.ends_with("!=\"\"")).unwrap_or_default();
                metrics.map(|metric| format!("{metric} {demanded}")).collect::<BTreeSet<_>>().into_iter().collect()
            };
            let mut names: Vec<String> = all.iter().flat_map(own).collect();
            let before = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), before, "{}", preset.name);
        }
    }
}

/// The note of the one SLO of a service that this preset answers for, and the problems of its file.
fn service(preset: &str, slo: &str) -> (Result<crate::spec::SliSource, String>, String) {
    let text = format!("name: a\nowner: t\ntelemetry: {{preset: {preset}, match: {{job: a}}}}\nslo: {{{slo}}}\n");
    let loaded = crate::spec::load_text("a.yaml", &text);
    let source = loaded.model.slos.first().map_or(Err("no SLO".into()), |spec| spec.source.clone());
    (source, loaded.render(false))
}

#[test]
fn means_are_refused_as_quantiles_with_the_flag_that_gives_quantiles() {
    for slo in ["latency_p95_ms: 500", "gpu_queue_time_p95_s: 10"] {
        let reason = service("triton", slo).0.expect_err("a mean is no p95");
        assert!(reason.contains("a mean and no p95") && reason.contains("--metrics-config"), "{reason}");
        assert!(reason.contains("summary_latencies=true") && reason.contains("sli: {gauge:"), "{reason}");
    }
    for (preset, slo) in [("haproxy", "latency_p95_ms: 500"), ("knative", "gpu_queue_time_p95_s: 10")] {
        assert!(service(preset, slo).0.is_err(), "{preset} has no quantile");
    }
}

#[test]
fn a_bound_over_the_last_bucket_is_refused_where_buckets_are_fixed() {
    let (_, text) = service("linkerd", "latency_p95_s: 60");
    assert!(text.contains("has no bucket over 50 s") && text.contains("60 s"), "{text}");
    // What a newer version may have is not refused for what an older one had.
    for (preset, slo) in [("volcano", "gpu_queue_time_p95_s: 60"), ("kueue", "gpu_queue_time_p95_s: 14400")] {
        let (source, text) = service(preset, slo);
        assert!(source.is_ok() && text.is_empty(), "{text}");
    }
    let (source, text) = service("fastapi", "latency_p95_s: 2");
    assert!(source.is_ok() && text.contains("usually has no bucket over 1 s"), "{text}");
}

#[test]
fn a_bound_is_the_bucket_to_the_last_digit() {
    for slo in ["latency_p95_s: 12.78340394885894", "latency_p95_ms: 12783.40394885894"] {
        let (source, text) = service("tgi", slo);
        let Ok(crate::spec::SliSource::Histogram { threshold, .. }) = source else { panic!("{text}") };
        assert_eq!(threshold, 12.78340394885894, "{slo}");
    }
}

#[test]
fn a_match_holds_for_the_slis_whose_series_have_the_label_and_it_is_said_where_it_does_not() {
    let text = "name: a\nowner: t\ntelemetry: {preset: feast, match: {feature_view: users, job: feast}}\n\
                slo: {availability: 99.9, feature_freshness_max_delay_s: 60}\n";
    let loaded = crate::spec::load_text("a.yaml", text);
    let source = |id: &str| format!("{:?}", loaded.model.slo(id).expect(id).source);
    let availability = source("a-availability");
    assert!(availability.contains("job=") && !availability.contains("feature_view"), "{availability}");
    let freshness = source("a-feature-freshness");
    assert!(freshness.contains("feature_view=") && freshness.contains("job="), "{freshness}");
    let said = loaded.render(false);
    assert!(said.contains("has no label feature_view, so it is narrowed by job alone"), "{said}");
    let alone = crate::spec::load_text("a.yaml", &text.replace(", job: feast", "")).render(false);
    assert!(alone.contains("so it is judged by all traffic that there is: match the job as well"), "{alone}");
}

#[test]
fn a_preset_that_was_renamed_is_found_under_its_earlier_name() {
    let (source, text) = service("grpc-go", "availability: 99.9");
    assert!(source.is_ok() && text.is_empty(), "{text}");
}
