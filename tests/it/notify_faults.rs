//! Notifications when the other side misbehaves, and when the daemon stops.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use metrics_exporter_prometheus::PrometheusBuilder;
use slowburn::clock::Clock;
use slowburn::engine::alert::Alert;
use slowburn::notify::{Destination, Notifier, Schedule, Settings, SigningKey};
use tokio_util::sync::CancellationToken;

use crate::harness::parts::eventually;
use crate::harness::receiver::{Answer, TestReceiver};
use crate::notify_alertmanager::{endpoint, page, quick, snapshot};

const QUIET: Duration = Duration::from_millis(700);

fn webhook(receiver: &TestReceiver) -> Destination {
    Destination::Webhook {
        endpoint: endpoint(&receiver.url()),
        receiver: "people".into(),
        key: None,
        min_severity: None,
    }
}

fn start(destinations: Vec<Destination>, settings: &Settings) -> (Notifier, CancellationToken) {
    let stop = CancellationToken::new();
    (Notifier::start(settings, destinations, &Clock::wall(), &stop), stop)
}

fn one_page() -> std::sync::Arc<slowburn::engine::Snapshot> {
    snapshot(&[page("checkout", Clock::wall().now())])
}

#[tokio::test]
async fn a_receiver_in_trouble_gets_the_message_once_it_answers() {
    let troubles = [
        Answer::Status(500, "boom".into()),
        Answer::Status(503, String::new()),
        Answer::Header(429, "retry-after", "0".into()),
        Answer::CutBody(502),
    ];
    for trouble in troubles {
        let mut receiver = TestReceiver::start().await;
        receiver.answer([trouble.clone(), trouble.clone()]);
        let (notifier, _stop) = start(vec![webhook(&receiver)], &quick());
        notifier.publish(one_page());
        let attempts = [receiver.next().await, receiver.next().await, receiver.next().await];
        let ids: Vec<_> = attempts.iter().map(|attempt| attempt.header("webhook-id")).collect();
        assert!(ids[0].starts_with("msg_") && ids[0] == ids[1] && ids[1] == ids[2], "{trouble:?}: {ids:?}");
        assert!(receiver.next_within(QUIET).await.is_none(), "{trouble:?}: told more than once");
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_is_not_asked_again() {
    let refusals = [
        Answer::Status(400, "no such thing".into()),
        Answer::Status(404, String::new()),
        Answer::Header(307, "location", "/elsewhere".into()),
    ];
    for refusal in refusals {
        let mut receiver = TestReceiver::start().await;
        receiver.answer([refusal.clone()]);
        let (notifier, _stop) = start(vec![webhook(&receiver)], &quick());
        notifier.publish(one_page());
        assert_eq!(receiver.next().await.uri.path(), "/");
        assert!(receiver.next_within(QUIET).await.is_none(), "{refusal:?}");
    }
}

#[tokio::test]
async fn an_answer_cut_after_a_good_status_is_a_delivery() {
    let mut receiver = TestReceiver::start().await;
    receiver.answer([Answer::CutBody(200)]);
    let (notifier, _stop) = start(vec![webhook(&receiver)], &quick());
    notifier.publish(one_page());
    receiver.next().await;
    assert!(receiver.next_within(QUIET).await.is_none());
}

#[tokio::test]
async fn a_receiver_that_never_answers_delays_nobody_else_and_is_tried_again() {
    let (mut stalled, mut healthy) = (TestReceiver::start().await, TestReceiver::start().await);
    stalled.answer([Answer::Stall]);
    let settings = Settings { timeout: Duration::from_millis(600), ..quick() };
    let (notifier, _stop) = start(vec![webhook(&stalled), webhook(&healthy)], &settings);
    notifier.publish(one_page());
    let first = stalled.next().await;
    let told = healthy.next().await;
    assert!(told.at.duration_since(first.at) < Duration::from_millis(500), "held up by the other");
    let second = stalled.next().await;
    assert!(second.at.duration_since(first.at) >= Duration::from_millis(600));
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

#[tokio::test]
async fn retry_after_is_waited_for_but_not_for_ever() {
    let mut receiver = TestReceiver::start().await;
    receiver.answer([Answer::Header(429, "retry-after", "3600".into())]);
    let (notifier, _stop) = start(vec![webhook(&receiver)], &quick());
    notifier.publish(one_page());
    let (first, second) = (receiver.next().await, receiver.next().await);
    let wait = second.at.duration_since(first.at);
    assert!(wait >= Duration::from_millis(400), "{wait:?}: the longest step is 500 ms, less a fifth");
}

#[tokio::test]
async fn the_newest_state_is_told_after_an_outage_not_its_history() {
    let mut receiver = TestReceiver::start().await;
    receiver.answer([Answer::Status(503, String::new())]);
    let settings = Settings { retry: Schedule::new(vec![QUIET]), ..quick() };
    let (notifier, _stop) = start(vec![webhook(&receiver)], &settings);
    let now = Clock::wall().now();
    let flap = page("checkout", now);
    notifier.publish(snapshot(std::slice::from_ref(&flap)));
    receiver.next().await;
    for _ in 0..50 {
        notifier.publish(snapshot(&[Alert { resolved_at: Some(now), ..flap.clone() }]));
        tokio::task::yield_now().await;
        notifier.publish(snapshot(&[Alert { starts_at: now + 1, ..flap.clone() }]));
        tokio::task::yield_now().await;
    }
    let told = receiver.next().await.json();
    let started: jiff::Timestamp = told["alerts"][0]["startsAt"].as_str().and_then(|s| s.parse().ok()).expect("a time");
    assert_eq!((told["alerts"].as_array().map(Vec::len), started.as_second()), (Some(1), now + 1));
    assert!(receiver.next_within(2 * QUIET).await.is_none(), "its history was told as well");
}

#[tokio::test]
async fn messages_are_signed_and_credentials_sent() {
    let mut receiver = TestReceiver::start().await;
    let key = SigningKey::new(&"whsec_c2xvd2J1cm4gdGVzdCBrZXk=".into()).expect("a key");
    let endpoint = endpoint(&format!("{}/hooks/slo?team=checkout", receiver.url()));
    let header = slowburn::outbound::Authorization::fixed(&"Bearer t0ken".into()).expect("a header");
    let endpoint = endpoint.authorization(header);
    let endpoint = endpoint.header("X-Routing-Key", &"k3y".into()).expect("a header");
    let endpoint = endpoint.header("webhook-signature", &"forged".into()).expect("a header");
    let destination = Destination::Webhook { endpoint, receiver: "people".into(), key: Some(key), min_severity: None };
    let (notifier, _stop) = start(vec![destination], &quick());
    notifier.publish(one_page());
    let told = receiver.next().await;
    assert_eq!(told.uri, "/hooks/slo?team=checkout");
    assert_eq!(told.header("authorization"), "Bearer t0ken");
    assert_eq!(told.header("content-type"), "application/json");
    assert_eq!(told.header("x-routing-key"), "k3y");

    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"slowburn test key").expect("any length");
    mac.update(format!("{}.{}.", told.header("webhook-id"), told.header("webhook-timestamp")).as_bytes());
    mac.update(&told.body);
    assert_eq!(told.header("webhook-signature"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    let age = Clock::wall().now() - told.header("webhook-timestamp").parse::<i64>().expect("seconds");
    assert!((0..60).contains(&age));
}

#[tokio::test]
async fn an_alert_alertmanager_drops_in_silence_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut peer = TestReceiver::start().await;
    peer.answer([Answer::ok(), Answer::Status(200, "[]".into())]);
    let (notifier, _stop) = start(vec![Destination::Alertmanager(endpoint(&peer.url()))], &quick());
    notifier.publish(one_page());
    assert_eq!(peer.next().await.json()[0]["labels"]["service"], "checkout");
    let read_back = peer.next().await;
    assert_eq!((read_back.method.as_str(), read_back.uri.path()), ("GET", "/api/v2/alerts"));
    let counted = |outcome: &str, want: u64| {
        let labels = format!("{{integration=\"alertmanager\",outcome=\"{outcome}\"}}");
        metrics.render().contains(&format!("slowburn_notifications_total{labels} {want}\n"))
    };
    eventually("the drop is counted", Duration::from_secs(5), || async { counted("dropped", 1).then_some(()) }).await;
    assert!(metrics.render().contains("slowburn_notification_queue_length{integration=\"alertmanager\"} 0\n"));
}

#[tokio::test]
async fn the_queue_length_is_what_still_has_to_be_told() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let receiver = TestReceiver::start().await;
    receiver.answer([Answer::Stall]);
    let settings = Settings { timeout: Duration::from_secs(1), ..quick() };
    let (notifier, stop) = start(vec![webhook(&receiver)], &settings);
    let length = async |want: u64| {
        let line = format!("slowburn_notification_queue_length{{integration=\"webhook\"}} {want}\n");
        eventually(&line, Duration::from_secs(5), || async { metrics.render().contains(&line).then_some(()) }).await;
    };
    length(0).await;
    notifier.publish(snapshot(&[page("checkout", 1), page("cart", 1)]));
    length(2).await;
    length(0).await;
    stop.cancel();
    notifier.drained().await;
    assert!(metrics.render().contains("outcome=\"retried\"} 1\n"), "{}", metrics.render());
    assert!(metrics.render().contains("outcome=\"delivered\"} 2\n"), "{}", metrics.render());
}

#[tokio::test]
async fn what_was_published_last_is_delivered_after_the_stop() {
    let mut receiver = TestReceiver::start().await;
    receiver.answer([Answer::Status(503, String::new())]);
    let (notifier, stop) = start(vec![webhook(&receiver)], &quick());
    notifier.publish(one_page());
    stop.cancel();
    notifier.drained().await;
    let (first, second) = (receiver.next().await, receiver.next().await);
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

#[tokio::test]
async fn a_stop_waits_for_a_hung_receiver_no_longer_than_the_grace_period() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut receiver = TestReceiver::start().await;
    receiver.answer([Answer::Stall]);
    let settings = Settings { timeout: Duration::from_secs(60), grace: Duration::from_millis(300), ..quick() };
    let (notifier, stop) = start(vec![webhook(&receiver)], &settings);
    notifier.publish(one_page());
    receiver.next().await;
    let stopped = Instant::now();
    stop.cancel();
    notifier.drained().await;
    assert!((Duration::from_millis(300)..Duration::from_secs(30)).contains(&stopped.elapsed()));
    let lost = "slowburn_notifications_total{integration=\"webhook\",outcome=\"dropped\"} 1\n";
    assert!(metrics.render().contains(lost), "{}", metrics.render());
}

#[tokio::test]
async fn a_scaled_clock_scales_the_resend() {
    let mut peer = TestReceiver::start().await;
    let mut settings = quick();
    settings.resend = Duration::from_secs(60);
    let clock = Clock::scaled(1_700_000_000_000, 600.0);
    let stop = CancellationToken::new();
    let notifier = Notifier::start(&settings, vec![Destination::Alertmanager(endpoint(&peer.url()))], &clock, &stop);
    notifier.publish(snapshot(&[page("checkout", 1_699_999_970)]));
    let mut ends = Vec::new();
    while ends.len() < 3 {
        let delivery = peer.next().await;
        if delivery.method == "POST" {
            ends.push(
                delivery.json()[0]["endsAt"].as_str().and_then(|s| s.parse::<jiff::Timestamp>().ok()).expect("a time"),
            );
        }
    }
    assert!(ends[0].as_second() >= 1_700_000_240);
    assert!(ends.windows(2).all(|pair| (60..180).contains(&(pair[1].as_second() - pair[0].as_second()))), "{ends:?}");
}
