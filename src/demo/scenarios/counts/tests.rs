use super::*;

const END: i64 = 1_790_000_010;

/// Samples of the first series that fits, [from, to) in seconds.
fn samples(case: &Case, fits: impl Fn(&crate::engine::Labels) -> bool, from: i64, to: i64) -> Vec<(i64, f64)> {
    let index = case.scenario.series().iter().position(|series| fits(&series.labels)).expect("a series");
    let mut out = Vec::new();
    case.scenario.samples(index, from * 1000, to * 1000 - 1, &mut out);
    out.into_iter().map(|sample| (sample.at_ms, sample.value)).collect()
}

fn case(name: &str) -> Case {
    all(END).into_iter().find(|case| case.name == name).expect("a case")
}

#[test]
fn every_case_has_a_name_and_a_truth_of_its_own() {
    let cases = all(END);
    let names: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    for case in &cases {
        let day = case.scenario.scraped(case.name, END - HOURS * HOUR, END - DAY, END).expect("it is known");
        assert!(day.0 > 1000 && day.1 <= day.0, "{}: {day:?}", case.name);
        let truth = case.scenario.truth(case.name, END - DAY, END).expect("it is known");
        let off = day.0.abs_diff(truth.seen_total) as f64 / truth.seen_total as f64;
        assert!(off < 0.003, "{}: scrapes show {day:?} of {truth:?}", case.name);
    }
}

#[test]
fn no_two_samples_of_a_series_share_a_time() {
    let joined = joined(&all(END));
    let mut times: std::collections::BTreeMap<_, std::collections::BTreeSet<i64>> = std::collections::BTreeMap::new();
    for (index, series) in joined.series().iter().enumerate() {
        let mut out = Vec::new();
        joined.samples(index, (END - HOURS * HOUR) * 1000, END * 1000, &mut out);
        assert!(out.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms), "{}", series.labels);
        // A label that takes its old value again goes on under its old name.
        let of = times.entry(series.labels.clone()).or_default();
        assert!(out.iter().all(|sample| of.insert(sample.at_ms)), "{} is there twice", series.labels);
    }
}

#[test]
fn a_label_is_added_from_one_scrape_to_the_next() {
    let case = case("label-added");
    let of = |team: Option<&'static str>| {
        move |labels: &crate::engine::Labels| {
            labels.get("__name__") == Some(REQUESTS) && labels.get("code") == Some("200") && labels.get("team") == team
        }
    };
    let (before, after) =
        (samples(&case, of(None), END - 3 * HOUR, END), samples(&case, of(Some("pay")), END - 3 * HOUR, END));
    let (last, first) = (before[before.len() - 1], after[0]);
    assert_eq!(first.0 - last.0, 30_000);
    assert!(first.1 > last.1 && first.1 - last.1 < 100.0, "it goes on: {last:?} {first:?}");
}

#[test]
fn a_merged_replica_is_a_second_late_and_a_scrape_old() {
    let case = case("replicas-merged");
    let ok = |labels: &crate::engine::Labels| labels.get("code") == Some("200");
    let seen = samples(&case, ok, END - 2 * HOUR, END);
    let falls: Vec<_> = seen.windows(2).filter(|pair| pair[1].1 < pair[0].1).collect();
    assert!((2..=3).contains(&falls.len()), "{falls:?}");
    assert!(falls.iter().all(|pair| pair[1].0 - pair[0].0 == 1_040));
}

#[test]
fn what_scrapes_show_adds_up_over_windows_that_touch() {
    for case in all(END) {
        let oldest = END - HOURS * HOUR;
        let of = |from, to| case.scenario.scraped(case.name, oldest, from, to).expect("it is known");
        let (whole, cut) = (of(oldest, END), END - 5 * HOUR - 13);
        let (a, b) = (of(oldest, cut), of(cut, END));
        assert_eq!(whole, (a.0 + b.0, a.1 + b.1), "{}", case.name);
    }
}
