//! What a large fleet costs: its Prometheus, and the daemon itself. One run, a real Prometheus, the table of docs/measurements.md.
//!
//! ```text
//! cargo bench --bench scale              200 services × 3 SLOs live, then 10,000 SLOs (a few minutes)
//! cargo bench --bench scale -- --quick   20 services, 1,000 SLOs; targets are not judged
//! ```
//!
//! Needs the real Prometheus (`tests/parts` fetches it). Exits with 1 when a target is missed.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use slowburn::app::evaluation::{Health, evaluate};
use slowburn::engine::ledger::{Coverage, SeriesLedger, SliceDelta};
use slowburn::engine::status::{DataHealth, DataReason, DataState};
use slowburn::engine::{AlertMachine, Labels, Ledger, Slo, Unit};
use slowburn::prometheus::{SeriesHealth, answer};
use slowburn::query::Plan;
use slowburn::spec::{self, Model};

use daemon::{Driven, options};
use harness::fault_proxy::FaultProxy;
use harness::parts::http;
use harness::prometheus::{Past, PromOptions, Prometheus};
use table::{Table, number};

#[path = "../tests/it/daemon.rs"]
mod daemon;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "cost/table.rs"]
mod table;

/// On the slice grid, and on no grid of minutes or hours.
const T0: i64 = 1_790_000_010;
const POLL: i64 = 30;
const DAY: i64 = 86_400;
/// One file of rules: name, YAML.
type Rules = Vec<(String, String)>;

fn main() -> ExitCode {
    // As the daemon has it: one heap for all threads.
    // SAFETY: mallopt takes two numbers and may be called at any time; no thread was started yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    let quick = std::env::args().any(|arg| arg == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let missed = runtime.expect("a runtime can be built").block_on(async {
        let mut table = Table::begin("Scale");
        services(if quick { 20 } else { 200 }, quick, &mut table).await;
        ten_thousand(if quick { 1_000 } else { 10_000 }, quick, &mut table).await;
        table.missed().to_vec()
    });
    match missed.is_empty() || quick {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!("missed: {}", missed.join("; "));
            ExitCode::FAILURE
        }
    }
}

/// A Prometheus with what `write` writes, one line a sample.
async fn prometheus(write: impl FnOnce(&mut dyn Write)) -> Prometheus {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("past.om");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("writable"));
    write(&mut out);
    writeln!(out, "# EOF").expect("writable");
    drop(out);
    Prometheus::start(PromOptions { past: Some(Past::File(file)), ..PromOptions::default() }).await
}

/// A series that rises by `gain` each 30 s, [from, to).
fn series(out: &mut dyn Write, name: &str, gain: i64, (from, to): (i64, i64)) {
    for (n, at) in (from..to).step_by(30).enumerate() {
        writeln!(out, "{name} {} {at}", gain * n as i64).expect("writable");
    }
}

fn availability(service: &str) -> (String, String) {
    let text = format!(
        "name: {service}\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    sli: {{total: \
         'http_requests_total{{service=\"{service}\"}}', bad: 'http_requests_total{{service=\"{service}\",code=~\"5..\"}}'}}\n"
    );
    (format!("{service}.yaml"), text)
}

fn driven(url: &str, rules: &Rules) -> Driven {
    let rules: Vec<(&str, String)> = rules.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut options = options(url, &rules, None);
    options.backfill = false;
    Driven::new(options)
}

/// Services with a counter by code, a histogram and a gauge on two pods each.
async fn services(services: usize, quick: bool, table: &mut Table) {
    const POLLS: i64 = 60;
    const LES: [&str; 6] = ["0.05", "0.1", "0.25", "0.5", "1", "+Inf"];
    let span = (T0 - 600 + 7, T0 + POLL * POLLS);
    let prometheus = prometheus(|out| {
        for metric in ["http_requests_total", "d_seconds_bucket", "d_seconds_count", "age_seconds"] {
            for (service, pod) in (0..services).flat_map(|service| [(service, 0), (service, 1)]) {
                let at = format!("service=\"s{service}\",job=\"j\",instance=\"s{service}-{pod}\"");
                match metric {
                    "http_requests_total" => ["200", "201", "404", "500", "503"].iter().for_each(|code| {
                        series(
                            out,
                            &format!("{metric}{{{at},code=\"{code}\"}}"),
                            i64::from(code.starts_with('2')),
                            span,
                        );
                    }),
                    "d_seconds_bucket" => LES.iter().for_each(|le| {
                        series(out, &format!("{metric}{{{at},le=\"{le}\"}}"), 1, span);
                    }),
                    "d_seconds_count" => series(out, &format!("{metric}{{{at}}}"), 1, span),
                    _ => series(out, &format!("{metric}{{{at}}}"), 0, span),
                }
            }
        }
    })
    .await;
    let rules: Rules = (0..services)
        .map(|n| {
            let (name, text) = availability(&format!("s{n}"));
            let more = format!(
                "  latency_p95_ms: {{max: 250, sli: {{histogram: 'd_seconds{{service=\"s{n}\"}}'}}}}\n  \
                 feature_freshness_max_delay_s: {{max: 60, sli: {{gauge: 'age_seconds{{service=\"s{n}\"}}'}}}}\n"
            );
            (name, text + &more)
        })
        .collect();
    table.part(&format!("{services} services × 3 SLOs, {} raw series, polls each {POLL} s", services * 2 * 9));
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let mut counted = driven(&proxy.url(), &rules);
    counted.tick(T0).await;
    proxy.take_traffic();
    let snapshot = counted.live(T0, T0 + 10 * POLL).await;
    let fresh = snapshot.slos.iter().filter(|slo| slo.series[0].data.state == DataState::Fresh).count();
    table.at_least("SLOs with fresh data", fresh as f64, 3.0 * services as f64, "");
    let traffic = proxy.take_traffic();
    table.at_most("queries per poll", traffic.queries() as f64 / 10.0, 10.0, "");
    table.say("samples read per poll", number(traffic.samples as f64 / 10.0, ""));
    table.say("bytes per poll", number(traffic.bytes as f64 / 10.0 / 1e3, "kB"));
    drop(counted);
    let mut direct = driven(&prometheus.url(), &rules);
    direct.live(T0 - POLL, T0).await;
    let (server, own, began) = (prometheus.process().cpu_seconds(), own_cpu(), Instant::now());
    direct.live(T0, T0 + POLL * (POLLS - 2)).await;
    let per_poll = |seconds: f64| number(seconds / (POLLS - 2) as f64 * 1e3, "ms");
    table.say("CPU of Prometheus per poll", per_poll(prometheus.process().cpu_seconds() - server));
    table.say("CPU of Slowburn per poll: read, booked, evaluated, published", per_poll(own_cpu() - own));
    table.say("wall time per poll", per_poll(began.elapsed().as_secs_f64()));
    if quick {
        return;
    }
    children(table).await;
}

/// One SLO with more children than have rows.
async fn children(table: &mut Table) {
    const CHILDREN: usize = 5_000;
    const POLLS: i64 = 10;
    let prometheus = prometheus(|out| {
        for child in 0..CHILDREN {
            let name = format!("llm_requests_total{{job=\"j\",instance=\"i\",model=\"m{child}\",code=\"200\"}}");
            series(out, &name, 1, (T0 - 120 + 7, T0 + POLL * (POLLS + 2)));
        }
    })
    .await;
    let text = "name: llm\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    by: [model]\n    sli: {total: \
                'llm_requests_total', bad: 'llm_requests_total{code=\"500\"}'}\n";
    let mut driven = driven(&prometheus.url(), &vec![("llm.yaml".into(), text.into())]);
    driven.live(T0 - POLL, T0 + POLL).await;
    let (own, before) = (own_cpu(), resident());
    let snapshot = driven.live(T0 + POLL, T0 + POLL * (POLLS + 1)).await;
    table.part(&format!("One SLO with {CHILDREN} children"));
    table.at_most("rows: a hundred, `other` and the whole", snapshot.slos[0].series.len() as f64, 102.0, "");
    table.say("CPU of Slowburn per poll", number((own_cpu() - own) / POLLS as f64 * 1e3, "ms"));
    table.say("memory that these polls added", number((resident().saturating_sub(before)) as f64 / 1e6, "MB"));
}

/// Very many SLOs: what a poll costs, and a month of them in memory.
async fn ten_thousand(slos: usize, quick: bool, table: &mut Table) {
    const POLLS: i64 = 6;
    let start = resident();
    let prometheus = prometheus(|out| {
        for service in 0..slos {
            for code in ["200", "500"] {
                let labels =
                    format!("service=\"s{service}\",job=\"j\",instance=\"i{}\",code=\"{code}\"", service % 500);
                let gain = i64::from(code == "200");
                series(out, &format!("http_requests_total{{{labels}}}"), gain, (T0 - 120 + 7, T0 + POLL * (POLLS + 2)));
            }
        }
    })
    .await;
    let rules: Rules = (0..slos).map(|n| availability(&format!("s{n}"))).collect();
    table.part(&format!("{slos} SLOs, {} raw series", 2 * slos));
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let began = Instant::now();
    let mut driven = driven(&proxy.url(), &rules);
    table.say("rules read and planned in", number(began.elapsed().as_secs_f64() * 1e3, "ms"));
    driven.live(T0 - POLL, T0 + POLL).await;
    proxy.take_traffic();
    let own = own_cpu();
    let snapshot = driven.live(T0 + POLL, T0 + POLL * (POLLS + 1)).await;
    let cpu = own_cpu() - own;
    assert!(snapshot.slos.iter().all(|slo| slo.series[0].data.state == DataState::Fresh), "every SLO has data");
    let traffic = proxy.take_traffic();
    let polls = POLLS as f64;
    table.say("queries per poll", number(traffic.queries() as f64 / polls, ""));
    table.say("samples read per poll", number(traffic.samples as f64 / polls, ""));
    table.say("bytes per poll", number(traffic.bytes as f64 / polls / 1e6, "MB"));
    table.say("CPU of Slowburn per poll, counting proxy included", number(cpu / polls * 1e3, "ms"));
    // The month comes beside what the daemon holds already: its own SLOs, and none of what the timings below make again.
    let slos: Vec<Arc<Slo>> = snapshot.slos.iter().map(|entry| Arc::clone(&entry.slo)).collect();
    let ledger = month(&slos);
    table.say("ledger of a month", number(ledger.bytes() as f64 / 1e6, "MB"));
    let (used, most) = (resident().saturating_sub(start) as f64, 600e6);
    let what = "resident memory: that daemon and a month of every SLO";
    match quick {
        true => table.say(what, number(used / 1e6, "MB")),
        false => table.at_most(what, used / 1e6, most / 1e6, "MB"),
    }
    drop(driven);
    let texts: Vec<(&str, &str)> = rules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let model = spec::load_texts(&texts, &spec::Options::default()).model;
    table.say("time to decode the answers of one poll", number(decode_time(&model, &prometheus).await * 1e3, "ms"));
    evaluated(&slos, &ledger, quick, table);
}

/// A month of every SLO.
fn month(slos: &[Arc<Slo>]) -> Ledger {
    let slices = T0 / POLL - 30 * DAY / POLL..T0 / POLL;
    let delta = |slice| SliceDelta { slice, total: 1000, bad: 0, coverage: Coverage::Known };
    let mut filled = SeriesLedger::new(POLL, Unit::Events, 30 * DAY);
    filled.apply(&slices.map(delta).collect::<Vec<_>>());
    let mut ledger = Ledger::new(POLL);
    for slo in slos {
        *ledger.series_mut(slo, &Labels::new()) = filled.clone();
    }
    ledger
}

/// Evaluates a month of every SLO as the daemon does: statuses, alerts, snapshot.
fn evaluated(slos: &[Arc<Slo>], ledger: &Ledger, quick: bool, table: &mut Table) {
    let fresh = DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(T0) };
    let filling = BTreeSet::new();
    let (unseen, folded) = (|_| fresh, |_: usize, _: &Labels| false);
    let (mut statuses, mut book) = (Vec::new(), AlertMachine::new());
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..25 {
        let seen = (0..slos.len()).map(|sli| ((sli, Labels::new()), fresh)).collect();
        let seen = SeriesHealth::of_all(seen, slos.len());
        let scaled_to_zero = BTreeSet::new();
        let health =
            Health { seen, unseen: &unseen, folded: &folded, filling: &filling, scaled_to_zero: &scaled_to_zero };
        let began = Instant::now();
        let (snapshot, _) = evaluate(slos, &[], ledger, &health, T0, &statuses, &mut book);
        times.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(snapshot.slos.len(), slos.len());
        statuses = snapshot.slos.into_iter().map(|entry| entry.series).collect();
    }
    times.sort_by(f64::total_cmp);
    let what = "evaluation of all of them, with alerts and snapshot, median of 25";
    match quick {
        true => table.say(what, number(times[12], "ms")),
        false => table.at_most(what, times[12], 20.0, "ms"),
    }
    table.say("the same, the fastest", number(times[0], "ms"));
}

/// Seconds to decode one poll's answers: the median of several.
async fn decode_time(model: &Model, prometheus: &Prometheus) -> f64 {
    let (plan, _) = Plan::new(model);
    let mut bodies = Vec::new();
    for fetch in &plan.fetches {
        let form = [("query", format!("{}[45s]", fetch.expr)), ("time", (T0 + POLL).to_string())];
        let sent = http().post(format!("{}/api/v1/query", prometheus.url())).form(&form).send().await;
        bodies.push(sent.expect("Prometheus answers").bytes().await.expect("a whole body"));
    }
    // As from the second poll on: label sets are known.
    let sets = Mutex::default();
    let once = || {
        let began = Instant::now();
        for body in &bodies {
            std::hint::black_box(answer::decode(body, &sets).expect("Prometheus answers JSON"));
        }
        began.elapsed().as_secs_f64()
    };
    let mut times: Vec<f64> = (0..11).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    times[5]
}

/// CPU time of this process, seconds.
fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number of ticks");
    (ticks(14) + ticks(15)) / 100.0
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of each kind");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).expect("a number of kB") * 1024
}
