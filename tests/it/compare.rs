//! `slowburn compare` on a real Prometheus whose past holds what rules of Sloth's and Pyrra's shape recorded: it finds
//! the differences that are there, names their causes by measured shares, and finds none where there is none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use slowburn::demo::count::{Count, DAY, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Pod, Scenario};
use slowburn::demo::scenarios::{self, REQUESTS};

use crate::fleet;
use crate::harness::fault_proxy::{Fault, FaultProxy};

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const SLOWBURN: &str = env!("CARGO_BIN_EXE_slowburn");

/// Four pods of even traffic whose only errors, one minute of them, are the birth of their series.
fn birth() -> Scenario {
    let mut scenario = Scenario::new();
    let start = END - 30 * DAY;
    let from = END - 5 * DAY;
    for pod in 0..4 {
        let at = scenario.pod(Pod::new("api", &format!("birth-{pod}:80"), 5_000 + 6_000 * pod, start - 3 * DAY));
        let origin = (start - 10 * DAY).div_euclid(DAY) * DAY;
        let total = Count::of(Traffic { rate: 3.0, shape: Shape::Flat, wobble: None, origin });
        let bad = total.part(&Timeline::new(0.0).during(from, from + 60, 1.0));
        scenario.counter(at, REQUESTS, &[("service", "birth"), ("code", "200")], &total.without(&bad));
        scenario.born_counter(at, REQUESTS, &[("service", "birth"), ("code", "500")], &bad);
        scenario.truth_of("birth", at, &total, &bad);
    }
    scenario
}

fn bad(service: &str) -> String {
    format!("{REQUESTS}{{service=\"{service}\",code=~\"5..\"}}")
}

fn all(service: &str) -> String {
    format!("{REQUESTS}{{service=\"{service}\"}}")
}

/// An SLO of Sloth's: its name, its service, and what its queries ask.
struct Sloth {
    service: &'static str,
    slo: &'static str,
    error: String,
    total: String,
}

fn sloths() -> Vec<Sloth> {
    let of = |service: &'static str| Sloth {
        service,
        slo: "availability",
        error: format!("sum(rate({}[W]))", bad(service)),
        total: format!("sum(rate({}[W]))", all(service)),
    };
    let guarded = Sloth { error: format!("(sum(rate({}[W])) or vector(0))", bad("birth")), ..of("birth") };
    let bare = Sloth { slo: "bare", ..of("birth") };
    vec![of("flat"), of("night"), of("peak"), of("idle"), of("hole"), guarded, bare]
}

/// What Sloth would be given.
fn sloth_file(of: &Sloth) -> String {
    let [error, total] = [&of.error, &of.total].map(|query| query.replace("[W]", "[{{.window}}]"));
    format!(
        "version: prometheus/v1\nservice: {}\nlabels: {{owner: team}}\nslos:\n  - name: {}\n    objective: 99.9\n    sli:\n      \
         events:\n        error_query: {error}\n        total_query: {total}\n",
        of.service, of.slo
    )
}

/// The rules it would write, in the order they have to be evaluated.
fn sloth_rules(all: &[Sloth]) -> [String; 4] {
    let mut steps = ["", "", "", ""].map(|_| String::from("groups:\n"));
    for of in all {
        let id = format!("{}-{}", of.service, of.slo);
        let names = format!("sloth_id: {id}, sloth_service: {}, sloth_slo: {}", of.service, of.slo);
        let own = format!("{{sloth_id=\"{id}\", sloth_service=\"{}\", sloth_slo=\"{}\"}}", of.service, of.slo);
        let five = format!("({}) / ({})", of.error.replace("[W]", "[5m]"), of.total.replace("[W]", "[5m]"));
        let ratio = format!("slo:sli_error:ratio_rate5m{own}");
        let mean = format!("sum_over_time({ratio}[30d]) / ignoring (sloth_window) count_over_time({ratio}[30d])");
        let burn = format!(
            "slo:sli_error:ratio_rate30d{own} / on(sloth_id, sloth_slo, sloth_service) group_left slo:error_budget:ratio{own}"
        );
        let rules = [
            vec![("slo:sli_error:ratio_rate5m", five, ", sloth_window: 5m")],
            vec![
                ("slo:sli_error:ratio_rate30d", mean, ", sloth_window: 30d"),
                ("slo:objective:ratio", "vector(0.999)".into(), ""),
                ("slo:error_budget:ratio", "vector(1-0.999)".into(), ""),
                ("slo:time_period:days", "vector(30)".into(), ""),
            ],
            vec![("slo:period_burn_rate:ratio", burn, "")],
            vec![("slo:period_error_budget_remaining:ratio", format!("1 - slo:period_burn_rate:ratio{own}"), "")],
        ];
        for (text, rules) in steps.iter_mut().zip(rules) {
            writeln!(text, "- name: {id}\n  interval: 2m\n  rules:").expect("a String grows");
            for (record, expr, more) in rules {
                writeln!(text, "  - {{record: '{record}', expr: '{expr}', labels: {{{names}{more}}}}}").expect("grows");
            }
        }
    }
    steps
}

const PYRRA: [&str; 2] = ["flat", "birth"];

fn pyrra_file(service: &str) -> String {
    format!(
        "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {{name: {service}-errors, labels: \
         {{pyrra.dev/owner: team, pyrra.dev/service: {service}}}}}\nspec:\n  target: \"99.9\"\n  window: 30d\n  indicator:\n    \
         ratio:\n      errors: {{metric: '{}'}}\n      total: {{metric: '{}'}}\n",
        bad(service),
        all(service)
    )
}

fn pyrra_rules() -> String {
    let mut text = String::from("groups:\n");
    for service in PYRRA {
        let labels = format!("slo: {service}-errors, service: {service}");
        let burn = format!("sum(rate({}[5m])) / sum(rate({}[5m]))", bad(service), all(service));
        writeln!(
            text,
            "- name: {service}\n  interval: 30s\n  rules:\n  - {{record: 'http_requests:increase30d', expr: 'sum by \
             (code) (increase({}[30d]))', labels: {{{labels}}}}}\n  - {{record: 'http_requests:burnrate5m', expr: '{burn}', \
             labels: {{{labels}}}}}",
            all(service)
        )
        .expect("a String grows");
    }
    text
}

const SECONDS: &str = "http_request_duration_seconds";

/// A latency of Pyrra's, with a grouping.
fn latency_file() -> String {
    format!(
        "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {{name: pay-latency, labels: \
         {{pyrra.dev/owner: team, pyrra.dev/service: pay}}}}\nspec:\n  target: \"95\"\n  window: 30d\n  indicator:\n    \
         latency:\n      success: {{metric: '{SECONDS}_bucket{{service=\"pay\",le=\"0.1\"}}'}}\n      \
         total: {{metric: '{SECONDS}_count{{service=\"pay\"}}'}}\n      grouping: [instance]\n"
    )
}

fn latency_rules() -> String {
    let of = |metric: &str, more: &str, labels: &str| {
        format!(
            "  - {{record: '{SECONDS}:increase30d', expr: 'sum by (instance) (increase({SECONDS}_{metric}{{service=\"pay\"{more}}}\
             [30d]))', labels: {{slo: pay-latency, service: pay{labels}}}}}\n"
        )
    };
    let (count, bucket) = (of("count", "", ""), of("bucket", ",le=\"0.1\"", ", le: \"0.1\""));
    format!("groups:\n- name: pay-latency-increase\n  interval: 30s\n  rules:\n{count}{bucket}")
}

struct Compared {
    code: Option<i32>,
    rows: BTreeMap<String, Value>,
}

/// Both forms; the text is shown when the test fails.
fn compare(url: &str, rules: &std::path::Path) -> Compared {
    let run = |format: &str| {
        Command::new(SLOWBURN)
            .args(["compare", "--format", format, "--at", &END.to_string(), "--prometheus-url", url, "--rules"])
            .arg(rules)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts")
    };
    let output = run("json");
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    println!("{}", String::from_utf8_lossy(&run("text").stdout));
    let rows = answer["slos"].as_array().expect("rows").iter();
    let rows = rows.map(|row| (row["id"].as_str().expect("an id").to_owned(), row.clone())).collect();
    Compared { code: output.status.code(), rows }
}

fn of_cause(row: &Value, cause: &str, key: &str) -> f64 {
    let causes = row["causes"].as_array().expect("causes");
    causes.iter().find(|own| own["cause"] == cause).and_then(|own| own[key].as_f64()).unwrap_or(0.0)
}

fn share(row: &Value, cause: &str) -> f64 {
    of_cause(row, cause, "share")
}

fn amount(row: &Value, cause: &str) -> f64 {
    of_cause(row, cause, "amount")
}

fn figure(row: &Value, name: &str, key: &str) -> f64 {
    let figures = row["figures"].as_array().expect("figures").iter();
    let of = figures.into_iter().find(|figure| figure["name"] == name).expect("the figure");
    of[key].as_f64().unwrap_or_else(|| panic!("{name} {key}: {row:#}"))
}

/// The largest cause, and that everything adds up.
fn main_cause(row: &Value) -> &str {
    let causes = row["causes"].as_array().expect("causes");
    let amounts: f64 = causes.iter().filter_map(|own| own["amount"].as_f64()).sum();
    let rest = row["unexplained"].as_f64().expect("a rest");
    let difference = figure(row, "error_ratio", "difference");
    assert!((amounts + rest - difference).abs() < 1e-12, "{row:#}");
    causes.first().and_then(|own| own["cause"].as_str()).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sloth_and_pyrra_recorded_is_explained() {
    let mut scenario = birth();
    for named in [scenarios::flat, scenarios::night, scenarios::peak, scenarios::idle, scenarios::hole] {
        scenario.join(named(END).scenario);
    }
    let mut prometheus = fleet::prometheus(&scenario, END - 30 * DAY, END).await;
    let sloths = sloths();
    let [five, month, burn, left] = sloth_rules(&sloths);
    prometheus.backfill(&five, END - 30 * DAY, END).await;
    prometheus.backfill(&month, END - 600, END).await;
    prometheus.backfill(&burn, END - 300, END).await;
    prometheus.backfill(&left, END - 300, END).await;
    prometheus.backfill(&pyrra_rules(), END - 120, END).await;

    let dir = tempfile::tempdir().expect("a temporary folder");
    let files: Vec<(String, String)> = sloths
        .iter()
        .map(|of| (format!("sloth-{}-{}.yaml", of.service, of.slo), sloth_file(of)))
        .chain(PYRRA.map(|service| (format!("pyrra-{service}.yaml"), pyrra_file(service))))
        .collect();
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    fleet::write_rules(dir.path(), &files);
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let Compared { code, rows } = compare(&proxy.url(), dir.path());
    assert_eq!(code, Some(1), "some differ");
    let traffic = proxy.take_traffic();
    println!("{} SLOs, twice: {traffic:?}", rows.len());
    // Of a month in moments of two minutes; the history of all is read in a few requests beside these.
    assert!(traffic.queries() as usize <= 2 * (15 * rows.len() + 20), "{traffic:?}");
    let row = |id: &str| rows.get(id).unwrap_or_else(|| panic!("{id} of {:?}", rows.keys()));

    // Ours is what happened.
    for (id, service) in [
        ("flat-availability", "flat"),
        ("night-availability", "night"),
        ("peak-availability", "peak"),
        ("birth-bare", "birth"),
    ] {
        let truth = scenario.truth(service, END - 30 * DAY, END).and_then(|truth| truth.ratio()).expect("events");
        let exact = figure(row(id), "error_ratio", "exact");
        assert!((exact / truth - 1.0).abs() < 0.001, "{id}: {exact}, truth {truth}");
    }

    assert_eq!(row("flat-availability")["verdict"], "agree");
    assert_eq!(row("flat-errors")["verdict"], "agree", "{:#}", row("flat-errors"));

    let (night, peak) = (row("night-availability"), row("peak-availability"));
    for (row, factor) in [(night, 2.0..2.6), (peak, 0.55..0.72)] {
        assert_eq!(row["verdict"], "differ");
        assert!(factor.contains(&figure(row, "error_ratio", "factor")), "{row:#}");
        assert_eq!(main_cause(row), "traffic_weighting");
        let share = share(row, "traffic_weighting");
        assert!((0.95..1.05).contains(&share), "{share}");
        assert!(row["unexplained_share"].as_f64().expect("a rest").abs() < 0.03, "{row:#}");
    }
    let gap = figure(night, "budget_left", "theirs") - figure(peak, "budget_left", "theirs");
    assert!(gap.abs() < 0.05, "both look the same to a mean of ratios: {gap}");

    let idle = row("idle-availability");
    assert_eq!((&idle["verdict"], &idle["figures"][0]["theirs_nan"]), (&"differ".into(), &true.into()));
    assert_eq!(idle["causes"][0]["cause"], "not_a_number", "{idle:#}");

    let hole = row("hole-availability");
    assert_eq!(hole["verdict"], "differ");
    assert!(share(hole, "scrape_holes") > 0.5, "{hole:#}");

    // A quarter of the errors are first samples, and no rule counts them. How often those of one minute are seen in the
    // windows of five hangs on the second in which rules are evaluated; there each event of theirs is one of ours.
    let truth = scenario.truth("birth", END - 30 * DAY, END).expect("it is known");
    assert_eq!(truth.bad, 720);
    for id in ["birth-availability", "birth-errors"] {
        let birth = row(id);
        main_cause(birth);
        let lost = -amount(birth, "first_errors") * truth.total as f64;
        assert!((lost - 180.0).abs() < 1.0, "{lost} of 720 errors: {birth:#}");
        // Held against a cause, not against the difference: where the causes cancel, that is as good as nothing.
        let rest = birth["unexplained"].as_f64().expect("a rest");
        assert!(rest.abs() < 0.05 * amount(birth, "first_errors").abs(), "{birth:#}");
    }
    let errors = row("birth-errors");
    assert_eq!((&errors["verdict"], main_cause(errors)), (&"differ".into(), "first_errors"), "{errors:#}");
    assert!((share(errors, "first_errors") - 1.0).abs() < 0.02, "{errors:#}");
    assert!(errors["unexplained_share"].as_f64().expect("a rest").abs() < 0.05, "{errors:#}");
    // Without `or vector(0)` nothing is recorded before the first error.
    let bare = row("birth-bare");
    assert_eq!((&bare["verdict"], main_cause(bare)), (&"differ".into(), "missing_evaluations"), "{bare:#}");
}

/// `slowburn compare` with arguments of its own: exit code and everything it says.
fn said(prometheus: &str, rules: &std::path::Path) -> (Option<i32>, String) {
    let at = END.to_string();
    let args = ["compare", "--at", &at, "--prometheus-url", prometheus, "--rules"];
    let output = Command::new(SLOWBURN).args(args).arg(rules).stdin(Stdio::null()).output().expect("the binary starts");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_and_missing_sides_are_said_and_never_made_up() {
    let hour = 3600;
    let start = END - 2 * DAY;
    let burns = [(END - 30 * hour, END - 30 * hour + 900), (END - 3 * hour, END - 2 * hour)];
    let mut prometheus = fleet::prometheus(&fleet::scenario(start, END, &burns), start, END).await;
    // What is recorded as `pay-availability` counts one instance of three; `pay-day` looks at one day.
    let of = |slo: &'static str, more: &str| Sloth {
        service: "pay",
        slo,
        error: format!("sum(rate({REQUESTS}{{service=\"pay\",code=\"500\"{more}}}[W])) or vector(0)"),
        total: format!("sum(rate({REQUESTS}{{service=\"pay\"}}[W]))"),
    };
    let other = of("availability", ",instance=\"pay-0:80\"");
    let day = of("day", "");
    let [five, month, burn, left] = sloth_rules(&[other]);
    let [day_five, day_month, ..] = sloth_rules(&[of("day", "")]);
    let day_month = day_month.replace("30d", "1d").replace("vector(30)", "vector(1)").replace("0.999", "0.99");
    for (rules, from) in [
        (latency_rules(), END - 120),
        (five, start),
        (day_five, start),
        (month, END - 600),
        (day_month, END - 600),
        (burn, END - 300),
        (left, END - 300),
    ] {
        prometheus.backfill(&rules, from, END).await;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join(name);
    fleet::write_rules(
        &at("recorded"),
        &[
            ("pay.yaml", sloth_file(&of("availability", ""))),
            ("day.yaml", sloth_file(&day)),
            ("latency.yaml", latency_file()),
        ],
    );
    let Compared { code, rows } = compare(&prometheus.url(), &at("recorded"));
    assert_eq!(code, Some(1));
    // The children of a grouping are compared one by one, each with the labels of its own.
    let children: Vec<&Value> =
        rows.iter().filter(|(id, _)| id.starts_with("pay-latency{")).map(|(_, row)| row).collect();
    assert!(children.len() > 1 && !rows.contains_key("pay-latency"), "{:?}", rows.keys());
    for latency in children {
        assert_eq!((&latency["verdict"], &latency["tool"]), (&"agree".into(), &"pyrra".into()), "{latency:#}");
        assert!(figure(latency, "error_ratio", "theirs") > 0.001, "{latency:#}");
        assert_eq!(latency["labels"][0][0], "instance", "{latency:#}");
    }
    let other = &rows["pay-availability"];
    assert_eq!((&other["verdict"], main_cause(other)), (&"differ".into(), "other_query"), "{other:#}");
    assert!((figure(other, "error_ratio", "factor") - 1.0 / 3.0).abs() < 0.05, "{other:#}");
    let day = &rows["pay-day"];
    assert_eq!((&day["verdict"], main_cause(day)), (&"differ".into(), "other_window"), "{day:#}");
    let causes: Vec<&str> =
        day["causes"].as_array().expect("causes").iter().filter_map(|own| own["cause"].as_str()).collect();
    assert!(causes.contains(&"other_objective"), "{causes:?}");

    // Without remote read the last causes are one, and the note says so.
    let proxy = FaultProxy::start(&prometheus.url()).await;
    proxy.set(Fault::NoRemoteRead);
    let blunt = &compare(&proxy.url(), &at("recorded")).rows["pay-availability"];
    assert_eq!((&blunt["verdict"], main_cause(blunt)), (&"differ".into(), "other_query"), "{blunt:#}");
    assert!(blunt["remarks"].to_string().contains("not told apart"), "{blunt:#}");
    for cause in ["extrapolation", "first_errors", "scrape_holes"] {
        assert_eq!(amount(blunt, cause), 0.0, "{blunt:#}");
    }

    // One side, or both, is not there.
    fleet::write_rules(
        &at("unrecorded"),
        &[
            ("pay.yaml", sloth_file(&of("nobody-recorded-this", ""))),
            (
                "ghost.yaml",
                sloth_file(&Sloth { service: "ghost", ..of("availability", "") }).replace("\"pay\"", "\"ghost\""),
            ),
        ],
    );
    let Compared { code, rows } = compare(&prometheus.url(), &at("unrecorded"));
    assert_eq!(code, Some(4), "nothing differs, and nothing agrees");
    for row in rows.values() {
        assert_eq!((&row["verdict"], &row["figures"][0]["theirs"]), (&"no_data".into(), &Value::Null), "{row:#}");
        assert!(row["causes"].as_array().is_some_and(Vec::is_empty), "{row:#}");
    }
    assert!(figure(&rows["pay-nobody-recorded-this"], "error_ratio", "exact") > 0.0);
    assert_eq!(rows["ghost-availability"]["figures"][0]["exact"], Value::Null);
    let remark = rows["ghost-availability"]["remarks"].to_string();
    assert!(
        remark.contains("recorded nothing under the name ghost-availability") && remark.contains("no_series"),
        "{remark}"
    );

    // Wrong usage, and nobody to ask.
    fleet::write_rules(&at("own"), &fleet::rules());
    let (code, text) = said(&prometheus.url(), &at("own"));
    assert!(code == Some(2) && text.contains("has a name in Sloth or Pyrra"), "{code:?} {text}");
    let url = prometheus.url();
    prometheus.kill();
    let (code, text) = said(&url, &at("recorded"));
    assert!(code == Some(4) && text.contains(&url), "{code:?} {text}");
}
