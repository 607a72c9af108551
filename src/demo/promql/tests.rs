//! Hand-computed cases; the long list is in the conformance test, against a real Prometheus.

use super::*;
use crate::demo::count::{Count, Shape, Timeline, Traffic};
use crate::demo::scenario::{Gauge, Pod};

/// One pod, scraped at 0, 30, 60, ...: ten requests a second, one of them bad from 300 s on, a restart at 615 s, a gauge.
fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 0, 0).restarts([615]));
    let all = Count::of(Traffic { rate: 10.0, shape: Shape::Flat, wobble: None, origin: 0 });
    let bad = all.part(&Timeline::new(0.0).during(300, 10_000, 0.1));
    scenario.counter(pod, "requests_total", &[("code", "200")], &all.without(&bad));
    scenario.born_counter(pod, "requests_total", &[("code", "500")], &bad);
    scenario.gauge(pod, "age_seconds", &[], Gauge::Age { period_s: 40, stalls: vec![] });
    scenario
}

fn instant(query: &str, at_s: i64) -> Result<Answer, Refusal> {
    let scenario = scenario();
    let data = Data { scenario: &scenario, now_ms: 3_600_000, deadline: None, left_open: false };
    Ok(Query::parse(query)?.instant(data, at_s * 1000)?.0)
}

/// Values of a vector (or a scalar) in label order.
fn values(query: &str, at_s: i64) -> Vec<f64> {
    match instant(query, at_s) {
        Ok(Answer::Vector(elements)) => elements.into_iter().map(|(_, sample)| sample.value).collect(),
        Ok(Answer::Scalar(sample)) => vec![sample.value],
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn a_range_is_closed_at_both_ends() {
    let Ok(Answer::Matrix(rows)) = instant("requests_total{code=\"200\"}[60s]", 120) else { panic!("a matrix") };
    let times: Vec<i64> = rows[0].points.iter().map(|point| point.at_ms).collect();
    assert_eq!(times, [60_000, 90_000, 120_000]);
}

#[test]
fn the_lookback_is_five_minutes_and_closed() {
    let scenario = scenario();
    let asked = |now_s: i64, at_s: i64| {
        let data = Data { scenario: &scenario, now_ms: now_s * 1000, deadline: None, left_open: false };
        let answer = Query::parse("age_seconds").expect("a selector").instant(data, at_s * 1000).expect("an answer");
        matches!(answer.0, Answer::Vector(elements) if elements.len() == 1)
    };
    assert!(asked(60, 360), "exactly five minutes after the newest sample");
    assert!(!asked(60, 361));
}

#[test]
fn from_three_on_the_beginning_of_a_range_is_left_out() {
    let scenario = scenario();
    let ask = |query: &str, at_s: i64| {
        let data = Data { scenario: &scenario, now_ms: 3_600_000, deadline: None, left_open: true };
        Query::parse(query).expect("a query").instant(data, at_s * 1000).expect("an answer").0
    };
    let Answer::Matrix(rows) = ask("requests_total{code=\"200\"}[60s]", 120) else { panic!("a matrix") };
    assert_eq!(rows[0].points.iter().map(|point| point.at_ms).collect::<Vec<_>>(), [90_000, 120_000]);
    let Answer::Vector(rows) = ask("requests_total{code=\"200\"} offset -1h", 300) else { panic!("a vector") };
    assert!(rows.is_empty(), "the newest sample is exactly five minutes old");
}

#[test]
fn a_subquery_is_asked_at_multiples_of_its_step() {
    let count = |query: &str, at_s: i64| values(&format!("count_over_time({query})"), at_s);
    assert_eq!(count("vector(1)[2m:30s]", 600), [5.0], "both ends are in it");
    assert_eq!(count("vector(1)[2m:30s]", 610), [4.0]);
    assert_eq!(count("vector(1)[2m:30s] offset 10s", 610), [5.0]);
    assert_eq!(count("vector(1)[2m:30s] @ 610", 3000), [4.0]);
    assert_eq!(count("vector(1)[5m:]", 600), [6.0], "a minute where it says none");
    // The age is the time since a multiple of 40 s: at 480, 510, ... it is 0, 30, 20, 10, 0.
    assert_eq!(values("max_over_time((max(age_seconds))[2m:30s])", 600), [30.0]);
    assert_eq!(values("max_over_time((max(age_seconds) <= 25)[2m:30s])", 600), [20.0]);
    assert_eq!(values("max_over_time(max_over_time((age_seconds)[1m:30s])[1m:1m])", 600), [30.0]);
    // A counter that a rule summed falls with the restart, which is bridged as that of any other.
    let [whole] = values("increase(sum(requests_total)[10m:30s])", 900)[..] else { panic!("one value") };
    let [plain] = values("sum(increase(requests_total[10m]))", 900)[..] else { panic!("one value") };
    assert!((whole / plain - 1.0).abs() < 0.02, "{whole} {plain}");
    let scenario = scenario();
    let data = Data { scenario: &scenario, now_ms: 3_600_000, deadline: None, left_open: true };
    let query = Query::parse("count_over_time(vector(1)[2m:30s])").expect("a query");
    let Answer::Vector(rows) = query.instant(data, 600_000).expect("an answer").0 else { panic!("a vector") };
    assert_eq!(rows[0].1.value, 4.0, "from three on the beginning is left out");
}

#[test]
fn increase_extrapolates_to_the_ends_of_its_window() {
    // Samples at 60, 90, 120: 10/s over 60 s, 5 s missing before and after, both closer than 1.1 intervals.
    assert_eq!(values("increase(requests_total{code=\"200\"}[70s])", 125), [700.0]);
    // From 0.8 s after a sample on: the first gap of 29.2 s counts whole, too.
    assert_eq!(values("rate(requests_total{code=\"200\"}[2m])", 150), [10.0]);
    // One sample is not enough.
    assert!(values("increase(requests_total{code=\"200\"}[20s])", 125).is_empty());
}

#[test]
fn increase_bridges_a_restart_but_not_what_died() {
    // The scrape at 600 s sees second 600; the 14 seconds up to the restart at 615 s are gone.
    assert_eq!(values("sum(increase(requests_total[2m]))", 660), [1_200.0 - 140.0]);
    assert_eq!(values("resets(requests_total{code=\"200\"}[2m])", 660), [1.0]);
}

#[test]
fn the_summed_difference_of_two_moments_survives_resets_and_births() {
    let query = "sum by (job) (((requests_total - requests_total offset 30s) >= 0) \
                 or (requests_total and on (job, instance) (requests_total offset 30s)))";
    assert_eq!(values(query, 120), [300.0]);
    // The 500s are born between 270 and 300: their first value counts.
    assert_eq!(values(query, 300), [300.0]);
    // After the restart: what both series count since then.
    assert_eq!(values(query, 630), [160.0]);
}

#[test]
fn operators_match_as_they_are_told() {
    assert_eq!(
        values("requests_total{code=\"500\"} / ignoring (code) requests_total{code=\"200\"} > 0.01", 600).len(),
        1
    );
    assert!(values("requests_total / on (instance) group_left age_seconds > 1e9", 590).is_empty());
    assert_eq!(values("requests_total unless requests_total{code=\"500\"}", 600).len(), 1);
    assert_eq!(values("1 + 2 * 3 - -1", 0), [8.0]);
    assert_eq!(values("time() - process_start_time_seconds", 700), [85.0]);
    assert!(matches!(instant("requests_total * on (job) requests_total", 600), Err(Refusal::Execution(_))));
}

#[test]
fn a_quantile_is_linear_within_its_bucket() {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 0, 0));
    let all = Count::of(Traffic { rate: 10.0, shape: Shape::Flat, wobble: None, origin: 0 });
    for (le, share) in [("0.1", 0.5), ("0.2", 0.9), ("+Inf", 1.0)] {
        scenario.counter(pod, "d_bucket", &[("le", le)], &all.share(share));
    }
    let data = Data { scenario: &scenario, now_ms: 3_600_000, deadline: None, left_open: false };
    let ask = |query: &str| match Query::parse(query).expect("a query").instant(data, 999_000) {
        Ok((Answer::Vector(elements), _)) => elements[0].1.value,
        other => panic!("{other:?}"),
    };
    assert!((ask("histogram_quantile(0.7, d_bucket)") - 0.15).abs() < 1e-4);
    assert!((ask("histogram_quantile(0.25, d_bucket)") - 0.05).abs() < 1e-4);
    assert_eq!(ask("histogram_quantile(0.95, d_bucket)"), 0.2);
    assert_eq!(ask("histogram_quantile(2, d_bucket)"), f64::INFINITY);
    assert!(ask("histogram_quantile(0.5, d_bucket{le!=\"+Inf\"})").is_nan());
}

#[test]
fn the_future_is_not_visible() {
    let scenario = scenario();
    let data = Data { scenario: &scenario, now_ms: 100_000, deadline: None, left_open: false };
    let (answer, stats) = Query::parse("age_seconds[10m]").expect("a query").instant(data, 600_000).expect("an answer");
    let Answer::Matrix(rows) = answer else { panic!("a matrix") };
    assert_eq!(rows[0].points.iter().map(|point| point.at_ms).max(), Some(90_000));
    assert_eq!(stats.queryable, 4);
}

#[test]
fn a_range_query_leaves_out_moments_without_samples() {
    let scenario = scenario();
    let data = Data { scenario: &scenario, now_ms: 3_600_000, deadline: None, left_open: false };
    let steps = Steps { start_ms: 240_000, end_ms: 330_000, step_ms: 30_000 };
    let query = Query::parse("requests_total{code=\"500\"}").expect("a query");
    let (Answer::Matrix(rows), _) = query.range(data, steps).expect("an answer") else { panic!("a matrix") };
    assert_eq!(rows[0].points.iter().map(|point| point.at_ms / 1000).collect::<Vec<_>>(), [300, 330]);
}

#[test]
fn what_it_does_not_know_it_refuses_by_name() {
    for (query, named) in [
        ("bottomk(3, requests_total)", "bottomk"),
        ("quantile_over_time(0.5, age_seconds[5m])", "quantile_over_time"),
        ("requests_total[5m:30s]", "a subquery outside a function"),
        ("label_replace(requests_total, \"a\", \"b\", \"c\", \"d\")", "label_replace"),
        ("sort(requests_total)", "sort"),
    ] {
        match instant(query, 600) {
            Err(Refusal::Execution(why)) => assert!(why.contains("does not support") && why.contains(named), "{why}"),
            other => panic!("{query}: {other:?}"),
        }
    }
    assert!(matches!(instant("requests_total{a=\"x\" or b=\"y\"}", 600), Err(Refusal::BadData(_))));
}

#[test]
fn a_query_that_could_exhaust_the_stack_is_refused() {
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let unary = format!("{}1", "-".repeat(60_000));
    let wide = vec!["up"; 5_000].join(" and ");
    for query in [deep, unary, wide] {
        assert!(matches!(Query::parse(&query), Err(Refusal::BadData(_))));
    }
    // Quoted text is no depth: a regex over many services passes.
    let services = vec!["(a-b+c)"; 900].join("|");
    assert!(Query::parse(&format!("requests_total{{service=~\"{services}\"}}[45s]")).is_ok());
}

#[test]
fn a_deadline_that_has_passed_stops_the_evaluation() {
    let scenario = scenario();
    let data = Data { scenario: &scenario, now_ms: 3_600_000, deadline: Some(Instant::now()), left_open: false };
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert!(matches!(Query::parse("1").expect("a query").instant(data, 0), Err(Refusal::Timeout(_))));
}
