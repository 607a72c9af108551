//! Sources from which nobody can count: they have to be called so.

use super::*;
use crate::demo::scenario::Twist;

/// All of them.
pub(super) fn all(end: i64) -> Vec<Case> {
    vec![workers(end), over_2_53(end), not_cumulative(end), summed_pods(end)]
}

fn workers(end: i64) -> Case {
    let mut making = Making::new("workers", end);
    let pod = making.scenario.pod(making.old_pod(0));
    let total = making.traffic(2.0);
    let bad = total.part(&Timeline::new(0.0).during(making.oldest() - DAY, making.oldest() - DAY + HOUR, 0.01));
    let how = |_: &str| Exposure::new().twisted(Twist::Workers { seed: 5, share: 0.62 });
    making.requests(pod, &[], (&total, &bad), how);
    making.case("two worker processes answer the scrapes of one address in turn", Expected::Named)
}

fn over_2_53(end: i64) -> Case {
    let mut making = Making::new("over-2-53", end);
    let pod = making.scenario.pod(making.old_pod(0));
    let total = making.traffic(2.0);
    let bad = total.part(&making.errors());
    let how = |code: &str| match code {
        "200" => Exposure::new().twisted(Twist::Before(9_007_199_254_740_992.0 * 4.0)),
        _ => Exposure::new(),
    };
    making.requests(pod, &[], (&total, &bad), how);
    making.case("a counter over 2^53 does not count by ones any more", Expected::Named)
}

fn not_cumulative(end: i64) -> Case {
    let mut making = Making::new("not-cumulative", end);
    let name = making.name;
    let pod = making.scenario.pod(making.old_pod(0));
    let total = making.traffic(5.0);
    let slow = total.part(&making.errors());
    let (usual, fast) = (total.without(&slow), total.without(&slow).share(0.7));
    // Each bucket holds what is between it and the one before.
    for (le, count) in
        [("0.1", fast.clone()), ("0.5", usual.without(&fast)), ("1", slow.clone()), ("+Inf", slow.share(0.01))]
    {
        making.scenario.counter(pod, "plain_seconds_bucket", &[("service", name), ("le", le)], &count);
    }
    making.scenario.counter(pod, "plain_seconds_count", &[("service", name)], &total);
    making.scenario.truth_of(name, pod, &total, &slow);
    let source =
        Source::Histogram { name: "plain_seconds".into(), matchers: format!("service=\"{name}\""), bound: 0.5 };
    making.case_of("buckets that are not cumulative", Expected::Named, source)
}

/// A rule records `sum without (instance)` of counters whose pods come and go: the sum falls with each that goes.
fn summed_pods(end: i64) -> Case {
    let mut making = Making::new("summed-pods", end);
    let name = making.name;
    let rule = making.scenario.pod(Pod::recorded(4_000, making.oldest() - DAY));
    let (total, errors) = (making.traffic(2.0), making.errors());
    let mut lives = (Vec::new(), Vec::new());
    for slot in 0..3 {
        let mut started = making.oldest() - DAY + slot * 2400;
        while started < end {
            let to = started + 2 * HOUR;
            lives.0.push((total.clone(), started, to));
            lives.1.push((total.part(&errors), started, to));
            started = to;
        }
        making.scenario.truth_of(name, rule, &total, &total.part(&errors));
    }
    making.scenario.summed(rule, "job:requests:sum", &[("service", name)], lives.0);
    making.scenario.summed(rule, "job:errors:sum", &[("service", name)], lives.1);
    let selector = |metric: &str| format!("{metric}{{service=\"{name}\"}}");
    let source = Source::Counters { total: selector("job:requests:sum"), bad: selector("job:errors:sum") };
    making.case_of("counters that a rule sums over pods that come and go", Expected::Named, source)
}
