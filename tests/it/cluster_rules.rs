//! Rules that live in Kubernetes: the real binary at an API server that keeps the real rules, over TLS, with tokens that rotate and
//! the roles of `deploy/kubernetes/rules`. One broken object is refused in its status while the others go on, and its last good
//! version stays; what the API server forgets or takes back is got again; a restart has what was in force without it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slowburn::clock::Clock;

use crate::gate_stage::T0;
use crate::harness::api_server::{ApiServer, Cable};
use crate::harness::parts::{Process, eventually, free_port, http, part};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use crate::manifests::kustomized;

mod parts;

const HOUR: i64 = 3600;
const LIMIT: Duration = Duration::from_secs(60);

/// A daemon with rules in a cluster.
struct Fleet {
    api: ApiServer,
    /// The way to it, which can be cut.
    cable: Cable,
    prometheus: Prometheus,
    process: Process,
    dir: tempfile::TempDir,
    port: u16,
    clock: Clock,
    settings: String,
}

/// What `deploy/kubernetes/rules` grants, as requests ask for it.
fn granted() -> Vec<String> {
    let (text, objects) = kustomized("rules");
    let role = objects.iter().find(|one| one["kind"] == "ClusterRole").unwrap_or_else(|| panic!("{text}"));
    let mut all = Vec::new();
    for rule in role["rules"].as_array().expect("rules") {
        let of = |name: &str| rule[name].as_array().expect("a list").iter().map(|one| one.as_str().expect("text"));
        for group in of("apiGroups") {
            for resource in of("resources") {
                all.extend(of("verbs").map(|verb| format!("{verb} {group}/{resource}")));
            }
        }
    }
    all.sort();
    all
}

impl Fleet {
    /// With these objects, and further settings of `cluster`.
    async fn start(objects: impl IntoIterator<Item = Value>, more: &str, rules: &[(&str, &str)]) -> Self {
        let mut text = "# TYPE http_requests_total counter\n".to_owned();
        for service in ["a", "b", "f"] {
            for (code, gain) in [("200", 300), ("500", 0)] {
                let labels = format!("service=\"{service}\",job=\"j\",instance=\"i-{service}\",code=\"{code}\"");
                for (n, at) in (T0 - 6 * HOUR + 7..T0 + 2 * HOUR).step_by(30).enumerate() {
                    text += &format!("http_requests_total{{{labels}}} {} {at}\n", gain * n);
                }
            }
        }
        let past = Some(Past::Text(text + "# EOF\n"));
        let prometheus = Prometheus::start(PromOptions { past, ..PromOptions::default() }).await;
        let api = ApiServer::start().await;
        api.kept().objects.allowed = granted().into_iter().collect();
        objects.into_iter().for_each(|object| api.kept().objects.apply(object));
        api.know(["first".to_owned()]);
        let cable = api.proxy();
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        write("ca.crt", &api.ca);
        write("token", "first");
        std::fs::create_dir(dir.path().join("rules")).expect("made");
        rules.iter().for_each(|(name, text)| write(&format!("rules/{name}"), text));
        let port = free_port();
        let settings = format!(
            "prometheus: {{url: \"{}\"}}\nlisten: 127.0.0.1:{port}\ndata_dir: data\n\
             cluster: {{url: \"https://127.0.0.1:{}\", token_file: token, ca_file: ca.crt{more}}}\n",
            prometheus.url(),
            cable.port
        );
        write("slowburn.yaml", &settings);
        let clock = Clock::scaled(T0 * 1000, 1.0);
        let process = launch(dir.path(), &clock, !rules.is_empty());
        let fleet = Fleet { api, cable, prometheus, dir, process, port, clock, settings };
        fleet.serves().await;
        fleet
    }

    async fn serves(&self) {
        eventually("it serves", LIMIT, || async { self.slos().await }).await;
    }

    /// Ids of the SLOs in force; `None`: it does not answer.
    async fn slos(&self) -> Option<Vec<String>> {
        let answer = http().get(format!("http://127.0.0.1:{}/v1/slos", self.port)).send().await.ok()?;
        let slos: Value = answer.error_for_status().ok()?.json().await.ok()?;
        let all = slos.as_array()?.iter();
        Some(all.filter_map(|slo| slo["id"].as_str().map(str::to_owned)).collect())
    }

    async fn are_in_force(&self, ids: &[&str]) {
        let mut last = None;
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            last = self.slos().await;
            if last.as_ref().is_some_and(|last| last == ids) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not {ids:?}, but {last:?}\n{}", self.process.log());
    }

    /// The condition of an object once it is about this generation.
    async fn condition(&self, resource: &str, (namespace, name): (&str, &str), generation: i64) -> Value {
        let start = Instant::now();
        loop {
            let object = self.api.kept().objects.get(resource, namespace, name).cloned().unwrap_or_default();
            if object["status"]["observedGeneration"] == generation {
                return object["status"].clone();
            }
            assert!(start.elapsed() < LIMIT, "{object:#}\n{}", self.process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Events in the window of an SLO.
    async fn events(&self, id: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/v1/slos/{id}", self.port);
        let slo: Value = http().get(url).send().await.expect("an answer").json().await.expect("JSON");
        let series = slo["series"].as_array().unwrap_or_else(|| panic!("{slo:#}"));
        series.iter().filter_map(|one| one["window"]["total"].as_f64()).fold(0.0, f64::max)
    }

    fn restart(&mut self, with_rules: bool) {
        self.process.kill();
        self.process = launch(self.dir.path(), &self.clock, with_rules);
    }

    async fn text(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        http().get(url).send().await.expect("an answer").text().await.expect("text")
    }
}

fn launch(dir: &Path, clock: &Clock, with_rules: bool) -> Process {
    let path = |name: &str| dir.join(name).display().to_string();
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let mut args = vec!["run".to_owned(), "--config".into(), path("slowburn.yaml")];
    if with_rules {
        args.extend(["--rules".into(), path("rules")]);
    }
    args.extend(["--clock-start", &now, "--clock-speed", "1"].map(str::to_owned));
    Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &dir.join("log"))
}

fn slo(service: &str, objective: f64) -> Value {
    let all = format!("http_requests_total{{service=\"{service}\"");
    let sli = json!({"total": format!("{all}}}"), "bad": format!("{all},code=\"500\"}}")});
    json!({"availability": {"objective": objective, "window": "1d", "sli": sli}})
}

fn level(namespace: &str, name: &str, objective: f64) -> Value {
    json!({
        "apiVersion": "slowburn.dev/v1alpha1", "kind": "ServiceLevel",
        "metadata": {"namespace": namespace, "name": name, "labels": {"team": namespace}},
        "spec": {"owner": "pay", "slo": slo(name, objective)},
    })
}

fn policy(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "slowburn.dev/v1alpha1", "kind": "ActionPolicy", "metadata": {"namespace": namespace, "name": name},
        "spec": {"allowed_actions": [{"type": "restart"}]},
    })
}

/// The `Loaded` condition: its status, its reason, its message.
fn loaded(status: &Value) -> (String, String, String) {
    let one = status["conditions"].as_array().and_then(|all| all.iter().find(|one| one["type"] == "Loaded"));
    let one = one.unwrap_or_else(|| panic!("{status:#}"));
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_owns_its_rules_and_one_broken_object_stops_no_other() {
    let objects = [level("shop", "a", 99.0), level("bank", "b", 99.0), policy("shop", "a")];
    let file = format!("name: f\nowner: x\nslo: {}\n", slo("f", 99.0));
    let fleet = Fleet::start(objects, "", &[("f.yaml", &file)]).await;
    fleet.are_in_force(&["a-availability", "b-availability", "f-availability"]).await;
    let status = fleet.condition("servicelevels", ("shop", "a"), 1).await;
    assert_eq!((&status["service"], &status["slos"]), (&json!("a"), &json!(1)));
    let (word, reason, message) = loaded(&status);
    assert_eq!((word.as_str(), reason.as_str()), ("True", "InForce"));
    assert!(
        message.starts_with("This version is in force, with warnings: the default burn policy leaves out"),
        "{message}"
    );
    fleet.condition("actionpolicies", ("shop", "a"), 1).await;
    fleet.condition("servicelevels", ("bank", "b"), 1).await;
    let before = eventually("it has counted", LIMIT, || async {
        let events = fleet.events("a-availability").await;
        (events > 100_000.0).then_some(events)
    })
    .await;

    // One breaks, in the words of check; another one changes; a third namespace claims a name that is taken.
    fleet.api.kept().objects.apply(level("shop", "a", 100.0));
    fleet.api.kept().objects.apply(level("bank", "b", 98.0));
    fleet.api.kept().objects.apply(level("thief", "b", 50.0));
    fleet.api.kept().objects.apply(policy("thief", "a"));
    fleet.api.kept().objects.apply(level("thief", "f", 50.0));
    let (word, reason, message) = loaded(&fleet.condition("servicelevels", ("shop", "a"), 2).await);
    assert_eq!((word.as_str(), reason.as_str()), ("False", "LastGoodInForce"));
    let manifest = fleet.dir.path().join("a.yaml");
    std::fs::write(&manifest, serde_json::to_string_pretty(&level("shop", "a", 100.0)).expect("JSON"))
        .expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_slowburn")).arg("check").arg(&manifest).output().expect("it starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let words = said.lines().find_map(|line| line.split_once(": error: ")).unwrap_or_else(|| panic!("{said}")).1;
    assert!(message.starts_with(&format!("Refused; generation 1 stays in force: {words}")), "{message}\n{said}");
    assert_eq!(loaded(&fleet.condition("servicelevels", ("bank", "b"), 2).await).1, "InForce");
    let (_, reason, message) = loaded(&fleet.condition("servicelevels", ("thief", "b"), 1).await);
    assert_eq!(reason, "Refused");
    assert!(message.contains("\"b\" is not of this namespace: the ServiceLevel bank/b has it"), "{message}");
    let (_, _, message) = loaded(&fleet.condition("actionpolicies", ("thief", "a"), 1).await);
    assert!(message.contains("\"a\" is not of this namespace: the ServiceLevel shop/a has it"), "{message}");
    let (_, _, message) = loaded(&fleet.condition("servicelevels", ("thief", "f"), 1).await);
    assert!(message.contains("f.yaml:1:7 has it"), "{message}");
    fleet.are_in_force(&["a-availability", "b-availability", "f-availability"]).await;
    // Nothing was forgotten, and nothing was started anew.
    assert!(fleet.events("a-availability").await >= before, "the ledger goes on");
    assert!(fleet.events("b-availability").await >= before, "an objective changes no count");
    let metrics = fleet.text("/metrics").await;
    for row in [
        "slowburn_cluster_objects{kind=\"ServiceLevel\",reason=\"LastGoodInForce\"} 1",
        "slowburn_cluster_objects{kind=\"ServiceLevel\",reason=\"Refused\"} 2",
        "slowburn_cluster_synced{kind=\"ActionPolicy\"} 1",
    ] {
        assert!(metrics.contains(row), "{row}\n{metrics}");
    }

    // What is good is not written again; what was told once is told once, also when the API server forgets.
    let told = fleet.api.kept().objects.told.clone();
    assert_eq!((told["shop/a"], told["bank/b"], told["thief/f"]), (3, 2, 1), "{told:?}: with a policy of the name a");
    fleet.api.kept().objects.forget();
    drop(fleet.api.kept().objects.hang_up.send(()));
    fleet.api.kept().objects.apply(level("bank", "c", 97.0));
    fleet.condition("servicelevels", ("bank", "c"), 1).await;
    let mut after = fleet.api.kept().objects.told.clone();
    after.remove("bank/c");
    assert_eq!(after, told);
    // Mended, it is in force again; deleted, it is gone.
    fleet.api.kept().objects.apply(level("shop", "a", 99.5));
    assert_eq!(loaded(&fleet.condition("servicelevels", ("shop", "a"), 3).await).1, "InForce");
    fleet.api.kept().objects.delete("slowburn.dev/v1alpha1/servicelevels", "bank", "c");
    fleet.are_in_force(&["a-availability", "b-availability", "f-availability"]).await;

    // Each verb that is used is granted, and each that is granted is used.
    let mut asked: Vec<String> = fleet.api.kept().objects.asked.keys().cloned().collect();
    asked.sort();
    assert_eq!(asked, granted());
    // What was written fits the definition.
    fits_the_definition(&fleet);
}

/// All objects, status included, against the schema of their definition, by another reader of schemas.
fn fits_the_definition(fleet: &Fleet) {
    let objects: Vec<Value> = fleet.api.kept().objects.all().cloned().collect();
    let file = fleet.dir.path().join("objects.json");
    std::fs::write(&file, serde_json::to_string(&objects).expect("JSON")).expect("written");
    let program = "
import json, sys, yaml
from jsonschema import Draft4Validator
schemas = {}
for path in sys.argv[2:]:
    crd = yaml.safe_load(open(path))
    schemas[crd['spec']['names']['kind']] = crd['spec']['versions'][0]['schema']['openAPIV3Schema']
wrong = [f'{o[\"metadata\"][\"name\"]}: {e.json_path}: {e.message}' for o in json.load(open(sys.argv[1]))
         for e in Draft4Validator(schemas[o['kind']]).iter_errors(o)]
# Two are refused by the reader for their objective, and one of them by the schema.
print(json.dumps(wrong))
";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .args(["-c", program])
        .arg(&file)
        .args(["servicelevels", "actionpolicies"].map(|name| root.join(format!("deploy/kubernetes/crds/{name}.yaml"))))
        .env("PYTHONPATH", root.join("target/parts/python"))
        .output()
        .expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_rotate_the_network_is_cut_and_a_restart_has_what_was_in_force() {
    let mut fleet = Fleet::start([level("shop", "a", 99.0), level("shop", "b", 99.0)], "", &[]).await;
    fleet.are_in_force(&["a-availability", "b-availability"]).await;
    fleet.condition("servicelevels", ("shop", "b"), 1).await;
    // The token is another one: the old one is refused, and the file has the new one.
    fleet.api.know(["second".to_owned()]);
    drop(fleet.api.kept().objects.hang_up.send(()));
    fleet.api.kept().objects.apply(level("shop", "a", 98.0));
    eventually("it is refused", LIMIT, || async { (fleet.api.kept().refused > 0).then_some(()) }).await;
    std::fs::write(fleet.dir.path().join("token"), "second").expect("written");
    assert_eq!(loaded(&fleet.condition("servicelevels", ("shop", "a"), 2).await).1, "InForce");

    // Broken, and then the API server is away while the daemon restarts: the last good version is in force.
    fleet.api.kept().objects.apply(level("shop", "a", 100.0));
    assert_eq!(loaded(&fleet.condition("servicelevels", ("shop", "a"), 3).await).1, "LastGoodInForce");
    fleet.cable.cut();
    fleet.restart(false);
    fleet.serves().await;
    fleet.are_in_force(&["a-availability", "b-availability"]).await;
    assert!(fleet.process.log().contains("its rules of last time are used meanwhile"), "{}", fleet.process.log());
    // It comes back: what was changed meanwhile is in force, what was deleted is gone, and a is as it was.
    fleet.api.kept().objects.delete("slowburn.dev/v1alpha1/servicelevels", "shop", "b");
    fleet.api.kept().objects.apply(level("shop", "f", 98.0));
    fleet.cable.mend();
    fleet.are_in_force(&["a-availability", "f-availability"]).await;
    fleet.condition("servicelevels", ("shop", "f"), 1).await;
    // A status that somebody else wrote meanwhile is no conflict that is lost.
    assert_eq!(loaded(&fleet.condition("servicelevels", ("shop", "a"), 3).await).1, "LastGoodInForce");
    assert!(!fleet.settings.is_empty() && fleet.prometheus.url().starts_with("http"));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_other_tools_are_read_where_they_are_and_never_written() {
    let sloth = json!({
        "apiVersion": "sloth.slok.dev/v1", "kind": "PrometheusServiceLevel",
        "metadata": {"namespace": "shop", "name": "sloth"},
        "spec": {"service": "a", "labels": {"owner": "pay"}, "slos": [{
            "name": "errors", "objective": 99.0,
            "sli": {"events": {
                "errorQuery": "sum(rate(http_requests_total{service=\"a\",code=\"500\"}[{{.window}}]))",
                "totalQuery": "sum(rate(http_requests_total{service=\"a\"}[{{.window}}]))",
            }},
            "alerting": {"pageAlert": {"disable": true}, "ticketAlert": {"disable": true}},
        }]},
    });
    let pyrra = json!({
        "apiVersion": "pyrra.dev/v1alpha1", "kind": "ServiceLevelObjective",
        "metadata": {"namespace": "shop", "name": "pyrra-b"},
        "spec": {"target": "99", "window": "4w", "indicator": {"ratio": {
            "errors": {"metric": "http_requests_total{service=\"b\",code=\"500\"}"},
            "total": {"metric": "http_requests_total{service=\"b\"}"},
        }}},
    });
    let openslo = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: full}\nspec:\n  service: f\n  budgetingMethod: Occurrences\n  \
         timeWindow: [{duration: 30d, isRolling: true}]\n  indicatorRef: counted\n  objectives: [{target: 0.99}]\n---\n\
         apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: counted}\nspec:\n  ratioMetric:\n    counter: true\n    \
         bad: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total{service=\"f\",code=\"500\"}'}}}\n    \
         total: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total{service=\"f\"}'}}}\n";
    let map = |name: &str, label: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"slos.yaml": openslo, "notes.txt": "not read"},
            "metadata": {"namespace": "shop", "name": name, "labels": {label: "openslo"}},
        })
    };
    let kinds = ", kinds: [ServiceLevel, PrometheusServiceLevel, ServiceLevelObjective, ConfigMap]";
    let fleet = Fleet::start([level("shop", "c", 99.0)], kinds, &[]).await;
    // Nobody defined what Sloth and Pyrra have, and the role grants nothing of it: ours are in force all the same.
    fleet.are_in_force(&["c-availability"]).await;
    {
        let mut kept = fleet.api.kept();
        kept.objects.allowed.clear();
        kept.objects.defined.insert("sloth.slok.dev/v1/prometheusservicelevels".into());
        kept.objects.defined.insert("pyrra.dev/v1alpha1/servicelevelobjectives".into());
        [sloth, pyrra, map("slos", "slowburn.dev/rules"), map("other", "app")]
            .into_iter()
            .for_each(|one| kept.objects.apply(one));
    }
    fleet.are_in_force(&["a-errors", "c-availability", "f-full", "pyrra-b-errors"]).await;
    let kept = fleet.api.kept();
    let written: Vec<&String> =
        kept.objects.asked.keys().filter(|asked| !asked.starts_with("list") && !asked.starts_with("watch")).collect();
    assert_eq!(written, ["patch slowburn.dev/servicelevels/status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_objects_are_listed_in_pages_and_one_change_is_judged_within_a_poll() {
    const MANY: usize = 5_000;
    let many = (0..MANY).map(|n| level(&format!("team-{}", n % 50), &format!("s{n:04}"), 99.0));
    let start = Instant::now();
    let fleet = Fleet::start(many, ", labels: team", &[]).await;
    eventually("all are in force", Duration::from_secs(120), || async {
        (fleet.slos().await?.len() == MANY).then_some(())
    })
    .await;
    let served = start.elapsed();
    let lists = fleet.api.kept().objects.asked["list slowburn.dev/servicelevels"];
    assert_eq!(lists, MANY.div_ceil(500), "one list, in pages");
    let log = fleet.process.log();
    let listed = log.lines().find(|line| line.contains("the cluster is listed")).unwrap_or_else(|| panic!("{log}"));
    println!("{MANY} objects: {lists} requests; served after {served:.1?}; {listed}");
    // Until all were told: then one changes, and one breaks.
    eventually("all were told", Duration::from_secs(240), || async {
        (fleet.api.kept().objects.told.len() == MANY).then_some(())
    })
    .await;
    println!("all statuses written after {:.1?}", start.elapsed());
    let at = Instant::now();
    fleet.api.kept().objects.apply(level("team-7", "s0007", 98.0));
    fleet.api.kept().objects.apply(level("team-8", "s0008", 100.0));
    assert_eq!(loaded(&fleet.condition("servicelevels", ("team-7", "s0007"), 2).await).1, "InForce");
    assert_eq!(loaded(&fleet.condition("servicelevels", ("team-8", "s0008"), 2).await).1, "LastGoodInForce");
    println!("a change was judged and said after {:.1?}", at.elapsed());
    assert_eq!(fleet.slos().await.expect("it answers").len(), MANY);
    assert_eq!(fleet.api.kept().objects.asked["list slowburn.dev/servicelevels"], lists, "nothing is listed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_and_tries_what_is_kept() {
    let fleet = Fleet::start([level("shop", "a", 99.0)], "", &[]).await;
    fleet.condition("servicelevels", ("shop", "a"), 1).await;
    fleet.api.kept().objects.allowed.clear();
    let manifest = fleet.dir.path().join("b.yaml");
    std::fs::write(&manifest, level("shop", "b", 99.0).to_string()).expect("written");
    let kubectl = |args: &[&str]| {
        let output = Command::new(part("kubectl"))
            .args(["--server", &format!("https://127.0.0.1:{}", fleet.cable.port), "--token", "first"])
            .arg("--certificate-authority")
            .arg(fleet.dir.path().join("ca.crt"))
            .args(args)
            .env("HOME", fleet.dir.path())
            .env_remove("KUBECONFIG")
            .output()
            .expect("kubectl starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        said
    };
    let said = kubectl(&["get", "sl", "-n", "shop", "-o", "jsonpath={.items[*].status.conditions[0].reason}"]);
    assert_eq!(said, "InForce");
    let file = manifest.display().to_string();
    let said = kubectl(&["apply", "--dry-run=server", "--validate=false", "-f", &file]);
    assert!(said.contains("servicelevel.slowburn.dev/b created (server dry run)"), "{said}");
    assert!(fleet.api.kept().objects.get("servicelevels", "shop", "b").is_none(), "it was tried and not kept");
    kubectl(&["apply", "--validate=false", "-f", &file]);
    assert_eq!(loaded(&fleet.condition("servicelevels", ("shop", "b"), 1).await).1, "InForce");
}
