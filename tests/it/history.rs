//! History as servers offer it, and as they do not: whatever the encoding, the version and the limits, a cold start
//! comes to what happened, or says how far back it knows.

use std::path::PathBuf;
use std::sync::Arc;

use slowburn::app::Options;
use slowburn::clock::Clock;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::prometheus::{Behaviour, Generation, serve_as};
use slowburn::demo::scenario::{Pod, Scenario};
use slowburn::engine::history::{Range, history};
use slowburn::engine::status::{DataState, SloState};
use slowburn::engine::{Labels, SeriesStatus, Snapshot};
use slowburn::prometheus::backfill::Way;
use slowburn::spec;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::daemon::{Driven, options};
use crate::fleet::REQUESTS;
use crate::harness::fault_proxy::{Fault, FaultProxy};

/// On the grid of slices, of five minutes and of hours.
pub const END: i64 = 1_790_002_800;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// Two pods that are scraped exactly on the grid, one of which restarts; a third of the requests fail in the last 40
/// minutes.
pub fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    for n in 0..2 {
        let pod = Pod::new("shop", &format!("shop-{n}:80"), 0, END - 9 * DAY);
        let restarts = (1..5).filter(|_| n == 1).map(|day| END - day * DAY + 1234);
        let pod = scenario.pod(pod.restarts(restarts));
        let all = Count::of(Traffic { rate: 4.0, shape: Shape::Flat, wobble: Some(n), origin: END - 9 * DAY });
        let bad = all.part(&Timeline::new(0.0004).during(END - 2400, END + HOUR, 0.33));
        scenario.counter(pod, REQUESTS, &[("code", "200")], &all.without(&bad));
        scenario.counter(pod, REQUESTS, &[("code", "500")], &bad);
        scenario.truth_of("shop", pod, &all, &bad);
    }
    scenario
}

pub fn rules() -> Vec<(&'static str, String)> {
    let text = format!(
        "name: shop\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    window: 7d\n    \
         sli: {{total: '{REQUESTS}{{job=\"shop\"}}', bad: '{REQUESTS}{{job=\"shop\",code=~\"5..\"}}'}}\n"
    );
    vec![("shop.yaml", text)]
}

/// A simulated Prometheus that stands at [`END`], behind a proxy.
pub async fn prometheus(behaviour: Behaviour, scenario: Scenario) -> (FaultProxy, DropGuard) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
    let stop = CancellationToken::new();
    let scenario = watch::channel(Arc::new(scenario)).1;
    tokio::spawn(serve_as(behaviour, listener, scenario, Clock::scaled(END * 1000, 0.0), stop.clone()));
    (FaultProxy::start(&url).await, stop.drop_guard())
}

pub fn speaking(generation: Generation, remote_read: bool) -> Behaviour {
    Behaviour { generation, remote_read, ..Behaviour::default() }
}

/// A daemon that starts cold at [`END`]: what it publishes when older history has been joined and evaluated.
async fn cold_start(url: &str) -> Arc<Snapshot> {
    cold_start_of(options(url, &rules(), None)).await
}

/// The same where history that remote read does not bring comes by range queries, however small it is.
async fn cold_start_by_ranges(url: &str) -> Arc<Snapshot> {
    cold_start_of(by_ranges(url, None)).await
}

async fn cold_start_of(options: Options) -> Arc<Snapshot> {
    let mut driven = Driven::new(options);
    driven.tick(END - 30).await;
    driven.tick(END).await
}

fn by_ranges(url: &str, data_dir: Option<PathBuf>) -> Options {
    let mut options = options(url, &rules(), data_dir);
    options.source.queried_samples_max = 0;
    options
}

fn approximate(snapshot: &Snapshot) -> Vec<&String> {
    snapshot.slos[0].notes.iter().filter(|note| note.starts_with("approximate history: before ")).collect()
}

fn series(snapshot: &Snapshot) -> &SeriesStatus {
    &snapshot.slos[0].series[0]
}

/// Total and bad of the seven days.
fn counts(snapshot: &Snapshot) -> (u64, u64) {
    let window = &series(snapshot).window;
    (window.total, window.bad)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_days_come_to_the_same_in_every_encoding_and_kind_of_window() {
    // What the scrape at the end of the last slice shows is booked in the slice that begins there.
    let truth = scenario().truth("shop", END - 7 * DAY - 30, END - 30).expect("it is known");
    let mut table = Vec::new();
    for (generation, way) in [
        (Generation::V2_42, Way::RemoteRead),
        (Generation::V3_5, Way::RemoteRead),
        (Generation::V3_14, Way::RemoteRead),
        (Generation::V2_42, Way::Queries),
        (Generation::V3_5, Way::Queries),
        (Generation::V2_42, Way::Ranges),
        (Generation::V3_5, Way::Ranges),
    ] {
        let (proxy, _stop) = prometheus(speaking(generation, way == Way::RemoteRead), scenario()).await;
        let snapshot = match way {
            Way::Ranges => cold_start_by_ranges(&proxy.url()).await,
            _ => cold_start(&proxy.url()).await,
        };
        let (total, bad) = counts(&snapshot);
        println!("{} {way:?}: {bad} of {total}; truth {truth:?}", generation.version());
        table.push((total, bad));
        let off = |seen: u64, truth: u64| (seen as f64 / truth as f64 - 1.0).abs();
        assert!(off(total, truth.seen_total) < 0.0005 && off(bad, truth.seen_bad) < 0.003, "{generation:?}");
        assert_eq!(series(&snapshot).data.state, DataState::Fresh, "{generation:?}");
        assert_eq!(approximate(&snapshot).len(), usize::from(way == Way::Ranges), "{generation:?} {way:?}");
    }
    assert!(table[..5].iter().all(|counts| *counts == table[0]), "raw samples are raw samples: {table:?}");
    // Closed or left-open, a sample on the border counts once; where a coarse step ends differs.
    assert!(table[5].1.abs_diff(table[6].1) < 20 && table[5].0.abs_diff(table[6].0) < 1000, "{table:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_cannot_be_read_is_asked_for_in_another_way() {
    let (proxy, _stop) = prometheus(speaking(Generation::V2_42, true), scenario()).await;
    let plain = cold_start(&proxy.url()).await;
    assert_eq!(series(&plain).state, SloState::FastBurn);
    let faults = [
        // XOR under the name of XOR2, of a histogram, and of something that nobody knows yet.
        Fault::Encoding(4),
        Fault::Encoding(3),
        Fault::Encoding(9),
        // All is well, and there is nothing: at all, or of all but the last hours.
        Fault::Forgetful(END + DAY),
        Fault::Forgetful(END - 7 * HOUR),
    ];
    for fault in faults {
        proxy.set(fault);
        let snapshot = cold_start(&proxy.url()).await;
        println!("{fault:?}: {:?} {:?}", series(&snapshot).state, counts(&snapshot));
        assert_eq!(series(&snapshot).state, SloState::FastBurn, "{fault:?}");
        let ((total, bad), (of_total, of_bad)) = (counts(&snapshot), counts(&plain));
        assert!(total.abs_diff(of_total) < of_total / 500 && bad.abs_diff(of_bad) < of_bad / 100, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_history_is_approximate_is_said_after_a_restart_too() {
    let (proxy, _stop) = prometheus(speaking(Generation::V3_5, false), scenario()).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let kept = || by_ranges(&proxy.url(), Some(dir.path().to_owned()));
    let said = cold_start_of(kept()).await;
    let said = approximate(&said);
    assert_eq!(said.len(), 1);
    for at_s in [END + 30, END + 300] {
        let mut driven = Driven::new(kept());
        assert_eq!(approximate(&*driven.tick(at_s).await), said, "{at_s}");
    }
    // It counts something else now: its history is read anew, and raw.
    let mut options = options(&proxy.url(), &rules(), Some(dir.path().to_owned()));
    let (name, text) = rules().remove(0);
    let text = text.replace("5..", "5.*");
    options.rules = Arc::new(move || spec::load_texts(&[(name, &*text)], &spec::Options::default()));
    let mut driven = Driven::new(options);
    driven.tick(END + 330).await;
    let snapshot = driven.tick(END + 360).await;
    assert!(series(&snapshot).window.bad > 0 && approximate(&snapshot).is_empty(), "{:?}", snapshot.slos[0].notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_long_queries_is_asked_in_pieces() {
    let (proxy, _stop) = prometheus(speaking(Generation::V3_5, false), scenario()).await;
    let whole = counts(&*cold_start_by_ranges(&proxy.url()).await);
    for longest_s in [3 * DAY, 20 * HOUR, 2 * HOUR] {
        proxy.set(Fault::Longest(longest_s));
        let snapshot = cold_start_by_ranges(&proxy.url()).await;
        assert_eq!(counts(&snapshot), whole, "{longest_s}");
        assert_eq!(series(&snapshot).data.state, DataState::Fresh);
        let others = snapshot.slos[0].notes.iter().filter(|note| !note.starts_with("approximate history"));
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_looks_back_no_further_gives_what_it_has_and_it_is_said() {
    let (proxy, _stop) = prometheus(speaking(Generation::V3_5, false), scenario()).await;
    for days in [2, 5] {
        proxy.set(Fault::LooksBackTo(END - days * DAY));
        let snapshot = cold_start_by_ranges(&proxy.url()).await;
        let truth = scenario().truth("shop", END - days * DAY, END).expect("it is known");
        let (total, bad) = counts(&snapshot);
        println!("{days} days: {bad} of {total}; truth {truth:?}");
        // The first hour that was asked for ends where the store begins; a piece of an hour may be missing.
        assert!(total.abs_diff(truth.seen_total) < 8 * 3600 + 2000, "{days}: {total}");
        assert!(bad <= truth.bad + 5, "{days}: {bad}");
        assert_eq!(series(&snapshot).data.state, DataState::Fresh, "it is not waited for for ever");
        let notes = &snapshot.slos[0].notes;
        assert!(notes.iter().any(|note| note.contains("history goes back")), "{notes:?}");
    }
}

/// What `eval --history` prints of the same rules.
fn eval_history(url: &str, from_s: i64, step: &str) -> serde_json::Value {
    let dir = tempfile::tempdir().expect("a directory");
    let (name, text) = &rules()[0];
    std::fs::write(dir.path().join(name), text).expect("a file");
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--history", "shop-availability", "--prometheus-url", url, "--format", "json"])
        .args(["--at", &END.to_string(), "--from", &from_s.to_string(), "--step", step, "--rules"])
        .arg(dir.path())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The onset of the errors is in the points, each of which is the truth, in a daemon and without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_point_of_a_range_is_what_happened() {
    let (proxy, _stop) = prometheus(speaking(Generation::V3_5, true), scenario()).await;
    let mut driven = Driven::new(options(&proxy.url(), &rules(), None));
    driven.tick(END - 30).await;
    let snapshot = driven.tick(END).await;
    let slo = Arc::clone(&snapshot.slos[0].slo);
    let labels = Labels::new();
    let series = driven.daemon.ledger().get(&slo.id, &labels).expect("it is counted");
    let range = Range::new(END - 2 * HOUR - 77, END, 420, 30).expect("a range");
    let lived = history(&slo, series, &labels, range, false);
    let url = proxy.url();
    let (printed, long) = tokio::task::spawn_blocking(move || {
        (eval_history(&url, END - 2 * HOUR - 77, "7m"), eval_history(&url, END - 12 * DAY, "6h"))
    })
    .await
    .expect("it ran");
    assert_eq!(printed["points"], serde_json::to_value(&lived.points).expect("plain data"));
    let mut burnt = 0;
    for point in &lived.points {
        let shown = scenario().scraped("shop", END - 9 * DAY, point.from, point.to).expect("it is known");
        assert_eq!(point.total.zip(point.bad), Some(shown), "{point:?}");
        burnt += usize::from(point.error_ratio.expect("there were requests") > 0.1);
    }
    assert_eq!(burnt, 6, "of points of seven minutes, in forty minutes");
    // Before the first sample nothing is known, which is no hour without requests.
    let points = long["points"].as_array().expect("points");
    assert_eq!(
        (points.len(), &points[0]["data"], &points[0]["total"]),
        (49, &"unknown".into(), &serde_json::Value::Null)
    );
    let known_from = long["known_from"].as_i64().expect("something is known");
    assert!((END - 9 * DAY - HOUR..END - 9 * DAY + HOUR).contains(&known_from), "{known_from}");
    assert!(points.iter().filter(|point| point["data"] != "unknown").all(|point| point["total"].as_u64() > Some(0)));
}
