//! Error ratios against the truth, on a real Prometheus with thirty days of scraped samples: ours from `eval` and from
//! a daemon that lived through the last hours, and beside them what the usual ways give.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;
use slowburn::demo::scenarios::{self, Named, REQUESTS};

use crate::daemon::{Driven, options};
use crate::harness::parts::Generation;
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// How far an error ratio may be from what really happened. What a process counted after its last scrape is gone for
/// everybody, so processes that die have bounds of their own.
fn tolerance(name: &str) -> f64 {
    match name {
        "restarts" => 0.009,
        "crash-loop" => 0.073,
        _ => 0.001,
    }
}

fn rules(named: &Named) -> (String, String) {
    let service = named.name;
    let total = format!(r#"{REQUESTS}{{service="{service}"}}"#);
    let bad = format!(r#"{REQUESTS}{{service="{service}",code=~"5.."}}"#);
    let text = format!(
        "name: {service}\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    sli: {{total: '{total}', bad: '{bad}'}}\n"
    );
    (format!("{service}.yaml"), text)
}

/// (30-day, 1-hour) error ratios by service.
type Ratios = BTreeMap<String, (Option<f64>, Option<f64>)>;

fn ratio_of(series: &Value, window_s: i64) -> Option<f64> {
    let windows = series["windows"].as_array().expect("windows").iter().chain([&series["window"]]);
    windows.into_iter().find(|w| w["window_s"] == window_s).and_then(|w| w["error_ratio"].as_f64())
}

fn from_eval(url: &str, dir: &std::path::Path) -> Ratios {
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", url, "--format", "json", "--at", &END.to_string(), "--rules"])
        .arg(dir)
        .output()
        .expect("the binary runs");
    let slos: Vec<Value> = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)));
    slos.iter()
        .map(|slo| {
            let series = &slo["series"][0];
            let service = slo["service"].as_str().expect("a service").to_owned();
            (service, (ratio_of(series, 30 * DAY), ratio_of(series, HOUR)))
        })
        .collect()
}

/// A daemon that lived through the last three hours; with more raw series than `raw_series_max` the server sums.
async fn from_daemon(url: &str, files: &[(&str, String)], raw_series_max: usize) -> Ratios {
    let mut options = options(url, files, None);
    options.source.raw_series_max = raw_series_max;
    let mut driven = Driven::new(options);
    let start = END - 3 * HOUR;
    driven.tick(start).await;
    let snapshot = driven.live(start, END).await;
    assert_eq!(snapshot.at, END);
    snapshot
        .slos
        .iter()
        .map(|slo| {
            let series = &slo.series[0];
            let hour = series.windows.iter().find(|w| w.window_s == HOUR).and_then(|w| w.error_ratio);
            (slo.slo.service.clone(), (series.window.error_ratio, hour))
        })
        .collect()
}

/// What the usual ways give over 30 days: the mean of 5-minute ratios (Sloth), `increase[30d]` (Pyrra), and minute
/// increments polled each minute.
async fn peers(prometheus: &Prometheus, service: &str) -> [Option<f64>; 3] {
    let of = |code: &str| format!(r#"{REQUESTS}{{service="{service}"{code}}}"#);
    let (bad, all) = (of(r#",code=~"5..""#), of(""));
    let mean = format!("avg_over_time((sum(rate({bad}[5m])) / sum(rate({all}[5m])))[30d:5m])");
    let direct = format!("sum(increase({bad}[30d])) / sum(increase({all}[30d]))");
    let minutes =
        format!("sum(sum_over_time(increase({bad}[1m])[30d:1m])) / sum(sum_over_time(increase({all}[1m])[30d:1m]))");
    let mut found = [None; 3];
    for (place, query) in found.iter_mut().zip([mean, direct, minutes]) {
        *place = prometheus.number(&query, Some(END as f64)).await;
    }
    found
}

fn off(measured: Option<f64>, truth: f64) -> String {
    match measured {
        None => "none".into(),
        Some(ratio) if ratio.is_nan() => "NaN".into(),
        Some(ratio) => format!("{:+.2} %", (ratio / truth - 1.0) * 100.0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_ratios_are_what_really_happened() {
    measure(Generation::Oldest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_ratios_are_what_really_happened_on_the_newest_prometheus() {
    measure(Generation::Newest).await;
}

async fn measure(generation: Generation) {
    let named = scenarios::all(END);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("past.om");
    let scenario = scenarios::joined(scenarios::all(END));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("writable"));
    scenario.write_openmetrics(END - 30 * DAY, END, &mut out).expect("written");
    drop(out);
    let options = PromOptions { generation, past: Some(Past::File(file)), ..PromOptions::default() };
    let prometheus = Prometheus::start(options).await;

    let services = dir.path().join("services");
    std::fs::create_dir(&services).expect("writable");
    let files: Vec<(String, String)> = named.iter().map(rules).collect();
    for (name, text) in &files {
        std::fs::write(services.join(name), text).expect("writable");
    }
    let texts: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();

    let eval = from_eval(&prometheus.url(), &services);
    let daemon = from_daemon(&prometheus.url(), &texts, 20_000).await;
    let summed = from_daemon(&prometheus.url(), &texts, 3).await;
    let mut table = format!(
        "Prometheus {}\n{:<11} {:>9} | {:>9} {:>9} | {:>9} {:>9} | {:>9} | {:>11} {:>9} {:>9}\n",
        generation.version("prometheus"),
        "scenario",
        "truth 30d",
        "eval 30d",
        "eval 1h",
        "daemon",
        "1h",
        "summed 1h",
        "mean of 5m",
        "inc[30d]",
        "inc[1m]"
    );
    let mut wrong = Vec::new();
    for each in &named {
        let truth = |window_s| {
            scenario.truth(each.name, END - window_s, END).and_then(|truth| truth.ratio()).expect("events happened")
        };
        let (month, hour) = (truth(30 * DAY), truth(HOUR));
        let ours = [
            (eval[each.name].0, month),
            (eval[each.name].1, hour),
            (daemon[each.name].0, month),
            (daemon[each.name].1, hour),
            (summed[each.name].1, hour),
        ];
        // A hole in the scrapes is bridged by cursors; the sums of the server have none, which the SLO's note says.
        let judged = if each.name == "hole" { &ours[..4] } else { &ours[..] };
        for &(measured, truth) in judged {
            let fits = measured.is_some_and(|ratio| (ratio / truth - 1.0).abs() <= tolerance(each.name));
            if !fits {
                wrong.push(format!("{}: {measured:?}, truth {truth}", each.name));
            }
        }
        let peers = peers(&prometheus, each.name).await;
        let cells: Vec<String> = ours.iter().map(|&(measured, truth)| off(measured, truth)).collect();
        let others: Vec<String> = peers.iter().map(|&measured| off(measured, month)).collect();
        writeln!(
            table,
            "{:<11} {:>9.6} | {:>9} {:>9} | {:>9} {:>9} | {:>9} | {:>11} {:>9} {:>9}",
            each.name, month, cells[0], cells[1], cells[2], cells[3], cells[4], others[0], others[1], others[2]
        )
        .expect("a String grows");
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{wrong:#?}\n{table}");
}
