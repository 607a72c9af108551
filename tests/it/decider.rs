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

pub const SERVICES: usize = 6;
/// Longest time from the end of one that decides to the first answer of the next.
const TAKE_OVER: Duration = Duration::from_secs(15);

/// One of two daemons that share a log.
pub struct Twin {
    pub process: Process,
    pub port: u16,
    pub name: &'static str,
}

impl Twin {
    /// `more`: what stands in its settings of the audit log besides.
    pub fn start(stage: &Stage, name: &'static str, clock: &Clock, more: &str) -> Self {
        let port = free_port();
        let text = std::fs::read_to_string(stage.path("slowburn.yaml")).expect("there");
        let prometheus = text.lines().find(|line| line.starts_with("prometheus:")).expect("it says where");
        let settings = format!(
            "{prometheus}\nlisten: 127.0.0.1:{port}\ndata_dir: {name}\n\
             audit: {{dir: data/audit, advertise: \"http://127.0.0.1:{port}\"{more}}}\n\
             auth: {{identities: identities.yaml, requests_per_minute: 100000}}\n"
        );
        std::fs::write(stage.path(&format!("{name}.yaml")), settings).expect("written");
        Twin { process: launch(stage, name, clock), port, name }
    }

    pub fn post(&self, who: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        Wire::new(self.port).post(who, path, body).ok()
    }

    /// Whether it has the log: its own metrics say so.
    pub async fn leads(&self) -> Option<bool> {
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

pub fn launch(stage: &Stage, name: &str, clock: &Clock) -> Process {
    let path = |name: &str| stage.path(name).display().to_string();
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let config = path(&format!("{name}.yaml"));
    let args = ["run", "--config", &config, "--rules", &path("rules"), "--clock-start", &now, "--clock-speed", "1"];
    Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &stage.path(&format!("{name}.log")))
}

/// A yes that was told: where it stands in the log, when it was asked for, and when it came.
pub struct Yes {
    pub seq: u64,
    pub asked: Instant,
    pub came: Instant,
}

/// What callers were told.
#[derive(Default)]
pub struct Told {
    /// How often each permit was redeemed with a yes.
    pub redeemed: BTreeMap<String, usize>,
    pub yeses: Vec<Yes>,
}

/// Asks one of both for a yes; what it came with, and the answer.
fn ask(port: u16, who: &str, path: &str, body: &Value) -> Option<(Yes, Value)> {
    let asked = Instant::now();
    match Wire::new(port).post(who, path, body) {
        Ok((200, answer)) if answer["decision"] == "allow" => {
            let seq = answer["audit"]["seq"].as_u64().unwrap_or_else(|| panic!("no receipt: {answer:#}"));
            Some((Yes { seq, asked, came: Instant::now() }, answer))
        }
        _ => None,
    }
}

/// Asks either of both, and redeems at both at once, until the end.
pub fn client(service: usize, ports: [u16; 2], done: &AtomicBool, told: &Mutex<Told>) {
    let who = robot(service);
    let mut n = 0;
    let yes = |yes: Yes, permit: Option<&str>| {
        let mut told = told.lock().expect("no panic");
        told.yeses.push(yes);
        if let Some(permit) = permit {
            *told.redeemed.entry(permit.to_owned()).or_default() += 1;
        }
    };
    while !done.load(Ordering::Acquire) {
        n += 1;
        let body = request("deploy", service, Some(&format!("{service}-{n}")));
        let Some((one, answer)) = ask(ports[n % 2], &who, "/v1/decisions", &body) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        yes(one, None);
        let permit = answer["permit"]["id"].as_str().expect("an allow has one");
        let path = format!("/v1/permits/{permit}/redeem");
        std::thread::scope(|scope| {
            let both = ports.map(|port| {
                let (who, path) = (&who, &path);
                scope.spawn(move || ask(port, who, path, &json!({})))
            });
            for one in both {
                if let Some((one, _)) = one.join().expect("no panic") {
                    yes(one, Some(permit));
                }
            }
        });
        if n % 3 == 0 {
            // And later, when perhaps another one decides.
            std::thread::sleep(Duration::from_millis(200));
            if let Some((one, _)) = ask(ports[(n + 1) % 2], &who, &path, &json!({})) {
                yes(one, Some(permit));
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
    let mut twins = [Twin::start(&stage, "a", &clock, ""), Twin::start(&stage, "b", &clock, "")];
    let ports = [twins[0].port, twins[1].port];
    let (done, told) = (AtomicBool::new(false), Mutex::<Told>::default());
    let (mut halts, mut slowest) = (Vec::new(), Duration::ZERO);
    let mut leader = leader_of(&twins, Instant::now()).await.0;
    std::thread::scope(|scope| {
        for service in 0..SERVICES {
            let (done, told) = (&done, &told);
            scope.spawn(move || client(service, ports, done, told));
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
    let told = told.into_inner().expect("no panic");
    kept(&stage, &mut twins, leader, &told, &halts).await;
    println!("{rounds} rounds; slowest take-over {slowest:.1?}");
}

/// What has to hold at the end, whatever became of either: no permit was used twice, every halt that was answered is there, the
/// log is whole, and whatever was answered stands in it. Which process wrote each part of the log: first record, and its name.
pub async fn kept(
    stage: &Stage,
    twins: &mut [Twin; 2],
    leader: usize,
    told: &Told,
    halts: &[String],
) -> Vec<(u64, Option<String>)> {
    assert!(told.redeemed.values().all(|times| *times <= 1), "{:?}", told.redeemed);
    let url = format!("http://127.0.0.1:{}/v1/halts", twins[leader].port);
    let shown = crate::harness::parts::http().get(url).send().await;
    let shown = shown.expect("an answer").text().await.expect("text");
    for halt in halts {
        assert!(shown.contains(halt), "the halt {halt} is lost: {shown}");
    }
    for twin in twins {
        twin.process.kill();
    }
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["audit", "verify", "--dir"])
        .arg(stage.audit_dir())
        .output()
        .expect("the binary runs");
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    let (mut uses, mut epoch, mut permits, mut boots) = (BTreeMap::<String, usize>::new(), 0, 0, Vec::new());
    slowburn::audit::entries(&stage.audit_dir(), |entry| {
        let members = serde_json::to_value(&entry.members).expect("JSON");
        if members["kind"] == "boot" {
            boots.push((entry.seq, members["event"]["holder"].as_str().map(str::to_owned)));
        }
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
    for (permit, times) in &told.redeemed {
        assert_eq!(uses.get(permit), Some(times), "{permit} was answered and is not on record");
    }
    println!(
        "{} boots: {permits} permits, {} redeemed and told, {} halts kept",
        boots.len(),
        told.redeemed.len(),
        halts.len()
    );
    assert!(permits > boots.len() && !halts.is_empty(), "{permits} permits, {} halts", halts.len());
    boots
}

/// Which of both decides, and allows, and how long that took since `at`.
pub async fn leader_of(twins: &[Twin; 2], at: Instant) -> (usize, Duration) {
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
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
