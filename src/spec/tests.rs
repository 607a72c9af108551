//! Tests of the loader as a whole: the documented files, and a folder with one file for each mistake.
//!
//! `tests/configs/good/*.yaml` must load without an error; what is warned of stands beside them. Each
//! `tests/configs/bad/x.yaml` has one mistake and, in `x.txt`, exactly what is printed for it. `UPDATE_EXPECT=1`
//! writes the texts anew; read every one of them before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

const CHECKOUT: &str = include_str!("../../tests/configs/good/checkout.yaml");

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

pub(super) fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root(folder)).expect(folder);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths
}

/// What `slowburn check` prints for the file, under its bare name.
fn rendered(path: &Path) -> (Loaded, String) {
    let name = path.file_name().expect("a name").to_string_lossy();
    let loaded = load_text(&name, &fs::read_to_string(path).expect("readable"));
    let text = loaded.render(false);
    (loaded, text)
}

/// Compares with the text beside `path`, or writes it; says what differs.
pub(super) fn compare(path: &Path, actual: &str) -> Option<String> {
    let expected_path = path.with_extension("txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        match actual.is_empty() {
            true => drop(fs::remove_file(&expected_path)),
            false => fs::write(&expected_path, actual).expect("writable"),
        }
        return None;
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    (expected != actual).then(|| format!("{}\n--- expected\n{expected}--- found\n{actual}", path.display()))
}

#[test]
fn every_bad_file_gets_exactly_its_message() {
    let mut wrong = Vec::new();
    let paths = yaml_files("tests/configs/bad");
    assert!(paths.len() >= 45, "only {} bad files", paths.len());
    for path in &paths {
        let (loaded, text) = rendered(path);
        let errors = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        if errors == 0 {
            wrong.push(format!("{}: no error", path.display()));
        }
        wrong.extend(compare(path, &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_good_file_loads_with_no_more_than_its_warnings() {
    let mut wrong = Vec::new();
    let paths = yaml_files("tests/configs/good");
    assert!(paths.len() >= 15, "only {} good files", paths.len());
    for path in &paths {
        let (loaded, text) = rendered(path);
        if loaded.is_fatal() || loaded.model.slos.is_empty() && loaded.policies.is_empty() {
            wrong.push(format!("{}\n{text}", path.display()));
        }
        wrong.extend(compare(path, &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documented_service_loads_exactly_as_printed() {
    let loaded = load_text("checkout.yaml", CHECKOUT);
    assert!(!loaded.is_fatal());
    let ids: Vec<&str> = loaded.model.slos.iter().map(|spec| spec.slo.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "checkout-availability",
            "checkout-feature-freshness",
            "checkout-gpu-queue-time-p95",
            "checkout-latency-p95",
            "checkout-ttfb-p95",
        ]
    );
    let without: Vec<&str> =
        loaded.model.slos.iter().filter(|spec| spec.source.is_err()).map(|spec| spec.slo.name.as_str()).collect();
    assert_eq!(without, ["feature-freshness", "gpu-queue-time-p95", "ttfb-p95"]);
    assert_eq!(
        loaded.model.slo("checkout-availability").expect("it").source,
        Ok(SliSource::Ratio {
            total: r#"istio_requests_total{destination_workload="checkout",reporter="source"}"#.into(),
            part: model::Part::Bad(
                r#"istio_requests_total{destination_workload="checkout",reporter="source",response_code=~"5.."}"#
                    .into()
            ),
        })
    );
}

/// One line for each SLO of a `slo:` block: id, objective, unit and source.
fn resolved(slo: &str) -> Vec<String> {
    let loaded = load_text("a.yaml", &format!("name: a\nowner: x\nslo:\n{slo}"));
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    let line = |spec: &SloSpec| format!("{} {} {:?} {:?}", spec.slo.id, spec.slo.objective, spec.slo.unit, spec.source);
    loaded.model.slos.iter().map(line).collect()
}

#[test]
fn every_kind_of_sli_resolves_to_its_unit_objective_and_source() {
    for (slo, expected) in [
        (
            "  latency_p95_ms: {max: 800, sli: {histogram: d_seconds}}\n",
            r#"a-latency-p95 99 QuantileSlices { quantile: 0.95 } Ok(Histogram { selector: "d_seconds", threshold: 0.8 })"#,
        ),
        (
            "  latency_p999_s: {max: 2, method: events, sli: {histogram: d_milliseconds}}\n",
            r#"a-latency-p999 99.9 Events Ok(Histogram { selector: "d_milliseconds", threshold: 2000.0 })"#,
        ),
        (
            "  latency_p95_ms: {max: 800, objective: 98, sli: {histogram: d, unit: us}}\n",
            r#"a-latency-p95 98 QuantileSlices { quantile: 0.95 } Ok(Histogram { selector: "d", threshold: 800000.0 })"#,
        ),
        (
            "  feature_freshness_max_delay_s: {max: 60, sli: {gauge: age_seconds, frozen_after: 3, sentinel_over: 1e9}}\n",
            r#"a-feature-freshness 99 GaugeSlices Ok(Gauge { expr: "age_seconds", bound: Max(60.0), trust: Trust { frozen_after: Some(3), sentinel_over: Some(1000000000.0) } })"#,
        ),
        (
            "  ttfb_p95_ms: {max: 300, sli: {total: t, bad: slow}}\n",
            r#"a-ttfb-p95 99 QuantileSlices { quantile: 0.95 } Ok(Ratio { total: "t", part: Bad("slow") })"#,
        ),
        (
            "  gpu_queue_time_p95_s: {max: 10, sli: {gauge: max(wait_ms)}}\n",
            r#"a-gpu-queue-time-p95 99 GaugeSlices Ok(Gauge { expr: "max(wait_ms)", bound: Max(10000.0), trust: Trust { frozen_after: None, sentinel_over: None } })"#,
        ),
        (
            "  feature_freshness_max_delay_s: {max: 60, sli: {gauge: time() - t_seconds}}\n",
            r#"a-feature-freshness 99 GaugeSlices Ok(Gauge { expr: "time() - t_seconds", bound: Max(60.0), trust: Trust { frozen_after: None, sentinel_over: None } })"#,
        ),
        (
            "  availability: {objective: 99.9, sli: {total: t, good: g}}\n",
            r#"a-availability 99.9 Events Ok(Ratio { total: "t", part: Good("g") })"#,
        ),
        (
            "  availability: {objective: 99.9, sli: {gauge: up, min: 1}}\n",
            r#"a-availability 99.9 GaugeSlices Ok(Gauge { expr: "up", bound: Min(1.0), trust: Trust { frozen_after: None, sentinel_over: None } })"#,
        ),
        (
            "  availability: {objective: 99.9, sli: {good: g, bad: b}}\n",
            r#"a-availability 99.9 Events Ok(Ratio { total: "g", part: Beside("b") })"#,
        ),
        (
            "  gpu_queue_time_p95_s: {max: 10, sli: {histogram: wait_seconds, waiting: waiting}}\n",
            r#"a-gpu-queue-time-p95 99 QuantileSlices { quantile: 0.95 } Ok(Queue { histogram: "wait_seconds", threshold: 10.0, bound_s: 10.0, waiting: "waiting", through: None })"#,
        ),
        (
            "  feature_freshness_max_delay_s: {max: 60, sli: {gauge: age_seconds, frozen_after: 3, sentinel_over: 1e9}}\n",
            r#"a-feature-freshness 99 GaugeSlices Ok(Gauge { expr: "age_seconds", bound: Max(60.0), trust: Trust { frozen_after: Some(3), sentinel_over: Some(1000000000.0) } })"#,
        ),
        (
            "  custom: [{name: q, objective: 95, slices: {query: depth, max: 3}}]\n",
            r#"a-q 95 GaugeSlices Ok(Gauge { expr: "depth", bound: Max(3.0), trust: Trust { frozen_after: None, sentinel_over: None } })"#,
        ),
        (
            "  custom: [{name: q, objective: 95, events: {total: t, bad: b}}]\n",
            r#"a-q 95 Events Ok(Ratio { total: "t", part: Bad("b") })"#,
        ),
    ] {
        assert_eq!(resolved(slo), [expected]);
    }
}

#[test]
fn the_long_form_sets_what_it_says_and_nothing_else() {
    let text = "name: a\nowner: x\nslo:\n  latency_p95_ms:\n    max: 800\n    window: 28d\n    by: [route]\n    \
                confidence: off\n    runbook: https://r\n    sli: {histogram: d_seconds, target_labels: [pod]}\n    \
                alert_policies: [{type: burn_rate, slow_burn: [6h > 3x], fast_burn: 1h/10m > 10%}]\n";
    let loaded = load_text("a.yaml", text);
    assert_eq!(loaded.render(false), "");
    let spec = &loaded.model.slos[0];
    assert_eq!(spec.slo.window_s, 28 * 86_400);
    assert_eq!(spec.slo.by, ["route"]);
    assert_eq!(spec.slo.confidence, None);
    assert_eq!(spec.target_labels, ["pod"]);
    assert_eq!(spec.slo.annotations["runbook"], "https://r");
    let clauses: Vec<(i64, i64, f64)> = spec
        .slo
        .burn
        .iter()
        .map(|clause| (clause.long_s, clause.short_s, (clause.factor * 1e9).round() / 1e9))
        .collect();
    assert_eq!(clauses, [(3_600, 600, 67.2), (21_600, 1_800, 3.0)]);
    assert_eq!(spec.slo.severity.len(), defaults().severity.len());
}

#[test]
fn the_examples_in_rules_load_clean() {
    let loaded = load(&[root("rules/services"), root("rules/policies")]);
    assert_eq!(loaded.render(false), "");
    assert_eq!(load(&[root("rules")]).render(false), "", "presets are read, defaults beside them passed over");
    assert_eq!(load(&[root("rules/presets")]).render(false), "", "presets alone");
    assert!(load(&[root("rules/defaults.yaml"), root("rules/services")]).is_fatal(), "named itself");
    let with = load(&[root("rules/services"), root("rules/exclusions")]);
    assert_eq!(with.render(false), "");
    let terms = &with.model.slo("checkout-availability").expect("it is there").slo.terms;
    assert_eq!((terms.exclusions.len(), terms.resets.len()), (2, 1));
    assert_eq!(loaded.model.services.len(), 4);
    assert_eq!(loaded.policies.len(), 2);
    assert!(loaded.model.slos.iter().all(|spec| spec.source.is_ok()));
}

/// The preset of `tests/configs/good/preset-of-ones-own.yaml` under this name.
fn own_preset(name: &str) -> String {
    let text = include_str!("../../tests/configs/good/preset-of-ones-own.yaml");
    text.split("---").next().unwrap_or_default().replace("our-gateway", name)
}

#[test]
fn a_preset_among_the_rules_wins_over_the_compiled_in_one_wherever_it_stands() {
    let service = "name: a\nowner: x\nslo: {availability: 99.9}\ntelemetry: {preset: istio, match: {service: a}}\n";
    let source = |texts: &[(&str, &str)]| {
        let loaded = load_texts(texts, &Options::default());
        assert!(!loaded.is_fatal(), "{}", loaded.render(false));
        format!("{:?}", loaded.model.slos[0].source)
    };
    let own = own_preset("istio");
    assert!(source(&[("a.yaml", service)]).contains("istio_requests_total"));
    assert!(source(&[("a.yaml", service), ("z/istio.yaml", &own)]).contains("gateway_ok_total"));
}

#[test]
fn a_match_names_labels_as_the_generation_does() {
    let service = |generation: &str| {
        format!(
            "name: a\nowner: x\nslo: {{availability: 99.9}}\n\
             telemetry: {{preset: knative, {generation}match: {{kn_service_name: a}}}}\n"
        )
    };
    let source = |text: &str| format!("{:?}", load_text("a.yaml", text).model.slos[0].source);
    let pinned = source(&service("generation: opencensus, "));
    assert!(pinned.contains(r#"total: "revision_request_count{service_name=\"a\"}""#), "{pinned}");
    let all = source(&service(""));
    assert!(all.contains("Generations") && all.contains("kn_service_name") && all.contains("{service_name"), "{all}");
}

#[test]
fn a_bound_over_the_last_usual_bucket_is_warned_of() {
    let text = "name: a\nowner: x\nslo: {latency_p95_s: 30}\ntelemetry: {preset: traefik, match: {service: a}}\n";
    let loaded = load_text("a.yaml", text);
    let shown = loaded.render(false);
    assert!(!loaded.is_fatal() && shown.contains("usually has no bucket over 5 s"), "{shown}");
}

#[test]
fn all_problems_of_all_files_come_at_once() {
    let loaded = load_texts(
        &[
            ("b.yaml", "name: b\nslo: {availability: 100, latency_p95_ms: fast, latencyy_p95_ms: 1}\n"),
            ("a.yaml", "name: a\nowner: x\nslo: {availability: 99.9\n"),
            ("c.yaml", "name: b\nowner: x\nslo: {availability: 99.9}\n"),
        ],
        &Options::default(),
    );
    let places: Vec<(&str, usize, Code)> =
        loaded.problems.iter().map(|problem| (problem.file.as_str(), problem.line, problem.code)).collect();
    for wanted in [
        ("a.yaml", Code::Syntax),
        ("b.yaml", Code::NoOwner),
        ("b.yaml", Code::InvalidObjective),
        ("b.yaml", Code::WrongType),
        ("b.yaml", Code::UnknownKey),
        ("c.yaml", Code::NoSource),
    ] {
        assert!(places.iter().any(|(file, _, code)| (*file, *code) == wanted), "{wanted:?} in {places:#?}");
    }
    assert!(places.is_sorted_by_key(|(file, ..)| *file));
}

#[test]
fn what_a_broken_service_lacks_is_not_reported_twice() {
    let policy = "service: a\nallowed_actions: [{type: restart}]\nsafety_checks:\n  - {name: must_have_budget_left, \
                  slo: a-availability, threshold: 10}\n";
    for service in
        ["name: a\nowner: x\nslo: {availability: 100}\n", "name: a\nslo: {availability: 99}\n", "name: a: b\n"]
    {
        let loaded = load_texts(&[("a.yaml", service), ("p.yaml", policy)], &Options::default());
        assert!(loaded.is_fatal());
        assert!(loaded.problems.iter().all(|problem| problem.file == "a.yaml"), "{}", loaded.render(false));
    }
    assert_eq!(load_text("p.yaml", policy).problems[0].code, Code::UnknownReference);
}

#[test]
fn a_service_of_two_files_is_refused_with_both_places() {
    let service = "name: a\nowner: x\nslo: {availability: {objective: 99, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n";
    let loaded = load_texts(&[("one.yaml", service), ("two.yaml", service)], &Options::default());
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(loaded.problems[0].file, "two.yaml");
    assert!(loaded.problems[0].what.contains("first at one.yaml:1:7"), "{}", loaded.problems[0].what);
}

#[test]
fn the_digest_follows_the_meaning_and_not_the_text() {
    let of = |name: &str, text: &str| load_text(name, text).digest;
    let plain = "name: a\nowner: x\nslo: {availability: 99.9}\n";
    let digest = of("a.yaml", plain);
    assert_eq!(digest.len(), 64);
    assert_eq!(digest, of("b.yml", "# a comment\nowner: x\nname: a\nslo:\n  availability: {objective: 99.90}\n"));
    assert_ne!(digest, of("a.yaml", &plain.replace("99.9", "99.8")));
}

#[test]
fn folders_are_read_in_order_through_config_map_links_and_past_loops() {
    let folder = std::env::temp_dir().join(format!("slowburn-rules-{}", std::process::id()));
    let data = folder.join("..2026_01_01");
    fs::create_dir_all(&data).expect("a folder");
    let service = |name: &str| format!("name: {name}\nowner: x\nslo: {{availability: 99.9}}\n");
    fs::write(data.join("a.yaml"), service("a")).expect("written");
    std::os::unix::fs::symlink("..2026_01_01", folder.join("..data")).expect("linked");
    std::os::unix::fs::symlink("..data/a.yaml", folder.join("a.yaml")).expect("linked");
    std::os::unix::fs::symlink(".", folder.join("loop")).expect("linked");
    fs::write(folder.join("b.yml"), service("b")).expect("written");
    fs::write(folder.join("notes.txt"), "not yaml: [").expect("written");
    let loaded = load(std::slice::from_ref(&folder));
    let names: Vec<&str> = loaded.model.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["a", "b"], "{}", loaded.render(false));
    assert!(!loaded.is_fatal());

    fs::write(folder.join("big.yaml"), " ".repeat(files::FILE_BYTES_MAX + 1)).expect("written");
    fs::write(folder.join("bytes.yaml"), b"name: \xff\n").expect("written");
    std::os::unix::fs::symlink("nowhere.yaml", folder.join("gone.yaml")).expect("linked");
    let loaded = load(std::slice::from_ref(&folder));
    let text = loaded.render(false);
    assert!(
        text.contains("is over 1024 KiB") && text.contains("not UTF-8 from byte 6") && text.contains("gone.yaml"),
        "{text}"
    );
    fs::remove_dir_all(&folder).expect("removed");

    assert!(load(&[folder]).is_fatal(), "a folder that is not there");
    assert!(load(&[]).is_fatal(), "no folder at all");
}

#[test]
fn sarif_names_the_rule_the_file_and_the_place() {
    let loaded = load_text("rules/my service.yaml", "name: a\nowner: x\nslo: {availability: 100}\n");
    let log = sarif(&loaded.problems);
    assert_eq!(log["version"], "2.1.0");
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "invalid-objective");
    assert_eq!(result["level"], "error");
    let location = &result["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "rules/my%20service.yaml");
    assert_eq!(location["region"]["startLine"], 3);
    let json = serde_json::to_value(&loaded.problems[0]).expect("serializable");
    assert_eq!(json["code"], "invalid-objective");
    assert_eq!(json["severity"], "error");
}

#[test]
fn codes_are_the_same_text_everywhere() {
    for code in [Code::Unreadable, Code::UnknownKey, Code::NoOwner, Code::InvalidSli, Code::DuplicateId, Code::NoSlo] {
        assert_eq!(serde_json::to_value(code).expect("serializable"), code.as_str());
    }
}

#[test]
fn a_line_that_may_hold_a_secret_and_control_characters_are_not_printed() {
    let loaded = load_text("a.yaml", "name: a\nowner: x\nslo: {availability: 99.9}\ntoken: hunter2\n");
    assert!(loaded.is_fatal() && !loaded.render(true).contains("hunter2"));
    let loaded = load_text("a.yaml", "name: \"a\\e[31m\"\nowner: x\nslo: {availability: 99.9}\n");
    assert!(loaded.is_fatal() && !loaded.render(false).contains('\u{1b}'), "{}", loaded.render(false));
}

#[test]
fn a_problem_shows_its_own_line_whatever_ends_the_lines() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["name: checkout", "owner: a", "colour: red", "slo: {}", ""].join(end);
        let shown = load_text("any.yaml", &text).render(false);
        assert!(shown.contains("any.yaml:3:1") && shown.contains("3 | colour: red\n"), "{end:?}: {shown}");
    }
}

#[test]
fn explained_numbers_are_those_of_the_workbook() {
    let text = "name: a\nowner: x\nslo: {availability: {objective: 99.9, sli: {total: m, bad: 'm{a=\"b\"}'}}}\n";
    let loaded = load_text("a.yaml", text);
    let explained = explain(&loaded.model.slos[0]);
    let spent: Vec<f64> = explained.clauses.iter().map(|clause| (clause.budget_spent * 1e4).round() / 1e4).collect();
    assert_eq!(spent, [0.02, 0.05, 0.1, 0.1]);
    let minutes: Vec<f64> = explained.clauses.iter().map(|clause| (clause.detection_s / 0.06).round() / 1e3).collect();
    assert_eq!(minutes, [0.864, 2.16, 4.32, 4.32]);
    assert!((explained.clauses[0].error_ratio - 0.0144).abs() < 1e-12);
}

#[test]
fn hostile_yaml_is_refused_and_bounded() {
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string(), |text, i| {
        let row = vec![format!("*a{}", i - 1); 9].join(", ");
        text + &format!("a{i}: &a{i} [{row}]\n")
    });
    let labels: String = (0..30_000).map(|i| format!("l{i}: x\n")).collect();
    for text in [
        "[".repeat(20_000),
        "{a: ".repeat(20_000),
        "- ".repeat(20_000),
        bomb,
        "a: &a [*a]".into(),
        format!("name: a\nowner: x\nslo: {{availability: 99.9}}\n{labels}"),
        format!("name: {}\nowner: x\nslo: {{availability: 99.9}}\n", "a".repeat(500_000)),
        "x".repeat(files::FILE_BYTES_MAX + 1),
        format!(
            "name: a\nowner: x\nslo: {{availability: {{objective: 99, sli: {{total: '{}', bad: m}}}}}}\n",
            "(".repeat(200_000)
        ),
    ] {
        let loaded = load_text("a.yaml", &text);
        assert!(loaded.is_fatal());
        assert!(loaded.render(false).len() < 16 << 20);
    }
}

/// Words that get deeper into the readers than noise would.
fn yamlish() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("name: a\nowner: x\nslo:\n  availability: ".to_string()),
        Just("service: a\nallowed_actions: ".to_string()),
        "(latency|ttfb|gpu_queue_time)_p[0-9]{1,4}_(ms|s|h): ".prop_map(|key| format!("\n  {key}")),
        Just("custom: [{name: x, objective: 99, slices: {query: ".to_string()),
        Just("alert_policies: [{type: burn_rate, fast_burn: ".to_string()),
        Just("severity_mapping: [{condition: budget_below(1%), severity: ".to_string()),
        Just("{objective: 99, sli: {histogram: ".to_string()),
        "[0-9]{1,3}(h|m|d|M|s)?/?[0-9]{0,2}(m|s)? ?> ?[0-9.]{1,4}(x|%|d|)".prop_map(|clause| format!("\"{clause}\"")),
        "[0-9.e-]{1,6}",
        "[\\[\\]{}:,&*!|>'\"%@`?#\n -]{1,4}",
        "\\PC{0,6}",
        Just("\n  ".to_string()),
        Just("}]}".to_string()),
    ];
    prop::collection::vec(word, 0..14).prop_map(|words| words.concat())
}

/// What holds of everything that was loaded, from whatever text.
fn check_invariants(loaded: &Loaded) -> Result<(), TestCaseError> {
    let explained: Vec<Explained> = loaded.model.slos.iter().map(explain).collect();
    let _ = (loaded.render(true), sarif(&loaded.problems), explained);
    for spec in &loaded.model.slos {
        prop_assert!(spec.slo.budget() > 0.0 && spec.slo.budget() < 1.0);
        prop_assert!(spec.slo.id.starts_with(&spec.slo.service) && !spec.slo.owner.is_empty());
        for clause in &spec.slo.burn {
            prop_assert!(clause.factor > 0.0 && clause.factor * spec.slo.budget() < 1.0);
            prop_assert!(clause.short_s >= 30 && clause.short_s < clause.long_s);
            prop_assert!(clause.long_s <= spec.slo.window_s);
        }
        match &spec.source {
            Ok(SliSource::Histogram { threshold, .. }) => prop_assert!(threshold.is_finite()),
            Ok(SliSource::Ratio { total, .. }) => prop_assert!(selector::selector(total).is_ok()),
            _ => {}
        }
    }
    Ok(())
}

/// All files of `tests/configs` and `rules`.
fn corpus() -> &'static Vec<String> {
    static CORPUS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    CORPUS.get_or_init(|| {
        let folders =
            ["tests/configs/good", "tests/configs/bad", "rules/services", "rules/policies", "rules/exclusions"];
        let paths = folders.into_iter().flat_map(yaml_files);
        paths.map(|path| fs::read_to_string(path).expect("readable")).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_the_loader(text in prop_oneof![any::<String>(), yamlish()]) {
        check_invariants(&load_text("a.yaml", &text))?;
        let _ = crate::config::load_text("s.yaml", &text).render(false);
    }

    #[test]
    fn no_slip_in_a_real_file_panics_the_loader(
        pick in any::<prop::sample::Index>(),
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4, "[\\PC\\n:{}\\[\\]'\"#%>/-]{0,3}"), 1..6),
    ) {
        let corpus = corpus();
        let mut text: Vec<char> = pick.get(corpus).chars().collect();
        for (at, removed, put) in slips {
            let from = at.index(text.len() + 1);
            let to = text.len().min(from + removed);
            text.splice(from..to, put.chars());
        }
        let text: String = text.into_iter().collect();
        check_invariants(&load_text("a.yaml", &text))?;
    }

    #[test]
    fn no_bytes_panic_the_loader(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        load_text("a.yaml", &String::from_utf8_lossy(&bytes)).render(false);
    }

    #[test]
    fn a_printed_duration_reads_back(seconds in 1_i64..315_360_000) {
        let span = TimeSpan::from_seconds(seconds).expect("in range");
        prop_assert_eq!(TimeSpan::parse(&span.to_string()), Ok(span));
    }
}
