use std::sync::Arc;

use super::*;
use crate::engine::Unit;
use crate::query::{RawSeries, Selector};
use crate::spec::model::{Bound, Generation, Part, Trust};

fn spec(service: &str, name: &str, source: SliSource) -> SloSpec {
    SloSpec {
        slo: Arc::new(Slo {
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
            weigh: Default::default(),
            severity: vec![],
            by: vec![],
            series_max: 100,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            alerts: BTreeMap::new(),
            mute: Vec::new(),
            resolution_s: None,
        }),
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
fn rates_are_read_together_and_what_is_no_promql_is_refused() {
    let query = |bad: &str, total: Option<&str>| SliSource::Query {
        bad: bad.into(),
        total: total.map(str::to_owned),
        why: "its query cannot be read as counters".into(),
    };
    let good = plan(vec![spec("a", "x", query("sum(rate(e[slice]))", Some("sum(rate(t[slice]))")))]);
    assert_eq!(good.groups(), [vec![0, 1]]);
    assert_eq!(good.fetches[0].on_grid(30), "sum(rate(e[150s]))");
    let remark = &good.notes["a-x"][0];
    assert!(remark.starts_with("approximate: its query cannot be read as counters"), "{remark}");
    for bad in ["sum(rate(e[slice])", "m[slice]", "\"text\"", &"(".repeat(20_000)] {
        let model = Model { slos: vec![spec("a", "x", query(bad, None))], services: vec![] };
        let (plan, refused) = Plan::new(&model);
        assert!(plan.fetches.is_empty() && refused.contains_key("a-x"), "{bad:.40}");
    }
}

fn generations(service: &str) -> SloSpec {
    let ratio = |metric: &str| SliSource::Ratio {
        total: format!(r#"{metric}_total{{model="{service}"}}"#),
        part: Part::Bad(format!(r#"{metric}_errors_total{{model="{service}"}}"#)),
    };
    let all = ["new", "old"].map(|name| Generation { name: name.into(), source: ratio(name) });
    spec(service, "availability", SliSource::Generations(all.into()))
}

#[test]
fn of_several_generations_the_first_that_is_there_is_read_and_never_two() {
    let model = Model { slos: vec![generations("a"), generations("b"), latency("c", 0.5)], services: vec![] };
    let mut probes = Probes::new(&model, |_| true);
    let queries = probes.queries(30);
    assert_eq!(
        queries,
        [
            r#"count by (le, service) (http_request_duration_seconds_bucket{service="c"})"#,
            r#"count by (model) (new_total{model=~"a|b"})"#,
            r#"count by (model) (old_total{model=~"a|b"})"#,
            r#"http_request_duration_seconds{service="c"}"#,
            r#"sum by (le, service) (http_request_duration_seconds_bucket{service="c"})"#,
        ]
    );
    let row = |pairs: &[(&str, &str)]| RawSeries {
        labels: labels(pairs).into(),
        samples: crate::query::Samples::new(vec![(0, 2.0)]),
    };
    let bucket = |le: &str| row(&[("service", "c"), ("le", le)]);
    probes.take(0, &[bucket("+Inf"), bucket("1.0"), bucket("0.25")]);
    probes.take(1, &[row(&[("model", "b")])]);
    probes.take(2, &[row(&[("model", "a")]), row(&[("model", "b")])]);
    assert!(probes.fail(3, true), "a server without native histograms has none");
    let mut survey = Survey::default();
    assert_eq!(survey.learn(probes.known()).len(), 3);
    assert_eq!(survey.of("c-latency-p95").map(|known| known.bounds.clone()), Some(vec![0.25, 1.0]));
    let (plan, refused) = Plan::surveyed(&model, &survey);
    assert!(refused.is_empty(), "{refused:?}");
    let exprs: Vec<&str> = plan.fetches.iter().map(|f| f.expr.as_str()).collect();
    for expected in [r#"old_total{model="a"}"#, r#"new_total{model="b"}"#] {
        assert!(exprs.contains(&expected), "{exprs:?}");
    }
    assert_eq!(plan.notes["a-availability"], ["of the names that the preset knows (new, old) it reads those of old"]);
}

#[test]
fn what_falls_silent_is_read_on_until_another_generation_is_found() {
    let model = Model { slos: vec![generations("a")], services: vec![] };
    let known = |generation| Known { generation, ..Known::default() };
    let mut survey = Survey::default();
    survey.learn(BTreeMap::from([("a-availability".into(), known(Some(1)))]));
    assert!(survey.learn(BTreeMap::from([("a-availability".into(), known(None))])).is_empty());
    let read = |survey: &Survey| Plan::surveyed(&model, survey).0.fetches[0].expr.clone();
    assert!(read(&survey).starts_with("old_"));
    survey.learn(BTreeMap::from([("a-availability".into(), known(Some(0)))]));
    assert!(read(&survey).starts_with("new_"));
    // A query that failed says nothing of what it asked about.
    let mut probes = Probes::new(&model, |_| true);
    assert!(!probes.fail(0, false));
    assert!(probes.known().is_empty());
}

/// As services are called where there are many of them.
fn long_name(i: usize) -> String {
    format!("payments-gateway-eu-west-1-{i:04}")
}

#[test]
fn any_number_of_services_with_ordinary_names_is_planned_in_requests_of_bounded_length() {
    for fleet in [400, 1_000] {
        let slos = (0..fleet).flat_map(|i| [availability(&long_name(i)), latency(&long_name(i), 0.25)]).collect();
        let plan = plan(slos);
        assert!(plan.fetches.iter().all(|fetch| fetch.expr.len() <= 8 * 1024));
        // 41 bytes each: about 198 to a request, and three requests of each of them.
        let least = 3 * fleet.div_ceil(200);
        assert!((least..=least + 6).contains(&plan.fetches.len()), "{fleet}: {}", plan.fetches.len());
        let mut asked: Vec<usize> = plan.fetches.iter().flat_map(|fetch| fetch.slis.iter().copied()).collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), 2 * fleet, "each SLO is asked for");
        // The count of a histogram and its buckets are cut at the same services: no group hangs on to the next.
        assert!(plan.groups().iter().all(|group| group.len() <= 2));
    }
}

#[test]
fn one_that_cannot_be_printed_is_refused_alone() {
    // A name that PromQL takes only between quotes does not print yet as it was read.
    let odd = |service: &str| {
        let total = format!(r#"{{"http.requests", service="{service}"}}"#);
        let part = Part::Bad(format!(r#"{{"http.requests", service="{service}", code="500"}}"#));
        spec(service, "availability", SliSource::Ratio { total, part })
    };
    let long = |service: &str| {
        let total = format!(r#"http_requests_total{{service="{service}",path="{}"}}"#, "x".repeat(20_000));
        let part = Part::Bad(format!(r#"http_requests_total{{service="{service}",code="500"}}"#));
        spec(service, "availability", SliSource::Ratio { total, part })
    };
    let mut slos = vec![long("long"), availability("a"), odd("odd"), availability("b"), latency("c", 0.5)];
    slos.sort_by(|a, b| a.slo.id.cmp(&b.slo.id));
    let (plan, refused) = Plan::new(&Model { slos, services: vec![] });
    assert!(refused["long-availability"].contains("at most 16384 are read"), "{refused:?}");
    let left_out: Vec<&str> = refused.keys().map(String::as_str).collect();
    let asked = |id: &str| {
        let sli = plan.slis.iter().position(|sli| sli.id == id).expect(id);
        plan.fetches.iter().filter(|fetch| fetch.slis.contains(&sli)).count()
    };
    for id in left_out {
        assert_eq!(asked(id), 0, "{id}: nothing is asked for, or all of it");
        assert!(!plan.notes[id].is_empty());
    }
    assert_eq!((asked("a-availability"), asked("b-availability"), asked("c-latency-p95")), (1, 1, 2));
}

/// A selector that reads but does not read back as what was meant.
fn unprintable(sli: usize, selector: &str) -> Use {
    let mut selector = Selector::parse(selector).expect("a selector");
    // What is printed is read in the order of names.
    selector.matchers.reverse();
    Use { sli, role: Role::Total, selector, le: None, spelled: Vec::new(), native: false }
}

#[test]
fn a_request_that_does_not_print_is_cut_until_the_one_that_spoils_it_is_alone() {
    let fine = |sli: usize| {
        let selector = Selector::parse(&format!(r#"m{{service="{sli}"}}"#)).expect("a selector");
        Use { sli, role: Role::Total, selector, le: None, spelled: Vec::new(), native: false }
    };
    let mut uses: Vec<Use> = (0..9).map(fine).collect();
    // It shares nothing but its SLI with the others: what it has elsewhere is not asked for either.
    uses.push(unprintable(4, r#"n{a!="4",b!="x"}"#));
    uses.push(unprintable(7, r#"n{a!="7",b!="x"}"#));
    let slis = vec![Sli::default(); 9];
    let merged = merge::merge(Ask::Counter, &uses.iter().collect::<Vec<_>>(), &slis);
    assert_eq!(merged.refused.keys().copied().collect::<Vec<_>>(), [4, 7]);
    assert_eq!(merged.fetches.len(), 1);
    assert_eq!(merged.fetches[0].slis, [0, 1, 2, 3, 5, 6, 8]);
}
