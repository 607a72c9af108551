//! Series whose labels are not what they seem: relabelled, shared, doubled, with timestamps of their own.

use super::*;
use crate::demo::count::hash;
use crate::demo::scenario::Twist;

/// All of them.
pub(super) fn all(end: i64) -> Vec<Case> {
    vec![
        as_it_comes(end),
        label_added(end),
        label_dropped(end),
        label_renamed(end),
        label_turned(end),
        label_moved_before(end),
        instance_renamed(end),
        two_clusters(end),
        replicas_apart(end),
        replicas_merged(end),
        two_groups(end),
        own_times(end),
    ]
}

/// A moment that a daemon of the last hours lives through, and that is history for one of the last half hour.
fn lately(end: i64) -> i64 {
    end - 95 * 60 - 4
}

fn as_it_comes(end: i64) -> Case {
    let mut making = Making::new("plain", end);
    making.two_pods(|pod| pod, plain);
    making.counted("two pods, nothing special")
}

fn label_added(end: i64) -> Case {
    let mut making = Making::new("label-added", end);
    making.two_pods(|pod| pod.labelled(lately(end), &[("team", "pay")]), plain);
    making.counted("a target label is added while the pods run")
}

fn label_dropped(end: i64) -> Case {
    let mut making = Making::new("label-dropped", end);
    let oldest = making.oldest();
    let change = |pod: Pod| pod.labelled(oldest - DAY, &[("team", "pay")]).labelled(lately(end), &[("team", "")]);
    making.two_pods(change, plain);
    making.counted("a target label goes while the pods run")
}

fn label_renamed(end: i64) -> Case {
    let mut making = Making::new("label-renamed", end);
    let oldest = making.oldest();
    let change = |pod: Pod| {
        let pod = pod.labelled(oldest - DAY, &[("zone", "a")]);
        pod.labelled(lately(end), &[("zone", ""), ("topology_zone", "a")])
    };
    making.two_pods(change, plain);
    making.counted("a target label has another name from one scrape to the next")
}

fn label_turned(end: i64) -> Case {
    let mut making = Making::new("label-turned", end);
    let oldest = making.oldest();
    let change = |pod: Pod| {
        let pod = pod.labelled(oldest - DAY, &[("replica", "a")]).labelled(end - 20 * HOUR - 11, &[("replica", "b")]);
        let pod = pod.labelled(end - 4 * HOUR - 11, &[("replica", "a")]).labelled(lately(end), &[("replica", "b")]);
        pod.labelled(end - 50 * 60 - 4, &[("replica", "a")])
    };
    making.two_pods(change, plain);
    making.counted("a label of all targets takes another value and its old one again, as where another replica is read")
}

fn label_moved_before(end: i64) -> Case {
    let mut making = Making::new("label-before", end);
    let change = |pod: Pod| {
        let pod = pod.labelled(end - 20 * HOUR - 11, &[("team", "pay")]);
        pod.labelled(end - 4 * HOUR - 11, &[("team", "shop"), ("tier", "1")])
    };
    making.two_pods(change, errors_born);
    making.counted("labels added 20 h ago and changed 4 h ago: history to all readers")
}

fn instance_renamed(end: i64) -> Case {
    let mut making = Making::new("instance-renamed", end);
    for (number, rate) in [2.0, 1.8].into_iter().enumerate() {
        let mut pod = making.old_pod(number);
        for turn in 0..5 {
            let instance = format!("{}-{number}-{turn}:8080", making.name);
            pod = pod.labelled(end - (4 - turn) * 6 * HOUR - 2 * HOUR - 3, &[("instance", &instance)]);
        }
        let pod = making.scenario.pod(pod);
        let total = making.traffic(rate);
        let bad = total.part(&making.errors());
        making.requests(pod, &[], (&total, &bad), plain);
    }
    making.case("the address of running pods changes each 6 h", Expected::CountedOrNamed)
}

fn two_clusters(end: i64) -> Case {
    let mut making = Making::new("two-clusters", end);
    for (number, cluster) in ["east", "west"].into_iter().enumerate() {
        let started = making.oldest() - (2 + number as i64) * DAY;
        let pod = Pod::new("api", "10.0.0.7:8080", [7_300, 21_850][number], started);
        let pod = making.scenario.pod(pod.labelled(started, &[("cluster", cluster)]));
        let total = making.traffic([2.0, 1.1][number]);
        let bad = total.part(&making.errors());
        making.requests(pod, &[], (&total, &bad), plain);
    }
    making.counted("two clusters in one global view, one address in both")
}

fn replicas_apart(end: i64) -> Case {
    let mut making = Making::new("replicas-apart", end);
    let started = making.oldest() - 2 * DAY;
    for (replica, phase_ms) in [("a", 7_300), ("b", 8_310)] {
        let pod = Pod::new("api", "replicas-apart:8080", phase_ms, started);
        let pod = making.scenario.pod(pod.labelled(started, &[("replica", replica)]));
        let total = making.traffic(2.0);
        let bad = total.part(&making.errors());
        making.requests(pod, &[], (&total, &bad), plain);
    }
    making.counted("a pair of Prometheus servers, not merged: each event twice")
}

fn replicas_merged(end: i64) -> Case {
    let mut making = Making::new("replicas-merged", end);
    // Few errors, so that their counter is small, and falls of the total come beside falls of it.
    let errors = Timeline::new(0.0).bursts(making.oldest(), end, 5400, 17, 1, 0.5);
    for number in 0..2 {
        let pod = making.scenario.pod(making.old_pod(number));
        let total = making.traffic(2.0);
        let bad = total.part(&errors);
        making.requests(pod, &[], (&total, &bad), |_| Exposure::new().twisted(Twist::Replica { every: 97 }));
    }
    making.counted("replicas merged by a querier: a later sample that is one scrape older")
}

fn two_groups(end: i64) -> Case {
    let mut making = Making::new("two-groups", end);
    let name = making.name;
    for (zone, phase_ms, rate) in [("a", 0, 2.0), ("b", 15_000, 1.3)] {
        let pod = making.scenario.pod(Pod::recorded(phase_ms, making.oldest() - 2 * DAY));
        let total = making.traffic(rate);
        let bad = total.part(&making.errors());
        let labels = [("service", name), ("zone", zone)];
        making.scenario.counter(pod, "service:requests:sum", &labels, &total);
        making.scenario.counter(pod, "service:errors:sum", &labels, &bad);
        making.scenario.truth_of(name, pod, &total, &bad);
    }
    let selector = |metric: &str| format!("{metric}{{service=\"{name}\"}}");
    let source = Source::Counters { total: selector("service:requests:sum"), bad: selector("service:errors:sum") };
    making.case_of("counters from recording rules, two groups 15 s apart", Expected::Counted, source)
}

fn own_times(end: i64) -> Case {
    let mut making = Making::new("own-times", end);
    for number in 0..2 {
        let pod = making.scenario.pod(making.old_pod(number));
        let total = making.traffic(2.0);
        let bad = total.part(&making.errors());
        let of = |code: &str| Twist::OwnTimes {
            seed: hash(number as u64, code.len() as u64 + u64::from(code.as_bytes()[0])),
            most_s: 10,
        };
        making.requests(pod, &[], (&total, &bad), |code| Exposure::new().twisted(of(code)));
    }
    making.counted("each series with timestamps of its own, as cAdvisor writes them")
}
