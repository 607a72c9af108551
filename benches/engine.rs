//! What the engine costs: evaluation of a fleet, windows, memory. Prints a table; every time is the median of several
//! runs on one core, the least of them in brackets. Standard library only: `cargo bench --bench engine`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use slowburn::engine::ledger::{Coverage, Ledger, SeriesLedger, SliceDelta};
use slowburn::engine::status::{DataHealth, DataReason, DataState};
use slowburn::engine::{AlertMachine, BurnClause, Labels, Slo, Speed, Unit, burn, chance};

const RES: i64 = 30;
const DAY: i64 = 86_400;
const NOW: i64 = 1_743_645_630;
const FRESH: DataHealth = DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(NOW) };

fn slo(id: usize, unit: Unit) -> Slo {
    let clause = |speed, long_s, short_s, factor, text: &str| BurnClause {
        speed,
        long_s,
        short_s,
        factor,
        text: text.to_owned().into(),
    };
    Slo {
        id: format!("service-{id:05}-availability"),
        service: format!("service-{id:05}"),
        name: "availability".to_owned(),
        owner: "team".to_owned(),
        objective: 99.9,
        window_s: 30 * DAY,
        terms: Default::default(),
        unit,
        burn: vec![
            clause(Speed::Fast, 3600, 300, 14.4, "1h/5m > 14.4x"),
            clause(Speed::Fast, 6 * 3600, 1800, 6.0, "6h/30m > 6x"),
            clause(Speed::Slow, DAY, 7200, 3.0, "1d/2h > 3x"),
            clause(Speed::Slow, 3 * DAY, 6 * 3600, 1.0, "3d/6h > 1x"),
        ],
        confidence: Some(slowburn::engine::Confidence { page: 1e-3, ticket: 0.03 }),
        weigh: Default::default(),
        severity: Vec::new(),
        by: Vec::new(),
        series_max: 100,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        alerts: BTreeMap::new(),
        mute: Vec::new(),
        resolution_s: None,
    }
}

/// Thirty days of known slices with `bad` bad ones of `total` in each.
fn month(total: u64, bad: u64) -> Vec<SliceDelta> {
    let newest = NOW / RES;
    (newest - 30 * DAY / RES..newest).map(|slice| SliceDelta { slice, total, bad, coverage: Coverage::Known }).collect()
}

/// Median and least time of `runs` runs: on a shared machine the least is nearer to what the work costs.
fn timed<T>(runs: usize, mut work: impl FnMut() -> T) -> [Duration; 2] {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed()
        })
        .collect();
    times.sort();
    [times[runs / 2], times[0]]
}

fn row(what: &str, value: impl std::fmt::Display) {
    println!("{what:<66} {value:>20}");
}

fn millis(times: [Duration; 2]) -> String {
    let [median, least] = times.map(|time| time.as_secs_f64() * 1e3);
    format!("{median:.2} ms ({least:.2})")
}

fn each(times: [Duration; 2], count: usize) -> String {
    let [median, least] = times.map(|time| time.as_secs_f64() * 1e9 / count as f64);
    format!("{median:.0} ns ({least:.0})")
}

/// Resident memory of this process, bytes; `None` where the system does not say.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

fn one_series() {
    for (name, unit) in [("events", Unit::Events), ("p95 slices", Unit::QuantileSlices { quantile: 0.95 })] {
        let data = month(1000, 1);
        let mut series = SeriesLedger::new(RES, unit, 30 * DAY);
        let time = timed(5, || {
            series = SeriesLedger::new(RES, unit, 30 * DAY);
            series.apply(&data)
        });
        row(&format!("apply, {name}, a month slice by slice, each slice"), each(time, data.len()));
        row(&format!("memory of one series, {name}, 30 days (target 40 KB)"), format!("{} B", series.bytes()));
    }
    let quiet = month(0, 0);
    let idle = timed(5, || SeriesLedger::new(RES, Unit::QuantileSlices { quantile: 0.95 }, 30 * DAY).apply(&quiet));
    row("apply, p95 slices without events (looks back an hour)", each(idle, quiet.len()));
    let mut young = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    young.apply(&month(1000, 1)[..120]);
    row("memory of one series, 1 hour", format!("{} B", young.bytes()));
    let mut series = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    series.apply(&month(1000, 1));
    for (name, length_s) in [("5m", 300), ("1h", 3600), ("6h", 6 * 3600), ("3d", 3 * DAY), ("30d", 30 * DAY)] {
        let time = timed(9, || (0..10_000).map(|_| series.window(black_box(NOW), length_s).total).sum::<u64>());
        row(&format!("window({name}), warm"), each(time, 10_000));
    }
}

/// Windows, each of another series: what memory costs when nothing is in a cache.
fn cold_windows() {
    let mut filled = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    filled.apply(&month(1000, 1));
    let fleet = vec![filled; 10_000];
    for (name, length_s) in [("1h", 3600), ("3d", 3 * DAY), ("30d", 30 * DAY)] {
        let time = timed(9, || fleet.iter().map(|series| series.window(NOW, length_s).total).sum::<u64>());
        row(&format!("window({name}), each of another of 10,000 series"), each(time, fleet.len()));
    }
}

fn tails() {
    for (k, n) in [(3, 60_u64), (200, 100_000), (1_010_000, 1_000_000_000), (10_010_000, 10_000_000_000)] {
        let time = timed(9, || (0..100).map(|_| chance::tail(black_box(k), n, 0.001)).sum::<f64>());
        row(&format!("chance::tail({k}, {n}, 0.001)"), each(time, 100));
    }
}

fn fleet(count: usize, total: u64, bad: u64, what: &str) {
    let before = resident();
    let slos: Vec<Slo> = (0..count).map(|id| slo(id, Unit::Events)).collect();
    let mut ledger = Ledger::new(RES);
    let none = Labels::new();
    let mut filled = SeriesLedger::new(RES, Unit::Events, 30 * DAY);
    filled.apply(&month(total, bad));
    for slo in &slos {
        *ledger.series_mut(slo, &none) = filled.clone();
    }
    let look = |slo: &Slo| {
        let series = ledger.get(&slo.id, &none).expect("just filled");
        burn::evaluate(slo, series, &none, FRESH, NOW, None)
    };
    let known: Vec<_> = slos.iter().map(look).collect();
    // As the daemon does: the last statuses are kept until the next ones are there.
    let mut last = known.clone();
    let time = timed(25, || {
        let again = |(slo, previous): (&Slo, _)| {
            let series = ledger.get(&slo.id, &none).expect("just filled");
            burn::evaluate(slo, series, &none, FRESH, NOW, Some(previous))
        };
        last = slos.iter().zip(&last).map(again).collect();
    });
    let warm = {
        let series = ledger.get(&slos[0].id, &none).expect("just filled");
        timed(9, || {
            (0..1000).map(|_| burn::evaluate(&slos[0], series, &none, FRESH, NOW, Some(&known[0])).at).sum::<i64>()
        })
    };
    row(&format!("evaluate one SLO again and again, {what}"), each(warm, 1000));
    row(&format!("evaluate {count} SLOs, 30 d, default clauses, {what} (target 20 ms)"), millis(time));
    let mut book = AlertMachine::new();
    let time =
        timed(9, || slos.iter().zip(&known).map(|(slo, status)| book.step(slo, status, NOW).len()).sum::<usize>());
    row(&format!("step the alerts of {count} SLOs, {what}"), millis(time));
    row(&format!("ledger of {count} series"), format!("{:.1} MB", ledger.bytes() as f64 / 1e6));
    if let (Some(before), Some(after)) = (before, resident()) {
        row("resident memory it added, SLOs and statuses included", format!("{:.1} MB", (after - before) as f64 / 1e6));
    }
}

fn main() {
    one_series();
    cold_windows();
    tails();
    fleet(10_000, 1000, 0, "calm");
    fleet(10_000, 1000, 100, "all burning");
}
