use std::sync::Arc;

use super::*;
use crate::web::fixture::{self, AT};

fn page() -> String {
    render(&fixture::fleet(), &fixture::info(), AT + 21)
}

fn lines_with<'a>(page: &'a str, needle: &str) -> Vec<&'a str> {
    page.lines().filter(|line| line.contains(needle)).collect()
}

#[test]
fn help_and_type_stand_once_before_their_samples_and_every_name_is_in_the_table() {
    let page = page();
    let mut seen = std::collections::BTreeSet::new();
    let mut current = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split(' ').next().expect("a name");
            assert!(seen.insert(current.to_owned()), "{current} has HELP twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert_eq!(rest, format!("{current} gauge"));
        } else {
            assert_eq!(line.split(['{', ' ']).next(), Some(current), "{line}");
        }
    }
    let rendered = names::ALL.iter().filter(|metric| metric.name.contains("_slo_"));
    for metric in rendered {
        assert!(seen.contains(metric.name), "the fixture has no {}", metric.name);
    }
}

#[test]
fn no_sample_stands_twice() {
    let page = page();
    let mut ids: Vec<_> =
        page.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ')).collect();
    let samples = ids.len();
    ids.sort();
    ids.dedup_by_key(|id| id.map(|(series, _)| series));
    assert_eq!(ids.len(), samples);
}

#[test]
fn what_is_not_known_has_no_sample_but_its_state_says_so() {
    let page = page();
    let queue = "slo_id=\"llm-gateway-gpu-queue-time\"";
    let of = |name: &str| lines_with(&page, queue).into_iter().filter(|line| line.starts_with(name)).count();
    for name in [
        names::SLO_BURN_RATE,
        names::SLO_ERROR_RATIO,
        names::SLO_ERROR_BUDGET_REMAINING_RATIO,
        names::SLO_EXHAUSTION_SECONDS,
        names::SLO_WINDOW_EVENTS,
        names::SLO_DATA_AGE_SECONDS,
    ] {
        assert_eq!(of(&format!("{name}{{")), 0, "{name} of an SLO without data");
    }
    let labels = "{slo_id=\"llm-gateway-gpu-queue-time\",service=\"llm-gateway\",slo=\"gpu-queue-time\"";
    for sample in [
        format!("slowburn_slo_state{labels},state=\"unknown\"}} 1"),
        format!("slowburn_slo_data_state{labels},state=\"absent\",reason=\"no_series\"}} 1"),
    ] {
        assert!(page.contains(&sample), "{sample} is missing");
    }
}

#[test]
fn values_are_escaped_and_colliding_labels_are_prefixed() {
    let page = page();
    let labels = r#"{slo_id="search-quo\"ted",service="search",slo="quo\"ted",series_service="a\\b\n\"c\"",series_state="<script>alert(1)</script>""#;
    let sample = format!("slowburn_slo_data_age_seconds{labels}}} 52");
    assert!(page.contains(&sample), "{:#?}", lines_with(&page, "slo_data_age_seconds{slo_id=\"search"));
}

#[test]
fn label_names_prometheus_refuses_are_rewritten_and_stay_apart() {
    let snapshot = fixture::fleet();
    let slo = &snapshot.slos[0].slo;
    let labels: Labels =
        [("__name__", "a"), ("a-b", "b"), ("a.b", "c"), ("1st", "d"), ("series_slo", "e"), ("slo", "f")]
            .into_iter()
            .collect();
    let names: Vec<_> =
        series_labels(slo, &labels).into_iter().skip(3).map(|(name, value)| name + "=" + value).collect();
    assert_eq!(names, ["_st=d", "series___name__=a", "a_b=b", "series_a_b=c", "series_slo=e", "series_series_slo=f"]);
}

#[test]
fn alerts_are_counted_with_their_zeros_and_without_the_inhibited() {
    let page = page();
    assert!(page.contains("slowburn_alerts_firing{severity=\"critical\",sev=\"SEV-1\",kind=\"fast_burn\"} 1\n"));
    assert!(page.contains("slowburn_alerts_firing{severity=\"warning\",sev=\"SEV-3\",kind=\"slow_burn\"} 1\n"));
    assert!(page.contains("slowburn_alerts_firing{severity=\"critical\",sev=\"SEV-2\",kind=\"fast_burn\"} 0\n"));
    assert_eq!(lines_with(&page, "slowburn_alerts_firing{").len(), 30);
}

#[test]
fn before_the_first_evaluation_nothing_is_claimed() {
    let page = render(&Snapshot::default(), &fixture::info(), AT);
    assert!(!page.contains("slowburn_alerts_firing") && !page.contains("slowburn_evaluation_lag_seconds"), "{page}");
    assert!(page.contains("slowburn_build_info{version=\"0.1.0\",config_hash=\"9f2c4e61d0ab77\"} 1\n"), "{page}");
}

#[test]
fn a_deleted_slo_is_gone_with_the_next_scrape() {
    let mut snapshot = fixture::fleet();
    assert!(page().contains("checkout-availability"));
    snapshot.slos.remove(0);
    let page = render(&snapshot, &fixture::info(), AT + 21);
    assert!(!page.contains("slo_id=\"checkout-availability\""), "{page}");
}

#[test]
fn a_value_that_is_not_a_number_has_no_sample() {
    let mut snapshot = fixture::fleet();
    snapshot.slos.truncate(1);
    Arc::make_mut(&mut snapshot.slos[0].series)[0].budget_remaining = Some(f64::NAN);
    Arc::make_mut(&mut snapshot.slos[0].series)[0].exhaustion_s = Some(f64::INFINITY);
    let page = render(&snapshot, &fixture::info(), AT);
    assert!(!page.contains(" NaN") && !page.contains(" inf") && !page.contains("budget_remaining"), "{page}");
}

#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    let snapshot = Arc::new(fixture::fleet());
    assert_eq!(render(&snapshot, &fixture::info(), AT), render(&snapshot.clone(), &fixture::info(), AT));
}

#[test]
fn a_lean_page_has_ten_series_an_slo_at_most_and_one_state_each() {
    let info = Info { metrics_detail: Detail::Lean, ..fixture::info() };
    let fleet = fixture::fleet();
    let lean = render(&fleet, &info, AT + 21);
    for entry in fleet.slos.iter().filter(|entry| entry.series.iter().all(|series| series.budgets.is_empty())) {
        let own = format!("slo_id=\"{}\"", entry.slo.id.replace('"', "\\\""));
        let lines = lines_with(&lean, &own);
        let series = entry.series.len().max(1);
        assert!(lines.len() <= 1 + 9 * series && !lines.is_empty(), "{}: {lines:#?}", entry.slo.id);
        let states = lines.iter().filter(|line| line.starts_with("slowburn_slo_state{")).count();
        assert_eq!(states, entry.series.len(), "{lines:#?}");
    }
    let full = page();
    for line in lean.lines().filter(|line| !line.starts_with('#')) {
        assert!(full.contains(line), "only the lean page has {line}");
    }
}
