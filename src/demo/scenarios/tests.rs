use super::*;

const END: i64 = 1_700_000_000;

#[test]
fn every_truth_has_the_size_its_scenario_promises() {
    let promised = [
        ("flat", 0.000547),
        ("night", 0.000233),
        ("peak", 0.000859),
        ("idle", 0.000721),
        ("restarts", 0.000547),
        ("crash-loop", 0.000547),
        ("hole", 0.000547),
        ("born", 0.005344),
        ("cron-0", 0.016863),
        ("cron-25", 0.016863),
        ("lazy", 0.010526),
    ];
    let all = all(END);
    assert_eq!(all.len(), promised.len());
    for (named, (name, ratio)) in all.iter().zip(promised) {
        assert_eq!(named.name, name);
        let truth = named.scenario.truth(name, END - DAYS * DAY, END).and_then(|t| t.ratio()).expect("events");
        assert!((truth / ratio - 1.0).abs() < 0.02, "{name}: {truth} is not {ratio}");
    }
}

#[test]
fn only_dying_pods_lose_events() {
    for named in all(END) {
        let truth = named.scenario.truth(named.name, END - DAYS * DAY, END).expect("known");
        let loses = ["restarts", "crash-loop"].contains(&named.name);
        assert_eq!(truth.total > truth.seen_total, loses, "{}", named.name);
        assert!(truth.bad >= truth.seen_bad);
    }
}

#[test]
fn the_last_hour_holds_the_incident() {
    for named in all(END) {
        let hour = named.scenario.truth(named.name, END - 3600, END).and_then(|t| t.ratio()).expect("events");
        let has_incident = !["cron-0", "cron-25", "lazy"].contains(&named.name);
        assert_eq!(hour > 0.1, has_incident, "{}: {hour}", named.name);
    }
}

#[test]
fn the_fixture_has_the_series_that_were_counted() {
    let fixture = fixture(3, 5, END);
    let of = |name: &str| fixture.series().iter().filter(|s| s.labels.get("__name__") == Some(name)).count();
    assert_eq!(of(REQUESTS), 3 * 10);
    let errors = |s: &&crate::demo::scenario::Series| s.labels.get("code").is_some_and(|code| code.starts_with('5'));
    assert_eq!(fixture.series().iter().filter(errors).count(), 3 * 4);
    assert_eq!(of("http_request_duration_seconds_bucket"), 3 * 24);
    assert_eq!(of("http_request_duration_seconds_count"), 3 * 2);
    assert_eq!(fixture.slis().count(), 6);
}

/// What a client makes of the raw samples: differences, a fall as a reset, and the first sample of a series that
/// appears on a target already scraped counted from zero.
fn increments(named: &Named, from: i64, to: i64) -> (f64, f64) {
    let (mut total, mut bad) = (0.0, 0.0);
    for (index, series) in named.scenario.series().iter().enumerate() {
        let (Some(REQUESTS), Some(code)) = (series.labels.get("__name__"), series.labels.get("code")) else { continue };
        let mut samples = Vec::new();
        named.scenario.samples(index, (from - 60) * 1000, to * 1000, &mut samples);
        let born = samples.first().filter(|first| first.at_ms >= (from + 60) * 1000).map_or(0.0, |first| first.value);
        let gained = |pair: &[super::super::Sample]| match pair[1].value - pair[0].value {
            fall if fall < 0.0 => pair[1].value,
            rise => rise,
        };
        let all = born + samples.windows(2).filter(|pair| pair[1].at_ms >= from * 1000).map(gained).sum::<f64>();
        total += all;
        bad += if code.starts_with('5') { all } else { 0.0 };
    }
    (total, bad)
}

#[test]
fn exact_increments_of_the_samples_give_the_truth() {
    for named in all(END) {
        // Two days are enough where nothing dies and an event more or less at the edges is no tenth of a percent.
        let days = if ["born", "restarts", "crash-loop"].contains(&named.name) { DAYS } else { 2 };
        let from = END - days * DAY;
        let truth = named.scenario.truth(named.name, from, END).expect("known");
        let (total, bad) = increments(&named, from, END);
        let seen = truth.seen_ratio().expect("events");
        assert!((bad / total / seen - 1.0).abs() < 0.001, "{}: {} is not {seen}", named.name, bad / total);
        // What died with its process is lost to everybody; the bounds are those the project promises.
        let loss = bad / total / truth.ratio().expect("events") - 1.0;
        let bound = match named.name {
            "restarts" => 0.009,
            "crash-loop" => 0.073,
            _ => 0.001,
        };
        assert!(loss.abs() <= bound, "{}: {:.3} %", named.name, loss * 100.0);
    }
}
