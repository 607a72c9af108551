//! Series of a running process that appear late, hide and return, glitch, or are read apart.

use super::*;
use crate::demo::scenario::Twist;

/// All of them.
pub(super) fn all(end: i64) -> Vec<Case> {
    vec![
        late_class(end),
        born_together(end),
        hidden_for_minutes(end),
        hidden_for_a_day(end),
        forgotten(end),
        glitches(end, true),
        glitches(end, false),
        buckets_apart(end),
        total_stands_still(end),
    ]
}

fn late_class(end: i64) -> Case {
    let mut making = Making::new("late-class", end);
    let oldest = making.oldest();
    let restarts: Vec<i64> = (0..7).map(|n| end - n * 4 * HOUR - 2 * HOUR - 40).collect();
    // The class of a process begins with some twenty errors within one scrape, 50 minutes after its start.
    let errors = Timeline::new(0.0).bursts(oldest, end, 4 * HOUR, (end - 70 * 60).rem_euclid(4 * HOUR), 10, 1.0);
    for number in 0..2 {
        let pod = making.old_pod(number).restarts(restarts.iter().copied());
        let pod = making.scenario.pod(pod);
        let total = making.traffic(2.0);
        let bad = total.part(&errors);
        making.requests(pod, &[], (&total, &bad), errors_born);
    }
    making.counted("an error series appears with 20 errors at once, long after its process began")
}

fn born_together(end: i64) -> Case {
    let mut making = Making::new("born-together", end);
    let traffic = Timeline::new(0.0).during(end - 2 * HOUR - 17, end + DAY, 1.0);
    for number in 0..2 {
        let pod = making.scenario.pod(making.old_pod(number));
        let total = making.traffic(4.0).part(&traffic);
        let bad = total.share(0.25);
        making.requests(pod, &[], (&total, &bad), |_| Exposure::new().born());
    }
    making.counted("all series of a service appear with its first requests, on targets scraped for days")
}

fn hidden_for_minutes(end: i64) -> Case {
    let mut making = Making::new("hidden-minutes", end);
    let oldest = making.oldest();
    let bursts: Vec<i64> = (oldest + 2000..end - 600).step_by(35 * 60).collect();
    let errors = bursts.iter().fold(Timeline::new(0.0), |line, &at| line.during(at, at + 5, 1.0));
    let errors = errors.during(oldest - DAY, oldest - DAY + HOUR, 0.5);
    // Shown for five minutes after an error; and where the samples begin.
    let spans: Vec<(i64, i64)> =
        [(oldest, oldest + 600)].into_iter().chain(bursts.iter().map(|&at| (at, at + 300))).collect();
    for number in 0..2 {
        let pod = making.scenario.pod(making.old_pod(number));
        let total = making.traffic(2.0);
        let bad = total.part(&errors);
        let how = |code: &str| if code == "500" { Exposure::new().within(spans.clone()) } else { Exposure::new() };
        making.requests(pod, &[], (&total, &bad), how);
    }
    making.counted("an error series is shown for five minutes after each error")
}

fn hidden_for_a_day(end: i64) -> Case {
    let mut making = Making::new("hidden-a-day", end);
    let oldest = making.oldest();
    let returns = end - 62 * 60;
    let errors =
        Timeline::new(0.0).during(oldest - DAY, oldest - DAY + 2 * HOUR, 0.5).during(returns, returns + 5, 1.0);
    let spans = vec![(oldest, oldest + 1200), (returns, end + DAY)];
    for number in 0..2 {
        let pod = making.scenario.pod(making.old_pod(number));
        let total = making.traffic(2.0);
        let bad = total.part(&errors);
        let how = |code: &str| if code == "500" { Exposure::new().within(spans.clone()) } else { Exposure::new() };
        making.requests(pod, &[], (&total, &bad), how);
    }
    making.counted("an error series comes back after more than a day, ten errors higher")
}

fn forgotten(end: i64) -> Case {
    let mut making = Making::new("forgotten", end);
    let oldest = making.oldest();
    let bursts: Vec<i64> = (oldest + 2000..end - 600).step_by(25 * 60).collect();
    // Two bursts of each: the first one of the next is lower than what the two came to.
    let errors = bursts
        .iter()
        .fold(Timeline::new(0.0), |line, &at| line.during(at, at + 5, 1.0).during(at + 150, at + 157, 1.0));
    let errors = errors.during(oldest - DAY, oldest - DAY + HOUR, 0.5);
    let spans = [(oldest, oldest + 600)].into_iter().chain(bursts.iter().map(|&at| (at, at + 450))).collect::<Vec<_>>();
    for number in 0..2 {
        let pod = making.scenario.pod(making.old_pod(number));
        let total = making.traffic(2.0);
        let bad = total.part(&errors);
        let how = |code: &str| match code {
            "500" => Exposure::new().within(spans.clone()).twisted(Twist::Forgotten(bursts.clone())),
            _ => Exposure::new(),
        };
        making.requests(pod, &[], (&total, &bad), how);
    }
    making.counted(
        "an error series is forgotten five minutes after its last error, and begins anew at nothing (StatsD's `ttl`)",
    )
}

fn glitches(end: i64, says_start: bool) -> Case {
    let mut making = Making::new(if says_start { "glitches" } else { "glitches-unsaid" }, end);
    // One error in three hours: a counter that is small when it glitches.
    let errors = Timeline::new(0.0).bursts(making.oldest() - DAY, end, 3 * HOUR, 1234, 1, 0.5);
    for number in 0..2 {
        let pod = making.old_pod(number);
        let pod = making.scenario.pod(if says_start { pod } else { pod.without_start_time() });
        let total = making.traffic(2.0);
        let bad = total.part(&errors);
        let twist =
            |code: &str| Twist::Glitch { seed: 31 * number as u64 + u64::from(code.as_bytes()[0]), share: 0.01 };
        making.requests(pod, &[], (&total, &bad), |code| Exposure::new().twisted(twist(code)));
    }
    making.counted("counters that read 1 to 3 too low in a scrape of a hundred, small ones too")
}

fn buckets_apart(end: i64) -> Case {
    let mut making = Making::new("buckets-apart", end);
    let name = making.name;
    for number in 0..2 {
        let pod = making.scenario.pod(making.old_pod(number));
        let total = making.traffic(20.0);
        let slow = total.part(&making.errors());
        let usual = total.without(&slow);
        let late =
            |seed: u64| Exposure::new().twisted(Twist::Late { seed: seed + 10 * number as u64, share: 0.03, by_s: 3 });
        for (le, count, seed) in [
            ("0.1", usual.share(0.7), 1),
            ("0.5", usual.clone(), 1),
            ("1", total.clone(), 2),
            ("+Inf", total.clone(), 2),
        ] {
            making.scenario.shown(pod, "apart_seconds_bucket", &[("service", name), ("le", le)], &count, late(seed));
        }
        making.scenario.shown(pod, "apart_seconds_count", &[("service", name)], &total, late(2));
        making.scenario.truth_of(name, pod, &total, &slow);
    }
    let source =
        Source::Histogram { name: "apart_seconds".into(), matchers: format!("service=\"{name}\""), bound: 0.5 };
    making.case_of("bucket and count of a histogram are read without a lock", Expected::CountedOrNamed, source)
}

/// What is refused is not in the total: while all is refused the total stands still.
fn total_stands_still(end: i64) -> Case {
    let mut making = Making::new("total-still", end);
    let name = making.name;
    // On the grid of the scrapes, so that no slice holds both.
    let (from, to) = (end - 50 * 60 + 8, end - 20 * 60 + 8);
    let pod = Pod::new("router", "total-still:9090", 7_300, making.oldest() - DAY);
    let pod = making.scenario.pod(pod);
    let all = making.traffic(4.0);
    let refused = all.part(&Timeline::new(0.0).during(from, to, 1.0));
    making.scenario.counter(pod, "routed_total", &[("service", name)], &all.without(&refused));
    making.scenario.counter(pod, "refused_total", &[("service", name)], &refused);
    making.scenario.truth_of(name, pod, &all, &refused);
    let selector = |metric: &str| format!("{metric}{{service=\"{name}\"}}");
    let source = Source::Counters { total: selector("routed_total"), bad: selector("refused_total") };
    making.case_of("bad is another metric than total, and total stands still in the outage", Expected::Counted, source)
}
