//! What a daemon does when things come at a bad moment: no Prometheus at the start, history that cannot be read, rules
//! that change meanwhile, a request that is always refused, a clock that jumps. In the end it says what one says that
//! had none of it.

use std::sync::{Arc, Mutex};

use slowburn::engine::Snapshot;
use slowburn::spec;
use slowburn::web::view::SloView;
use slowburn::web::{Reload, Reloaded};

use crate::daemon::{Driven, options};
use crate::fleet;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::prometheus::Prometheus;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// On the slice grid, and on no grid of minutes or hours.
const T0: i64 = 1_790_000_010;
const END: i64 = T0 + 2 * HOUR;

struct Stage {
    prometheus: Prometheus,
    proxy: FaultProxy,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let start = T0 - 2 * DAY;
        let scenario = fleet::scenario(start, END, &[(T0 - 8 * HOUR, T0 - 7 * HOUR), (T0 - 300, T0 + 900)]);
        let prometheus = fleet::prometheus(&scenario, start, END).await;
        let proxy = FaultProxy::start(&prometheus.url()).await;
        Stage { prometheus, proxy, dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn daemon(&self, data: Option<&str>) -> Driven {
        Driven::new(options(&self.proxy.url(), &fleet::rules(), data.map(|name| self.dir.path().join(name))))
    }

    /// What an undisturbed daemon says at `at_s`.
    async fn undisturbed(&self, at_s: i64) -> Arc<Snapshot> {
        let mut daemon = Driven::new(options(&self.prometheus.url(), &fleet::rules(), None));
        daemon.tick(T0).await;
        daemon.live(T0, at_s).await
    }
}

/// Every SLO of `all` says the same in `one`, and there is at least one.
fn assert_same(all: &Arc<Snapshot>, one: &Arc<Snapshot>, what: &str) {
    assert!(!one.slos.is_empty());
    assert_eq!(all.at, one.at);
    for ours in &one.slos {
        let Some(theirs) = all.slo(&ours.slo.id) else { continue };
        let text = |slo| serde_json::to_string_pretty(&SloView::of(slo)).expect("a view is JSON");
        let (ours, theirs) = (text(ours), text(theirs));
        let place = ours.lines().zip(theirs.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let near = |text: &str| text.lines().skip(place.saturating_sub(4)).take(7).collect::<Vec<_>>().join("\n");
        assert!(ours == theirs, "{what}:\n{}\n--- undisturbed\n{}", near(&ours), near(&theirs));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_is_away_at_the_start_is_asked_again_each_poll() {
    let stage = Stage::new().await;
    let mut daemon = stage.daemon(Some("data"));
    for (poll, fault) in [Fault::Html, Fault::Error, Fault::Half, Fault::Html].into_iter().enumerate() {
        stage.proxy.set(fault);
        let at_s = T0 + 30 * poll as i64;
        let snapshot = daemon.live(at_s - 30, at_s).await;
        let series = &snapshot.slo("pay-availability").expect("the SLO").series[0];
        assert_eq!((series.data.state.as_str(), series.window.total), ("absent", 0), "{fault:?}");
        assert!(stage.proxy.take_traffic().queries() > 0, "{fault:?}: it asks");
        if poll == 1 {
            // A restart before anything was read begins from the beginning.
            drop(daemon);
            daemon = stage.daemon(Some("data"));
        }
    }
    stage.proxy.set(Fault::None);
    daemon.tick(T0 + 120).await;
    let snapshot = daemon.live(T0 + 120, T0 + HOUR).await;
    assert_same(&stage.undisturbed(T0 + HOUR).await, &snapshot, "after a bad start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_when_prometheus_has_answered_once_and_stays_so() {
    let stage = Stage::new().await;
    let mut daemon = stage.daemon(None);
    let waits = |daemon: &Driven| daemon.views.readiness.borrow().waiting_for.clone();
    let latches = |daemon: &Driven| waits(daemon).into_keys().collect::<Vec<_>>();
    assert_eq!(latches(&daemon), ["first_answer", "first_evaluation"]);
    stage.proxy.set(Fault::Error);
    for poll in 0..3 {
        daemon.tick(T0 + 30 * poll).await;
        assert_eq!(latches(&daemon), ["first_answer"], "poll {poll}");
    }
    assert!(waits(&daemon)["first_answer"].contains("(refused)"), "{:?}", waits(&daemon));
    stage.proxy.set(Fault::None);
    daemon.tick(T0 + 90).await;
    assert!(waits(&daemon).is_empty(), "{:?}", waits(&daemon));
    // A later outage is a data state and an alert, and no reason to hide them.
    stage.proxy.set(Fault::Error);
    let snapshot = daemon.live(T0 + 90, T0 + 600).await;
    let data = &snapshot.slo("pay-availability").expect("the SLO").series[0].data;
    assert_eq!((data.state.as_str(), waits(&daemon).len()), ("absent", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_after_two_minutes_without_any_answer() {
    let stage = Stage::new().await;
    stage.proxy.set(Fault::Html);
    let mut daemon = stage.daemon(None);
    daemon.live(T0 - 30, T0 + 60).await;
    assert!(!daemon.views.readiness.borrow().is_ready(), "three polls are not two minutes");
    let snapshot = daemon.live(T0 + 60, T0 + 90).await;
    assert!(daemon.views.readiness.borrow().is_ready());
    let data = &snapshot.slo("pay-availability").expect("the SLO").series[0].data;
    assert_eq!(data.state.as_str(), "absent", "what there is to say is said");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_could_not_be_read_is_read_later_even_after_a_kill() {
    let stage = Stage::new().await;
    let mut daemon = stage.daemon(Some("data"));
    // Killed while older history is on its way.
    daemon.live(T0 - 30, T0).await;
    drop(daemon);
    let mut daemon = stage.daemon(Some("data"));
    let window = |snapshot: &Arc<Snapshot>| snapshot.slo("pay-availability").expect("the SLO").series[0].window.total;
    stage.proxy.set(Fault::Html);
    let recent = window(&daemon.tick(T0 + 30).await);
    stage.proxy.set(Fault::None);
    let again = daemon.tick(T0 + 60).await;
    assert!(window(&again) < recent + recent / 10, "not yet");
    let says = &again.slo("pay-availability").expect("the SLO").series[0].data;
    assert_eq!((says.state.as_str(), says.reason.as_str()), ("partial", "filling"));
    let mut at_s = T0 + 60;
    while at_s < T0 + HOUR {
        daemon.tick(at_s + 30).await;
        at_s += 30;
    }
    let snapshot = daemon.live(at_s, T0 + HOUR + 300).await;
    assert!(window(&snapshot) > 3 * recent);
    assert_same(&stage.undisturbed(T0 + HOUR + 300).await, &snapshot, "after its history came");
    // What was joined is on disk, in whatever hour it lies.
    drop(daemon);
    let mut daemon = stage.daemon(Some("data"));
    let snapshot = daemon.live(T0 + HOUR + 300, T0 + HOUR + 330).await;
    assert_same(&stage.undisturbed(T0 + HOUR + 330).await, &snapshot, "restarted after that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_change_while_history_is_read_lose_none_of_it() {
    let stage = Stage::new().await;
    let all = fleet::rules();
    let rules = Arc::new(Mutex::new(all[..2].to_vec()));
    let mut options = options(&stage.proxy.url(), &[], Some(stage.dir.path().join("data")));
    let read = Arc::clone(&rules);
    options.rules = Arc::new(move || {
        let rules = read.lock().expect("not poisoned");
        let texts: Vec<(&str, &str)> = rules.iter().map(|(name, text)| (*name, text.as_str())).collect();
        spec::load_texts(&texts, &spec::Options::default())
    });
    let mut daemon = Driven::new(options);
    daemon.live(T0 - 30, T0).await;
    // The backfill is under way; now there is a third service.
    *rules.lock().expect("not poisoned") = all.clone();
    let answer = reload(&mut daemon).expect("good rules");
    assert_eq!((answer.services, answer.slos), (3, 5));
    daemon.tick(T0 + 30).await;
    daemon.tick(T0 + 60).await;
    daemon.tick(T0 + 90).await;
    let snapshot = daemon.live(T0 + 90, T0 + HOUR).await;
    assert_same(&stage.undisturbed(T0 + HOUR).await, &snapshot, "with a service that came later");
    // One is gone for ten minutes and comes back with its past; what another promises changes meanwhile, its past stays.
    *rules.lock().expect("not poisoned") = all[..2].to_vec();
    reload(&mut daemon).expect("good rules");
    let without = daemon.live(T0 + HOUR, T0 + HOUR + 600).await;
    assert_eq!(without.slos.len(), 3);
    let mut changed = all.clone();
    changed[1].1 = changed[1].1.replace("objective: 99.9", "objective: 99.5");
    *rules.lock().expect("not poisoned") = changed;
    reload(&mut daemon).expect("good rules");
    let back = daemon.live(T0 + HOUR + 600, T0 + HOUR + 900).await;
    let whole = stage.undisturbed(T0 + HOUR + 900).await;
    let window = |snapshot: &Arc<Snapshot>, id: &str| snapshot.slo(id).expect("the SLO").series[0].window;
    assert_eq!(window(&back, "pay-availability").total, window(&whole, "pay-availability").total);
    assert_eq!(back.slo("pay-availability").expect("the SLO").slo.objective, 99.5);
    let (quiet, never_gone) = (window(&back, "quiet-availability").total, window(&whole, "quiet-availability").total);
    println!("quiet was gone for ten minutes: {quiet} of {never_gone} events");
    assert!(
        (never_gone - 120..=never_gone).contains(&quiet),
        "{quiet} of {never_gone}: nothing more than the hole is lost"
    );
}

fn reload(daemon: &mut Driven) -> Result<Reloaded, Vec<String>> {
    let (answer, mut answered) = tokio::sync::oneshot::channel();
    daemon.daemon.reload(Reload { answer, by: "test".into() });
    answered.try_recv().expect("it answers at once")
}

/// A gauge whose expression Prometheus cannot evaluate, from the start or from some moment on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_always_fails_holds_back_nobody() {
    let stage = Stage::new().await;
    let mut rules = fleet::rules();
    let broken = "name: broken\nowner: t\nslo:\n  feature_freshness_max_delay_s: \
                  {max: 60, sli: {gauge: 'http_requests_total / on () http_requests_total', unit: s}}\n";
    rules.push(("broken.yaml", broken.into()));
    let start = || Driven::new(options(&stage.proxy.url(), &rules, Some(stage.dir.path().join("data"))));
    let mut daemon = start();
    daemon.tick(T0).await;
    daemon.live(T0, T0 + 30 * 60).await;
    // It is away for half an hour; the state of the others was saved.
    drop(daemon);
    stage.proxy.take_traffic();
    let mut daemon = start();
    daemon.live(T0 + HOUR - 30, T0 + HOUR).await;
    let caught_up = stage.proxy.take_traffic();
    assert_eq!(caught_up.requests.get("/api/v1/read"), None, "{:?}", caught_up.requests);
    assert!(caught_up.queries() < 20, "{:?}", caught_up.requests);
    let snapshot = daemon.live(T0 + HOUR, END - 60).await;
    let polls = (END - 60 - T0 - HOUR) / 30;
    let traffic = stage.proxy.take_traffic();
    println!("{} queries in {polls} polls, of {} requests each", traffic.queries(), 5);
    assert!(traffic.queries() <= 6 * polls.unsigned_abs(), "it is asked once a poll");
    let series = &snapshot.slo("broken-feature-freshness").expect("the SLO").series[0];
    assert_eq!((series.data.state.as_str(), series.window.total), ("absent", 0));
    assert_same(&stage.undisturbed(END - 60).await, &snapshot, "beside a broken SLO");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_is_followed() {
    let stage = Stage::new().await;
    let mut daemon = stage.daemon(Some("data"));
    daemon.tick(T0).await;
    daemon.live(T0, T0 + HOUR).await;
    // Back by 40 minutes, and on from there; a restart in the middle.
    daemon.live(T0 + 20 * 60, T0 + 30 * 60).await;
    drop(daemon);
    let mut daemon = stage.daemon(Some("data"));
    daemon.live(T0 + 30 * 60, T0 + 40 * 60).await;
    // Forward again, over a gap.
    let snapshot = daemon.live(END - 600, END - 60).await;
    assert_same(&stage.undisturbed(END - 60).await, &snapshot, "after the jumps");
}

/// A clock that is far off for one tick, and one that goes to and fro: what was counted stays counted, on disk, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_for_a_tick_erases_nothing() {
    let stage = Stage::new().await;
    let mut daemon = stage.daemon(Some("data"));
    daemon.tick(T0).await;
    daemon.live(T0, T0 + 600).await;
    // Nothing is there to be read at such a moment.
    stage.proxy.set(Fault::Html);
    let late = T0 + 600 + 40 * DAY;
    daemon.live(late - 30, late).await;
    stage.proxy.set(Fault::None);
    daemon.live(T0 + 600, T0 + 900).await;
    drop(daemon);
    let mut daemon = stage.daemon(Some("data"));
    daemon.live(T0 + 900 - HOUR - 30, T0 + 900 - HOUR).await;
    for (from, to) in [(900, 960), (840, 900), (960, 1020), (900, 960)] {
        daemon.live(T0 + from, T0 + to).await;
    }
    let snapshot = daemon.live(T0 + 960, T0 + HOUR).await;
    let undisturbed = stage.undisturbed(T0 + HOUR).await;
    assert_same(&undisturbed, &snapshot, "after every wrong tick");
    drop(daemon);
    let mut daemon = stage.daemon(Some("data"));
    let snapshot = daemon.live(T0 + HOUR, T0 + HOUR + 30).await;
    assert_same(&stage.undisturbed(T0 + HOUR + 30).await, &snapshot, "restarted after them");
}

/// Forty workloads whose queries are never answered. Each of them would hold up a tick for ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_that_cannot_be_looked_up_hold_up_no_tick() {
    let stage = Stage::new().await;
    let mut rules = fleet::rules();
    let pay = rules.iter_mut().find(|(name, _)| *name == "pay.yaml").expect("a service");
    pay.1 += "workloads:\n";
    for n in 0..40 {
        pay.1 += &format!("  - {{resource: deployment/pay-{n}, utilization: 'max(kube_pod_load{{n=\"{n}\"}})'}}\n");
    }
    let mut daemon = Driven::new(options(&stage.proxy.url(), &rules, None));
    stage.proxy.set(Fault::HangFor("kube_"));
    daemon.tick(T0).await;
    let ticks = daemon.live(T0, T0 + 90);
    let snapshot =
        tokio::time::timeout(std::time::Duration::from_secs(60), ticks).await.expect("nobody waits for them");
    assert_eq!(snapshot.at, T0 + 90);
    assert_same(&stage.undisturbed(T0 + 90).await, &snapshot, "beside workloads that nobody sees");
}
