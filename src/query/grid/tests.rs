use super::*;
use crate::query::Samples;
use crate::spec::SliSource;
use crate::spec::model::Trust;

const RES_MS: i64 = 30_000;

fn plan(source: SliSource) -> Plan {
    let text = "name: a\nowner: team\nslo: {availability: {objective: 99, sli: {total: t, bad: b}}}\n";
    let mut model = crate::spec::load_text("a.yaml", text).model;
    model.slos[0].source = Ok(source);
    let (plan, refused) = Plan::new(&model);
    assert!(refused.is_empty(), "{refused:?}");
    plan
}

fn gauge(frozen_after: Option<u32>, sentinel_over: Option<f64>) -> Plan {
    gauge_of(Trust { frozen_after, sentinel_over, ..Trust::default() })
}

fn gauge_of(trust: Trust) -> Plan {
    plan(SliSource::Gauge { expr: "max(age_seconds)".into(), bound: Bound::Max(60.0), trust })
}

/// A series with these values, one a slice from slice 0 on.
fn series(pod: &str, values: &[f64]) -> RawSeries {
    let samples = values.iter().zip(1..).map(|(&value, i)| (i * RES_MS, value)).collect();
    RawSeries { labels: vec![("pod".into(), pod.into())].into(), samples: Samples::new(samples) }
}

/// Slices and whether they are bad, and the fault.
fn read(plan: &Plan, answers: &[Vec<RawSeries>], from: i64) -> (Vec<(i64, u64, u64)>, Option<DataReason>) {
    let answers: Vec<_> = plan.fetches.iter().zip(answers).map(|(fetch, rows)| (fetch, rows.as_slice())).collect();
    let mut harvests = values(plan, &Fanout::default(), &answers, from, RES_MS);
    assert_eq!(harvests.len(), 1);
    let harvest = harvests.remove(0);
    (harvest.slices.into_iter().map(|(slice, cell)| (slice, cell.total, cell.bad)).collect(), harvest.fault)
}

#[test]
fn a_gauge_that_stands_still_is_unknown_from_the_slice_on_that_proves_it() {
    let plan = gauge(Some(3), None);
    assert_eq!(plan.fetches[0].context, 3);
    let frozen = series("a", &[7.0, 8.0, 9.0, 9.0, 9.0, 9.0, 9.0, 10.0]);
    let (slices, fault) = read(&plan, &[vec![frozen]], 3);
    assert_eq!(slices, [(3, 1, 0), (4, 1, 0), (7, 1, 0)]);
    assert_eq!(fault, Some(DataReason::Frozen));
    // A value over the bound that does not move is no more to be believed.
    let (slices, _) = read(&plan, &[vec![series("a", &[99.0; 8])]], 4);
    assert_eq!(slices, []);
}

#[test]
fn a_sentinel_under_what_can_be_is_unknown_too() {
    let plan = gauge_of(Trust { sentinel_under: Some(0.0), ..Trust::default() });
    let (slices, fault) = read(&plan, &[vec![series("a", &[30.0, -1.0, 70.0, 0.0])]], 0);
    assert_eq!((slices, fault), (vec![(0, 1, 0), (2, 1, 1), (3, 1, 0)], Some(DataReason::Sentinel)));
    let (slices, fault) = read(&plan, &[vec![series("a", &[-1.0]), series("b", &[70.0])]], 0);
    assert_eq!((slices, fault), (vec![(0, 1, 1)], Some(DataReason::Sentinel)), "a bad one is not hidden");
}

#[test]
fn a_sentinel_is_unknown_and_hides_no_other_series_that_is_bad() {
    let plan = gauge(None, Some(1e9));
    let waiting = series("a", &[1.8e19, 1.8e19, 30.0]);
    let other = series("b", &[5.0, 70.0, 5.0]);
    let (slices, fault) = read(&plan, &[vec![waiting, other]], 0);
    assert_eq!(slices, [(1, 1, 1), (2, 1, 0)]);
    assert_eq!(fault, Some(DataReason::Sentinel));
}

#[test]
fn a_ratio_is_one_event_a_slice_and_no_ratio_is_unknown() {
    let plan = plan(SliSource::Query { bad: "ratio".into(), total: None, why: "raw".into() });
    let (slices, fault) = read(&plan, &[vec![series("a", &[0.25, f64::NAN, 0.0, 1.0000000001, 2.0])]], 0);
    assert_eq!(slices, [(0, 1_000_000, 250_000), (2, 1_000_000, 0), (3, 1_000_000, 1_000_000)]);
    assert_eq!(fault, Some(DataReason::NotANumber));
}

#[test]
fn rates_come_to_whole_events_that_add_up_however_often_they_are_read() {
    let plan = plan(SliSource::Query { bad: "bad".into(), total: Some("total".into()), why: "raw".into() });
    assert_eq!(plan.fetches.iter().map(|f| f.expr.as_str()).collect::<Vec<_>>(), ["bad", "total"]);
    // A third of an event a slice, of which a tenth is bad.
    let (total, bad) = (series("a", &[1.0 / 90.0; 3000]), series("a", &[1.0 / 900.0; 3000]));
    let (whole, fault) = read(&plan, &[vec![bad.clone()], vec![total.clone()]], 0);
    assert_eq!(fault, None);
    let sum = whole.iter().fold((0, 0), |(t, b), of| (t + of.1, b + of.2));
    assert!(sum.0.abs_diff(1000) <= 2 && sum.1.abs_diff(100) <= 2, "{sum:?}");
    assert!(whole.iter().all(|of| of.2 <= of.1));
    let (later, _) = read(&plan, &[vec![bad], vec![total.clone()]], 2000);
    assert_eq!(later, whole[2000..]);
    let (none_bad, _) = read(&plan, &[vec![], vec![total]], 0);
    assert_eq!(none_bad.iter().map(|of| of.2).sum::<u64>(), 0, "bad absent while total is there is 0 bad");
}

#[test]
fn what_is_negative_or_no_number_is_unknown_and_never_no_errors() {
    let plan = plan(SliSource::Query { bad: "bad".into(), total: Some("total".into()), why: "raw".into() });
    let total = series("a", &[1.0; 5]);
    let bad = series("a", &[0.5, -0.5, f64::NAN, -1e-17, f64::INFINITY]);
    let (slices, fault) = read(&plan, &[vec![bad], vec![total.clone()]], 0);
    let shown: Vec<(i64, bool)> = slices.iter().map(|of| (of.0, of.2 > 0)).collect();
    assert_eq!(shown, [(0, true), (3, false)], "{slices:?}");
    assert_eq!(fault, Some(DataReason::NotANumber));
    // One of several: what the others say is no sum.
    let (slices, _) = read(&plan, &[vec![], vec![series("b", &[1.0, f64::NAN]), total]], 0);
    assert_eq!(slices.iter().map(|of| of.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
}

#[test]
fn bad_events_beyond_the_total_are_events_on_every_path() {
    let foreign = plan(SliSource::Query { bad: "bad".into(), total: Some("total".into()), why: "raw".into() });
    let rows = [vec![series("a", &[2.0, 0.1])], vec![series("a", &[0.0, 1.0])]];
    let (slices, fault) = read(&foreign, &rows, 0);
    assert_eq!((slices[0], slices[1].1 >= 30), ((0, 60, 60), true), "{slices:?}");
    assert_eq!(fault, Some(DataReason::BadAboveTotal));

    let part = crate::spec::model::Part::Bad("b".into());
    let counted = plan(SliSource::Ratio { total: "t".into(), part });
    let row = |metric: &str, values: [f64; 3]| RawSeries {
        labels: vec![("__name__".into(), metric.into())].into(),
        samples: Samples::new((1..).map(|at| at * 300_000).zip(values).collect()),
    };
    let rows: Vec<Vec<RawSeries>> = (counted.fetches.iter())
        .map(|fetch| match fetch.metric.as_deref() {
            Some("t") => vec![row("t", [100.0, 0.0, 50.0])],
            _ => vec![row("b", [3.0, 40.0, -2.0])],
        })
        .collect();
    let answers: Vec<(&Fetch, &[RawSeries])> = counted.fetches.iter().zip(rows.iter().map(Vec::as_slice)).collect();
    let spans = &coarse(&counted, &Fanout::default(), &answers, 300, 1.0)[0].spans;
    let counts: Vec<(u64, u64)> = spans.iter().map(|span| (span.total, span.bad)).collect();
    assert_eq!(counts, [(100, 3), (40, 40)], "a total that stands still hides nothing, and -2 errors are unknown");
    let summed = &aggregated(&counted, &Fanout::default(), &answers, 300_000)[0];
    assert_eq!((summed.slices[&1].total, summed.slices[&1].bad), (40, 40));
    assert_eq!(summed.fault, Some(DataReason::NotANumber));
}

/// Availability and latency of one histogram share the request of its count, which is told apart by code then.
#[test]
fn a_count_that_is_told_apart_for_another_sli_still_meets_its_bucket() {
    let slo = |slo: &str| format!("name: a\nowner: t\nslo: {{{slo}}}\n");
    let availability =
        "availability: {objective: 99, sli: {total: h_seconds_count, bad: 'h_seconds_count{code=\"500\"}'}}";
    let latency = "latency_p95_s: {max: 1, method: events, sli: {histogram: h_seconds}}";
    let loaded = crate::spec::load_text("a.yaml", &slo(&format!("{availability}, {latency}")));
    let (plan, refused) = Plan::new(&loaded.model);
    assert!(refused.is_empty() && plan.slis.len() == 2, "{refused:?}");
    let row = |pairs: &[(&str, &str)], value: f64| RawSeries {
        labels: pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        samples: Samples::new(vec![(300_000, value)]),
    };
    let rows_of = |fetch: &Fetch| match fetch.metric.as_deref() {
        Some("h_seconds_count") => vec![row(&[("code", "200")], 90.0), row(&[("code", "500")], 10.0)],
        _ => vec![row(&[("le", "1")], 75.0)],
    };
    let rows: Vec<Vec<RawSeries>> = plan.fetches.iter().map(rows_of).collect();
    let answers: Vec<(&Fetch, &[RawSeries])> = plan.fetches.iter().zip(rows.iter().map(Vec::as_slice)).collect();
    let found: Vec<(String, u64, u64)> = coarse(&plan, &Fanout::default(), &answers, 300, 1.0)
        .into_iter()
        .map(|of| (plan.slis[of.sli].id.clone(), of.spans[0].total, of.spans[0].bad))
        .collect();
    assert_eq!(found, [("a-availability".into(), 100, 10), ("a-latency-p95".into(), 100, 25)]);
}
