//! The recipes of docs/pipelines.md, cut out of the page and run as they stand: by an issuer of tokens as CI systems have, the
//! real daemon, the real command line, and a kubectl that writes down what it was told. What is of the CI system itself is done
//! here: its variables, what it puts in place of its expressions, and in which order steps run.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use axum::extract::Query;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::gate_stage::{Stage, T0};
use crate::harness::parts::http;
use crate::newcomer::project;

const AUDIENCE: &str = "https://slowburn.example.com";
const JOB: &str = "repo:acme/shop:environment:production";

/// Whoever gives tokens to jobs.
struct Issuer {
    url: String,
    pair: Arc<EcdsaKeyPair>,
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of this subject, for whom it is asked.
fn token(pair: &EcdsaKeyPair, issuer: &str, subject: &str, audience: &str) -> String {
    let claims =
        json!({"iss": issuer, "aud": audience, "sub": subject, "iat": T0 - 60, "nbf": T0 - 60, "exp": T0 + 3600});
    let message = format!("{}.{}", base64(r#"{"alg":"ES256","kid":"k1"}"#), base64(claims.to_string()));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
    format!("{message}.{}", base64(signature.as_ref()))
}

impl Issuer {
    async fn start() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = Arc::new(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let key = json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y), "kid": "k1", "alg": "ES256"});
        // No place to sign in, as GitHub's has none.
        let said = json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"), "id_token_signing_alg_values_supported": ["ES256"],
        });
        let (signer, name) = (Arc::clone(&pair), url.clone());
        let request = move |Query(asked): Query<Value>, headers: HeaderMap| async move {
            assert_eq!(headers["authorization"], "Bearer request-token");
            let (job, audience) =
                (asked["job"].as_str().expect("a job"), asked["audience"].as_str().expect("whom for"));
            Json(json!({"value": token(&signer, &name, job, audience)}))
        };
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(Json(said)))
            .route("/keys", get(Json(json!({"keys": [key]}))))
            .route("/request", get(request));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Issuer { url, pair }
    }

    fn token(&self) -> String {
        token(&self.pair, &self.url, JOB, AUDIENCE)
    }
}

/// The first block of this language on the page that has `mark`, with the service of the stage in place of the shop.
fn block(language: &str, mark: &str) -> String {
    let page = std::fs::read_to_string(project("docs/pipelines.md")).expect("there");
    let fence = format!("\n```{language}\n");
    let mut blocks = page.split(&fence).skip(1).filter_map(|rest| rest.split_once("\n```"));
    let found = blocks.find(|(block, _)| block.contains(mark)).unwrap_or_else(|| panic!("no block with {mark}")).0;
    found.replace("--service shop", "--service s0").replace("deployment/shop", "deployment/s0")
}

/// A machine that runs jobs.
struct Runner {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Runner {
    fn new(url: &str, cluster_works: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).expect("writable");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_slowburn"), bin.join("slowburn")).expect("writable");
        let ends = i32::from(!cluster_works);
        let kubectl = format!("#!/bin/sh\necho \"$@\" >> {}\nexit {ends}\n", dir.path().join("told").display());
        std::fs::write(bin.join("kubectl"), kubectl).expect("writable");
        std::fs::set_permissions(bin.join("kubectl"), PermissionsExt::from_mode(0o755)).expect("ours");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path"));
        Runner { dir, variables: vec![("PATH".into(), path), ("SLOWBURN".into(), url.into())] }
    }

    fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    /// Runs lines as CI systems do: the first that fails ends them.
    fn run(&self, lines: &str) -> bool {
        let mut shell = Command::new("bash");
        shell.args(["-eo", "pipefail", "-c", lines]).current_dir(self.dir.path()).env_clear();
        let ran = shell.envs(self.variables.iter().cloned()).output().expect("bash starts");
        println!("{lines}\n{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        ran.status.success()
    }

    /// How often kubectl was told something.
    fn told(&self) -> usize {
        std::fs::read_to_string(self.dir.path().join("told")).map_or(0, |told| told.lines().count())
    }
}

/// Runs the job of the GitHub workflow; whether all of its steps passed.
fn github(runner: Runner, issuer: &Issuer, job: &str) -> (Runner, bool) {
    let workflow: Value = serde_saphyr::from_str(&block("yaml", "runs-on")).expect("YAML");
    let steps = workflow["jobs"]["deploy"]["steps"].as_array().expect("steps").clone();
    assert_eq!(workflow["jobs"]["deploy"]["permissions"]["id-token"], "write");
    let output = runner.dir.path().join("output");
    std::fs::write(&output, "").expect("writable");
    let request = format!("{}/request?job={job}", issuer.url);
    let mut runner = runner.with(&[
        ("ACTIONS_ID_TOKEN_REQUEST_URL", &request),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token"),
        ("GITHUB_OUTPUT", output.to_str().expect("a path")),
        ("GITHUB_SHA", "4f2c9e1"),
        ("GITHUB_RUN_ID", "7001"),
    ]);
    let mut passed = true;
    for step in steps {
        let said = std::fs::read_to_string(&output).expect("there");
        let permit = said.lines().find_map(|line| line.strip_prefix("permit=")).unwrap_or_default().to_owned();
        match step["if"].as_str() {
            None if !passed => continue,
            Some("always() && steps.gate.outputs.permit") if permit.is_empty() => continue,
            None | Some("always() && steps.gate.outputs.permit") => {}
            Some(other) => panic!("an unknown condition: {other}"),
        }
        runner = runner.with(&[("PERMIT", &permit), ("DONE", if passed { " " } else { "--not-applied" })]);
        passed &= runner.run(step["run"].as_str().expect("a script"));
    }
    (runner, passed)
}

/// Runs the job of GitLab's page; whether its script passed.
fn gitlab(runner: &mut Runner) -> bool {
    let job: Value = serde_saphyr::from_str(&block("yaml", "after_script")).expect("YAML");
    assert_eq!(job["deploy"]["id_tokens"]["SLOWBURN_TOKEN"]["aud"], AUDIENCE);
    let lines = |key: &str| {
        let lines: Vec<String> = serde_json::from_value(job["deploy"][key].clone()).expect("lines");
        lines.join("\n")
    };
    let passed = runner.run(&lines("script"));
    runner.variables.push(("CI_JOB_STATUS".into(), if passed { "success" } else { "failed" }.into()));
    assert!(runner.run(&lines("after_script")));
    passed
}

/// Outcomes on record, oldest first: whether the act was done.
async fn outcomes(stage: &Stage) -> Vec<bool> {
    let url = format!("{}/v1/audit?service=s0&actor=release-pipeline&limit=200", stage.url());
    let answer: Value = http().get(url).send().await.expect("an answer").json().await.expect("JSON");
    let records = answer["records"].as_array().expect("a list").iter().rev();
    records.filter_map(|record| record["event"]["applied"].as_bool().or_else(|| record["applied"].as_bool())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_ask_and_tell_as_the_page_says() {
    let issuer = Issuer::start().await;
    let settings = format!(", jwt: [{{issuer: \"{}\", audience: \"{AUDIENCE}\"}}]", issuer.url);
    let identities =
        format!("  - {{name: release-pipeline, class: pipeline, jwt_subjects: [\"{} {JOB}\"]}}\n", issuer.url);
    let stage = Stage::with(1, None, 1.0, [&settings, &identities]).await;
    let url = stage.url();

    let (runner, passed) = github(Runner::new(&url, true), &issuer, JOB);
    assert!(passed && runner.told() == 1);
    // A pull request has a token of the same issuer, and is nobody.
    let (runner, passed) = github(Runner::new(&url, true), &issuer, "repo:acme/shop:pull_request");
    assert!(!passed && runner.told() == 0);
    let (runner, passed) = github(Runner::new(&url, false), &issuer, JOB);
    assert!(!passed && runner.told() == 1);

    for works in [true, false] {
        let names = [("CI_COMMIT_SHA", "4f2c9e1"), ("CI_JOB_ID", "7002"), ("SLOWBURN_TOKEN", &issuer.token())];
        let mut runner = Runner::new(&url, works).with(&names);
        assert_eq!((gitlab(&mut runner), runner.told()), (works, 1));
    }
    let jenkins = block("groovy", "withCredentials");
    let script = jenkins.split("'''").nth(1).expect("a script");
    for works in [true, false] {
        let names = [("GIT_COMMIT", "4f2c9e1"), ("BUILD_TAG", "shop-12"), ("SLOWBURN_TOKEN", &issuer.token())];
        let runner = Runner::new(&url, works).with(&names);
        assert_eq!((runner.run(script), runner.told()), (works, 1));
    }
    assert_eq!(outcomes(&stage).await, [true, false, true, false, true, false]);
}

/// The settings and identities of the page are taken as they stand.
#[test]
fn the_settings_of_the_page_are_taken() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("writable");
    let of = |path: &Path| path.display().to_string();
    write("slowburn.yaml", "prometheus: {url: \"http://127.0.0.1:9\"}\n".to_owned() + &block("yaml", "  jwt:"));
    write("identities.yaml", block("yaml", "jwt_subjects"));
    std::fs::create_dir(dir.path().join("rules")).expect("writable");
    let rule =
        "name: shop\nowner: team\nslo: {availability: {objective: 99.9, sli: {total: 'a', bad: 'a{b=\"c\"}'}}}\n";
    write("rules/shop.yaml", rule.into());
    let checked = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["check", &of(&dir.path().join("rules")), "--config", &of(&dir.path().join("slowburn.yaml"))])
        .output()
        .expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{said}");
}
