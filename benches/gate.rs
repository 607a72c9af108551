//! What the gate takes: decisions that are on disk before they are answered, and decisions that are only explained. The
//! real daemon over HTTP, 64 clients with a connection each, a real Prometheus behind it. What the disk takes for a bare
//! `fdatasync` stands beside it, for it decides the durable ones.
//!
//! ```text
//! cargo bench --bench gate                  30 s for each row, so that each has a poll in it (4 minutes)
//! cargo bench --bench gate -- --quick       3 s each; targets are not judged
//! ```
//!
//! Rows at a rate are open loops: each request has a moment at which it is due, and its time counts from that moment,
//! whether or not the answers before it had come. A stall is seen by all that it holds up. "As fast as they go" is a
//! closed loop: each client waits for its answer, then asks again.
//!
//! Clients and daemon share all cores; for one row the daemon has one of them, which the clients use as well.
//!
//! A client asks in turn for a deploy (allow, which is then redeemed and reported), a rollback (needs approval) and a
//! restart (deny). Only decisions are counted and timed as such.
//!
//! Writes to `target/tmp`, or to `$SLOWBURN_BENCH_DIR`. Needs the real Prometheus (`tests/parts` fetches it). Exits with
//! 1 when a target is missed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use gate_stage::{Stage, Wire, request, robot};

#[path = "../tests/it/gate_stage.rs"]
mod gate_stage;
#[path = "../tests/it/harness.rs"]
mod harness;

const CLIENTS: usize = 64;
/// Targets: the highest p99.
const DURABLE_P99: Duration = Duration::from_millis(5);
const EXPLAIN_P99: Duration = Duration::from_millis(1);

/// One row: what it is, and what it came to.
struct Row {
    times: Vec<Duration>,
    per_second: f64,
    /// CPU time of the daemon by time of the wall.
    cores: f64,
}

impl Row {
    fn print(&self, name: &str) {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|p| ms(self.quantile(p)));
        println!("{name:50} {:>10.0} {p50:>10} {p99:>10} {p999:>10} {:>8.0} %", self.per_second, self.cores * 100.0);
    }

    /// The share `p` of the times.
    fn quantile(&self, p: f64) -> Duration {
        self.times[((self.times.len() - 1) as f64 * p).round() as usize]
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// What the disk takes for one record by itself.
fn bare(folder: &Path) -> Row {
    let mut file = std::fs::File::create(folder.join("bare")).expect("a file");
    let began = Instant::now();
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[b'x'; 4000]).and_then(|()| file.sync_data()).expect("written");
            start.elapsed()
        })
        .collect();
    let per_second = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort();
    Row { times, per_second, cores: 0.0 }
}

/// All clients for `length`. `rate`: requests a second of all together, or as fast as they go. `ask` makes the `n`-th
/// request of a client and gives back when it was answered.
fn run(
    stage: &Stage,
    length: Duration,
    rate: Option<f64>,
    ask: impl Fn(&mut Wire, usize, usize) -> Instant + Sync,
) -> Row {
    let mut wires: Vec<Wire> = (0..CLIENTS).map(|_| stage.wire()).collect();
    // Connections are made before the clock runs.
    for (client, wire) in wires.iter_mut().enumerate() {
        let (status, _) =
            wire.post(&robot(client), "/v1/decisions?explain", &request("deploy", client, None)).expect("an answer");
        assert_eq!(status, 200);
    }
    let (cpu, start) = (stage.process.cpu_seconds(), Instant::now());
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let ask = &ask;
        let clients = wires.iter_mut().enumerate().map(|(client, wire)| {
            scope.spawn(move || {
                let mut times = Vec::new();
                for n in 0.. {
                    let due = match rate {
                        Some(rate) => start + Duration::from_secs_f64((n * CLIENTS + client) as f64 / rate),
                        None => Instant::now(),
                    };
                    if due.duration_since(start) > length {
                        break;
                    }
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    times.push(ask(wire, client, n).duration_since(due));
                }
                times
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    let took = start.elapsed().as_secs_f64();
    let cores = (stage.process.cpu_seconds() - cpu) / took;
    let per_second = times.len() as f64 / took;
    times.sort();
    Row { times, per_second, cores }
}

/// The cores that this process may use, as `taskset` writes them: `0-1`.
fn cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.expect("a line of each kind").trim().to_owned()
}

/// Ties all threads of a process to these cores.
fn pin(pid: u32, to: &str) {
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", to, &pid.to_string()]).output();
    assert!(pinned.is_ok_and(|pinned| pinned.status.success()), "taskset (util-linux) cannot tie {pid} to {to}");
}

/// Asks for a decision; an allow is redeemed and reported, and that is not part of its time.
fn decide(wire: &mut Wire, client: usize, n: usize) -> Instant {
    let (action, expected) = [("deploy", "allow"), ("rollback", "needs_approval"), ("restart", "deny")][n % 3];
    // Who is denied again and again is denied everything: those requests come from another service's robot.
    let who = if action == "restart" { robot(CLIENTS + client) } else { robot(client) };
    let (status, answer) = wire.post(&who, "/v1/decisions", &request(action, client, None)).expect("an answer");
    let answered = Instant::now();
    assert!(status == 200 && answer["decision"] == expected, "{status} {answer:#}");
    assert!(answer["audit"]["seq"].is_u64(), "it is on record: {answer}");
    if let Some(permit) = answer["permit"]["id"].as_str() {
        let mut step = |step: &str, body: &Value| {
            let (status, answer) = wire.post(&who, &format!("/v1/permits/{permit}/{step}"), body).expect("an answer");
            assert!(status == 200 && answer["decision"] != "deny", "{step}: {status} {answer}");
        };
        step("redeem", &json!({}));
        step("outcome", &json!({"applied": false}));
    }
    answered
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let length = if quick { Duration::from_secs(3) } else { Duration::from_secs(30) };
    let base = std::env::var_os("SLOWBURN_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&base).expect("a folder");
    let floor = bare(&base);
    drop(std::fs::remove_file(base.join("bare")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let stage = runtime.block_on(Stage::start(2 * CLIENTS, Some(&base), 1.0));
    println!("{CLIENTS} clients over HTTP, {} services with a policy\n", 2 * CLIENTS);
    println!("{:50} {:>10} {:>10} {:>10} {:>10} {:>10}", "", "a second", "p50", "p99", "p99.9", "of a core");
    floor.print("write + fdatasync, one at a time");
    let requests: Vec<Vec<u8>> = (0..CLIENTS)
        .map(|client| stage.wire().bytes(&robot(client), "/v1/decisions?explain", &request("deploy", client, None)))
        .collect();
    let explain = |wire: &mut Wire, client: usize, _: usize| {
        let (status, answer) = wire.send(&requests[client]).expect("an answer");
        let answered = Instant::now();
        assert!(status == 200 && answer.len() > 100, "{status}");
        answered
    };
    let mut missed = Vec::new();
    let mut judge = |name: &str, row: &Row, rate: f64, target: Duration| {
        row.print(name);
        if row.quantile(0.99) > target {
            missed.push(format!("{name}: p99 is {}, over {}", ms(row.quantile(0.99)), ms(target)));
        }
        // Clients that cannot keep the rate measure something else.
        if row.per_second < rate * 0.99 {
            missed.push(format!("{name}: only {:.0} a second", row.per_second));
        }
    };
    judge(
        "decisions, 1,000 a second, from when each was due",
        &run(&stage, length, Some(1_000.0), decide),
        1_000.0,
        DURABLE_P99,
    );
    run(&stage, length, None, decide).print("decisions, as fast as they go");
    let all = cores();
    pin(stage.process.pid(), all.split(['-', ',']).next().expect("a split has a first part"));
    let row = run(&stage, length, Some(1_000.0), decide);
    judge("the same at 1,000 a second, daemon on one core", &row, 1_000.0, DURABLE_P99);
    pin(stage.process.pid(), &all);
    judge(
        "explained, 10,000 a second, from when each was due",
        &run(&stage, length, Some(10_000.0), explain),
        10_000.0,
        EXPLAIN_P99,
    );
    run(&stage, length, None, explain).print("explained, as fast as they go");
    println!("\nresident memory of the daemon: {} MB", stage.process.rss_bytes() / 1_000_000);
    for miss in &missed {
        println!("MISSED: {miss}");
    }
    if missed.is_empty() || quick { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
