//! `slowburn check --prometheus-url` on the habits of real metrics: what cannot be believed is named with its evidence,
//! and of what can be nothing is said.

use std::collections::BTreeMap;

use serde_json::Value;
use slowburn::demo::scenarios::REQUESTS;
use slowburn::demo::scenarios::counts::{self, HOURS};

use crate::fleet;
use crate::presets::slowburn;

const END: i64 = 1_790_000_100;

/// Complaints by service, in order.
fn complaints(json: &Value) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for finding in json["findings"].as_array().expect("a list") {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let (slo, complaint) = (text("slo"), text("complaint"));
        let service = slo.rsplit_once("-availability").or_else(|| slo.rsplit_once("-latency")).expect("an id").0;
        found.entry(service.to_owned()).or_default().push(complaint);
    }
    found
}

fn counters(name: &str, total: &str, part: &str) -> (String, String) {
    let of = |matchers: &str| format!("{REQUESTS}{{{matchers}}}");
    let (kind, matchers) = part.split_once(": ").expect("a part");
    let sli = format!("{{total: '{}', {kind}: '{}'}}", of(total), of(matchers));
    let text = format!("name: {name}\nowner: team\nslo:\n  availability: {{objective: 99.9, sli: {sli}}}\n");
    (format!("{name}.yaml"), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_what_cannot_be_believed_and_nothing_else() {
    let cases = counts::all(END);
    let prometheus = fleet::prometheus(&counts::joined(&cases), END - HOURS * 3600, END).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    for case in &cases {
        let text = format!("name: {}\nowner: team\nslo:\n  {}\n", case.name, case.source.slo());
        std::fs::write(dir.path().join(format!("{}.yaml", case.name)), text).expect("writable");
    }
    let plain = "service=\"plain\"";
    let written = [
        counters("near-miss", plain, "bad: service=\"Plain\",code=\"500\""),
        counters("good-above", "service=\"plain\",code=\"200\"", "good: service=\"plain\",code!=\"500\""),
        counters("mostly-bad", plain, "bad: service=\"plain\",code=\"200\""),
        counters("none-yet", "service=\"plain\",code!=\"500\"", "bad: service=\"plain\",code=\"503\""),
    ];
    for (name, text) in &written {
        std::fs::write(dir.path().join(name), text).expect("writable");
    }

    let (url, rules, at) = (prometheus.url(), dir.path().display().to_string(), END.to_string());
    let args = ["check", &rules, "--prometheus-url", &url, "--at", &at, "--days", "0"];
    let (code, text, err) = slowburn(&args);
    println!("{text}{err}");
    assert_eq!(code, 1, "some of it is an error: {text}{err}");
    let (_, json, err) = slowburn(&[&args[..], &["--format", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {err}"));

    let wanted: BTreeMap<String, Vec<String>> = [
        ("workers", "counter_flickers"),
        ("summed-pods", "sum_of_processes"),
        ("not-cumulative", "not_cumulative"),
        ("over-2-53", "too_large"),
        ("two-clusters", "target_twice"),
        ("replicas-apart", "target_twice"),
        ("two-groups", "target_twice"),
        ("own-times", "target_twice"),
        ("replicas-merged", "reads_lower"),
        ("glitches", "reads_lower"),
        ("glitches-unsaid", "reads_lower"),
        // It falls without a restart, which is all that a query shows.
        ("forgotten", "reads_lower"),
        ("crash-33s", "falls_often"),
        ("crash-60s", "falls_often"),
        ("crash-5m", "falls_often"),
        ("crash-33s-unsaid", "falls_often"),
        ("crash-5m-unsaid", "falls_often"),
        ("near-miss", "near_miss"),
        ("good-above", "good_above_total"),
        ("mostly-bad", "mostly_bad"),
    ]
    .map(|(service, complaint)| (service.to_owned(), vec![complaint.to_owned()]))
    .into();
    assert_eq!(complaints(&json), wanted);

    for line in [
        "target_labels: [job, instance, cluster]",
        "target_labels: [job, instance, replica]",
        "target_labels: [job, instance, zone]",
        "none yet: counts as no bad events; code is",
        "there is service=\"plain\", and \"Plain\" is written",
        "near-miss-availability: bad: none yet: counts as no bad events; service is \"",
        "= service=\"plain\"",
        "several processes behind one address",
        "le=\"0.5\" holds",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
