//! Alerts of another team on their way through a real Alertmanager into the audit log: each beginning and end once, however
//! often it is told, and nothing without the token.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slowburn::clock::Clock;

use crate::decider::{Twin, leader_of};
use crate::gate_stage::{Stage, T0};
use crate::harness::alertmanager::{Alertmanager, SILENT};
use crate::harness::parts::{Generation, eventually, http};

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
    let mut stage = Stage::start(1, None, 1.0).await;
    for (generation, name) in [(Generation::Oldest, "DiskFullOld"), (Generation::Newest, "DiskFullNew")] {
        let told = Alertmanager::of(generation, &config(&stage.url(), "token-of-deployer")).await;
        let refused = Alertmanager::of(generation, &config(&stage.url(), "token-of-robot/0")).await;
        tell(&refused, "Forged", 300).await;
        tell(&told, name, 300).await;
        until_recorded(&stage, name, "alert_fired").await;
        assert_eq!(beside_a_decision(&stage).await, [name], "what fires stands beside a decision");
        // A restart knows what the log says, before anybody tells of it again.
        stage.process.kill();
        stage.restart();
        assert_eq!(beside_a_decision(&stage).await, [name]);
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

/// What an explanation of a deploy says of others, and all else that it says.
async fn explained(stage: &Stage) -> Option<(Value, Value)> {
    let act = crate::gate_stage::request("deploy", 0, None);
    let asked = http().post(format!("{}/v1/decisions?explain", stage.url())).bearer_auth("token-of-robot/0").json(&act);
    let mut answer: Value = asked.send().await.ok()?.json().await.ok()?;
    let context = answer["context"].take();
    // How long something still lasts is said in words.
    let denies = answer["reasons"].as_array()?.iter().filter(|reason| reason["effect"] == "deny");
    let codes: Vec<&Value> = denies.map(|reason| &reason["code"]).collect();
    let decided = json!({"decision": answer["decision"], "denies": codes});
    Some((context, decided))
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_of_others_are_shown_and_loosen_nothing() {
    let mut stage = Stage::start(1, None, 30.0).await;
    let peers =
        [Alertmanager::of(Generation::Oldest, SILENT).await, Alertmanager::of(Generation::Newest, SILENT).await];
    stage.process.kill();
    let list: Vec<String> = peers.iter().map(|peer| format!("{{url: \"{}\"}}", peer.url())).collect();
    let settings = std::fs::read_to_string(stage.path("slowburn.yaml")).expect("readable");
    let settings = format!("{settings}alertmanagers: [{}]\n", list.join(", "));
    std::fs::write(stage.path("slowburn.yaml"), settings).expect("writable");
    stage.restart();
    // A no, which no silence turns into a yes.
    let order = json!({"scope": {"service": "s0"}, "reason": "INC-7", "for_s": 86_400});
    assert_eq!(stage.wire().post("@ada", "/v1/halts", &order).expect("an answer").0, 200);
    let (context, denied) = explained(&stage).await.expect("an answer");
    assert_eq!((&context, &denied["decision"]), (&Value::Null, &json!("deny")));
    for peer in &peers {
        let at = |in_s: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(in_s)).to_string();
        let silence = json!({
            "matchers": [{"name": "service", "value": "s0|s9", "isRegex": true, "isEqual": true}],
            "startsAt": at(0), "endsAt": at(3600), "createdBy": "bob", "comment": "the index is moved <!here>",
        });
        let sent = http().post(format!("{}/api/v2/silences", peer.url())).json(&silence).send().await;
        let made: Value = sent.expect("Alertmanager answers").json().await.expect("JSON");
        let id = made["silenceID"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let shown = eventually("the silence is shown", LIMIT, || async {
            let (context, decided) = explained(&stage).await?;
            assert_eq!(decided, denied, "a silence loosens nothing");
            Some(context["silences"].get(0)?.clone())
        })
        .await;
        assert_eq!((&shown["id"], &shown["by"]), (&json!(id), &json!("bob")));
        stage.process.kill();
        stage.restart();
        assert_eq!(explained(&stage).await.expect("an answer").0["silences"][0]["id"], json!(id), "known at once");
        let comment = shown["comment"].as_str().expect("a comment");
        assert!(comment.starts_with("the index is moved") && !comment.contains('<'), "{comment}");
        let ended = http().delete(format!("{}/api/v2/silence/{id}", peer.url())).send().await;
        assert!(ended.expect("Alertmanager answers").status().is_success());
        eventually("it is over", LIMIT, || async { explained(&stage).await?.0.is_null().then_some(()) }).await;
        for action in ["silence_began", "silence_ended"] {
            eventually("it is on record", LIMIT, || async {
                let url = format!("{}/v1/audit?limit=1000&service=s0&action={action}", stage.url());
                let found: Value = http().get(url).send().await.ok()?.json().await.ok()?;
                let of_it = |record: &&Value| record["resource"] == format!("silence/{id}");
                let records = found["records"].as_array()?.iter().filter(of_it).count();
                assert!(records <= 1, "{action}: {found:#}");
                (records == 1).then_some(())
            })
            .await;
        }
    }
}

/// Of two daemons that take turns, the one that does not decide keeps nothing of others: what it is told of goes to the one that does,
/// whose answers have it, and who takes over knows it from the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_daemon_is_told_and_asked_what_others_say_stands_beside_the_answer() {
    let mut stage = Stage::start(1, None, 1.0).await;
    stage.process.kill();
    let clock = Clock::scaled((T0 + 60) * 1000, 1.0);
    let mut twins = [Twin::start(&stage, "a", &clock, ""), Twin::start(&stage, "b", &clock, "")];
    let leader = leader_of(&twins, Instant::now()).await.0;
    let other = 1 - leader;
    let beside = async |twin: &Twin| -> Option<Vec<String>> {
        let act = crate::gate_stage::request("deploy", 0, None);
        let url = format!("http://127.0.0.1:{}/v1/decisions?explain", twin.port);
        let asked = http().post(url).bearer_auth("token-of-robot/0").json(&act).send().await.ok()?;
        let answer: Value = asked.json().await.ok()?;
        let alerts = answer["context"]["alerts"].as_array().into_iter().flatten();
        Some(alerts.filter_map(|alert| alert["name"].as_str().map(str::to_owned)).collect())
    };
    let alert = json!({
        "status": "firing", "fingerprint": "7", "labels": {"alertname": "DiskFull", "service": "s0"}, "annotations": {},
        "startsAt": jiff::Timestamp::from_second(T0).expect("a time").to_string(), "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
    });
    let told = json!({
        "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "slowburn",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager", "alerts": [alert],
    });
    eventually("the one that does not decide knows who does, and sends it on", LIMIT, || async {
        let (status, _) = twins[other].post("deployer", "/v1/webhooks/alertmanager", &told)?;
        (status == 200).then_some(())
    })
    .await;
    for twin in [&twins[leader], &twins[other]] {
        eventually("it stands beside the answer", LIMIT, || async {
            (beside(twin).await? == ["DiskFull"]).then_some(())
        })
        .await;
    }
    twins[leader].process.kill();
    eventually("the other one decides, and knows it", LIMIT, || async {
        (twins[other].leads().await == Some(true) && beside(&twins[other]).await? == ["DiskFull"]).then_some(())
    })
    .await;
}
