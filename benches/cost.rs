//! What SLOs cost a Prometheus: the daemon's polls beside the recording rules of two generators, for the same promises
//! on the same data. Counted, not estimated: samples through `stats=all`, CPU from `/proc`.
//!
//! ```text
//! cargo bench --bench cost                      20 services × 2 SLOs, 30 days, 5 minutes live (about 15 minutes)
//! cargo bench --bench cost -- --quick           3 services, 3 days, half a minute live; targets that need the full
//!                                               fixture are not judged
//! cargo bench --bench cost -- --minutes 20      longer live
//! ```
//!
//! Needs the real Prometheus (`tests/parts` fetches it). Exits with 1 when a target is missed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use slowburn::prometheus::answer;
use slowburn::query::Plan;
use slowburn::spec;

use cost_fixture::Fixture;
use daemon::{Driven, metrics, options};
use harness::fault_proxy::{Fault, FaultProxy, Traffic};
use harness::parts::{self, Generation, Process, eventually, http, part};
use harness::prometheus::{Past, PromOptions, Prometheus};
use peers::{Promise, RuleFile};
use table::{Table, number};

#[path = "cost/fixture.rs"]
mod cost_fixture;
#[path = "../tests/it/daemon.rs"]
mod daemon;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "cost/peers.rs"]
mod peers;
#[path = "cost/table.rs"]
mod table;

const HOUR: i64 = 3600;
/// New samples of the fixture an hour, per SLO, each read once: (10 + 4) series × 120 scrapes / 2 SLOs.
const FLOOR: f64 = 840.0;
/// Raw series that both SLOs of a service count.
const RAW_SERIES: usize = 14;
/// One file of rules: name, YAML.
type Rules = Vec<(String, String)>;

struct Size {
    services: usize,
    days: i64,
    live: Duration,
    quick: bool,
}

impl Size {
    fn slos(&self) -> f64 {
        2.0 * self.services as f64
    }

    fn series(&self) -> f64 {
        (RAW_SERIES * self.services) as f64
    }
}

fn size() -> Result<Size, String> {
    let mut size = Size { services: 20, days: 30, live: Duration::from_secs(300), quick: false };
    // Cargo says `--bench` to every bench.
    let mut given = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let mut minutes = None;
    while let Some(arg) = given.next() {
        match arg.as_str() {
            "--quick" => size = Size { services: 3, days: 3, live: Duration::from_secs(30), quick: true },
            "--minutes" => minutes = given.next().and_then(|text| text.parse::<f64>().ok()).filter(|m| *m >= 0.5),
            other => return Err(format!("{other:?} is not known: --quick, --minutes N (0.5 or more)")),
        }
    }
    size.live = minutes.map_or(size.live, |minutes| Duration::from_secs_f64(minutes * 60.0));
    Ok(size)
}

fn main() -> ExitCode {
    let size = match size() {
        Ok(size) => size,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(64);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let missed = runtime.expect("a runtime can be built").block_on(measure(&size));
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("missed: {}", missed.join("; "));
    ExitCode::FAILURE
}

async fn measure(size: &Size) -> Vec<String> {
    let promises = peers::promises(size.services);
    let began = Instant::now();
    let fixture = Fixture::make(size.services, size.days, &promises);
    machine(&fixture, began.elapsed());
    let live = live(size, &fixture, &promises).await;

    let prometheus = server(&fixture, None, None).await;
    let mut table = Table::begin("Cost to Prometheus");
    let samples = steady(size, &fixture, &prometheus, &mut table).await;
    let poll_cpu = poll_cpu(&fixture, &prometheus, &mut table).await;
    rules_of_peers(size, &fixture, &promises, &prometheus, (samples, poll_cpu), &mut table).await;
    say_live(size, &live, &mut table);
    cold_start(size, &fixture, &prometheus, &mut table).await;
    memory(&live, &mut table);
    table.missed().to_vec()
}

/// Facts that the numbers depend on.
fn machine(fixture: &Fixture, took: Duration) {
    let first_line = |out: &[u8]| String::from_utf8_lossy(out).lines().next().unwrap_or_default().to_owned();
    let version = Command::new(part("prometheus")).arg("--version").output().expect("Prometheus starts");
    let version = [version.stdout, version.stderr].concat();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    println!(
        "{} services, 2 SLOs each, {} days of 30 s scrapes: {} samples, made in {:.0} s",
        fixture.services,
        fixture.days,
        number(fixture.samples as f64, ""),
        took.as_secs_f64()
    );
    println!("slowburn {}, {}; {cpus} cores, {model}", env!("CARGO_PKG_VERSION"), first_line(&version));
}

/// A server on the fixture's blocks. It may scrape a page and evaluate rules; it never rewrites old blocks.
async fn server(fixture: &Fixture, page: Option<&parts::Server>, rules: Option<&RuleFile>) -> Prometheus {
    let blocks = ["min", "max"].map(|end| format!("--storage.tsdb.{end}-block-duration=2h"));
    Prometheus::start(PromOptions {
        generation: Generation::default(),
        past: Some(Past::Blocks(fixture.blocks())),
        targets: page.iter().map(|page| ("page".to_owned(), page.address.to_string())).collect(),
        scrape_interval: "30s".into(),
        rules: rules.map(RuleFile::text),
        flags: blocks.to_vec(),
        honor_labels: true,
    })
    .await
}

fn driven(url: &str, rules: &Rules, poll_s: i64) -> Driven {
    let rules: Vec<(&str, String)> = rules.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut options = options(url, &rules, None);
    options.source.poll_interval_s = poll_s;
    Driven::new(options)
}

/// What an hour of polls costs, after a cold start that is not counted.
async fn hour(fixture: &Fixture, prometheus: &Prometheus, rules: &Rules, poll_s: i64) -> (Traffic, Duration) {
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let mut driven = driven(&proxy.url(), rules, poll_s);
    let end = fixture.end.div_euclid(poll_s) * poll_s;
    driven.tick(end - HOUR).await;
    proxy.take_traffic();
    let began = Instant::now();
    for at in (end - HOUR + poll_s..=end).step_by(poll_s as usize) {
        driven.tick(at).await;
    }
    (proxy.take_traffic(), began.elapsed())
}

/// Samples per SLO-hour at the default poll interval.
async fn steady(size: &Size, fixture: &Fixture, prometheus: &Prometheus, table: &mut Table) -> f64 {
    table.part("Steady state, one hour of polls, all requests of the daemon");
    let month = fixture.rules("30d", "");
    let mut default_samples = 0.0;
    for poll_s in [30, 60] {
        let (traffic, wall) = hour(fixture, prometheus, &month, poll_s).await;
        let polls = (HOUR / poll_s) as f64;
        let samples = traffic.samples as f64 / size.slos();
        let every = format!("polls each {poll_s} s");
        table.at_most(&format!("samples read per SLO and hour, {every} (each once: {FLOOR})"), samples, 1680.0, "");
        table.at_most(&format!("queries per poll, {every}"), traffic.queries() as f64 / polls, 3.0, "");
        let bytes = traffic.bytes as f64 / polls / size.series();
        table.at_most(&format!("bytes per raw series and poll, {every}"), bytes, 200.0, "B");
        table.say(&format!("wall time per poll, counting proxy included, {every}"), millis(wall.as_secs_f64() / polls));
        if poll_s == 30 {
            default_samples = traffic.samples as f64;
        }
    }
    let quarter = fixture.rules("90d", "");
    let (traffic, _) = hour(fixture, prometheus, &quarter, 30).await;
    let more = traffic.samples as f64 - default_samples;
    table.at_most("more samples when every window is 90 d instead of 30 d", more, 0.0, "");
    let both: Rules = month.into_iter().chain(fixture.rules("90d", "-quarter")).collect();
    let (traffic, _) = hour(fixture, prometheus, &both, 30).await;
    let more = traffic.samples as f64 - default_samples;
    table.at_most("more samples when each SLO stands a second time, over 90 d", more, 0.0, "");
    table.say("time to decode the answers of one poll", millis(decode_time(fixture, prometheus).await));
    default_samples / size.slos()
}

/// Seconds to decode one poll's answers: the median of many.
async fn decode_time(fixture: &Fixture, prometheus: &Prometheus) -> f64 {
    let rules = fixture.rules("30d", "");
    let texts: Vec<(&str, &str)> = rules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (plan, _) = Plan::new(&spec::load_texts(&texts, &spec::Options::default()).model);
    let mut bodies = Vec::new();
    for fetch in &plan.fetches {
        let form = [("query", format!("{}[45s]", fetch.expr)), ("time", fixture.end.to_string())];
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
    median((0..101).map(|_| once()).collect())
}

/// Server CPU seconds per poll, the daemon connected directly.
async fn poll_cpu(fixture: &Fixture, prometheus: &Prometheus, table: &mut Table) -> f64 {
    const POLLS: i64 = 200;
    let mut driven = driven(&prometheus.url(), &fixture.rules("30d", ""), 30);
    let start = fixture.end - 30 * POLLS;
    driven.tick(start).await;
    let mut runs = Vec::new();
    let before = prometheus.process().cpu_seconds();
    driven.live(start, fixture.end).await;
    runs.push((prometheus.process().cpu_seconds() - before) / POLLS as f64);
    for _ in 0..2 {
        let mut driven = self::driven(&prometheus.url(), &fixture.rules("30d", ""), 30);
        driven.tick(start).await;
        let before = prometheus.process().cpu_seconds();
        driven.live(start, fixture.end).await;
        runs.push((prometheus.process().cpu_seconds() - before) / POLLS as f64);
    }
    let cpu = median(runs);
    table.say(&format!("server CPU per poll, {POLLS} polls, median of 3"), millis(cpu));
    cpu
}

/// One evaluation of every rule of both shapes.
async fn rules_of_peers(
    size: &Size,
    fixture: &Fixture,
    promises: &[Promise],
    prometheus: &Prometheus,
    (ours_samples, ours_cpu): (f64, f64),
    table: &mut Table,
) {
    table.part("The same SLOs as recording rules, each expression run once, times its evaluations an hour");
    let ours_cpu_hour = ours_cpu * 120.0 / size.slos();
    table.say("ours: server CPU per SLO and hour", number(ours_cpu_hour, "s"));
    // The last of each: how many times our CPU it must be at least.
    for (name, file, cpu_target) in
        [("Sloth's shape", RuleFile::sloth(promises), 300.0), ("Pyrra's shape", RuleFile::pyrra(promises), 200.0)]
    {
        let (mut samples, mut cpu, mut cycle) = (0.0, 0.0, 0.0);
        // Rules of one interval together: the CPU of a single one is less than a tick.
        let mut of_interval: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (expr, an_hour) in file.expressions() {
            of_interval.entry(an_hour as u64).or_default().push(expr);
        }
        for (an_hour, exprs) in of_interval {
            let before = prometheus.process().cpu_seconds();
            for expr in &exprs {
                samples += samples_of(prometheus, expr, fixture.end).await * an_hour as f64;
            }
            let used = prometheus.process().cpu_seconds() - before;
            cpu += used * an_hour as f64;
            cycle += used;
        }
        let (samples, cpu) = (samples / size.slos(), cpu / size.slos());
        table.say(&format!("{name}: samples read per SLO and hour"), number(samples, ""));
        table.say(&format!("{name}: times ours"), number(samples / ours_samples, ""));
        table.say(&format!("{name}: server CPU of one evaluation of all"), number(cycle, "s"));
        table.say(&format!("{name}: server CPU per SLO and hour"), number(cpu, "s"));
        let (what, ratio) = (format!("{name}: server CPU, times ours"), cpu / ours_cpu_hour);
        if size.quick {
            table.say(&what, number(ratio, ""));
        } else {
            table.at_least(&what, ratio, cpu_target, "");
        }
    }
}

/// Samples that an instant query reads.
async fn samples_of(prometheus: &Prometheus, expr: &str, at: i64) -> f64 {
    let form = [("query", expr), ("time", &at.to_string()), ("stats", "all")];
    let sent = http().post(format!("{}/api/v1/query", prometheus.url())).form(&form).send().await;
    let answer: Value = sent.expect("Prometheus answers").json().await.expect("Prometheus answers JSON");
    answer["data"]["stats"]["samples"]["totalQueryableSamples"].as_f64().unwrap_or_else(|| panic!("{expr}: {answer}"))
}

/// One server of the live comparison, and what it used.
struct Lived {
    idle_s: f64,
    polled_s: f64,
    sloth_s: f64,
    pyrra_s: f64,
    /// CPU of the daemon itself, seconds.
    daemon_s: f64,
    /// Resident memory of the daemon after the cold start, at the end, and the most it had; bytes.
    memory: (u64, u64, u64),
    /// The same without remote read.
    coarse: (u64, u64, u64),
}

/// Four servers side by side scrape the same page: one idle, one polled by the daemon, two with rules.
async fn live(size: &Size, fixture: &Fixture, promises: &[Promise]) -> Lived {
    let page = fixture.page().await;
    let (sloth, pyrra) = (RuleFile::sloth(promises), RuleFile::pyrra(promises));
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, file) in [("sloth.yml", &sloth), ("pyrra.yml", &pyrra)] {
        check(&dir.path().join(name), file);
    }
    let idle = server(fixture, Some(&page), None).await;
    let polled = server(fixture, Some(&page), None).await;
    let sloth = server(fixture, Some(&page), Some(&sloth)).await;
    let pyrra = server(fixture, Some(&page), Some(&pyrra)).await;
    let daemon = Spawned::start(&dir.path().join("ours"), fixture, &polled.url()).await;
    let filled = daemon.process.rss_bytes();
    // Everybody has started, and each rule has run once.
    tokio::time::sleep(Duration::from_secs(35)).await;
    let servers = [&idle, &polled, &sloth, &pyrra].map(Prometheus::process);
    let before = servers.map(Process::cpu_seconds);
    let own = daemon.process.cpu_seconds();
    tokio::time::sleep(size.live).await;
    let after = servers.map(Process::cpu_seconds);
    let used: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    let memory = (filled, daemon.process.rss_bytes(), daemon.process.rss_peak_bytes());
    let daemon_s = daemon.process.cpu_seconds() - own;
    drop(daemon);
    let proxy = FaultProxy::start(&polled.url()).await;
    proxy.set(Fault::NoRemoteRead);
    let daemon = Spawned::start(&dir.path().join("coarse"), fixture, &proxy.url()).await;
    let filled = daemon.process.rss_bytes();
    tokio::time::sleep(Duration::from_secs(35)).await;
    let coarse = (filled, daemon.process.rss_bytes(), daemon.process.rss_peak_bytes());
    Lived { idle_s: used[0], polled_s: used[1], sloth_s: used[2], pyrra_s: used[3], daemon_s, memory, coarse }
}

/// The server's own checker finds nothing wrong with a rule file.
fn check(file: &Path, rules: &RuleFile) {
    std::fs::write(file, rules.text()).expect("the temporary folder can be written");
    let out = Command::new(part("promtool")).args(["check", "rules"]).arg(file).output().expect("promtool starts");
    assert!(out.status.success(), "promtool: {}", String::from_utf8_lossy(&out.stderr));
}

/// `slowburn run` as a process.
struct Spawned {
    process: Process,
}

impl Spawned {
    /// Starts it, and waits until all history is in.
    async fn start(dir: &Path, fixture: &Fixture, url: &str) -> Self {
        let services = dir.join("services");
        std::fs::create_dir_all(&services).expect("the temporary folder can be written");
        for (name, text) in fixture.rules("30d", "") {
            std::fs::write(services.join(name), text).expect("the temporary folder can be written");
        }
        let log = dir.join("slowburn.log");
        let start = |port: u16| {
            let listen = format!("127.0.0.1:{port}");
            let args = ["run", "--prometheus-url", url, "--listen", &listen, "--log-level", "info", "--rules"];
            let folders = [services.as_os_str(), "--data-dir".as_ref(), dir.as_os_str()];
            let args = args.iter().map(AsRef::<std::ffi::OsStr>::as_ref).chain(folders);
            Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &log)
        };
        let (process, _) = parts::start_on_free_port("/healthz", start).await;
        eventually("history is in", Duration::from_secs(120), async || {
            process.log().contains("history read").then_some(())
        })
        .await;
        // Joining it takes a moment more.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Spawned { process }
    }
}

fn say_live(size: &Size, live: &Lived, table: &mut Table) {
    let minutes = number(size.live.as_secs_f64() / 60.0, "min");
    table.part(&format!("Server CPU over {minutes} live, four servers side by side, `/proc` ticks of 10 ms"));
    table.say("idle (scrapes every series of the fixture)", number(live.idle_s, "s"));
    let above = [live.polled_s, live.sloth_s, live.pyrra_s].map(|used| used - live.idle_s);
    table.say("polled by `slowburn run`, above idle", number(above[0], "s"));
    table.say("Sloth's rules loaded, above idle", number(above[1], "s"));
    table.say("Pyrra's rules loaded, above idle", number(above[2], "s"));
    // Below a tick there is nothing to divide by.
    let ours = above[0].max(0.01);
    for (name, used, target) in
        [("Sloth's shape, times ours", above[1], 300.0), ("Pyrra's shape, times ours", above[2], 200.0)]
    {
        // A short run has too few polls to tell from idle.
        match !size.quick && size.live >= Duration::from_secs(300) {
            true => table.at_least(name, used / ours, target, ""),
            false => table.say(name, number(used / ours, "")),
        }
    }
    table.say("CPU of the daemon itself", number(live.daemon_s, "s"));
}

/// From nothing to thirty days.
async fn cold_start(size: &Size, fixture: &Fixture, prometheus: &Prometheus, table: &mut Table) {
    let rules = fixture.rules("30d", "");
    let proxy = FaultProxy::start(&prometheus.url()).await;
    for (name, fault, requests_max) in
        [("remote read", Fault::None, Some(6.0)), ("remote read refused", Fault::NoRemoteRead, None)]
    {
        table.part(&format!("Cold start of {} d, {name}", size.days));
        proxy.set(fault);
        proxy.take_traffic();
        let decoded = samples_read();
        let mut walls = vec![started(&proxy.url(), &rules, fixture.end).await];
        let traffic = proxy.take_traffic();
        let decoded = samples_read() - decoded;
        if fault == Fault::None {
            walls = Vec::new();
            for _ in 0..3 {
                walls.push(started(&prometheus.url(), &rules, fixture.end).await);
            }
        }
        table.at_most("wall time until everything is in", median(walls), 5.0, "s");
        match requests_max {
            Some(max) => table.at_most("requests", traffic.queries() as f64, max, ""),
            None => table.say("requests, the refused one included", traffic.queries()),
        }
        if traffic.samples > 0 {
            table.say("samples read, counted by the server", number(traffic.samples as f64, ""));
            table.at_most("peak samples of one query", traffic.peak_samples as f64, 999_999.0, "");
        }
        table.say("samples decoded by the daemon", number(decoded, ""));
        table.say("bytes", number(traffic.bytes as f64 / 1e6, "MB"));
    }
}

/// Seconds a cold start takes, older history included.
async fn started(url: &str, rules: &Rules, end: i64) -> f64 {
    let mut driven = driven(url, rules, 30);
    let began = Instant::now();
    let snapshot = driven.tick(end).await;
    let took = began.elapsed().as_secs_f64();
    assert!(snapshot.slos.iter().all(|slo| !slo.series.is_empty()), "an SLO has no data");
    took
}

/// The daemon's own count of samples so far.
fn samples_read() -> f64 {
    let text = metrics().render();
    let lines = text.lines().filter(|line| line.starts_with("slowburn_samples_read_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn memory(live: &Lived, table: &mut Table) {
    table.part("Resident memory of `slowburn run`, state file on disk");
    let mb = |bytes: u64| bytes as f64 / 1e6;
    for (name, (filled, end, peak)) in [("remote read", live.memory), ("remote read refused", live.coarse)] {
        table.say(&format!("after the cold start, {name}"), number(mb(filled), "MB"));
        let after = format!("after some polls, {name}");
        match name {
            "remote read" => table.at_most(&after, mb(end), 25.0, "MB"),
            _ => table.say(&after, number(mb(end), "MB")),
        }
        table.say(&format!("the most it ever had (VmHWM), {name}"), number(mb(peak), "MB"));
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn millis(seconds: f64) -> String {
    number(seconds * 1e3, "ms")
}
