//! A calendar month and an excluded incident on a real Prometheus: through `eval --at`, and in a daemon that is
//! reloaded and restarted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use slowburn::demo::Scenario;
use slowburn::demo::count::{Count, Shape, Timeline, Traffic};
use slowburn::demo::scenario::Pod;
use slowburn::engine::Snapshot;
use slowburn::spec;
use slowburn::web::Reload;
use slowburn::web::view::SloView;
use tokio::sync::oneshot;

use crate::daemon::{Driven, options};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// 2026-10-28T10:20:30Z: on the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_793_182_830;
/// 2026-09-30T22:00:00Z: October begins in Paris.
const MONTH: i64 = 1_790_805_600;
/// 2026-11-01T00:00:00+01:00: clocks are set back before it ends.
const NEXT_MONTH: i64 = 1_793_487_600;
/// 2026-10-10T09:37:00Z, for 34 minutes: two weeks old, so only the hour is still known of it.
const INCIDENT: (i64, i64) = (1_791_625_020, 1_791_627_060);
const HOURS_OF_IT: (i64, i64) = (1_791_622_800, 1_791_630_000);

const SERVICE: &str = "name: pay
owner: team-pay
slo:
  availability:
    objective: 99.9
    windows: [{calendar: month, time_zone: Europe/Paris}, 30d]
    sli: {total: 'requests_total', bad: 'requests_total{code=\"500\"}'}
";

/// With a minute at both ends: what a scrape saw late is booked late.
const EXCLUSIONS: &str = "exclusions:
  - name: the-provider
    from: 2026-10-10 11:36
    to: 2026-10-10 12:12
    time_zone: Europe/Paris
    services: [pay]
    author: alice
    reason: INC-7, agreed
";

fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    let start = END - 32 * DAY;
    let pod = scenario.pod(Pod::new("api", "pay:8080", 7_300, start - DAY));
    let origin = (start - 10 * DAY).div_euclid(DAY) * DAY;
    let total = Count::of(Traffic { rate: 4.0, shape: Shape::Flat, wobble: None, origin });
    let bad = total.part(&Timeline::new(0.0004).during(INCIDENT.0, INCIDENT.1, 0.8));
    scenario.counter(pod, "requests_total", &[("code", "200")], &total.without(&bad));
    scenario.counter(pod, "requests_total", &[("code", "500")], &bad);
    scenario.truth_of("pay", pod, &total, &bad);
    scenario
}

fn truth(scenario: &Scenario, from: i64, to: i64) -> (f64, f64) {
    let truth = scenario.truth("pay", from, to).expect("it has a truth");
    (truth.total as f64, truth.bad as f64)
}

/// Within what one scrape may book late at an edge.
fn about(measured: &Value, truth: f64) {
    let measured = measured.as_f64().unwrap_or(f64::NAN);
    assert!((measured - truth).abs() <= 130.0_f64.max(truth * 1e-4), "{measured}, in truth {truth}");
}

fn eval(url: &str, rules: &Path, format: &str) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["eval", "--prometheus-url", url, "--format", format, "--at", "2026-10-28T10:20:30Z", "--rules"])
        .arg(rules)
        .output()
        .expect("the binary runs");
    assert!(!out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn series_of(text: &str) -> Value {
    let slos: Vec<Value> = serde_json::from_str(text).expect("JSON");
    slos[0]["series"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_in_paris_with_and_without_an_excluded_incident() {
    let scenario = scenario();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("past.om");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("writable"));
    scenario.write_openmetrics(END - 32 * DAY, END, &mut out).expect("written");
    drop(out);
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::File(file)), ..PromOptions::default() }).await;
    let rules = dir.path().join("rules");
    std::fs::create_dir(&rules).expect("writable");
    std::fs::write(rules.join("pay.yaml"), SERVICE).expect("writable");

    // The month as it was: one incident spent more than all of its budget.
    let plain = series_of(&eval(&prometheus.url(), &rules, "json"));
    let month = &plain["budgets"][0];
    assert_eq!(
        (&month["name"], &month["from"], &month["resets_at"]),
        (&"month".into(), &MONTH.into(), &NEXT_MONTH.into())
    );
    let (total, bad) = truth(&scenario, MONTH, END);
    about(&month["total"], total);
    about(&month["bad"], bad);
    // 745 hours of this traffic are the whole.
    let whole = truth(&scenario, END - 745 * HOUR, END).0;
    let left = 1.0 - bad / (0.001 * whole);
    assert!((month["budget_remaining"].as_f64().expect("known") - left).abs() < 0.02, "{month} {left}");
    assert_eq!(plain["budgets"][1]["name"], "30d");
    about(&plain["budgets"][1]["bad"], truth(&scenario, END - 30 * DAY, END).1);
    assert_eq!((&plain["state"], &month["counting_all"]), (&"exhausted".into(), &Value::Null));

    // Without the incident: its hours are out, and what they held is said beside it.
    std::fs::write(rules.join("exclusions.yaml"), EXCLUSIONS).expect("writable");
    let kept = series_of(&eval(&prometheus.url(), &rules, "json"));
    let (out_total, out_bad) = truth(&scenario, HOURS_OF_IT.0, HOURS_OF_IT.1);
    for (place, from) in [(0, MONTH), (1, END - 30 * DAY)] {
        let (total, bad) = truth(&scenario, from, END);
        let budget = &kept["budgets"][place];
        about(&budget["total"], total - out_total);
        about(&budget["bad"], bad - out_bad);
        assert_eq!(budget["counting_all"]["bad"], plain["budgets"][place]["bad"], "nothing is lost");
        assert_eq!(budget["counting_all"]["budget_remaining"], plain["budgets"][place]["budget_remaining"]);
        assert_eq!(budget["counting_all"]["excluded_s"], 2 * HOUR, "in the steps in which it is still known");
    }
    assert_eq!(kept["state"], "ok");
    let text = eval(&prometheus.url(), &rules, "text");
    assert!(text.contains("month, all counted") && text.contains("2h excluded"), "{text}");
    println!("{text}");

    // The same in a daemon, whose rules come and go.
    let files = Arc::new(Mutex::new(vec![("pay.yaml", SERVICE)]));
    let driven = |data: PathBuf| {
        let mut options = options(&prometheus.url(), &[], Some(data));
        let files = Arc::clone(&files);
        options.rules = Arc::new(move || {
            spec::load_texts(&files.lock().expect("nobody panics with it"), &spec::Options::default())
        });
        Driven::new(options)
    };
    let mut daemon = driven(dir.path().join("state"));
    daemon.tick(END - 120).await;
    daemon.tick(END - 90).await;
    let before = daemon.tick(END - 60).await;
    assert_eq!(budget(&before, 0)["counting_all"], Value::Null);
    files.lock().expect("nobody panics with it").push(("exclusions.yaml", EXCLUSIONS));
    reload(&mut daemon).await;
    let excluded = daemon.tick(END - 30).await;
    assert_eq!(budget(&excluded, 0)["counting_all"]["excluded_s"], 2 * HOUR);
    about(&budget(&excluded, 0)["bad"], truth(&scenario, MONTH, END - 30).1 - out_bad);
    files.lock().expect("nobody panics with it").pop();
    reload(&mut daemon).await;
    let back = daemon.tick(END).await;
    assert_eq!(budget(&back, 0)["counting_all"], Value::Null);
    about(&budget(&back, 0)["bad"], truth(&scenario, MONTH, END).1);

    // A restart says the same, and an exclusion that comes then finds all that it leaves out.
    drop(daemon);
    files.lock().expect("nobody panics with it").push(("exclusions.yaml", EXCLUSIONS));
    let mut restarted = driven(dir.path().join("state"));
    let again = restarted.tick(END).await;
    for place in [0, 1] {
        assert_eq!(budget(&again, place)["counting_all"]["bad"], budget(&back, place)["bad"]);
        about(&budget(&again, place)["bad"], kept["budgets"][place]["bad"].as_f64().expect("a number"));
    }
}

fn budget(snapshot: &Snapshot, place: usize) -> Value {
    let view = serde_json::to_value(SloView::of(&snapshot.slos[0])).expect("JSON");
    view["series"][0]["budgets"][place].clone()
}

async fn reload(driven: &mut Driven) {
    let (answer, answered) = oneshot::channel();
    driven.daemon.reload(Reload { answer, by: "test".into() });
    answered.await.expect("an answer").expect("the rules are right");
}
