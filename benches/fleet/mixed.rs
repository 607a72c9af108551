//! A fleet with SLOs in it that cannot be asked for: each of them says so alone, and nobody else hears of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::harness::many::{self, Many};
use super::harness::parts::http;
use super::table::Table;
use super::{Daemon, POLL, binary};

/// What the server refuses to answer.
const REFUSED: &str = "unanswerable_metric";
const TOKEN: &str = "token-of-the-deployer";

/// Five minutes of the real daemon: long enough for a missing SLO to alert, and for polls that failed to.
pub async fn mixed(slos: usize, table: &mut Table) {
    table.part(&format!("{slos} SLOs, one that is refused and one that is too long to be asked for"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    write(dir.path(), slos);
    let refuse = |query: &str| {
        let refused = query.contains(REFUSED);
        refused.then(|| (StatusCode::UNPROCESSABLE_ENTITY, "refused on purpose".to_owned()))
    };
    let prometheus = Many::refusing(slos, refuse).await;
    let identities = dir.path().join("identities.yaml").display().to_string();
    let mut daemon = Daemon::start(&prometheus.url(), dir.path(), &["--no-backfill", "--identities", &identities]);
    daemon.ready().await;
    tokio::time::sleep(10 * POLL + Duration::from_secs(10)).await;
    let all = json_of(&daemon, "/v1/slos").await;
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    let data = |slo: &Value, key: &str| slo["series"][0]["data"][key].as_str().unwrap_or_default().to_owned();
    let fresh = all.iter().filter(|slo| data(slo, "state") == "fresh").count();
    table.at_least("the others have fresh data", fresh as f64, slos as f64, "SLOs");
    let log = daemon.process.log();
    for (id, reason, said) in [
        ("refused-depth", "query_failing", "refused on purpose"),
        ("long-latency-p95", "source_unplanned", "at most 16384 are read"),
    ] {
        let slo = all.iter().find(|slo| slo["id"] == id).unwrap_or(&Value::Null);
        table.holds(&format!("{id}: its data says {reason}"), data(slo, "reason") == reason);
        table.holds(&format!("{id}: its note says why"), slo["notes"].to_string().contains(said));
        let warned = log.lines().any(|line| line.contains("WARN") && (line.contains(id) || line.contains(REFUSED)));
        table.holds(&format!("{id}: the log warns of it"), warned);
    }
    let alerts = json_of(&daemon, "/v1/alerts").await;
    // A history of five minutes may well spend a budget: that is no fault of reading.
    let is_missing = |alert: &&Value| alert["kind"] == "data_missing";
    let alerts = alerts.as_array().map_or(0, |all| all.iter().filter(is_missing).count());
    table.at_most("alerts of missing data, one for each of the two", alerts as f64, 2.0, "");
    table.at_least("alerts of missing data, one for each of the two", alerts as f64, 2.0, "");
    let metrics = daemon.get("/metrics").await.unwrap_or_default();
    table.holds("no poll failed", !metrics.contains("slowburn_polls_total{outcome=\"failed\"}"));
    let in_the_way = in_the_way(&daemon).await;
    table.holds("gate, data and budget of another service let it be deployed", in_the_way.is_empty());
    in_the_way.iter().for_each(|id| println!("in the way: {id}"));
    let rules = dir.path().join("rules").display().to_string();
    let (code, text) = check(&[&rules]);
    table.holds("check refuses the one that is too long", code == 1 && text.contains("long-latency-p95: error"));
    std::fs::remove_file(dir.path().join("rules/long.yaml")).expect("it was written");
    // Three of the others stand for all: check asks for each by itself.
    (3..slos).for_each(|n| {
        std::fs::remove_file(dir.path().join("rules").join(many::rules(&many::name(n)).0)).expect("it was written");
    });
    let (code, text) = check(&[&rules, "--prometheus-url", &prometheus.url()]);
    table.holds("check names the one that is refused", code == 1 && text.contains("refused-depth"));
}

fn write(dir: &Path, slos: usize) {
    let rules = dir.join("rules");
    std::fs::create_dir(&rules).expect("a new folder");
    let mut files: Vec<(String, String)> = (0..slos).map(|n| many::rules(&many::name(n))).collect();
    let refused = format!(
        "name: refused\nowner: t\nslo:\n  custom:\n    - {{name: depth, objective: 99, slices: {{query: \
         'max({REFUSED})', max: 5}}}}\n"
    );
    // Just as long as a file may have it, and too long once its buckets are asked for.
    let path = "x".repeat(16 * 1024 - 40);
    let long = format!(
        "name: long\nowner: t\nslo:\n  latency_p95_ms: {{max: 250, sli: {{histogram: \
         'd_seconds{{service=\"long\",path=\"{path}\"}}'}}}}\n"
    );
    let policy = format!("service: {}\nallowed_actions:\n  - {{type: deploy}}\nsafety_checks: []\n", many::name(0));
    files.extend([("refused.yaml".into(), refused), ("long.yaml".into(), long), ("policy.yaml".into(), policy)]);
    for (file, text) in files {
        std::fs::write(rules.join(file), text).expect("writable");
    }
    let hash: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    let identities = format!("identities:\n  - {{name: deployer, class: pipeline, token_sha256: [{hash}]}}\n");
    std::fs::write(dir.join("identities.yaml"), identities).expect("writable");
}

async fn json_of(daemon: &Daemon, path: &str) -> Value {
    serde_json::from_str(&daemon.get(path).await.unwrap_or_default()).unwrap_or_default()
}

/// What of gate and data stands in the way of a deployment of the first service. Which version runs is not known here, so
/// the answer itself is no.
async fn in_the_way(daemon: &Daemon) -> Vec<String> {
    let request = json!({
        "service": many::name(0), "action": "deploy", "resource": format!("deployment/{}", many::name(0)),
        "from_version": "v1", "to_version": "v2", "reason": "release",
    });
    let asked = http().post(format!("{}/v1/decisions", daemon.url)).bearer_auth(TOKEN).json(&request).send().await;
    let Ok(answer) = asked else { return vec!["no answer".into()] };
    let answer: Value = answer.json().await.unwrap_or_default();
    let checks = answer["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let id = |check: &Value| check["id"].as_str().unwrap_or_default().to_owned();
    let held: Vec<String> = checks.iter().filter(|check| check["effect"] == "allow").map(id).collect();
    let needed = ["gate.clock", "data.quality", "slo.headroom"].map(str::to_owned);
    let missing = needed.into_iter().filter(|id| !held.contains(id));
    let stops = checks.iter().filter(|check| check["effect"] != "allow").map(id);
    missing.chain(stops.filter(|id| !["premise.version", "approval.channel"].contains(&id.as_str()))).collect()
}

/// `slowburn check`: its exit code, and what it prints.
fn check(args: &[&str]) -> (i32, String) {
    let output = Command::new(binary()).arg("check").args(args).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}
