//! SLO files of other tools on a real Prometheus: loaded as they are, imported, or written by hand, the numbers of
//! `eval` and of a running daemon are the same to the byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::fleet::{self, REQUESTS};
use crate::harness::parts::{Process, eventually, free_port, http};
use crate::harness::prometheus::Prometheus;

const SLOWBURN: &str = env!("CARGO_BIN_EXE_slowburn");
const T0: i64 = 1_760_054_400;
const DAY: i64 = 86_400;
const HOUR: i64 = 3600;

/// One SLO of each tool, all of the service `pay`.
fn foreign() -> [(&'static str, String); 4] {
    let sloth = format!(
        "version: prometheus/v1\nservice: pay\nlabels: {{owner: team-pay}}\nslos:\n  - name: sloth\n    objective: 99.9\n    \
         sli:\n      events:\n        error_query: sum(rate({REQUESTS}{{service=\"pay\",code=~\"5..\"}}[{{{{.window}}}}])) or \
         vector(0)\n        total_query: (sum(rate({REQUESTS}{{service=\"pay\"}}[{{{{.window}}}}])) > 0)\n"
    );
    let pyrra = "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {name: pay-pyrra, labels: \
                 {pyrra.dev/owner: team-pay, pyrra.dev/service: pay}}\nspec:\n  target: \"95\"\n  window: 4w\n  indicator:\n    \
                 latency:\n      success: {metric: 'http_request_duration_seconds_bucket{service=\"pay\",le=\"0.10\"}'}\n      \
                 total: {metric: 'http_request_duration_seconds_count{service=\"pay\"}'}\n      grouping: [instance]\n";
    let openslo = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: pay-openslo, labels: {owner: team-pay}}\nspec:\n  service: \
                   pay\n  indicatorRef: p95\n  timeWindow: [{duration: 1w, isRolling: true}]\n  budgetingMethod: Occurrences\n  \
                   objectives: [{target: 0.98, op: lte, value: 0.1}]\n  alertPolicies: [{alertPolicyRef: fast}]\n---\n\
                   apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: p95}\nspec: {thresholdMetric: {metricSource: {type: \
                   Prometheus, spec: {query: 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{\
                   service=\"pay\"}[5m])))'}}}}\n---\napiVersion: openslo/v1\nkind: AlertPolicy\nmetadata: {name: fast}\nspec: \
                   {conditions: [{kind: AlertCondition, metadata: {name: c}, spec: {severity: page, condition: {kind: burnrate, \
                   op: gte, threshold: 10, lookbackWindow: 1h}}}]}\n";
    let generator = format!(
        "apiVersion: sre.google.com/v2\nkind: ServiceLevelObjective\nmetadata: {{name: generator, labels: {{service_name: pay, \
         owner: team-pay}}}}\nspec:\n  goal: 0.995\n  backend: prometheus\n  method: query_sli\n  service_level_indicator:\n    \
         expression: 'sum(increase({REQUESTS}{{service=\"pay\",code=\"200\"}}[window])) / sum(increase({REQUESTS}{{\
         service=\"pay\"}}[window]))'\n---\nerror_budget_policies: {{default: {{steps: [{{name: a, window: 3600, \
         burn_rate_threshold: 9, alert: true}}, {{name: b, window: 604800, burn_rate_threshold: 1.5, alert: true}}]}}}}\n"
    );
    [
        ("sloth.yaml", sloth),
        ("pyrra.yaml", pyrra.into()),
        ("openslo.yaml", openslo.into()),
        ("generator.yaml", generator),
    ]
}

/// The same four, as somebody would write them here.
fn by_hand() -> String {
    let all = format!("{REQUESTS}{{service=\"pay\"}}");
    let histogram = "http_request_duration_seconds{service=\"pay\"}";
    format!(
        "name: pay\nowner: team-pay\nslo:\n  custom:\n    - name: sloth\n      objective: 99.9\n      events: {{total: '{all}', bad: \
         '{REQUESTS}{{service=\"pay\",code=~\"5..\"}}'}}\n      alert_policies: [{{type: burn_rate, fast_burn: [1h/5m > 2%, 6h/30m \
         > 5%], slow_burn: [1d/2h > 10%, 3d/6h > 10%]}}]\n    - name: pyrra\n      objective: 95\n      window: 28d\n      events: \
         {{histogram: '{histogram}', max: 0.1}}\n      by: [instance]\n      alert_policies: [{{type: burn_rate, fast_burn: \
         [1h/5m > 14x, 6h/30m > 7x], slow_burn: [1d/2h > 2x, 4d/6h > 1x]}}]\n    - name: openslo\n      objective: 98\n      window: \
         7d\n      slices: {{histogram: '{histogram}', max: 0.1, quantile: 0.95}}\n      alert_policies: [{{type: burn_rate, \
         fast_burn: 1h > 10x}}]\n    - name: generator\n      objective: 99.5\n      window: 7d\n      events: {{total: '{all}', good: \
         '{REQUESTS}{{service=\"pay\",code=\"200\"}}'}}\n      alert_policies: [{{type: burn_rate, fast_burn: 1h > 9x, slow_burn: \
         7d > 1.5x}}]\n"
    )
}

/// What `slowburn eval` prints as JSON.
fn eval(prometheus: &Prometheus, rules: &Path) -> String {
    let output = Command::new(SLOWBURN)
        .args(["eval", "--format", "json", "--at", &T0.to_string(), "--prometheus-url", &prometheus.url(), "--rules"])
        .arg(rules)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1), "something burns\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}

/// The folders `foreign`, `imported` (from it, by the command) and `hand`.
fn rules_in_three_forms() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join(name);
    fleet::write_rules(&at("foreign"), &foreign());
    fleet::write_rules(&at("hand"), &[("pay.yaml", by_hand())]);
    let output = Command::new(SLOWBURN)
        .args(["import", "foreign", "--out", "imported"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("4 SLOs of 1 service from 4 files"), "{said}");
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_file_its_import_and_the_service_written_by_hand_give_the_same_bytes() {
    let start = T0 - 2 * DAY;
    let scenario = fleet::scenario(start, T0, &[(T0 - 20 * HOUR, T0 - 19 * HOUR), (T0 - HOUR, T0)]);
    let prometheus = fleet::prometheus(&scenario, start, T0).await;
    let dir = rules_in_three_forms();
    let at = |name: &str| dir.path().join(name);
    let [foreign, imported, hand] = ["foreign", "imported", "hand"].map(|name| eval(&prometheus, &at(name)));
    let views: Vec<Value> = serde_json::from_str(&hand).expect("JSON");
    let ids: Vec<&str> = views.iter().filter_map(|view| view["id"].as_str()).collect();
    assert_eq!(ids, ["pay-generator", "pay-openslo", "pay-pyrra", "pay-sloth"]);
    assert_eq!(views[2]["series"].as_array().map(Vec::len), Some(4), "the whole, and one for each instance");
    for series in views.iter().flat_map(|view| view["series"].as_array().expect("series")) {
        let count = |key: &str| series["window"][key].as_u64().unwrap_or(0);
        assert!(count("total") > 100 && count("bad") > 0, "{series:#}");
    }
    assert_eq!(foreign, hand);
    assert_eq!(imported, hand);
}

/// `slowburn run` on a folder of rules, its clock at `T0` when it starts.
struct Running {
    _process: Process,
    url: String,
    /// What `/v1/slos` said, by the moment it was about; only what was said with all history read.
    said: BTreeMap<i64, Vec<Value>>,
}

impl Running {
    fn start(prometheus: &Prometheus, rules: &Path) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let url = prometheus.url();
        let rules = rules.display().to_string();
        let start = T0.to_string();
        let read = ["run", "--prometheus-url", &url, "--rules", &rules, "--listen", &listen];
        let clock = ["--clock-start", &start, "--clock-speed", "1"];
        let args = read.iter().chain(&clock);
        let process = Process::start(Path::new(SLOWBURN), args, Path::new(&format!("{rules}.log")));
        Running { _process: process, url: format!("http://{listen}"), said: BTreeMap::new() }
    }

    async fn ask(&mut self) -> Option<()> {
        let ready = http().get(format!("{}/readyz", self.url)).send().await.ok()?.status().is_success();
        let answer = http().get(format!("{}/v1/slos", self.url)).send().await.ok()?;
        let slos: Vec<Value> = answer.json().await.ok()?;
        let of = |slo: &Value| slo["series"].as_array().cloned().unwrap_or_default();
        let series: Vec<Value> = slos.iter().flat_map(of).collect();
        let filling = series.iter().any(|series| series["data"]["reason"] == "filling");
        let at = series.first()?["at"].as_i64()?;
        if ready && !filling {
            self.said.insert(at, slos);
        }
        Some(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_given_the_foreign_files_says_what_one_with_imported_or_written_rules_says() {
    let start = T0 - 2 * DAY;
    let end = T0 + 600;
    let scenario = fleet::scenario(start, end, &[(T0 - 20 * HOUR, T0 - 19 * HOUR), (T0 - HOUR, end)]);
    let prometheus = fleet::prometheus(&scenario, start, end).await;
    let dir = rules_in_three_forms();
    let daemons = ["foreign", "imported", "hand"].map(|name| Running::start(&prometheus, &dir.path().join(name)));
    let daemons = tokio::sync::Mutex::new(daemons);
    let said = eventually("all three speak of one moment", Duration::from_secs(120), || async {
        let mut daemons = daemons.lock().await;
        for daemon in daemons.iter_mut() {
            daemon.ask().await?;
        }
        let [foreign, imported, hand] = daemons.each_ref().map(|daemon| &daemon.said);
        let common = foreign.keys().rev().find(|at| imported.contains_key(at) && hand.contains_key(at))?;
        Some([&foreign[common], &imported[common], &hand[common]].map(Clone::clone))
    })
    .await;
    let [foreign, imported, hand] = said;
    let ids: Vec<&str> = hand.iter().filter_map(|slo| slo["id"].as_str()).collect();
    assert_eq!(ids, ["pay-generator", "pay-openslo", "pay-pyrra", "pay-sloth"]);
    for series in hand.iter().flat_map(|slo| slo["series"].as_array().expect("series")) {
        let count = |key: &str| series["window"][key].as_u64().unwrap_or(0);
        assert!(count("total") > 100 && count("bad") > 0 && series["data"]["state"] == "fresh", "{series:#}");
        assert!(series["at"].as_i64().is_some_and(|at| at >= T0 - 60 && at <= end), "{series:#}");
    }
    assert_eq!(foreign, hand);
    assert_eq!(imported, hand);
}
