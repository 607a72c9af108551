//! The data the cost is counted on: blocks of scraped samples that end now, the peers' own recorded history, and a page
//! that goes on with both pods of every service.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use slowburn::clock::Clock;
use slowburn::demo::openmetrics::blocks;
use slowburn::demo::scenario::Scenario;
use slowburn::demo::scenarios;
use tempfile::TempDir;

use crate::harness::parts::Generation;
use crate::harness::parts::{self, Server};
use crate::harness::prometheus::create_blocks;
use crate::peers::{Promise, RuleFile, ratio};

const DAY: i64 = 86_400;
/// The last stretch of the past is made last, so that it ends when the servers start.
const TAIL_S: i64 = 3600;
/// Prometheus looks back this far for a value, seconds.
const LOOKBACK_S: i64 = 300;

/// Data on disk and the scenario behind it.
pub struct Fixture {
    pub services: usize,
    pub days: i64,
    /// Just after the newest sample, on the slice grid; seconds.
    pub end: i64,
    /// Samples in the blocks.
    pub samples: u64,
    scenario: Arc<Scenario>,
    dir: TempDir,
}

fn now() -> i64 {
    Clock::wall().now().div_euclid(30) * 30
}

impl Fixture {
    /// Writes `days` days of `services` services.
    pub fn make(services: usize, days: i64, promises: &[Promise]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let begun = now();
        let scenario = scenarios::fixture(services, days, begun);
        let cut = begun - TAIL_S;
        let work = Mutex::new(blocks(begun - days * DAY, cut));
        let total = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let Some(span) = work.lock().expect("not poisoned").pop() else { break };
                        let written = span_to_block(&scenario, promises, span, &[], dir.path());
                        *total.lock().expect("not poisoned") += written;
                    }
                });
            }
        });
        let end = now();
        let files = [RuleFile::sloth(promises), RuleFile::pyrra(promises)];
        let tail = span_to_block(&scenario, promises, (cut, end), &files, dir.path());
        let samples = total.into_inner().expect("not poisoned") + tail;
        Fixture { services, days, end, samples, scenario: Arc::new(scenario), dir }
    }

    /// The folder of blocks.
    pub fn blocks(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Serves what the pods say now.
    pub async fn page(&self) -> Server {
        let scenario = Arc::clone(&self.scenario);
        parts::serve(Router::new().route("/metrics", get(page)).with_state(scenario)).await
    }

    /// One service file each; `window` as it stands in them, `suffix` on the names.
    pub fn rules(&self, window: &str, suffix: &str) -> Vec<(String, String)> {
        (0..self.services).map(|number| rules(number, window, suffix)).collect()
    }
}

/// The same two promises as the peers', in events of both kinds.
fn rules(number: usize, window: &str, suffix: &str) -> (String, String) {
    let service = format!("svc{number:03}");
    let text = format!(
        "name: {service}{suffix}\n\
         owner: bench\n\
         slo:\n\
         \x20 availability:\n\
         \x20   objective: 99.9\n\
         \x20   window: {window}\n\
         \x20   sli: {{total: 'http_requests_total{{service=\"{service}\"}}', bad: 'http_requests_total{{service=\"{service}\",code=~\"5..\"}}'}}\n\
         \x20 latency_p99_ms:\n\
         \x20   max: 250\n\
         \x20   method: events\n\
         \x20   window: {window}\n\
         \x20   sli: {{histogram: 'http_request_duration_seconds{{service=\"{service}\"}}'}}\n"
    );
    (format!("{service}{suffix}.yaml"), text)
}

/// One block of `[from, to)`: the scraped samples, Sloth's recorded 5-minute ratios (its 30-day rule reads them), and of
/// everything else that `recorded` names the newest values. Returns the samples in it.
fn span_to_block(
    scenario: &Scenario,
    promises: &[Promise],
    (from, to): (i64, i64),
    recorded: &[RuleFile],
    dir: &Path,
) -> u64 {
    let file = dir.join(format!("{from}.om"));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&file).expect("the temporary folder can be written"));
    let five = ratio("5m");
    let mut samples = 0;
    writeln!(out, "# TYPE {five} gauge").expect("written");
    for (number, promise) in promises.iter().enumerate() {
        let labels: Vec<String> =
            promise.sloth_labels().iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let series = format!("{five}{{{},sloth_window=\"5m\"}}", labels.join(","));
        // Groups are evaluated at moments of their own within the interval.
        let phase = 1 + 7 * number as i64 % 29;
        let mut at = from.div_euclid(30) * 30 + phase;
        while at < to {
            let truth = scenario.truth(&promise.id, at - 300, at).expect("a promise of the fixture");
            if let (true, Some(ratio)) = (at >= from, truth.seen_ratio()) {
                writeln!(out, "{series} {ratio} {at}").expect("written");
                samples += 1;
            }
            at += 30;
        }
    }
    let mut newest: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, labels) in recorded.iter().flat_map(RuleFile::recorded).filter(|(name, _)| *name != five) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        newest.entry(name.clone()).or_default().push(format!("{name}{{{}}}", labels.join(",")));
    }
    for (name, series) in newest {
        writeln!(out, "# TYPE {name} unknown").expect("written");
        for series in series {
            for at in (to - LOOKBACK_S..to).step_by(30) {
                writeln!(out, "{series} 0.0005 {at}").expect("written");
                samples += 1;
            }
        }
    }
    samples += scenario.write_openmetrics(from, to, &mut out).expect("written");
    drop(out);
    create_blocks(Generation::default(), &file, &dir.join("data"));
    std::fs::remove_file(&file).expect("it was just written");
    samples
}

/// The newest sample of every series but `up`, which the server makes itself.
async fn page(State(scenario): State<Arc<Scenario>>) -> String {
    let now_ms = Clock::wall().now_ms();
    let mut text = String::new();
    for (index, series) in scenario.series().iter().enumerate() {
        let name = series.labels.get("__name__").unwrap_or_default();
        let Some(sample) = scenario.newest(index, now_ms - 40_000, now_ms).filter(|_| name != "up") else { continue };
        let labels: Vec<String> = series
            .labels
            .iter()
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        writeln!(text, "{name}{{{}}} {}", labels.join(","), sample.value).expect("a String grows");
    }
    text
}
