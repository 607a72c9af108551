//! An SLO with slices of its own beside its twin with the daemon's, on a real Prometheus: thirty days of which the truth
//! is known, through `eval`, through polls, after restarts in the middle of a slice, and when the length is changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use slowburn::demo::Scenario;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Gauge, Mode, Pod};
use slowburn::engine::status::DataState;
use slowburn::engine::{SloState, Snapshot};
use slowburn::web::view::SloView;

use crate::daemon::{Driven, options};
use crate::fleet;

const DAY: i64 = 86_400;
/// 2026-10-28T10:20:00Z: where a slice of five minutes ends.
const END: i64 = 1_793_182_800;
/// All answers are slow for a minute of one five-minute slice of ten: 20 % of it.
const SLOW: (i64, i64, i64) = (3000, 120, 60);
/// And for six seconds of another one: 2 % of it, and 20 % of half a minute.
const BLIP: (i64, i64, i64) = (3000, 1620, 6);
/// The features stand still for three minutes of a slice of five: too old in the last two of them.
const STALLS: [i64; 3] = [END - 20 * DAY, END - 3 * DAY, END - 3600];

fn rules(own: &str) -> Vec<(&'static str, String)> {
    let counts = "{total: requests_total, bad: 'requests_total{code=\"500\"}'}";
    let text = format!(
        "name: svc\nowner: team-svc\nslo:\n  \
         availability: {{objective: 99.9, sli: {counts}}}\n  \
         latency_p95_ms: {{max: 100, sli: {{histogram: duration_seconds}}}}\n  \
         feature_freshness_max_delay_s: {{max: 60, sli: {{gauge: age_seconds}}}}\n  \
         custom:\n    \
         - {{name: own-availability, objective: 99.9, resolution: {own}, events: {counts}}}\n    \
         - {{name: own-p95, objective: 99, resolution: {own}, slices: {{quantile: 0.95, histogram: duration_seconds, max: 0.1}}}}\n    \
         - {{name: own-age, objective: 99, resolution: {own}, slices: {{query: age_seconds, max: 60}}}}\n"
    );
    vec![("svc.yaml", text)]
}

/// The past, and counts of all events and of the slow ones.
fn scenario() -> (Scenario, Count, Count) {
    let mut scenario = Scenario::new();
    let start = END - 32 * DAY;
    let pod = scenario.pod(Pod::new("svc", "svc:8080", 7_300, start - DAY));
    let origin = (start - 10 * DAY).div_euclid(DAY) * DAY;
    let total = Count::of(Traffic { rate: 0.5, shape: Shape::Flat, wobble: None, origin });
    let bursts = |line: Timeline, (period, offset, length)| line.bursts(start, END + DAY, period, offset, length, 1.0);
    let slow = total.part(&bursts(bursts(Timeline::new(0.0), SLOW), BLIP));
    let modes = [
        Mode { count: total.without(&slow), median: 0.03, sigma: 0.2 },
        Mode { count: slow.clone(), median: 0.9, sigma: 0.2 },
    ];
    scenario.histogram(pod, "duration_seconds", &[], &[0.05, 0.1, 0.25, 1.0], &modes);
    let bad = total.share(0.003);
    scenario.counter(pod, "requests_total", &[("code", "200")], &total.without(&bad));
    scenario.counter(pod, "requests_total", &[("code", "500")], &bad);
    let stalls = STALLS.map(|at| (at + 20, at + 200)).to_vec();
    scenario.gauge(pod, "age_seconds", &[], Gauge::Age { period_s: 30, stalls });
    (scenario, total, slow)
}

/// How many slices of `slice_s` in the thirty days up to `at` have over 5 % slow events.
fn truth((total, slow): (&Count, &Count), slice_s: i64, at: i64) -> (u64, u64) {
    let end = (at + slice_s - 1).div_euclid(slice_s);
    let slices = end - 30 * DAY / slice_s..end;
    let is_bad = |slice: &i64| {
        let (from, to) = (slice * slice_s, (slice + 1) * slice_s);
        slow.between(from, to) * 20 > total.between(from, to)
    };
    (30 * DAY as u64 / slice_s as u64, slices.filter(is_bad).count() as u64)
}

fn eval(url: &str, rules: &Path) -> Vec<Value> {
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", url, "--format", "json", "--at", "2026-10-28T10:20:00Z", "--rules"])
        .arg(rules)
        .output()
        .expect("the binary runs");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
}

/// The views of a snapshot, as the API and `eval` show them.
fn views(snapshot: &Snapshot) -> Vec<Value> {
    snapshot.slos.iter().map(|slo| serde_json::to_value(SloView::of(slo)).expect("JSON")).collect()
}

/// Total and bad of the thirty days.
fn window(views: &[Value], name: &str) -> (u64, u64) {
    let view = views.iter().find(|view| view["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let window = &view["series"][0]["window"];
    (window["total"].as_u64().expect("a number"), window["bad"].as_u64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_of_five_minutes_beside_their_twins() {
    let (scenario, total, slow) = scenario();
    let counts = (&total, &slow);
    let prometheus = fleet::prometheus(&scenario, END - 32 * DAY, END + 600).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    fleet::write_rules(&dir.path().join("rules"), &rules("5m"));

    // Thirty days read at once.
    let read = eval(&prometheus.url(), &dir.path().join("rules"));
    let (of_minutes, wanted) = (window(&read, "own-p95"), truth(counts, 300, END));
    println!("p95 by 5m: {of_minutes:?}, in truth {wanted:?}; by 30s: {:?}", window(&read, "latency-p95"));
    assert_eq!(of_minutes, wanted);
    assert_eq!(wanted.1, 864, "a slice of ten");
    assert_eq!(window(&read, "availability"), window(&read, "own-availability"));
    assert!(window(&read, "latency-p95").1 > 2 * 864, "half minutes see the blips, too");
    assert_eq!(window(&read, "own-age"), (8640, STALLS.len() as u64));
    println!("age by 5m: {:?}; by 30s: {:?}", window(&read, "own-age"), window(&read, "feature-freshness"));
    assert!(window(&read, "feature-freshness").1 >= 3 * STALLS.len() as u64);

    // Polls, and a second daemon that is stopped again and again, mostly within a slice.
    let daemon = |own: &str, data: Option<PathBuf>| Driven::new(options(&prometheus.url(), &rules(own), data));
    let kept = Some(dir.path().join("state"));
    let (mut steady, mut often) = (daemon("5m", None), Some(daemon("5m", kept.clone())));
    let begin = END - 1800;
    steady.tick(begin).await;
    often.as_mut().expect("it was made").tick(begin).await;
    for (n, at) in (begin + 30..=END + 300).step_by(30).enumerate() {
        let snapshot = steady.tick(at).await;
        let again = match often.take().filter(|_| n % 7 != 6) {
            Some(going_on) => often.insert(going_on),
            None => often.insert(daemon("5m", kept.clone())),
        };
        let again = again.tick(at).await;
        let (steady, again) = (views(&snapshot), views(&again));
        assert_eq!(steady, again, "{at}");
        let (judged, bad) = window(&steady, "own-p95");
        assert_eq!(judged, 8640, "{at}: with the one that is going on");
        if at % 300 == 0 {
            assert_eq!(bad, truth(counts, 300, at).1, "{at}");
        }
        for slo in &snapshot.slos {
            let status = &slo.series[0];
            assert_eq!(status.data.state, DataState::Fresh, "{} at {at}: going on is no fault", slo.slo.id);
            assert!(status.coverage > 0.999, "{} at {at}: {}", slo.slo.id, status.coverage);
            assert_ne!(status.state, SloState::Unknown, "{}", slo.slo.id);
        }
        if at == END {
            let of = |view: &Value| (view["series"][0]["window"].clone(), view["series"][0]["windows"].clone());
            let counted = |views: &[Value]| views.iter().map(of).collect::<Vec<_>>();
            assert_eq!(counted(&read), counted(&steady), "as `eval` says it");
        }
    }

    // Another length begins anew, from what Prometheus has.
    drop(often);
    let mut other = daemon("150s", kept.clone());
    other.tick(END + 330).await;
    let changed = views(&*other.tick(END + 360).await);
    let (judged, bad) = window(&changed, "own-p95");
    println!("p95 by 150s: {bad} of {judged}");
    assert_eq!(judged, 2 * 8640);
    assert!((864..=2 * 864).contains(&bad), "a slow minute lies in two of them");
    drop(other);
    // And the old one is still there.
    let back = views(&*daemon("5m", kept).tick(END + 390).await);
    assert_eq!(window(&back, "own-p95").0, 8640);
}
