//! Many SLOs on one real Prometheus: how few requests they take, and that one of them never blinds the others.

use std::fmt::Write as _;
use std::sync::Arc;

use slowburn::engine::Snapshot;
use slowburn::engine::status::{DataReason, DataState};

use crate::daemon::{Driven, options};
use crate::harness::fault_proxy::FaultProxy;
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

/// On the slice grid, and on no grid of minutes or hours.
const T0: i64 = 1_790_000_010;

/// A counter that rises by one each 30 s, [T0 - 10 min, until).
fn counter(text: &mut String, series: &str, until: i64) {
    counter_from(text, series, T0 - 590, until);
}

fn counter_from(text: &mut String, series: &str, from: i64, until: i64) {
    for (n, at) in (from..until).step_by(30).enumerate() {
        writeln!(text, "{series} {n} {at}").expect("a String grows");
    }
}

async fn prometheus(text: String, flags: &[&str]) -> Prometheus {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Prometheus::start(PromOptions { past: Some(Past::Text(text + "# EOF\n")), flags, ..PromOptions::default() }).await
}

fn availability(service: &str) -> (String, String) {
    let text = format!(
        "name: {service}\nowner: t\nslo:\n  availability:\n    objective: 99\n    sli: {{total: \
         'r_total{{service=\"{service}\"}}', bad: 'r_total{{service=\"{service}\",code=\"500\"}}'}}\n"
    );
    (format!("{service}.yaml"), text)
}

fn driven(url: &str, files: &[(String, String)], change: impl FnOnce(&mut slowburn::app::Options)) -> Driven {
    let rules: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut options = options(url, &rules, None);
    options.backfill = false;
    change(&mut options);
    Driven::new(options)
}

/// The services whose data is fresh.
fn fresh(snapshot: &Arc<Snapshot>) -> Vec<&str> {
    let slos = snapshot.slos.iter().filter(|slo| slo.series[0].data.state == DataState::Fresh);
    slos.map(|slo| slo.slo.service.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_services_with_three_slos_each_take_ten_queries_a_poll_at_most() {
    let until = T0 + 90;
    let mut text = String::new();
    let mut files = Vec::new();
    for family in ["r", "d_bucket", "d_count", "age"] {
        for n in 0..200 {
            let pod = format!("service=\"s{n}\",job=\"j\",instance=\"i{n}\"");
            match family {
                "r" => ["200", "500"].iter().for_each(|code| {
                    counter(&mut text, &format!("r_total{{{pod},code=\"{code}\"}}"), until);
                }),
                "d_bucket" => ["0.25", "+Inf"].iter().for_each(|le| {
                    counter(&mut text, &format!("d_seconds_bucket{{{pod},le=\"{le}\"}}"), until);
                }),
                "d_count" => counter(&mut text, &format!("d_seconds_count{{{pod}}}"), until),
                _ => counter(&mut text, &format!("age_seconds{{{pod}}}"), until),
            }
        }
    }
    for n in 0..200 {
        let (name, text) = availability(&format!("s{n}"));
        let more = format!(
            "  latency_p95_ms: {{max: 250, sli: {{histogram: 'd_seconds{{service=\"s{n}\"}}'}}}}\n  \
             feature_freshness_max_delay_s: {{max: 60, sli: {{gauge: 'age_seconds{{service=\"s{n}\"}}'}}}}\n"
        );
        files.push((name, text + &more));
    }
    let prometheus = prometheus(text, &[]).await;
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let mut driven = driven(&proxy.url(), &files, |_| {});
    driven.live(T0 - 30, T0).await;
    proxy.take_traffic();
    let snapshot = driven.live(T0, T0 + 60).await;
    let traffic = proxy.take_traffic();
    println!(
        "{} queries and {} samples in 2 polls of {} SLOs",
        traffic.queries(),
        traffic.samples,
        snapshot.slos.len()
    );
    assert_eq!((snapshot.slos.len(), fresh(&snapshot).len()), (600, 600));
    assert!(traffic.queries() <= 2 * 10, "{:?}", traffic.requests);
}

/// Twenty services, of which `s7` has so many series for ten minutes that the server refuses to read them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slo_that_the_server_refuses_blinds_no_other_and_is_well_again_when_it_can_be() {
    let until = T0 + 3600;
    let mut text = String::new();
    let files: Vec<(String, String)> = (0..20).map(|n| availability(&format!("s{n}"))).collect();
    for n in 0..20 {
        let pods = if n == 7 { 400 } else { 1 };
        for pod in 0..pods {
            let series = format!("r_total{{service=\"s{n}\",job=\"j\",instance=\"i{pod}\",code=\"200\"}}");
            match pod {
                0 => counter(&mut text, &series, until),
                _ => counter_from(&mut text, &series, T0 + 70, T0 + 600),
            }
        }
    }
    let prometheus = prometheus(text, &["--query.max-samples=300"]).await;
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let mut driven = driven(&proxy.url(), &files, |_| {});
    let all: Vec<String> = (0..20).map(|n| format!("s{n}")).filter(|name| name != "s7").collect();
    let is_all_but_one = |snapshot: &Arc<Snapshot>| {
        let mut fresh = fresh(snapshot);
        fresh.sort_unstable();
        let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
        all.sort_unstable();
        let says: Vec<_> = snapshot.slos.iter().map(|slo| (&slo.slo.service, slo.series[0].data)).collect();
        assert_eq!(fresh, all, "{says:?}");
    };
    let snapshot = driven.live(T0 - 30, T0 + 60).await;
    assert_eq!(fresh(&snapshot).len(), 20);
    // The first poll that fails finds out for whom.
    let snapshot = driven.live(T0 + 60, T0 + 90).await;
    let unsure = snapshot.slos.iter().filter(|slo| slo.series[0].data.reason != DataReason::None);
    assert_eq!(unsure.map(|slo| slo.slo.service.as_str()).collect::<Vec<_>>(), ["s7"]);
    proxy.take_traffic();
    let snapshot = driven.live(T0 + 90, T0 + 390).await;
    is_all_but_one(&snapshot);
    let bad = snapshot.slo("s7-availability").expect("the SLO");
    assert_eq!(bad.series[0].data.reason.as_str(), "query_failing");
    let queries = proxy.take_traffic().queries();
    println!("{queries} queries in 10 polls with one SLO that fails");
    assert!(queries <= 10 * 8, "halves, not singles: {queries}");
    // Its pods are gone: it is read again, and by and by all is one request.
    let snapshot = driven.live(T0 + 390, T0 + 2970).await;
    assert_eq!(fresh(&snapshot).len(), 20);
    let total = |id: &str| snapshot.slo(id).expect("the SLO").series[0].window.total;
    assert_eq!(total("s3-availability"), total("s12-availability"));
    assert_eq!(total("s7-availability"), total("s3-availability"), "what was hidden is bridged");
    proxy.take_traffic();
    driven.live(T0 + 2970, T0 + 3270).await;
    assert_eq!(proxy.take_traffic().queries(), 10, "one query a poll again");
}

/// An answer over the cap: the SLO that makes it so large is summed by the server, and nobody else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_the_cap_is_split_and_then_summed_by_the_server() {
    let mut text = String::new();
    let files: Vec<(String, String)> = (0..4).map(|n| availability(&format!("s{n}"))).collect();
    for n in 0..4 {
        for pod in 0..if n == 2 { 1500 } else { 3 } {
            for code in ["200", "500"].iter().take(if pod == 0 { 2 } else { 1 }) {
                let series = format!("r_total{{service=\"s{n}\",job=\"j\",instance=\"i{pod}\",code=\"{code}\"}}");
                counter(&mut text, &series, T0 + 330);
            }
        }
    }
    let prometheus = prometheus(text, &[]).await;
    for cap in ["bytes", "series"] {
        let mut driven = driven(&prometheus.url(), &files, |options| match cap {
            "bytes" => options.client.max_response_bytes = 100_000,
            _ => options.source.raw_series_max = 1000,
        });
        driven.live(T0 - 30, T0).await;
        let snapshot = driven.live(T0, T0 + 300).await;
        assert_eq!(fresh(&snapshot).len(), 4, "{cap}");
        for slo in &snapshot.slos {
            let (total, bad) = (slo.series[0].window.total, slo.series[0].window.bad);
            let summed = slo.notes.iter().any(|note| note.starts_with("aggregated"));
            println!("{cap}: {} counted {total} events, {bad} of them bad", slo.slo.id);
            assert_eq!(summed, slo.slo.service == "s2", "{cap}: {:?}", slo.notes);
            // Each of its series gains one in each of the ten slices since the first poll, and maybe one in that.
            let pods = if summed { 1501 } else { 4 };
            assert!((10 * pods..=11 * pods).contains(&total), "{cap}: {} counted {total}", slo.slo.id);
            assert!((10..=11).contains(&bad), "{cap}: {} counted {bad} bad", slo.slo.id);
        }
    }
}

/// What the server sums loses neither the first failures of a target, where they have a metric of their own, nor the good
/// events of buckets that begin to be spelled in another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_of_the_server_know_a_target_by_its_labels_and_a_bound_by_its_number() {
    let (until, at) = (T0 + 330, T0 + 135);
    let mut text = String::new();
    let mut series = |name: &str, labels: &str, from: i64, to: i64, first: i64, each: i64| {
        for (n, at) in (from..to).step_by(30).enumerate() {
            writeln!(text, "{name}{{{labels}}} {} {at}", first + each * n as i64).expect("a String grows");
        }
    };
    let from = T0 - 585;
    let pods = ["pod=\"p0\",job=\"j\",instance=\"a\"", "pod=\"p1\",job=\"j\",instance=\"b\""];
    for pod in pods {
        // The spelling changes, the counter goes on.
        let before = (at - from) / 30;
        series("d_seconds_bucket", &format!("{pod},le=\"1\""), from, at, 1_000, 1);
        series("d_seconds_bucket", &format!("{pod},le=\"1.0\""), at, until, 1_000 + before, 1);
    }
    pods.iter().for_each(|pod| series("d_seconds_count", pod, from, until, 1_000, 1));
    pods.iter().for_each(|pod| series("all_total", pod, from, until, 1_000, 10));
    // Its first failures come seven at once; the labels of its targets are not the usual ones.
    series("failed_total", "pod=\"p1\",job=\"errors\",instance=\"b:9\"", at, until, 7, 1);
    let file = "name: s\nowner: t\nslo:\n  latency_p95_ms: {max: 1000, method: events, sli: {histogram: d_seconds}}\n  \
                custom:\n    - {name: jobs, objective: 99, events: {total: all_total, bad: failed_total}}\n\
                telemetry: {target_labels: [pod]}\n";
    let prometheus = prometheus(text, &[]).await;
    let files = [("s.yaml".to_owned(), file.to_owned())];
    let mut driven = driven(&prometheus.url(), &files, |options| options.source.raw_series_max = 1);
    driven.live(T0 - 30, T0).await;
    let snapshot = driven.live(T0, T0 + 300).await;
    let counted = |id: &str| {
        let slo = snapshot.slos.iter().find(|slo| slo.slo.id == id).expect(id);
        assert!(slo.notes.iter().any(|note| note.starts_with("aggregated")), "{:?}", slo.notes);
        (slo.series[0].window.total, slo.series[0].window.bad)
    };
    // Ten slices since the first poll, and maybe one in that.
    let (total, bad) = counted("s-latency-p95");
    assert!((20..=22).contains(&total) && bad == 0, "{total} {bad}");
    let (total, bad) = counted("s-jobs");
    assert!((200..=220).contains(&total), "{total}");
    assert_eq!(bad, 7 + 5, "seven at once, and one in each slice after it");
}

/// A gauge where a counter belongs, and a counter where a histogram belongs: `check` says so before anything runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_a_metric_of_the_wrong_type() {
    let now = slowburn::clock::Clock::wall().now();
    let mut text = String::new();
    for (n, at) in (now - 1500..now - 10).step_by(30).enumerate() {
        writeln!(text, "sessions{{job=\"j\",instance=\"i\"}} {} {at}", 100 + 7 * (n % 2)).expect("a String grows");
    }
    for (n, at) in (now - 1500..now - 10).step_by(30).enumerate() {
        writeln!(text, "r_total{{job=\"j\",instance=\"i\"}} {n} {at}").expect("a String grows");
    }
    let prometheus = prometheus(text, &[]).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let rules = "name: a\nowner: t\nslo:\n  availability:\n    objective: 99\n    \
                 sli: {total: sessions, bad: 'sessions{code=\"500\"}'}\n  latency_p95_ms: {max: 250, sli: {histogram: r_total, unit: s}}\n  \
                 custom:\n    - {name: right, objective: 99, events: {total: r_total, bad: 'r_total{code=\"500\"}'}}\n";
    std::fs::write(dir.path().join("a.yaml"), rules).expect("writable");
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["check", "--prometheus-url", &prometheus.url(), "--format", "json"])
        .arg(dir.path())
        .output()
        .expect("the binary runs");
    let says = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{says}");
    assert!(says.contains("of its samples, and a counter only rises: it is a gauge"), "{says}");
    assert!(says.contains("r_total_count") && says.contains("no series"), "{says}");
    assert_eq!(says.matches("it is a gauge").count(), 1, "{says}");
}
