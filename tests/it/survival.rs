//! A daemon that is killed, stopped, reloaded or started late says what one says that was never disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use slowburn::clock::Clock;
use slowburn::demo::count::{hash, unit};
use slowburn::engine::Snapshot;
use slowburn::web::view::SloView;

use crate::daemon::{Driven, options};
use crate::fleet;
use crate::harness::exporter::Exporter;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::parts::{self, Process, eventually, free_port, http};
use crate::harness::prometheus::{PromOptions, Prometheus};

const LIMIT: Duration = Duration::from_secs(30);
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// On the slice grid, and on no grid of minutes or hours.
const T0: i64 = 1_790_000_010;

/// The bytes of `/v1/slos`.
fn bytes(snapshot: &Snapshot) -> String {
    let views: Vec<SloView<'_>> = snapshot.slos.iter().map(SloView::of).collect();
    serde_json::to_string_pretty(&views).expect("a view is JSON")
}

/// The first lines in which two answers differ, with what stands before them.
fn difference(a: &str, b: &str) -> Option<String> {
    if a == b {
        return None;
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let place = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    let id = a[..place].iter().rev().find(|line| line.contains("\"id\"")).unwrap_or(&"");
    let around = |lines: &[&str]| lines[place.saturating_sub(3)..(place + 3).min(lines.len())].join("\n");
    Some(format!("{id}\n--- one\n{}\n--- the other\n{}", around(&a), around(&b)))
}

/// The real binary.
struct Binary {
    process: Process,
    port: u16,
    args: Vec<String>,
    log: PathBuf,
}

impl Binary {
    /// `slowburn run` with `fixed` further arguments, which it keeps when it is started again, and `more` for now.
    fn start(prometheus: &str, rules: &Path, log: &Path, fixed: &[String], more: &[String]) -> Self {
        let port = free_port();
        let mut args: Vec<String> = ["run", "--prometheus-url", prometheus, "--listen"].map(str::to_owned).into();
        args.push(format!("127.0.0.1:{port}"));
        args.extend(["--rules".to_owned(), rules.display().to_string()]);
        args.extend(fixed.iter().cloned());
        let process = Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args.iter().chain(more), log);
        Binary { process, port, args, log: log.to_owned() }
    }

    /// Starts it again, with `more` arguments.
    fn again(&mut self, more: &[String]) {
        let args = self.args.iter().chain(more);
        self.process = Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &self.log);
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = http().get(self.url(path)).timeout(Duration::from_secs(5)).send().await.ok()?;
        answer.text().await.ok()
    }

    async fn json(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.get(path).await?).ok()
    }

    async fn ready(&self) {
        eventually("the daemon is ready", LIMIT, || async {
            let answer = http().get(self.url("/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}

/// The slice an answer of `/v1/slos` is about.
fn slice_of(answer: &str) -> Option<i64> {
    let slos: Value = serde_json::from_str(answer).ok()?;
    slos[0]["series"][0]["at"].as_i64()
}

/// A daemon killed fifty times beside one that is not, both on a clock that runs 300 times as fast as the wall.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_leave_no_trace() {
    const SPEED: f64 = 300.0;
    const KILLS: usize = 50;
    let seed = Clock::wall().now_ms().unsigned_abs();
    let seed = std::env::var("SLOWBURN_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
    println!("SLOWBURN_TEST_SEED={seed}");
    let random = |n: usize| unit(hash(seed, n as u64));

    // Burns begin and end all along, some long, some short.
    let burns: Vec<(i64, i64)> = (0..14).map(|n| (T0 + n * 3300, T0 + n * 3300 + 600 + (n % 3) * 700)).collect();
    let (start, end) = (T0 - 2 * DAY, T0 + 13 * HOUR);
    let scenario = fleet::scenario(start, end, &burns);
    let prometheus = fleet::prometheus(&scenario, start, end).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let rules = dir.path().join("rules");
    fleet::write_rules(&rules, &fleet::rules());
    let clock = Clock::scaled((T0 + 900) * 1000, SPEED);
    let now = || clock.now_ms() as f64 / 1000.0;
    let at = || -> Vec<String> {
        ["--clock-start".to_owned(), now().to_string(), "--clock-speed".to_owned(), SPEED.to_string()].into()
    };
    let data = |name: &str| vec!["--data-dir".to_owned(), dir.path().join(name).display().to_string()];
    let begin = |name: &str| {
        let log = dir.path().join(format!("{name}.log"));
        let fixed: Vec<String> = data(name).into_iter().chain(["--log-level".into(), "warn".into()]).collect();
        Binary::start(&prometheus.url(), &rules, &log, &fixed, &at())
    };
    let (mut steady, mut killed) = (begin("steady"), begin("killed"));
    steady.ready().await;

    let wal = dir.path().join("killed/state.db-wal");
    let written = || std::fs::metadata(&wal).and_then(|file| Ok((file.len(), file.modified()?))).ok();
    let (mut in_commit, mut starts) = (0, BTreeMap::<String, BTreeSet<i64>>::new());
    let began = Instant::now();
    for kill in 0..KILLS {
        // Every other one as soon as a commit is seen to begin, the rest at any time; some before the first poll.
        let wait = Duration::from_secs_f64(0.05 + 1.4 * random(kill).powi(2));
        tokio::time::sleep(wait).await;
        note_starts(&killed, &mut starts).await;
        if kill % 2 == 0 {
            let (before, patience) = (written(), Instant::now());
            while written() == before && patience.elapsed() < Duration::from_millis(400) {
                std::thread::yield_now();
            }
            in_commit += usize::from(written() != before);
        }
        killed.process.kill();
        killed.again(&at());
    }
    println!(
        "{KILLS} kills in {:?}, {in_commit} of them in a commit, {} simulated",
        began.elapsed(),
        now() as i64 - T0
    );
    assert!(now() < end as f64, "the fixture is too short for this machine");
    killed.ready().await;
    let (mut compared, patience) = (0, Instant::now());
    let mut answers: [BTreeMap<i64, String>; 2] = Default::default();
    while compared < 10 {
        for (binary, seen) in [&steady, &killed].into_iter().zip(&mut answers) {
            let answer = binary.get("/v1/slos").await.expect("an answer");
            seen.insert(slice_of(&answer).expect("an evaluation"), answer);
        }
        let pretty = |text: &str| {
            serde_json::from_str::<Value>(text).and_then(|v| serde_json::to_string_pretty(&v)).expect("JSON")
        };
        compared = 0;
        for (slice, one) in &answers[0] {
            let Some(other) = answers[1].get(slice) else { continue };
            if one != other {
                panic!("seed {seed}, {} s: {:?}", slice - T0, difference(&pretty(one), &pretty(other)));
            }
            compared += 1;
        }
        assert!(patience.elapsed() < LIMIT, "only {compared} slices in common");
    }
    note_starts(&killed, &mut starts).await;
    let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
    note_starts(&killed, &mut ours).await;
    note_starts(&steady, &mut theirs).await;
    let pages: Vec<&String> = starts.keys().filter(|name| name.contains("fast_burn")).collect();
    println!("{compared} slices compared; alerts seen and their starts: {starts:?}");
    assert!(!pages.is_empty(), "nothing fired: {starts:?}");
    // An alert that fired anew has a start of its own; of one episode there is one start, on both.
    for name in pages {
        for start in &starts[name] {
            let episode = burns.iter().position(|&(from, to)| (from..to + 2 * HOUR).contains(start));
            assert!(episode.is_some(), "{name} began at {} s, outside every burn", start - T0);
        }
        if let (Some(ours), Some(theirs)) = (ours.get(name), theirs.get(name)) {
            assert_eq!(ours, theirs, "{name}");
        }
    }
    steady.process.kill();
}

/// Adds the starts of what fires, by kind and SLO.
async fn note_starts(binary: &Binary, starts: &mut BTreeMap<String, BTreeSet<i64>>) {
    let Some(alerts) = binary.json("/v1/alerts").await else { return };
    for alert in alerts.as_array().into_iter().flatten().filter(|alert| alert["status"] == "firing") {
        let name = format!("{} {}", alert["labels"]["kind"], alert["labels"]["slo_id"]);
        starts.entry(name).or_default().extend(alert["starts_at"].as_i64());
    }
}

/// A fleet with burns, behind a real Prometheus and a proxy that counts.
struct Stage {
    prometheus: Prometheus,
    proxy: FaultProxy,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn of(days: i64, end: i64, burns: &[(i64, i64)]) -> Self {
        let start = end - days * DAY;
        let prometheus = fleet::prometheus(&fleet::scenario(start, end, burns), start, end).await;
        let proxy = FaultProxy::start(&prometheus.url()).await;
        Stage { prometheus, proxy, dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn daemon(&self, data: Option<&str>) -> Driven {
        Driven::new(options(&self.proxy.url(), &fleet::rules(), data.map(|name| self.dir.path().join(name))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_asks_only_for_what_it_missed() {
    let stage = Stage::of(2, T0 + 2 * HOUR, &[(T0 - 900, T0 + 600)]).await;
    let (mut steady, mut stopped) = (stage.daemon(Some("steady")), stage.daemon(Some("stopped")));
    for driven in [&mut steady, &mut stopped] {
        driven.tick(T0).await;
        driven.live(T0, T0 + HOUR).await;
    }
    let cold = stage.proxy.take_traffic();
    steady.live(T0 + HOUR, T0 + 2 * HOUR - 600).await;
    let whole_gap = stage.proxy.take_traffic();
    drop(stopped);

    let mut stopped = stage.daemon(Some("stopped"));
    assert_eq!(stage.proxy.take_traffic().queries(), 0, "nothing is asked before the first tick");
    let snapshot = stopped.tick(T0 + 2 * HOUR - 600).await;
    let asked = stage.proxy.take_traffic();
    println!(
        "samples: {} by a poll each 30 s over the gap, {} in one read after it; {} queries (cold start and an hour: {})",
        whole_gap.samples,
        asked.samples,
        asked.queries(),
        cold.queries()
    );
    assert_eq!(asked.requests.get("/api/v1/read"), None, "no history");
    assert!(asked.queries() <= 6, "{:?}", asked.requests);
    assert!(asked.samples > 0 && asked.samples <= whole_gap.samples, "each sample of the gap once");
    assert_eq!(difference(&bytes(&steady.snapshot()), &bytes(&snapshot)), None);
    // And it goes on as if nothing had been.
    for driven in [&mut steady, &mut stopped] {
        driven.live(T0 + 2 * HOUR - 600, T0 + 2 * HOUR - 60).await;
    }
    assert_eq!(difference(&bytes(&steady.snapshot()), &bytes(&stopped.snapshot())), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_days_stay_although_prometheus_keeps_fifteen() {
    let end = T0 + HOUR;
    let start = T0 - 30 * DAY;
    let burns = [(T0 - 20 * DAY, T0 - 20 * DAY + 1800), (T0 - 5 * DAY, T0 - 5 * DAY + 1800)];
    let scenario = fleet::scenario(start, end, &burns);
    let (all, half) = tokio::join!(
        fleet::prometheus(&scenario, start, end),
        // The same samples, those older than 15 days deleted.
        fleet::prometheus(&scenario, T0 - 15 * DAY, end)
    );
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = Some(dir.path().join("data"));
    let mut daemon = Driven::new(options(&all.url(), &fleet::rules(), data.clone()));
    let before = daemon.tick(T0).await;
    drop(daemon);
    let mut restarted = Driven::new(options(&half.url(), &fleet::rules(), data));
    let restarted = restarted.live(T0, end - 60).await;
    let cold = async |prometheus: &Prometheus| {
        let mut daemon = Driven::new(options(&prometheus.url(), &fleet::rules(), None));
        // Older history is joined after the first evaluation.
        daemon.tick(end - 90).await;
        daemon.live(end - 90, end - 60).await
    };
    let (cold_all, cold_half) = (cold(&all).await, cold(&half).await);
    let total = |snapshot: &Snapshot, id: &str| snapshot.slo(id).expect("the SLO").series[0].window;
    for id in ["pay-availability", "quiet-availability", "pay-latency-p95", "features-feature-freshness"] {
        let (kept, lost) = (total(&restarted, id), total(&cold_half, id));
        println!(
            "{id}: {} of {} bad after the restart, {} of {} without state",
            kept.bad, kept.total, lost.bad, lost.total
        );
        assert!(lost.total < kept.total * 6 / 10, "half of it is gone from Prometheus");
        assert!(kept.bad * 10 > lost.bad * 15, "the older burn is not forgotten");
        assert_eq!(kept, total(&cold_all, id), "{id}: as Prometheus had it when it had all");
    }
    assert!(before.at < restarted.at);
}

/// One from the start, one restarted again and again, one started hours later in the middle of a burn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_say_the_same_whenever_they_were_started() {
    let hours = 9;
    let burns =
        [(T0 + HOUR, T0 + HOUR + 900), (T0 + 4 * HOUR - 900, T0 + 5 * HOUR), (T0 + 7 * HOUR, T0 + 7 * HOUR + 200)];
    let stage = Stage::of(4, T0 + hours * HOUR, &burns).await;
    let (mut first, mut often) = (stage.daemon(None), Some(stage.daemon(Some("often"))));
    let mut later: Option<Driven> = None;
    let mut states = BTreeSet::new();
    for minute in 0..(hours * 60 - 2) {
        let at = T0 + minute * 60;
        if minute == 0 {
            first.tick(at).await;
            often.as_mut().expect("it was made").tick(at).await;
        }
        if minute % 47 == 46 {
            // It has to let go of the state file first.
            drop(often.take());
        }
        let often = often.get_or_insert_with(|| stage.daemon(Some("often")));
        first.live(at, at + 60).await;
        // Every now and then it is away for a while, too.
        if minute % 47 < 38 || minute % 94 > 47 {
            often.live(at, at + 60).await;
        }
        match &mut later {
            None if minute == 4 * 60 + 10 => {
                let mut started = stage.daemon(None);
                started.tick(at + 60).await;
                // History is joined after the first evaluation, and in the next one.
                later = Some(started);
            }
            None => {}
            Some(later) => drop(later.live(at, at + 60).await),
        }
        let reference = bytes(&first.snapshot());
        for slo in &first.snapshot().slos {
            states.insert((slo.slo.id.clone(), slo.series[0].state, slo.series[0].since.map(|since| since - T0)));
        }
        if often.snapshot().at == first.snapshot().at {
            assert_eq!(difference(&reference, &bytes(&often.snapshot())), None, "restarted, minute {minute}");
        }
        if let Some(later) = later.as_ref().filter(|_| minute > 4 * 60 + 10) {
            assert_eq!(difference(&reference, &bytes(&later.snapshot())), None, "started later, minute {minute}");
        }
    }
    println!("{} states and onsets on the way, {} minutes compared", states.len(), hours * 60 - 2);
    assert!(states.len() > 20, "{states:?}");
}
