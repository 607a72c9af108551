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
use crate::harness::fault_proxy::FaultProxy;
use crate::harness::parts::{Process, eventually, free_port, http};
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
            // Right after a start history is still on its way, and is said to be.
            if !answer.contains("\"filling\"") {
                seen.insert(slice_of(&answer).expect("an evaluation"), answer);
            }
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
    _prometheus: Prometheus,
    proxy: FaultProxy,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn of(days: i64, end: i64, burns: &[(i64, i64)]) -> Self {
        let start = end - days * DAY;
        let prometheus = fleet::prometheus(&fleet::scenario(start, end, burns), start, end).await;
        let proxy = FaultProxy::start(&prometheus.url()).await;
        Stage { _prometheus: prometheus, proxy, dir: tempfile::tempdir().expect("a temporary folder") }
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
    let mut driven = Driven::new(options(&half.url(), &fleet::rules(), data));
    let restarted = driven.live(T0, end - 60).await;
    let cold = async |prometheus: &Prometheus| {
        let mut daemon = Driven::new(options(&prometheus.url(), &fleet::rules(), None));
        // Older history is joined after the first evaluation.
        daemon.tick(end - 90).await;
        daemon.live(end - 90, end - 60).await;
        daemon
    };
    let (cold_all, cold_half) = (cold(&all).await, cold(&half).await.snapshot());
    let apart = counted_apart(&driven, &cold_all);
    let cold_all = cold_all.snapshot();
    let total = |snapshot: &Snapshot, id: &str| snapshot.slo(id).expect("the SLO").series[0].window;
    for id in ["pay-availability", "quiet-availability", "pay-latency-p95", "features-feature-freshness"] {
        let (kept, lost) = (total(&restarted, id), total(&cold_half, id));
        println!(
            "{id}: {} of {} bad after the restart, {} of {} without state",
            kept.bad, kept.total, lost.bad, lost.total
        );
        assert!(lost.total < kept.total * 6 / 10, "half of it is gone from Prometheus");
        assert!(kept.bad * 10 > lost.bad * 15, "the older burn is not forgotten");
        assert_eq!(kept, total(&cold_all, id), "{id}: as Prometheus had it when it had all\n{apart}");
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
            let apart = counted_apart(&first, often);
            assert_eq!(difference(&reference, &bytes(&often.snapshot())), None, "restarted, minute {minute}\n{apart}");
        }
        if let Some(later) = later.as_ref().filter(|_| minute > 4 * 60 + 10) {
            let apart = counted_apart(&first, later);
            let differs = difference(&reference, &bytes(&later.snapshot()));
            assert_eq!(differs, None, "started later, minute {minute}\n{apart}");
        }
    }
    println!("{} states and onsets on the way, {} minutes compared", states.len(), hours * 60 - 2);
    assert!(states.len() > 20, "{states:?}");
}

/// A live exporter behind a real Prometheus, and the real binary on the wall's clock.
struct Live {
    exporter: Exporter,
    prometheus: Prometheus,
    dir: tempfile::TempDir,
}

impl Live {
    async fn start() -> Self {
        let exporter = Exporter::start().await;
        for service in ["pay", "quiet", "late"] {
            exporter.add(&format!("{}{{service=\"{service}\",code=\"200\"}}", fleet::REQUESTS), 1_000_000.0);
            exporter.add(&format!("{}{{service=\"{service}\",code=\"500\"}}", fleet::REQUESTS), 500_000.0);
        }
        let targets = vec![("app".to_owned(), exporter.address())];
        let prometheus = Prometheus::start(PromOptions { targets, ..PromOptions::default() }).await;
        let live = Live { exporter, prometheus, dir: tempfile::tempdir().expect("a temporary folder") };
        live.write(&["pay", "quiet"]);
        // A target that starts after a daemon's first read counts from nothing; this one has been there for long.
        while live.exporter.scrapes() < 12 {
            live.traffic(0.0);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        live
    }

    fn rules(&self) -> PathBuf {
        self.dir.path().join("rules")
    }

    fn write(&self, services: &[&str]) {
        let of = |service: &&str| {
            let m = format!("{}{{service=\"{service}\"", fleet::REQUESTS);
            let text = format!(
                "name: {service}\nowner: team\nslo:\n  availability: {{objective: 99.9, \
                 sli: {{total: '{m}}}', bad: '{m},code=\"500\"}}'}}}}\n"
            );
            (format!("{service}.yaml"), text)
        };
        drop(std::fs::remove_dir_all(self.rules()));
        for (name, text) in services.iter().map(of) {
            fleet::write_rules(&self.rules(), &[(name.as_str(), text)]);
        }
    }

    /// Every service answers, and a share of the answers is wrong.
    fn traffic(&self, bad: f64) {
        for service in ["pay", "quiet", "late"] {
            self.exporter.add(&format!("{}{{service=\"{service}\",code=\"200\"}}", fleet::REQUESTS), 100.0);
            self.exporter.add(&format!("{}{{service=\"{service}\",code=\"500\"}}", fleet::REQUESTS), 100.0 * bad);
        }
    }

    fn binary(&self) -> Binary {
        let data = self.dir.path().join("data").display().to_string();
        let fixed = ["--data-dir", &data, "--resolution", "10s", "--poll-interval", "10s", "--evaluation-delay", "0"];
        Binary::start(
            &self.prometheus.url(),
            &self.rules(),
            &self.dir.path().join("slowburn.log"),
            &fixed.map(str::to_owned),
            &[],
        )
    }
}

async fn ids(binary: &Binary) -> Vec<String> {
    let slos = binary.json("/v1/slos").await.unwrap_or_default();
    slos.as_array().into_iter().flatten().filter_map(|slo| slo["id"].as_str().map(str::to_owned)).collect()
}

/// Reads one number of `/metrics`.
async fn metric(binary: &Binary, name: &str) -> Option<f64> {
    let page = binary.get("/metrics").await?;
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_change_while_it_runs_and_it_stops_when_asked() {
    let live = Live::start().await;
    let mut binary = live.binary();
    binary.ready().await;
    // Half of everything fails: both SLOs burn.
    let burning = async |id: &str| {
        eventually(&format!("{id} burns"), Duration::from_secs(60), || async {
            live.traffic(0.5);
            let slo = binary.json(&format!("/v1/slos/{id}")).await?;
            (slo["state"] == "fast_burn").then_some(slo)
        })
        .await
    };
    let before = burning("pay-availability").await;
    burning("quiet-availability").await;
    let firing = async |binary: &Binary| -> Vec<String> {
        let alerts = binary.json("/v1/alerts").await.unwrap_or_default();
        let firing = alerts.as_array().into_iter().flatten().filter(|alert| alert["status"] == "firing");
        firing.map(|alert| format!("{} {}", alert["slo_id"], alert["starts_at"])).collect()
    };
    let pay_start = |alerts: &[String]| alerts.iter().find(|alert| alert.contains("pay")).cloned();
    let started = pay_start(&firing(&binary).await).expect("its alert");

    // One file is broken: the old rules stay in force, and everybody is told.
    std::fs::write(live.rules().join("late.yaml"), "name: late\nslo: {availability: 100}\n").expect("written");
    let answer = http().post(binary.url("/-/reload")).send().await.expect("an answer");
    assert_eq!(answer.status(), 422);
    let answer: Value = answer.json().await.expect("JSON");
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("previous ones stay in force")), "{answer}");
    assert!(answer.to_string().contains("late.yaml"), "{answer}");
    assert_eq!(metric(&binary, "slowburn_config_last_reload_successful ").await, Some(0.0));
    assert_eq!(ids(&binary).await, ["pay-availability", "quiet-availability"]);

    // A new SLO on the targets that are already scraped: it gets its history, and a lifetime total is no news.
    live.write(&["late", "pay", "quiet"]);
    binary.process.signal("HUP");
    eventually("the new SLO is there", LIMIT, || async { (ids(&binary).await.len() == 3).then_some(()) }).await;
    assert_eq!(metric(&binary, "slowburn_config_last_reload_successful ").await, Some(1.0));
    let late = eventually("it has its history", LIMIT, || async {
        live.traffic(0.5);
        let slo = binary.json("/v1/slos/late-availability").await?;
        let fresh = slo["series"][0]["data"]["state"] == "fresh" && slo["series"][0]["window"]["total"] != 0;
        fresh.then_some(slo)
    })
    .await;
    let events = |slo: &Value| slo["series"][0]["window"]["total"].as_u64().expect("a number");
    let pay = binary.json("/v1/slos/pay-availability").await.expect("an answer");
    println!("events: pay {} then {}, late {}", events(&before), events(&pay), events(&late));
    // Both have had the same traffic; the two were read a moment apart.
    assert!(events(&late).abs_diff(events(&pay)) <= 4_000, "late {}, pay {}", events(&late), events(&pay));
    assert!(events(&late) >= events(&before), "what came before it was there is read from Prometheus");
    assert_eq!(pay_start(&firing(&binary).await), Some(started.clone()), "the others go on undisturbed");

    // Gone: its alert is resolved. It is back: so is its past.
    live.write(&["late", "pay"]);
    binary.process.signal("HUP");
    let quiet_resolved = || async {
        let alerts = binary.json("/v1/alerts").await?;
        let resolved = |alert: &Value| alert["slo_id"] == "quiet-availability" && alert["status"] == "resolved";
        alerts.as_array()?.iter().any(resolved).then_some(())
    };
    eventually("the alert of the removed SLO is resolved", LIMIT, quiet_resolved).await;
    assert_eq!(ids(&binary).await, ["late-availability", "pay-availability"]);
    live.write(&["late", "pay", "quiet"]);
    binary.process.signal("HUP");
    let back = eventually("it is back", LIMIT, || async {
        let slo = binary.json("/v1/slos/quiet-availability").await?;
        (slo["series"][0]["window"]["total"].as_u64()? > 0).then_some(slo)
    })
    .await;
    assert!(events(&back) >= events(&before) / 2, "{back}");

    // SIGTERM: a stream that is open ends, the state is on disk, and the exit is clean and soon.
    let stream = http().get(binary.url("/v1/stream")).send().await.expect("a stream");
    let last = binary.get("/v1/slos").await.expect("an answer");
    binary.process.signal("TERM");
    let asked = Instant::now();
    assert_eq!(binary.process.exit_code(LIMIT).await, Some(0));
    println!("exit after {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert!(stream.text().await.is_ok(), "the stream was ended, not torn");
    binary.again(&[]);
    binary.ready().await;
    let restored = binary.get("/v1/slos").await.expect("an answer");
    assert!(slice_of(&restored) >= slice_of(&last));
    assert_eq!(pay_start(&firing(&binary).await), Some(started));
}

/// Where two daemons counted differently: steps of an hour, of 5 minutes and of a slice, each with what both hold.
fn counted_apart(one: &Driven, other: &Driven) -> String {
    let mut apart = String::new();
    for slo in &one.snapshot().slos {
        let id = &slo.slo.id;
        for (labels, ours) in one.daemon.ledger().of(id) {
            let Some(theirs) = other.daemon.ledger().get(id, labels) else { continue };
            let to = slo.series[0].at;
            let oldest = ours.oldest().max(theirs.oldest()).unwrap_or(to);
            let slices_from = ours.slices_begin().max(theirs.slices_begin());
            for (step_s, from) in [(3600, oldest), (300, oldest), (ours.resolution_s(), slices_from)] {
                let steps = ours.steps(from, to, step_s).zip(theirs.steps(from, to, step_s));
                for (place, (ours, theirs)) in steps.enumerate().filter(|(_, (ours, theirs))| ours != theirs) {
                    let at = from.div_euclid(step_s) * step_s + place as i64 * step_s;
                    apart += &format!("{id} {at} ({} s ago), {step_s} s: {ours:?} and {theirs:?}\n", to - at);
                }
            }
        }
    }
    apart
}
