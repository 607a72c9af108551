//! Every preset against pages in the exact shape of its stack, on a real Prometheus: what is counted is what happened.
//!
//! `presets/*.prom` are the pages; [`stack`] makes an hour of scrapes of them, with restarts, series that are born late, a pod
//! that comes later, an incident, and another workload beside the one that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use slowburn::spec::{Family, Measure, Presets};

use crate::daemon::{Driven, options};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use stack::{EVERY, SCRAPES, START, Stack, Truth};

#[path = "presets/stack.rs"]
pub mod stack;

pub const END: i64 = START + EVERY * SCRAPES as i64;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/presets")
}

/// All pages, or those whose name begins with one of these words.
pub fn stacks(only: &[&str]) -> Vec<Stack> {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "prom"));
    files.sort();
    let read = |path: PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        Stack::parse(&stem, &std::fs::read_to_string(&path).expect("readable"))
    };
    files.into_iter().map(read).filter(|stack| only.is_empty() || only.contains(&stack.preset())).collect()
}

pub async fn prometheus(stacks: &[Stack]) -> Prometheus {
    let mut text = String::new();
    stacks.iter().for_each(|stack| stack.write(&mut text));
    text += "# EOF\n";
    Prometheus::start(PromOptions { past: Some(Past::Text(text)), ..PromOptions::default() }).await
}

pub fn slowburn(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

/// SLO name (`latency-p95`) of an id of this service.
fn name_of<'a>(stack: &Stack, id: &'a str) -> Option<&'a str> {
    id.strip_prefix(&format!("{}-", stack.service()))
}

pub fn write_rules(dir: &Path, stacks: &[Stack]) {
    for stack in stacks {
        std::fs::write(dir.join(format!("{}.yaml", stack.service())), stack.rules()).expect("writable");
    }
}

/// What `slowburn eval` counts over the hour, by SLO.
fn evaluated(url: &str, rules: &Path) -> BTreeMap<String, Truth> {
    let (_, out, err) = slowburn(&[
        "eval",
        "--format",
        "json",
        "--at",
        &END.to_string(),
        "--prometheus-url",
        url,
        "--rules",
        &rules.display().to_string(),
    ]);
    let slos: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    let counts = |slo: &Value| {
        assert_eq!(slo["series"].as_array().map(Vec::len), Some(1), "one series, and none of our own: {slo:#}");
        let window = &slo["series"][0]["window"];
        let count = |key: &str| window[key].as_u64().unwrap_or(0);
        (slo["id"].as_str().expect("an id").to_owned(), Truth { total: count("total"), bad: count("bad") })
    };
    slos.iter().map(counts).collect()
}

/// What differs from the truth, as a table.
fn wrong(stacks: &[Stack], counted: &BTreeMap<String, Truth>) -> String {
    let mut text = String::new();
    let mut compared = BTreeSet::new();
    for (id, found) in counted {
        let of = |stack: &&Stack| name_of(stack, id).is_some_and(|name| stack.names().iter().any(|own| own == name));
        let stack = stacks.iter().find(of).unwrap_or_else(|| panic!("nobody wrote {id}"));
        let truth = stack.truth(name_of(stack, id).expect("its own"));
        assert!(truth.total > 0 && truth.bad > 0 && truth.bad < truth.total, "{id} shows nothing: {truth:?}");
        compared.insert(id.as_str());
        // Which slices of a quantile are bad is judged on evidence, by the engine's own tests; here that each is judged, and
        // that the incident is seen. The same histogram's slow events are counted exactly, under `-p90`.
        let judged = id.ends_with("-p95") && found.total == truth.total && found.bad > 0 && found.bad < found.total;
        if *found != truth && !judged {
            writeln!(text, "{id}: {}/{}, truth {}/{}", found.bad, found.total, truth.bad, truth.total)
                .expect("a String grows");
        }
    }
    for id in
        stacks.iter().flat_map(|stack| stack.names().into_iter().map(|name| format!("{}-{name}", stack.service())))
    {
        if !compared.contains(id.as_str()) {
            writeln!(text, "{id}: not counted").expect("a String grows");
        }
    }
    text
}

#[test]
fn every_preset_generation_and_indicator_has_a_page() {
    let stacks = stacks(&[]);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/presets");
    let files = std::fs::read_dir(rules).expect("the folder is there");
    let files = files.map(|file| file.expect("readable").path());
    let on_disk: BTreeSet<String> = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    let presets = Presets::default();
    let known: BTreeSet<String> = presets.names().into_iter().map(str::to_owned).collect();
    assert_eq!(on_disk, known, "every file is compiled in");
    let mut missing = Vec::new();
    for preset in presets.all() {
        let of_preset: Vec<&Stack> = stacks.iter().filter(|stack| stack.preset() == preset.name).collect();
        for (word, family) in Family::ALL {
            let Some(sli) = preset.slis.get(&family) else { continue };
            let asks = |stack: &&&Stack| stack.slos.iter().any(|(key, _)| key.starts_with(word));
            let asked: Vec<&str> = of_preset.iter().filter(asks).map(|stack| stack.stem.as_str()).collect();
            match &sli.measure {
                Measure::None(_) => assert_eq!(asked, [""; 0], "{} does not measure {word}", preset.name),
                Measure::Generations(all) => {
                    let names = all.iter().map(|one| format!("{}.{}", preset.name, one.name));
                    missing.extend(
                        names.filter(|name| !asked.contains(&name.as_str())).map(|name| format!("{name} {word}")),
                    );
                }
                _ if asked.is_empty() => missing.push(format!("{} {word}", preset.name)),
                _ => {}
            }
        }
    }
    assert_eq!(missing, [""; 0], "no page shows these");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_preset_counts_what_happened() {
    let stacks = stacks(&[]);
    let prometheus = prometheus(&stacks).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_rules(dir.path(), &stacks);

    let counted = evaluated(&prometheus.url(), dir.path());
    let at_once = wrong(&stacks, &counted);

    // And a daemon that lives through the last quarter of an hour.
    let rules: Vec<(String, String)> =
        stacks.iter().map(|stack| (format!("{}.yaml", stack.service()), stack.rules())).collect();
    let rules: Vec<(&str, String)> = rules.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut driven = Driven::new(options(&prometheus.url(), &rules, None));
    driven.tick(END - 900).await;
    let snapshot = driven.live(END - 900, END).await;
    let counts = |slo: &slowburn::engine::SloSnapshot| {
        let window = &slo.series.first()?.window;
        Some((slo.slo.id.clone(), Truth { total: window.total, bad: window.bad }))
    };
    let lived = wrong(&stacks, &snapshot.slos.iter().filter_map(counts).collect());
    println!("{} SLOs of {} pages", counted.len(), stacks.len());
    assert!(at_once.is_empty() && lived.is_empty(), "eval:\n{at_once}\ndaemon:\n{lived}");
}

/// What makes a stack easy to count wrongly is on its page, so the counts above show that it is counted right.
#[test]
fn the_traps_are_on_the_pages() {
    let traps = [
        ("vllm.colon", "finished_reason=\"abort\"", "not.abort"),
        ("tgi", "err=\"validation\"", "not.validation"),
        ("triton", "reason=\"CANCELED\"", "not.canceled"),
        ("sglang.colon", "is_streaming=\"false\"", "not.streamed"),
        ("ray-serve", "route=\"/-/healthz\"", "not.healthz"),
        ("grpc.go", "grpc_type=\"server_stream\"", "not.stream"),
        ("istio", "reporter=\"destination\"", "bad.503"),
        ("linkerd", "direction=\"outbound\"", "bad.500"),
        ("gateway-inference.llm-d", "inference_objective_request_error_total", "bad.internal"),
        ("otel-http.stable", "http_server_duration_milliseconds", "bad.500"),
        ("litellm", "status_code=\"408\"", "bad.hang"),
        ("ingress-nginx.classes", "status=\"5xx\"", "bad.502"),
        ("feast", "feast_feature_freshness_seconds", "hold"),
        ("flink", "currentEmitEventTimeLag", "idle"),
        ("materialize", "mz_dataflow_wallclock_lag_seconds", "18446744073709551615"),
        ("kafka-lag", "kafka_consumergroup_group_max_lag_seconds", "NaN"),
    ];
    for (stem, series, word) in traps {
        let text = std::fs::read_to_string(folder().join(format!("{stem}.prom"))).expect("readable");
        assert!(text.lines().any(|line| line.contains(series) && line.contains(word)), "{stem}: {series} {word}");
    }
}
