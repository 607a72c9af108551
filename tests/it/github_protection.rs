//! GitHub's deployment protection rule as docs/pipelines.md has it: the relay of `deploy/github`, run by a real Python, between a
//! GitHub that is played here and the real daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::gate_stage::Stage;
use crate::harness::parts::{Process, eventually, free_port, http};
use crate::harness::receiver::{Delivery, TestReceiver};
use crate::newcomer::project;

const LIMIT: Duration = Duration::from_secs(60);
const SECRET: &str = "webhook-secret";

/// The relay, and the GitHub that it answers.
struct Relay {
    _process: Process,
    github: TestReceiver,
    url: String,
}

impl Relay {
    async fn start(stage: &Stage) -> Self {
        let github = TestReceiver::start().await;
        let port = free_port();
        // The settings of the page, as far as they are of a place.
        let page = std::fs::read_to_string(project("docs/pipelines.md")).expect("there");
        let block = page.split("\n```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("settings");
        let mut settings: Value = serde_json::from_str(block).expect("JSON");
        settings["listen"] = format!("127.0.0.1:{port}").into();
        settings["slowburn"] = stage.url().into();
        settings["api"] = github.url().into();
        settings["webhook_secret_file"] = stage.path("secret").display().to_string().into();
        settings["github_token_command"] = json!(["sh", "-c", "echo token-of-$0"]);
        settings["wait"] = "1m".into();
        let rule = settings["environments"]["acme/shop production"].take();
        settings["environments"] = [("production", 0), ("staging", 1)]
            .map(|(name, n)| {
                let mut rule = rule.clone();
                (rule["service"], rule["resource"]) = (format!("s{n}").into(), format!("deployment/s{n}").into());
                (format!("acme/shop {name}"), rule)
            })
            .into_iter()
            .collect::<serde_json::Map<_, _>>()
            .into();
        std::fs::write(stage.path("secret"), format!("{SECRET}\n")).expect("writable");
        std::fs::write(stage.path("relay.json"), settings.to_string()).expect("writable");
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_slowburn"));
        let folder = binary.parent().expect("a folder").display();
        let words = [
            format!("PATH={folder}:{}", std::env::var("PATH").expect("a path")),
            // Of a pipeline that may ask for every service.
            "SLOWBURN_TOKEN=token-of-deployer".to_owned(),
            "python3".to_owned(),
            project("deploy/github/protection.py").display().to_string(),
            stage.path("relay.json").display().to_string(),
        ];
        let process = Process::start(Path::new("env"), words, &stage.path("relay.log"));
        let url = format!("http://127.0.0.1:{port}/");
        eventually("the relay listens", LIMIT, || async { http().get(&url).send().await.ok().map(drop) }).await;
        Relay { _process: process, github, url }
    }

    fn event(&self, environment: &str, run: u32) -> Value {
        let callback = format!("{}/repos/acme/shop/actions/runs/{run}/deployment_protection_rule", self.github.url());
        json!({
            "action": "requested", "environment": environment, "event": "push", "deployment_callback_url": callback,
            "deployment": {"sha": "v43", "ref": "main"}, "repository": {"full_name": "acme/shop"},
            "installation": {"id": 42}, "sender": {"login": "ada"},
        })
    }

    async fn send(&self, kind: &str, secret: &str, body: &Value) -> u16 {
        let body = body.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(body.as_bytes());
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let sent = http()
            .post(&self.url)
            .header("X-GitHub-Event", kind)
            .header("X-Hub-Signature-256", format!("sha256={signature}"))
            .body(body);
        sent.send().await.expect("the relay answers").status().as_u16()
    }

    /// The next thing that GitHub is told.
    async fn told(&mut self) -> Delivery {
        self.github.next_within(LIMIT).await.expect("GitHub is told something")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protected_environment_waits_for_the_gate() {
    const KIND: &str = "deployment_protection_rule";
    let stage = Stage::start(2, None, 1.0).await;
    let mut relay = Relay::start(&stage).await;
    // Nobody is asked by what GitHub did not sign, by other events, or for environments that are not listed, and nothing is told to
    // anybody else.
    let mut foreign = relay.event("production", 1);
    foreign["deployment_callback_url"] = "http://attacker.example/repos/acme/shop/actions/runs/1/x".into();
    let mut flag = relay.event("production", 1);
    flag["deployment"]["sha"] = "--redeem".into();
    for (kind, secret, body, status) in [
        (KIND, "guessed", relay.event("production", 1), 401),
        ("ping", SECRET, json!({"zen": "x"}), 202),
        (KIND, SECRET, relay.event("sandbox", 1), 404),
        (KIND, SECRET, json!({"action": "requested"}), 400),
        (KIND, SECRET, foreign, 400),
        (KIND, SECRET, flag, 400),
    ] {
        assert_eq!(relay.send(kind, secret, &body).await, status, "{body}");
    }
    // Allowed: the permit is redeemed, as the job begins at once.
    assert_eq!(relay.send(KIND, SECRET, &relay.event("production", 7)).await, 202);
    let first = relay.told().await;
    assert_eq!(first.uri.path(), "/repos/acme/shop/actions/runs/7/deployment_protection_rule");
    assert_eq!(first.header("authorization"), "Bearer token-of-42");
    let body = first.json();
    assert_eq!((&body["state"], &body["environment_name"]), (&json!("approved"), &json!("production")), "{body}");
    let comment = body["comment"].as_str().expect("text").to_owned();
    let permit = comment.split([' ', ',']).find(|word| word.starts_with("prm_")).expect("a permit").to_owned();
    let kept: Value = json_of(&format!("{}/v1/permits/{permit}", stage.url())).await;
    assert_eq!(kept["state"], "redeemed", "{kept}");

    // People are needed: GitHub is told, and answered once they have voted.
    let policy = "service: s1\nallowed_actions:\n  - {type: deploy, require_approval: true, approvers: [{team: oncall}]}\n\
                  safety_checks: []\n";
    std::fs::write(stage.path("rules/s1.policy.yaml"), policy).expect("writable");
    stage.process.signal("HUP");
    eventually("the policy is in force", LIMIT, || async {
        let act = json!({"service": "s1", "action": "deploy", "resource": "deployment/s1", "to_version": "v43"});
        let asked = http().post(format!("{}/v1/decisions?explain", stage.url())).bearer_auth("token-of-deployer");
        let answer: Value = asked.json(&act).send().await.ok()?.json().await.ok()?;
        (answer["decision"] == "needs_approval").then_some(())
    })
    .await;
    assert_eq!(relay.send(KIND, SECRET, &relay.event("staging", 8)).await, 202);
    let report = relay.told().await.json();
    assert!(
        report["state"].is_null() && report["comment"].as_str().is_some_and(|text| text.contains("approval_required"))
    );
    let open = eventually("people are asked", LIMIT, || async {
        let all: Value = json_of(&format!("{}/v1/approvals", stage.url())).await;
        all["approvals"].as_array()?.iter().find(|one| one["state"] == "pending").cloned()
    })
    .await;
    let yes = json!({"verdict": "approve", "action_digest": open["action"]["digest"]});
    let path = format!("/v1/approvals/{}", open["id"].as_str().expect("an id"));
    assert_eq!(stage.wire().post("@ada", &path, &yes).expect("an answer").0, 200);
    let approved = relay.told().await.json();
    assert_eq!(
        (&approved["state"], &approved["environment_name"]),
        (&json!("approved"), &json!("staging")),
        "{approved}"
    );

    // Stopped: the job is told why.
    let order = json!({"scope": "global", "reason": "INC-7", "for_s": 86_400});
    assert_eq!(stage.wire().post("@ada", "/v1/halts", &order).expect("an answer").0, 200);
    assert_eq!(relay.send(KIND, SECRET, &relay.event("production", 9)).await, 202);
    let rejected = relay.told().await.json();
    assert_eq!(rejected["state"], "rejected", "{rejected}");
    assert!(rejected["comment"].as_str().is_some_and(|text| text.contains("`halted`")), "{rejected}");
}

async fn json_of(url: &str) -> Value {
    http().get(url).bearer_auth("token-of-deployer").send().await.expect("an answer").json().await.expect("JSON")
}
