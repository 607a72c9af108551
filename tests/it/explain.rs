//! What a count is made of, down to each sample, on the oldest and the newest Prometheus: what is listed adds up to what
//! `eval` and a daemon hold, and nothing but a named fault lies between.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use slowburn::app;
use slowburn::clock::Clock;
use slowburn::demo::scenarios::counts::{self, Case};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::daemon::options;
use crate::harness::parts::{Generation, eventually, http};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

const END: i64 = 1_790_000_100;
const HOUR: i64 = 3600;

/// Births, falls, holes, another name, and a histogram.
const CASES: [&str; 7] =
    ["label-added", "late-class", "crash-60s", "half-lost", "restart-in-hole", "startup-errors", "buckets-apart"];

fn cases() -> Vec<Case> {
    counts::all(END).into_iter().filter(|case| CASES.contains(&case.name)).collect()
}

fn rules(case: &Case) -> (String, String) {
    let (name, slo) = (case.name, case.source.slo());
    (format!("{name}.yaml"), format!("name: {name}\nowner: team\nslo:\n  {slo}\n"))
}

fn slowburn(url: &str, rules: &Path, args: &[&str]) -> (Value, Option<i32>) {
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(args)
        .args(["--prometheus-url", url, "--format", "json", "--at", &END.to_string(), "--rules"])
        .arg(rules)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&out.stderr);
    (serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {said}")), out.status.code())
}

/// `(total, bad)` of the increments that are listed, added up by hand: by what each series counts as.
fn added_up(account: &Value) -> (f64, f64) {
    let (mut total, mut bad) = (0.0, 0.0);
    for series in account["series"].as_array().expect("series") {
        let roles: Vec<&str> =
            series["counts_as"].as_array().expect("roles").iter().filter_map(Value::as_str).collect();
        for change in series["changes"].as_array().expect("changes") {
            let events = change["events"].as_f64().expect("a number");
            total += if roles.contains(&"total") { events } else { 0.0 };
            bad += if roles.contains(&"bad") { events } else { 0.0 };
            if let Some(good) = change["good"].as_f64() {
                bad += events - good;
            }
        }
    }
    (total, bad)
}

/// Counts of an hour by service, as `eval` has them.
fn evaluated(url: &str, rules: &Path) -> BTreeMap<String, (u64, u64)> {
    let (slos, _) = slowburn(url, rules, &["eval"]);
    let hour = |slo: &Value| {
        let windows = slo["series"][0]["windows"].as_array().expect("windows").clone();
        let window = windows.into_iter().find(|window| window["window_s"] == HOUR).expect("an hour");
        let number = |key: &str| window[key].as_u64().expect("a count");
        (slo["service"].as_str().expect("a service").to_owned(), (number("total"), number("bad")))
    };
    slos.as_array().expect("SLOs").iter().map(hour).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_adds_up_to_what_is_counted() {
    for generation in Generation::ENDS {
        let cases = cases();
        assert!(cases.len() >= 6, "cases were renamed: {:?}", cases.iter().map(|case| case.name).collect::<Vec<_>>());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("past.om");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("writable"));
        counts::joined(&cases).write_openmetrics(END - counts::HOURS * HOUR, END, &mut out).expect("written");
        drop(out);
        let past = Some(Past::File(file));
        let prometheus = Prometheus::start(PromOptions { generation, past, ..PromOptions::default() }).await;
        let services = dir.path().join("services");
        std::fs::create_dir(&services).expect("writable");
        for (name, text) in cases.iter().map(rules) {
            std::fs::write(services.join(name), text).expect("writable");
        }
        let url = prometheus.url();
        let counted = evaluated(&url, &services);
        let mut seen: BTreeMap<String, f64> = BTreeMap::new();
        for (service, (total, bad)) in &counted {
            let id = match service.as_str() {
                "buckets-apart" => format!("{service}-latency-p95"),
                _ => format!("{service}-availability"),
            };
            let (account, code) = slowburn(&url, &services, &["explain", &id, "--window", "1h"]);
            let (own_total, own_bad) = added_up(&account);
            println!("{generation:?} {id}: counted {total} / {bad}, listed {own_total} / {own_bad}");
            assert_eq!(
                (account["counts"]["total"].as_u64(), account["counts"]["bad"].as_u64()),
                (Some(*total), Some(*bad))
            );
            assert_eq!(own_total, *total as f64, "{id}: {account:#}");
            let differing = account["differing"].as_array().expect("a list");
            if service == "buckets-apart" {
                // What a bucket that was read late made bad is taken back, and each such slice is named.
                assert!(own_bad == *bad as f64 || !differing.is_empty(), "{id}");
            } else {
                assert_eq!(own_bad, *bad as f64, "{id}: {account:#}");
                assert_eq!((differing.len(), code), (0, Some(0)), "{id}");
            }
            assert_eq!((&account["changes_left_out"], &account["series_left_out"]), (&0.into(), &0.into()));
            for reason in account["reasons"].as_array().expect("reasons") {
                *seen.entry(reason["why"].as_str().expect("a word").into()).or_default() +=
                    reason["events"].as_f64().expect("a number");
            }
        }
        println!("{generation:?} {seen:?}");
        // The error series of this one appeared 70 minutes before the end.
        let (births, code) = slowburn(&url, &services, &["explain", "late-class-availability", "--window", "2h"]);
        let (total, bad) = added_up(&births);
        assert_eq!((Some(total), Some(bad)), (births["counts"]["total"].as_f64(), births["counts"]["bad"].as_f64()));
        assert_eq!((bad >= 20.0, births["differing"].as_array().map(Vec::len), code), (true, Some(0), Some(0)));
        // New, or back after a restart of its process: both count all it holds.
        let begun = |of: &&Value| of["why"] == "born" || of["why"] == "shown_after_restart";
        let begun = births["reasons"].as_array().expect("reasons").iter().filter(begun);
        let born: f64 = begun.filter_map(|of| of["events"].as_f64()).sum();
        assert!(born >= 20.0, "{generation:?}: {:#}", births["reasons"]);
        println!("{generation:?} late-class, 2h: {bad} bad, {born} events by births");
        for reason in ["rose", "bridged", "process_began", "young_target"] {
            assert!(seen.get(reason).is_some_and(|events| *events > 0.0), "{generation:?} {reason}: {seen:?}");
        }
        by_the_api(&url, &cases).await;
    }
}

/// The same by the API of a daemon, beside what its own ledger holds.
async fn by_the_api(url: &str, cases: &[Case]) {
    let files: Vec<(String, String)> = cases.iter().map(rules).collect();
    let texts: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut options = options(url, &texts, None);
    options.clock = Clock::scaled((END + 1) * 1000, 0.0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    let running = tokio::spawn(app::run(options, listener, stop.clone(), |_| {}));
    let at = |path: &str| format!("http://{address}{path}");
    eventually("a first evaluation", Duration::from_secs(60), || async {
        let slos = http().get(at("/v1/slos/late-class-availability")).send().await.ok()?;
        let slo: Value = slos.json().await.ok()?;
        (slo["series"][0]["at"].as_i64()? == END).then_some(())
    })
    .await;
    for name in ["late-class", "crash-60s", "label-added"] {
        let path = format!("/v1/slos/{name}-availability/explain?window=1h");
        let account: Value = http().get(at(&path)).send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(account["counts"], account["ledger"], "{name}: {account:#}");
        let (total, bad) = added_up(&account);
        assert_eq!((Some(total), Some(bad)), (account["ledger"]["total"].as_f64(), account["ledger"]["bad"].as_f64()));
        assert!(total > 1000.0, "{name}: {total}");
    }
    for (path, status) in [
        ("/v1/slos/none-such/explain", 404),
        ("/v1/slos/late-class-availability/explain?window=7h", 400),
        ("/v1/slos/late-class-availability/explain?window=x", 400),
        ("/v1/slos/late-class-availability/explain?at=soon", 400),
        ("/v1/slos/late-class-availability/explain?at=9790000100", 400),
        ("/v1/slos/late-class-availability/explain?since=1h", 400),
    ] {
        assert_eq!(http().get(at(path)).send().await.expect("an answer").status(), status, "{path}");
    }
    stop.cancel();
    running.await.expect("it ends").expect("it started");
}
