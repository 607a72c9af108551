//! Rules for Prometheus: promtool accepts them, and with them a server would raise the alerts they promise.

use std::path::Path;
use std::process::{Command, Output};

use crate::fleet::write_rules;
use crate::harness::parts::part;

fn export(path: &Path) -> Output {
    let binary = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["export", "prometheus", "--rules"])
        .arg(path)
        .env("NO_COLOR", "1")
        .output();
    binary.expect("the binary runs")
}

#[track_caller]
fn promtool(args: &[&str], folder: &Path) -> String {
    let output = Command::new(part("promtool")).args(args).current_dir(folder).output().expect("promtool starts");
    let text = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "promtool {args:?}:\n{text}");
    text
}

/// Every file that loads, whatever is in it.
#[test]
fn promtool_accepts_the_rules_of_every_file_that_loads() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    let mut rules = Vec::new();
    for folder in ["tests/configs/good", "rules/services"] {
        for entry in std::fs::read_dir(project.join(folder)).expect("a folder of rules") {
            let path = entry.expect("readable").path();
            if path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            let output = export(&path);
            let says = String::from_utf8_lossy(&output.stderr);
            let text = String::from_utf8_lossy(&output.stdout);
            // An SLO without a source has no rules, and the file says so.
            let left_out = text.contains("# Not exported: ");
            assert_eq!(output.status.code(), Some(i32::from(left_out)), "{}: {says}", path.display());
            assert_eq!(left_out, says.contains("is left out: "), "{}: {says}", path.display());
            let name = format!("{files}.yaml");
            std::fs::write(dir.path().join(&name), &*text).expect("writable");
            files += 1;
            rules.push(name);
        }
    }
    let args: Vec<&str> = ["check", "rules"].into_iter().chain(rules.iter().map(String::as_str)).collect();
    let text = promtool(&args, dir.path());
    assert!(files > 25, "{files} files");
    assert_eq!(text.matches("SUCCESS").count(), files, "{text}");
}

const POLICY: &str =
    "alert_policies: [{type: burn_rate, fast_burn: [\"1h > 14.4x\", \"6h > 6x\"], slow_burn: \"1d > 3x\"}]\n";

/// The kinds of SLI there are: counters with a part that is bad or good, histograms by event and by slice, gauges.
fn services() -> Vec<(&'static str, String)> {
    let web = r#"name: web
owner: team-web
slo:
  availability: {objective: 99.9, by: [tier], sli: {total: 'r', bad: 'r{code=~"5.."}'}}
  latency_p99_ms: {max: 1000, method: events, sli: {histogram: 'h_seconds'}}
  latency_p95_ms: {max: 1000, sli: {histogram: 'h_seconds'}}
  feature_freshness_max_delay_s: {max: 60, sli: {gauge: 'age_seconds'}}
  custom:
    - {name: checks, objective: 99, events: {total: 'checks', good: 'checks{ok="1"}'}}
incident:
  runbook: "https://runbooks.internal/{{web}}"
"#;
    let ghost = "name: ghost\nowner: team-ghost\nslo:\n  availability: {objective: 99.9, sli: {total: 'nothing', bad: 'nothing{code=\"500\"}'}}\n";
    vec![("web.yaml", format!("{web}{POLICY}")), ("ghost.yaml", format!("{ghost}{POLICY}"))]
}

/// An alert as promtool expects it.
fn alert(service: &str, slo: &str, kind: &str, more: &str, summary: &str) -> String {
    let (sev, severity) = if kind == "fast_burn" { ("SEV-2", "critical") } else { ("SEV-3", "warning") };
    let runbook = if service == "web" { "runbook: 'https://runbooks.internal/{{web}}', " } else { "" };
    format!(
        "          - exp_labels: {{service: {service}, slo: {slo}, slo_id: {service}-{slo}, owner: team-{service}, kind: {kind}, \
         sev: {sev}, severity: {severity}, watcher: prometheus{more}}}\n            \
         exp_annotations: {{{runbook}summary: '{service}-{slo} {summary}'}}\n"
    )
}

#[test]
fn the_alerts_of_the_rules_fire_and_fire_not_in_promtool() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_rules(&dir.path().join("services"), &services());
    let output = export(&dir.path().join("services"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(dir.path().join("rules.yaml"), &output.stdout).expect("writable");
    // Two quiet hours, and one in which half of everything is bad. The 5xx series appears with its first error, and one
    // of the exporters writes its bounds the way of Python.
    let fast = "burns its error budget: 1h > 14.4x or 6h > 6x";
    let mut firing = String::new();
    for (slo, more) in [
        ("availability", ", tier: realtime"),
        ("latency-p99", ""),
        ("latency-p95", ""),
        ("feature-freshness", ""),
        ("checks", ""),
    ] {
        firing += &alert("web", slo, "fast_burn", more, fast);
    }
    let missing = alert("ghost", "availability", "data_missing", "", "has no data");
    let text = format!(
        r#"rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'r{{code="200",tier="realtime"}}', values: '0+60x120 7200+30x60'}}
      - {{series: 'r{{code="500",tier="realtime"}}', values: '_x120 0+30x60'}}
      - {{series: 'r{{code="200",tier="batch"}}', values: '0+60x180'}}
      - {{series: 'h_seconds_count{{instance="a"}}', values: '0+60x180'}}
      - {{series: 'h_seconds_bucket{{instance="a",le="1"}}', values: '0+60x120 7200+30x60'}}
      - {{series: 'h_seconds_count{{instance="b"}}', values: '0+60x180'}}
      - {{series: 'h_seconds_bucket{{instance="b",le="1.0"}}', values: '0+60x120 7200+30x60'}}
      - {{series: 'age_seconds', values: '10x120 500x60'}}
      - {{series: 'checks{{ok="1"}}', values: '0+60x120 7200+0x60'}}
      - {{series: 'checks{{ok="0"}}', values: '_x120 0+60x60'}}
    alert_rule_test:
      - {{eval_time: 115m, alertname: SLOFastBurn, exp_alerts: []}}
      - {{eval_time: 115m, alertname: SLOSlowBurn, exp_alerts: []}}
      - {{eval_time: 115m, alertname: SLOBudget, exp_alerts: []}}
      - eval_time: 170m
        alertname: SLOFastBurn
        exp_alerts:
{firing}      - eval_time: 170m
        alertname: SLODataMissing
        exp_alerts:
{missing}"#
    );
    std::fs::write(dir.path().join("test.yaml"), text).expect("writable");
    promtool(&["check", "rules", "rules.yaml"], dir.path());
    promtool(&["test", "rules", "test.yaml"], dir.path());
}

#[test]
fn a_file_is_written_whole_and_mistakes_end_with_their_codes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_rules(dir.path(), &services());
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_slowburn")).args(args).current_dir(dir.path()).output();
        let output = output.expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, says) = run(&["export", "prometheus", "--rules", "web.yaml", "--out", "rules.txt"]);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("rules.txt: ") && says.contains(" rules in 5 SLOs"), "{says}");
    promtool(&["check", "rules", "rules.txt"], dir.path());
    let (code, says) = run(&["export", "prometheus", "--rules", "web.yaml", "--out", "no/such/folder"]);
    assert_eq!(code, Some(2), "{says}");
    std::fs::write(dir.path().join("bad.yaml"), "name: bad\n").expect("writable");
    let (code, says) = run(&["export", "prometheus", "--rules", "bad.yaml"]);
    assert_eq!(code, Some(64), "{says}");
    assert!(says.contains("bad.yaml:1"), "{says}");
}
