//! VictoriaMetrics as the source: the same scenarios with known truth as on a Prometheus, and what is different there.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use slowburn::clock::Clock;
use slowburn::demo::scenarios::{self, Named, REQUESTS};

use crate::daemon::{Driven, options};
use crate::harness::victoria::VictoriaMetrics;

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
const DAYS: i64 = 2;
const DAY: i64 = 86_400;

/// Of the eleven scenarios those in which the two servers differ by what they do with restarts, holes, series that are
/// born, and steps that fall between windows; and one without any of it.
const SCENARIOS: [&str; 6] = ["flat", "restarts", "crash-loop", "hole", "born", "cron-0"];

fn rules(named: &Named) -> (String, String) {
    let service = named.name;
    let text = format!(
        "name: {service}\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    sli:\n      \
         total: '{REQUESTS}{{service=\"{service}\"}}'\n      bad: '{REQUESTS}{{service=\"{service}\",code=~\"5..\"}}'\n"
    );
    (format!("{service}.yaml"), text)
}

/// How far a ratio may be from what happened; what a process counted after its last scrape is gone for everybody.
fn tolerance(name: &str) -> f64 {
    match name {
        "restarts" => 0.02,
        "crash-loop" => 0.11,
        _ => 0.002,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_ratios_are_what_really_happened() {
    let named: Vec<Named> = scenarios::all(END).into_iter().filter(|n| SCENARIOS.contains(&n.name)).collect();
    assert_eq!(named.len(), SCENARIOS.len());
    let all = scenarios::all(END).into_iter().filter(|n| SCENARIOS.contains(&n.name)).collect();
    let scenario = scenarios::joined(all);
    let mut past = Vec::new();
    scenario.write_openmetrics(END - DAYS * DAY, END, &mut past).expect("memory can be written");
    let victoria = VictoriaMetrics::start().await;
    victoria.import(std::str::from_utf8(&past).expect("text")).await;

    let dir = tempfile::tempdir().expect("a temporary folder");
    let files: Vec<(String, String)> = named.iter().map(rules).collect();
    for (name, text) in &files {
        std::fs::write(dir.path().join(name), text).expect("writable");
    }
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", &victoria.url(), "--format", "json", "--at", &END.to_string(), "--rules"])
        .arg(dir.path())
        .output()
        .expect("the binary runs");
    let slos: Vec<Value> = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out.stderr)));
    let mut found: BTreeMap<&str, Vec<(&str, i64, f64)>> = BTreeMap::new();
    for slo in &slos {
        let series = &slo["series"][0];
        let windows = series["windows"].as_array().expect("windows").iter().chain([&series["window"]]);
        let service = slo["service"].as_str().expect("a service");
        for window in windows.filter(|w| [HOUR, 30 * DAY].contains(&w["window_s"].as_i64().unwrap_or(0))) {
            let ratio = window["error_ratio"].as_f64().expect("events happened");
            found.entry(service).or_default().push(("eval", window["window_s"].as_i64().expect("seconds"), ratio));
        }
    }
    // A daemon that lived through the last three hours, raw and with sums of the server.
    let texts: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    for (how, raw_series_max) in [("daemon", 20_000), ("summed", 3)] {
        let mut options = options(&victoria.url(), &texts, None);
        options.source.raw_series_max = raw_series_max;
        let mut driven = Driven::new(options);
        let start = END - 3 * HOUR;
        driven.tick(start).await;
        let snapshot = driven.live(start, END).await;
        for slo in &snapshot.slos {
            let hour = slo.series[0].windows.iter().find(|w| w.window_s == HOUR).and_then(|w| w.error_ratio);
            let name = named.iter().find(|n| n.name == slo.slo.service).expect("ours").name;
            found.get_mut(name).expect("ours").push((how, HOUR, hour.expect("events happened")));
        }
    }
    let (mut wrong, mut table) = (Vec::new(), String::new());
    for each in &named {
        for &(how, window_s, ratio) in &found[each.name] {
            let from = END - window_s.min(DAYS * DAY);
            let truth = scenario.truth(each.name, from, END).and_then(|truth| truth.ratio()).expect("events happened");
            let off = ratio / truth - 1.0;
            table += &format!("{:<11} {how:<7} {:>4} h {:+.3} %\n", each.name, window_s / HOUR, off * 100.0);
            // A hole in the scrapes is bridged by cursors; the sums of the server have none, which the SLO's note says.
            let bridged = how != "summed" || each.name != "hole";
            if bridged && off.abs() > tolerance(each.name) {
                wrong.push(format!("{} {how} {window_s}: {ratio}, truth {truth}", each.name));
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{wrong:#?}\n{table}");
}

/// VictoriaMetrics hides what is younger than 30 s from most queries and says so nowhere. Raw samples are not hidden, and
/// range queries are told not to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_just_written_is_seen_at_the_next_poll() {
    let victoria = VictoriaMetrics::start().await;
    let rules = "name: a\nowner: t\nslo:\n  availability:\n    objective: 99\n    \
                 sli: {total: 'r_total', bad: 'r_total{code=\"500\"}'}\n  feature_freshness_max_delay_s:\n    \
                 {max: 60, sli: {gauge: 'age_seconds'}}\n";
    let now = Clock::wall().now().div_euclid(30) * 30;
    let mut past = String::new();
    for at in (now - 300..=now).step_by(15) {
        let n = (at - now + 300) / 15;
        past += &format!("r_total{{job=\"j\",instance=\"i\",code=\"200\"}} {} {at}.000\n", 90 * n);
        past += &format!("r_total{{job=\"j\",instance=\"i\",code=\"500\"}} {} {at}.000\n", 10 * n);
        past += &format!("age_seconds{{job=\"j\",instance=\"i\"}} 20 {at}.000\n");
    }
    victoria.import(&past).await;
    let mut options = options(&victoria.url(), &[("a.yaml", rules.to_owned())], None);
    options.backfill = false;
    let mut driven = Driven::new(options);
    let snapshot = driven.live(now - 90, now).await;
    for slo in &snapshot.slos {
        let series = &slo.series[0];
        assert_eq!(series.data.state.as_str(), "fresh", "{}: {:?}", slo.slo.id, series.data);
        let newest = series.data.newest.expect("samples");
        assert!(newest >= now - 30, "{}: the newest is {} s old", slo.slo.id, now - newest);
    }
    let of = |id: &str| snapshot.slo(id).expect("the SLO").series[0].window;
    let counted = of("a-availability");
    assert!(counted.total >= 400 && counted.bad * 10 == counted.total, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_it_refuses_is_said_with_its_own_words() {
    let victoria = VictoriaMetrics::start().await;
    let rules = "name: a\nowner: t\nslo:\n  feature_freshness_max_delay_s:\n    \
                 {max: 60, sli: {gauge: 'max by (job) (age_seconds) / on () group_left () sgn(age_seconds, 2)'}}\n";
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("a.yaml"), rules).expect("writable");
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", &victoria.url(), "--rules"])
        .arg(dir.path())
        .output()
        .expect("the binary runs");
    let says = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(!out.status.success() && !says.contains("panicked"), "{says}");
}
