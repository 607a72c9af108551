//! Notifications against a real Alertmanager.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use slowburn::clock::Clock;
use slowburn::engine::alert::{Alert, AlertKind};
use slowburn::engine::severity::Sev;
use slowburn::engine::{Labels, Seconds, Snapshot};
use slowburn::notify::{Destination, Endpoint, Notifier, Schedule, Settings};
use slowburn::outbound::Transport;
use tokio_util::sync::CancellationToken;

use crate::harness::alertmanager::{Alertmanager, SILENT};
use crate::harness::parts::{Generation, eventually, http};
use crate::harness::receiver::TestReceiver;

const LIMIT: Duration = Duration::from_secs(20);

/// A fast burn of `<service>-availability` that began at `starts_at`.
pub fn page(service: &str, starts_at: Seconds) -> Alert {
    let slo_id = format!("{service}-availability");
    let labels = [
        ("alertname", "SLOFastBurn"),
        ("service", service),
        ("slo", "availability"),
        ("slo_id", &slo_id),
        ("owner", "team-checkout"),
        ("severity", "critical"),
        ("sev", "SEV-2"),
        ("kind", "fast_burn"),
    ];
    Alert {
        labels: labels.into_iter().collect(),
        annotations: [
            ("runbook".to_owned(), format!("https://runbooks.internal/{service}")),
            ("summary".to_owned(), format!("{service} burns its budget fast")),
        ]
        .into(),
        slo_id,
        series: Labels::new(),
        kind: AlertKind::FastBurn,
        sev: Sev::new(2).expect("in range"),
        starts_at,
        resolved_at: None,
        held: false,
        inhibited_by: None,
    }
}

pub fn snapshot(alerts: &[Alert]) -> Arc<Snapshot> {
    Arc::new(Snapshot { at: Clock::wall().now(), alerts: alerts.to_vec(), ..Snapshot::default() })
}

/// Settings with short waits: resend half a second, first retry after 100 ms.
pub fn quick() -> Settings {
    let mut settings = Settings::new("http://slo.example:9595".parse().expect("a URL"));
    settings.resend = Duration::from_millis(500);
    settings.timeout = Duration::from_secs(2);
    settings.retry = Schedule::new([100, 200, 500].map(Duration::from_millis).to_vec());
    settings
}

pub fn endpoint(url: &str) -> Endpoint {
    http();
    let transport = Transport::new(url, None, Default::default()).expect("http needs no CA store");
    Endpoint::new(url.parse().expect("a URL"), transport)
}

/// A notifier of these Alertmanager peers, which is stopped when the test drops the guard.
pub fn notifier(peers: &[&Alertmanager], settings: &Settings) -> (Notifier, tokio_util::sync::DropGuard) {
    let destinations = peers.iter().map(|peer| Destination::Alertmanager(endpoint(&peer.url()))).collect();
    let stop = CancellationToken::new();
    (Notifier::start(settings, destinations, &Clock::wall(), &stop), stop.drop_guard())
}

/// Waits until the peer holds alerts of exactly these services.
async fn holds(peer: &Alertmanager, services: &[&str]) -> Vec<Value> {
    eventually(&format!("{} holds {services:?}", peer.url()), LIMIT, || async {
        let alerts = peer.alerts().await;
        let mut held: Vec<_> = alerts.iter().filter_map(|alert| alert["labels"]["service"].as_str()).collect();
        held.sort_unstable();
        (held == services).then(|| alerts.clone())
    })
    .await
}

#[tokio::test]
async fn a_page_arrives_with_labels_and_runbook_and_is_resolved() {
    for generation in Generation::ENDS {
        arrives_and_is_resolved(generation).await;
    }
}

/// Before 0.27 an alert with such a label is refused, and everything beside it is taken.
#[tokio::test]
async fn labels_with_dots_reach_the_oldest_and_the_newest() {
    for (generation, name) in [(Generation::Oldest, "service_name"), (Generation::Newest, "service.name")] {
        let peer = Alertmanager::of(generation, SILENT).await;
        let (notifier, _stop) = notifier(&[&peer], &quick());
        let mut dotted = page("checkout", Clock::wall().now() - 90);
        let own = dotted.labels.iter().chain([("service.name", "shop"), ("größe", "L")]).collect();
        dotted.labels = own;
        notifier.publish(snapshot(&[dotted.clone(), page("search", Clock::wall().now() - 60)]));
        let held = holds(&peer, &["checkout", "search"]).await;
        let checkout = held.iter().find(|alert| alert["labels"]["service"] == "checkout").expect("it is held");
        println!("Alertmanager {}: {}", generation.version("prometheus-alertmanager"), checkout["labels"]);
        assert_eq!(checkout["labels"][name], "shop", "{generation:?}");
        // It ends under the name under which it began.
        dotted.resolved_at = Some(Clock::wall().now());
        notifier.publish(snapshot(&[dotted, page("search", Clock::wall().now() - 60)]));
        holds(&peer, &["search"]).await;
    }
}

async fn arrives_and_is_resolved(generation: Generation) {
    let mut people = TestReceiver::start().await;
    let config = format!(
        "route: {{receiver: people, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: people, webhook_configs: [{{url: \"{}/\"}}]}}]\n",
        people.url()
    );
    let peer = Alertmanager::of(generation, &config).await;
    let (notifier, _stop) = notifier(&[&peer], &quick());
    let starts_at = Clock::wall().now() - 90;
    let firing = page("checkout", starts_at);
    notifier.publish(snapshot(std::slice::from_ref(&firing)));

    let held = holds(&peer, &["checkout"]).await;
    assert_eq!(held[0]["labels"], json!(firing.labels));
    assert_eq!(held[0]["generatorURL"], "http://slo.example:9595/#slo-checkout-availability");

    let told = people.next().await.json();
    assert_eq!((&told["status"], &told["commonLabels"]["severity"]), (&json!("firing"), &json!("critical")));
    assert_eq!(told["alerts"][0]["annotations"]["runbook"], "https://runbooks.internal/checkout");
    let started: jiff::Timestamp = told["alerts"][0]["startsAt"].as_str().and_then(|s| s.parse().ok()).expect("a time");
    assert_eq!(started.as_second(), starts_at);

    notifier.publish(snapshot(&[Alert { resolved_at: Some(Clock::wall().now()), ..firing }]));
    let told = people.next().await.json();
    assert_eq!(told["status"], "resolved");
    holds(&peer, &[]).await;
}

#[tokio::test]
async fn what_fires_stays_while_it_is_resent_and_ends_with_the_daemon() {
    let peer = Alertmanager::start(SILENT).await;
    let (notifier, stop) = notifier(&[&peer], &quick());
    notifier.publish(snapshot(&[page("checkout", Clock::wall().now())]));
    holds(&peer, &["checkout"]).await;
    // `endsAt` is 2 s ahead at each sending; without resending it would end in the middle of this.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(peer.alerts().await.len(), 1);
    }
    drop(stop);
    notifier.drained().await;
    holds(&peer, &[]).await;
}

#[tokio::test]
async fn a_peer_that_was_down_gets_the_present_state_when_it_is_back() {
    let (healthy, mut down) = (Alertmanager::start(SILENT).await, Alertmanager::start(SILENT).await);
    down.kill();
    let (notifier, _stop) = notifier(&[&down, &healthy], &quick());
    let now = Clock::wall().now();
    let gone = page("search", now - 30);
    notifier.publish(snapshot(&[page("checkout", now), gone.clone()]));
    holds(&healthy, &["checkout", "search"]).await;
    notifier.publish(snapshot(&[page("checkout", now), Alert { resolved_at: Some(now), ..gone }, page("cart", now)]));
    holds(&healthy, &["cart", "checkout"]).await;

    down.restart().await;
    holds(&down, &["cart", "checkout"]).await;
    // Alertmanager keeps alerts in memory only.
    down.restart().await;
    holds(&down, &["cart", "checkout"]).await;
}

#[tokio::test]
async fn two_daemons_side_by_side_make_one_alert() {
    let peer = Alertmanager::start(SILENT).await;
    let daemons = [notifier(&[&peer], &quick()), notifier(&[&peer], &quick())];
    let now = Clock::wall().now();
    // The second daemon saw it two slices later, with another burn rate.
    for ((notifier, _), (starts_at, burn)) in daemons.iter().zip([(now - 60, "21"), (now, "19")]) {
        let mut alert = page("checkout", starts_at);
        alert.annotations.insert("burn_rate_1h".into(), burn.into());
        notifier.publish(snapshot(&[alert]));
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let alerts = holds(&peer, &["checkout"]).await;
        let started: jiff::Timestamp = alerts[0]["startsAt"].as_str().and_then(|s| s.parse().ok()).expect("a time");
        assert_eq!(started.as_second(), now - 60, "the earlier start is kept");
    }
}

#[tokio::test]
async fn one_alert_alertmanager_refuses_does_not_sink_the_batch() {
    let peer = Alertmanager::start(SILENT).await;
    let (notifier, _stop) = notifier(&[&peer], &quick());
    let now = Clock::wall().now();
    let mut alerts: Vec<Alert> = (0..20).map(|i| page(&format!("s{i:02}"), now)).collect();
    alerts[7].labels.set("", "x");
    notifier.publish(snapshot(&alerts));
    let want: Vec<String> = (0..20).filter(|i| *i != 7).map(|i| format!("s{i:02}")).collect();
    let want: Vec<&str> = want.iter().map(String::as_str).collect();
    holds(&peer, &want).await;
    // It is not tried again with every resend: the 400s stop.
    let refused = async || {
        let page = http().get(format!("{}/metrics", peer.url())).send().await.expect("an answer").text().await;
        let page = page.expect("text");
        let lines = page.lines().filter(|line| line.starts_with("alertmanager_alerts_invalid_total"));
        lines.filter_map(|line| line.split(' ').next_back()?.parse::<f64>().ok()).sum::<f64>()
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = refused().await;
    assert!((1.0..=6.0).contains(&before), "{before}: the batch, and a half of it on each of five levels");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(refused().await, before);
    holds(&peer, &want).await;
}

#[tokio::test]
async fn a_fingerprint_is_the_one_alertmanager_computes() {
    let peer = Alertmanager::start(SILENT).await;
    let mut people = TestReceiver::start().await;
    let stop = CancellationToken::new();
    let destinations = vec![
        Destination::Alertmanager(endpoint(&peer.url())),
        Destination::Webhook {
            endpoint: endpoint(&people.url()),
            receiver: "people".into(),
            key: None,
            min_severity: None,
        },
    ];
    let notifier = Notifier::start(&quick(), destinations, &Clock::wall(), &stop);
    notifier.publish(snapshot(&[page("checkout", Clock::wall().now())]));
    let held = holds(&peer, &["checkout"]).await;
    assert_eq!(people.next().await.json()["alerts"][0]["fingerprint"], held[0]["fingerprint"]);
}
