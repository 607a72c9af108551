//! What the audit log costs: durable appends, search, verification, and a start that proves it and builds the gate's state from
//! it. Prints tables; the disk decides the first one, so what it takes for a bare `fdatasync` stands beside it.
//!
//! ```text
//! cargo bench --bench audit                  1,000,000 records for search and verification (a few minutes)
//! cargo bench --bench audit -- --quick       50,000 records; targets that need the million are not judged
//! cargo bench --bench audit -- --start 20000 the start alone, on so many records
//! ```
//!
//! Writes to `target/tmp`, or to `$SLOWBURN_BENCH_DIR`. Exits with 1 when a target is missed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use slowburn::audit::index::{Index, Query};
use slowburn::audit::verify::{Evidence, verify};
use slowburn::audit::{Kind, Log, Options, Record};
use slowburn::clock::Clock;
use slowburn::gate_service::{self, GateService};

const CLIENTS: u64 = 64;
/// Longest start on a million records.
const START_MAX: Duration = Duration::from_secs(15);

fn decision(n: u64, time_ms: i64) -> Record {
    let check = |id: &str, observed: f64| json!({"id": id, "effect": "allow", "observed": observed, "bound": "< 14.4"});
    let checks = [check("slo.necessity", 16.2), check("predict.floor", 99.4), check("budget.rate", n as f64)];
    Record {
        resource: Some(format!("deployment/service-{:03}", n % 500)),
        from_version: Some("v42".into()),
        to_version: Some("v41".into()),
        reason: Some("slo_burn_rate_exceeded".into()),
        incident_id: n.is_multiple_of(20).then(|| format!("INC-{}", n / 2000)),
        approval: Some(json!({"required": n.is_multiple_of(7), "approved_by": null})),
        service: Some(format!("service-{:03}", n % 500)),
        principal: Some(json!({"sub": "system:serviceaccount:ops:orca", "via": "tokenreview"})),
        decision: Some(json!({
            "id": format!("dec_{n:010}"),
            "result": (["allow", "deny", "needs_approval"][(n % 3) as usize]),
            "action_digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "checks": checks,
        })),
        inputs: Some(json!({"policy": "sha256:1", "snapshot": "sha256:2", "data_state": "fresh"})),
        ..Record::new(
            Kind::Decision,
            format!("robot/{}", n % 37),
            ["rollback", "scale", "deploy"][(n % 3) as usize],
            time_ms,
        )
    }
}

fn folder(name: &str) -> PathBuf {
    let base = std::env::var_os("SLOWBURN_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = base.join(format!("audit-bench-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The share `p` of sorted times.
fn quantile(times: &[Duration], p: f64) -> Duration {
    times[((times.len() - 1) as f64 * p).round() as usize]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// What the disk takes for one record by itself.
fn bare(folder: &Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(folder.join("bare")).expect("a file");
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[b'x'; 1200]).and_then(|()| file.sync_data()).expect("written");
            start.elapsed()
        })
        .collect();
    times.sort();
    times
}

/// `CLIENTS` clients for `length`; each waits for its answer. `rate`: appends a second of all together, or as fast as
/// they can. Times count from the moment an append was due, so a stall is seen by all that it holds up.
fn appends(folder: &Path, length: Duration, rate: Option<f64>) -> (f64, Vec<Duration>) {
    let log = Log::open(Options::new(folder), Clock::wall()).expect("it opens");
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let log = log.clone();
            std::thread::spawn(move || {
                let mut times = Vec::new();
                for n in 0_u64.. {
                    let due = match rate {
                        Some(rate) => start + Duration::from_secs_f64((n * CLIENTS + client) as f64 / rate),
                        None => Instant::now(),
                    };
                    if due.duration_since(start) > length {
                        break;
                    }
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let record = decision(client * 1_000_000 + n, Clock::wall().now_ms());
                    log.append_blocking(record).expect("written");
                    times.push(due.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times: Vec<Duration> = clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
    let per_second = times.len() as f64 / start.elapsed().as_secs_f64();
    log.close();
    times.sort();
    (per_second, times)
}

/// What a gate writes down of a decision, which a start reads again.
fn decided(n: u64, time_ms: i64) -> Record {
    let answer = ["allow", "deny", "needs_approval"][(n % 3) as usize];
    let event = json!({
        "at": time_ms / 1000, "kind": "decided", "id": format!("dec_{n:010}"), "sub": format!("robot/{}", n % 37),
        "actor": format!("robot/{}", n % 37), "service": format!("service-{:03}", n % 500), "action": "rollback",
        "class": "mitigate", "action_digest": format!("sha256:{n:064x}"), "answer": answer, "reasons": ["not_necessary"],
        "idempotency_key": null, "probe": false,
    });
    Record { event: Some(event), ..decision(n, time_ms) }
}

/// How the log of a daemon is kept: something beside it remembers it.
fn kept(folder: &Path) -> Options {
    Options { memory_file: Some(folder.with_extension("head")), ..Options::new(folder) }
}

/// A start as the daemon makes it, up to a gate that decides: every record read, its leaf and its place in the chain checked
/// against what is stored, signed and remembered, and the gate's state built. How long it took, and what it took of memory.
fn start(folder: &Path, records: u64, judged: bool, missed: &mut Vec<String>) {
    let status = |name: &str| {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    // The most there ever was begins anew.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
    let before = status("VmRSS:");
    let (took, (log, gate)) = timed(|| {
        let clock = Clock::wall();
        let log = Log::open(kept(folder), clock.clone()).expect("it opens");
        let options = gate_service::Options {
            log: log.clone(),
            dir: folder.to_owned(),
            clock,
            identities: Default::default(),
            external_url: None,
            follows: false,
        };
        (log, GateService::new(options).expect("it can be read"))
    });
    assert!(log.is_proved(), "{:?}", log.doubts());
    let operators = gate.operators()["operators"].as_array().map_or(0, Vec::len);
    assert_eq!(
        operators,
        if records < 500 * 37 { operators } else { 500 * 37 },
        "its state was built from the records"
    );
    let peak = status("VmHWM:");
    println!(
        "\nstart of a gate on {records} records, proof included: {:.1} s, {:.0} records/s; memory {before} MiB before, {peak} MiB \
         at most",
        took.as_secs_f64(),
        records as f64 / took.as_secs_f64()
    );
    if judged && took > START_MAX {
        missed.push(format!("a start on {records} records takes {:.1} s, over {START_MAX:?}", took.as_secs_f64()));
    }
    log.close();
}

/// A log of `records` decisions over 90 days.
fn fill(folder: &Path, records: u64) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let options = Options { answer_within: Duration::from_secs(60), ..kept(folder) };
    let log = Log::open(options, Clock::scaled(0, 1e-9)).expect("it opens");
    log.prove_whole(|_| true).expect("it is readable");
    let next = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        // Fewer than the queue takes; their times may differ by less than what is taken for a step of the clock.
        let tasks: Vec<_> = (0..1024)
            .map(|_| {
                let (log, next) = (log.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= records {
                            break;
                        }
                        log.append(decided(n, 1_700_000_000_000 + n as i64 / 4)).await.expect("written");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    log.close();
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let alone = args.iter().position(|arg| arg == "--start").and_then(|at| args.get(at + 1)?.parse::<u64>().ok());
    if let Some(records) = alone {
        let (place, mut missed) = (folder("search"), Vec::new());
        let (filling, ()) = timed(|| fill(&place, records));
        println!("{records} records written in {:.0} s", filling.as_secs_f64());
        start(&place, records, false, &mut missed);
        drop(std::fs::remove_dir_all(place));
        return ExitCode::SUCCESS;
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let (records, length) = if quick { (50_000, Duration::from_secs(3)) } else { (1_000_000, Duration::from_secs(20)) };
    let mut missed = Vec::new();
    let place = folder("appends");
    let floor = bare(&place);
    println!("durable appends, {CLIENTS} clients, records of about 1.2 KiB\n");
    println!("{:32} {:>12} {:>10} {:>10} {:>10}", "", "appends/s", "p50", "p99", "p99.9");
    let row = |name: &str, per_second: f64, times: &[Duration]| {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|p| ms(quantile(times, p)));
        println!("{name:32} {per_second:>12.0} {p50:>10} {p99:>10} {p999:>10}");
    };
    let total: Duration = floor.iter().sum();
    row("write + fdatasync, one at a time", floor.len() as f64 / total.as_secs_f64(), &floor);
    let (per_second, times) = appends(&place.join("paced"), length, Some(1000.0));
    row("1,000/s, from when each was due", per_second, &times);
    if quantile(&times, 0.99) > Duration::from_millis(5) {
        missed.push(format!("p99 at 1,000/s is {}, over 5 ms", ms(quantile(&times, 0.99))));
    }
    let (per_second, times) = appends(&place.join("free"), length, None);
    row("as fast as they go", per_second, &times);

    let place = folder("search");
    let (filling, ()) = timed(|| fill(&place, records));
    println!("\nsearch over {records} records (written in {:.0} s)\n", filling.as_secs_f64());
    let (indexing, index) = timed(|| Index::open(&place, &mut |_, _| {}).expect("it opens"));
    println!("{:60} {:>10.1} s", "making the index anew", indexing.as_secs_f64());
    drop(index);
    let (opening, index) = timed(|| Index::open(&place, &mut |_, _| {}).expect("it opens"));
    println!("{:60} {:>10}", "opening it, up to date", ms(opening));
    let of = |text: &str| Some(text.to_owned());
    let page = Query { limit: Some(50), ..Query::default() };
    let middle = 1_700_000_000_000 + records as i64 / 8;
    let queries = [
        ("the newest 50", page.clone()),
        ("service", Query { service: of("service-123"), ..page.clone() }),
        (
            "service, actor, action",
            Query { service: of("service-123"), actor: of("robot/5"), action: of("rollback"), ..page.clone() },
        ),
        ("incident", Query { incident: of("INC-7"), ..page.clone() }),
        (
            "decision and action that never meet (a third of all each)",
            Query { decision: of("deny"), action: of("rollback"), ..page.clone() },
        ),
        (
            "denied to an actor, in the middle of the time",
            Query {
                decision: of("deny"),
                actor: of("robot/5"),
                since_ms: Some(middle),
                until_ms: Some(middle + 5000),
                ..page
            },
        ),
    ];
    for (name, query) in queries {
        let mut times: Vec<Duration> = (0..11)
            .map(|_| {
                timed(|| {
                    let places = index.search(&query).expect("it can be read");
                    for place in &places {
                        index.read(place).expect("it is there");
                    }
                })
                .0
            })
            .collect();
        times.sort();
        println!("{name:60} {:>10}  (slowest {})", ms(quantile(&times, 0.5)), ms(quantile(&times, 1.0)));
        if !quick && quantile(&times, 0.5) > Duration::from_millis(100) {
            missed.push(format!("{name}: {}, over 100 ms", ms(quantile(&times, 0.5))));
        }
    }
    start(&place, records, !quick, &mut missed);
    let log = Log::open(kept(&place), Clock::wall()).expect("it opens");
    let key = log.public_key().clone();
    log.close();
    drop(log);
    let (verifying, report) =
        timed(|| verify(&place, &key, &Evidence::default(), &mut |_, _| {}).expect("it can be read"));
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    println!(
        "\nverify: {:.0} records/s, {:.1} s for all",
        records as f64 / verifying.as_secs_f64(),
        verifying.as_secs_f64()
    );
    let (opening, log) = timed(|| Log::open(kept(&place), Clock::wall()).expect("it opens"));
    println!("open for writing: {}", ms(opening));
    log.close();
    for name in ["appends", "search"] {
        drop(std::fs::remove_dir_all(folder(name)));
    }
    for miss in &missed {
        println!("MISSED: {miss}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
