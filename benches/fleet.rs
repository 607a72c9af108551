//! What a fleet costs the daemon as it is shipped: the real binary with its state file, thirty days of history, a clock on
//! the wall and polls each 30 s, beside a Prometheus that costs next to nothing (`harness::many`).
//!
//! ```text
//! cargo bench --bench fleet                    1,000, 5,000 and 10,000 SLOs, and the memory of 40: half an hour
//! cargo bench --bench fleet -- 40 1000         these sizes
//! cargo bench --bench fleet -- mixed 5000      so many, beside one that is refused and one that is too long to be asked
//! cargo bench --bench fleet -- serve 5000      rules and the Prometheus alone, for a daemon that is to be profiled
//! SLOWBURN=path cargo bench --bench fleet      another binary, such as that of the profile `dist`
//! ```
//!
//! Exits with 1 when a target is missed. Times are those of the machine it runs on; the targets are for two idle cores.
//! Services have one SLO and two raw series each, names of thirty characters, and every second one has a bad event in ten
//! minutes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use slowburn::clock::Clock;

use harness::many::{self, Many};
use harness::parts::{Process, free_port, http};
use table::{Table, number};

#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "fleet/mixed.rs"]
mod mixed;
#[path = "cost/table.rs"]
mod table;

/// Seconds between polls.
const POLL: Duration = Duration::from_secs(30);
/// So many polls are measured once everything has settled.
const POLLS: u32 = 4;
/// Stages of a tick, as the log names them.
const STAGES: [&str; 6] = ["read", "book", "evaluate", "store", "publish", "gate"];

fn main() -> ExitCode {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![40, 1_000, 5_000, 10_000] } else { sizes };
    let is_mixed = std::env::args().any(|arg| arg == "mixed");
    let is_served = std::env::args().any(|arg| arg == "serve");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let missed = runtime.expect("a runtime can be built").block_on(async {
        let mut table = Table::begin("Fleet");
        for slos in sizes {
            match is_mixed {
                _ if is_served => serve(slos).await,
                true => mixed::mixed(slos, &mut table).await,
                false => fleet(slos, &mut table).await,
            }
        }
        table.missed().to_vec()
    });
    match missed.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!("missed: {}", missed.join("; "));
            ExitCode::FAILURE
        }
    }
}

/// The daemon, and where it keeps things.
struct Daemon {
    process: Process,
    url: String,
    args: Vec<String>,
    log: PathBuf,
}

impl Daemon {
    fn start(prometheus: &str, dir: &Path, more: &[&str]) -> Self {
        let port = free_port();
        let place = |name: &str| dir.join(name).display().to_string();
        let listen = format!("127.0.0.1:{port}");
        let args =
            ["run", "--prometheus-url", prometheus, "--listen", &listen, "--log-level", "info,slowburn::app=debug"];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.extend(["--rules".into(), place("rules"), "--data-dir".into(), place("data")]);
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        let log = dir.join("log");
        let process = Process::start(&binary(), &args, &log);
        Daemon { process, url: format!("http://{listen}"), args, log }
    }

    /// Ends it as an orchestrator does and starts it again.
    async fn restart(&mut self) {
        self.process.signal("TERM");
        self.process.exit_code(Duration::from_secs(60)).await;
        self.process = Process::start(&binary(), &self.args, &self.log);
    }

    async fn get(&self, path: &str) -> Option<String> {
        let request = http().get(format!("{}{path}", self.url)).timeout(Duration::from_secs(10));
        let answer = request.send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.text().await.ok()
    }

    /// Waits until it says that it is ready; how long that took.
    async fn ready(&mut self) -> f64 {
        let began = Instant::now();
        while self.get("/readyz").await.is_none() {
            assert!(!self.process.has_exited(), "it exited:\n{}", self.process.log());
            assert!(began.elapsed() < Duration::from_secs(600), "not ready:\n{}", self.process.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        began.elapsed().as_secs_f64()
    }

    /// The moment up to which an SLO is judged, and whether its history is there.
    async fn judged(&self, service: &str) -> Option<(i64, bool)> {
        let text = self.get(&format!("/v1/slos/{service}-availability")).await?;
        let slo: serde_json::Value = serde_json::from_str(&text).ok()?;
        let series = &slo["series"][0];
        Some((series["at"].as_i64()?, series["data"]["state"] == "fresh"))
    }
}

fn binary() -> PathBuf {
    std::env::var_os("SLOWBURN").map_or_else(|| env!("CARGO_BIN_EXE_slowburn").into(), PathBuf::from)
}

/// A folder with the rules of so many services.
fn folder(slos: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a new folder");
    for n in 0..slos {
        let (file, text) = many::rules(&many::name(n));
        std::fs::write(dir.path().join("rules").join(file), text).expect("writable");
    }
    dir
}

/// Says where rules and Prometheus are, and answers until it is killed.
async fn serve(slos: usize) {
    let (dir, prometheus) = (folder(slos).keep(), Many::start(slos).await);
    println!("--prometheus-url {} --rules {}", prometheus.url(), dir.join("rules").display());
    std::future::pending::<()>().await;
}

/// Cold start, four polls, a restart.
async fn fleet(slos: usize, table: &mut Table) {
    table.part(&format!("{slos} SLOs, {} raw series", 2 * slos));
    let dir = folder(slos);
    let prometheus = Many::start(slos).await;
    let mut daemon = Daemon::start(&prometheus.url(), dir.path(), &[]);
    let began = Instant::now();
    let ready = daemon.ready().await;
    table.say("cold start: ready after", number(ready, "s"));
    let (oldest, filled) = cold_start(&daemon, slos, began).await;
    table.say("cold start: history read, joined and fresh after", number(filled, "s"));
    table.at_most("oldest evaluation that was shown until then", oldest as f64, 60.0, "s");
    table.say("cold start: CPU", number(daemon.process.cpu_seconds(), "s"));
    let all = daemon.get("/v1/slos").await.unwrap_or_default();
    let all: Vec<serde_json::Value> = serde_json::from_str(&all).expect("a list of SLOs");
    let fresh = all.iter().filter(|slo| slo["series"][0]["data"]["state"] == "fresh").count();
    table.at_least("SLOs with fresh data", fresh as f64, slos as f64, "");
    polls(&daemon, slos, table).await;
    daemon.restart().await;
    let ready = daemon.ready().await;
    let target = if slos > 5_000 { 10.0 } else { 5.0 };
    table.at_most("warm restart: ready after", ready, target, "s");
    table.say("warm restart: CPU", number(daemon.process.cpu_seconds(), "s"));
    tokio::time::sleep(2 * POLL).await;
    table.say("resident after a warm restart", number(daemon.process.rss_bytes() as f64 / 1e6, "MB"));
    table.say("most that was resident since", number(daemon.process.rss_peak_bytes() as f64 / 1e6, "MB"));
    if std::env::var_os("KEEP").is_some() {
        println!("{}", dir.keep().display());
    }
}

/// Looks at one SLO each second until its history is there and written. Answers the age of the oldest evaluation, and how
/// long it took.
async fn cold_start(daemon: &Daemon, slos: usize, began: Instant) -> (i64, f64) {
    let mut oldest = 0;
    let mut fresh_s = None;
    let mut quiet = 0;
    let last = many::name(slos - 1);
    let mut cpu = daemon.process.cpu_seconds();
    while quiet < 8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some((at_s, fresh)) = daemon.judged(&last).await {
            oldest = oldest.max(Clock::wall().now() - at_s);
            if fresh {
                fresh_s.get_or_insert(began.elapsed().as_secs_f64());
            }
        }
        // Quiet is who neither reads nor writes history: between polls next to no CPU is used.
        let used = daemon.process.cpu_seconds();
        quiet = if fresh_s.is_some() && used - cpu < 0.03 { quiet + 1 } else { 0 };
        cpu = used;
        assert!(began.elapsed() < Duration::from_secs(900), "history does not come:\n{}", daemon.process.log());
    }
    (oldest, fresh_s.unwrap_or(f64::NAN))
}

/// What polls cost once everything has settled.
async fn polls(daemon: &Daemon, slos: usize, table: &mut Table) {
    tokio::time::sleep(POLL).await;
    let (cpu, lines) = (daemon.process.cpu_seconds(), ticks(&daemon.process.log()).len());
    tokio::time::sleep(POLL * POLLS).await;
    let cpu_ms = (daemon.process.cpu_seconds() - cpu) / f64::from(POLLS) * 1e3;
    let ticks = ticks(&daemon.process.log()).split_off(lines);
    for (place, stage) in STAGES.iter().enumerate() {
        let mean = ticks.iter().map(|tick| tick[place]).sum::<f64>() / ticks.len() as f64;
        let what = format!("CPU a poll: {stage}");
        match *stage {
            "evaluate" if slos == 10_000 => table.at_most(&what, mean, 20.0, "ms"),
            _ => table.say(&what, number(mean, "ms")),
        }
    }
    match slos {
        10_000 => table.at_most("CPU a poll, all of the process", cpu_ms, 250.0, "ms"),
        _ => table.say("CPU a poll, all of the process", number(cpu_ms, "ms")),
    }
    let (resident, peak) = (daemon.process.rss_bytes() as f64, daemon.process.rss_peak_bytes() as f64);
    match slos {
        40 => table.at_most("resident", resident / 1e6, 20.0, "MB"),
        _ => table.say("resident", number(resident / 1e6, "MB")),
    }
    if slos >= 1_000 {
        table.at_most("resident for each SLO", resident / slos as f64 / 1e3, 60.0, "kB");
        table.at_most("most that was resident, of what it settles at", peak / resident, 1.5, "times");
    }
}

/// CPU milliseconds of the stages of each tick, as the log has them.
fn ticks(log: &str) -> Vec<Vec<f64>> {
    let value = |line: &str, stage: &str| {
        let (_, rest) = line.split_once(&format!("{stage}_cpu_ms="))?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    let tick = |line: &str| STAGES.iter().map(|stage| value(line, stage)).collect::<Option<Vec<f64>>>();
    log.lines().filter_map(tick).collect()
}
