//! Two daemons under one Lease, at an API server with real optimistic concurrency, by TLS, that has a bad day: the one that
//! decides is killed, stopped for longer than the lease lasts, or cut off from the API server, again and again under load.
//! No permit is redeemed twice, nobody allows anything without the lease, no halt that was answered is lost, and the other one
//! decides soon.
//!
//! 3 rounds, with a lease of 3 s; with `SLOWBURN_TEST_FULL=1` 100.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use slowburn::clock::Clock;

use crate::decider::{Ends, SERVICES, Told, Twin, client, kept, launch, leader_of};
use crate::gate_stage::{Stage, T0, Wire, request, robot};
use crate::harness::api_server::{ApiServer, Cable};
use crate::harness::parts::eventually;

const LEASE: Duration = Duration::from_secs(3);
/// Longest time from the end of one that decides to the first decision of the next.
const TAKE_OVER: Duration = Duration::from_secs(15).saturating_add(LEASE);

/// Two daemons, each with a way of its own to the API server.
struct Pair {
    stage: Stage,
    api: ApiServer,
    cables: [Cable; 2],
    twins: [Twin; 2],
    clock: Clock,
}

impl Pair {
    async fn start() -> Self {
        let mut stage = Stage::start(SERVICES + 1, None, 1.0).await;
        stage.process.kill();
        // The log of the one before is kept by a lock; that a lease decides from now on changes nothing of it.
        let clock = Clock::scaled((T0 + 60) * 1000, 1.0);
        let api = ApiServer::start().await;
        let cables = [api.proxy(), api.proxy()];
        std::fs::write(stage.path("ca.crt"), &api.ca).expect("written");
        rotate(&stage, &api, 0);
        api.has_a_bad_day(42);
        let twin = |name, cable: &Cable| {
            let more = format!(
                ", lease: {{url: \"https://127.0.0.1:{}\", namespace: slowburn, duration: 3s, token_file: projected/token, ca_file: ca.crt}}",
                cable.port
            );
            Twin::start(&stage, name, &clock, &more)
        };
        let twins = [twin("a", &cables[0]), twin("b", &cables[1])];
        Pair { stage, api, cables, twins, clock }
    }

    fn ports(&self) -> [u16; 2] {
        [self.twins[0].port, self.twins[1].port]
    }

    /// Until that one decides, and the other does not; how long it took since `at`.
    async fn decides(&self, next: usize, at: Instant) -> Duration {
        eventually("the other one decides", Duration::from_secs(60), || async {
            (self.twins[next].leads().await == Some(true)).then(|| at.elapsed())
        })
        .await
    }

    async fn follows(&self, one: usize) {
        eventually("it follows", Duration::from_secs(60), || async {
            (self.twins[one].leads().await == Some(false)).then_some(())
        })
        .await;
    }
}

/// Another token from now on: the server takes no other, and the volume has the new one, swapped as a kubelet does it.
fn rotate(stage: &Stage, api: &ApiServer, round: usize) {
    let token = format!("token-of-round-{round}");
    api.know([token.clone()]);
    // For a moment the one that they have is refused.
    std::thread::sleep(if round > 0 { LEASE / 6 } else { Duration::ZERO });
    let at = |name: &str| stage.path("projected").join(name);
    let version = format!("..{round}");
    std::fs::create_dir_all(at(&version)).expect("made");
    std::fs::write(at(&version).join("token"), format!("{token}\n")).expect("written");
    symlink(&version, at("..new")).expect("linked");
    std::fs::rename(at("..new"), at("..data")).expect("swapped");
    if round == 0 {
        symlink("..data/token", at("token")).expect("linked");
    } else {
        std::fs::remove_dir_all(at(&format!("..{}", round - 1))).expect("it was there");
    }
}

/// Halts a service that nobody asks for, at either of both: what was answered has to be there at the end.
fn halts(ports: [u16; 2], done: &AtomicBool, answered: &Mutex<Vec<String>>) {
    let mut n = 0;
    while !done.load(Ordering::Acquire) {
        n += 1;
        let scope = json!({"service": format!("s{SERVICES}")});
        let order = json!({"scope": scope, "reason": format!("halt {n}"), "for_s": 86_400});
        if let Ok((200, answer)) = Wire::new(ports[n % 2]).post("@ada", "/v1/halts", &order) {
            answered.lock().expect("no panic").push(answer["id"].as_str().expect("an id").to_owned());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_has_the_lease_decides_and_nobody_else_whatever_becomes_of_it() {
    let full = std::env::var_os("SLOWBURN_TEST_FULL").is_some_and(|value| value == "1");
    let rounds = if full { 100 } else { 3 };
    let mut pair = Pair::start().await;
    let ports = pair.ports();
    let (done, told, halted) = (AtomicBool::new(false), Mutex::<Told>::default(), Mutex::default());
    let mut took: [Vec<Duration>; 3] = Default::default();
    let mut leader = leader_of(&pair.twins, Instant::now()).await.0;
    std::thread::scope(|scope| {
        let (done, told, halted) = (&done, &told, &halted);
        for service in 0..SERVICES {
            scope.spawn(move || client(service, ports, done, told));
        }
        scope.spawn(move || halts(ports, done, halted));
        let handle = tokio::runtime::Handle::current();
        let guard = Ends(done);
        for round in 0..rounds {
            std::thread::sleep(Duration::from_millis(if full { 700 } else { 1500 }));
            rotate(&pair.stage, &pair.api, round + 1);
            let (at, next) = (Instant::now(), 1 - leader);
            match round % 3 {
                0 => pair.twins[leader].process.kill(),
                1 => pair.twins[leader].process.hang(),
                _ => pair.cables[leader].cut(),
            }
            let after = tokio::task::block_in_place(|| handle.block_on(pair.decides(next, at)));
            let logs = || [leader, next].map(|one| pair.twins[one].process.log());
            assert!(after <= TAKE_OVER, "round {round}: it took {after:?}\n{}\n=====\n{}", logs()[0], logs()[1]);
            took[round % 3].push(after);
            match round % 3 {
                0 => pair.twins[leader].process = launch(&pair.stage, pair.twins[leader].name, &pair.clock),
                1 => pair.twins[leader].process.resume(),
                _ => pair.cables[leader].mend(),
            }
            tokio::task::block_in_place(|| handle.block_on(pair.follows(leader)));
            leader = next;
        }
        drop(guard);
    });
    let (told, halted) = (told.into_inner().expect("no panic"), halted.into_inner().expect("no panic"));
    let wrote = kept(&pair.stage, &mut pair.twins, leader, &told, &halted).await;
    let api = pair.api.kept();
    for yes in &told.yeses {
        let (_, holder) = wrote.iter().rev().find(|(first, _)| *first <= yes.seq).expect("somebody wrote it");
        let holder = holder.as_ref().expect("each has said under which name it holds the lease");
        // It had the lease at some moment between the question and the answer.
        let had = api.held.iter().enumerate().any(|(n, held)| {
            let next = api.held[n + 1..].iter().find(|later| later.holder != held.holder);
            let until = next.map_or(held.at + LEASE, |next| next.at.min(held.at + LEASE));
            held.holder == *holder && held.at <= yes.came && yes.asked <= until
        });
        assert!(had, "{holder} said yes (record {}) without the lease", yes.seq);
    }
    let verbs: BTreeSet<String> = ["get", "create", "update"].map(str::to_owned).into();
    assert_eq!(api.verbs, verbs, "the manifests allow these");
    assert!(api.refused > 0, "a token that is not good any more was tried");
    assert!(!api.wrongs.is_empty(), "nothing went wrong");
    let [kill, stop, cut] = took.map(|mut took| {
        took.sort();
        format!("{:.1?} to {:.1?}, median {:.1?}", took[0], took[took.len() - 1], took[took.len() / 2])
    });
    println!(
        "{rounds} rounds, {} yeses, {} writes of the lease, {} conflicts, {:?}; take-over after kill: {kill}; \
         stop: {stop}; cut: {cut}",
        told.yeses.len(),
        api.held.len(),
        api.conflicts,
        api.wrongs
    );
}

/// Somebody who has no lease puts a name on the log, as one may who stood still for very long: the one who has the lease answers
/// nobody on that, and claims it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_has_the_lease_claims_a_log_again_that_was_claimed_without_one() {
    let pair = Pair::start().await;
    let leader = leader_of(&pair.twins, Instant::now()).await.0;
    let order = json!({"scope": {"service": format!("s{SERVICES}")}, "reason": "before", "for_s": 86_400});
    let halt = || pair.twins[leader].post("@ada", "/v1/halts", &order).filter(|(status, _)| *status == 200);
    let (_, first) = halt().expect("it decides");
    std::fs::write(pair.stage.audit_dir().join("holder"), "http://127.0.0.1:1\nnobody\n").expect("written");
    assert!(halt().is_none(), "what is written now may be no part of the log");
    let (_, again) = eventually("it decides again", Duration::from_secs(30), || async { halt() }).await;
    let (_, halts) = Wire::new(pair.ports()[leader]).got("@ada", "/v1/halts").expect("an answer");
    let has =
        |id: &serde_json::Value| halts["halts"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == *id));
    assert!(has(&first["id"]) && has(&again["id"]), "{halts:#}");
}

/// The API server is gone, and with it the lease: machines wait, and a person in an emergency is not kept out.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn where_nobody_has_the_lease_a_person_breaks_the_glass_and_machines_wait() {
    let pair = Pair::start().await;
    let leader = leader_of(&pair.twins, Instant::now()).await.0;
    pair.cables.iter().for_each(Cable::cut);
    for one in [leader, 1 - leader] {
        pair.follows(one).await;
        let twin = &pair.twins[one];
        let asked = |who: &str, glass: bool| {
            let mut body = request("deploy", 0, None);
            body["break_glass"] = glass.into();
            twin.post(who, "/v1/decisions", &body).expect("an answer")
        };
        for (who, glass) in [(robot(0).as_str(), false), ("@ada", false)] {
            assert_eq!(asked(who, glass).0, 503, "{who}");
        }
        let (status, answer) = asked(&robot(0), true);
        assert!(status == 503 || answer["decision"] == "deny", "no machine breaks the glass: {status} {answer:#}");
        let said = || {
            let of = |twin: &Twin| twin.process.log().matches("this line is its only record").count();
            pair.twins.iter().map(of).sum::<usize>()
        };
        let before = said();
        let (status, answer) = asked("@ada", true);
        assert_eq!((status, &answer["decision"]), (200, &json!("allow")), "a person is kept out: {answer:#}");
        assert!(answer["audit"].is_null(), "nothing can be written down: {answer:#}");
        let path = format!("/v1/permits/{}/redeem", answer["permit"]["id"].as_str().expect("a permit"));
        let (status, redeemed) = twin.post("@ada", &path, &json!({})).expect("an answer");
        assert_eq!((status, &redeemed["decision"]), (200, &json!("allow")), "{redeemed:#}");
        let (_, again) = twin.post("@ada", &path, &json!({})).expect("an answer");
        assert_ne!(again["decision"], "allow", "it is used once: {again:#}");
        // By whichever of both gave it: the one that followed sends it on to the one that decided last, while that answers.
        eventually("it is said where it can be", Duration::from_secs(10), || async { (said() > before).then_some(()) })
            .await;
    }
}
