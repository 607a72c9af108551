use serde_json::{Value, json};

use super::*;
use crate::engine::alert::Alert;
use crate::notify::outbox::tests::{alert, snapshot};
use crate::notify::outcome::Reason;

const NOW_MS: i64 = 2_000_000;
const HOUR_MS: i64 = 3_600_000;

fn webhook() -> Webhook {
    let settings = Settings::new("http://slo.example:9595".parse().expect("a URL"));
    let key = SigningKey::new(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).expect("a key");
    Webhook::new(&"http://hooks/T0K3N".parse().expect("a URL"), "pager".into(), Some(key), &settings)
}

fn delivered() -> Reply {
    Reply { outcome: Outcome::Delivered, body: None }
}

fn failed() -> Reply {
    Reply { outcome: Outcome::Retry { reason: Reason::Timeout, after: None }, body: None }
}

/// The id and body of the message that is due, which is then settled with `reply`.
fn message(webhook: &mut Webhook, now_ms: i64, reply: Reply) -> Option<(String, Value)> {
    match webhook.next(now_ms) {
        NextSend::Idle(_) => None,
        NextSend::Send(request) => {
            webhook.settle(reply, now_ms);
            let id = request.headers["webhook-id"].to_str().expect("ascii").to_owned();
            Some((id, serde_json::from_slice(&request.body).expect("JSON")))
        }
    }
}

fn reasons(webhook: &mut Webhook, now_ms: i64) -> Vec<String> {
    let mut reasons = Vec::new();
    while let Some((_, body)) = message(webhook, now_ms, delivered()) {
        reasons.push(body["notification_reason"].as_str().expect("text").to_owned());
    }
    reasons
}

#[test]
fn a_message_has_the_shape_of_version_4() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    let (_, body) = message(&mut webhook, NOW_MS, delivered()).expect("a message");
    let labels = json!({
        "alertname": "SLOFastBurn", "service": "checkout", "slo_id": "checkout-availability", "sev": "SEV-1",
    });
    let annotations = json!({
        "runbook": "https://runbooks.internal/checkout",
        "slo_url": "http://slo.example:9595/#slo-checkout-availability",
    });
    assert_eq!(
        body,
        json!({
            "version": "4",
            "groupKey": "{}:{slo_id=\"checkout-availability\"}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "pager",
            "groupLabels": { "slo_id": "checkout-availability" },
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "http://slo.example:9595/",
            "notification_reason": "first notification",
            "routeLabels": {},
            "alerts": [{
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "1970-01-01T00:16:40Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://slo.example:9595/#slo-checkout-availability",
                "fingerprint": wire::fingerprint(&alert("checkout").labels),
            }],
        })
    );
}

#[test]
fn each_change_is_told_once_with_its_reason() {
    let mut webhook = webhook();
    let (realtime, mut batch) = (alert("llm"), alert("llm"));
    batch.labels.set("tier", "batch");
    let gone = |alert: &Alert, at| Alert { resolved_at: Some(at), ..alert.clone() };
    let steps: [(Vec<Alert>, &[&str]); 6] = [
        (vec![realtime.clone()], &["first notification"]),
        (vec![realtime.clone()], &[]),
        (vec![realtime.clone(), batch.clone()], &["new alerts added"]),
        (vec![gone(&realtime, 2_090), batch.clone()], &["some alerts resolved"]),
        (vec![gone(&realtime, 2_090), gone(&batch, 2_120)], &["all alerts resolved"]),
        (vec![gone(&realtime, 2_090), gone(&batch, 2_120)], &[]),
    ];
    for (step, (alerts, want)) in steps.into_iter().enumerate() {
        let at = 2_000 + 30 * step as i64;
        webhook.absorb(&snapshot(at, alerts), at * 1000);
        assert_eq!(reasons(&mut webhook, at * 1000), want, "step {step}");
        assert_eq!(webhook.waiting(at * 1000), 0, "step {step}");
    }
}

#[test]
fn what_still_fires_is_repeated_every_four_hours_under_a_new_id() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    let (first, _) = message(&mut webhook, NOW_MS, delivered()).expect("a message");
    assert!(matches!(webhook.next(NOW_MS + 1), NextSend::Idle(Some(at)) if at == NOW_MS + 4 * HOUR_MS));
    let (second, body) = message(&mut webhook, NOW_MS + 4 * HOUR_MS, delivered()).expect("a repetition");
    assert_eq!(body["notification_reason"], "repeat interval elapsed");
    assert_ne!(first, second);
    assert!(message(&mut webhook, NOW_MS + 4 * HOUR_MS, delivered()).is_none());
}

#[test]
fn every_attempt_has_the_same_id_and_its_own_signature() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    let mut attempt = |now_ms: i64| {
        let NextSend::Send(request) = webhook.next(now_ms) else { panic!("nothing due at {now_ms}") };
        webhook.settle(failed(), now_ms);
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| request.headers[name].to_str().expect("ascii").to_owned())
    };
    let [id, timestamp, signature] = attempt(NOW_MS);
    let [later_id, later_timestamp, later_signature] = attempt(NOW_MS + 5_000);
    assert_eq!((&*timestamp, &*later_timestamp), ("2000", "2005"));
    assert_eq!(id, later_id);
    assert_ne!(signature, later_signature);
    assert!(id.starts_with("msg_") && signature.starts_with("v1,"));
}

#[test]
fn a_second_daemon_gives_the_same_change_the_same_id() {
    let ids = [NOW_MS, NOW_MS + 700].map(|now_ms| {
        let mut webhook = webhook();
        webhook.absorb(&snapshot(2_000, vec![alert("checkout")]), now_ms);
        message(&mut webhook, now_ms, delivered()).expect("a message").0
    });
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn what_resolved_during_a_restart_is_told() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![Alert { resolved_at: Some(1_990), ..alert("checkout") }]), NOW_MS);
    assert_eq!(reasons(&mut webhook, NOW_MS), ["all alerts resolved"]);
}

#[test]
fn what_came_and_went_unheard_is_not_told() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    message(&mut webhook, NOW_MS, failed()).expect("a message");
    webhook.absorb(&snapshot(2_030, vec![Alert { resolved_at: Some(2_030), ..alert("checkout") }]), NOW_MS + 30_000);
    assert_eq!(reasons(&mut webhook, NOW_MS + 30_000), [""; 0]);
}

#[test]
fn a_receiver_that_was_away_for_an_hour_still_hears_of_the_end() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    assert_eq!(reasons(&mut webhook, NOW_MS), ["first notification"]);
    webhook.absorb(&snapshot(2_030, vec![Alert { resolved_at: Some(2_030), ..alert("checkout") }]), NOW_MS + 30_000);
    message(&mut webhook, NOW_MS + 30_000, failed()).expect("a message");
    webhook.absorb(&snapshot(5_600, vec![]), NOW_MS + HOUR_MS);
    assert_eq!(reasons(&mut webhook, NOW_MS + HOUR_MS), ["all alerts resolved"]);
    assert!(webhook.outbox.entries.is_empty() && webhook.groups.is_empty());
}

#[test]
fn a_message_that_fails_does_not_hold_back_the_others() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![alert("a"), alert("b")]), NOW_MS);
    let (_, first) = message(&mut webhook, NOW_MS, failed()).expect("a message");
    let (_, second) = message(&mut webhook, NOW_MS + 1_000, failed()).expect("a message");
    assert_eq!(
        (&first["groupLabels"]["slo_id"], &second["groupLabels"]["slo_id"]),
        (&json!("a-availability"), &json!("b-availability"))
    );
}

#[test]
fn a_receiver_of_the_worst_hears_of_nothing_milder() {
    let sev = |number| Sev::new(number).expect("in range");
    let mut webhook = webhook().at_least(Some(sev(2)));
    let of = |service: &str, number: u8| {
        let mut alert = alert(service);
        alert.sev = sev(number);
        alert.labels.set("sev", alert.sev.to_string());
        alert
    };
    webhook.absorb(&snapshot(2_000, vec![of("a", 1), of("b", 2), of("c", 3)]), NOW_MS);
    assert_eq!(webhook.waiting(NOW_MS), 2);
    assert_eq!(reasons(&mut webhook, NOW_MS), ["first notification"; 2]);
    // It gets milder: for this receiver it is over.
    let milder = vec![of("a", 1), Alert { resolved_at: Some(2_030), ..of("b", 2) }, of("b", 3), of("c", 3)];
    webhook.absorb(&snapshot(2_030, milder), NOW_MS + 30_000);
    assert_eq!(reasons(&mut webhook, NOW_MS + 30_000), ["all alerts resolved"]);
}

#[test]
fn a_refused_message_is_given_up() {
    let mut webhook = webhook();
    webhook.absorb(&snapshot(2_000, vec![alert("checkout")]), NOW_MS);
    assert!(matches!(webhook.next(NOW_MS), NextSend::Send(_)));
    let reason = Reason::Status(reqwest::StatusCode::FORBIDDEN, "no".into());
    let events = webhook.settle(Reply { outcome: Outcome::Rejected(reason), body: None }, NOW_MS);
    assert!(matches!(&events[..], [Event::Rejected { alerts, .. }] if alerts.contains("checkout")));
    assert_eq!(reasons(&mut webhook, NOW_MS + 60_000), [""; 0]);
}

#[test]
fn a_message_names_a_hundred_alerts_and_counts_the_rest() {
    let mut webhook = webhook();
    let alerts = (0..130).map(|i| {
        let mut alert = alert("llm");
        alert.labels.set("model", format!("m{i:03}"));
        alert
    });
    webhook.absorb(&snapshot(2_000, alerts.collect()), NOW_MS);
    let (_, body) = message(&mut webhook, NOW_MS, delivered()).expect("a message");
    assert_eq!((body["alerts"].as_array().map(Vec::len), &body["truncatedAlerts"]), (Some(100), &json!(30)));
    assert!(body["commonLabels"].get("model").is_none());
    assert_eq!(reasons(&mut webhook, NOW_MS), [""; 0]);
}
