//! `slowburn check --prometheus-url` on a real Prometheus: what it says of SLOs that fit, and of every way not to.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::Value;

use crate::harness::parts::{self, eventually};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use crate::presets::{END, prometheus, slowburn, stacks, write_rules};

const DAY: i64 = 86_400;

/// Exit code, JSON and what was said.
fn check(prometheus: &Prometheus, rules: &Path, at: i64, days: u32) -> (i32, Value, String) {
    let (url, rules, at, days) = (prometheus.url(), rules.display().to_string(), at.to_string(), days.to_string());
    let args = ["check", &rules, "--prometheus-url", &url, "--at", &at, "--days", &days];
    let (code, text, err) = slowburn(&args);
    let (again, json, _) = slowburn(&[&args[..], &["--format", "json"]].concat());
    assert_eq!(code, again);
    let json = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {err}"));
    (code, json, text + &err)
}

/// The entry of an SLO in one of the lists.
fn of<'a>(json: &'a Value, list: &str, slo: &str) -> &'a Value {
    let all = json[list].as_array().unwrap_or_else(|| panic!("{list}: {json:#}"));
    all.iter().find(|one| one["slo"] == slo).unwrap_or_else(|| panic!("no {slo} in {list}: {all:#?}"))
}

fn problems(json: &Value) -> Vec<String> {
    let found = json["found"].as_array().expect("a list").iter();
    found.filter_map(|one| Some(one["problem"].as_str()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_is_said_with_numbers_and_what_does_not_with_its_reason() {
    let stacks =
        stacks(&["vllm", "istio", "gateway-inference", "fastapi", "micrometer", "kueue", "feast", "kafka-lag"]);
    let prometheus = prometheus(&stacks).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_rules(dir.path(), &stacks);
    let (code, json, text) = check(&prometheus, dir.path(), END, 1);
    assert_eq!((code, problems(&json)), (0, vec![]), "{text}");
    for stack in &stacks {
        let availability = format!("{}-availability", stack.service());
        let p90 = format!("{}-latency-p90", stack.service());
        for slo in [availability, p90].iter().filter(|slo| json["slos"].to_string().contains(&format!("\"{slo}\""))) {
            let name = slo.strip_prefix(&format!("{}-", stack.service())).expect("its own");
            let (truth, looked) = (stack.truth(name), of(&json, "lookback", slo));
            let close = |key: &str, right: u64| {
                let found = looked[key].as_f64().expect("a number");
                assert!((found / right as f64 - 1.0).abs() < 0.08, "{slo} {key}: {found}, truth {right}");
            };
            close("total", truth.total);
            close("bad", truth.bad);
            let of_kind = |kind: &str| looked["alerts"][kind].as_u64().unwrap_or(0);
            let alerts = of_kind("fast_burn") + of_kind("slow_burn");
            assert!(alerts > 0 || name != "availability", "some minutes fail: {looked}");
            let fit = of(&json, "fits", slo);
            assert_eq!((fit["scrape_s"].as_i64(), fit["retention"].as_str()), (Some(30), Some("100y")), "{fit}");
        }
    }
    assert_eq!(of(&json, "fits", "vllm-colon-latency-p95")["bucket"], "le=\"5.0\"");
    assert_eq!(of(&json, "fits", "istio-availability")["max_burn"], 100.0);
    for words in ["events a day", "le=\"5.0\"", "scraped every", "30s", "100y", "budget left", "days seen"] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let (_, json, _) = check(&prometheus, dir.path(), END, 0);
    assert_eq!(json["lookback"], serde_json::json!([]), "nothing is looked back at for 0 days");

    // Every way to get it wrong, and what is said of it.
    let service = |name: &str, telemetry: &str, slo: &str| {
        let text = format!("name: {name}\nowner: t\ntelemetry: {{{telemetry}}}\nslo: {{{slo}}}\n");
        (name.to_owned(), text)
    };
    let own = |name: &str, sli: &str| {
        (name.to_owned(), format!("name: {name}\nowner: t\nslo:\n  availability: {{objective: 99, sli: {{{sli}}}}}\n"))
    };
    let wrong = [
        (
            service("label", "preset: vllm, match: {model: llama-3-8b}", "availability: 99"),
            "no series of vllm:request_success_total has a label model; its labels are engine, finished_reason, model_name",
        ),
        (
            service("value", "preset: vllm, match: {model_name: llama-4}", "availability: 99"),
            "no series of vllm:request_success_total has model_name=\"llama-4\"; model_name is \"llama-3-8b",
        ),
        (
            service("bucket", "preset: fastapi, match: {job: fastapi}", "latency_p95_s: 2"),
            "no bucket at 2, and the largest is le=\"1.0\": nothing tells how many took longer",
        ),
        (
            service("absent", "preset: traefik, match: {service: a}", "availability: 99"),
            "there is no metric traefik_service_requests_total",
        ),
        (
            service("generation", "preset: knative, match: {kn_service_name: a}", "availability: 99"),
            "none of the generations of these metrics is there (otel, otel-queueproxy, opencensus)",
        ),
        (
            own("nearly", "total: http_requests, bad: 'http_requests{status=~\"5..\"}'"),
            "but there is http_requests_total",
        ),
        (
            own("bad-label", "total: http_requests_total, bad: 'http_requests_total{code=~\"5..\"}'"),
            "no series of http_requests_total has a label code; its labels are handler, method, status",
        ),
        (
            own(
                "falls",
                "total: kafka_consumergroup_group_max_lag, bad: 'kafka_consumergroup_group_max_lag{job=\"x\"}'",
            ),
            "a counter only rises: it is a gauge",
        ),
    ];
    let dir = tempfile::tempdir().expect("a temporary folder");
    for ((name, text), _) in &wrong {
        std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("writable");
    }
    let (code, json, text) = check(&prometheus, dir.path(), END, 0);
    assert_eq!(code, 1);
    for ((name, _), words) in &wrong {
        let said: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("{name}-"))).collect();
        assert!(said.iter().any(|line| line.contains(words)), "{name}: {words}\n{said:#?}\n{:#?}", problems(&json));
    }

    // A typo in the preset's name is the file's mistake: nobody is asked.
    let file = dir.path().join("typo.yaml");
    std::fs::write(&file, service("typo", "preset: vlm, match: {model_name: a}", "availability: 99").1)
        .expect("writable");
    let (code, _, err) = {
        let (code, out, err) =
            slowburn(&["check", &file.display().to_string(), "--prometheus-url", "http://127.0.0.1:1"]);
        (code, (), out + &err)
    };
    assert!(code == 1 && err.contains("there is no preset \"vlm\"") && err.contains("preset: vllm"), "{err}");
}

/// Seven days, ten requests a second, scraped each minute; two outages of half an hour in the last three days, a third
/// one before them, and three hours without scrapes.
fn week(end: i64) -> String {
    let mut text = String::from("# TYPE requests counter\n");
    let outage =
        |at: i64| [5 * DAY, 2 * DAY, DAY].iter().any(|before| (end - before..end - before + 1800).contains(&at));
    let hole = end - DAY / 2..end - DAY / 2 + 3 * 3600;
    let mut counts = [0_i64, 0];
    let mut lines = [String::new(), String::new()];
    for at in (end - 7 * DAY + 13..end).step_by(60) {
        let bad = if outage(at) { 300 } else { 0 };
        counts = [counts[0] + 600 - bad, counts[1] + bad];
        for ((line, count), code) in lines.iter_mut().zip(counts).zip(["200", "500"]) {
            if !hole.contains(&at) {
                let labels = format!("job=\"a\",instance=\"a:80\",code=\"{code}\"");
                writeln!(line, "requests_total{{{labels}}} {count} {at}").expect("a String grows");
            }
        }
    }
    text.extend(lines);
    text + "# EOF\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_days_are_walked_through_the_alerts() {
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(week(END))), ..Default::default() }).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let text = "name: a\nowner: t\nslo:\n  availability: {objective: 99.9, sli: {total: requests_total, bad: \
                'requests_total{code=\"500\"}'}}\n";
    std::fs::write(dir.path().join("a.yaml"), text).expect("writable");
    let (code, json, text) = check(&prometheus, dir.path(), END, 3);
    assert_eq!(code, 0, "{text}");
    let looked = of(&json, "lookback", "a-availability");
    // Each slow burn waits until the fast one has ended.
    assert_eq!(
        looked["alerts"],
        serde_json::json!({"fast_burn": 2, "slow_burn": 2, "budget": 1, "data_missing": 1}),
        "{looked}"
    );
    let close = |key: &str, right: f64| {
        let found = looked[key].as_f64().expect("a number");
        assert!((found / right - 1.0).abs() < 0.005, "{key}: {found}, truth {right}");
    };
    close("total", 600.0 * 60.0 * 24.0 * 3.0 - 600.0 * 180.0);
    close("bad", 2.0 * 30.0 * 300.0);
    close("days", 3.0 - 3.0 / 24.0);
    close("events_per_day", 864_000.0);
    assert_eq!(of(&json, "fits", "a-availability")["scrape_s"], 60);
    assert!(text.contains("scraped every 1m, and a slice is 30s: set resolution to 1m"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_another_type_are_named_by_what_their_targets_say() {
    const PAGE: &str = "# TYPE queue_length gauge\nqueue_length{queue=\"a\"} 3\nqueue_length{queue=\"bad\"} 4\n\
                        # TYPE took_seconds summary\ntook_seconds{quantile=\"0.95\"} 0.2\ntook_seconds_sum 20\ntook_seconds_count 100\n\
                        # TYPE wait_seconds histogram\nwait_seconds_bucket{le=\"1\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 2\n\
                        wait_seconds_sum 3\nwait_seconds_count 2\n\
                        # TYPE done_total counter\ndone_total 7\n";
    let server = parts::serve(Router::new().route("/metrics", get(|| async { PAGE }))).await;
    let targets = vec![("app".to_owned(), server.address.to_string())];
    let prometheus = Prometheus::start(PromOptions { targets, ..Default::default() }).await;
    // Whole seconds are asked about, so the first scrape has to be older.
    let scraped = || async { prometheus.number("min(count_over_time(queue_length[1m])) > 2", None).await };
    eventually("three scrapes", Duration::from_secs(20), scraped).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let wrong = [
        (
            "gauge",
            "total: queue_length, bad: 'queue_length{queue=\"bad\"}'",
            "queue_length is a gauge, and a counter belongs here",
        ),
        ("histogram", "total: wait_seconds, bad: 'wait_seconds{code=\"5\"}'", "what it counts is wait_seconds_count"),
    ];
    let times = [
        ("summary", "histogram: took_seconds", "took_seconds is a summary: it has quantiles and no buckets"),
        ("counter", "histogram: done_total", "there is no metric done_total_"),
    ];
    for (name, sli, _) in wrong {
        let text = format!("name: {name}\nowner: t\nslo:\n  availability: {{objective: 99, sli: {{{sli}}}}}\n");
        std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("writable");
    }
    for (name, sli, _) in times {
        let text = format!("name: {name}\nowner: t\nslo:\n  latency_p95_s: {{max: 1, sli: {{{sli}, unit: s}}}}\n");
        std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("writable");
    }
    let (url, rules) = (prometheus.url(), dir.path().display().to_string());
    let (code, out, err) = slowburn(&["check", &rules, "--prometheus-url", &url, "--days", "0"]);
    assert_eq!(code, 1, "{out}{err}");
    for (name, _, words) in wrong.iter().chain(&times).filter(|(name, ..)| *name != "counter") {
        let said = |line: &&str| line.starts_with(&format!("{name}-")) && line.contains(words);
        assert!(out.lines().any(|line| said(&line)), "{name}: {words}\n{out}{err}");
    }
    assert!(out.contains("done_total is a counter, and a histogram belongs here"), "{out}{err}");
}
