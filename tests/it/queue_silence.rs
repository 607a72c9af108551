//! A queue that is silent for less than its bound pages nobody, however long its work takes; a stuck one pages soon after
//! its bound: on a real Prometheus, read at once and lived through, with the words of the presets vLLM and Kueue.

use std::collections::BTreeMap;

use slowburn::demo::Scenario;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Gauge, Mode, Pod, PodId};

use crate::daemon::{Driven, options};
use crate::fleet;

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const START: i64 = END - 86_400;
/// The bound of the batch queues, seconds.
const BATCH: i64 = 10_240;
/// From here on the batch queue that is stuck admits nobody.
const BATCH_STUCK: i64 = END - BATCH - 1200;
/// From here on the model that is stuck lets nobody in.
const MODEL_STUCK: i64 = END - 1800;

const ORIGIN: i64 = START - 86_400;

fn flat(rate: f64) -> Count {
    Count::of(Traffic { rate, shape: Shape::Flat, wobble: None, origin: ORIGIN })
}

/// Waits of `median` seconds, and two who wait, from `from` on.
fn queue(
    scenario: &mut Scenario,
    pod: PodId,
    family: [&str; 2],
    labels: &[(&str, &str)],
    (done, median): (&Count, f64),
    from: i64,
) {
    let bounds = [1.0, 10.0, 100.0, 1000.0, 10_240.0, 20_480.0];
    scenario.histogram(pod, family[0], labels, &bounds, &[Mode { count: done.clone(), median, sigma: 0.05 }]);
    scenario.gauge(
        pod,
        family[1],
        labels,
        Gauge::Level { around: Timeline::new(0.0).during(from, END + 1, 2.0), swing: 0.0, seed: 1 },
    );
}

fn model(scenario: &mut Scenario, pod: PodId, name: &str, [let_in, done]: [&Count; 2], from: i64) {
    let labels = [("model_name", name)];
    queue(scenario, pod, ["vllm:request_queue_time_seconds", "vllm:num_requests_waiting"], &labels, (done, 2.0), from);
    let first_tokens = [Mode { count: let_in.clone(), median: 0.2, sigma: 0.05 }];
    scenario.histogram(pod, "vllm:time_to_first_token_seconds", &labels, &[1.0, 10.0], &first_tokens);
}

fn batch(scenario: &mut Scenario, pod: PodId, name: &str, admitted: &Count) {
    let labels = [("cluster_queue", name), ("status", "active")];
    queue(
        scenario,
        pod,
        ["kueue_admission_wait_time_seconds", "kueue_pending_workloads"],
        &labels,
        (admitted, 9000.0),
        START,
    );
    scenario.counter(pod, "kueue_admitted_workloads_total", &labels[..1], admitted);
}

fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("gpu", "gpu-0:80", 4_000, START).every_s(15));
    // Four slots of 120 s of generation: all get done at once, and one after the other is let in.
    let at_once = flat(4.0 / 30.0).part(&Timeline::new(0.0).bursts(START, END, 120, 0, 30, 1.0));
    model(&mut scenario, pod, "long", [&flat(1.0 / 30.0), &at_once], START);
    // A model that nobody asked before, and that is stuck from its first minute on.
    let fresh = scenario.pod(Pod::new("gpu", "gpu-1:80", 9_000, START).every_s(15));
    let stops = flat(0.2).part(&Timeline::new(0.0).during(MODEL_STUCK - 45, MODEL_STUCK, 1.0));
    model(&mut scenario, fresh, "stuck", [&stops, &stops], MODEL_STUCK - 45);
    let kueue = scenario.pod(Pod::new("kueue", "kueue:80", 7_000, START).every_s(30));
    batch(&mut scenario, kueue, "busy", &flat(1.0 / 1200.0));
    batch(&mut scenario, kueue, "stuck", &jams());
    scenario
}

/// Who is admitted to the batch queue that is stuck.
fn jams() -> Count {
    flat(1.0 / 1200.0).part(&Timeline::new(1.0).during(BATCH_STUCK, END + 1, 0.0))
}

fn rules() -> Vec<(&'static str, String)> {
    let of = |name: &str, preset: &str, label: &str, value: &str, max: i64| {
        format!(
            "name: {name}\nowner: team\ntelemetry: {{preset: {preset}, match: {{{label}: {value}}}}}\nslo:\n  \
             gpu_queue_time_p95_s: {max}\n"
        )
    };
    vec![
        ("long.yaml", of("long", "vllm", "model_name", "long", 10)),
        ("stuck.yaml", of("stuck", "vllm", "model_name", "stuck", 10)),
        ("busy.yaml", of("busy", "kueue", "cluster_queue", "busy", BATCH)),
        ("jammed.yaml", of("jammed", "kueue", "cluster_queue", "stuck", BATCH)),
    ]
}

/// When each service paged first, and how many of its slices were bad at the end.
async fn lived(begun: i64, url: &str) -> (BTreeMap<String, i64>, BTreeMap<String, u64>) {
    let mut daemon = Driven::new(options(url, &rules(), None));
    let mut snapshot = daemon.tick(begun).await;
    let mut paged = BTreeMap::new();
    for at in (begun + 30..=END).step_by(30) {
        snapshot = daemon.live(at - 30, at).await;
        for alert in snapshot.alerts.iter().filter(|alert| alert.kind.as_str() == "fast_burn") {
            paged.entry(alert.labels.get("service").unwrap_or_default().to_owned()).or_insert(at);
        }
    }
    let bad = |slo: &slowburn::engine::SloSnapshot| (slo.slo.service.clone(), slo.series[0].window.bad);
    (paged, snapshot.slos.iter().map(bad).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_work_and_a_long_bound_page_nobody_and_stuck_queues_page_after_their_bound() {
    let prometheus = fleet::prometheus(&scenario(), START, END).await;
    let (paged, bad) = lived(END - 2400, &prometheus.url()).await;
    let stuck = paged.get("stuck").copied().unwrap_or(i64::MAX) - MODEL_STUCK;
    let admitted = jams();
    let last = (START..=BATCH_STUCK).rev().find(|&s| admitted.before(s) < admitted.before(END)).expect("there was one");
    let jammed = paged.get("jammed").copied().unwrap_or(i64::MAX) - last;
    println!("pages {stuck} s after the last was let in (bound 10), {jammed} s (bound {BATCH}); bad slices {bad:?}");
    assert_eq!((bad["long"], bad["busy"]), (0, 0), "silence under the bound proves nothing");
    assert_eq!(paged.keys().map(String::as_str).collect::<Vec<_>>(), ["jammed", "stuck"]);
    assert!((10..=10 + 120).contains(&stuck), "{stuck}");
    assert!((BATCH..=BATCH + 120).contains(&jammed), "{jammed}");
}
