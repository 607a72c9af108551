//! What a newcomer does with a fresh build: the demo and its page, the shipped rules, the commands when they are used
//! wrongly.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::parts::{self, Process, Server, eventually, http, part};

const SLOWBURN: &str = env!("CARGO_BIN_EXE_slowburn");

/// What the demo promises to show within.
pub const MINUTE: Duration = Duration::from_secs(60);

pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs the binary in the project's folder to its end.
fn slowburn(args: &[&str]) -> Output {
    let output = Command::new(SLOWBURN).args(args).current_dir(project("")).stdin(Stdio::null()).output();
    output.expect("the binary starts")
}

#[track_caller]
pub fn ends_with(args: &[&str], code: i32, says: &str) -> String {
    let output = slowburn(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
    assert!(format!("{stdout}{stderr}").contains(says), "{args:?} does not say {says:?}:\n{stdout}\n{stderr}");
    stdout
}

/// A running `slowburn demo`; it ends with the test.
pub struct Demo {
    process: Process,
    pub started: Instant,
    pub page: String,
    prometheus: String,
    pub dir: TempDir,
}

impl Demo {
    pub async fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let all = ["demo", "--listen", "127.0.0.1:0"].iter().chain(args);
        let process = Process::start(Path::new(SLOWBURN), all, &dir.path().join("demo.log"));
        let started = Instant::now();
        let urls = || async {
            let log = process.log();
            let after = |word: &str| {
                let line = log.lines().find_map(|line| line.trim_start().strip_prefix(word))?;
                line.split_whitespace().next().map(|url| url.trim_end_matches('/').to_owned())
            };
            Some((after("page ")?, after("Prometheus ")?))
        };
        let (page, prometheus) = eventually("the demo says where its page is", MINUTE, urls).await;
        Demo { process, started, page, prometheus, dir }
    }

    /// Waits until the terminal shows a line with all of `words`.
    pub async fn tells(&self, words: &[&str], limit: Duration) -> String {
        let line = || async {
            let log = self.process.log();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        };
        eventually(&format!("{words:?} on the terminal"), limit.saturating_sub(self.started.elapsed()), line).await
    }

    pub async fn json(&self, path: &str) -> Value {
        let answer = http().get(format!("{}{path}", self.page)).send().await.expect("the page's server answers");
        answer.json().await.expect("JSON")
    }

    pub async fn text(&self, path: &str) -> String {
        let answer = http().get(format!("{}{path}", self.page)).send().await.expect("the page's server answers");
        answer.text().await.expect("text")
    }
}

/// The demo's page with an image that takes 3 s: Chromium dumps a document when it is loaded, and the page's script
/// needs a moment after that.
async fn loading_late(page: &str) -> Server {
    let relay = |State(page): State<String>, uri: Uri| async move {
        if uri.path() == "/late" {
            tokio::time::sleep(Duration::from_secs(3)).await;
            return Response::default();
        }
        let answer = http().get(format!("{page}{uri}")).send().await.expect("the page's server answers");
        let kind = answer.headers()[header::CONTENT_TYPE].clone();
        let late = (uri.path() == "/").then(|| Bytes::from("<img src=\"/late\" alt=\"\">"));
        let chunks = stream::unfold(answer, |mut answer| async { Some((answer.chunk().await.transpose()?, answer)) });
        let late = stream::iter(late.map(Ok));
        ([(header::CONTENT_TYPE, kind)], Body::from_stream(chunks.chain(late))).into_response()
    };
    parts::serve(Router::new().fallback(relay).with_state(page.to_owned())).await
}

/// Runs a real Chromium without a window: what it writes to stdout.
fn chromium(folder: &Path, args: &[String]) -> String {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let browser = names.iter().find_map(|name| search.iter().map(|dir| dir.join(name)).find(|path| path.is_file()));
    let mut command = Command::new("timeout");
    command.arg("40").arg(browser.expect("there is no Chromium: tests/parts installs it"));
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg(format!("--user-data-dir={}", folder.join("profile").display())).args(args);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("timeout runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_a_fast_burn_a_page_and_its_end() {
    let demo = Demo::start(&["--speed", "60"]).await;
    demo.tells(&["baseline", "4 services"], MINUTE).await;
    // A GPU node has errors: it is drained, once, and no other one meanwhile.
    demo.tells(&["act", "asks to drain k8s-gpu-17: DCGM tells of XID 79"], MINUTE).await;
    demo.tells(&["allowed", "2 pods of deployment/llm-chat of llm-chat are ready elsewhere"], MINUTE).await;
    demo.tells(&["DENIED", "was used"], MINUTE).await;
    demo.tells(&["DENIED", "is changing node/k8s-gpu-17: drain"], MINUTE).await;
    demo.tells(&["verdict", "no effect: llm-chat-"], MINUTE).await;
    // What nobody needs is not done.
    demo.tells(&["consent", "there is nothing to mitigate"], MINUTE).await;
    demo.tells(&["DENIED", "@ada rejects"], MINUTE).await;
    demo.tells(&["onset", "checkout-availability"], MINUTE).await;
    demo.tells(&["FAST BURN", "checkout-availability"], MINUTE).await;
    demo.tells(&["SEV-1 page sent", "SLOFastBurn on checkout-availability"], MINUTE).await;

    let slo = demo.json("/v1/slos/checkout-availability").await;
    assert_eq!(slo["state"], "fast_burn", "{slo}");
    let late = loading_late(&demo.page).await;
    let url = format!("http://{}/", late.address);
    let look = async |args: &[String]| {
        let (folder, args) = (demo.dir.path().to_owned(), args.to_vec());
        tokio::task::spawn_blocking(move || chromium(&folder, &args)).await.expect("Chromium runs")
    };
    let dom = look(&["--dump-dom".to_owned(), url.clone()]).await;
    let burns = "<span class=\"pill fast_burn\">fast burn</span>";
    let slo = dom.split("id=\"slo-").find(|slo| slo.starts_with("checkout-availability\""));
    assert!(slo.is_some_and(|slo| slo.contains(burns)) && dom.contains(">SEV-1</span>"), "{dom}");
    assert!(dom.contains(">ai-operator/orca-ops</b>") && dom.contains("Safe to act"), "{dom}");

    demo.tells(&["slow burn", "llm-chat-ttfb-p95", "realtime"], MINUTE).await;
    demo.tells(&["gpu-cluster-gpu-queue-time-p95", "has no data"], MINUTE).await;
    // Left in the target folder: the README's pictures are these.
    let pictures = project("target/page");
    std::fs::create_dir_all(&pictures).expect("the target folder takes files");
    for (name, size) in [("demo", "1280,1420"), ("demo-phone", "400,1300")] {
        let picture = pictures.join(name).with_extension("png");
        drop(std::fs::remove_file(&picture));
        let shot = format!("--screenshot={}", picture.display());
        look(&[shot, format!("--window-size={size}"), url.clone()]).await;
        assert!(std::fs::metadata(&picture).is_ok_and(|picture| picture.len() > 10_000), "no picture of the page");
    }

    demo.tells(&["SEV-3 ticket sent", "SLOSlowBurn on llm-chat-ttfb-p95"], MINUTE).await;
    demo.tells(&["gpu-cluster-gpu-queue-time-p95", "has data again"], MINUTE).await;
    demo.tells(&["DENIED", "checkout-availability burns fast"], MINUTE).await;
    demo.tells(&["consent", "needs approval of team:checkout-oncall: rollback"], MINUTE).await;
    demo.tells(&["consent", "@ada approves"], 2 * MINUTE).await;
    demo.tells(&["allowed", "a permit"], 2 * MINUTE).await;
    demo.tells(&["verdict", "improved"], 2 * MINUTE).await;
    demo.tells(&["audit", "verified", "none edited, none missing"], 2 * MINUTE).await;
    demo.tells(&["recovery", "checkout-availability"], 2 * MINUTE).await;
    demo.tells(&["SEV-1 resolved", "SLOFastBurn on checkout-availability"], 2 * MINUTE).await;
    let log = demo.process.log();
    assert!(log.lines().count() < 55, "the story is noisy:\n{log}");
    assert!(!log.contains('\u{1b}'), "colour without a terminal:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_eval_say_what_a_prometheus_holds() {
    let demo = Demo::start(&["--speed", "1"]).await;
    demo.tells(&["baseline", "4 services"], MINUTE).await;
    let ask = async |args: &[&str], code: i32, says: &str| {
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        all.extend(["--prometheus-url".to_owned(), demo.prometheus.clone()]);
        let says = says.to_owned();
        let run = move || {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            ends_with(&all, code, &says)
        };
        tokio::task::spawn_blocking(run).await.expect("the command ends as it should")
    };
    let found = ask(&["check", "src/demo/rules", "--format", "json"], 0, "").await;
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let parts: BTreeMap<(&str, &str), &Value> = found["found"]
        .as_array()
        .expect("what was found")
        .iter()
        .map(|found| ((found["slo"].as_str().expect("an id"), found["part"].as_str().expect("a part")), found))
        .collect();
    assert_eq!(parts[&("checkout-latency-p95", "bucket")]["raw_series"], 3);
    assert_eq!(parts[&("llm-chat-availability", "total")]["series"], 3, "three pairs of model and tier");

    let rules = demo.dir.path().join("checkout.yaml");
    let text = std::fs::read_to_string(project("src/demo/rules/checkout.yaml")).expect("a rule of the demo");
    std::fs::write(&rules, text.replace("max: 800", "max: 700")).expect("writable");
    let path = rules.to_str().expect("a plain path");
    let nearest = "no bucket at 0.7: interpolated between the nearest, le=\"0.5\" and le=\"0.8\"";
    ask(&["check", path], 0, nearest).await;
    std::fs::write(&rules, text.replace("max: 800", "max: 70000")).expect("writable");
    ask(&["check", path], 1, "checkout-latency-p95: bucket: no bucket at 70, and the largest is le=").await;

    let evaluated = ask(&["eval", "--rules", "src/demo/rules", "--format", "json"], 1, "").await;
    let evaluated: Value = serde_json::from_str(&evaluated).expect("JSON");
    let freshness =
        evaluated.as_array().and_then(|slos| slos.iter().find(|slo| slo["id"] == "feature-store-feature-freshness"));
    assert_eq!(freshness.expect("the SLO")["state"], "exhausted");
    // What the demo knows of its fleet: 0.08 % of the requests fail.
    let availability =
        evaluated.as_array().and_then(|slos| slos.iter().find(|slo| slo["id"] == "llm-chat-availability"));
    for series in availability.expect("the SLO")["series"].as_array().expect("series") {
        let ratio = series["window"]["error_ratio"].as_f64().expect("a ratio");
        assert!((0.000_80..0.000_85).contains(&ratio), "{series}");
    }
    ask(&["eval", "--rules", "src/demo/rules/checkout.yaml"], 0, "checkout-availability").await;
    let text = ask(&["eval", "--rules", "src/demo/rules"], 1, "exhausted").await;
    assert!(text.lines().all(|line| line.chars().count() <= 100), "it is wider than a page:\n{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals:\n{text}");
}

/// What the README does first, on what a newcomer has first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_on_the_demo_writes_files_that_check_passes() {
    // Its time is the wall's, as that of the commands is.
    let demo = Demo::start(&["--speed", "1"]).await;
    demo.tells(&["baseline", "4 services"], MINUTE).await;
    let (url, folder) = (demo.prometheus.clone(), demo.dir.path().join("slo"));
    let run = move || {
        let out = folder.to_str().expect("a plain path");
        let made = ends_with(&["init", "--prometheus-url", &url, "--out", out, "--format", "json"], 0, "");
        let made: Value = serde_json::from_str(&made).expect("JSON");
        let services = made["services"].as_array().expect("services").clone();
        let presets: BTreeMap<&str, usize> = services.iter().fold(BTreeMap::new(), |mut all, service| {
            *all.entry(service["preset"].as_str().expect("a name")).or_default() += 1;
            all
        });
        for preset in ["feast", "http", "vllm"] {
            assert!(presets.contains_key(preset), "{presets:?}: {made:#}");
        }
        for service in &services {
            let text = std::fs::read_to_string(service["file"].as_str().expect("a path")).expect("it was written");
            assert!(text.ends_with(service["yaml"].as_str().expect("a text")) && service["written"] == true, "{text}");
            assert_ne!(service["slos"], json!([]), "{service:#}");
        }
        assert_eq!(made["problems"], json!([]));
        ends_with(&["check", out, "--prometheus-url", &url, "--days", "1"], 0, "0 errors");
        // A second run writes nothing.
        let again = ends_with(&["init", "--prometheus-url", &url, "--out", out, "--format", "json"], 0, "");
        let again: Value = serde_json::from_str(&again).expect("JSON");
        assert!(again["services"].as_array().expect("services").iter().all(|service| service["written"] == false));
    };
    tokio::task::spawn_blocking(run).await.expect("the commands end as they should");
    let log = demo.process.log();
    assert!(!log.contains("the story ends here"), "as slow as the wall it waits longer for its history:\n{log}");
}

#[test]
fn the_shipped_rules_are_clean() {
    ends_with(&["check", "rules"], 0, "0 errors, 0 warnings");
    ends_with(&["check", "src/demo/rules", "--strict"], 0, "0 errors, 0 warnings");
    let report = ends_with(&["check", "rules", "--format", "sarif"], 0, "");
    assert_eq!(serde_json::from_str::<Value>(&report).expect("JSON")["version"], "2.1.0");
    let promtool = Command::new(part("promtool"))
        .args(["test", "rules", "slowburn_test.yaml"])
        .current_dir(project("rules/prometheus"))
        .output()
        .expect("promtool starts");
    assert!(promtool.status.success(), "{}", String::from_utf8_lossy(&promtool.stdout));
}

/// As a kubelet swaps a ConfigMap, which `kubectl edit` does without any pod being rolled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_in_a_config_map_are_read_again_when_it_is_swapped() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join("rules").join(name);
    let swap = |version: &str, objective: &str| {
        std::fs::create_dir_all(at(version)).expect("made");
        let sli = "{total: requests_total, bad: 'requests_total{code=\"500\"}'}";
        let text = format!("name: a\nowner: x\nslo: {{availability: {{objective: {objective}, sli: {sli}}}}}\n");
        std::fs::write(at(version).join("a.yaml"), text).expect("written");
        symlink(version, at("..new")).expect("linked");
        std::fs::rename(at("..new"), at("..data")).expect("swapped");
    };
    swap("..1", "99.9");
    symlink("..data/a.yaml", at("a.yaml")).expect("linked");
    let port = parts::free_port();
    let listen = format!("127.0.0.1:{port}");
    let rules = dir.path().join("rules").display().to_string();
    let args = ["run", "--prometheus-url", "http://127.0.0.1:1", "--listen", &listen, "--rules", &rules];
    let args = args.into_iter().chain(["--watch", "200ms", "--clock-start", "1790000010", "--clock-speed", "30"]);
    let process = Process::start(Path::new(SLOWBURN), args, &dir.path().join("log"));
    let objective = async || {
        let answer = http().get(format!("http://{listen}/v1/slos")).send().await.ok()?.text().await.ok()?;
        serde_json::from_str::<Value>(&answer).ok()?[0]["objective"].as_f64()
    };
    for (version, text, value) in
        [("..1", "99.9", 99.9), ("..2", "99.5", 99.5), ("..3", "100", 99.5), ("..4", "98", 98.0)]
    {
        if version != "..1" {
            swap(version, text);
        }
        if text == "100" {
            let refused = || async { process.log().contains("the changed rules are refused").then_some(()) };
            eventually("an objective of 100 is refused", MINUTE, refused).await;
        }
        let holds = || async { (objective().await? == value).then_some(()) };
        eventually(&format!("{version} is in force: {value}"), MINUTE, holds).await;
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        ends_with(&["completions", shell], 0, "prometheus-url");
    }
}

#[test]
fn wrong_usage_ends_with_the_documented_code_and_says_what_to_write() {
    let rules = "src/demo/rules";
    let nobody = "http://127.0.0.1:1";
    let sloth = "tests/configs/import/good/sloth-events.yaml";
    ends_with(&[], 2, "Usage: slowburn");
    ends_with(&["--version"], 0, env!("CARGO_PKG_VERSION"));
    ends_with(&["check"], 2, "<PATH>");
    ends_with(&["check", "nowhere.yaml"], 2, "nowhere.yaml: there is no such file or directory");
    ends_with(&["check", rules, "--bogus"], 2, "--bogus");
    ends_with(&["check", rules, "--prometheus-url", "localhost:9090"], 2, "http://localhost:9090");
    ends_with(&["check", rules, "--prometheus-url", nobody], 4, "Prometheus cannot be reached");
    ends_with(&["init", "--prometheus-url", nobody], 4, "http://127.0.0.1:1: Prometheus cannot be reached");
    ends_with(&["compare", "--rules", sloth, "--owner", "a", "--prometheus-url", nobody], 4, "cannot be reached");
    let since = ["--since", "1d"];
    ends_with(
        &[&["backtest", "--rules", rules, "--prometheus-url", nobody], &since[..]].concat(),
        4,
        "cannot be reached",
    );
    let explain = ["explain", "checkout-availability", "--rules", rules, "--prometheus-url", nobody];
    ends_with(&explain, 4, "Prometheus cannot be reached");
    ends_with(&["check", "tests/configs/bad/objective-100.yaml"], 1, "an objective of 100 has no error budget");
    ends_with(&["eval", "--rules", rules], 64, "--prometheus-url http://");
    ends_with(&["eval", "--rules", rules, "--prometheus-url", nobody], 4, "http://127.0.0.1:1: Prometheus cannot be");
    ends_with(&["eval", "--rules", "nowhere", "--prometheus-url", nobody], 64, "nowhere");
    ends_with(&["eval", "--rules", rules, "--prometheus-url", nobody, "--at", "noon"], 2, "write 2026-11-01T12:00:00Z");
    ends_with(&["run", "--rules", rules], 64, "--prometheus-url http://");
    ends_with(
        &["run", "--rules", "tests/configs/bad", "--prometheus-url", nobody, "--listen", "127.0.0.1:0"],
        64,
        "error",
    );
    ends_with(&["demo", "--speed", "0"], 2, "a number from 1 to 600");
    ends_with(&["demo", "--log-level", "loud"], 1, "write error, warn, info, debug or trace");
}

#[test]
fn a_pipe_that_closes_early_is_no_error() {
    let line = format!("set -o pipefail; '{SLOWBURN}' check rules | head -1; '{SLOWBURN}' completions bash | head -1");
    let output = Command::new("bash").args(["-c", &line]).current_dir(project("")).output().expect("bash starts");
    assert!(output.status.success(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}
