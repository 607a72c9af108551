//! Admission as a cluster has it: a real kubectl against a simulated API server, which calls the real daemon over TLS with a
//! private authority, by the webhooks that are shipped. What people read, what is spent, what holds when the daemon is away, and
//! a certificate that is replaced while it serves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slowburn::clock::Clock;

use crate::harness::parts::{Process, eventually, free_port, part};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use crate::newcomer::project;
use cluster::Cluster;

mod cluster;

const LIMIT: Duration = Duration::from_secs(60);
const T0: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
const SPEED: f64 = 1.0;
const ROBOT: &str = "system:serviceaccount:ops:orca";

/// An authority of the test's own.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the name of what it signs, OpenSSL would take that to have signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for these names.
    pub fn sign(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names).expect("names").signed_by(&key, &self.issuer);
        (certificate.expect("a certificate").pem(), key.serialize_pem())
    }

    /// A client that trusts this authority alone, as whoever holds `identity`.
    fn client(&self, identity: Option<&(String, String)>) -> reqwest::Client {
        slowburn::outbound::install_tls();
        let authority = reqwest::Certificate::from_pem(self.pem.as_bytes()).expect("a certificate");
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).pool_max_idle_per_host(0);
        let builder = match identity {
            Some((certificate, key)) => {
                let pem = format!("{certificate}{key}");
                builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity"))
            }
            None => builder,
        };
        builder.build().expect("a client")
    }
}

/// A healthy service whose deployment runs `v42` with three replicas.
fn past() -> String {
    let mut text = String::from("# TYPE http_requests_total counter\n");
    for (code, gain) in [("200", 300), ("500", 0)] {
        let labels = format!("service=\"checkout\",job=\"j\",instance=\"i\",code=\"{code}\"");
        for (n, at) in (T0 - 6 * HOUR + 7..T0 + HOUR).step_by(30).enumerate() {
            text += &format!("http_requests_total{{{labels}}} {} {at}\n", gain * n);
        }
    }
    let of = "namespace=\"shop\",deployment=\"checkout\"";
    for (metric, labels, value) in [
        ("kube_deployment_spec_replicas", "", 3),
        ("kube_deployment_metadata_generation", "", 7),
        ("kube_deployment_labels", ",label_app_kubernetes_io_version=\"v42\"", 1),
    ] {
        text += &format!("# TYPE {metric} gauge\n");
        for at in (T0 - 600..T0 + HOUR).step_by(30) {
            text += &format!("{metric}{{{of}{labels}}} {value} {at}\n");
        }
    }
    text + "# EOF\n"
}

const SERVICE: &str = "name: checkout\nowner: team\nworkloads: [{resource: deployment/checkout, namespace: shop}]\nslo:\n  availability:\n    \
     objective: 99.9\n    window: 1d\n    sli: {total: 'http_requests_total{service=\"checkout\"}', \
     bad: 'http_requests_total{service=\"checkout\",code=\"500\"}'}\n";
const POLICY: &str = "service: checkout\nallowed_actions:\n  - {type: deploy}\n\
     safety_checks: []\none_change_at_a_time: false\n";

/// The daemon, its cluster and its files.
struct Stage {
    process: Process,
    dir: tempfile::TempDir,
    base: String,
    cluster: Cluster,
    authority: Authority,
    api_server: (String, String),
    _prometheus: Prometheus,
}

impl Stage {
    async fn start() -> Self {
        let prometheus =
            Prometheus::start(PromOptions { past: Some(Past::Text(past())), ..PromOptions::default() }).await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writable");
        std::fs::create_dir_all(dir.path().join("rules")).expect("writable");
        write("rules/checkout.yaml", SERVICE);
        write("rules/policy.yaml", POLICY);
        let hash: String = Sha256::digest("token-of-orca").iter().map(|byte| format!("{byte:02x}")).collect();
        write(
            "identities.yaml",
            &format!(
                "identities:\n  - {{name: ai-operator/orca-ops, class: robot, k8s_subjects: [\"{ROBOT}\"], token_sha256: [{hash}]}}\n  \
                 - {{name: \"@ada\", class: human, k8s_subjects: [\"ada@example.com\"]}}\n  \
                 - {{name: kube-apiserver, class: pipeline, may_act_as: [kube-apiserver], mtls_names: [kube-apiserver]}}\n"
            ),
        );
        let authority = Authority::new();
        let (certificate, key) = authority.sign(&["localhost", "slowburn.slowburn.svc"]);
        write("tls.crt", &certificate);
        write("tls.key", &key);
        write("clients.pem", &authority.pem);
        let port = free_port();
        let settings = format!(
            "prometheus: {{url: \"{}\"}}\nlisten: 127.0.0.1:{port}\ndata_dir: data\nauth: {{identities: identities.yaml, requests_per_minute: 6000}}\n\
             tls: {{cert_file: tls.crt, key_file: tls.key, client_ca_file: clients.pem}}\n",
            prometheus.url()
        );
        write("slowburn.yaml", &settings);
        let process = launch(dir.path());
        let api_server = authority.sign(&["kube-apiserver"]);
        let base = format!("https://localhost:{port}");
        let rendered = Command::new(part("kubectl"))
            .args(["kustomize", "deploy/kubernetes/admission"])
            .current_dir(project(""))
            .output()
            .expect("kubectl starts");
        let shipped: Value = serde_saphyr::from_str(&String::from_utf8(rendered.stdout).expect("text")).expect("YAML");
        let webhooks = shipped["webhooks"].as_array().expect("webhooks").clone();
        let cluster = Cluster::start(webhooks, authority.client(Some(&api_server)), base.clone()).await;
        let stage = Stage { process, dir, base, cluster, authority, api_server, _prometheus: prometheus };
        stage.warm().await;
        stage
    }

    async fn warm(&self) {
        eventually("a deploy would be allowed", LIMIT, || async {
            let (_, answer) = self.ask("/v1/decisions?explain", &deploy("v43")).await?;
            (answer["decision"] == "allow").then_some(())
        })
        .await;
    }

    /// As the robot, over TLS.
    async fn ask(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let client = self.authority.client(None);
        let sent =
            client.post(format!("{}{path}", self.base)).bearer_auth("token-of-orca").json(body).send().await.ok()?;
        Some((sent.status().as_u16(), sent.json().await.ok()?))
    }

    /// A permit for the robot.
    async fn permit(&self, request: &Value) -> String {
        let (status, answer) = self.ask("/v1/decisions", request).await.expect("an answer");
        assert_eq!((status, &answer["decision"]), (200, &json!("allow")), "{answer:#}");
        answer["permit"]["id"].as_str().expect("an id").to_owned()
    }

    async fn state_of(&self, permit: &str) -> Value {
        let answer = self.authority.client(None).get(format!("{}/v1/permits/{permit}", self.base)).send().await;
        answer.expect("an answer").json::<Value>().await.expect("JSON")["state"].clone()
    }

    /// kubectl as this user: its exit code and what it printed.
    async fn kubectl(&self, user: &str, args: &[&str]) -> (i32, String) {
        let server = format!("http://{}", self.cluster.server.address);
        let (home, user) = (self.dir.path().to_owned(), format!("--as={user}"));
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let run = move || {
            let mut command = Command::new(part("kubectl"));
            command.args(["--server", &server, "--namespace", "shop", &user]).args(args);
            command.env("HOME", &home).env("KUBECONFIG", home.join("none")).output().expect("kubectl starts")
        };
        let done = tokio::task::spawn_blocking(run).await.expect("it ends");
        let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        (done.status.code().unwrap_or(-1), text)
    }

    fn image(&self) -> Value {
        self.cluster.deployment()["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    }
}

fn launch(dir: &Path) -> Process {
    let clock = Clock::scaled(T0 * 1000, SPEED);
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let path = |name: &str| dir.join(name).display().to_string();
    let args = ["run", "--config", &path("slowburn.yaml"), "--rules", &path("rules"), "--clock-start", &now];
    let args = args.map(str::to_owned).into_iter().chain(["--clock-speed".to_owned(), SPEED.to_string()]);
    Process::start(&PathBuf::from(env!("CARGO_BIN_EXE_slowburn")), args, &dir.join("log"))
}

fn deploy(to: &str) -> Value {
    json!({
        "service": "checkout", "action": "deploy", "resource": "deployment/checkout", "from_version": "v42", "to_version": to,
    })
}

fn set_image(version: &str) -> [String; 4] {
    let image = format!("checkout=registry.example.com/checkout:{version}");
    ["set".into(), "image".into(), "deployment/checkout".into(), image]
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// Group, resource, subresource and name of what changes; operation; before and after; what a machine is told.
type Fixture = ([&'static str; 4], &'static str, Value, Value, &'static str);

/// Every kind and operation that is held: an agent without a permit is refused with the act that it needs one for, people and the
/// system pass. New workloads of no service are refused in the words of `check`, and what is no review is none.
async fn every_kind_is_held(client: &reqwest::Client, base: &str) {
    let of = |version: &str| json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [{"image": format!("a:{version}")}]}}}});
    let scale = |replicas: u32| json!({"spec": {"replicas": replicas}});
    let bounds = |min: u32| json!({"spec": {"minReplicas": min, "maxReplicas": 9, "scaleTargetRef": {"kind": "Deployment", "name": "checkout"}}});
    let node = |cordoned: bool| json!({"spec": {"unschedulable": cordoned}});
    let none = || Value::Null;
    let workload = |resource| ["apps", resource, "", "checkout"];
    let fixtures: [Fixture; 13] = [
        (workload("deployments"), "UPDATE", of("v42"), of("v43"), "deploy or rollback of deployment/checkout"),
        (workload("deployments"), "CREATE", none(), of("v42"), "deploy of deployment/checkout"),
        (workload("deployments"), "DELETE", of("v42"), none(), "it would be deleted, and no permit is for that"),
        (workload("statefulsets"), "UPDATE", of("v42"), of("v43"), "deploy or rollback of statefulset/checkout"),
        (
            ["argoproj.io", "rollouts", "", "checkout"],
            "UPDATE",
            of("v42"),
            of("v43"),
            "deploy or rollback of rollout/checkout",
        ),
        (["apps", "deployments", "scale", "checkout"], "UPDATE", scale(3), scale(9), "scale of deployment/checkout"),
        (["apps", "statefulsets", "scale", "checkout"], "UPDATE", scale(3), scale(1), "scale of statefulset/checkout"),
        (["argoproj.io", "rollouts", "scale", "checkout"], "UPDATE", scale(3), scale(1), "scale of rollout/checkout"),
        (
            ["autoscaling", "horizontalpodautoscalers", "", "h"],
            "UPDATE",
            bounds(2),
            bounds(4),
            "scale of deployment/checkout",
        ),
        (
            ["autoscaling", "horizontalpodautoscalers", "", "h"],
            "CREATE",
            none(),
            bounds(2),
            "config of deployment/checkout",
        ),
        (
            ["autoscaling", "horizontalpodautoscalers", "", "h"],
            "DELETE",
            bounds(2),
            none(),
            "config of deployment/checkout",
        ),
        (
            ["", "pods", "eviction", "checkout-7d9f8b-x2x4z"],
            "CREATE",
            none(),
            json!({"metadata": {}}),
            "restart of pod/checkout-7d9f8b-x2x4z",
        ),
        (["", "nodes", "", "n1"], "UPDATE", node(false), node(true), "cordon or drain of node/n1"),
    ];
    let review = |[group, resource, sub, name]: [&str; 4],
                  operation: &str,
                  user: &str,
                  before: &Value,
                  after: &Value| {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "newInAFutureRelease": [1],
            "request": {
                "uid": "u-2", "kind": {"group": group, "version": "v1", "kind": "Any"},
                "resource": {"group": group, "version": "v1", "resource": resource},
                "subResource": (!sub.is_empty()).then_some(sub), "name": name, "namespace": "shop", "operation": operation,
                "userInfo": {"username": user, "groups": ["system:authenticated"], "extra": {"x": ["y"]}},
                "object": after, "oldObject": before, "dryRun": false, "options": {"unknown": {}},
            },
        })
    };
    let ask = async |check: &str, review: &Value| -> Value {
        let answer = client.post(format!("{base}/admission/{check}")).json(review).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["response"]["uid"], "u-2", "{answer:#}");
        answer["response"].clone()
    };
    for (what, operation, before, after, act) in &fixtures {
        for user in ["alice@example.com", "system:kube-controller-manager", "system:serviceaccount:kube-system:hpa"] {
            let answer = ask("changes", &review(*what, operation, user, before, after)).await;
            assert_eq!(answer["allowed"], true, "{what:?} {operation} {user}: {answer:#}");
        }
        for dry in [false, true] {
            let mut asked = review(*what, operation, ROBOT, before, after);
            asked["request"]["dryRun"] = dry.into();
            let answer = ask("changes", &asked).await;
            let message = answer["status"]["message"].as_str().unwrap_or_default();
            assert!(answer["allowed"] == false && message.contains(act), "{what:?} {operation}: {answer:#}");
        }
    }
    let create = |name: &'static str, user: &str| {
        review(["apps", "deployments", "", name], "CREATE", user, &Value::Null, &of("v1"))
    };
    let refused = ask("workloads", &create("stranger", "alice@example.com")).await;
    let words = "deployment/stranger has no SLO and no owner: no SLO, no owner, no deploy";
    assert!(refused["status"]["message"].as_str().is_some_and(|text| text.contains(words)), "{refused:#}");
    let known = ask("workloads", &create("checkout", "alice@example.com")).await;
    assert_eq!((&known["allowed"], &known["auditAnnotations"]["service"]), (&json!(true), &json!("checkout")));
    for body in ["", "{", "[]", "{\"kind\":\"AdmissionReview\"}"] {
        let sent = client.post(format!("{base}/admission/changes")).header("content-type", "application/json");
        assert_eq!(sent.body(body).send().await.expect("an answer").status(), 400, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_is_held_by_permits_and_says_why_and_the_certificate_may_be_replaced() {
    let mut stage = Stage::start().await;

    // Without a permit: what people read, to the letter.
    let (code, text) = stage.kubectl(ROBOT, &words(&set_image("v43"))).await;
    assert_eq!(
        (code, text.trim()),
        (
            1,
            "error: failed to patch image update to pod template: admission webhook \"machines.slowburn.io\" denied the request: slowburn: \
             ai-operator/orca-ops has no live permit for deploy or rollback of deployment/checkout: ask first (slowburn ask, \
             POST /v1/decisions), then do it"
        )
    );

    // With one: a dry run spends nothing, the deed spends it once, and the API server's audit log has the leaf of our record.
    let permit = stage.permit(&deploy("v43")).await;
    let dry = [&set_image("v43")[..], &["--dry-run=server".to_owned()]].concat();
    let (code, text) = stage.kubectl(ROBOT, &words(&dry)).await;
    assert!(code == 0 && text.contains("Warning: slowburn: dry run, the permit is not used"), "{text}");
    assert_eq!(stage.state_of(&permit).await, "live");
    assert_eq!(stage.kubectl(ROBOT, &words(&set_image("v44"))).await.0, 1, "the permit is for v43");
    let (code, text) = stage.kubectl(ROBOT, &words(&set_image("v43"))).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(stage.image(), "registry.example.com/checkout:v43");
    let audit = stage.cluster.audit();
    let leaf = audit["machines.slowburn.io/leaf"].as_str().expect("a leaf");
    assert!(leaf.starts_with("sha256:") && audit["machines.slowburn.io/permit"] == permit.as_str(), "{audit:#?}");
    let seq = audit["machines.slowburn.io/seq"].as_str().expect("a number");
    let kept =
        stage.authority.client(None).get(format!("{}/v1/audit/{seq}", stage.base)).send().await.expect("an answer");
    let kept: Value = kept.json().await.expect("JSON");
    assert!(kept.to_string().contains(leaf.trim_start_matches("sha256:")), "{kept:#}");
    assert_eq!(stage.state_of(&permit).await, "redeemed");

    // Another subresource is another act.
    let (code, text) = stage.kubectl(ROBOT, &["scale", "deployment/checkout", "--replicas=5"]).await;
    let begins =
        "Error from server (Forbidden): admission webhook \"machines.slowburn.io\" denied the request: slowburn: ";
    assert!(code == 1 && text.starts_with(begins) && text.contains("no live permit for scale of"), "{text}");

    // A person passes, and is told what a machine would have been.
    let (code, text) = stage.kubectl("ada@example.com", &words(&set_image("v44"))).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(stage.image(), "registry.example.com/checkout:v44");
    assert_eq!(stage.cluster.audit()["people.slowburn.io/by"], "@ada");
    // A service account that nobody knows changes nothing of a service.
    let (code, text) = stage.kubectl("system:serviceaccount:ops:stranger", &words(&set_image("v45"))).await;
    assert!(code == 1 && text.contains("is nobody known here"), "{text}");

    // A hundred reviews at once for one permit, over as many connections: one is admitted.
    let permit = stage.permit(&deploy("v47")).await;
    let client = stage.authority.client(Some(&stage.api_server));
    let object = |version: &str| {
        let image = format!("registry.example.com/checkout:{version}");
        json!({"metadata": {"name": "checkout"}, "spec": {"template": {"spec": {"containers": [{"image": image}]}}}})
    };
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "name": "checkout",
            "namespace": "shop", "operation": "UPDATE", "userInfo": {"username": ROBOT}, "object": object("v47"),
            "oldObject": object("v42"),
        },
    });
    let url = format!("{}/admission/changes", stage.base);
    let reviews = (0..100).map(|_| async {
        let answer = client.post(&url).json(&review).send().await.expect("an answer");
        answer.json::<Value>().await.expect("JSON")["response"]["allowed"] == true
    });
    let admitted = futures_util::future::join_all(reviews).await.into_iter().filter(|admitted| *admitted).count();
    assert_eq!((admitted, stage.state_of(&permit).await), (1, json!("redeemed")));

    // Objects as large as they come.
    let mut large = review.clone();
    large["request"]["object"]["metadata"]["managedFields"] = "x".repeat(3 << 20).into();
    let answer = client.post(&url).json(&large).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);

    every_kind_is_held(&client, &stage.base).await;

    // Certificate and authority are replaced, as cert-manager does; nobody tells the daemon.
    let next = Authority::new();
    let (certificate, key) = next.sign(&["localhost", "slowburn.slowburn.svc"]);
    for (name, text) in [("tls.crt", &certificate), ("tls.key", &key), ("clients.pem", &next.pem)] {
        std::fs::write(stage.dir.path().join(name), text).expect("writable");
    }
    let api_server = next.sign(&["kube-apiserver"]);
    stage.cluster.trust(next.client(Some(&api_server)));
    (stage.authority, stage.api_server) = (next, api_server);
    eventually("the new certificate is served, and the new authority's clients are known", LIMIT, || async {
        let (code, text) = stage.kubectl(ROBOT, &words(&set_image("v46"))).await;
        assert_eq!(code, 1, "{text}");
        text.contains("has no live permit").then_some(())
    })
    .await;

    // The daemon is away: machines wait, people go on.
    stage.process.kill();
    let (code, text) = stage.kubectl(ROBOT, &words(&set_image("v46"))).await;
    assert!(code == 1 && text.contains("failed calling webhook \"machines.slowburn.io\""), "{text}");
    let (code, text) = stage.kubectl("ada@example.com", &words(&set_image("v46"))).await;
    assert_eq!((code, stage.image()), (0, json!("registry.example.com/checkout:v46")), "{text}");
    assert!(stage.cluster.audit().contains_key("failed-open.people.slowburn.io"));
}
