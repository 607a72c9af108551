//! A small fleet with one of each kind of SLI, and what a daemon needs to watch it.

use std::io::BufWriter;
use std::path::Path;

use slowburn::demo::count::{Count, DAY, Shape, Timeline, Traffic};
use slowburn::demo::scenario::{Gauge, Mode, Pod, Scenario};

use crate::harness::prometheus::{Past, PromOptions, Prometheus};

/// The metric of requests.
pub const REQUESTS: &str = "http_requests_total";

/// `pay`: four pods that restart, a wobbling traffic of a few requests a second, an outage in every span of `burns`.
/// `quiet`: ten requests a minute, and every one of them fails in `burns`. `features`: a gauge that is too old then.
pub fn scenario(start: i64, end: i64, burns: &[(i64, i64)]) -> Scenario {
    let origin = (start - 10 * DAY).div_euclid(DAY) * DAY;
    let during = |base: f64, value: f64| {
        burns.iter().fold(Timeline::new(base), |timeline, &(from, to)| timeline.during(from, to, value))
    };
    let mut scenario = Scenario::new();
    for pod in 0..3_i64 {
        let restarts = (1..).map(|n| start + n * 5 * 3600 + pod * 777).take_while(|&s| s < end);
        let hole = start + 7 * 3600 + pod * 3600;
        let at = Pod::new("pay", &format!("pay-{pod}:80"), 3_100 + 9_000 * pod, start - 3 * DAY);
        let at = scenario.pod(at.restarts(restarts).hole(hole, hole + 200));
        let total = Count::of(Traffic { rate: 2.0, shape: Shape::Flat, wobble: Some(pod as u64), origin });
        let bad = total.part(&during(0.0002, 0.3));
        scenario.counter(at, REQUESTS, &[("service", "pay"), ("code", "200")], &total.without(&bad));
        scenario.born_counter(at, REQUESTS, &[("service", "pay"), ("code", "500")], &bad);
        let slow = total.part(&during(0.01, 0.4));
        let modes = [
            Mode { count: total.without(&slow), median: 0.03, sigma: 0.5 },
            Mode { count: slow, median: 0.9, sigma: 0.4 },
        ];
        let bounds = [0.05, 0.1, 0.25, 1.0];
        scenario.histogram(at, "http_request_duration_seconds", &[("service", "pay")], &bounds, &modes);
    }
    let at = scenario.pod(Pod::new("quiet", "quiet-0:80", 12_000, start - 3 * DAY));
    let total = Count::of(Traffic { rate: 1.0 / 6.0, shape: Shape::Flat, wobble: None, origin });
    let bad = total.part(&during(0.0, 1.0));
    scenario.counter(at, REQUESTS, &[("service", "quiet"), ("code", "200")], &total.without(&bad));
    scenario.counter(at, REQUESTS, &[("service", "quiet"), ("code", "500")], &bad);
    let modes = [Mode { count: total, median: 0.03, sigma: 0.5 }];
    scenario.histogram(at, "http_request_duration_seconds", &[("service", "quiet")], &[0.05, 0.1], &modes);
    let at = scenario.pod(Pod::new("features", "features-0:80", 21_000, start - 3 * DAY));
    let age = Gauge::Age { period_s: 30, stalls: burns.to_vec() };
    scenario.gauge(at, "feature_age_seconds", &[("view", "user")], age);
    scenario
}

fn http_rules(service: &str) -> String {
    let total = format!("{REQUESTS}{{service=\"{service}\"}}");
    let bad = format!("{REQUESTS}{{service=\"{service}\",code=~\"5..\"}}");
    format!(
        "name: {service}\nowner: team-{service}\nslo:\n  \
         availability: {{objective: 99.9, sli: {{total: '{total}', bad: '{bad}'}}}}\n  \
         latency_p95_ms: {{max: 100, sli: {{histogram: 'http_request_duration_seconds{{service=\"{service}\"}}'}}}}\n\
         incident:\n  runbook: https://runbooks.internal/{service}\n  \
         severity_mapping:\n    - {{condition: fast_burn, severity: SEV-1}}\n"
    )
}

/// The rules, by file name.
pub fn rules() -> Vec<(&'static str, String)> {
    let features = "name: features\nowner: team-features\nslo:\n  \
         feature_freshness_max_delay_s: {max: 60, sli: {gauge: 'feature_age_seconds'}}\n";
    vec![("features.yaml", features.into()), ("pay.yaml", http_rules("pay")), ("quiet.yaml", http_rules("quiet"))]
}

/// Writes the rules into a folder.
pub fn write_rules(dir: &Path, rules: &[(&str, String)]) {
    std::fs::create_dir_all(dir).expect("a folder can be made");
    for (name, text) in rules {
        std::fs::write(dir.join(name), text).expect("a rule file can be written");
    }
}

/// A real Prometheus that holds the samples of [from, to).
pub async fn prometheus(scenario: &Scenario, from: i64, to: i64) -> Prometheus {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("past.om");
    let mut out = BufWriter::new(std::fs::File::create(&file).expect("a file can be made"));
    scenario.write_openmetrics(from, to, &mut out).expect("written");
    drop(out);
    Prometheus::start(PromOptions { past: Some(Past::File(file)), ..PromOptions::default() }).await
}
