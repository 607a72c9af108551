//! A queue on a real Prometheus: one that lets nobody through is bad and pages, an empty one is silent, one that drains
//! is judged by its histogram; and polls, a restart, remote read and range queries come to the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Gauge, Mode, Pod, PodId};
use slowburn::demo::{Sample, Scenario};
use slowburn::engine::{Labels, SloState, Snapshot};
use slowburn::web::view::SloView;

use crate::daemon::{Driven, options};
use crate::fleet;
use crate::harness::prometheus::Prometheus;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const START: i64 = END - 2 * DAY;
/// Nobody gets through in here, though people wait: half an hour to the second, off every grid.
const STUCK: (i64, i64) = (END - 3000, END - 1200);
/// ... and a day before, in the history.
const STUCK_BEFORE: (i64, i64) = (END - DAY - 2017, END - DAY - 1000);
const WAITERS: u64 = 4;

fn rules() -> Vec<(&'static str, String)> {
    let of = |name: &str, method: &str, by: &str| {
        format!(
            "name: {name}\nowner: team\nslo:\n  gpu_queue_time_p95_s:\n    max: 10\n    method: {method}\n    {by}\n    \
             sli: {{histogram: 'wait_seconds{{queue!=\"lost\"}}', waiting: 'waiting{{queue!=\"lost\"}}'}}\n"
        )
    };
    let lost = "name: lost\nowner: team\nslo:\n  gpu_queue_time_p95_s:\n    max: 10\n    \
                sli: {histogram: 'wait_seconds{queue=\"lost\"}', waiting: 'gone{queue=\"lost\"}'}\n";
    vec![
        ("slices.yaml", of("slices", "slices", "by: [queue]")),
        ("events.yaml", of("events", "events", "by: [queue]")),
        ("lost.yaml", lost.into()),
    ]
}

const EVENTS: &str = "events-gpu-queue-time-p95";
const SLICES: &str = "slices-gpu-queue-time-p95";

/// A queue whose completions stop in `stuck` while `WAITERS` wait.
fn queue(scenario: &mut Scenario, pod: PodId, name: &str, traffic: &Count, stuck: &[(i64, i64)], slow: &Timeline) {
    let labels = [("queue", name)];
    let during =
        |base: f64, value: f64| stuck.iter().fold(Timeline::new(base), |of, &(from, to)| of.during(from, to, value));
    let through = traffic.part(&during(1.0, 0.0));
    let late = through.part(slow);
    let modes = [
        Mode { count: through.without(&late), median: 0.2, sigma: 0.1 },
        Mode { count: late, median: 60.0, sigma: 0.1 },
    ];
    scenario.histogram(pod, "wait_seconds", &labels, &[1.0, 10.0, 100.0], &modes);
    let around = during(0.0, WAITERS as f64);
    scenario.gauge(pod, "waiting", &labels, Gauge::Level { around, swing: 0.0, seed: 1 });
}

fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    let origin = (START - 10 * DAY).div_euclid(DAY) * DAY;
    let traffic = |rate: f64| Count::of(Traffic { rate, shape: Shape::Flat, wobble: None, origin });
    let fast = scenario.pod(Pod::new("sched", "sched-0:80", 4_000, START - DAY).every_s(15));
    queue(&mut scenario, fast, "stuck", &traffic(2.0), &[STUCK_BEFORE, STUCK], &Timeline::new(0.0));
    queue(&mut scenario, fast, "empty", &traffic(0.0), &[], &Timeline::new(0.0));
    // Scraped more slowly than slices are long: half of the slices have no sample, and are not stuck for it.
    let slow = scenario.pod(Pod::new("sched", "sched-1:80", 41_000, START - DAY).every_s(60));
    queue(&mut scenario, slow, "drains", &traffic(0.5), &[], &Timeline::new(0.0).during(END - 1800, END - 900, 0.5));
    scenario.gauge(
        slow,
        "waiting",
        &[("queue", "drains"), ("state", "x")],
        Gauge::Level { around: Timeline::new(7.0), swing: 0.0, seed: 2 },
    );
    queue(&mut scenario, fast, "lost", &traffic(1.0), &[STUCK], &Timeline::new(0.0));
    scenario
}

/// The samples of a series as they lie in Prometheus.
fn samples(scenario: &Scenario, labels: &[(&str, &str)]) -> Vec<Sample> {
    let is = |own: &Labels| labels.iter().all(|(name, value)| own.get(name) == Some(value)) && own.get("le").is_none();
    let index = scenario.series().iter().position(|series| is(&series.labels)).expect("it is there");
    let mut out = Vec::new();
    scenario.samples(index, START * 1000, END * 1000, &mut out);
    out
}

/// Slices of 30 s in [from, to) in which somebody waited and nobody can have got through, from the samples alone.
fn stuck_slices(scenario: &Scenario, queue: &str, from: i64, to: i64) -> u64 {
    let counts = samples(scenario, &[("__name__", "wait_seconds_count"), ("queue", queue)]);
    let moved: BTreeSet<i64> = counts
        .windows(2)
        .filter(|pair| pair[1].value > pair[0].value)
        .flat_map(|pair| pair[0].at_ms.div_euclid(30_000)..=pair[1].at_ms.div_euclid(30_000))
        .collect();
    let gauge = samples(scenario, &[("__name__", "waiting"), ("queue", queue)]);
    let waits = |slice: i64| {
        let end_ms = (slice + 1) * 30_000;
        gauge.iter().rev().find(|sample| sample.at_ms <= end_ms).is_some_and(|sample| sample.value > 0.0)
    };
    (from / 30..to / 30).filter(|slice| !moved.contains(slice) && waits(*slice)).count() as u64
}

/// The row of one queue; of the whole without a name.
fn row(snapshot: &Snapshot, slo: &str, queue: &str) -> Value {
    let view = serde_json::to_value(SloView::of(snapshot.slo(slo).expect("it is known"))).expect("JSON");
    let rows = view["series"].as_array().expect("rows").iter();
    let mut of: BTreeMap<&str, &Value> = rows.map(|row| (row["labels"]["queue"].as_str().unwrap_or(""), row)).collect();
    of.remove(queue).cloned().unwrap_or_else(|| panic!("no row of {queue:?}: {view}"))
}

fn window(row: &Value, window_s: i64) -> (u64, u64) {
    let windows = row["windows"].as_array().expect("windows").iter().chain([&row["window"]]);
    let window = windows.into_iter().find(|window| window["window_s"] == window_s).expect("a window of that length");
    (window["total"].as_u64().expect("a count"), window["bad"].as_u64().expect("a count"))
}

/// Length, total and bad.
type Counted = (i64, u64, u64);

/// Every window of every row.
fn counts(snapshot: &Snapshot) -> Vec<(String, Vec<Counted>)> {
    let rows = snapshot.slos.iter().flat_map(|slo| slo.series.iter().map(move |row| (slo, row)));
    rows.map(|(slo, row)| {
        let windows = row.windows.iter().chain([&row.window]);
        let windows = windows.map(|window| (window.window_s, window.total, window.bad)).collect();
        (format!("{} {} {:?}", slo.slo.id, row.labels, row.state), windows)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_queue_pages_an_empty_one_is_silent_and_one_that_drains_is_its_histograms() {
    let scenario = scenario();
    let prometheus: Prometheus = fleet::prometheus(&scenario, START, END).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let driven = || Driven::new(options(&prometheus.url(), &rules(), Some(dir.path().join("state"))));
    let mut daemon = driven();
    let begun = END - HOUR - 300;
    daemon.tick(begun).await;
    // Ten minutes into it the page is out, for the queue and for nobody else.
    daemon.live(begun, STUCK.0 + 330).await;
    drop(daemon);
    let mut daemon = driven();
    let paged = daemon.live(STUCK.0 + 330 - (STUCK.0 + 330 - begun) % 30, STUCK.0 + 900).await;
    let firing = |snapshot: &Snapshot| -> BTreeSet<(String, String)> {
        let of = |alert: &slowburn::engine::alert::Alert| {
            (alert.slo_id.clone(), alert.labels.get("queue").unwrap_or("").to_owned())
        };
        let burns =
            |alert: &&slowburn::engine::alert::Alert| alert.kind.as_str() == "fast_burn" && alert.resolved_at.is_none();
        snapshot.alerts.iter().filter(burns).map(of).collect()
    };
    // By events four waiters do not outweigh an hour of two completions a second; by slices they do not have to.
    let stuck_alone = [(SLICES.to_owned(), "stuck".to_owned())].into();
    assert_eq!(firing(&paged), stuck_alone);
    assert_eq!(row(&paged, SLICES, "stuck")["state"], "fast_burn");
    let live = daemon.live(STUCK.0 + 900 - (STUCK.0 + 900 - begun) % 30, END).await;

    // The truth, from the samples: each waiter of each stuck slice is one bad event, and each stuck slice is bad.
    let slices = stuck_slices(&scenario, "stuck", END - 6 * HOUR, END);
    assert!((57..=60).contains(&slices), "{slices}");
    let (total, bad) = window(&row(&live, EVENTS, "stuck"), 6 * HOUR);
    assert_eq!(bad, slices * WAITERS);
    assert!(total.abs_diff(2 * (6 * HOUR as u64 - 1800) + bad) <= 60, "{total}");
    // A slice with few events is judged with those before it: at the end of each jam one more is bad.
    let judged_bad = window(&row(&live, SLICES, "stuck"), 6 * HOUR).1;
    assert!((slices..=slices + 1).contains(&judged_bad), "{judged_bad} {slices}");
    let before = stuck_slices(&scenario, "stuck", START + HOUR, END - 6 * HOUR);
    let judged_bad = window(&row(&live, SLICES, "stuck"), 30 * DAY).1;
    assert!((slices + before..=slices + before + 2).contains(&judged_bad), "{judged_bad} {slices} {before}");
    assert_eq!(window(&row(&live, EVENTS, "stuck"), 30 * DAY).1, (slices + before) * WAITERS);

    // Nobody waits and nobody comes: known, idle, nothing to say.
    let empty = row(&live, SLICES, "empty");
    assert_eq!((window(&empty, 6 * HOUR), &empty["data"]["state"]), ((0, 0), &"fresh".into()));
    // Seven always wait and somebody always gets through: the histogram decides, in its bad quarter as well.
    assert_eq!(stuck_slices(&scenario, "drains", END - 6 * HOUR, END), 0);
    let (total, bad) = window(&row(&live, EVENTS, "drains"), 6 * HOUR);
    assert!(total.abs_diff(3 * HOUR as u64) <= 60 && bad.abs_diff(225) <= 32, "{bad} of {total}");
    // Without its gauge nothing is known of a queue.
    let lost = live.slo("lost-gpu-queue-time-p95").expect("it is known");
    assert_eq!(lost.series[0].state, SloState::Unknown);
    assert_eq!(lost.series[0].data.reason.as_str(), "no_series");

    // Who reads it all at once, by remote read, says the same. Where old and new history join, two slices that are judged
    // with those before them may be judged by one and idle to the other.
    let mut cold = Driven::new(options(&prometheus.url(), &rules(), None));
    cold.tick(END - 30).await;
    let at_once = cold.tick(END).await;
    let (live, at_once) = (counts(&live), counts(&at_once));
    assert_eq!(live.len(), at_once.len());
    for ((name, live), (of, at_once)) in live.iter().zip(&at_once) {
        assert_eq!((name, live.len()), (of, at_once.len()));
        for (a, b) in live.iter().zip(at_once) {
            let spare = if name.starts_with(EVENTS) || a.0 <= 6 * HOUR { 0 } else { 2 };
            assert!(a.1.abs_diff(b.1) <= spare && a.2 == b.2, "{name}: {a:?} {b:?}");
        }
    }
}
