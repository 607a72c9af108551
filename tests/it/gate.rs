//! The gate of the real binary on a real Prometheus: asked over HTTP and at the command line, approved, redeemed, judged,
//! written down, verified and decided again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slowburn::clock::Clock;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Pod, Scenario};

use crate::fleet::{self, REQUESTS};
use crate::gate_stage::{self, Stage, robot};
use crate::harness::parts::{Process, eventually, free_port, http};
use crate::harness::prometheus::Prometheus;

const LIMIT: Duration = Duration::from_secs(90);
const T0: i64 = 1_790_000_010;
/// A permit lives 4 s of the wall's time then, an approval 30 s.
const SPEED: f64 = 30.0;

/// Two services: checkout burns from `from` to `to`, search is well.
fn scenario(from: i64, to: i64) -> Scenario {
    burning(&[("checkout", true), ("search", false)], from, to)
}

fn burning(services: &[(&str, bool)], from: i64, to: i64) -> Scenario {
    let mut scenario = Scenario::new();
    for &(service, burns) in services {
        let start = T0 - 2 * 86_400;
        let pod = scenario.pod(Pod::new(service, &format!("{service}-0:80"), 4_000, start));
        let traffic = Traffic { rate: 20.0, shape: Shape::Flat, wobble: None, origin: start };
        let total = Count::of(traffic);
        let errors = if burns { Timeline::new(0.0).during(from, to, 0.3) } else { Timeline::new(0.0) };
        let bad = total.part(&errors);
        let labels = |code| [("service", service), ("code", code)];
        scenario.counter(pod, REQUESTS, &labels("200"), &total.without(&bad));
        scenario.counter(pod, REQUESTS, &labels("500"), &bad);
    }
    scenario
}

const IDENTITIES: [(&str, &str, &str); 4] = [
    ("@ada", "human", "teams: [checkout-oncall]"),
    ("@bob", "human", "teams: []"),
    ("ai-operator/orca-ops", "robot", "on_behalf_of: []"),
    ("deployer", "pipeline", "teams: []"),
];

fn token(name: &str) -> String {
    format!("token-of-{name}")
}

fn identities() -> String {
    let row = |(name, class, more): &(&str, &str, &str)| {
        let hash: String = Sha256::digest(token(name)).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("  - {{name: \"{name}\", class: {class}, {more}, token_sha256: [{hash}]}}\n")
    };
    format!("identities:\n{}", IDENTITIES.iter().map(row).collect::<String>())
}

fn service(name: &str) -> String {
    let m = format!("{REQUESTS}{{service=\"{name}\"");
    format!(
        "name: {name}\nowner: team-{name}\nslo:\n  availability:\n    objective: 99.9\n    \
         sli: {{total: '{m}}}', bad: '{m},code=~\"5..\"}}'}}\n"
    )
}

const POLICY: &str = "service: checkout\nallowed_actions:\n  \
    - {type: rollback, max_versions_back: 1, require_approval: true, approvers: [{team: checkout-oncall}]}\n  \
    - {type: deploy}\nsafety_checks: []\ndependencies: [search]\n\
    logging: {audit: true, incident_tag: ai-initiated-change}\n";

struct Gate {
    process: Process,
    port: u16,
    dir: tempfile::TempDir,
    args: Vec<String>,
    _prometheus: Prometheus,
}

impl Gate {
    async fn start(scenario: &Scenario, until: i64, policy: &str, clock: &Clock) -> Self {
        let prometheus = fleet::prometheus(scenario, T0 - 2 * 86_400, until).await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let rules = dir.path().join("rules");
        std::fs::create_dir_all(&rules).expect("writable");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writable");
        write("rules/checkout.yaml", &service("checkout"));
        write("rules/search.yaml", &service("search"));
        write("rules/policy.yaml", policy);
        write("identities.yaml", &identities());
        for (name, ..) in IDENTITIES {
            write(&format!("{}.token", name.replace(['@', '/'], "")), &token(name));
        }
        let port = free_port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let args: Vec<String> = [
            "run",
            "--prometheus-url",
            &prometheus.url(),
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--rules",
            &path("rules"),
            "--data-dir",
            &path("data"),
            "--identities",
            &path("identities.yaml"),
            "--log-level",
            "info",
        ]
        .map(str::to_owned)
        .into();
        let process = launch(&args, clock, &dir.path().join("log"));
        let gate = Gate { process, port, dir, args, _prometheus: prometheus };
        gate.warm().await;
        gate
    }

    /// SIGKILL, then the same again.
    async fn restart(&mut self, clock: &Clock) {
        self.process.kill();
        self.process = launch(&self.args, clock, &self.dir.path().join("log"));
        self.warm().await;
    }

    /// Until history is read and the first views are there.
    async fn warm(&self) {
        eventually("the gate is warm", LIMIT, || async {
            let answer = self.ask("@ada", "/v1/decisions?explain", &deploy()).await.ok()?;
            let cold = answer.to_string().contains("not_warm") || answer["data"]["state"] != "fresh";
            (!cold && answer["decision"].is_string()).then_some(())
        })
        .await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn get(&self, path: &str) -> Value {
        let answer = http().get(self.url(path)).send().await.expect("the daemon answers");
        answer.json().await.expect("JSON")
    }

    async fn post(&self, who: &str, path: &str, body: &Value) -> (u16, Value) {
        let sent = http().post(self.url(path)).bearer_auth(token(who)).json(body).send().await;
        let answer = sent.expect("the daemon answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn ask(&self, who: &str, path: &str, body: &Value) -> Result<Value, String> {
        let sent = http().post(self.url(path)).bearer_auth(token(who)).json(body).send().await;
        let answer = sent.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// The binary with these arguments: exit code and what it printed.
    fn cli(&self, who: &str, args: &[&str]) -> (i32, String) {
        let token = self.dir.path().join(format!("{}.token", who.replace(['@', '/'], "")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_slowburn"));
        command.args(args).args(["--url", &self.url("")]).arg("--token-file").arg(token);
        let done = command.output().expect("the binary runs");
        let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        (done.status.code().unwrap_or(-1), text)
    }

    fn offline(&self, args: &[&str]) -> (i32, String) {
        let data = self.dir.path().join("data");
        let done = Command::new(env!("CARGO_BIN_EXE_slowburn")).args(args).arg("--data-dir").arg(data).output();
        let done = done.expect("the binary runs");
        let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        (done.status.code().unwrap_or(-1), text)
    }
}

impl Gate {
    /// What was asked is decided again at its moments: as it was by the same rules, and otherwise by those that take no
    /// notice of the burn.
    fn backtested(&self) {
        let blind = self.dir.path().join("blind");
        std::fs::create_dir_all(&blind).expect("writable");
        for name in ["checkout", "search"] {
            let rules =
                service(name) + "alert_policies: [{type: burn_rate, fast_burn: 1h > 900x, slow_burn: 3d > 900x}]\n";
            std::fs::write(blind.join(format!("{name}.yaml")), rules).expect("writable");
        }
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let backtest = |more: &[&str]| {
            let (from, to) = ((T0 - 300).to_string(), (T0 + 1800).to_string());
            let url = self._prometheus.url();
            let all = ["backtest", "--prometheus-url", &url, "--rules", &path("rules"), "--from", &from, "--to", &to];
            let done = Command::new(env!("CARGO_BIN_EXE_slowburn")).args(all).args(more).output();
            let done = done.expect("the binary runs");
            (String::from_utf8_lossy(&done.stdout).into_owned(), String::from_utf8_lossy(&done.stderr).into_owned())
        };
        let (audit, blind) = (path("data/audit"), path("blind"));
        let (text, err) =
            backtest(&["--decisions", &audit, "--policy", "rules", "--policy", &blind, "--format", "json"]);
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {err}"));
        let decided = report["decisions"]["decided"].as_u64().expect("a count");
        assert!(decided >= 4, "{}", report["decisions"]);
        assert_eq!((&report["decisions"]["gone"], &report["decisions"]["drifted"]), (&json!(0), &json!(0)));
        assert_eq!(report["lived"][0]["flips"], Value::Null, "by the same rules: {:#}", report["lived"][0]["flips"]);
        let flips = report["lived"][1]["flips"].as_array().expect("flips");
        let is = |flip: &Value, before: &str, after: &str| {
            (flip["flip"]["before"].as_str(), flip["flip"]["after"].as_str()) == (Some(before), Some(after))
        };
        println!("{decided} decided again, {} flips", flips.len());
        let cure = flips.iter().find(|flip| is(flip, "allow", "needs_approval")).expect("the cure that had a yes");
        assert!(cure["flip"]["new"].to_string().contains("not_necessary"), "{cure:#}");
        assert!(flips.len() < decided as usize, "who may not act may not act under any: {flips:#?}");
        let markdown =
            backtest(&["--decisions", &audit, "--policy", "rules", "--policy", &blind, "--format", "markdown"]).0;
        assert!(markdown.contains("| rules: allow |"), "{markdown}");
        assert!(backtest(&["--decisions", &path("rules/none")]).1.contains("there is no audit log in"));
    }
}

fn launch(args: &[String], clock: &Clock, log: &Path) -> Process {
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let more = ["--clock-start", &now, "--clock-speed", &SPEED.to_string()].map(str::to_owned);
    Process::start(&PathBuf::from(env!("CARGO_BIN_EXE_slowburn")), args.iter().chain(&more), log)
}

fn deploy() -> Value {
    json!({
        "service": "checkout", "action": "deploy", "resource": "deployment/checkout-service",
        "from_version": "v42", "to_version": "v43",
    })
}

fn rollback() -> Value {
    json!({
        "service": "checkout", "action": "rollback", "resource": "deployment/checkout-service",
        "from_version": "v42", "to_version": "v41", "reason": "slo_burn_rate_exceeded", "incident_id": "INC-2025-042",
    })
}

fn time(at: i64) -> String {
    jiff::Timestamp::from_second(at).expect("a time").to_string()
}

fn change(at: i64, from: &str, to: &str) -> Value {
    json!({
        "service": "checkout", "resource": "deployment/checkout-service", "at": time(at),
        "from_version": from, "version": to,
    })
}

fn codes(answer: &Value) -> Vec<String> {
    let reasons = answer["reasons"].as_array().into_iter().flatten().filter(|reason| reason["effect"] != "warn");
    reasons.filter_map(|reason| reason["code"].as_str()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burn_after_a_deploy_is_rolled_back_with_a_yes_and_judged() {
    // It burns since a minute after v42 came, and ends in 15 min: 30 s of the wall's time.
    let (from, to) = (T0 - 1500, T0 + 900);
    let clock = Clock::scaled(T0 * 1000, SPEED);
    let mut gate = Gate::start(&scenario(from, to), T0 + 6 * 3600, POLICY, &clock).await;
    for (at, was, is) in [(T0 - 6 * 3600, "v40", "v41"), (from - 60, "v41", "v42")] {
        let (status, answer) = gate.post("deployer", "/v1/changes", &change(at, was, is)).await;
        assert_eq!(status, 200, "{answer}");
    }
    // Who asks is told from the credential alone.
    let unknown = http().post(gate.url("/v1/decisions")).json(&rollback()).send().await.expect("an answer");
    assert_eq!(unknown.status().as_u16(), 401);
    let mut forged = rollback();
    forged["actor"] = "@ada".into();
    let (_, answer) = gate.post("ai-operator/orca-ops", "/v1/decisions", &forged).await;
    assert_eq!(
        (answer["decision"].as_str(), codes(&answer).contains(&"actor_mismatch".to_owned())),
        (Some("deny"), true)
    );
    // A robot's word for a change is not taken.
    let (status, _) = gate.post("ai-operator/orca-ops", "/v1/changes", &change(T0, "v42", "v44")).await;
    assert_eq!(status, 403);
    // A deploy into the burn is refused; the cure needs a yes, and nothing but a yes.
    let (_, answer) = gate.post("deployer", "/v1/decisions", &deploy()).await;
    assert_eq!(answer["decision"], "deny", "{answer:#}");
    let (_, answer) = gate.post("ai-operator/orca-ops", "/v1/decisions", &rollback()).await;
    assert_eq!(answer["decision"], "needs_approval", "{answer:#}");
    assert_eq!(codes(&answer), ["approval_required"], "{answer:#}");
    let approval = answer["approval"]["id"].as_str().expect("an approval is asked for").to_owned();
    // Not the one who asked, not just anybody, not without having seen it.
    for (who, expected) in [("ai-operator/orca-ops", 403), ("@bob", 403)] {
        let card = gate.get(&format!("/v1/approvals/{approval}")).await;
        let body = json!({"verdict": "approve", "action_digest": card["action"]["digest"]});
        let (status, answer) = gate.post(who, &format!("/v1/approvals/{approval}"), &body).await;
        assert_eq!(status, expected, "{who}: {answer}");
    }
    let other = format!("sha256:{}", "0".repeat(64));
    let body = json!({"verdict": "approve", "action_digest": other});
    let (status, _) = gate.post("@ada", &format!("/v1/approvals/{approval}"), &body).await;
    assert_eq!(status, 409, "a yes to another card");
    // Without a terminal nobody is asked: what was seen is named.
    let (exit, said) = gate.cli("@ada", &["approve", &approval, "--reason", "seen it"]);
    assert!(exit == 2 && said.contains("--digest sha256:"), "{said}");
    let digest = answer["action"]["digest"].as_str().expect("a digest").to_owned();
    let (exit, said) = gate.cli("@ada", &["approve", &approval, "--reason", "seen it", "--digest", &digest]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("claimed by the requester: slo_burn_rate_exceeded"), "{said}");
    // The act comes 4 min before the errors end, and is judged 5 min after it was reported.
    tokio::time::sleep(clock.wall_until((to - 240) * 1000)).await;
    // A crash between the yes and its use loses nothing.
    gate.restart(&clock).await;
    let (exit, said) = gate.cli(
        "ai-operator/orca-ops",
        &[
            "ask",
            "--service",
            "checkout",
            "--action",
            "rollback",
            "--resource",
            "deployment/checkout-service",
            "--from-version",
            "v42",
            "--to-version",
            "v41",
            "--reason",
            "slo_burn_rate_exceeded",
            "--incident",
            "INC-2025-042",
            "--format",
            "json",
        ],
    );
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((exit, answer["decision"].as_str()), (0, Some("allow")), "{answer:#}");
    let permit = answer["permit"]["id"].as_str().expect("an allow is a permit").to_owned();
    // It is orca's, for this, once.
    let redeem = format!("/v1/permits/{permit}/redeem");
    let (_, stolen) = gate.post("deployer", &redeem, &json!({})).await;
    assert_eq!((stolen["decision"].as_str(), codes(&stolen)), (Some("deny"), vec!["principal_differs".to_owned()]));
    let mut swapped = rollback();
    swapped["to_version"] = "v40".into();
    let (_, other) = gate.post("ai-operator/orca-ops", &redeem, &json!({"request": swapped})).await;
    assert_eq!(codes(&other), ["digest_differs"]);
    let (_, redeemed) = gate.post("ai-operator/orca-ops", &redeem, &json!({"request": rollback()})).await;
    assert_eq!(redeemed["decision"], "allow", "{redeemed:#}");
    gate.restart(&clock).await;
    let (_, again) = gate.post("ai-operator/orca-ops", &redeem, &json!({})).await;
    assert_eq!(codes(&again), ["permit_used"], "a restart does not make it new");
    // The cure works when the errors end.
    tokio::time::sleep(clock.wall_until(to * 1000)).await;
    let now = clock.now();
    gate.post("deployer", "/v1/changes", &change(now, "v42", "v41")).await;
    let (status, _) =
        gate.post("ai-operator/orca-ops", &format!("/v1/permits/{permit}/outcome"), &json!({"applied": true})).await;
    assert_eq!(status, 200);
    let verdict = eventually("the act is judged", LIMIT, || async {
        let answer = gate.get("/v1/operators").await;
        let row = answer["operators"]
            .as_array()?
            .iter()
            .find(|row| row["actor"] == "ai-operator/orca-ops" && row["action"] == "rollback")?
            .clone();
        let judged: u64 = ["improved", "no_effect", "worse", "inconclusive", "not_applied"]
            .iter()
            .filter_map(|key| row[key].as_u64())
            .sum();
        (judged > 0).then_some(row)
    })
    .await;
    assert_eq!(verdict["improved"], 1, "{verdict:#}");
    // Everything is written down, hangs together, and is decided again to the same.
    let found = gate.get("/v1/audit?incident=INC-2025-042&limit=50").await;
    let kinds: Vec<&str> =
        found["records"].as_array().expect("records").iter().filter_map(|row| row["kind"].as_str()).collect();
    for kind in ["decision", "approval", "permit", "presented", "verdict"] {
        assert!(kinds.contains(&kind), "{kind} is missing in {kinds:?}");
    }
    let (exit, said) = gate.offline(&["audit", "verify"]);
    assert_eq!(exit, 0, "{said}");
    let (exit, said) = gate.offline(&["replay", "--since", "3650d"]);
    assert_eq!(exit, 0, "{said}");
    let stricter = gate.dir.path().join("stricter.yaml");
    std::fs::write(&stricter, "service: checkout\nallowed_actions: [{type: restart}]\n").expect("writable");
    let (exit, said) = gate.offline(&["replay", "--since", "3650d", "--policy", &stricter.display().to_string()]);
    assert!(exit == 1 && said.contains("action_not_allowed"), "{said}");
    let metrics = http().get(gate.url("/metrics")).send().await.expect("metrics").text().await.expect("text");
    assert!(metrics.contains("slowburn_safe_to_act{service=\"checkout\",class=\"risk\"}"), "{metrics}");
    gate.backtested();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_service_is_not_rolled_back_and_a_halt_stops_all_but_people() {
    let policy = "service: checkout\nallowed_actions: [{type: rollback, max_versions_back: 1, \
        approvers: [{team: checkout-oncall}]}, {type: deploy}]\n";
    let clock = Clock::scaled(T0 * 1000, SPEED);
    // Nothing burns.
    let gate = Gate::start(&scenario(T0 - 40_000, T0 - 39_990), T0 + 4 * 3600, policy, &clock).await;
    for (at, was, is) in [(T0 - 6 * 3600, "v40", "v41"), (T0 - 900, "v41", "v42")] {
        gate.post("deployer", "/v1/changes", &change(at, was, is)).await;
    }
    let (_, answer) = gate.post("ai-operator/orca-ops", "/v1/decisions", &rollback()).await;
    assert_ne!(answer["decision"], "allow", "{answer:#}");
    assert!(codes(&answer).iter().any(|code| code == "claim_refuted" || code == "not_necessary"), "{answer:#}");
    let (exit, said) = gate.cli(
        "deployer",
        &[
            "ask",
            "--explain",
            "--service",
            "checkout",
            "--action",
            "deploy",
            "--resource",
            "deployment/checkout-service",
            "--from-version",
            "v42",
            "--to-version",
            "v43",
        ],
    );
    assert_eq!(exit, 0, "{said}");
    // A halt stops robots and pipelines, and only a person sets it.
    assert_eq!(gate.cli("ai-operator/orca-ops", &["halt", "--service", "checkout", "--reason", "mine"]).0, 2);
    let (exit, said) = gate.cli("@ada", &["halt", "--service", "checkout", "--reason", "INC-7", "--for", "2h"]);
    assert_eq!(exit, 0, "{said}");
    let (_, answer) = gate.post("deployer", "/v1/decisions", &deploy()).await;
    assert!(codes(&answer).contains(&"halted".to_owned()), "{answer:#}");
    let signals = gate.get("/v1/signals/checkout").await;
    assert_eq!(
        (signals["signals"]["risk"]["value"].as_i64(), signals["change_state"]["state"].as_str()),
        (Some(0), Some("halted"))
    );
}

/// The same burn after the same deploy as above, but for one thing: what checkout depends on burns alike, so undoing the
/// deploy may cure nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burn_that_an_upstream_shares_is_not_cured_without_a_yes() {
    let policy = "service: checkout\nallowed_actions: [{type: rollback, max_versions_back: 1, \
        approvers: [{team: checkout-oncall}]}]\ndependencies: [search]\n";
    let (from, to) = (T0 - 1500, T0 + 6 * 3600);
    let clock = Clock::scaled(T0 * 1000, SPEED);
    let both = burning(&[("checkout", true), ("search", true)], from, to);
    let gate = Gate::start(&both, T0 + 6 * 3600, policy, &clock).await;
    for (at, was, is) in [(T0 - 6 * 3600, "v40", "v41"), (from - 60, "v41", "v42")] {
        let (status, answer) = gate.post("deployer", "/v1/changes", &change(at, was, is)).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (_, answer) = gate.post("ai-operator/orca-ops", "/v1/decisions", &rollback()).await;
    assert_eq!(answer["decision"], "needs_approval", "{answer:#}");
    assert_eq!(codes(&answer), ["not_correlated"], "{answer:#}");
    assert!(
        answer
            .to_string()
            .contains("search, which this service depends on, burns at the same time: the cause may be there"),
        "{answer:#}"
    );
    // A person who knows better says yes to exactly that.
    let approval = answer["approval"]["id"].as_str().expect("an approval is asked for").to_owned();
    assert_eq!(answer["approval"]["covers"], json!(["not_correlated"]), "{answer:#}");
    let digest = answer["action"]["digest"].as_str().expect("a digest").to_owned();
    let why = "search is slow for another reason";
    let (exit, said) = gate.cli("@ada", &["approve", &approval, "--reason", why, "--digest", &digest]);
    assert_eq!(exit, 0, "{said}");
    let (_, answer) = gate.post("ai-operator/orca-ops", "/v1/decisions", &rollback()).await;
    assert_eq!(answer["decision"], "allow", "{answer:#}");
}

/// What is no request costs little, is told what is wrong with it, and harms nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_with_a_word() {
    let stage = Stage::start(1, None, 1.0).await;
    let mut wire = stage.wire();
    let deep = format!("{{\"service\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let long = format!("{{\"service\":\"{}\"}}", "s".repeat(60_000));
    for (body, said) in [
        (deep.as_str(), "the request is not as it should be"),
        ("{\"service\":\"s0\",\"service\":\"s1\"}", "duplicate field"),
        ("{\"service\":\"s0\",\"sudo\":true}", "unknown field"),
        ("[\"s0\",\"deploy\"]", "the request is no object of JSON"),
        (long.as_str(), "the request is not as it should be"),
        ("", "the request is no object of JSON"),
        ("\u{0}\u{1}", "the request is no object of JSON"),
    ] {
        let (status, answer) = wire.send(&stage.raw(&robot(0), body.len(), body)).expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(status == 400 && answer.contains(said), "{status} {answer:.400} for {body:.60}");
        assert!(answer.len() < 2_000, "{} bytes of answer", answer.len());
    }
    // What is too large is not read: it is refused by its header alone.
    let (status, _) = wire.send(&stage.raw(&robot(0), 50_000_000, "")).expect("an answer");
    assert_eq!(status, 413);
    let (status, answer) =
        stage.wire().post(&robot(0), "/v1/decisions", &gate_stage::request("deploy", 0, None)).expect("it lives");
    assert_eq!((status, answer["decision"].as_str()), (200, Some("allow")), "{answer:#}");
}
