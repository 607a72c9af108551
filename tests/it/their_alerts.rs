//! What Sloth's own rules would have sent beside what we would have, on a real Prometheus: their alerts are those of the
//! expressions that Sloth writes, asked here in its own words, from recorded ratios as from the queries of the file.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::fleet::{self, REQUESTS};
use crate::presets::slowburn;

/// On the slice grid, and on no grid of minutes or hours.
const END: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
const START: i64 = END - 16 * HOUR;
const FROM: i64 = END - 9 * HOUR;
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

fn ratio(service: &str, by: &str, window: &str) -> String {
    let sum = |more: &str| format!("sum{by}(rate({REQUESTS}{{service=\"{service}\"{more}}}[{window}]))");
    format!("({}) / ({})", sum(",code=~\"5..\""), sum(""))
}

/// Sloth's alert of a service, by kind, as its rules write it; `of` is the ratio of a window.
fn alert(kind: &str, of: &dyn Fn(&str) -> String) -> String {
    let pairs = match kind {
        "fast_burn" => [("5m", "1h", 14.4), ("30m", "6h", 6.0)],
        _ => [("2h", "1d", 3.0), ("6h", "3d", 1.0)],
    };
    let clause = |(short, long, factor): (&str, &str, f64)| {
        format!("(({} > ({factor} * 0.001)) and ({} > ({factor} * 0.001)))", of(short), of(long))
    };
    pairs.map(clause).join(" or ")
}

/// (kind, pod, first moment) of each stretch in which an expression has this series.
async fn truth(url: &str, kind: &str, expr: &str, all: &mut BTreeSet<(String, String, i64)>) {
    let form = [("query", expr), ("start", &FROM.to_string()), ("end", &END.to_string()), ("step", "60")];
    let sent = reqwest::Client::new().post(format!("{url}/api/v1/query_range")).form(&form).send().await;
    let answer: Value = sent.expect("Prometheus answers").json().await.expect("JSON");
    for row in answer["data"]["result"].as_array().expect("a matrix") {
        let pod = row["metric"]["instance"].as_str().unwrap_or_default().to_owned();
        let mut last = i64::MIN;
        for value in row["values"].as_array().expect("values") {
            let at = value[0].as_i64().expect("a whole second");
            if at != last + 60 {
                all.insert((kind.to_owned(), pod.clone(), at));
            }
            last = at;
        }
    }
}

fn file(service: &str, name: &str, by: &str) -> String {
    let sum = |more: &str| format!("sum{by}(rate({REQUESTS}{{service=\"{service}\"{more}}}[{{{{.window}}}}]))");
    format!(
        "version: prometheus/v1\nservice: {service}\nslos:\n- name: {name}\n  objective: 99.9\n  sli:\n    events:\n      \
         error_query: {}\n      total_query: {}\n  alerting: {{name: X}}\n",
        sum(",code=~\"5..\""),
        sum("")
    )
}

fn episodes(report: &Value, policy: usize, slo: &str) -> BTreeSet<(String, String, i64)> {
    let all = report["lived"][policy]["episodes"].as_array().expect("a list").iter();
    let of = all
        .filter(|one| one["slo"] == slo && ["fast_burn", "slow_burn"].contains(&one["kind"].as_str().expect("a kind")));
    of.map(|one| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&one["kind"]), text(&one["series"]["instance"]), one["from"].as_i64().expect("a time"))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_alerts_are_those_of_their_own_expressions_and_each_difference_is_said() {
    let hour = |from: i64, length_s: i64| (END - from * HOUR, END - from * HOUR + length_s);
    // An outage, a longer one, and one of four minutes.
    let burns = [hour(8, 1200), hour(5, 1800), hour(2, 240)];
    let mut prometheus = fleet::prometheus(&fleet::scenario(START, END, &burns), START, END).await;
    // What Sloth recorded of one of them; the others are asked by their queries.
    let mut rules = String::from("groups:\n- name: a\n  interval: 1m\n  rules:\n");
    for window in WINDOWS {
        let expr = ratio("pay", "", window);
        let names = format!("sloth_id: pay-recorded, sloth_service: pay, sloth_slo: recorded, sloth_window: {window}");
        writeln!(rules, "  - {{record: 'slo:sli_error:ratio_rate{window}', expr: '{expr}', labels: {{{names}}}}}")
            .expect("grows");
    }
    prometheus.backfill(&rules, FROM - 600, END).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let files = [
        ("a.yaml", "pay", "recorded", ""),
        ("c.yaml", "pay", "pods", " by (instance) "),
        ("d.yaml", "quiet", "asked", ""),
    ];
    for (name, service, slo, by) in files {
        std::fs::write(dir.path().join(name), file(service, slo, by)).expect("writable");
    }
    let rules = dir.path().display().to_string();
    let (url, from, to) = (prometheus.url(), FROM.to_string(), END.to_string());
    let run = |format: &str| {
        let args =
            ["backtest", "--prometheus-url", &url, "--rules", &rules, "--owner", "team", "--from", &from, "--to", &to];
        let (code, text, err) =
            slowburn(&[&args[..], &["--policy", "rules", "--policy", "theirs", "--format", format]].concat());
        assert_eq!(code, 0, "{err}");
        (text, err)
    };
    let (text, err) = run("json");
    assert!(err.contains("the ratios of 2 SLOs are not recorded"), "{err}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let mut pages = 0;
    for (_, service, name, by) in files {
        let mut right = BTreeSet::new();
        for kind in ["fast_burn", "slow_burn"] {
            let recorded = |window: &str| {
                let of = "sloth_id=\"pay-recorded\", sloth_service=\"pay\", sloth_slo=\"recorded\"";
                format!("max(slo:sli_error:ratio_rate{window}{{{of}}}) without (sloth_window)")
            };
            let asked = |window: &str| format!("({})", ratio(service, by, window));
            let expr = if name == "recorded" { alert(kind, &recorded) } else { alert(kind, &asked) };
            truth(&url, kind, &expr, &mut right).await;
        }
        let found = episodes(&report, 1, &format!("{service}-{name}"));
        assert_eq!(found, right, "{service} {name}");
        pages += right.iter().filter(|one| one.0 == "fast_burn").count();
        println!(
            "{service}-{name}: theirs {}, ours {}",
            right.len(),
            episodes(&report, 0, &format!("{service}-{name}")).len()
        );
    }
    assert_eq!(report["lived"][1]["pages"], pages, "{pages}");
    assert!(pages >= 6, "{pages}: the incidents of pay page in each of its SLOs, and by pod");
    // Every one of theirs is one of ours, or listed with our numbers at that moment.
    let (text, _) = run("text");
    println!("{text}");
    assert!(text.contains(&format!("Their rules page {pages} times and rules page ")), "{text}");
    assert!(text.contains("a page keeps its ticket quiet") && text.contains("theirs judges each alone"), "{text}");
    for one in report["lived"][1]["episodes"].as_array().expect("a list") {
        let ours = one["ours"].as_str().unwrap_or_default();
        assert!(ours.contains('x') && ours.contains(" of "), "{one}");
    }
    // Who has no rules of anybody is told.
    std::fs::write(dir.path().join("own.yaml"), fleet::rules()[1].1.clone()).expect("writable");
    let own = dir.path().join("own.yaml").display().to_string();
    let (code, _, err) = slowburn(&[
        "backtest",
        "--prometheus-url",
        &url,
        "--rules",
        &own,
        "--policy",
        "theirs",
        "--from",
        &from,
        "--to",
        &to,
    ]);
    assert!(code == 2 && err.contains("none of these SLOs is of Sloth or Pyrra"), "{code} {err}");
}
