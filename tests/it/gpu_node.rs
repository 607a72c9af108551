//! The story of a GPU node: an operator sees XID errors on a node of the serving pool and asks to drain it. The real
//! binary, on a real Prometheus that has what kube-state-metrics tells of pods.
//!
//! The service that is served from the pool is well, and so is the other one on the node: the drain is allowed, once. A
//! second node is refused while the first is being drained, and so is the node whose other tenant has too few pods left.
//! When it has settled, the ledger says what it came to, and the audit log tells the story in sentences.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slowburn::clock::Clock;

use crate::harness::parts::{Process, eventually, free_port, http};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

const LIMIT: Duration = Duration::from_secs(90);
const T0: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
/// A minute to settle is two seconds of the wall's time then.
const SPEED: f64 = 30.0;
const OPERATOR: &str = "ai-operator/orca-ops";

/// Two services that are well, and where their pods are: of `llm-chat` four on three nodes, of `search` one on the
/// second node and none elsewhere.
fn past() -> String {
    let mut text = String::from("# TYPE http_requests_total counter\n");
    let times = || (T0 - 6 * HOUR + 7..T0 + HOUR).step_by(30);
    for service in ["llm-chat", "search"] {
        for (code, gain) in [("200", 300), ("500", 0)] {
            let labels = format!("service=\"{service}\",job=\"j\",instance=\"{service}-0\",code=\"{code}\"");
            for (n, at) in times().enumerate() {
                text += &format!("http_requests_total{{{labels}}} {} {at}\n", gain * n);
            }
        }
    }
    let pods = [
        ("k8s-gpu-17", "llm-chat", "7d9f8b6c5-aaaaa"),
        ("k8s-gpu-17", "llm-chat", "7d9f8b6c5-bbbbb"),
        ("k8s-gpu-18", "llm-chat", "7d9f8b6c5-ccccc"),
        ("k8s-gpu-18", "search", "5c4d3b2a1-ddddd"),
        ("k8s-gpu-19", "llm-chat", "7d9f8b6c5-eeeee"),
    ];
    let lately = || (T0 - 600..T0 + HOUR).step_by(30);
    text += "# TYPE kube_pod_info gauge\n";
    for (node, of, rest) in pods {
        let set = rest.split('-').next().unwrap_or_default();
        let labels = format!(
            "namespace=\"serving\",pod=\"{of}-{rest}\",node=\"{node}\",created_by_kind=\"ReplicaSet\",created_by_name=\"{of}-{set}\""
        );
        for at in lately() {
            text += &format!("kube_pod_info{{{labels}}} 1 {at}\n");
        }
    }
    text += "# TYPE kube_pod_status_ready gauge\n";
    for (_, of, rest) in pods {
        for at in lately() {
            text += &format!(
                "kube_pod_status_ready{{namespace=\"serving\",pod=\"{of}-{rest}\",condition=\"true\"}} 1 {at}\n"
            );
        }
    }
    for (metric, values) in [
        ("kube_deployment_status_replicas_ready", [("llm-chat", 4), ("search", 1)]),
        ("kube_deployment_spec_replicas", [("llm-chat", 4), ("search", 1)]),
        ("kube_deployment_metadata_generation", [("llm-chat", 7), ("search", 3)]),
    ] {
        text += &format!("# TYPE {metric} gauge\n");
        for (of, value) in values {
            for at in lately() {
                text += &format!("{metric}{{namespace=\"serving\",deployment=\"{of}\"}} {value} {at}\n");
            }
        }
    }
    text + "# EOF\n"
}

fn service(name: &str) -> String {
    let m = format!("http_requests_total{{service=\"{name}\"");
    format!(
        "name: {name}\nowner: team\nworkloads: [{{resource: deployment/{name}, namespace: serving}}]\nslo:\n  availability:\n    \
         objective: 99.9\n    window: 1d\n    sli: {{total: '{m}}}', bad: '{m},code=\"500\"}}'}}\n"
    )
}

const POLICY: &str = "service: llm-chat\nallowed_actions:\n  - {type: drain, nodes: [\"k8s-gpu-*\"], min_left: 2, max_per_day: 2, \
                      approvers: [{team: oncall}]}\nsettle: 1m\n";

fn token(name: &str) -> String {
    format!("token-of-{name}")
}

fn identities() -> String {
    let row = |(name, class, team): (&str, &str, &str)| {
        let hash: String = Sha256::digest(token(name)).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("  - {{name: \"{name}\", class: {class}, teams: [{team}], token_sha256: [{hash}]}}\n")
    };
    let rows = [(OPERATOR, "robot", ""), ("@ada", "human", "oncall")].map(row);
    format!("identities:\n{}", rows.concat())
}

fn drain(node: &str) -> Value {
    json!({
        "service": "llm-chat", "action": "drain", "resource": format!("node/{node}"),
        "reason": "XID 79: GPU has fallen off the bus", "incident_id": "INC-2025-077",
    })
}

fn codes(answer: &Value) -> Vec<&str> {
    answer["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("writable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_errors_is_drained_once_and_the_pool_is_held() {
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past())), ..PromOptions::default() }).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path();
    std::fs::create_dir_all(dir.join("rules")).expect("writable");
    write(dir, "rules/llm-chat.yaml", &service("llm-chat"));
    write(dir, "rules/search.yaml", &service("search"));
    write(dir, "rules/policy.yaml", POLICY);
    write(dir, "identities.yaml", &identities());
    let (port, clock) = (free_port(), Clock::scaled(T0 * 1000, SPEED));
    let path = |name: &str| dir.join(name).display().to_string();
    let listen = format!("127.0.0.1:{port}");
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let args = [
        "run",
        "--prometheus-url",
        &prometheus.url(),
        "--listen",
        &listen,
        "--rules",
        &path("rules"),
        "--data-dir",
        &path("data"),
        "--identities",
        &path("identities.yaml"),
        "--clock-start",
        &now,
        "--clock-speed",
        &SPEED.to_string(),
    ];
    let binary = Path::new(env!("CARGO_BIN_EXE_slowburn"));
    let process = Process::start(binary, args.map(str::to_owned), &dir.join("log"));
    let post = async |route: &str, body: &Value| -> Option<Value> {
        let sent = http().post(format!("http://{listen}{route}")).bearer_auth(token(OPERATOR)).json(body).send().await;
        sent.ok()?.json().await.ok()
    };
    // What runs on the node is seen, and history is read.
    eventually("the drain would be allowed", LIMIT, || async {
        let answer = post("/v1/decisions?explain", &drain("k8s-gpu-17")).await?;
        (answer["decision"] == "allow").then_some(())
    })
    .await;

    // The other tenant of the second node has its only pod there.
    let second = post("/v1/decisions?explain", &drain("k8s-gpu-18")).await.expect("an answer");
    assert!(second["decision"] == "deny" && codes(&second).contains(&"too_few_left"), "{second:#}");
    let elsewhere = post("/v1/decisions?explain", &drain("k8s-cpu-1")).await.expect("an answer");
    assert!(codes(&elsewhere).contains(&"foreign_resource"), "{elsewhere:#}");

    // The SLO of the pool holds: allowed, once.
    let allowed = post("/v1/decisions", &drain("k8s-gpu-17")).await.expect("an answer");
    assert_eq!(allowed["decision"], "allow", "{allowed:#}\n{}", process.log());
    let checks = allowed["checks"].to_string();
    assert!(checks.contains("node.left") && checks.contains("slo.headroom"), "{checks}");
    let permit = allowed["permit"]["id"].as_str().expect("a permit").to_owned();
    let third = post("/v1/decisions", &drain("k8s-gpu-19")).await.expect("an answer");
    assert!(third["decision"] == "deny" && codes(&third).contains(&"change_in_flight"), "{third:#}");
    let used = post(&format!("/v1/permits/{permit}/redeem"), &json!({})).await.expect("an answer");
    assert_eq!(used["decision"], "allow", "{used:#}");
    let again = post(&format!("/v1/permits/{permit}/redeem"), &json!({})).await.expect("an answer");
    assert_eq!(again["decision"], "deny", "{again:#}");
    post(&format!("/v1/permits/{permit}/outcome"), &json!({"applied": true})).await.expect("an answer");
    let third = post("/v1/decisions", &drain("k8s-gpu-19")).await.expect("an answer");
    assert!(third["decision"] == "deny" && codes(&third).contains(&"change_in_flight"), "{third:#}");

    // It settled, and nothing became worse: the next node may follow.
    let data = dir.join("data");
    eventually("the act was judged", LIMIT, || async {
        let shown = std::process::Command::new(binary)
            .args(["audit", "show", "--data-dir"])
            .arg(&data)
            .arg(allowed["decision_id"].as_str()?)
            .output()
            .ok()?;
        let told = String::from_utf8_lossy(&shown.stdout).into_owned();
        (told.contains("drain of node/k8s-gpu-17") && told.contains("no effect")).then_some(())
    })
    .await;
    let third = post("/v1/decisions?explain", &drain("k8s-gpu-19")).await.expect("an answer");
    assert_eq!(third["decision"], "allow", "{third:#}");
}
