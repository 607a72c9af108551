//! Alerts of others over HTTP: who may tell of them, what is written down, and where it is seen.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::web::gate::tests::{ADA, ORCA, gate};

const PATH: &str = "/v1/webhooks/alertmanager";

fn alert(name: &str, labels: &[(&str, &str)], status: &str) -> Value {
    let mut all: serde_json::Map<String, Value> =
        labels.iter().map(|&(name, value)| (name.to_owned(), json!(value))).collect();
    all.insert("alertname".into(), json!(name));
    json!({
        "status": status, "labels": all, "annotations": {"summary": "the disk is 95 % full <!channel>"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": if status == "firing" { "0001-01-01T00:00:00Z" } else { "2026-01-01T01:00:00Z" },
        "generatorURL": "http://prometheus/graph", "fingerprint": format!("{name}-1"),
    })
}

/// As Alertmanager sends it.
fn notification(alerts: &[Value]) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "slowburn",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
        "alerts": alerts, "notification_reason": "first notification",
    })
}

/// The names and words of others' alerts are shown as they are, and turn, call and hide nothing.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_others_say_no_more_than_they_show() {
    let gate = gate();
    let words = crate::web::fixture::HOSTILE;
    let mut alerts: Vec<Value> = words.iter().map(|word| alert(word, &[("service", "checkout")], "firing")).collect();
    for (n, (alert, word)) in alerts.iter_mut().zip(words).enumerate() {
        (alert["annotations"]["summary"], alert["fingerprint"]) = (json!(word), json!(n.to_string()));
    }
    let (status, answer) = gate.post(ADA, PATH, &notification(&alerts)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, listed) = gate.get("/v1/incidents?service=checkout").await;
    let id = listed["incidents"][0]["id"].as_str().expect("an id");
    let (_, told) = gate.get(&format!("/v1/incidents/{id}")).await;
    let lines = told["timeline"].as_array().expect("a timeline").iter();
    let said: Vec<&str> = lines
        .filter(|line| line["source"].as_str().is_some_and(|of| of.starts_with("audit")))
        .filter_map(|line| line["text"].as_str())
        .collect();
    assert!(said.len() >= words.len(), "{told:#}");
    for text in said {
        let unseen = text.chars().any(crate::engine::text::is_unseen);
        assert!(!unseen && !text.contains(['<', '>']), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_others_stand_in_the_log_once_and_neutral() {
    let gate = gate();
    let firing = [
        alert("DiskFull", &[("service", "checkout")], "firing"),
        alert("NodeDown", &[("service", "nobody-knows-it")], "firing"),
        alert("CertExpires", &[], "firing"),
        alert("SLOFastBurn", &[("service", "checkout"), ("slo_id", "checkout-availability")], "firing"),
    ];
    let (status, answer) = gate.post(ADA, PATH, &notification(&firing)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer, json!({"recorded": 1, "repeated": 0, "of_no_service": 2, "left_out": 0, "own": 1}));
    let (_, answer) = gate.post(ADA, PATH, &notification(&firing[..1])).await;
    assert_eq!((&answer["recorded"], &answer["repeated"]), (&json!(0), &json!(1)), "{answer}");
    let resolved = alert("DiskFull", &[("service", "checkout")], "resolved");
    let (_, answer) = gate.post(ADA, PATH, &notification(&[resolved])).await;
    assert_eq!(answer["recorded"], 1, "{answer}");
    let by_label = alert("QueueLong", &[("app", "checkout")], "firing");
    let (_, answer) = gate.post(ADA, &format!("{PATH}?service_label=app"), &notification(&[by_label])).await;
    assert_eq!(answer["recorded"], 1, "{answer}");
    let (_, found) = gate.get("/v1/audit?service=checkout&limit=100").await;
    let text = found.to_string();
    for part in ["alert_fired", "alert_resolved", "alert/DiskFull", "alert/QueueLong", "@ada", "95 % full"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("<!channel>"), "{text}");
    let (_, listed) = gate.get("/v1/incidents?service=checkout").await;
    let id = listed["incidents"][0]["id"].as_str().expect("an id");
    let (_, told) = gate.get(&format!("/v1/incidents/{id}")).await;
    let lines = told["timeline"].as_array().expect("a timeline").iter();
    let lines: Vec<&str> =
        lines.filter(|line| line["kind"] == "alert_of_others").filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].starts_with("alert DiskFull fires, told by @ada (\u{201c}the disk is 95 % full"), "{lines:?}");
    gate.log.close();
}

/// An alert of others is shown beside every answer about its service, kept with the decision, and changes none.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_others_stand_beside_a_decision_and_change_nothing() {
    let gate = gate();
    let acts = [
        json!({"service": "checkout", "action": "deploy", "resource": "deployment/checkout-service", "from_version": "v42",
            "to_version": "v43"}),
        json!({"service": "checkout", "action": "rollback", "resource": "deployment/checkout-service",
            "from_version": "v42", "to_version": "v41", "reason": "slo_burn_rate_exceeded"}),
    ];
    let explained = async |act: &Value| gate.post(ORCA, "/v1/decisions?explain", act).await.1;
    let decided = |answer: &Value| {
        let mut answer = answer.clone();
        answer.as_object_mut().expect("an object").retain(|member, _| !["at", "context"].contains(&member.as_str()));
        answer
    };
    let mut before = Vec::new();
    for act in &acts {
        let answer = explained(act).await;
        assert_eq!(answer["context"], Value::Null, "{answer:#}");
        before.push(decided(&answer));
    }
    let alerts =
        [alert("DiskFull", &[("service", "checkout")], "firing"), alert("Elsewhere", &[("service", "x")], "firing")];
    assert_eq!(gate.post(ADA, PATH, &notification(&alerts)).await.0, StatusCode::OK);
    for (act, before) in acts.iter().zip(&before) {
        let answer = explained(act).await;
        assert_eq!(decided(&answer), *before, "an alert of others decides nothing");
        let shown = answer["context"]["alerts"].as_array().expect("alerts");
        assert_eq!((shown.len(), &shown[0]["name"], &shown[0]["told_by"]), (1, &json!("DiskFull"), &json!("@ada")));
        assert_eq!(answer["context"]["left_out"], 0);
    }
    // Kept with the decision, and shown to whoever is asked for a yes.
    let (_, asked) = gate.post(ORCA, "/v1/decisions", &acts[1]).await;
    assert_eq!(asked["context"]["alerts"][0]["name"], "DiskFull", "{asked:#}");
    if let Some(id) = asked["approval"]["id"].as_str() {
        let (_, approval) = gate.get(&format!("/v1/approvals/{id}")).await;
        assert_eq!(approval["context"]["alerts"][0]["name"], "DiskFull", "{approval:#}");
    }
    let (_, found) = gate.get("/v1/audit?service=checkout&limit=100").await;
    let records = found["records"].as_array().expect("records");
    let decision = records.iter().find(|record| record["kind"] == "decision").expect("it is on record");
    assert_eq!(decision["inputs"]["context"]["alerts"][0]["name"], "DiskFull", "{decision:#}");
    // A silence is shown too, and loosens nothing; each of its ends stands in the incident.
    let silence = crate::gate_service::Silenced {
        id: "s-1".into(),
        by: "bob".into(),
        comment: "maintenance".into(),
        starts_at: 1,
        ends_at: i64::MAX / 2_000,
        services: ["checkout".to_owned()].into(),
    };
    gate.gate_service.take_silences(vec![silence.clone()]).await;
    gate.gate_service.take_silences(vec![silence]).await;
    let answer = explained(&acts[0]).await;
    assert_eq!(decided(&answer), before[0], "a silence loosens nothing");
    assert_eq!(answer["context"]["silences"][0]["by"], "bob", "{answer:#}");
    gate.gate_service.take_silences(vec![]).await;
    assert_eq!(explained(&acts[0]).await["context"]["silences"], json!([]));
    let (_, listed) = gate.get("/v1/incidents?service=checkout").await;
    let id = listed["incidents"][0]["id"].as_str().expect("an id");
    let (_, told) = gate.get(&format!("/v1/incidents/{id}")).await;
    let lines = told["timeline"].as_array().expect("a timeline").iter();
    let lines: Vec<&str> =
        lines.filter(|line| line["kind"] == "silence_of_others").filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(lines.len(), 2, "{told:#}");
    assert!(lines.iter().all(|line| line.contains("by bob") && line.contains("maintenance")), "{lines:?}");
    // Its end is told of.
    let resolved = alert("DiskFull", &[("service", "checkout")], "resolved");
    assert_eq!(gate.post(ADA, PATH, &notification(&[resolved])).await.0, StatusCode::OK);
    assert_eq!(explained(&acts[0]).await["context"], Value::Null);
    gate.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn robots_strangers_and_other_words_are_refused() {
    let gate = gate();
    let told = notification(&[alert("DiskFull", &[("service", "checkout")], "firing")]);
    assert_eq!(gate.post(ORCA, PATH, &told).await.0, StatusCode::FORBIDDEN);
    assert_eq!(gate.post("", PATH, &told).await.0, StatusCode::UNAUTHORIZED);
    let mut newer = told.clone();
    newer["version"] = json!("5");
    let mut shapeless = told.clone();
    shapeless["alerts"][0]["startsAt"] = json!("yesterday");
    for (body, says) in [(newer, "version"), (shapeless, "as year"), (json!({"version": "4"}), "alerts")] {
        let (status, answer) = gate.post(ADA, PATH, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(answer["error"].as_str().expect("an error").contains(says), "{says}: {answer}");
    }
    let (status, answer) = gate.post(ADA, &format!("{PATH}?label=app"), &told).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    gate.log.close();
}

/// A storm of alerts with long words is when it matters what else is wrong, and Alertmanager does not send again what is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_notification_of_many_long_alerts_is_read_and_one_without_end_is_not() {
    let gate = gate();
    let long = |count: usize, chars: usize| {
        let alerts: Vec<Value> = (0..count)
            .map(|n| {
                let mut alert = alert(&format!("A{n}"), &[("service", "checkout")], "firing");
                alert["annotations"]["description"] = json!("d".repeat(chars));
                alert
            })
            .collect();
        notification(&alerts)
    };
    let (status, answer) = gate.post(ADA, PATH, &long(90, 5_000)).await;
    assert_eq!((status, &answer["recorded"]), (StatusCode::OK, &json!(90)), "{answer}");
    assert_eq!(gate.post(ADA, PATH, &long(90, 20_000)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let other = gate.post(ADA, "/v1/decisions", &long(90, 5_000)).await.0;
    assert_eq!(other, StatusCode::PAYLOAD_TOO_LARGE, "only where alerts are told of");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_notification_writes_down_so_many_and_says_what_it_left_out() {
    let gate = gate();
    let many: Vec<Value> = (0..130).map(|n| alert(&format!("A{n}"), &[("service", "checkout")], "firing")).collect();
    let (status, answer) = gate.post(ADA, PATH, &notification(&many)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!((&answer["recorded"], &answer["left_out"]), (&json!(100), &json!(30)), "{answer}");
    // What was left out is news when it is told of again.
    let (_, answer) = gate.post(ADA, PATH, &notification(&many)).await;
    assert_eq!((&answer["recorded"], &answer["repeated"]), (&json!(30), &json!(100)), "{answer}");
    gate.log.close();
}
