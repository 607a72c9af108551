//! Fan-outs on a real Prometheus: children that come and go, more of them than have rows, and the whole of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use slowburn::engine::alert::AlertKind;
use slowburn::engine::{Labels, Snapshot};

use crate::daemon::{Driven, options};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

/// On the slice grid, and on no grid of minutes or hours.
const T0: i64 = 1_790_000_010;
const HOUR: i64 = 3600;
const END: i64 = T0 + 4 * HOUR;

/// Eight models in two tiers; the model `m5` is born an hour after the start and is the busiest by far, `m1` is gone after two
/// hours. The realtime tier of `m7`, too small for a row, fails in the fourth hour.
fn past() -> String {
    let mut text = String::from("# TYPE llm_requests counter\n");
    for model in 0..8_i64 {
        for tier in ["batch", "realtime"] {
            let (born, gone) = match model {
                5 => (T0 + HOUR, END),
                1 => (T0 - HOUR, T0 + 2 * HOUR),
                _ => (T0 - HOUR, END),
            };
            let rate = if model == 5 { 400 } else { 12 - model };
            for (code, fails) in [("200", false), ("500", true)] {
                let mut count = 0;
                for at in (born + 7 + model..gone).step_by(30) {
                    let failing = model == 7 && tier == "realtime" && at > T0 + 3 * HOUR;
                    count += if fails == failing { rate } else { 0 };
                    let labels = format!("job=\"llm\",instance=\"{model}-{tier}\",model=\"m{model}\",tier=\"{tier}\"");
                    writeln!(text, "llm_requests_total{{{labels},code=\"{code}\"}} {count} {at}")
                        .expect("a String grows");
                }
            }
        }
    }
    text + "# EOF\n"
}

fn rules(by: &str) -> Vec<(&'static str, String)> {
    let text = format!(
        "name: llm\nowner: t\nslo:\n  availability:\n    objective: 99\n    window: 1d\n{by}    sli: {{total: 'llm_requests_total', \
         bad: 'llm_requests_total{{code=\"500\"}}'}}\n    alert_policies:\n      - {{type: burn_rate, fast_burn: '30m/5m > 10x'}}\n\
         incident:\n  severity_mapping:\n    - {{condition: fast_burn, when: {{tier: realtime}}, severity: SEV-1}}\n"
    );
    vec![("llm.yaml", text)]
}

const BY: &str = "    by: [model, tier]\n    series_max: 6\n";

fn child(model: &str, tier: &str) -> Labels {
    [("model", model), ("tier", tier)].into_iter().collect()
}

fn shown(snapshot: &Snapshot) -> BTreeSet<Labels> {
    snapshot.slos[0].series.iter().map(|series| series.labels.clone()).collect()
}

/// Everything counted since the first tick, by series.
fn counted(driven: &Driven) -> BTreeMap<Labels, (u64, u64)> {
    let of = driven.daemon.ledger().of("llm-availability");
    of.map(|(labels, series)| {
        let sum = series.window(END, 86_400);
        (labels.clone(), (sum.total, sum.bad))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_come_and_go_and_with_other_they_add_up_to_the_whole() {
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past())), ..PromOptions::default() }).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let start = || Driven::new(options(&prometheus.url(), &rules(BY), Some(dir.path().join("data"))));
    let mut driven = start();
    driven.tick(T0).await;
    let mut plain = Driven::new(options(&prometheus.url(), &rules(""), None));
    plain.tick(T0).await;
    let mut rows: Vec<BTreeSet<Labels>> = Vec::new();
    for at in (T0 + 30..=END - 30).step_by(30) {
        if at == T0 + HOUR + 900 {
            drop(driven);
            driven = start();
        }
        let snapshot = driven.live(at - 30, at).await;
        plain.live(at - 30, at).await;
        let of = counted(&driven);
        let whole = of[&Labels::new()];
        let parts = of.iter().filter(|(labels, _)| !labels.is_empty()).map(|(_, sum)| sum);
        let parts = parts.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        assert_eq!(whole, parts, "at +{}", at - T0);
        // What the SLO would count without `by`.
        assert_eq!(whole, counted(&plain)[&Labels::new()], "at +{}", at - T0);
        let now = shown(&snapshot);
        assert!(now.len() <= 6 + 3, "six rows, two others and the whole: {now:?}");
        if rows.last() != Some(&now) {
            rows.push(now);
        }
    }
    println!("the rows changed {} times", rows.len() - 1);
    assert!(rows.len() <= 8, "rows stay where they are: {rows:#?}");
    let last = rows.last().expect("rows");
    let busiest = child("m5", "batch");
    assert!(!rows[0].contains(&busiest) && last.contains(&busiest), "the busiest has a row: {last:?}");
    assert!(last.contains(&child("other", "realtime")) && last.contains(&child("other", "other")), "{last:?}");
    assert!(!last.contains(&child("m1", "batch")), "who is gone has left: {last:?}");
    let gone = counted(&driven)[&child("m1", "batch")];
    assert!(gone.0 > 0, "its events are still there");

    // What fails is in `other`, and is still realtime; the whole has nothing to add.
    let snapshot = driven.snapshot();
    let firing: Vec<_> = snapshot
        .alerts
        .iter()
        .filter(|alert| {
            alert.kind == AlertKind::FastBurn && alert.resolved_at.is_none() && alert.inhibited_by.is_none()
        })
        .map(|alert| (alert.series.clone(), alert.sev.to_string()))
        .collect();
    assert_eq!(firing, [(child("other", "realtime"), "SEV-1".to_owned())], "{:#?}", snapshot.slos[0].series);
    let notes = snapshot.slos[0].notes.join("\n");
    assert!(notes.contains("children have rows of their own (series_max: 6)"), "{notes}");
}

/// A label that no series has: one row, and a word about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_does_not_exist_makes_no_children_and_is_said() {
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past())), ..PromOptions::default() }).await;
    let mut driven = Driven::new(options(&prometheus.url(), &rules("    by: [modle]\n"), None));
    driven.tick(T0).await;
    let snapshot = driven.live(T0, T0 + 120).await;
    let slo = &snapshot.slos[0];
    assert_eq!(shown(&snapshot), BTreeSet::from([Labels::new()]));
    assert!(slo.series[0].window.total > 0);
    assert_eq!(*slo.notes, ["none of its series has a label of `by` (modle): there are no children"]);
}
