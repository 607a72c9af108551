//! Processes that come, go, die and are not seen.

use super::*;
use crate::demo::count::hash;
use crate::demo::scenario::Twist;

/// All of them.
pub(super) fn all(end: i64) -> Vec<Case> {
    vec![
        autoscaled(end),
        rollouts(end),
        startup_errors(end, true),
        startup_errors(end, false),
        crash_loop(end, "crash-33s", 33, true),
        crash_loop(end, "crash-60s", 60, true),
        crash_loop(end, "crash-5m", 300, true),
        crash_loop(end, "crash-33s-unsaid", 33, false),
        crash_loop(end, "crash-5m-unsaid", 300, false),
        half_lost(end),
        restart_in_hole(end),
        taken_over(end),
    ]
}

/// Pods of a slot that follow each other every `every_s` seconds, each living `overlap_s` longer than that; from `from` on.
fn generations(
    making: &mut Making,
    slot: usize,
    from: i64,
    (every_s, overlap_s): (i64, i64),
    says_start: bool,
    rate: f64,
    errors: impl Fn(i64) -> Timeline,
) {
    let total = making.traffic(rate);
    let mut started = from;
    while started < making.end {
        let instance = format!("{}-{slot}-{}:8080", making.name, started - from);
        let phase_ms = (hash(slot as u64, started as u64) % 30_000) as i64;
        let mut pod = Pod::new("api", &instance, phase_ms, started);
        if started + every_s + overlap_s < making.end {
            pod = pod.ends(started + every_s + overlap_s);
        }
        if !says_start {
            pod = pod.without_start_time();
        }
        let pod = making.scenario.pod(pod);
        let bad = total.part(&errors(started));
        making.requests(pod, &[], (&total, &bad), errors_born);
        started += every_s;
    }
}

fn autoscaled(end: i64) -> Case {
    let mut making = Making::new("autoscaled", end);
    for slot in 0..40 {
        let errors = making.errors();
        generations(&mut making, slot, end - 4 * HOUR + slot as i64 * 15, (600, 0), true, 0.5, |_| errors.clone());
    }
    making.counted("40 pods, each 10 minutes old when a new one takes its place")
}

fn rollouts(end: i64) -> Case {
    let mut making = Making::new("rollouts", end);
    for slot in 0..3 {
        let errors = making.errors();
        let from = making.oldest() + 600 + slot as i64 * 45;
        generations(&mut making, slot, from, (2 * HOUR, 120), true, 2.0, |_| errors.clone());
    }
    making.counted("a rollout each 2 h, old and new pods overlap by 2 minutes")
}

fn startup_errors(end: i64, says_start: bool) -> Case {
    let mut making = Making::new(if says_start { "startup-errors" } else { "startup-unsaid" }, end);
    for slot in 0..3 {
        let from = end - 6 * HOUR + slot as i64 * 205;
        let errors = |started: i64| Timeline::new(0.0).during(started, started + 12, 1.0);
        generations(&mut making, slot, from, (900, 0), says_start, 8.0, errors);
    }
    match says_start {
        true => making.counted("each new pod fails its first 12 s; its start time is known"),
        false => making.case("each new pod fails its first 12 s; its start time is unknown", Expected::CountedOrNamed),
    }
}

fn crash_loop(end: i64, name: &'static str, every_s: i64, says_start: bool) -> Case {
    let mut making = Making::new(name, end);
    let (from, to) = incident(end);
    let change = |pod: Pod| {
        let pod = pod.restarts((from..to).step_by(every_s as usize).map(|at| at + 9));
        if says_start { pod } else { pod.without_start_time() }
    };
    making.two_pods(change, errors_born);
    let expected = if says_start { Expected::Counted } else { Expected::CountedOrNamed };
    making.case("pods die again and again through the outage", expected)
}

fn half_lost(end: i64) -> Case {
    let mut making = Making::new("half-lost", end);
    making.two_pods(|pod| pod.loses(7, 0.5), errors_born);
    making.counted("half of all scrapes fail")
}

fn restart_in_hole(end: i64) -> Case {
    let mut making = Making::new("restart-in-hole", end);
    let (from, _) = incident(end);
    for (number, rate) in [2.0, 1.8].into_iter().enumerate() {
        let pod = making.old_pod(number).restarts([from + 700]);
        // Prometheus is away from the one; the other does not answer.
        let pod = if number == 0 { pod.hole(from + 300, from + 900) } else { pod.silent(from + 300, from + 900) };
        let pod = making.scenario.pod(pod);
        let total = making.traffic(rate);
        let bad = total.part(&making.errors());
        making.requests(pod, &[], (&total, &bad), errors_born);
    }
    making.counted("pods restart while nobody can see them")
}

fn taken_over(end: i64) -> Case {
    let mut making = Making::new("taken-over", end);
    let restarts = [26, 14, 5, 1].map(|hours| end - hours * HOUR - 10 * 60 - 3);
    let began = making.oldest() - DAY;
    for (number, phase_ms) in [7_300, 19_850].into_iter().enumerate() {
        let pod = Pod::new("api", &format!("taken-over-{number}:8080"), phase_ms, began).restarts(restarts);
        let pod = making.scenario.pod(pod);
        let total = making.traffic(2.0);
        let bad = total.part(&making.errors());
        for (code, count) in [("200", total.without(&bad)), ("500", bad.clone())] {
            let how = Exposure::new().twisted(Twist::TakenOver(began));
            making.scenario.shown(pod, REQUESTS, &[("service", "taken-over"), ("code", code)], &count, how);
        }
        // What the counters show is of one life.
        let all_along = making.scenario.pod(Pod::recorded(phase_ms, began));
        making.scenario.truth_of(making.name, all_along, &total, &bad);
    }
    making.case("a new process reads the counters of the one before back from a file", Expected::CountedOrNamed)
}
