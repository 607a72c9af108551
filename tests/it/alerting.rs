//! From samples to pages: a whole daemon between a real Prometheus and a real Alertmanager.
//!
//! The samples end about now, for Alertmanager has no other clock; the daemon is ticked through the last hour of them.

use std::time::Duration;

use serde_json::{Value, json};
use slowburn::clock::Clock;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Pod, Scenario};
use slowburn::notify::Destination;

use crate::daemon::{Driven, options};
use crate::fleet::{self, REQUESTS};
use crate::harness::alertmanager::{Alertmanager, SILENT};
use crate::harness::parts::eventually;
use crate::harness::prometheus::Prometheus;
use crate::harness::receiver::TestReceiver;
use crate::notify_alertmanager::{endpoint, quick};

const LIMIT: Duration = Duration::from_secs(20);
/// Scrapes are this far apart.
const SCRAPE_S: i64 = 15;

/// Four days of a checkout whose requests all fail in [from, to).
fn outage(start: i64, end: i64, per_minute: f64, from: i64, to: i64) -> Scenario {
    let mut scenario = Scenario::new();
    let pod = scenario.pod(Pod::new("checkout", "checkout-0:80", 4_000, start - 86_400).every_s(SCRAPE_S));
    let traffic = Traffic { rate: per_minute / 60.0, shape: Shape::Flat, wobble: None, origin: start - 86_400 };
    let total = Count::of(traffic);
    let bad = total.part(&Timeline::new(0.0).during(from, to, 1.0));
    let labels = |code| [("service", "checkout"), ("tier", "realtime"), ("code", code)];
    scenario.counter(pod, REQUESTS, &labels("200"), &total.without(&bad));
    scenario.counter(pod, REQUESTS, &labels("500"), &bad);
    assert!(end > to);
    scenario
}

fn rules() -> Vec<(&'static str, String)> {
    let m = format!("{REQUESTS}{{service=\"checkout\"");
    let text = format!(
        "name: checkout\nowner: team-checkout\nslo:\n  availability:\n    objective: 99.9\n    by: [tier]\n    \
         sli: {{total: '{m}}}', bad: '{m},code=~\"5..\"}}'}}\nincident:\n  channel: '#incidents'\n  \
         runbook: https://runbooks.internal/checkout\n  severity_mapping:\n    \
         - {{condition: fast_burn, severity: SEV-1, when: {{tier: realtime}}}}\n"
    );
    vec![("checkout.yaml", text)]
}

/// A daemon on `prometheus` that tells these peers, quickly.
fn daemon(prometheus: &Prometheus, peers: &[&Alertmanager]) -> Driven {
    let mut options = options(&prometheus.url(), &rules(), None);
    options.notify = quick();
    options.source.poll_interval_s = 30;
    let destinations = peers.iter().map(|peer| Destination::Alertmanager(endpoint(&peer.url()))).collect();
    Driven::telling(options, destinations)
}

/// The moment after which nothing is sampled, on the slice grid.
fn end() -> i64 {
    Clock::wall().now().div_euclid(30) * 30
}

/// Waits until the peer holds alerts of exactly these kinds.
async fn holds(peer: &Alertmanager, kinds: &[&str]) -> Vec<Value> {
    eventually(&format!("{} holds {kinds:?}", peer.url()), LIMIT, || async {
        let alerts = peer.alerts().await;
        let mut held: Vec<_> = alerts.iter().filter_map(|alert| alert["labels"]["kind"].as_str()).collect();
        held.sort_unstable();
        (held == kinds).then(|| alerts.clone())
    })
    .await
}

fn seconds(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().and_then(|text| text.parse().ok()).expect("a time");
    time.as_second()
}

/// Ticks until the page fires; answers the tick.
async fn until_paged(daemon: &mut Driven, from_s: i64, to_s: i64) -> i64 {
    let mut at_s = from_s;
    while at_s < to_s {
        let snapshot = daemon.live(at_s, at_s + 30).await;
        at_s += 30;
        if snapshot.alerts.iter().any(|alert| alert.kind.as_str() == "fast_burn") {
            return at_s;
        }
    }
    panic!("no page within {} s", to_s - from_s);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_arrives_whole_at_every_peer_and_ends_with_the_burn() {
    let end = end();
    let (from, to) = (end - 40 * 60, end - 20 * 60);
    let scenario = outage(end - 4 * 86_400, end, 60.0, from, to);
    let prometheus = fleet::prometheus(&scenario, end - 4 * 86_400, end).await;
    let mut people = TestReceiver::start().await;
    let config = format!(
        "route: {{receiver: people, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: people, webhook_configs: [{{url: \"{}/\"}}]}}]\n",
        people.url()
    );
    let (peer, mut down) = (Alertmanager::start(&config).await, Alertmanager::start(SILENT).await);
    down.kill();
    // Two daemons side by side; the second one is started when it burns already.
    let mut first = daemon(&prometheus, &[&down, &peer]);
    first.tick(from - 600).await;
    let paged = until_paged(&mut first, from - 600, to).await;
    let mut second = daemon(&prometheus, &[&down, &peer]);
    second.tick(paged + 300).await;
    first.live(paged, paged + 600).await;
    second.live(paged + 300, paged + 600).await;

    let held = holds(&peer, &["fast_burn"]).await;
    let labels = json!({
        "alertname": "SLOFastBurn", "service": "checkout", "slo": "availability", "slo_id": "checkout-availability",
        "owner": "team-checkout", "severity": "critical", "sev": "SEV-1", "kind": "fast_burn", "tier": "realtime",
    });
    assert_eq!(held[0]["labels"], labels);
    assert_eq!(held[0]["annotations"]["runbook"], "https://runbooks.internal/checkout");
    assert_eq!(held[0]["annotations"]["channel"], "#incidents");
    assert_eq!(held[0]["generatorURL"], "http://slo.example:9595/#slo-checkout-availability");
    assert_eq!(seconds(&held[0]["startsAt"]), paged, "both daemons give the same start");
    println!("outage at +0 s, page at +{} s, two daemons, one alert", paged - from);
    let told = people.next().await.json();
    assert_eq!((&told["status"], &told["commonLabels"]), (&json!("firing"), &labels));

    down.restart().await;
    let late = holds(&down, &["fast_burn"]).await;
    assert_eq!(seconds(&late[0]["startsAt"]), paged, "the peer that was down has it as it was");

    // A quarter of an hour later what came since contradicts the outage, and so both say that it is over; the slow clauses
    // go on burning.
    first.live(paged + 600, to + 17 * 60).await;
    second.live(paged + 600, to + 17 * 60).await;
    for peer in [&peer, &down] {
        eventually("the page is resolved", LIMIT, || async {
            let alerts = peer.alerts().await;
            alerts.iter().all(|alert| alert["labels"]["kind"] != "fast_burn").then_some(())
        })
        .await;
    }
    let mut told = told;
    while told["status"] != "resolved" {
        told = people.next().await.json();
    }
    assert_eq!(told["commonLabels"], labels);
    let (starts, ends) = (seconds(&told["alerts"][0]["startsAt"]), seconds(&told["alerts"][0]["endsAt"]));
    println!("resolved {} s after the outage", ends - to);
    assert_eq!(starts, paged);
    assert!((to + 15 * 60..=to + 16 * 60).contains(&ends), "resolved {} s after the outage", ends - to);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_data_holds_a_page_and_says_so_beside_it() {
    let end = end();
    let from = end - 20 * 60;
    let scenario = outage(end - 4 * 86_400, end, 60.0, from, end - 1);
    let mut prometheus = fleet::prometheus(&scenario, end - 4 * 86_400, end).await;
    let peer = Alertmanager::start(SILENT).await;
    let mut daemon = daemon(&prometheus, &[&peer]);
    daemon.tick(from - 60).await;
    let paged = until_paged(&mut daemon, from - 60, end).await;
    holds(&peer, &["fast_burn"]).await;
    prometheus.kill();
    let killed = std::time::Instant::now();
    let mut at_s = paged;
    // Ten minutes without an answer, and as many resends as it takes for an alert that nobody renews to end.
    while at_s < paged + 600 || killed.elapsed() < 8 * quick().resend {
        daemon.live(at_s, at_s + 30).await;
        at_s += 30;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if at_s == paged + 90 {
            let snapshot = daemon.snapshot();
            let data = snapshot.slos[0].series[0].data;
            assert_eq!(data.state.as_str(), "stale", "after three polls: {data:?}");
        }
    }
    let held = holds(&peer, &["data_missing", "fast_burn"]).await;
    let page = held.iter().find(|alert| alert["labels"]["kind"] == "fast_burn").expect("it is held");
    assert_eq!(seconds(&page["startsAt"]), paged);
    assert_eq!(page["annotations"]["data_state"], "absent");
    let missing = held.iter().find(|alert| alert["labels"]["kind"] == "data_missing").expect("beside it");
    assert_eq!(missing["labels"]["alertname"], "SLODataMissing");
    assert_eq!(missing["annotations"]["runbook"], "https://runbooks.internal/checkout");
}

/// For every second of a minute at which the outage can begin, at ten requests a minute and at sixty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_total_outage_is_paged_within_a_minute_a_scrape_and_a_poll() {
    let end = end();
    let start = end - 26 * 3600;
    let mut worst = Vec::new();
    for (per_minute, begins) in [(10.0, [0, 7, 13, 19, 25, 29]), (60.0, [0, 3, 11, 17, 23, 28])] {
        let mut scenario = Scenario::new();
        let mut first_failures = Vec::new();
        // All beginnings at once, a service each.
        for (place, begin) in begins.into_iter().enumerate() {
            let from = end - 1800 + begin;
            let service = format!("s{place}");
            let pod = Pod::new("s", &format!("{service}:80"), 1_000 + 2_300 * place as i64, start - 86_400);
            let pod = scenario.pod(pod.every_s(SCRAPE_S));
            let traffic = Traffic { rate: per_minute / 60.0, shape: Shape::Flat, wobble: None, origin: start - 86_400 };
            let total = Count::of(traffic);
            let bad = total.part(&Timeline::new(0.0).during(from, end, 1.0));
            scenario.counter(pod, REQUESTS, &[("service", &service), ("code", "200")], &total.without(&bad));
            scenario.counter(pod, REQUESTS, &[("service", &service), ("code", "500")], &bad);
            first_failures.push((from..end).find(|&s| bad.between(s, s + 1) > 0).expect("a failure"));
        }
        let prometheus = fleet::prometheus(&scenario, start, end).await;
        let rules: Vec<(String, String)> = (0..begins.len())
            .map(|place| {
                let m = format!("{REQUESTS}{{service=\"s{place}\"");
                let text = format!(
                    "name: s{place}\nowner: t\nslo:\n  availability: {{objective: 99.9, \
                     sli: {{total: '{m}}}', bad: '{m},code=~\"5..\"}}'}}}}\n"
                );
                (format!("s{place}.yaml"), text)
            })
            .collect();
        let rules: Vec<(&str, String)> = rules.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        let mut daemon = Driven::new(options(&prometheus.url(), &rules, None));
        daemon.tick(end - 1800).await;
        let mut paged: Vec<Option<i64>> = vec![None; begins.len()];
        for tick in 1..=8 {
            let at_s = end - 1800 + 30 * tick;
            let snapshot = daemon.live(at_s - 30, at_s).await;
            for (place, paged) in paged.iter_mut().enumerate() {
                let service = format!("s{place}");
                let fires = |alert: &&slowburn::engine::alert::Alert| {
                    alert.kind.as_str() == "fast_burn" && alert.labels.get("service") == Some(&service)
                };
                *paged = paged.or(snapshot.alerts.iter().find(fires).map(|_| at_s));
            }
        }
        let delays: Vec<i64> =
            paged.iter().zip(&first_failures).map(|(at, first)| at.expect("it is paged") - first).collect();
        println!("{per_minute} requests a minute: paged {delays:?} s after the first failed request");
        worst.extend(delays);
    }
    let bound = 60 + SCRAPE_S + 30;
    assert!(worst.iter().all(|&delay| delay <= bound), "{worst:?}, allowed {bound} s");
}
