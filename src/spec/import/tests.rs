//! Tests of the importers as a whole: a folder of files that are imported, with what they become, and a folder of files
//! that are refused, with the message each gets. `UPDATE_EXPECT=1` writes the texts anew.

use std::fs;

use proptest::prelude::*;

use crate::spec::tests::{compare, yaml_files};
use crate::spec::{Loaded, Options, Severity, imported, load_text, load_texts};

/// What `slowburn import` says and prints of a file under its bare name.
fn read(path: &std::path::Path) -> (Loaded, String) {
    let name = path.file_name().expect("a name").to_string_lossy();
    let loaded = load_text(&name, &fs::read_to_string(path).expect("readable"));
    let services: Vec<String> = imported(&loaded).iter().map(|service| service.to_yaml()).collect();
    let text = loaded.render(false) + &services.join("---\n");
    (loaded, text)
}

#[test]
fn every_good_file_becomes_what_is_expected_and_means_the_same_when_it_is_loaded_again() {
    let mut wrong = Vec::new();
    let paths = yaml_files("tests/configs/import/good");
    assert!(paths.len() >= 30, "only {} good files", paths.len());
    for path in &paths {
        let (loaded, text) = read(path);
        if loaded.is_fatal() || loaded.drafts.is_empty() {
            wrong.push(format!("{}\n{text}", path.display()));
            continue;
        }
        wrong.extend(compare(path, &text));
        for text in [written(&loaded), written_as_json(&loaded)] {
            let again = load_texts(
                &text.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect::<Vec<_>>(),
                &Options::default(),
            );
            if again.is_fatal() {
                wrong.push(format!("{}: what was written\n{}", path.display(), again.render(false)));
            }
            let ids: Vec<String> = loaded.drafts.iter().map(|draft| draft.id()).collect();
            for id in &ids {
                if loaded.model.slo(id) != again.model.slo(id) {
                    wrong.push(format!(
                        "{}: {id}\n{:#?}\n{:#?}",
                        path.display(),
                        loaded.model.slo(id),
                        again.model.slo(id)
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn written(loaded: &Loaded) -> Vec<(String, String)> {
    imported(loaded).iter().map(|service| (format!("{}.yaml", service.service), service.to_yaml())).collect()
}

fn written_as_json(loaded: &Loaded) -> Vec<(String, String)> {
    imported(loaded).iter().map(|service| (format!("{}.json", service.service), service.to_json())).collect()
}

#[test]
fn every_bad_file_gets_exactly_its_message_and_none_is_imported_in_part() {
    let mut wrong = Vec::new();
    let paths = yaml_files("tests/configs/import/bad");
    assert!(paths.len() >= 30, "only {} bad files", paths.len());
    for path in &paths {
        let (loaded, _) = read(path);
        if !loaded.problems.iter().any(|problem| problem.severity == Severity::Error) {
            wrong.push(format!("{}: no error", path.display()));
        }
        wrong.extend(compare(path, &loaded.render(false)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words that get deeper into the readers than noise would.
fn yamlish() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("sum(rate(m_total[{{.window}}]))".to_string()),
        Just("1 - sum(rate(h_bucket{le=\"1\"}[{{.window}}])) / sum(rate(h_count[{{.window}}]))".to_string()),
        Just("histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m])))".to_string()),
        Just("Prometheus".to_string()),
        Just("checkout".to_string()),
        "[0-9.]{1,5}(m|h|d|w|M|Q|Y|%|x)?",
        "(true|false|lte|gte|page|ticket|Occurrences|Timeslices|RatioTimeslices|good_bad_ratio|query_sli|distribution_cut)",
        "\\PC{0,8}",
    ];
    let key = prop::sample::select(KEYS);
    let node = leaf.prop_map(|text| format!("{:?}", text)).prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key.clone(), inner), 0..7).prop_map(|entries| {
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    });
    (prop::sample::select(HEADS), prop::collection::vec((prop::sample::select(KEYS), node), 0..8)).prop_map(
        |(head, entries)| {
            let mut text = head.to_string();
            for (key, value) in entries {
                text += &format!("\n{key}: {value}");
            }
            text
        },
    )
}

const HEADS: &[&str] = &[
    "version: prometheus/v1\nservice: checkout\nlabels: {owner: a}",
    "apiVersion: sloth.slok.dev/v1\nkind: PrometheusServiceLevel\nmetadata: {name: a}",
    "apiVersion: sloth.slok.dev/v1\nkind: AlertWindows",
    "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: {name: a, labels: {owner: x}}",
    "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a, labels: {owner: x}}",
    "apiVersion: openslo/v1\nkind: AlertPolicy\nmetadata: {name: checkout}",
    "apiVersion: sre.google.com/v2\nkind: ServiceLevelObjective\nmetadata: {name: a, labels: {owner: x}}",
    "error_budget_policies: {default: {steps: [{name: a, window: 3600, burn_rate_threshold: 9, alert: true}]}}",
];

const KEYS: &[&str] = &[
    "spec",
    "slos",
    "name",
    "objective",
    "sli",
    "events",
    "raw",
    "plugin",
    "error_query",
    "total_query",
    "labels",
    "error_ratio_query",
    "errorQuery",
    "totalQuery",
    "alerting",
    "page_alert",
    "ticket_alert",
    "disable",
    "target",
    "window",
    "indicator",
    "ratio",
    "latency",
    "latencyNative",
    "bool_gauge",
    "metric",
    "errors",
    "success",
    "total",
    "grouping",
    "severities",
    "timeWindow",
    "duration",
    "isRolling",
    "calendar",
    "budgetingMethod",
    "objectives",
    "service",
    "indicatorRef",
    "ratioMetric",
    "thresholdMetric",
    "counter",
    "good",
    "bad",
    "metricSource",
    "type",
    "query",
    "op",
    "value",
    "timeSliceTarget",
    "timeSliceWindow",
    "alertPolicies",
    "alertPolicyRef",
    "conditions",
    "condition",
    "threshold",
    "lookbackWindow",
    "severity",
    "goal",
    "backend",
    "method",
    "service_level_indicator",
    "filter_good",
    "filter_valid",
    "expression",
    "threshold_bucket",
    "options",
    "id",
    "page",
    "ticket",
    "quick",
    "slow",
];

/// All files of `tests/configs/import`.
fn corpus() -> &'static Vec<String> {
    static CORPUS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    CORPUS.get_or_init(|| {
        let paths = ["tests/configs/import/good", "tests/configs/import/bad"].into_iter().flat_map(yaml_files);
        paths.map(|path| fs::read_to_string(path).expect("readable")).collect()
    })
}

/// What is imported loads again as it was written, whatever it was.
fn check_invariants(loaded: &Loaded) -> Result<(), TestCaseError> {
    let _ = loaded.render(true);
    if loaded.is_fatal() {
        return Ok(());
    }
    let texts = written(loaded);
    let again =
        load_texts(&texts.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect::<Vec<_>>(), &Options::default());
    if !loaded.drafts.is_empty() {
        prop_assert!(!again.is_fatal(), "{}\n{:?}", again.render(false), texts);
        for draft in &loaded.drafts {
            prop_assert_eq!(loaded.model.slo(&draft.id()), again.model.slo(&draft.id()));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_tree_panics_an_importer(text in prop::collection::vec(yamlish(), 1..4)) {
        check_invariants(&load_text("a.yaml", &text.join("\n---\n")))?;
    }

    #[test]
    fn no_slip_in_a_foreign_file_panics_an_importer(
        pick in any::<prop::sample::Index>(),
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4, "[\\PC\\n:{}\\[\\]'\"#%>/-]{0,3}"), 1..4),
    ) {
        let mut text: Vec<char> = pick.get(corpus()).chars().collect();
        for (at, removed, put) in slips {
            let from = at.index(text.len() + 1);
            let to = text.len().min(from + removed);
            text.splice(from..to, put.chars());
        }
        let text: String = text.into_iter().collect();
        check_invariants(&load_text("a.yaml", &text))?;
    }
}

#[test]
fn documents_of_several_files_find_each_other_and_faults_stay_in_their_file() {
    let slo = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: checkout-avail}\nspec:\n  service: checkout\n  \
               indicatorRef: the-sli\n  timeWindow: [{duration: 30d, isRolling: true}]\n  budgetingMethod: Occurrences\n  \
               objectives: [{target: 0.99}]\n";
    let sli = |query: &str| {
        format!(
            "apiVersion: openslo/v1\nkind: SLI\nmetadata: {{name: the-sli}}\nspec:\n  ratioMetric:\n    counter: true\n    \
             bad: {{metricSource: {{type: Prometheus, spec: {{query: '{query}'}}}}}}\n    total: {{metricSource: {{type: Prometheus, \
             spec: {{query: all_total}}}}}}\n"
        )
    };
    let owner =
        "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: checkout, labels: {owner: team-pay}}\nspec: {}\n";
    let load = |query: &str| {
        let sli = sli(query);
        load_texts(&[("1-slo.yaml", slo), ("2-sli.yaml", &sli), ("3-owner.yaml", owner)], &Options::default())
    };
    let loaded = load("bad_total");
    assert_eq!(loaded.render(false), "");
    assert_eq!(loaded.model.slo("checkout-avail").map(|spec| spec.slo.owner.as_str()), Some("team-pay"));
    let broken = load("sum(bad_total");
    let text = broken.render(false);
    assert!(broken.is_fatal() && text.starts_with("2-sli.yaml:7:") && text.contains("SLO checkout-avail"), "{text}");
}

#[test]
fn the_command_line_gives_an_owner_and_a_period_to_those_without() {
    let text = "version: prometheus/v1\nservice: checkout\nslos: [{name: a, objective: 99, sli: {events: {error_query: \
                'sum(rate(e[{{.window}}]))', total_query: 'sum(rate(t[{{.window}}]))'}}}]\n";
    assert!(load_text("a.yaml", text).is_fatal());
    let period = crate::spec::TimeSpan::parse("28d").ok();
    let options = Options { owner: Some("team-x".into()), slo_period: period, ..Options::default() };
    let loaded = load_texts(&[("a.yaml", text)], &options);
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    let slo = &loaded.model.slos[0].slo;
    assert_eq!((slo.owner.as_str(), slo.window_s), ("team-x", 28 * 86_400));
    let factors: Vec<f64> = slo.burn.iter().map(|clause| (clause.factor * 1e3).round() / 1e3).collect();
    assert_eq!(factors, [13.44, 5.6, 2.8, 0.933]);
    let unknown = Options { slo_period: crate::spec::TimeSpan::parse("90d").ok(), ..options };
    assert!(load_texts(&[("a.yaml", text)], &unknown).render(false).contains("no alert windows for a period of 90d"));
}
