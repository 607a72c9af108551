//! Counts against the truth on the habits of real metrics, on a real Prometheus: read at once by `eval`, by a daemon that
//! lived through the last hours, by one that was started anew again and again meanwhile, and by one that started in the middle
//! of the incident. All have to say the same, and that what happened, or name the fault of the data; and never may any of them be
//! further off than `increase()`.

mod judgement;
mod reading;
mod relabelled;

use std::io::BufWriter;

use slowburn::demo::scenarios::counts::{self, Case, HOURS, Source};
use slowburn::query::promql::expr;

use crate::harness::parts::http;
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use judgement::{Judgement, Row};
use reading::Reading;

/// On the grid of the tier that a day's window ends in, so that truth and windows have the same edges; on no full hour.
const END: i64 = 1_790_000_100;
const HOUR: i64 = 3600;
const OLDEST: i64 = END - HOURS * HOUR;

fn rules(case: &Case) -> (String, String) {
    let (name, slo) = (case.name, case.source.slo());
    (format!("{name}.yaml"), format!("name: {name}\nowner: team\nslo:\n  {slo}\n"))
}

/// `COUNTS_ONLY=a,b` looks at these cases alone: for whoever works on one of them.
fn cases() -> Vec<Case> {
    let only = std::env::var("COUNTS_ONLY").unwrap_or_default();
    let wanted = |case: &Case| only.is_empty() || only.split(',').any(|name| name == case.name);
    counts::all(END).into_iter().filter(wanted).collect()
}

/// What most people ask instead, `(total, bad)` over `window`.
fn increase(source: &Source, window: &str) -> (String, String) {
    let sum = |selector: &str| expr::aggregate::<&str>("sum", &[], &expr::over("increase", selector, window));
    match source {
        Source::Counters { total, bad } => (sum(total), sum(bad)),
        Source::Histogram { name, matchers, bound } => {
            let total = sum(&format!("{name}_count{{{matchers}}}"));
            let good = sum(&format!("{name}_bucket{{{matchers},le=\"{bound}\"}}"));
            (total.clone(), format!("{total} - {good}"))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_ways_of_reading_count_what_happened_or_say_why_not() {
    let cases = cases();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("past.om");
    let scenario = counts::joined(&cases);
    let mut out = BufWriter::new(std::fs::File::create(&file).expect("writable"));
    scenario.write_openmetrics(OLDEST, END, &mut out).expect("written");
    drop(out);
    let options = PromOptions { past: Some(Past::File(file)), ..PromOptions::default() };
    let prometheus = Prometheus::start(options).await;

    let services = dir.path().join("services");
    std::fs::create_dir(&services).expect("writable");
    let files: Vec<(String, String)> = cases.iter().map(rules).collect();
    for (name, text) in &files {
        std::fs::write(services.join(name), text).expect("writable");
    }
    let texts: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();

    let url = prometheus.url();
    let read = reading::at_once(&url, &services, END);
    let lived = reading::by_a_daemon(&url, &texts, END - 2 * HOUR, END).await;
    let again = reading::by_restarts(&url, &texts, END - 2 * HOUR, END).await;
    let cold = reading::by_a_daemon(&url, &texts, END - 40 * 60, END).await;

    let build = http().get(format!("{url}/api/v1/status/buildinfo")).send().await.expect("Prometheus answers");
    let mut judgement = Judgement::new(&build.json().await.expect("JSON"));
    for case in &cases {
        let readings = [&read[case.name], &lived[case.name], &again[case.name], &cold[case.name]];
        for window_s in [24 * HOUR, HOUR] {
            let truth = scenario.scraped(case.name, OLDEST, END - window_s, END).expect("it is known");
            let (total, bad) = increase(&case.source, &format!("{window_s}s"));
            let number = async |query: &str| prometheus.number(query, Some(END as f64)).await.unwrap_or(0.0);
            let increase = (number(&total).await, number(&bad).await);
            judgement.judge(case, Row { window_s, truth, readings, increase });
        }
    }
    judgement.end();
}
