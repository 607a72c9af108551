//! Events that are written as gauges a minute or as deltas (CloudWatch, StatsD, OpenTelemetry), asked for as the documents say: on a
//! real Prometheus they come to what happened, also where no error means no sample.

use std::fmt::Write as _;

use serde_json::Value;

use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use crate::presets::slowburn;

/// On the slice grid.
const END: i64 = 1_790_000_010;
const MINUTES: i64 = 240;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_and_gauges_a_minute_come_to_what_happened() {
    let (mut requests, mut errors, mut shown) = (String::new(), String::new(), String::new());
    let (mut total, mut bad) = (0_i64, 0_i64);
    for minute in 0..MINUTES {
        let at = END - (MINUTES - minute) * 60 + 3;
        let count = 50 + (minute * 7919) % 351;
        let failed = if (120..150).contains(&minute) { count / 3 } else { i64::from(minute % 9 == 4) * 3 };
        (total, bad) = (total + count, bad + failed);
        writeln!(requests, "requests_delta{{job=\"statsd\"}} {count} {at}").expect("a String grows");
        // No error is no sample, as CloudWatch and StatsD have it.
        if failed > 0 {
            writeln!(errors, "errors_delta{{job=\"statsd\"}} {failed} {at}").expect("a String grows");
        }
        // The gauge of the last minute, scraped every 15 s.
        for quarter in 0..4 {
            let at = at + quarter * 15;
            writeln!(shown, "last_minute{{job=\"yace\"}} {count} {at}").expect("a String grows");
        }
    }
    let past = format!("{requests}{errors}{shown}# EOF\n");
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past)), ..PromOptions::default() }).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let query = |bad: &str, total: &str| format!("query: {{bad: '{bad}', total: '{total}', why: gauges a minute}}");
    let rules = format!(
        "name: edge\nowner: team\nslo:\n  custom:\n  - {{name: delta, objective: 99, {}}}\n  - {{name: shown, objective: 99, {}}}\n",
        query(
            "(sum(sum_over_time(errors_delta[2m])) or vector(0)) / 120",
            "sum(sum_over_time(requests_delta[2m])) / 120"
        ),
        query(
            "(sum(sum_over_time(errors_delta[2m])) or vector(0)) / 120",
            "sum(avg_over_time(last_minute[slice])) / 60"
        ),
    );
    std::fs::write(dir.path().join("edge.yaml"), rules).expect("writable");
    let (at, url, rules) = (END.to_string(), prometheus.url(), dir.path().display().to_string());
    let (_, out, err) =
        slowburn(&["eval", "--format", "json", "--at", &at, "--prometheus-url", &url, "--rules", &rules]);
    let slos: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    assert_eq!(slos.len(), 2, "{err}");
    for slo in &slos {
        let window = &slo["series"][0]["window"];
        for (key, truth) in [("total", total), ("bad", bad)] {
            let found = window[key].as_f64().expect("a count");
            println!("{} {key}: {found}, truth {truth}", slo["id"]);
            assert!((found / truth as f64 - 1.0).abs() < 0.01, "{} {key}: {found}, truth {truth}", slo["id"]);
        }
    }
}
