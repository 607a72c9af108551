use super::*;
use crate::engine::{Slo, Unit};
use crate::spec::SloSpec;
use crate::spec::model::Trust;

fn spec(service: &str, name: &str, source: SliSource) -> SloSpec {
    SloSpec {
        slo: Slo {
            id: format!("{service}-{name}"),
            service: service.into(),
            name: name.into(),
            owner: "team".into(),
            objective: 99.9,
            window_s: 30 * 86_400,
            terms: Default::default(),
            unit: Unit::Events,
            burn: vec![],
            confidence: None,
            severity: vec![],
            by: vec![],
            series_max: 100,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            mute: Vec::new(),
        },
        source: Ok(source),
        target_labels: vec!["job".into(), "instance".into()],
        origin: None,
    }
}

fn availability(service: &str) -> SloSpec {
    spec(
        service,
        "availability",
        SliSource::Ratio {
            total: format!(r#"http_requests_total{{service="{service}"}}"#),
            part: Part::Bad(format!(r#"http_requests_total{{service="{service}",code=~"5.."}}"#)),
        },
    )
}

fn latency(service: &str, threshold: f64) -> SloSpec {
    spec(
        service,
        "latency-p95",
        SliSource::Histogram {
            selector: format!(r#"http_request_duration_seconds{{service="{service}"}}"#),
            threshold,
        },
    )
}

fn plan(mut slos: Vec<SloSpec>) -> Plan {
    slos.sort_by(|a, b| a.slo.id.cmp(&b.slo.id));
    let (plan, refused) = Plan::new(&Model { slos, services: vec![] });
    assert!(refused.is_empty(), "{refused:?}");
    plan
}

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut labels: Vec<_> = pairs.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
    labels.sort();
    labels
}

#[test]
fn twenty_services_of_one_stack_are_three_requests() {
    let slos = (0..20).flat_map(|i| [availability(&format!("s{i:02}")), latency(&format!("s{i:02}"), 0.25)]).collect();
    let plan = plan(slos);
    let exprs: Vec<&str> = plan.fetches.iter().map(|f| f.expr.as_str()).collect();
    assert_eq!(exprs.len(), 3, "{exprs:#?}");
    assert!(exprs[0].starts_with("http_request_duration_seconds_bucket{le=") && exprs[0].contains("s00|s01"));
    assert!(plan.fetches.iter().all(|f| f.slis.len() == 20));
}

#[test]
fn a_raw_series_goes_only_where_its_own_selector_sends_it() {
    let plan = plan(vec![availability("a"), availability("b"), latency("a", 1.0)]);
    let uses = |pairs: &[(&str, &str)]| -> Vec<(String, Role)> {
        plan.uses_of(&labels(pairs)).into_iter().map(|(sli, role)| (plan.slis[sli].id.clone(), role)).collect()
    };
    assert_eq!(
        uses(&[("__name__", "http_requests_total"), ("service", "a"), ("code", "503")]),
        [("a-availability".into(), Role::Total), ("a-availability".into(), Role::Bad)]
    );
    assert_eq!(
        uses(&[("__name__", "http_requests_total"), ("service", "b"), ("code", "200")]),
        [("b-availability".into(), Role::Total)]
    );
    assert_eq!(uses(&[("__name__", "http_requests_total"), ("service", "c"), ("code", "500")]), []);
    for le in ["1", "1.0", "1e0", "1.00"] {
        let name = "http_request_duration_seconds_bucket";
        assert_eq!(
            uses(&[("__name__", name), ("service", "a"), ("le", le)]),
            [("a-latency-p95".into(), Role::Good)],
            "{le}"
        );
        assert_eq!(uses(&[("__name__", name), ("service", "a"), ("le", "0.5")]), []);
    }
}

#[test]
fn a_bad_selector_that_total_does_not_contain_is_asked_for_and_paired() {
    let plan = plan(vec![spec(
        "a",
        "jobs",
        SliSource::Ratio {
            total: r#"jobs_total{app="a"}"#.into(),
            part: Part::Bad(r#"jobs_failed_total{app="a"}"#.into()),
        },
    )]);
    assert_eq!(plan.fetches.len(), 2);
    assert!(plan.slis[0].paired);
    assert!(!plan.slis[0].good_part);
}

#[test]
fn gauges_of_one_metric_share_a_request_and_expressions_stand_alone() {
    let gauge = |service: &str, expr: &str| {
        spec(
            service,
            "freshness",
            SliSource::Gauge { expr: expr.into(), bound: Bound::Max(60.0), trust: Trust::default() },
        )
    };
    let plan = plan(vec![
        gauge("a", r#"age_seconds{view="a"}"#),
        gauge("b", r#"age_seconds{view="b"}"#),
        gauge("c", r#"time() - last_success_timestamp_seconds{job="c"}"#),
    ]);
    let exprs: Vec<&str> = plan.fetches.iter().map(|f| f.expr.as_str()).collect();
    assert_eq!(exprs, [r#"age_seconds{view=~"a|b"}"#, r#"time() - last_success_timestamp_seconds{job="c"}"#]);
}

#[test]
fn bounds_are_spelled_as_exporters_do() {
    assert_eq!(le_spellings(0.25), ["0.25"]);
    assert_eq!(le_spellings(1.0), ["1", "1.0"]);
    assert_eq!(le_spellings(1e6), ["1000000", "1000000.0", "1e+06"]);
    assert!(le_spellings(0.00001).contains(&"1e-05".to_owned()));
}
