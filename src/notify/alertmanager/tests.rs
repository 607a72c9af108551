use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::engine::alert::Alert;
use crate::notify::outbox::tests::{alert, snapshot};
use crate::notify::outcome::Reason;

const NOW_MS: i64 = 2_000_000;

fn peer() -> Alertmanager {
    let settings = Settings::new("http://slo.example:9595".parse().expect("a URL"));
    Alertmanager::new(&"http://am:9093/team".parse().expect("a URL"), &settings)
}

fn reply(outcome: Outcome) -> Reply {
    Reply { outcome, body: Some("[]".into()) }
}

fn status(code: u16) -> Outcome {
    let reason = Reason::Status(StatusCode::from_u16(code).expect("in range"), String::new());
    if code == 500 { Outcome::Retry { reason, after: None } } else { Outcome::Rejected(reason) }
}

/// The alerts of the next request, which must be a post.
fn posted(peer: &mut Alertmanager, now_ms: i64) -> Vec<Value> {
    match peer.next(now_ms) {
        NextSend::Send(request) if !request.reads => serde_json::from_slice(&request.body).expect("a JSON array"),
        other => panic!("{other:?}"),
    }
}

fn services(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().map(|alert| alert["labels"]["service"].as_str().expect("a service")).collect()
}

/// Delivers all that is due, reading back what was asked for as present.
fn deliver_all(peer: &mut Alertmanager, now_ms: i64) -> usize {
    for count in 0.. {
        match peer.next(now_ms) {
            NextSend::Idle(_) => return count,
            NextSend::Send(request) => {
                let found: Vec<_> = peer.outbox.entries.keys().map(|labels| json!({ "labels": labels })).collect();
                let body = request.reads.then(|| serde_json::to_vec(&found).expect("JSON").into());
                peer.settle(Reply { outcome: Outcome::Delivered, body }, now_ms);
            }
        }
    }
    unreachable!()
}

#[test]
fn a_firing_alert_ends_four_resends_ahead_and_is_sent_every_resend() {
    let mut peer = peer();
    peer.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    let alerts = posted(&mut peer, NOW_MS);
    assert_eq!(
        alerts,
        [json!({
            "labels": {
                "alertname": "SLOFastBurn", "service": "checkout", "slo_id": "checkout-availability", "sev": "SEV-1",
            },
            "annotations": {
                "runbook": "https://runbooks.internal/checkout",
                "slo_url": "http://slo.example:9595/#slo-checkout-availability",
            },
            "startsAt": "1970-01-01T00:16:40Z",
            "endsAt": "1970-01-01T00:37:20Z",
            "generatorURL": "http://slo.example:9595/#slo-checkout-availability",
        })]
    );
    deliver_all(&mut peer, NOW_MS);
    assert!(matches!(peer.next(NOW_MS + 59_999), NextSend::Idle(Some(at)) if at == NOW_MS + 60_000));
    assert_eq!(posted(&mut peer, NOW_MS + 60_000)[0]["endsAt"], "1970-01-01T00:38:20Z");
}

#[test]
fn a_peer_that_refuses_a_name_gets_plain_ones_from_then_on() {
    let mut peer = peer();
    let own = alert("checkout").labels;
    let labels = own.iter().chain([("a.b", "1"), ("a_b", "2"), ("9x", "3")]).collect();
    let dotted = Alert { labels, ..alert("checkout") };
    peer.absorb(&snapshot(2_000, vec![dotted, alert("search")]), NOW_MS);
    assert_eq!(posted(&mut peer, NOW_MS).len(), 2);
    let mut names = Vec::new();
    for _ in 0..9 {
        // Whatever batch it is, it is refused while a name in it is no plain word.
        let NextSend::Send(request) = peer.next(NOW_MS) else { break };
        if request.reads {
            peer.settle(Reply { outcome: Outcome::Delivered, body: None }, NOW_MS);
            continue;
        }
        let alerts: Vec<Value> = serde_json::from_slice(&request.body).expect("JSON");
        let of = |alert: &Value| alert["labels"].as_object().expect("labels").clone();
        let bad = alerts.iter().map(of).any(|labels| labels.contains_key("a.b"));
        if !bad {
            names.extend(alerts.iter().map(of).find(|labels| labels["service"] == "checkout"));
        }
        peer.settle(reply(if bad { status(400) } else { Outcome::Delivered }), NOW_MS);
    }
    let labels = names.first().expect("it was sent with other names");
    let of = |name: &str| labels.get(name).and_then(Value::as_str);
    assert_eq!((of("a_b"), of("a_b_"), of("_9x")), (Some("2"), Some("1"), Some("3")));
    assert_eq!(peer.waiting(NOW_MS), 0);
}

#[test]
fn a_resolved_alert_is_sent_for_fifteen_minutes() {
    let mut peer = peer();
    let resolved = Alert { resolved_at: Some(1_990), ..alert("checkout") };
    peer.absorb(&snapshot(2_000, vec![resolved.clone()]), NOW_MS);
    assert_eq!(posted(&mut peer, NOW_MS)[0]["endsAt"], "1970-01-01T00:33:10Z");
    let mut sent = 0;
    for now_ms in (NOW_MS..NOW_MS + 1_200_000).step_by(30_000) {
        peer.absorb(&snapshot(now_ms / 1000, vec![resolved.clone()]), now_ms);
        sent += deliver_all(&mut peer, now_ms);
    }
    assert_eq!(sent, 15);
}

#[test]
fn an_end_is_never_before_its_start() {
    let mut peer = peer();
    let odd = Alert { starts_at: 5_000, resolved_at: Some(4_000), ..alert("checkout") };
    peer.absorb(&snapshot(4_000, vec![odd]), 4_000_000);
    assert_eq!(posted(&mut peer, 4_000_000)[0]["endsAt"], "1970-01-01T01:23:20Z");
}

#[test]
fn the_bad_alert_of_a_batch_is_found_and_left_out_for_an_hour() {
    let mut peer = peer();
    let alerts: Vec<Alert> = (0..64).map(|i| alert(&format!("s{i:02}"))).collect();
    peer.absorb(&snapshot(2_000, alerts), NOW_MS);
    let (mut requests, mut events) = (0, Vec::new());
    while let NextSend::Send(request) = peer.next(NOW_MS) {
        if request.reads {
            peer.settle(reply(status(404)), NOW_MS);
            continue;
        }
        let alerts: Vec<Value> = serde_json::from_slice(&request.body).expect("a JSON array");
        requests += 1;
        let outcome = if services(&alerts).contains(&"s37") { status(400) } else { Outcome::Delivered };
        events.extend(peer.settle(reply(outcome), NOW_MS));
    }
    assert_eq!(requests, 13, "one batch, then two halves on each of six levels");
    let rejected: Vec<_> = events.iter().filter(|event| matches!(event, Event::Rejected { .. })).collect();
    assert!(matches!(rejected[..], [Event::Rejected { alerts, .. }] if alerts.contains("service=\"s37\"")));
    assert_eq!(peer.waiting(NOW_MS), 0);

    let again = posted(&mut peer, NOW_MS + 60_000);
    assert_eq!((again.len(), services(&again).contains(&"s37")), (63, false));
    peer.settle(reply(Outcome::Delivered), NOW_MS + 60_000);
    assert_eq!(services(&posted(&mut peer, NOW_MS + 3_600_000)).iter().filter(|s| **s == "s37").count(), 1);
}

#[test]
fn a_refused_alert_is_sent_again_once_its_state_changes() {
    let mut peer = peer();
    peer.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    posted(&mut peer, NOW_MS);
    peer.settle(reply(status(400)), NOW_MS);
    assert!(matches!(peer.next(NOW_MS + 30_000), NextSend::Idle(Some(_))));
    peer.absorb(&snapshot(2_030, vec![Alert { resolved_at: Some(2_030), ..alert("checkout") }]), NOW_MS + 30_000);
    assert_eq!(posted(&mut peer, NOW_MS + 30_000).len(), 1);
}

#[test]
fn a_peer_that_refuses_everything_is_asked_once_a_resend() {
    let mut peer = peer();
    peer.absorb(&snapshot(2_000, vec![alert("a"), alert("b")]), NOW_MS);
    assert_eq!(posted(&mut peer, NOW_MS).len(), 2);
    let events = peer.settle(reply(status(401)), NOW_MS);
    assert!(matches!(events[..], [Event::Rejected { .. }]));
    assert!(matches!(peer.next(NOW_MS), NextSend::Idle(Some(at)) if at == NOW_MS + 60_000));
    assert_eq!(posted(&mut peer, NOW_MS + 60_000).len(), 2);
}

#[test]
fn a_batch_that_fails_goes_behind_the_others() {
    let mut peer = peer();
    let alerts: Vec<Alert> = (0..100).map(|i| alert(&format!("s{i:03}"))).collect();
    peer.absorb(&snapshot(2_000, alerts), NOW_MS);
    assert_eq!(services(&posted(&mut peer, NOW_MS))[0], "s000");
    peer.settle(reply(status(500)), NOW_MS);
    let next = posted(&mut peer, NOW_MS + 1_000);
    assert_eq!(services(&next)[..2], ["s064", "s065"]);
    assert_eq!(peer.waiting(NOW_MS), 100);
}

#[test]
fn an_alert_the_peer_dropped_in_silence_is_reported_once_and_looked_for_again() {
    let mut peer = peer();
    peer.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    let mut dropped = 0;
    for now_ms in [NOW_MS, NOW_MS + 60_000, NOW_MS + 120_000] {
        posted(&mut peer, now_ms);
        peer.settle(reply(Outcome::Delivered), now_ms);
        let NextSend::Send(read_back) = peer.next(now_ms) else { panic!("no read-back at {now_ms}") };
        assert_eq!(read_back.url.path(), "/team/api/v2/alerts");
        assert_eq!(read_back.url.query(), Some("filter=slo_id%3D%22checkout-availability%22"));
        let events = peer.settle(reply(Outcome::Delivered), now_ms);
        dropped += events.iter().filter(|event| matches!(event, Event::Dropped { .. })).count();
    }
    assert_eq!(dropped, 1);

    deliver_all(&mut peer, NOW_MS + 180_000);
    posted(&mut peer, NOW_MS + 240_000);
    peer.settle(reply(Outcome::Delivered), NOW_MS + 240_000);
    assert!(matches!(peer.next(NOW_MS + 240_000), NextSend::Idle(_)), "it was found, so it is not looked for again");
}

#[test]
fn a_read_back_that_fails_concludes_nothing() {
    for answer in [reply(status(404)), reply(status(500)), Reply { outcome: Outcome::Delivered, body: None }] {
        let mut peer = peer();
        peer.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
        posted(&mut peer, NOW_MS);
        peer.settle(reply(Outcome::Delivered), NOW_MS);
        assert!(matches!(peer.next(NOW_MS), NextSend::Send(request) if request.reads));
        assert_eq!(peer.settle(answer, NOW_MS), []);
        assert!(matches!(peer.next(NOW_MS), NextSend::Idle(_)));
    }
}

#[test]
fn annotations_alone_wait_for_the_next_resend_and_a_hold_does_not() {
    let mut peer = peer();
    peer.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    deliver_all(&mut peer, NOW_MS);
    let mut changed = alert("checkout");
    changed.annotations.insert("burn_rate_1h".into(), "17".into());
    peer.absorb(&snapshot(2_030, vec![changed.clone()]), NOW_MS + 30_000);
    assert!(matches!(peer.next(NOW_MS + 30_000), NextSend::Idle(_)));
    peer.absorb(&snapshot(2_040, vec![Alert { held: true, ..changed }]), NOW_MS + 40_000);
    assert_eq!(posted(&mut peer, NOW_MS + 40_000)[0]["annotations"]["burn_rate_1h"], "17");
}

#[test]
fn resend_below_a_second_is_kept() {
    let mut settings = Settings::new("http://slo.example".parse().expect("a URL"));
    settings.resend = Duration::from_millis(250);
    let mut peer = Alertmanager::new(&"http://am:9093".parse().expect("a URL"), &settings);
    peer.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    assert_eq!(posted(&mut peer, NOW_MS)[0]["endsAt"], "1970-01-01T00:33:21Z");
    deliver_all(&mut peer, NOW_MS);
    assert!(matches!(peer.next(NOW_MS), NextSend::Idle(Some(at)) if at == NOW_MS + 250));
}
