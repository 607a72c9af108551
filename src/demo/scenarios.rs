//! Named scenarios: the eleven on which exactness is judged, the family on which counting is (`counts`), and the fixture on
//! which cost is counted.
//!
//! Each exactness scenario is one service of two pods over thirty days with a 30-minute incident that ends 20 minutes
//! before its end, so that both the last hour and the last thirty days hold it. The rates, ratios and phases are chosen
//! here; phases lie below 25 s so that bursts at second 0 and at second 25 of the minute fall between the same two
//! scrapes of every pod, the worst case for windows of one minute.

use super::count::{Count, DAY, Shape, Timeline, Traffic, hash};
use super::scenario::{Mode, Pod, PodId, Scenario};

pub mod counts;

/// Days that every exactness scenario covers.
pub const DAYS: i64 = 30;
/// The metric of all exactness scenarios.
pub const REQUESTS: &str = "http_requests_total";

/// One service with its own truth.
#[derive(Debug, Clone)]
pub struct Named {
    /// Value of its `service` label and name of its SLI.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Its incident, seconds, [from, to).
    pub incident: (i64, i64),
    /// Its pods and series.
    pub scenario: Scenario,
}

/// What the constructors differ in.
struct Plan {
    name: &'static str,
    about: &'static str,
    end: i64,
    rate: f64,
    shape: Shape,
    errors: Timeline,
    restarts: Vec<i64>,
    hole: Option<(i64, i64)>,
    born: bool,
}

const BACKGROUND: f64 = 0.0002;

impl Plan {
    /// Flat traffic, a little background, the incident.
    fn new(name: &'static str, about: &'static str, end: i64) -> Self {
        let (from, to) = incident(end);
        let errors = Timeline::new(BACKGROUND).during(from, to, 0.5);
        Plan { name, about, end, rate: 9.0, shape: Shape::Flat, errors, restarts: vec![], hole: None, born: false }
    }

    fn build(self) -> Named {
        let mut scenario = Scenario::new();
        let start = self.end - DAYS * DAY;
        for (i, phase_ms) in [7_300, 19_850].into_iter().enumerate() {
            // Pods die 12 s apart, as far as their phases lie apart: each loses the same part of its scrape interval.
            let restarts = self.restarts.iter().map(|&s| s + 12 * i as i64);
            let mut pod = Pod::new("api", &format!("{}-{i}:8080", self.name), phase_ms, start - 3 * DAY - 777);
            pod = pod.restarts(restarts);
            if let Some((from, to)) = self.hole {
                pod = pod.hole(from, to);
            }
            let pod = scenario.pod(pod);
            let rate = self.rate * if i == 0 { 1.0 } else { 0.9 };
            let total = Count::of(Traffic { rate, shape: self.shape, wobble: None, origin: origin(start) });
            let bad = total.part(&self.errors);
            requests(&mut scenario, pod, self.name, &total, &bad, self.born);
            scenario.truth_of(self.name, pod, &total, &bad);
        }
        Named { name: self.name, about: self.about, incident: incident(self.end), scenario }
    }
}

/// Midnight UTC ten days before `start`: before any pod was born.
fn origin(start: i64) -> i64 {
    (start - 10 * DAY).div_euclid(DAY) * DAY
}

/// [from, to) of the incident of a scenario that ends at `end`.
pub fn incident(end: i64) -> (i64, i64) {
    (end - 50 * 60, end - 20 * 60)
}

fn requests(scenario: &mut Scenario, pod: PodId, service: &str, total: &Count, bad: &Count, born: bool) {
    let good = total.without(bad);
    let missing = good.share(0.03);
    let unavailable = bad.share(0.3);
    let codes =
        [("200", good.without(&missing)), ("404", missing), ("500", bad.without(&unavailable)), ("503", unavailable)];
    for (code, count) in codes {
        let labels = [("service", service), ("code", code)];
        if born && code.starts_with('5') {
            scenario.born_counter(pod, REQUESTS, &labels, &count);
        } else {
            scenario.counter(pod, REQUESTS, &labels, &count);
        }
    }
}

/// Even traffic.
pub fn flat(end: i64) -> Named {
    Plan::new("flat", "flat traffic", end).build()
}

/// Day/night 20:1, the incident in the trough.
pub fn night(end: i64) -> Named {
    let peak_s = (incident(end).0 + 900 + DAY / 2).rem_euclid(DAY);
    let shape = Shape::Cosine { ratio: 20.0, peak_s };
    Plan { shape, ..Plan::new("night", "day/night 20:1, incident at night", end) }.build()
}

/// Day/night 20:1, the incident at the top.
pub fn peak(end: i64) -> Named {
    let peak_s = (incident(end).0 + 900).rem_euclid(DAY);
    let shape = Shape::Cosine { ratio: 20.0, peak_s };
    Plan { shape, ..Plan::new("peak", "day/night 20:1, incident at peak", end) }.build()
}

/// No traffic for eight hours each day, ending four hours before the incident: 22-06 for an incident at ten.
pub fn idle(end: i64) -> Named {
    let from_s = (incident(end).0 - 12 * 3600).rem_euclid(DAY);
    let shape = Shape::Square { ratio: 0.0, from_s, length_s: 8 * 3600 };
    Plan { shape, ..Plan::new("idle", "no traffic for eight hours a day", end) }.build()
}

/// Both pods restart each six hours.
pub fn restarts(end: i64) -> Named {
    let restarts = (1..=4 * DAYS).map(|i| end - 7_211 - (i - 1) * 6 * 3600).collect();
    Plan { restarts, ..Plan::new("restarts", "restart of both pods each 6 h", end) }.build()
}

/// Both pods restart each 100 s during the incident: 2, 12 and 22 s after a scrape by turns, so that each life takes
/// about an eighth of its events with it.
pub fn crash_loop(end: i64) -> Named {
    let (from, to) = incident(end);
    let first = from + (9 - from).rem_euclid(30);
    let restarts = (first..to).step_by(100).collect();
    Plan { restarts, ..Plan::new("crash-loop", "restart each 100 s in the incident", end) }.build()
}

/// Nothing is scraped for 20 minutes in the middle of the incident.
pub fn hole(end: i64) -> Named {
    let (from, to) = incident(end);
    let hole = Some((from + 300, to - 300));
    Plan { hole, ..Plan::new("hole", "20 min scrape hole in the incident", end) }.build()
}

/// 0.05 requests a second; an error series appears with its first error.
pub fn born(end: i64) -> Named {
    let (from, to) = incident(end);
    let errors = Timeline::new(0.005).during(from, to, 0.5);
    let about = "0.05 req/s, error series appear with their first error";
    Plan { rate: 0.0264, errors, born: true, ..Plan::new("born", about, end) }.build()
}

/// Every request of the first second of each minute fails.
pub fn cron_0(end: i64) -> Named {
    let errors = Timeline::new(BACKGROUND).bursts(end - DAYS * DAY, end, 60, 0, 1, 1.0);
    Plan { errors, ..Plan::new("cron-0", "error burst at second 0 of each minute", end) }.build()
}

/// Every request of second 25 of each minute fails.
pub fn cron_25(end: i64) -> Named {
    let errors = Timeline::new(BACKGROUND).bursts(end - DAYS * DAY, end, 60, 25, 1, 1.0);
    Plan { errors, ..Plan::new("cron-25", "error burst at second 25 of each minute", end) }.build()
}

/// 20 % errors for 5 s each 95 s.
pub fn lazy(end: i64) -> Named {
    let errors = Timeline::new(0.0).bursts(end - DAYS * DAY, end, 95, 0, 5, 0.2);
    Plan { errors, ..Plan::new("lazy", "5 s bursts each 95 s", end) }.build()
}

/// All eleven, each ending at `end` (seconds).
pub fn all(end: i64) -> Vec<Named> {
    let constructors = [flat, night, peak, idle, restarts, crash_loop, hole, born, cron_0, cron_25, lazy];
    constructors.into_iter().map(|make| make(end)).collect()
}

/// Several named scenarios behind one Prometheus.
pub fn joined(named: Vec<Named>) -> Scenario {
    let mut all = Scenario::new();
    for each in named {
        all.join(each.scenario);
    }
    all
}

/// Bucket bounds of the fixture's histogram; with `+Inf` twelve.
pub const FIXTURE_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The cost fixture: per service two pods with `http_requests_total` (5 codes, 2 of them errors: 10 series, 4 of them
/// errors) and `http_request_duration_seconds` (12 buckets and `_count`: 26 series, plus `_sum`), scraped each 30 s at phases of
/// their own, day/night 4:1, a restart each five days, three incidents each. SLIs are `<service>-availability` and
/// `<service>-latency` (slow: over 0.25 s); services are `svc000`, `svc001`, ...
pub fn fixture(services: usize, days: i64, end: i64) -> Scenario {
    let mut scenario = Scenario::new();
    for i in 0..services {
        fixture_service(&mut scenario, i, end - days * DAY, end);
    }
    scenario
}

fn fixture_service(scenario: &mut Scenario, number: usize, start: i64, end: i64) {
    let service = format!("svc{number:03}");
    let seed = hash(0xF1C5, number as u64);
    let random = |what: u64, below: i64| (hash(seed, what) % below as u64) as i64;
    let mut errors = Timeline::new(0.0003);
    let mut slow = Timeline::new(0.01);
    for incident in 0..3 {
        let from = start + random(10 + incident, (end - start).max(1));
        errors = errors.during(from, from + 1200, 0.2);
        slow = slow.during(from, from + 2400, 0.3);
    }
    for i in 0..2 {
        let restarts = (0..).map(|n| start + random(20 + i, 5 * DAY) + n * 5 * DAY).take_while(|&s| s < end);
        let pod = Pod::new("api", &format!("{service}-{i}:8080"), random(30 + i, 30_000), start - 4 * DAY);
        let pod = scenario.pod(pod.restarts(restarts));
        let shape = Shape::Cosine { ratio: 4.0, peak_s: 14 * 3600 + random(40, 7200) };
        let rate = 5.0 + random(50, 40) as f64;
        let total = Count::of(Traffic { rate, shape, wobble: Some(hash(seed, 60 + i)), origin: origin(start) });
        let bad = total.part(&errors);
        let moved = total.without(&bad).share(0.05);
        let rest = total.without(&bad).without(&moved);
        let (missing, unavailable) = (rest.share(0.03), bad.share(0.3));
        let of_code = [
            ("200", rest.without(&missing)),
            ("301", moved),
            ("404", missing),
            ("500", bad.without(&unavailable)),
            ("503", unavailable),
        ];
        for (code, count) in of_code {
            scenario.counter(pod, REQUESTS, &[("service", &service), ("code", code)], &count);
        }
        scenario.truth_of(&format!("{service}-availability"), pod, &total, &bad);

        let slow = total.part(&slow);
        let usual = Mode { count: total.without(&slow), median: 0.04, sigma: 0.5 };
        let modes = [usual, Mode { count: slow, median: 0.9, sigma: 0.4 }];
        let name = "http_request_duration_seconds";
        let histogram = scenario.histogram(pod, name, &[("service", &service)], &FIXTURE_BOUNDS, &modes);
        scenario.truth_of(&format!("{service}-latency"), pod, &histogram.total, &histogram.over(0.25));
    }
}

#[cfg(test)]
mod tests;
