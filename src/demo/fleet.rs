//! The demo's fleet: a shop's checkout, an LLM endpoint on a pool of GPU nodes, a feature store and a GPU queue, with
//! thirty days of past and an incident to come.

mod pool;

use super::count::{Count, DAY, Shape, Timeline, Traffic, hash};
use super::scenario::{Gauge, Mode, Pod, Scenario};
pub use pool::SICK;

/// When what goes wrong, seconds since the epoch, [from, to).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Checkout fails eight times as often as it does anyway.
    pub checkout: (i64, i64),
    /// The larger model's realtime tier waits too long for its first token, half a minute in five.
    pub realtime: (i64, i64),
    /// The exporter of the GPU queue is not scraped.
    pub unscraped: (i64, i64),
    /// Since when a card of one GPU node reports XID 79.
    pub xid_since: i64,
    /// When the pod of that node was evicted, if somebody did.
    pub drained: Option<i64>,
}

/// The fleet and what is going to happen to it.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Pods, series, truths (`checkout-availability`, `checkout-latency`, `llm-chat-ttfb-realtime`, ...).
    pub scenario: Scenario,
    /// The incidents.
    pub plan: Plan,
    seed: u64,
    now: i64,
}

/// A fleet with thirty days behind it at `now`; checkout's incident begins `onset_s` seconds later and lasts 40
/// minutes.
///
/// Beside it: a tenth of all slices of one LLM series has been bad since 78 minutes before that onset, which burns 10x:
/// too little for a page at 14.4x, and a ticket as soon as it cannot be chance (18 bad slices in 6 h, 85 minutes). In
/// the midst of the incident the GPU queue's exporter is not scraped for 7 minutes. The feature store spent a month's
/// budget for fresh baskets in one night nine days ago. A quarter of an hour ago a card of one GPU node fell off the bus.
pub fn fleet(seed: u64, now: i64, onset_s: i64) -> Fleet {
    let onset = now + onset_s;
    let plan = Plan {
        checkout: (onset, onset + INCIDENT_S),
        realtime: (onset - 78 * 60, onset + 9000),
        unscraped: (onset + 9 * 60, onset + 16 * 60),
        xid_since: now - 15 * 60,
        drained: None,
    };
    planned(seed, now, plan)
}

/// How long checkout's incident lasts when nobody does anything, seconds.
pub const INCIDENT_S: i64 = 40 * 60;
/// Share of checkout's requests that fail anyway, since two days: three quarters of what the objective allows.
pub const USUAL: f64 = 0.00075;
/// How many times as many fail in the incident: what burns the whole budget in 14 days, over an hour, within 20 minutes.
pub const TIMES: f64 = 8.1;
/// How long the last errors take to go, seconds.
const EBB_S: i64 = 120;

impl Fleet {
    /// The same fleet with checkout's incident from `onset` on: the same as any other up to its onset.
    pub fn ill_from(&self, onset: i64) -> Fleet {
        planned(self.seed, self.now, Plan { checkout: (onset, onset + INCIDENT_S), ..self.plan })
    }

    /// The same fleet with the cause of checkout's incident taken away at `at`: the same up to then, and well two minutes
    /// later.
    pub fn cured(&self, at: i64) -> Fleet {
        let (onset, end) = self.plan.checkout;
        let end = (at + EBB_S).clamp(onset + EBB_S, end.max(onset + EBB_S));
        planned(self.seed, self.now, Plan { checkout: (onset, end), ..self.plan })
    }

    /// The same fleet with the pod of the node that has errors evicted at `at`: another one takes its place on the spare
    /// node. The same as any other up to then.
    pub fn drained(&self, at: i64) -> Fleet {
        planned(self.seed, self.now, Plan { drained: Some(at), ..self.plan })
    }
}

fn planned(seed: u64, now: i64, plan: Plan) -> Fleet {
    let mut scenario = Scenario::new();
    let site = FleetSite { seed, now, start: now - 30 * DAY };
    checkout(&mut scenario, &site, plan.checkout);
    llm_chat(&mut scenario, &site, &plan);
    feature_store(&mut scenario, &site);
    gpu_queue(&mut scenario, &site, plan.unscraped);
    pool::gpu_pool(&mut scenario, &site, plan.xid_since, plan.drained);
    Fleet { scenario, plan, seed, now }
}

struct FleetSite {
    seed: u64,
    now: i64,
    start: i64,
}

impl FleetSite {
    fn own(&self, job: &str, number: u64) -> u64 {
        hash(self.seed, job.bytes().fold(number, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())))
    }

    /// When within each half minute a pod is scraped, milliseconds.
    fn phase_ms(&self, job: &str, number: u64) -> i64 {
        (self.own(job, number) % 30_000) as i64
    }

    fn pod(&self, job: &str, number: u64) -> Pod {
        let own = self.own(job, number);
        let started = self.start - DAY - (own % 100_000) as i64;
        // A rollout every week or so, at any hour.
        let rollouts = (1..5).map(|week| started + week * 7 * DAY + (hash(own, week as u64) % 40_000) as i64);
        let before = self.now - 7200;
        Pod::new(job, &format!("{job}-{number}:8080"), self.phase_ms(job, number), started)
            .restarts(rollouts.filter(|&s| s < before))
    }

    fn traffic(&self, name: &str, rate: f64, ratio: f64) -> Count {
        let seed = hash(self.seed ^ 0x7AFF, name.bytes().fold(0, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte)));
        let origin = (self.start - 10 * DAY).div_euclid(DAY) * DAY;
        let shape = Shape::Cosine { ratio, peak_s: 14 * 3600 };
        Count::of(Traffic { rate, shape, wobble: Some(seed), origin })
    }
}

fn checkout(scenario: &mut Scenario, site: &FleetSite, incident: (i64, i64)) {
    let errors = Timeline::new(0.0003)
        // What the month held before: a bad rollout, a short database failover.
        .during(site.now - 17 * DAY, site.now - 17 * DAY + 480, 0.08)
        .during(site.now - 6 * DAY - 9000, site.now - 6 * DAY - 8880, 0.3)
        .during(site.now - 2 * DAY, i64::MAX, USUAL)
        .during(incident.0, incident.1 - EBB_S, TIMES * USUAL)
        .during(incident.1 - EBB_S, incident.1, 2.0 * USUAL);
    let slow = Timeline::new(0.012).during(incident.0, incident.1, 0.03);
    for number in 0..3 {
        let pod = scenario.pod(site.pod("checkout", number));
        let total = site.traffic(&format!("checkout-{number}"), 48.0, 4.0);
        let bad = total.part(&errors);
        let unavailable = bad.share(0.6);
        let declined = total.without(&bad).share(0.02);
        let codes = [
            ("200", total.without(&bad).without(&declined)),
            ("402", declined),
            ("500", bad.without(&unavailable)),
            ("503", unavailable),
        ];
        for (code, count) in &codes {
            let labels = [("service", "checkout"), ("method", "POST"), ("code", *code)];
            scenario.born_counter(pod, "http_requests_total", &labels, count);
        }
        scenario.truth_of("checkout-availability", pod, &total, &bad);

        let labels = [("service", "checkout")];
        let slow = total.part(&slow);
        let quick = total.without(&slow);
        let modes = |usual, late| {
            let usual = Mode { count: quick.clone(), median: usual, sigma: 0.45 };
            [usual, Mode { count: slow.clone(), median: late, sigma: 0.4 }]
        };
        let bounds = [0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 2.5, 5.0];
        let name = "http_request_duration_seconds";
        let duration = scenario.histogram(pod, name, &labels, &bounds, &modes(0.16, 1.4));
        scenario.truth_of("checkout-latency", pod, &duration.total, &duration.over(0.8));
        let bounds = [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5];
        let name = "http_response_first_byte_seconds";
        let first_byte = scenario.histogram(pod, name, &labels, &bounds, &modes(0.06, 0.5));
        scenario.truth_of("checkout-ttfb", pod, &first_byte.total, &first_byte.over(0.3));
    }
}

/// Bounds of vLLM's time to first token.
const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];

fn llm_chat(scenario: &mut Scenario, site: &FleetSite, plan: &Plan) {
    let trouble = plan.realtime;
    let engines = [("llama-3.3-70b", "realtime", 4.0), ("llama-3.3-70b", "batch", 1.5), ("qwen3-32b", "realtime", 2.5)];
    for (number, (model, tier, rate)) in (0..).zip(engines) {
        let realtime = tier == "realtime";
        // Half a minute that begins right after a scrape ends up in one slice.
        let after_scrape_s = site.phase_ms("llm-chat", number) / 1000 + 1;
        let troubled = |usual: f64, value: f64| match number {
            0 => Timeline::new(usual).bursts(trouble.0, trouble.1, 300, after_scrape_s, 30, value),
            _ => Timeline::new(usual),
        };
        // It answers until the one that takes its place is ready, which counts from zero.
        let moved = plan.drained.filter(|_| number == pool::EVICTED).map(|at| at + pool::STARTS_S);
        let pod = scenario.pod(site.pod("llm-chat", number).restarts(moved));
        let labels = [("model_name", model), ("tier", tier)];
        let total = site.traffic(&format!("{model}-{tier}"), rate, 3.0);
        let failed = total.share(0.0008);
        let aborted = total.without(&failed).share(0.03);
        let answered = total.without(&failed).without(&aborted);
        let cut = answered.share(0.1);
        let reasons =
            [("stop", answered.without(&cut)), ("length", cut), ("abort", aborted.clone()), ("error", failed.clone())];
        for (reason, count) in &reasons {
            let labels = [labels[0], labels[1], ("finished_reason", *reason)];
            scenario.counter(pod, "vllm:request_success_total", &labels, count);
        }
        let sli = format!("llm-chat-availability-{model}-{tier}");
        scenario.truth_of(&sli, pod, &total.without(&aborted), &failed);

        // So many that the slice is evidence at the quietest hour of the night, too.
        let slow = total.part(&troubled(0.003, 0.35));
        let median = if realtime { 0.18 } else { 0.35 };
        let modes =
            [Mode { count: total.without(&slow), median, sigma: 0.35 }, Mode { count: slow, median: 3.2, sigma: 0.5 }];
        let name = "vllm:time_to_first_token_seconds";
        let first_token = scenario.histogram(pod, name, &labels, &FIRST_TOKEN, &modes);
        scenario.truth_of(&format!("llm-chat-ttfb-{model}-{tier}"), pod, &first_token.total, &first_token.over(1.0));

        let waiting = troubled(if realtime { 2.0 } else { 6.0 }, 31.0);
        let level = Gauge::Level { around: waiting, swing: 2.0, seed: hash(site.seed, number) };
        scenario.gauge(pod, "vllm:num_requests_waiting", &labels, level);
    }
}

fn feature_store(scenario: &mut Scenario, site: &FleetSite) {
    let pod = scenario.pod(site.pod("feature-store", 0));
    let night = site.now - 9 * DAY;
    let views = [("basket", 40, vec![(night, night + 27_000)]), ("fraud", 50, vec![(night, night + 1500)])];
    for (view, period_s, stalls) in views {
        let labels = [("feature_view", view), ("project", "shop")];
        scenario.gauge(pod, "feast_feature_freshness_seconds", &labels, Gauge::Age { period_s, stalls });
        let total = site.traffic(view, 20.0, 4.0);
        let failed = total.share(0.00004);
        let found = total.without(&failed);
        for (status, count) in [("success", &found), ("error", &failed)] {
            let labels = [("endpoint", "/get-online-features"), ("feature_view", view), ("status", status)];
            scenario.counter(pod, "feast_feature_server_request_total", &labels, count);
        }
        scenario.truth_of(&format!("feature-store-availability-{view}"), pod, &total, &failed);
    }
}

/// Bounds of Kueue's admission wait.
const ADMISSION: [f64; 14] =
    [1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 5120.0, 10240.0];

fn gpu_queue(scenario: &mut Scenario, site: &FleetSite, unscraped: (i64, i64)) {
    let pod = scenario.pod(site.pod("kueue", 0).hole(unscraped.0, unscraped.1));
    for (number, (queue, rate, median)) in (0..).zip([("training", 0.08, 2.2), ("inference", 0.4, 1.4)]) {
        let labels = [("cluster_queue", queue)];
        let total = site.traffic(queue, rate, 2.0);
        // So rare that two of them in the twenty-odd admissions of a slice are no matter of the time of day.
        let slow = total.part(&Timeline::new(0.001).during(site.now - 3 * DAY, site.now - 3 * DAY + 5400, 0.3));
        let modes =
            [Mode { count: total.without(&slow), median, sigma: 0.4 }, Mode { count: slow, median: 60.0, sigma: 0.8 }];
        let wait = scenario.histogram(pod, "kueue_admission_wait_time_seconds", &labels, &ADMISSION, &modes);
        scenario.counter(pod, "kueue_admitted_workloads_total", &labels, &wait.total);
        scenario.truth_of(&format!("gpu-queue-wait-{queue}"), pod, &wait.total, &wait.over(10.0));
        for (status, usual) in [("active", 1.5), ("inadmissible", 0.0)] {
            let labels = [labels[0], ("status", status)];
            let level =
                Gauge::Level { around: Timeline::new(usual), swing: usual, seed: hash(site.seed ^ 0x6B, number) };
            scenario.gauge(pod, "kueue_pending_workloads", &labels, level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_760_000_000;

    #[test]
    fn the_fleet_stays_under_three_hundred_series_and_every_name_is_there() {
        let fleet = fleet(1, NOW, 120);
        assert!(fleet.scenario.series().len() < 300, "{}", fleet.scenario.series().len());
        for name in ["http_requests_total", "vllm:time_to_first_token_seconds_bucket", "kueue_pending_workloads"] {
            assert!(fleet.scenario.series().iter().any(|s| s.labels.get("__name__") == Some(name)), "{name}");
        }
    }

    #[test]
    fn checkout_breaks_at_its_onset_and_recovers() {
        let fleet = fleet(1, NOW, 120);
        let (from, to) = fleet.plan.checkout;
        assert_eq!((from, to), (NOW + 120, NOW + 120 + 2400));
        let ratio =
            |from, to| fleet.scenario.truth("checkout-availability", from, to).and_then(|t| t.ratio()).expect("events");
        let before = ratio(from - 6 * 3600, from);
        assert!((0.0007..0.0008).contains(&before), "{before}");
        let times = ratio(from, to - EBB_S) / before;
        assert!((7.5..8.5).contains(&times), "{times}");
        assert!(ratio(to, to + 3600) < 0.0009);
        let month = ratio(NOW - 30 * DAY, NOW);
        assert!((0.0002..0.0006).contains(&month), "{month}");
    }

    #[test]
    fn an_incident_changes_what_comes_and_nothing_that_was() {
        let (early, late) = (fleet(1, NOW, 120), fleet(1, NOW, 120).ill_from(NOW + 900));
        let truth = |fleet: &Fleet, from, to| fleet.scenario.truth("checkout-availability", from, to);
        for from in [NOW - 86_400, NOW] {
            assert_eq!(truth(&early, from, NOW + 120), truth(&late, from, NOW + 120));
        }
        let ratio = |fleet: &Fleet, from: i64| truth(fleet, from, from + 300).and_then(|t| t.ratio()).expect("events");
        assert!(
            ratio(&early, NOW + 300) > 0.004 && ratio(&late, NOW + 300) < 0.002 && ratio(&late, NOW + 1000) > 0.004
        );
    }

    #[test]
    fn a_cure_changes_what_comes_and_nothing_that_was() {
        let ill = fleet(1, NOW, 120);
        let at = NOW + 120 + 600;
        let well = ill.cured(at);
        let truth = |fleet: &Fleet, from, to| fleet.scenario.truth("checkout-availability", from, to);
        for from in [NOW - 86_400, NOW + 120, at - 120] {
            assert_eq!(truth(&ill, from, at), truth(&well, from, at));
        }
        let ratio = |fleet: &Fleet| truth(fleet, at + EBB_S, at + EBB_S + 300).and_then(|t| t.ratio()).expect("events");
        assert!(ratio(&ill) > 0.004 && ratio(&well) < 0.0015);
    }

    #[test]
    fn one_llm_series_burns_a_tenth_of_its_slices_and_the_others_none() {
        let fleet = fleet(1, NOW, 120);
        let (from, to) = fleet.plan.realtime;
        let site = FleetSite { seed: 1, now: NOW, start: NOW - 30 * DAY };
        // As slices see it: by what lies between two scrapes, where there is enough to judge a p95 by.
        let bad_slices = |engine: &str, number: u64, from: i64, to: i64| {
            let sli = format!("llm-chat-ttfb-{engine}");
            let over = |s| {
                let truth = fleet.scenario.truth(&sli, s, s + 30).expect("an SLI of the fleet");
                truth.total >= 20 && truth.bad as f64 > 0.05 * truth.total as f64
            };
            let first = from.div_euclid(300) * 300 + site.phase_ms("llm-chat", number) / 1000 + 1;
            (first..to).step_by(30).filter(|&s| over(s)).count() as f64 / ((to - from) / 30) as f64
        };
        let burning = bad_slices("llama-3.3-70b-realtime", 0, from, to);
        assert!((0.095..0.105).contains(&burning), "{burning}");
        assert_eq!(bad_slices("llama-3.3-70b-realtime", 0, from - DAY, from - 300), 0.0);
        assert_eq!(bad_slices("llama-3.3-70b-batch", 1, from - DAY, to), 0.0);
        assert_eq!(bad_slices("qwen3-32b-realtime", 2, from - DAY, to), 0.0);
    }

    #[test]
    fn another_seed_is_another_fleet_and_the_same_seed_the_same() {
        let first = |seed| fleet(seed, NOW, 60).scenario.truth("checkout-availability", NOW - 60, NOW);
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
