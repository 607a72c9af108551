//! A Prometheus that fails or lies: what the daemon says meanwhile, and what its ledger holds afterwards.
//!
//! Two daemons live through the same hours of a real Prometheus, one of them through a proxy that breaks its answers for
//! a while. Afterwards both ledgers must be the same, slice by slice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Gauge, Mode, Pod, Scenario};
use slowburn::engine::alert::{Alert, AlertKind};
use slowburn::engine::status::{DataReason, DataState, SeriesStatus};
use slowburn::engine::{SliceDelta, Snapshot};

use crate::daemon::{Driven, options};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

mod lies;
mod live;

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
const POLL: i64 = 30;
/// Polls before the fault and after it.
const BEFORE: usize = 4;
const AFTER: usize = 4;

/// Everything an SLI can be made of, on three pods: counters, a histogram, gauges, a fan-out, two metrics.
fn shop() -> Scenario {
    let mut scenario = Scenario::new();
    let origin = END - 40 * HOUR;
    let incident = Timeline::new(0.0005).during(END - 3 * HOUR, END, 0.2);
    for (i, phase_ms) in [3_000, 14_000, 27_500].into_iter().enumerate() {
        let pod = Pod::new("shop", &format!("shop-{i}:8080"), phase_ms, END - 30 * HOUR);
        let pod = scenario.pod(pod.restarts((i == 1).then_some(END - 40 * 60 - 11)));
        let traffic = Traffic { rate: 7.0 + i as f64, shape: Shape::Flat, wobble: Some(i as u64), origin };
        let total = Count::of(traffic);
        let bad = total.part(&incident);
        let service = ("service", "shop");
        for (code, count) in [("200", total.without(&bad)), ("500", bad.share(0.7)), ("503", bad.share(0.3))] {
            scenario.counter(pod, "http_requests_total", &[service, ("code", code)], &count);
        }
        scenario.counter(pod, "rpc_started_total", &[service], &total);
        scenario.counter(pod, "rpc_failed_total", &[service], &bad);
        for (pool, share) in [("a100", 0.3), ("h100", 0.5), ("spot", 0.2)] {
            let of = total.share(share);
            let failed = of.part(&incident);
            let labels = |result| [service, ("pool", pool), ("result", result)];
            scenario.counter(pod, "jobs_total", &labels("ok"), &of.without(&failed));
            scenario.counter(pod, "jobs_total", &labels("failed"), &failed);
        }
        let slow = total.part(&Timeline::new(0.01).during(END - HOUR, END, 0.08));
        let modes = [
            Mode { count: total.without(&slow), median: 0.04, sigma: 0.5 },
            Mode { count: slow, median: 0.9, sigma: 0.4 },
        ];
        scenario.histogram(pod, "http_request_duration_seconds", &[service], &[0.1, 0.25, 0.5, 1.0], &modes);
        let stalls = vec![(END - 50 * 60 + 400 * i as i64, END - 45 * 60 + 400 * i as i64)];
        scenario.gauge(pod, "feature_age_seconds", &[service], Gauge::Age { period_s: 40, stalls });
        let depth = Timeline::new(20.0).bursts(END - 9 * HOUR, END, 700, 50 * i as i64, 90, 80.0);
        scenario.gauge(pod, "queue_depth", &[service], Gauge::Level { around: depth, swing: 5.0, seed: i as u64 });
    }
    scenario
}

fn rules() -> Vec<(&'static str, String)> {
    let text = r#"
name: shop
owner: team-shop
slo:
  availability:
    objective: 99.9
    sli: {total: 'http_requests_total{service="shop"}', bad: 'http_requests_total{service="shop",code=~"5.."}'}
  latency_p95_ms: {max: 250, sli: {histogram: 'http_request_duration_seconds{service="shop"}'}}
  ttfb_p95_ms: {max: 500, method: events, sli: {histogram: 'http_request_duration_seconds{service="shop"}'}}
  feature_freshness_max_delay_s: {max: 60, sli: {gauge: 'feature_age_seconds{service="shop"}'}}
  custom:
    - {name: queue, objective: 90, slices: {query: 'sum by (instance) (queue_depth{service="shop"})', max: 50}}
    - name: rpc
      objective: 99
      events: {total: 'rpc_started_total{service="shop"}', bad: 'rpc_failed_total{service="shop"}'}
    - name: jobs
      objective: 99
      by: [pool]
      events: {total: 'jobs_total{service="shop"}', bad: 'jobs_total{service="shop",result="failed"}'}
"#;
    vec![("shop.yaml", text.to_owned())]
}

async fn prometheus() -> Prometheus {
    let mut text = Vec::new();
    shop().write_openmetrics(END - 9 * HOUR, END, &mut text).expect("memory can be written");
    let past = Past::Text(String::from_utf8(text).expect("text"));
    Prometheus::start(PromOptions { past: Some(past), ..PromOptions::default() }).await
}

/// Raw, or summed by the server because two raw series are one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Raw,
    Aggregated,
}

fn driven(url: &str, way: Way, timeout: Duration) -> Driven {
    let mut options = options(url, &rules(), None);
    options.client.timeout = timeout;
    options.source.concurrency = 16;
    if way == Way::Aggregated {
        options.source.raw_series_max = 1;
    }
    Driven::new(options)
}

/// Slices by SLO and series.
type Slices = BTreeMap<(String, String), Vec<SliceDelta>>;

fn slices(driven: &Driven) -> Slices {
    let ids = driven.snapshot().slos.iter().map(|slo| slo.slo.id.clone()).collect::<Vec<_>>();
    let of = |id: &String| {
        let series = driven.daemon.ledger().of(id);
        series.map(|(labels, series)| ((id.clone(), labels.to_string()), series.fine().collect())).collect::<Vec<_>>()
    };
    ids.iter().flat_map(of).collect()
}

/// What a reader sees of every series, but for the data behind it.
fn numbers(snapshot: &Snapshot) -> Vec<(String, SeriesStatus)> {
    let of = |status: &SeriesStatus| {
        let data =
            slowburn::engine::status::DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: None };
        SeriesStatus { data, since: None, ..status.clone() }
    };
    series(snapshot).map(|(id, status)| (id.to_owned(), of(status))).collect()
}

fn series(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &SeriesStatus)> {
    snapshot.slos.iter().flat_map(|slo| slo.series.iter().map(|status| (slo.slo.id.as_str(), status)))
}

fn alert<'a>(snapshot: &'a Snapshot, slo_id: &str, kind: AlertKind) -> Option<&'a Alert> {
    snapshot.alerts.iter().find(|alert| alert.slo_id == slo_id && alert.kind == kind)
}

/// The slices in which two ledgers differ, for a message.
fn differences(ours: &Slices, theirs: &Slices) -> Vec<String> {
    let mut found = Vec::new();
    for key in ours.keys().chain(theirs.keys()) {
        let by_slice = |of: &Slices| -> BTreeMap<i64, SliceDelta> {
            of.get(key).into_iter().flatten().map(|delta| (delta.slice, *delta)).collect()
        };
        let (ours, theirs) = (by_slice(ours), by_slice(theirs));
        for slice in ours.keys().chain(theirs.keys()) {
            if ours.get(slice) != theirs.get(slice) {
                found.push(format!("{key:?} {slice}: {:?}, undisturbed {:?}", ours.get(slice), theirs.get(slice)));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// An undisturbed daemon: its slices and its snapshot after every poll.
struct Twin(Vec<(Slices, Arc<Snapshot>)>);

impl Twin {
    async fn live(url: &str, way: Way, polls: usize) -> Self {
        let mut daemon = driven(url, way, Duration::from_secs(10));
        let mut seen = Vec::new();
        for poll in 0..polls {
            let snapshot = daemon.tick(START + POLL * poll as i64).await;
            seen.push((slices(&daemon), snapshot));
        }
        Twin(seen)
    }
}

const START: i64 = END - 30 * 60;

/// What may be said while a fault lasts.
fn fitting(fault: Fault, reason: DataReason) -> bool {
    use DataReason::*;
    match fault {
        Fault::NotANumber | Fault::Infinite => reason == NotANumber,
        Fault::Shrunken => matches!(reason, SeriesMissing | NoBucket | SamplesOld | NoSeries),
        _ => reason == SourceUnreachable,
    }
}

/// Lives through a fault of some polls; answers with what was wrong.
async fn through(url: String, twin: &Twin, way: Way, fault: Fault, polls: usize) -> Vec<String> {
    let proxy = FaultProxy::start(&url).await;
    let slow = matches!(fault, Fault::Hang | Fault::Slow(_));
    // Short enough to wait for, and long enough for a machine that does other work: what an undisturbed request takes is
    // not what is tested.
    let mut daemon = driven(&proxy.url(), way, Duration::from_millis(if slow { 3000 } else { 10_000 }));
    let mut wrong = Vec::new();
    let mut says = |what: String| wrong.push(format!("{way:?} {fault:?} for {polls} polls: {what}"));
    for poll in 0..BEFORE + polls + AFTER {
        let broken = poll >= BEFORE && poll < BEFORE + polls;
        proxy.set(if broken { fault } else { Fault::None });
        let snapshot = daemon.tick(START + POLL * poll as i64).await;
        let (_, undisturbed) = &twin.0[poll];
        let (_, before) = &twin.0[BEFORE - 1];
        let into = (poll + 1).saturating_sub(BEFORE);
        if broken && into >= 2 {
            for (id, status) in series(&snapshot) {
                let fresh = status.data.state == DataState::Fresh;
                // Some have lost nothing: all of their raw series are among those that are left.
                let key = (id.to_owned(), status.labels.to_string());
                let spared = fault == Fault::Shrunken && slices(&daemon).get(&key) == twin.0[poll].0.get(&key);
                if fresh && !spared || !fresh && !fitting(fault, status.data.reason) {
                    says(format!("poll {into} of it: {id}{} is {:?}", status.labels, status.data));
                }
                // What was known of the budget before is still known.
                let (_, then) = series(before).find(|(i, s)| *i == id && s.labels == status.labels).expect("there");
                let (ours, then) = (status.budget_remaining, then.budget_remaining);
                let stays = ours.zip(then).is_some_and(|(ours, then)| (ours - then).abs() < 1e-9);
                if !stays && fault != Fault::Shrunken || ours.is_none() {
                    says(format!("poll {into} of it: {id} has {ours:?} of its budget, before it {then:?}"));
                }
            }
        }
        let page = alert(&snapshot, "shop-availability", AlertKind::FastBurn);
        match page {
            Some(page) if page.resolved_at.is_none() => {
                let twin = alert(undisturbed, "shop-availability", AlertKind::FastBurn).expect("it burns");
                if page.starts_at != twin.starts_at {
                    says(format!("poll {poll}: the page starts at {}, undisturbed {}", page.starts_at, twin.starts_at));
                }
            }
            other => says(format!("poll {poll}: the page is gone: {other:?}")),
        }
        let blind = !matches!(fault, Fault::Shrunken);
        let missing = alert(&snapshot, "shop-availability", AlertKind::DataMissing);
        if broken && into >= 8 && blind {
            if !page.is_some_and(|page| page.held) {
                says(format!("poll {into} of it: the page is not held"));
            }
            if missing.is_none_or(|missing| missing.resolved_at.is_some()) {
                says(format!("poll {into} of it: nobody is told that data is missing"));
            }
        }
        if poll > BEFORE + polls {
            for (id, status) in series(&snapshot) {
                if status.data.state != DataState::Fresh {
                    says(format!("poll {poll}, after it: {id}{} is {:?}", status.labels, status.data));
                }
            }
            // The word that data is missing ends after five minutes of data: so long this does not go on.
            if page.is_some_and(|page| page.held) {
                says(format!("poll {poll}, after it: the page is still held"));
            }
        }
        if poll < BEFORE || poll > BEFORE + polls {
            let (theirs, undisturbed) = &twin.0[poll];
            let differ = differences(&slices(&daemon), theirs);
            if !differ.is_empty() {
                says(format!("poll {poll}: {} slices differ: {:#?}", differ.len(), &differ[..differ.len().min(6)]));
            } else if numbers(&snapshot) != numbers(undisturbed) {
                says(format!("poll {poll}: the slices are the same and the numbers are not"));
            }
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_every_fault_the_ledger_is_that_of_an_undisturbed_run() {
    let prometheus = prometheus().await;
    let most = BEFORE + 20 + AFTER;
    let (raw, summed) = (
        Twin::live(&prometheus.url(), Way::Raw, most).await,
        Twin::live(&prometheus.url(), Way::Aggregated, most).await,
    );
    let quick = [Fault::Html, Fault::Half, Fault::Error, Fault::NotANumber, Fault::Infinite, Fault::Shrunken];
    let silent = [(Fault::Hang, 1), (Fault::Hang, 10), (Fault::Slow(Duration::from_secs(20)), 3)];
    let quick: Vec<(Fault, usize)> = quick.iter().flat_map(|&fault| [1, 3, 20].map(|polls| (fault, polls))).collect();
    let mut wrong: Vec<String> = Vec::new();
    // Those that wait for a deadline have the machine for themselves: nothing else shall be late.
    for faults in [&quick[..], &silent[..]] {
        let ways = [(Way::Raw, &raw), (Way::Aggregated, &summed)].into_iter();
        let runs = ways.flat_map(|(way, twin)| faults.iter().map(move |&(fault, polls)| (way, twin, fault, polls)));
        let runs = runs.map(|(way, twin, fault, polls)| through(prometheus.url(), twin, way, fault, polls));
        wrong.extend(join_all(runs).await.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} findings: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}
