//! Two daemons that take turns at one log on a shared volume: the one that decides is killed, or stopped for a while, again and
//! again under load. No permit is redeemed twice, nobody but the one that has the log allows anything, no halt is lost.
//!
//! 4 rounds; with `SLOWBURN_TEST_FULL=1` 100.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slowburn::clock::Clock;

use crate::gate_stage::{Stage, T0, Wire, request, robot};
use crate::harness::parts::{Process, free_port};

const SERVICES: usize = 6;
/// Longest time from the end of one that decides to the first answer of the next.
const TAKE_OVER: Duration = Duration::from_secs(15);

struct Twin {
    process: Process,
    port: u16,
    name: &'static str,
}

impl Twin {
    fn start(stage: &Stage, name: &'static str, clock: &Clock) -> Self {
        let port = free_port();
        let text = std::fs::read_to_string(stage.path("slowburn.yaml")).expect("there");
        let prometheus = text.lines().find(|line| line.starts_with("prometheus:")).expect("it says where");
        let settings = format!(
            "{prometheus}\nlisten: 127.0.0.1:{port}\ndata_dir: {name}\n\
             audit: {{dir: data/audit, advertise: \"http://127.0.0.1:{port}\"}}\n\
             auth: {{identities: identities.yaml, requests_per_minute: 100000}}\n"
        );
        std::fs::write(stage.path(&format!("{name}.yaml")), settings).expect("written");
        Twin { process: launch(stage, name, clock), port, name }
    }

    fn post(&self, who: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        Wire::new(self.port).post(who, path, body).ok()
    }

    /// Whether it has the log: its own metrics say so.
    async fn leads(&self) -> Option<bool> {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let answer = crate::harness::parts::http().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let own = text.lines().find(|line| line.starts_with("slowburn_gate_leader "))?;
        // Nobody but the one that decides says that anything is safe.
        if own.ends_with(" 0") {
            assert!(
                !text.lines().any(|line| line.starts_with("slowburn_safe_to_act{") && line.ends_with(" 1")),
                "{text}"
            );
        }
        Some(own.ends_with(" 1"))
    }
}

fn launch(stage: &Stage, name: &str, clock: &Clock) -> Process {
    let path = |name: &str| stage.path(name).display().to_string();
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let config = path(&format!("{name}.yaml"));
    let args = ["run", "--config", &config, "--rules", &path("rules"), "--clock-start", &now, "--clock-speed", "1"];
    Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &stage.path(&format!("{name}.log")))
}

/// How often each permit was redeemed with a yes, by what callers were told.
type Redeemed = Mutex<BTreeMap<String, usize>>;

/// Asks either of both, and redeems at both at once, until the end.
fn client(service: usize, ports: [u16; 2], done: &AtomicBool, redeemed: &Redeemed) {
    let who = robot(service);
    let mut n = 0;
    while !done.load(Ordering::Acquire) {
        n += 1;
        let body = request("deploy", service, Some(&format!("{service}-{n}")));
        let asked = Wire::new(ports[n % 2]).post(&who, "/v1/decisions", &body);
        let permit = match asked {
            Ok((200, answer)) if answer["decision"] == "allow" => answer["permit"]["id"].as_str().map(str::to_owned),
            _ => None,
        };
        let Some(permit) = permit else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let path = format!("/v1/permits/{permit}/redeem");
        let yes: usize = std::thread::scope(|scope| {
            let at = |port: u16| {
                let (who, path) = (&who, &path);
                scope.spawn(move || match Wire::new(port).post(who, path, &json!({})) {
                    Ok((200, answer)) => usize::from(answer["decision"] == "allow"),
                    _ => 0,
                })
            };
            let both = ports.map(at);
            both.into_iter().map(|one| one.join().expect("no panic")).sum()
        });
        *redeemed.lock().expect("no panic").entry(permit.clone()).or_default() += yes;
        if n % 3 == 0 {
            // And later, when perhaps another one decides.
            std::thread::sleep(Duration::from_millis(200));
            if let Ok((200, answer)) = Wire::new(ports[(n + 1) % 2]).post(&who, &path, &json!({}))
                && answer["decision"] == "allow"
            {
                *redeemed.lock().expect("no panic").entry(permit.clone()).or_default() += 1;
            }
        }
        drop(Wire::new(ports[0]).post(&who, &format!("/v1/permits/{permit}/outcome"), &json!({"applied": false})));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn one_decides_at_a_time_whatever_becomes_of_it() {
    let full = std::env::var_os("SLOWBURN_TEST_FULL").is_some_and(|value| value == "1");
    let rounds = if full { 100 } else { 4 };
    let mut stage = Stage::start(SERVICES + 1, None, 1.0).await;
    stage.process.kill();
    let clock = Clock::scaled((T0 + 60) * 1000, 1.0);
    let mut twins = [Twin::start(&stage, "a", &clock), Twin::start(&stage, "b", &clock)];
    let ports = [twins[0].port, twins[1].port];
    let (done, redeemed) = (AtomicBool::new(false), Redeemed::default());
    let (mut halts, mut slowest) = (Vec::new(), Duration::ZERO);
    let mut leader = leader_of(&twins, Instant::now()).await.0;
    std::thread::scope(|scope| {
        for service in 0..SERVICES {
            let (done, redeemed) = (&done, &redeemed);
            scope.spawn(move || client(service, ports, done, redeemed));
        }
        let handle = tokio::runtime::Handle::current();
        let guard = Ends(&done);
        for round in 0..rounds {
            std::thread::sleep(Duration::from_millis(if full { 700 } else { 2500 }));
            // A halt that was answered, by whichever of both, holds whatever comes.
            let order = json!({"scope": {"service": format!("s{SERVICES}")}, "reason": format!("round {round}"), "for_s": 86_400});
            let (status, answer) = loop {
                if let Some((status, answer)) = twins[1 - leader].post("@ada", "/v1/halts", &order) {
                    break (status, answer);
                }
            };
            if status == 200 {
                halts.push(answer["id"].as_str().expect("an id").to_owned());
            }
            if round % 3 == 2 {
                // Stopped, it keeps the log: nobody allows anything until it goes on.
                twins[leader].process.hang();
                let body = request("deploy", 0, None);
                let asked = twins[1 - leader].post(&robot(0), "/v1/decisions", &body);
                assert!(!matches!(&asked, Some((200, answer)) if answer["decision"] == "allow"), "{asked:?}");
                twins[leader].process.resume();
                continue;
            }
            let at = Instant::now();
            twins[leader].process.kill();
            let (next, took) = tokio::task::block_in_place(|| handle.block_on(leader_of(&twins, at)));
            assert_eq!(next, 1 - leader);
            assert!(took < TAKE_OVER, "{} took over after {took:?}", twins[next].name);
            slowest = slowest.max(took);
            twins[leader].process = launch(&stage, twins[leader].name, &clock);
            leader = next;
        }
        drop(guard);
    });
    let told = redeemed.lock().expect("no panic").clone();
    assert!(told.values().all(|times| *times <= 1), "{told:?}");
    let shown = crate::harness::parts::http().get(format!("http://127.0.0.1:{}/v1/halts", ports[leader])).send().await;
    let shown = shown.expect("an answer").text().await.expect("text");
    for halt in &halts {
        assert!(shown.contains(halt), "the halt {halt} is lost: {shown}");
    }
    for twin in &mut twins {
        twin.process.kill();
    }
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["audit", "verify", "--dir"])
        .arg(stage.audit_dir())
        .output()
        .expect("the binary runs");
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    let (mut uses, mut epoch, mut permits, mut boots) = (BTreeMap::<String, usize>::new(), 0, 0, 0);
    slowburn::audit::entries(&stage.audit_dir(), |entry| {
        let members = serde_json::to_value(&entry.members).expect("JSON");
        boots += usize::from(members["kind"] == "boot");
        match members["event"]["kind"].as_str() {
            Some("permit_redeemed") => {
                *uses.entry(members["event"]["id"].as_str().expect("an id").to_owned()).or_default() += 1;
            }
            Some("permit_issued") => {
                let own = members["event"]["permit"]["epoch"].as_u64().expect("an epoch");
                assert!(own >= epoch, "a permit of epoch {own} after one of {epoch}");
                (epoch, permits) = (own, permits + 1);
            }
            _ => {}
        }
    })
    .expect("readable");
    assert!(uses.values().all(|times| *times == 1), "{uses:?}");
    for (permit, times) in told.iter().filter(|(_, times)| **times > 0) {
        assert_eq!(uses.get(permit), Some(times), "{permit} was answered and is not on record");
    }
    println!(
        "{rounds} rounds, {boots} boots: {permits} permits, {} redeemed and told, {} halts kept; slowest take-over {slowest:.1?}",
        told.values().sum::<usize>(),
        halts.len()
    );
    assert!(permits > rounds && !halts.is_empty(), "{permits} permits, {} halts", halts.len());
}

/// Which of both decides, and allows, and how long that took since `at`.
async fn leader_of(twins: &[Twin; 2], at: Instant) -> (usize, Duration) {
    while at.elapsed() < Duration::from_secs(60) {
        for (n, twin) in twins.iter().enumerate() {
            if twin.leads().await == Some(true) {
                return (n, at.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody decides: {}\n{}", twins[0].process.log(), twins[1].process.log());
}

/// The clients end, whatever becomes of the test.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
