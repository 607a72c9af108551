//! What happens to a service, as true rates: the truth that pages are held against.

use crate::random::Random;

/// Length of a slice and from one evaluation to the next, seconds. Another one is a matter of the build.
pub const RES: i64 = match option_env!("SLOWBURN_BENCH_STEP_S") {
    Some(step) => match step.as_bytes() {
        b"15" => 15,
        b"60" => 60,
        _ => 30,
    },
    None => 30,
};
/// In slices.
pub const HOUR: usize = (3600 / RES) as usize;
pub const DAY: usize = 24 * HOUR;
/// Slices in so many half minutes.
pub const fn slices(halves: usize) -> usize {
    halves * HOUR / 120
}
/// The slow share that a p95 promises.
pub const PROMISED: f64 = 0.05;

/// True rates in each slice.
#[derive(Clone)]
pub struct Truth {
    /// Share of bad (or slow) events.
    pub bad: Vec<f64>,
    /// Traffic, of the mean.
    pub traffic: Vec<f64>,
    /// Slices of the fault; empty where there is none.
    pub fault: std::ops::Range<usize>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Calm,
    /// Share of bad events, half minutes.
    Fault(f64, usize),
    /// So many times the budget, half minutes.
    Times(f64, usize),
    /// Share, half minutes on, in a period, in all.
    Flap(f64, usize, usize, usize),
    /// Share, half minutes, traffic of the mean at that time of day.
    AtTraffic(f64, usize, f64),
}

#[derive(Clone, Copy, PartialEq)]
pub struct Scenario {
    pub name: &'static str,
    pub shape: Shape,
}

/// What is known of a service beside what happens to it.
#[derive(Clone, Copy, PartialEq)]
pub struct Service {
    /// Requests a minute.
    pub rpm: f64,
    /// Percent of good events.
    pub objective: f64,
    /// Share of bad events when nothing happens: of the budget, or of a p95 as it is.
    pub background: f64,
    /// Mean size of the clusters that bad events come in; 1 where they are independent.
    pub cluster: f64,
}

impl Service {
    pub fn budget(&self) -> f64 {
        ((100.0 - self.objective) * 1e10).round() / 1e12
    }
}

pub const FAULTS: [Scenario; 15] = [
    Scenario { name: "total outage 30 min", shape: Shape::Fault(1.0, 60) },
    Scenario { name: "5 % for 2 h", shape: Shape::Fault(0.05, 240) },
    Scenario { name: "50x for 1 h", shape: Shape::Times(50.0, 120) },
    Scenario { name: "20x for 2 h", shape: Shape::Times(20.0, 240) },
    Scenario { name: "10x for 8 h", shape: Shape::Times(10.0, 960) },
    Scenario { name: "2x for 3 d (ticket)", shape: Shape::Times(2.0, 3 * 2880) },
    Scenario { name: "blip 100 % for 2 min", shape: Shape::Fault(1.0, 4) },
    Scenario { name: "blip 20 % for 2 min", shape: Shape::Fault(0.2, 4) },
    Scenario { name: "hourly blips 20 % for 2 min, 24 h", shape: Shape::Flap(0.2, 4, 120, 2880) },
    Scenario { name: "flap 100 % 5 of 10 min, 2 h", shape: Shape::Flap(1.0, 10, 20, 240) },
    Scenario { name: "flap 100 % 5 of 20 min, 2 h", shape: Shape::Flap(1.0, 10, 40, 240) },
    Scenario { name: "deploy spike 30 % for 3 min", shape: Shape::Fault(0.3, 6) },
    Scenario { name: "4 deploy spikes in 2 h", shape: Shape::Flap(0.3, 6, 60, 240) },
    Scenario { name: "trough: 5 % for 30 min at 0.2 of the traffic", shape: Shape::AtTraffic(0.05, 60, 0.2) },
    Scenario { name: "peak: 12x for 60 min at 1.8 of the traffic", shape: Shape::AtTraffic(0.012, 120, 1.8) },
];

impl Scenario {
    /// `calm` slices, the fault, and six hours (of a leak a day) after it.
    pub fn truth(&self, service: &Service, calm: usize, background: f64) -> Truth {
        let budget = service.budget();
        let (length, after) = match self.shape {
            Shape::Calm => (0, 0),
            Shape::Fault(_, length) | Shape::Times(_, length) | Shape::AtTraffic(_, length, _) => {
                (slices(length), 7 * HOUR)
            }
            Shape::Flap(_, _, _, length) => (slices(length), 7 * HOUR),
        };
        let all = calm + length + after;
        let mut truth = Truth { bad: vec![background; all], traffic: vec![1.0; all], fault: calm..calm + length };
        for nth in 0..length {
            let share = match self.shape {
                Shape::Calm => continue,
                Shape::Fault(share, _) | Shape::AtTraffic(share, _, _) => share,
                Shape::Times(times, _) => times * budget,
                Shape::Flap(share, on, period, _) if nth % slices(period) < slices(on) => share,
                Shape::Flap(..) => background,
            };
            truth.bad[calm + nth] = share.min(1.0);
        }
        if let Shape::AtTraffic(.., at) = self.shape {
            // Four hours around the fault are as quiet or busy as it is.
            let around = calm.saturating_sub(2 * HOUR)..(calm + length + 2 * HOUR).min(all);
            truth.traffic[around].fill(at);
        }
        truth
    }
}

/// Events and bad ones of each slice.
pub fn sample(truth: &Truth, service: &Service, random: &mut Random) -> Vec<(u64, u64)> {
    let each = |(&bad, &traffic): (&f64, &f64)| {
        let total = random.poisson(service.rpm * RES as f64 / 60.0 * traffic);
        if service.cluster <= 1.0 || bad >= 0.02 {
            return (total, random.binomial(total, bad));
        }
        // Clusters of geometric size come in at the rate that keeps the mean share.
        let clusters = random.poisson(total as f64 * bad / service.cluster);
        let mut of = 0;
        for _ in 0..clusters {
            of += 1;
            while random.unit() < 1.0 - 1.0 / service.cluster {
                of += 1;
            }
        }
        (total.max(of), of)
    };
    truth.bad.iter().zip(&truth.traffic).map(each).collect()
}

/// Where the truth is worth a page: at its own rate the budget of a month loses 2 % in an hour or 5 % in six.
pub fn page_worthy(truth: &Truth, service: &Service) -> Vec<bool> {
    over(truth, |bad, hours| bad > service.budget() * if hours == 1 { 14.4 } else { 6.0 }, &[1, 6])
}

/// Where it is worth a ticket: 10 % in three days.
pub fn ticket_worthy(truth: &Truth, service: &Service) -> Vec<bool> {
    over(truth, |bad, _| bad > service.budget() * 0.999, &[72])
}

fn over(truth: &Truth, is_over: impl Fn(f64, usize) -> bool, hours: &[usize]) -> Vec<bool> {
    let mut sums = vec![(0.0, 0.0)];
    for (bad, traffic) in truth.bad.iter().zip(&truth.traffic) {
        let last: (f64, f64) = sums[sums.len() - 1];
        sums.push((last.0 + bad * traffic, last.1 + traffic));
    }
    let over = |end: usize| {
        hours.iter().any(|&hours| {
            let start = end.saturating_sub(hours * HOUR);
            let traffic = (sums[end].1 - sums[start].1).max((hours * HOUR) as f64 * 1e-9);
            // A window that begins before the story counts as if it had been calm.
            let share = (hours * HOUR) as f64 / (end - start) as f64;
            is_over((sums[end].0 - sums[start].0) / traffic / share, hours)
        })
    };
    (1..=truth.bad.len()).map(over).collect()
}
