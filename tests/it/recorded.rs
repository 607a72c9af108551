//! Presets against pages that running software printed while a client sent traffic and counted what became of it: the test asks
//! for the client's numbers, not for names.
//!
//! `recorded/*.prom` are some pages of one process, ten scrapes apart, cut down to the metrics that a preset may read. `#! service`,
//! `#! slo` and `#! truth` say what a user would write and what the client saw.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use crate::presets::slowburn;

/// On the slice grid.
const START: i64 = 1_790_000_010;
const EVERY: i64 = 30;
const SCRAPES: i64 = 50;

/// A file: its rules, the truth by id, and the samples of a target.
#[derive(Default)]
struct Recorded {
    rules: Vec<String>,
    truth: Vec<(String, u64, u64)>,
    samples: String,
}

fn read(stem: &str, text: &str) -> Recorded {
    let mut found = Recorded::default();
    let (mut preset, mut at) = ("", 0);
    let mut pages: Vec<(i64, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        let mut words = line.strip_prefix("#! ").unwrap_or_default().splitn(3, ' ');
        let [key, name, rest] = [words.next(), words.next(), words.next()].map(Option::unwrap_or_default);
        match key {
            "preset" => preset = name,
            "service" => {
                let (label, value) = rest.split_once('=').expect("a label");
                found.rules.push(format!(
                    "name: {name}\nowner: team\ntelemetry: {{preset: {preset}, match: {{{label}: '{value}'}}}}\nslo:\n"
                ));
            }
            "slo" => writeln!(found.rules.last_mut().expect("a service"), "  {rest}").expect("a String grows"),
            "truth" => {
                let (total, bad) = rest.split_once(' ').expect("two numbers");
                found.truth.push((name.into(), total.parse().expect("a number"), bad.parse().expect("a number")));
            }
            "page" => {
                at = name.parse().expect("a scrape");
                pages.push((at, Vec::new()));
            }
            _ if line.starts_with('#') => {}
            _ => pages.last_mut().unwrap_or_else(|| panic!("{at}: no page")).1.push(line),
        }
    }
    let mut series: std::collections::BTreeMap<String, Vec<(i64, &str)>> = std::collections::BTreeMap::new();
    for scrape in 0..SCRAPES {
        let (_, page) = pages.iter().rev().find(|(from, _)| *from <= scrape).expect("the first page is of scrape 0");
        let at = START + EVERY * scrape + 7;
        let target = format!("instance=\"{stem}:80\",job=\"real\"");
        series.entry(format!("up{{{target}}}")).or_default().push((at, "1"));
        for line in page {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let name = match name.strip_suffix('}') {
                Some(open) => format!("{open},{target}}}"),
                None => format!("{name}{{{target}}}"),
            };
            series.entry(name).or_default().push((at, value));
        }
    }
    for (name, samples) in series {
        for (at, value) in samples {
            writeln!(found.samples, "{name} {value} {at}").expect("a String grows");
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_saw_is_what_is_counted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recorded");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("there").map(|file| file.expect("readable").path()).collect();
    files.sort();
    let (mut past, mut truth) = (String::new(), Vec::new());
    for path in files {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let found = read(stem, &std::fs::read_to_string(&path).expect("readable"));
        assert!(!found.truth.is_empty(), "{}: no truth", path.display());
        for (nth, rules) in found.rules.iter().enumerate() {
            std::fs::write(dir.path().join(format!("{stem}-{nth}.yaml")), rules).expect("writable");
        }
        past += &found.samples;
        truth.extend(found.truth);
    }
    past += "# EOF\n";
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past)), ..PromOptions::default() }).await;
    let (at, url, rules) = ((START + EVERY * SCRAPES).to_string(), prometheus.url(), dir.path().display().to_string());
    let (_, out, err) =
        slowburn(&["eval", "--format", "json", "--at", &at, "--prometheus-url", &url, "--rules", &rules]);
    let slos: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    let counted = |id: &str| {
        let slo = slos.iter().find(|slo| slo["id"] == id).unwrap_or_else(|| panic!("{id}: {err}"));
        let window = &slo["series"][0]["window"];
        (window["total"].as_u64(), window["bad"].as_u64())
    };
    for (id, total, bad) in &truth {
        assert_eq!(counted(id), (Some(*total), Some(*bad)), "{id}");
    }
    assert_eq!(slos.len(), truth.len(), "every SLO has its truth");
}
