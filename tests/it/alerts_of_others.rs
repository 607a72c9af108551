//! Alerts of another team on their way through a real Alertmanager into the audit log: each beginning and end once, however
//! often it is told, and nothing without the token.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gate_stage::Stage;
use crate::harness::alertmanager::Alertmanager;
use crate::harness::parts::{Generation, http};

const LIMIT: Duration = Duration::from_secs(60);

fn config(url: &str, token: &str) -> String {
    format!(
        "route:\n  receiver: slowburn\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 1s\n\
         receivers:\n  - name: slowburn\n    webhook_configs:\n      - url: {url}/v1/webhooks/alertmanager\n        \
         max_alerts: 50\n        http_config: {{authorization: {{type: Bearer, credentials: {token}}}}}\n"
    )
}

async fn tell(alertmanager: &Alertmanager, name: &str, ends_in_s: i64) {
    let at = |in_s: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(in_s)).to_string();
    let alert = json!([{
        "labels": {"alertname": name, "service": "s0", "team": "storage"},
        "annotations": {"summary": "the disk of the index is 95 % full"},
        "startsAt": at(-5), "endsAt": at(ends_in_s),
    }]);
    let sent = http().post(format!("{}/api/v2/alerts", alertmanager.url())).json(&alert).send().await;
    assert!(sent.expect("Alertmanager answers").status().is_success());
}

/// Records of `action` about an alert.
async fn recorded(stage: &Stage, name: &str, action: &str) -> usize {
    let url = format!("{}/v1/audit?limit=1000&service=s0", stage.url());
    let text = http().get(url).send().await.expect("the daemon answers").text().await.expect("text");
    let records: Value = serde_json::from_str(&text).expect("JSON");
    let records = records["records"].as_array().expect("records").iter();
    let of = |record: &&Value| record["action"] == action && record["resource"] == format!("alert/{name}");
    records.filter(of).count()
}

async fn until_recorded(stage: &Stage, name: &str, action: &str) {
    let start = Instant::now();
    while recorded(stage, name, action).await == 0 {
        assert!(start.elapsed() < LIMIT, "{action} of {name} is not on record:\n{}", stage.process.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Names of the alerts that an explanation shows.
async fn beside_a_decision(stage: &Stage) -> Vec<String> {
    let act = crate::gate_stage::request("deploy", 0, None);
    let asked = http().post(format!("{}/v1/decisions?explain", stage.url())).bearer_auth("token-of-robot/0").json(&act);
    let answer: Value = asked.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["decision"], "allow", "{answer:#}");
    let alerts = answer["context"]["alerts"].as_array().into_iter().flatten();
    alerts.filter_map(|alert| alert["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_others_come_through_alertmanager_once() {
    let stage = Stage::start(1, None, 1.0).await;
    for (generation, name) in [(Generation::Oldest, "DiskFullOld"), (Generation::Newest, "DiskFullNew")] {
        let told = Alertmanager::of(generation, &config(&stage.url(), "token-of-deployer")).await;
        let refused = Alertmanager::of(generation, &config(&stage.url(), "token-of-robot/0")).await;
        tell(&refused, "Forged", 300).await;
        tell(&told, name, 300).await;
        until_recorded(&stage, name, "alert_fired").await;
        assert_eq!(beside_a_decision(&stage).await, [name], "what fires stands beside a decision");
        // It is told of each second; the end is one more thing to tell.
        tokio::time::sleep(Duration::from_secs(4)).await;
        tell(&told, name, -1).await;
        until_recorded(&stage, name, "alert_resolved").await;
        assert_eq!(beside_a_decision(&stage).await, [""; 0]);
        assert_eq!(recorded(&stage, name, "alert_fired").await, 1);
        assert_eq!(recorded(&stage, name, "alert_resolved").await, 1);
        assert_eq!(recorded(&stage, "Forged", "alert_fired").await, 0, "a robot tells of no alert");
    }
}
