//! A backtest is the daemon that lives through the range: on a real Prometheus, alert by alert, polled as it polls and read
//! by the hour; and on a simulated one through what the month of the demo has of incidents. With `SLOWBURN_TEST_FULL=1`
//! through all of that month, in some hours. And its limits, its files of events, its forms.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use slowburn::clock::Clock;
use slowburn::demo::prometheus;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::daemon::{Driven, options};
use crate::fleet;
use crate::presets::slowburn;

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const DAY: i64 = 86_400;

/// (SLO, series, kind) and when it was out.
type Out = BTreeMap<(String, String, String), Vec<(i64, Option<i64>)>>;

async fn lived(url: &str, rules: &[(&'static str, String)], (from, to): (i64, i64)) -> Out {
    let mut daemon = Driven::new(options(url, rules, None));
    daemon.tick(from).await;
    let mut out = Out::new();
    let mut now: BTreeSet<(String, String, String)> = BTreeSet::new();
    for at in (from + 30..=to).step_by(30) {
        let snapshot = daemon.live(at - 30, at).await;
        let sent = snapshot.alerts.iter().filter(|alert| alert.resolved_at.is_none() && alert.is_sendable());
        let next: BTreeSet<_> = sent
            .map(|alert| (alert.slo_id.clone(), alert.series.to_string(), alert.kind.as_str().to_owned()))
            .collect();
        for key in next.difference(&now) {
            out.entry(key.clone()).or_default().push((at, None));
        }
        for key in now.difference(&next) {
            out.get_mut(key).and_then(|all| all.last_mut()).expect("it began").1 = Some(at);
        }
        now = next;
    }
    out
}

fn backtested(url: &str, rules: &str, (from, to): (i64, i64), stretch: &str) -> Out {
    let (from, to) = (from.to_string(), to.to_string());
    let (code, text, err) = slowburn(&[
        "backtest",
        "--prometheus-url",
        url,
        "--rules",
        rules,
        "--from",
        &from,
        "--to",
        &to,
        "--stretch",
        stretch,
        "--format",
        "json",
    ]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {err}"));
    let mut out = Out::new();
    for episode in report["lived"][0]["episodes"].as_array().expect("a list") {
        let labels: slowburn::engine::Labels = episode["series"]
            .as_object()
            .expect("labels")
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let word = |key: &str| episode[key].as_str().expect("a word").to_owned();
        let key = (word("slo"), labels.to_string(), word("kind"));
        out.entry(key).or_default().push((episode["from"].as_i64().expect("a time"), episode["to"].as_i64()));
    }
    out
}

/// The rules of the demo, as files and as texts.
fn rules_of_the_demo() -> (tempfile::TempDir, Vec<(&'static str, String)>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let texts = slowburn::demo::rules();
    for (name, text) in &texts {
        std::fs::write(dir.path().join(name), text).expect("writable");
    }
    let texts = texts.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    (dir, texts)
}

/// Pages and tickets. By the hour it is slices that tell that data are missing, and not samples.
fn of_burns(out: &Out) -> Out {
    out.iter().filter(|of| of.0.2 != "data_missing").map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backtest_is_the_daemon_that_lives_through_the_range() {
    let demo = slowburn::demo::fleet::fleet(1, END - 2 * 3600, 1800);
    let prometheus = fleet::prometheus(&demo.scenario, END - DAY, END).await;
    let (dir, texts) = rules_of_the_demo();
    let range = (END - 3 * 3600, END);
    let lived = lived(&prometheus.url(), &texts, range).await;
    let rules = dir.path().display().to_string();
    let polled = backtested(&prometheus.url(), &rules, range, "30s");
    println!("{} alerts, {} kinds", lived.values().map(Vec::len).sum::<usize>(), lived.len());
    assert!(lived.keys().any(|key| key.2 == "fast_burn"), "the incident of the demo pages: {lived:?}");
    assert_eq!(polled, lived, "polled as the daemon polls");
    let hourly = backtested(&prometheus.url(), &rules, range, "1h");
    assert_eq!(of_burns(&hourly), of_burns(&lived), "read by the hour");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backtest_is_the_daemon_that_lives_through_the_month_of_the_demo() {
    let full = std::env::var_os("SLOWBURN_TEST_FULL").is_some_and(|value| value == "1");
    // As the demo shows it: thirty days of past, and its incident eight minutes later.
    let now = END - 2 * 3600;
    let demo = slowburn::demo::fleet::fleet(42, now, 480);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let clock = Clock::scaled((END + 600) * 1000, 0.0);
    tokio::spawn(prometheus::serve(listener, Arc::new(demo.scenario), clock, stop));
    let (dir, texts) = rules_of_the_demo();
    let rules = dir.path().display().to_string();
    let ranges = match full {
        true => vec![(now - 29 * DAY, END)],
        // The night of the feature store, the hours after the wait of the GPU queue, and the incident with the leak before it.
        false => vec![
            (now - 9 * DAY - 300, now - 9 * DAY + 2100),
            (now - 3 * DAY + 4500, now - 3 * DAY + 6300),
            (now - 300, now + 4800),
        ],
    };
    let mut kinds = BTreeSet::new();
    for range in ranges {
        let began = std::time::Instant::now();
        let lived = lived(&url, &texts, range).await;
        let took = began.elapsed();
        let hourly = backtested(&url, &rules, range, "1h");
        let alerts = lived.values().map(Vec::len).sum::<usize>();
        println!("{:?}: {alerts} alerts; lived in {took:.0?}, tested in {:.0?}", range, began.elapsed() - took);
        assert_eq!(of_burns(&hourly), of_burns(&lived), "{range:?}, read by the hour");
        kinds.extend(lived.into_keys().map(|(slo, _, kind)| (slo, kind)));
    }
    println!("{kinds:?}");
    let is = |slo: &str, kind: &str| kinds.contains(&(slo.to_owned(), kind.to_owned()));
    assert!(is("checkout-availability", "fast_burn"), "the incident: {kinds:?}");
    assert!(kinds.iter().any(|(_, kind)| kind == "slow_burn"), "a ticket: {kinds:?}");
}

/// Ten requests a minute for half a day, and an outage of half an hour.
fn events(dir: &std::path::Path) -> (String, i64) {
    let (start, outage) = (1_790_000_010, 1_790_000_010 + 21_600);
    let row = |slice: i64| {
        let at = start + slice * 30;
        let bad = if (outage..outage + 1800).contains(&at) { 5 } else { 0 };
        format!("{at},5,{bad}\n")
    };
    let path = dir.join("events.csv");
    std::fs::write(&path, format!("time,total,bad\n{}", (0..1440).map(row).collect::<String>())).expect("writable");
    (path.display().to_string(), outage)
}

#[test]
fn events_of_a_file_are_lived_through_beside_peers_and_held_to_limits() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (events, outage) = events(dir.path());
    let labels = dir.path().join("labels.csv");
    std::fs::write(&labels, format!("start,end\n{outage},{}\n", outage + 1800)).expect("writable");
    let labels = labels.display().to_string();
    let run = |more: &[&str]| {
        let all = ["backtest", "--events", &events, "--labels", &labels, "--policy", "rules", "--policy", "workbook"];
        slowburn(&[&all[..], more].concat())
    };
    let (code, text, err) = run(&["--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    for lived in report["lived"].as_array().expect("a list") {
        assert_eq!((&lived["pages"], &lived["truth"]["found"]), (&1.into(), &1.into()), "{lived}");
        assert_eq!(lived["truth"]["false_pages"], 0);
    }
    let episodes = report["lived"][0]["episodes"].as_array().expect("a list");
    let page = episodes.iter().find(|episode| episode["kind"] == "fast_burn").expect("a page");
    assert_eq!(page["from"].as_i64().expect("a time") - outage, 60, "{page}");
    let length = page["to"].as_i64().expect("it ends") - outage - 1800;
    assert!((600..=1200).contains(&length), "over {length} s after the outage");
    assert_eq!(run(&["--max-pages", "0"]).0, 1);
    let at = |s: i64| format!("slo=events-availability@{}", outage + s);
    assert_eq!(run(&["--max-pages", "1", "--must-page", &at(600)]).0, 0);
    let (code, _, err) = run(&["--must-page", &at(-600)]);
    assert!(code == 1 && err.contains("no page was out"), "{err}");
    assert!(run(&["--format", "markdown"]).1.contains("| workbook | 1 |"));
    let svg = run(&["--format", "svg"]).1;
    assert!(svg.starts_with("<svg") && svg.matches("#c0392b").count() == 2, "{svg}");
    assert_eq!(run(&["--must-page", "noon"]).0, 2);
}

/// What is held is the ledger and one stretch, whatever the range.
#[test]
fn a_longer_range_takes_no_more_memory() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let held = |days: i64| {
        let path = dir.path().join(format!("{days}.csv"));
        let row = |hour: i64| format!("{},600,{}\n", 1_790_000_010 + hour * 3600, hour % 7 % 2);
        std::fs::write(&path, (0..days * 24).map(row).collect::<String>()).expect("writable");
        let all = ["backtest", "--window", "3d", "--format", "json", "--events", &path.display().to_string()];
        let (code, text, err) = slowburn(&all);
        assert_eq!(code, 0, "{err}");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        report["held_bytes"].as_u64().expect("a count of bytes")
    };
    let (short, long) = (held(7), held(11));
    println!("{short} bytes over 7 days, {long} over 11");
    // The ring of hours is full after 6.7 days.
    assert!(long <= short && short < 48 * 1024, "{short} over 7 days, {long} over 11");
}

#[test]
fn a_file_that_is_wrong_says_where() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("events.csv");
    for (text, wanted) in [
        ("", "no events"),
        ("10,1\n", ":1: three values"),
        ("10,1,0\n40,x,0\n", ":2: \"x\" is no count"),
        ("10,1,2\n", "more are bad than there are"),
        ("40,1,0\n10,1,0\n", "sort the lines"),
    ] {
        std::fs::write(&path, text).expect("writable");
        let (code, _, err) = slowburn(&["backtest", "--events", &path.display().to_string()]);
        assert!(code == 2 && err.contains(wanted), "{text:?}: {code} {err}");
    }
}
