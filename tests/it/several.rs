//! Events that are counted under several names: total and bad of different metrics, as gateways have them that count a
//! request only once it was let in. An outage in which nothing is let in must not look like silence.

use std::process::Command;

use serde_json::Value;

use crate::harness::parts::Generation;
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

/// On the slice grid.
const T0: i64 = 1_790_000_100;
const HOUR: i64 = 3600;

/// One request a second for two hours. In the last half hour none is let in: `requests_total` stands still, and each is
/// refused. Before that one of 100 fails after it was let in, which is in both counters.
fn past() -> String {
    let mut text = String::new();
    for at in (T0 - 2 * HOUR..=T0).step_by(15) {
        let (outage, since) = (T0 - HOUR / 2, T0 - 2 * HOUR);
        let (let_in, refused) = (at.min(outage) - since, (at - outage).max(0));
        for (series, count) in [
            ("picker_requests_total{", 5000 + let_in),
            ("picker_errors_total{code=\"ModelServerError\",", 70 + let_in / 100),
            ("picker_errors_total{code=\"ResourceExhausted\",", 30 + refused),
        ] {
            text += &format!("{series}job=\"p\",instance=\"a:80\"}} {count} {at}\n");
        }
    }
    text + "# EOF\n"
}

const RULES: [(&str, &str); 3] = [
    // All of them, each once.
    (
        "exact",
        "{total: [picker_requests_total, 'picker_errors_total{code!=\"ModelServerError\"}'], bad: picker_errors_total}",
    ),
    // What users write: the refused ones are no part of the total.
    ("apart", "{total: picker_requests_total, bad: picker_errors_total}"),
    ("beside", "{good: [picker_requests_total], bad: ['picker_errors_total{code=\"ResourceExhausted\"}']}"),
];

fn hour(slo: &Value) -> (u64, u64) {
    let windows = slo["series"][0]["windows"].as_array().expect("windows");
    let window = windows.iter().find(|window| window["window_s"] == HOUR).expect("an hour");
    (window["total"].as_u64().expect("a count"), window["bad"].as_u64().expect("a count"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_in_which_only_refusals_are_counted_burns() {
    for generation in Generation::ENDS {
        let past = Some(Past::Text(past()));
        let prometheus = Prometheus::start(PromOptions { generation, past, ..PromOptions::default() }).await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, sli) in RULES {
            let text = format!("name: {name}\nowner: t\nslo: {{availability: {{objective: 99.9, sli: {sli}}}}}\n");
            std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("writable");
        }
        let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .args([
                "eval",
                "--prometheus-url",
                &prometheus.url(),
                "--format",
                "json",
                "--at",
                &T0.to_string(),
                "--rules",
            ])
            .arg(dir.path())
            .output()
            .expect("the binary runs");
        let slos: Vec<Value> = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)));
        let slo = |name: &str| slos.iter().find(|slo| slo["service"] == name).expect("it is evaluated");
        let shown = |name: &str| (hour(slo(name)), slo(name)["state"].clone(), slo(name)["series"][0]["data"].clone());
        for (name, _) in RULES {
            println!("{} {name}: {:?}", generation.version("prometheus"), shown(name));
        }
        // 1800 let in and 1800 refused; 18 of the former failed. An event on an edge may be on either side.
        let near = |(total, bad): (u64, u64), expected: (u64, u64)| {
            total.abs_diff(expected.0) <= 30 && bad.abs_diff(expected.1) <= 30 && bad <= total
        };
        assert!(near(hour(slo("exact")), (3600, 1818)), "{:?}", shown("exact"));
        assert!(near(hour(slo("beside")), (3600, 1800)), "{:?}", shown("beside"));
        // Of the refused ones nobody counted anything but that they are bad: the total holds at least them.
        assert!(near(hour(slo("apart")), (3600, 1818)), "{:?}", shown("apart"));
        for (name, _) in RULES {
            assert_eq!(slo(name)["state"], "fast_burn", "{name}");
            let five = slo(name)["series"][0]["windows"][0].clone();
            assert_eq!((five["window_s"].as_i64(), five["total"] == five["bad"]), (Some(300), true), "{name}: {five}");
            assert!(five["total"].as_u64().is_some_and(|total| total > 250), "{name}: {five}");
        }
        assert_eq!(slo("exact")["series"][0]["data"]["state"], "fresh");
        assert_eq!(slo("apart")["series"][0]["data"]["reason"], "bad_above_total");
    }
}

/// Some exporters, and the OpenTelemetry Collector, write `vllm:x` as `vllm_x`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_colons_is_read_as_it_is_spelled_there() {
    let mut text = String::new();
    for at in (T0 - 2 * HOUR..=T0).step_by(15) {
        let count = at - T0 + 3 * HOUR;
        for (series, count) in [("vllm_ok_total", count), ("vllm_failed_total", count / 100), ("own:kept_total", count)]
        {
            text += &format!("{series}{{job=\"v\",instance=\"a:80\"}} {count} {at}\n");
        }
    }
    let past = Some(Past::Text(text + "# EOF\n"));
    let prometheus = Prometheus::start(PromOptions { past, ..PromOptions::default() }).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, sli) in [
        ("spelled", "{total: 'vllm:ok_total', bad: 'vllm:failed_total'}"),
        ("kept", "{total: 'own:kept_total', bad: 'own:kept_total{code=\"500\"}'}"),
    ] {
        let text = format!("name: {name}\nowner: t\nslo: {{availability: {{objective: 99.9, sli: {sli}}}}}\n");
        std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("writable");
    }
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", &prometheus.url(), "--format", "json", "--at", &T0.to_string(), "--rules"])
        .arg(dir.path())
        .output()
        .expect("the binary runs");
    let slos: Vec<Value> = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)));
    let of = |name: &str| slos.iter().find(|slo| slo["service"] == name).expect("it is evaluated");
    let (total, bad) = hour(of("spelled"));
    assert!(total.abs_diff(3600) <= 30 && bad.abs_diff(36) <= 1, "{total} {bad}");
    assert!(of("spelled")["notes"].to_string().contains("with `_`"), "{}", of("spelled")["notes"]);
    assert!(hour(of("kept")).0.abs_diff(3600) <= 30);
    assert!(!of("kept")["notes"].to_string().contains("with `_`"));
}
