//! `slowburn init` on a real Prometheus that holds a page of every stack: what it writes is found there and can be checked.

use std::collections::BTreeSet;

use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::prometheus::Behaviour;
use slowburn::demo::scenario::{Gauge, Mode, Pod, Scenario};
use slowburn::spec;

use crate::harness::prometheus::{PromOptions, Prometheus};
use crate::history;
use crate::presets::{END, prometheus, slowburn, stacks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_there_and_passes_check() {
    let stacks = stacks(&[]);
    let prometheus = prometheus(&stacks).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().join("slo");
    let (url, at, folder) = (prometheus.url(), END.to_string(), out.display().to_string());
    let args = ["init", "--prometheus-url", &url, "--at", &at, "--out", &folder];
    let (code, printed, said) = slowburn(&args);
    assert_eq!((code, printed.as_str()), (0, ""), "{said}");
    assert!(said.contains(&format!("slowburn check {folder} --prometheus-url {url}")), "{said}");

    // Every page has a service, with every family that its preset measures there.
    let loaded = spec::load(std::slice::from_ref(&out));
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    let files = || std::fs::read_dir(&out).expect("the folder").map(|file| file.expect("readable").path());
    let written = files().filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).count();
    assert_eq!(files().count(), written + 1, "services, and the schema for editors");
    assert!(said.contains("check of what was made"), "{said}");
    assert_eq!(written, stacks.len(), "{said}");
    for stack in &stacks {
        // Of a page with two matches the first is the job, by which what lacks the other label is read.
        let own = stack.matches.iter().find(|(label, _)| label != "job").or(stack.matches.first());
        let (label, value) = own.expect("a match");
        let line = format!("telemetry: {{preset: {}, match: {{{label}: \"{value}\"", stack.preset());
        let texts = std::fs::read_dir(&out).expect("the folder").map(|file| file.expect("readable").path());
        let texts = texts.map(|path| std::fs::read_to_string(path).expect("readable"));
        let text = texts.into_iter().find(|text| text.contains(&line)).unwrap_or_else(|| panic!("{line}\n{said}"));
        for (key, _) in &stack.slos {
            let family = key.split("_p95_").next().expect("a key");
            // Or why it is left out.
            let has = |line: &str| line.trim_start_matches([' ', '#']).starts_with(family);
            assert!(text.lines().any(has), "{}: no {family}\n{text}", stack.stem);
        }
        assert!(!text.contains("-decoy"), "who is gone gets no service:\n{text}");
    }
    let (code, table, err) = slowburn(&["check", &folder, "--prometheus-url", &url, "--at", &at, "--days", "1"]);
    assert_eq!(code, 0, "{table}{err}");
    assert!(err.contains(" 0 errors") && err.contains("0 missing sources"), "{err}");

    // Nothing is overwritten.
    let mine = out.join("llama-3-8b.yaml");
    let text = std::fs::read_to_string(&mine).expect("the service of vLLM") + "# mine\n";
    std::fs::write(&mine, &text).expect("writable");
    let (code, _, said) = slowburn(&args);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("llama-3-8b.yaml was there already: left as it is"), "{said}");
    assert_eq!(std::fs::read_to_string(&mine).expect("readable"), text);

    // Without a folder it prints, and of one preset alone.
    let (code, printed, said) =
        slowburn(&["init", "--prometheus-url", &url, "--at", &at, "--preset", "trtllm", "--owner", "llm"]);
    let loaded = spec::load_text("a.yaml", &printed);
    let ids: BTreeSet<&str> = loaded.model.slos.iter().map(|slo| slo.slo.id.as_str()).collect();
    let four = ["availability", "gpu-queue-time-p95", "latency-p95", "ttfb-p95"].map(|slo| format!("qwen3-trt-{slo}"));
    assert_eq!((code, ids), (0, four.iter().map(String::as_str).collect()), "{printed}{said}");
    assert_eq!(loaded.model.services[0].owner, "llm");
    let (code, _, said) = slowburn(&["init", "--prometheus-url", &url, "--preset", "vlm"]);
    assert!(code == 2 && said.contains("write: --preset vllm"), "{said}");
}

/// What `check` would miss is not written: a queue is read by three metrics, and one of them is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_the_counter_of_those_let_in_is_left_out() {
    for (has_counter, written) in [(true, 1), (false, 0)] {
        let mut scenario = Scenario::new();
        let pod = scenario.pod(Pod::new("kueue", "kueue-0:8080", 7000, history::END - 2 * 86_400));
        let count = Count::of(Traffic { rate: 1.0, shape: Shape::Flat, wobble: None, origin: 0 });
        let labels = [("cluster_queue", "training")];
        let modes = [Mode { count: count.clone(), median: 2.0, sigma: 0.4 }];
        scenario.histogram(pod, "kueue_admission_wait_time_seconds", &labels, &[1.0, 5.0, 10.0, 80.0], &modes);
        let waiting = Gauge::Level { around: Timeline::new(1.0), swing: 1.0, seed: 1 };
        scenario.gauge(pod, "kueue_pending_workloads", &[labels[0], ("status", "active")], waiting);
        if has_counter {
            scenario.counter(pod, "kueue_admitted_workloads_total", &labels, &count);
        }
        let (simulated, _stop) = history::prometheus(Behaviour::default(), scenario).await;
        let at = history::END.to_string();
        let (code, printed, said) =
            slowburn(&["init", "--prometheus-url", &simulated.url(), "--at", &at, "--format", "json"]);
        let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(
            (code, printed["services"].as_array().map(Vec::len)),
            (1 - written, Some(written as usize)),
            "{said}"
        );
        let lacks = "gpu_queue_time: there is no metric kueue_admitted_workloads_total beside it";
        assert_eq!(printed["remarks"].to_string().contains(lacks), !has_counter, "{printed:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_found_is_said_and_nothing_written() {
    let prometheus = Prometheus::start(PromOptions::default()).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().join("slo");
    let (code, printed, said) =
        slowburn(&["init", "--prometheus-url", &prometheus.url(), "--out", &out.display().to_string()]);
    assert_eq!((code, printed.as_str()), (1, ""), "{said}");
    assert!(said.contains("no metric of a known stack was found") && !out.exists(), "{said}");
    let (code, _, said) = slowburn(&["init", "--prometheus-url", "http://127.0.0.1:1"]);
    assert!(code == 4 && said.contains("cannot be reached"), "{said}");
    let (code, printed, _) = slowburn(&["init", "--prometheus-url", &prometheus.url(), "--format", "json"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON, also where nothing is found");
    assert_eq!((code, &printed["services"]), (1, &serde_json::json!([])));
}
