//! An outage right after a label was added: it must not hide in the lifetime of the counters.

use std::collections::BTreeMap;

use slowburn::demo::Scenario;
use slowburn::demo::count::{Count, DAY, Shape, Timeline, Traffic};
use slowburn::demo::scenario::Pod;

use super::reading;
use crate::daemon::{Driven, options};
use crate::fleet;

/// When the label is added: no scrape and no evaluation falls on it.
const ADDED: i64 = 1_790_000_010 - 4;
const OUTAGE: i64 = ADDED + 600;
const END: i64 = ADDED + 4 + 1500;
/// Time between evaluations.
const STEP: i64 = 30;

/// A target up for six days at 50 requests a second, one in 10,000 of which fails; half of them in the outage.
fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    let started = ADDED - 6 * DAY;
    let pod = Pod::new("api", "masked:8080", 7_300, started).labelled(ADDED, &[("team", "pay")]);
    let pod = scenario.pod(pod);
    let total =
        Count::of(Traffic { rate: 50.0, shape: Shape::Flat, wobble: None, origin: (started - DAY) / DAY * DAY });
    let bad = total.part(&Timeline::new(0.0001).during(OUTAGE, END + DAY, 0.5));
    scenario.counter(pod, "http_requests_total", &[("code", "200")], &total.without(&bad));
    scenario.counter(pod, "http_requests_total", &[("code", "500")], &bad);
    scenario
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_after_a_relabelling_pages_as_soon_as_plain_rules_do() {
    let prometheus = fleet::prometheus(&scenario(), END - 2 * DAY, END).await;
    let rules = [(
        "api.yaml",
        "name: api\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    sli: {total: 'http_requests_total', bad: 'http_requests_total{code=\"500\"}'}\n"
            .to_owned(),
    )];
    let dir = tempfile::tempdir().expect("a temporary folder");
    fleet::write_rules(dir.path(), &rules);

    let ratio = |window: &str| {
        format!(
            "sum(increase(http_requests_total{{code=\"500\"}}[{window}])) / sum(increase(http_requests_total[{window}]))"
        )
    };
    let page = format!("({} > 14.4 * 0.001) and ({} > 14.4 * 0.001)", ratio("1h"), ratio("5m"));

    let mut driven = Driven::new(options(&prometheus.url(), &rules, None));
    let begin = ADDED + 4 - 1800;
    driven.tick(begin).await;
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    let mut at = begin;
    while at < END {
        at += STEP;
        let snapshot = driven.live(at - STEP, at).await;
        let state = serde_json::to_value(snapshot.slos[0].series[0].state).expect("JSON");
        if state == "fast_burn" {
            first.entry("daemon").or_insert(at);
        }
        if at < OUTAGE {
            assert_eq!(state, "ok", "{} s after the label was added, before the outage", at - ADDED);
            continue;
        }
        if !prometheus.query(&page, Some(at as f64)).await.is_empty() {
            first.entry("PromQL").or_insert(at);
        }
        if !first.contains_key("eval")
            && reading::at_once(&prometheus.url(), dir.path(), at)["api"].state() == "fast_burn"
        {
            first.insert("eval", at);
        }
        if first.len() == 3 {
            break;
        }
    }
    println!("the outage pages after, s: {:?}", first.iter().map(|(who, at)| (who, at - OUTAGE)).collect::<Vec<_>>());
    let plain = first["PromQL"];
    for who in ["daemon", "eval"] {
        let ours = first.get(who).unwrap_or_else(|| panic!("{who} does not page: {first:?}, outage at {OUTAGE}"));
        assert!(*ours <= plain + 2 * STEP, "{who} pages {} s after plain rules", ours - plain);
    }
}
