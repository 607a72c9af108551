//! Fleets with ordinary names, and SLOs in them that cannot be asked for: each alone says so, and the others are judged.

use std::sync::Arc;

use slowburn::clock::Clock;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::prometheus;
use slowburn::demo::scenario::{Pod, Scenario};
use slowburn::engine::alert::AlertKind;
use slowburn::engine::status::{DataReason, DataState, SeriesStatus};
use slowburn::engine::{SloSnapshot, Snapshot};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::daemon::{Driven, options};
use crate::fleet::{self, REQUESTS, write_rules};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::presets::slowburn;

/// On the slice grid, and on no grid of minutes or hours.
const T0: i64 = 1_790_000_010;

/// A simulated Prometheus at the end of what the tests live through.
struct Simulated {
    url: String,
    _stop: DropGuard,
}

/// All of them on one metric, but for `tiny`.
fn scenario(services: &[String]) -> Scenario {
    let mut scenario = Scenario::new();
    for (i, service) in services.iter().enumerate() {
        let pod = scenario.pod(Pod::new("j", &format!("i{i}:80"), 1_000, T0 - 86_400));
        let metric = if service == "tiny" { "grpc_total" } else { REQUESTS };
        let traffic = Traffic { rate: 2.0, shape: Shape::Flat, wobble: None, origin: T0 - 86_400 };
        let total = Count::of(traffic);
        let bad = total.part(&Timeline::new(0.001));
        for (code, count) in [("200", total.without(&bad)), ("500", bad)] {
            scenario.counter(pod, metric, &[("service", service), ("code", code)], &count);
        }
    }
    scenario
}

impl Simulated {
    async fn start(services: &[String]) -> Self {
        let scenario = scenario(services);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let stop = CancellationToken::new();
        // A clock that stands behind the end of what the tests live through.
        let clock = Clock::scaled((T0 + 600) * 1000, 0.0);
        tokio::spawn(prometheus::serve(listener, Arc::new(scenario), clock, stop.clone()));
        Simulated { url, _stop: stop.drop_guard() }
    }
}

fn named(services: usize) -> Vec<String> {
    (0..services).map(|i| format!("payments-gateway-eu-west-1-{i:04}")).collect()
}

fn availability(service: &str, metric: &str) -> (String, String) {
    let text = format!(
        "name: {service}\nowner: t\nslo:\n  availability:\n    objective: 99\n    sli: {{total: \
         '{metric}{{service=\"{service}\"}}', bad: '{metric}{{service=\"{service}\",code=\"500\"}}'}}\n"
    );
    (format!("{service}.yaml"), text)
}

/// One whose query the server refuses.
fn refused() -> (String, String) {
    let text = "name: refused\nowner: t\nslo:\n  custom:\n    \
                - {name: depth, objective: 99, slices: {query: 'max(unanswerable_metric)', max: 5}}\n";
    ("refused.yaml".into(), text.into())
}

/// One whose selector is just as long as a file may hold, and too long once its buckets are asked for.
fn long() -> (String, String) {
    let text = format!(
        "name: long\nowner: t\nslo:\n  latency_p95_ms:\n    max: 250\n    sli: {{histogram: \
         'd_seconds{{service=\"long\",path=\"{}\"}}'}}\n",
        "x".repeat(16 * 1024 - 40)
    );
    ("long.yaml".into(), text)
}

fn driven(url: &str, files: &[(String, String)]) -> Driven {
    let rules: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut options = options(url, &rules, None);
    options.backfill = false;
    Driven::new(options)
}

fn of<'a>(snapshot: &'a Snapshot, service: &str) -> (&'a SloSnapshot, &'a SeriesStatus) {
    let slo = snapshot.slos.iter().find(|slo| slo.slo.service == service).expect(service);
    (slo, &slo.series[0])
}

/// Lives through some polls of a fleet with one SLO of each kind that cannot be asked for.
async fn all_but_those_are_fresh(services: usize) {
    let mut names = named(services);
    let mut files: Vec<_> = names.iter().map(|name| availability(name, REQUESTS)).collect();
    files.extend([availability("tiny", "grpc_total"), refused(), long()]);
    names.push("tiny".into());
    let simulated = Simulated::start(&names).await;
    let proxy = FaultProxy::start(&simulated.url).await;
    proxy.set(Fault::Refuse("unanswerable_metric"));
    let mut driven = driven(&proxy.url(), &files);
    driven.live(T0 - 30, T0).await;
    proxy.take_traffic();
    let snapshot = driven.live(T0, T0 + 30).await;
    println!("{} queries in a poll of {} SLOs", proxy.take_traffic().queries(), snapshot.slos.len());
    let snapshot = driven.live(T0 + 30, T0 + 300).await;
    for name in &names {
        let (_, series) = of(&snapshot, name);
        assert_eq!((series.data.state, series.data.reason), (DataState::Fresh, DataReason::None), "{name}");
        assert!(series.window.total > 0, "{name}");
    }
    for (service, reason, said) in [
        ("refused", DataReason::QueryFailing, "on purpose"),
        ("long", DataReason::SourceUnplanned, "at most 16384 are read"),
    ] {
        let (slo, series) = of(&snapshot, service);
        assert_eq!((series.data.state, series.data.reason), (DataState::Absent, reason));
        assert!(slo.notes.iter().any(|note| note.contains(said)), "{:?}", slo.notes);
        let missing = snapshot.alerts.iter().filter(|alert| alert.kind == AlertKind::DataMissing);
        assert!(missing.filter(|alert| alert.slo_id == slo.slo.id).count() == 1, "nobody is told of {service}");
    }
    assert_eq!(snapshot.alerts.len(), 2, "{:?}", snapshot.alerts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_services_are_judged_beside_one_that_is_refused_and_one_that_cannot_be_asked_for() {
    all_but_those_are_fresh(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_services_are_judged_beside_one_that_is_refused_and_one_that_cannot_be_asked_for() {
    all_but_those_are_fresh(1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_the_one_that_is_refused_and_the_one_that_cannot_be_asked_for() {
    let names = named(3);
    let prometheus = fleet::prometheus(&scenario(&names), T0 - 3_600, T0).await;
    let proxy = FaultProxy::start(&prometheus.url()).await;
    proxy.set(Fault::Refuse("unanswerable_metric"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut files: Vec<_> = names.iter().map(|name| availability(name, REQUESTS)).collect();
    let write = |files: &[(String, String)]| {
        let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        write_rules(dir.path(), &files);
    };
    write(&files);
    let (path, url, at) = (dir.path().display().to_string(), proxy.url(), T0.to_string());
    let asked = ["check", &path, "--prometheus-url", &url, "--at", &at, "--days", "1"];
    let (code, text, err) = slowburn(&asked);
    assert_eq!(code, 0, "{text}{err}");
    files.push(refused());
    write(&files);
    let (code, text, err) = slowburn(&asked);
    assert_eq!(code, 1, "{text}{err}");
    assert!(text.contains("refused-depth: value: its query is not answered: Prometheus refused the query"), "{text}");
    assert!(err.contains("0 errors") && err.contains("1 missing source"), "{err}");
    files.push(long());
    write(&files);
    let (code, text, err) = slowburn(&["check", &path]);
    assert_eq!(code, 1, "{text}{err}");
    assert!(text.contains("long-latency-p95: error: no request can be made of its source"), "{text}");
    assert!(err.contains("1 error"), "{err}");
}
