use super::*;
use crate::demo::count::{Shape, Traffic};

fn ten_a_second() -> Count {
    Count::of(Traffic { rate: 10.0, shape: Shape::Flat, wobble: None, origin: 0 })
}

fn samples(scenario: &Scenario, name: &str, from_s: i64, to_s: i64) -> Vec<(i64, f64)> {
    let index = scenario.series().iter().position(|s| s.labels.get("__name__") == Some(name)).expect("a series");
    let mut out = Vec::new();
    scenario.samples(index, from_s * 1000, to_s * 1000, &mut out);
    out.iter().map(|s| (s.at_ms, s.value)).collect()
}

#[test]
fn a_restart_counts_from_zero_and_loses_what_no_scrape_saw() {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 5_000, 1000).restarts([1100]));
    let all = ten_a_second();
    scenario.counter(pod, "requests_total", &[], &all);
    scenario.truth_of("availability", pod, &all, &all.share(0.5));
    assert_eq!(
        samples(&scenario, "requests_total", 1000, 1200),
        // Scrapes at 1025, 1055, 1085 of the first life, 1115, 1145, 1175 of the second.
        [(1025, 26), (1055, 56), (1085, 86), (1115, 16), (1145, 46), (1175, 76)]
            .map(|(s, v)| (s * 1000, f64::from(v) * 10.0))
    );
    let truth = scenario.truth("availability", 1000, 1200).expect("known");
    // Seconds 1086..1100 are lost.
    assert_eq!(truth, Truth { total: 2000, bad: 1000, seen_total: 1860, seen_bad: 930 });
    let starts = samples(&scenario, "process_start_time_seconds", 1080, 1120);
    assert_eq!(starts, [(1_085_000, 1000.0), (1_115_000, 1100.0)]);
}

#[test]
fn a_hole_has_no_samples_and_loses_nothing() {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 0, 0).hole(600, 1200));
    let all = ten_a_second();
    scenario.counter(pod, "requests_total", &[], &all);
    scenario.truth_of("availability", pod, &all, &all.share(0.1));
    let seen = samples(&scenario, "requests_total", 540, 1260);
    assert_eq!(seen.iter().map(|s| s.0 / 1000).collect::<Vec<_>>(), [540, 570, 1200, 1230, 1260]);
    let truth = scenario.truth("availability", 0, 2000).expect("known");
    assert_eq!(truth.total, truth.seen_total);
}

#[test]
fn a_restart_inside_a_hole_loses_everything_since_the_hole_began() {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 0, 0).hole(600, 1200).restarts([1000]));
    let all = ten_a_second();
    scenario.truth_of("availability", pod, &all, &all.share(0.1));
    let truth = scenario.truth("availability", 0, 2000).expect("known");
    assert_eq!(truth.total - truth.seen_total, (1000 - 571) * 10);
}

#[test]
fn a_born_series_appears_with_its_first_event_in_each_life() {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 0, 0).restarts([1000]));
    let errors = ten_a_second().part(&Timeline::new(0.0).during(300, 301, 0.1).during(1095, 1096, 0.1));
    scenario.born_counter(pod, "requests_total", &[("code", "500")], &errors);
    let seen = samples(&scenario, "requests_total", 0, 1200);
    assert_eq!(seen.first(), Some(&(300_000, 1.0)));
    let second_life: Vec<_> = seen.iter().filter(|s| s.0 >= 1_000_000).collect();
    assert_eq!(second_life.first(), Some(&&(1_110_000, 1.0)));
}

#[test]
fn a_window_says_what_walking_through_it_would() {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 7_250, 100).restarts([3000, 3100, 3200, 3210, 7000]).hole(5000, 5600));
    let all = ten_a_second();
    scenario.counter(pod, "a_total", &[], &all);
    scenario.born_counter(pod, "b_total", &[], &all.part(&Timeline::new(0.0005)));
    scenario.gauge(pod, "c", &[], Gauge::Age { period_s: 400, stalls: vec![] });
    for index in 0..scenario.series().len() {
        for from in (0..9_000_000).step_by(137_000) {
            for length in [0, 20_000, 90_000, 3_600_000] {
                let mut walked = Vec::new();
                scenario.samples(index, from, from + length, &mut walked);
                let window = scenario.window(index, from, from + length);
                let newest = scenario.newest(index, from, from + length);
                assert_eq!(walked.last().copied(), newest);
                let falls = walked.windows(2).filter(|w| w[1].value < w[0].value).map(|w| w[0].value).sum::<f64>();
                let expected = walked.first().map(|&first| Window {
                    first,
                    last: walked[walked.len() - 1],
                    samples: walked.len(),
                    reset: falls,
                });
                assert_eq!(window, expected, "series {index} [{from}, +{length}]");
            }
        }
    }
}

#[test]
fn a_histogram_is_cumulative_at_every_scrape() {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("api", "a", 0, 0));
    let all = ten_a_second();
    let slow = all.part(&Timeline::new(0.01).during(600, 1200, 0.4));
    let modes = [
        Mode { count: all.without(&slow), median: 0.1, sigma: 0.5 },
        Mode { count: slow.clone(), median: 1.5, sigma: 0.4 },
    ];
    let bounds = [0.05, 0.1, 0.5, 0.8, 1.0, 2.5];
    let histogram = scenario.histogram(pod, "duration_seconds", &[], &bounds, &modes);
    let over = histogram.over(0.8);
    assert!(over.between(600, 1200) > 2000 && over.between(1200, 1800) < 200);
    let mut before = 0.0;
    let buckets: Vec<usize> =
        (0..scenario.series().len()).filter(|&i| scenario.series()[i].labels.get("le").is_some()).collect();
    assert_eq!(buckets.len(), 7);
    for s in (0..3600).step_by(30) {
        let mut low = 0.0;
        for &index in &buckets {
            let value = scenario.newest(index, s * 1000, s * 1000).expect("a scrape").value;
            assert!(value >= low, "at {s}");
            low = value;
        }
        assert!(low >= before);
        before = low;
    }
}

#[test]
fn an_age_is_a_sawtooth_that_grows_through_a_stall() {
    let age = Gauge::Age { period_s: 40, stalls: vec![(400, 600)] };
    let at = |s| age.value(s, 0);
    assert_eq!((at(80), at(119), at(120)), (0.0, 39.0, 0.0));
    assert_eq!((at(399), at(400), at(599), at(600)), (39.0, 40.0, 239.0, 0.0));
}

#[test]
fn joined_scenarios_keep_their_pods_and_truths() {
    let make = |name: &str| {
        let mut scenario = Scenario::new();
        let pod = scenario.pod(Pod::new(name, "a", 0, 0));
        let all = ten_a_second();
        scenario.counter(pod, "requests_total", &[("service", name)], &all);
        scenario.truth_of(name, pod, &all, &all.share(0.5));
        scenario
    };
    let mut both = make("one");
    both.join(make("two"));
    assert_eq!(both.slis().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(both.truth("two", 0, 100).map(|t| t.bad), Some(500));
    assert_eq!(both.series().iter().filter(|s| s.labels.get("job") == Some("two")).count(), 3);
}
