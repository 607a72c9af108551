//! The gate of the real binary, killed again and again while eight clients ask, redeem and report, and people vote and
//! halt: whatever was answered is in the log, no permit is used twice, no key decides twice, no vote or halt is lost.
//!
//! `SIGKILL` ends the process, not the machine: what it shows is that nothing is answered before it is handed to the
//! disk. That the disk keeps it is what `fdatasync` is for.
//!
//! 2,000 decisions and 5 kills; with `SLOWBURN_TEST_FULL=1` 10,000 decisions and 200 kills.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slowburn::clock::Clock;
use slowburn::demo::count::{hash, unit};

use crate::gate_stage::{Stage, Wire, request, robot};

const CLIENTS: usize = 8;
/// Services of one client; the robot of the last one only asks for what is denied.
const OWN: usize = 5;
/// A permit lives 30 s of the wall's time then.
const SPEED: f64 = 4.0;

/// What clients were told.
#[derive(Default)]
struct Told {
    /// Decisions: id and answer.
    decisions: Vec<(String, String)>,
    /// Every `audit` of an answer.
    receipts: Vec<Value>,
    /// Record by number: the decision whose receipt it is.
    places: BTreeMap<u64, String>,
    /// How often each permit was redeemed with a yes.
    redeemed: BTreeMap<String, usize>,
    /// The permits' holders.
    holders: BTreeMap<String, String>,
    /// What people said to questions: the question, and the event that it has to be.
    votes: Vec<(String, &'static str)>,
    /// Halts, and when they end.
    halts: Vec<(String, String)>,
    /// Asked or redeemed, and no answer came.
    unanswered: usize,
    /// Permits that were found used, by an attempt whose answer was lost.
    lost: usize,
}

struct Shared {
    told: Mutex<Told>,
    /// Decisions that were answered.
    answered: AtomicUsize,
    /// The daemon decides.
    up: AtomicBool,
    /// Counts starts.
    epoch: AtomicUsize,
    goal: usize,
    /// A thread of the test panicked.
    failed: AtomicBool,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no client panicked")
    }

    fn wait_up(&self) {
        while !self.up.load(Ordering::Acquire) {
            assert!(!self.failed.load(Ordering::Acquire), "another part of the test failed");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_done(&self) -> bool {
        self.answered.load(Ordering::Relaxed) >= self.goal
    }

    /// Until an answer comes; the daemon may die and come back meanwhile.
    fn insist(&self, wire: &mut Wire, who: &str, path: &str, body: &Value) -> (u16, Value) {
        loop {
            self.wait_up();
            match wire.post(who, path, body) {
                // Shutting out: the same key is being decided by a request whose answer was lost.
                Ok((503, _)) => std::thread::sleep(Duration::from_millis(2)),
                Ok(answer) => return answer,
                Err(_) => {
                    self.told().unanswered += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    /// Asks for a decision and notes it; again where a process that has only begun answered.
    fn ask(&self, wire: &mut Wire, who: &str, body: &Value, expected: &str) -> Value {
        loop {
            let answer = self.decision(wire, who, body);
            if answer["decision"] == expected {
                return answer;
            }
            assert!(answer["decision"] == "deny" && has_begun(&answer), "{answer:#}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A decision, whatever it is: it has to be in the log.
    fn decision(&self, wire: &mut Wire, who: &str, body: &Value) -> Value {
        let (status, answer) = self.insist(wire, who, "/v1/decisions", body);
        assert_eq!(status, 200, "{answer}");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (id, said) = text(&answer["decision_id"]).zip(text(&answer["decision"])).expect("a decision");
        let mut told = self.told();
        if answer["audit"].is_object() {
            told.places.insert(answer["audit"]["seq"].as_u64().expect("a number"), id.clone());
            told.receipts.push(answer["audit"].clone());
        } else {
            assert_eq!(answer["repeated"], true, "an answer without a receipt: {answer}");
        }
        told.decisions.push((id, said));
        if let Some(permit) = text(&answer["permit"]["id"]) {
            told.holders.insert(permit, who.to_owned());
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        drop(told);
        answer
    }

    /// A person says something to a question. Nobody's act is changed by it: a yes is taken back again.
    fn vote(&self, wire: &mut Wire, asked: &Value, yes: bool) {
        let (id, digest) = (asked["approval"]["id"].as_str().expect("a question"), &asked["action"]["digest"]);
        let steps: &[_] = match yes {
            true => &[("approve", "approval_voted"), ("revoke", "approval_revoked")],
            false => &[("reject", "approval_rejected")],
        };
        for (verdict, event) in steps {
            let mut order = json!({"verdict": verdict, "reason": "not today"});
            if *verdict == "approve" {
                order["action_digest"] = digest.clone();
            }
            let (status, answer) = self.insist(wire, "@ada", &format!("/v1/approvals/{id}"), &order);
            // 409: it was said by an attempt whose answer was lost.
            assert!(status == 200 || status == 409, "{verdict}: {status} {answer}");
            if status == 200 {
                let mut told = self.told();
                told.receipts.push(answer["audit"].clone());
                told.votes.push((id.to_owned(), event));
            }
        }
    }

    /// A person halts a service of which everything is denied anyway.
    fn halt(&self, wire: &mut Wire, service: usize) {
        let order = json!({"scope": {"service": format!("s{service}")}, "reason": "INC-7", "for_s": 86_400});
        let (status, answer) = self.insist(wire, "@ada", "/v1/halts", &order);
        assert_eq!(status, 200, "{answer}");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (id, until) = text(&answer["id"]).zip(text(&answer["until"])).unwrap_or_else(|| panic!("{answer}"));
        self.told().halts.push((id, until));
    }

    /// Every halt that was answered before holds.
    fn halts_hold(&self, wire: &mut Wire) {
        let before: Vec<_> = self.told().halts.clone();
        let get = wire.got("@ada", "/v1/halts");
        // Killed again: whoever starts next looks again.
        let Ok((200, answer)) = get else { return };
        let rows = answer["halts"].as_array().expect("halts");
        for (id, until) in before {
            let row = rows.iter().find(|row| row["id"] == id.as_str());
            assert!(row.is_some_and(|row| row["until"] == until.as_str()), "halt {id} until {until}: {rows:?}");
        }
    }

    /// Presents a permit on all wires at once, until one answers; whether the act is to be reported.
    fn redeem(&self, wires: &mut [Wire], who: &str, permit: &str) -> bool {
        let path = format!("/v1/permits/{permit}/redeem");
        let mut cut = 0;
        loop {
            self.wait_up();
            let answers: Vec<_> = std::thread::scope(|scope| {
                let posts: Vec<_> =
                    wires.iter_mut().map(|wire| scope.spawn(|| wire.post(who, &path, &json!({})))).collect();
                posts.into_iter().map(|post| post.join().expect("no panic")).collect()
            });
            let (mut yes, mut used, mut gone) = (0, 0, false);
            for answer in &answers {
                let Ok((status, answer)) = answer else {
                    cut += 1;
                    continue;
                };
                assert_eq!(*status, 200, "{answer}");
                self.told().receipts.push(answer["audit"].clone());
                match (answer["decision"].as_str(), answer["reasons"][0]["code"].as_str()) {
                    (Some("allow"), _) => yes += 1,
                    (Some("deny"), Some("permit_used")) => used += 1,
                    // One that has only begun takes it back: not used, and nobody's.
                    (Some("deny"), Some("permit_expired" | "permit_revoked")) => gone = true,
                    (Some("deny"), Some("state_worsened")) if has_begun(answer) => gone = true,
                    _ => panic!("{answer:#}"),
                }
            }
            let mut told = self.told();
            told.unanswered += answers.iter().filter(|answer| answer.is_err()).count();
            if yes > 0 {
                *told.redeemed.entry(permit.to_owned()).or_default() += yes;
                return true;
            }
            if used > 0 {
                // Somebody used it, and nobody was told: only an attempt that was cut off can have.
                assert!(cut > 0, "{permit} was used by nobody");
                told.lost += 1;
                return true;
            }
            if gone {
                return false;
            }
        }
    }

    /// A permit that was used stays used.
    fn present_again(&self, wire: &mut Wire, permit: &str) {
        let who = self.told().holders[permit].clone();
        let (status, answer) = self.insist(wire, &who, &format!("/v1/permits/{permit}/redeem"), &json!({}));
        // Closed permits are forgotten after a while; then nobody knows it.
        if status != 404 {
            assert_eq!((status, &answer["decision"]), (200, &json!("deny")), "{permit} again: {answer:#}");
            assert_eq!(answer["reasons"][0]["code"], "permit_used", "{answer:#}");
            self.told().receipts.push(answer["audit"].clone());
        }
    }
}

/// Whether it was answered by a process that had not read history yet. Clients wait until one has; a request that was on its way
/// when the one before was killed may reach it sooner.
fn has_begun(answer: &Value) -> bool {
    answer.to_string().contains("history is still being read")
}

fn client(number: usize, seed: u64, shared: &Shared, mut wires: Vec<Wire>) {
    let mut drawn = 0;
    let mut random = || {
        drawn += 1;
        unit(hash(seed ^ (number as u64) << 32, drawn))
    };
    let services: Vec<usize> = (number * OWN..(number + 1) * OWN).collect();
    let (prober, services) = services.split_last().expect("some");
    let mut used: VecDeque<String> = VecDeque::new();
    // Permits that wait for the next start, with their service.
    let mut held: Vec<(usize, String)> = Vec::new();
    let mut epoch = 0;
    for n in 0.. {
        let now = shared.epoch.load(Ordering::Acquire);
        if now != epoch {
            epoch = now;
            for permit in &used {
                shared.present_again(&mut wires[0], permit);
            }
            shared.halts_hold(&mut wires[0]);
            for (service, permit) in held.drain(..) {
                settle(shared, &mut wires, service, &permit, &mut used);
            }
        }
        if shared.is_done() {
            break;
        }
        let free: Vec<usize> =
            services.iter().copied().filter(|service| held.iter().all(|(taken, _)| taken != service)).collect();
        let service = free[(random() * free.len() as f64) as usize % free.len()];
        let key = format!("{number}-{n}");
        match random() {
            dice if dice < 0.25 => {
                let body = request("restart", service, Some(&key));
                shared.ask(&mut wires[0], &robot(*prober), &body, "deny");
                if random() < 0.15 {
                    shared.halt(&mut wires[0], *prober);
                }
            }
            dice if dice < 0.45 => {
                let body = request("rollback", service, Some(&key));
                let asked = shared.ask(&mut wires[0], &robot(service), &body, "needs_approval");
                if random() < 0.5 {
                    shared.vote(&mut wires[0], &asked, random() < 0.5);
                }
            }
            _ => {
                let body = request("deploy", service, Some(&key));
                let answer = shared.ask(&mut wires[0], &robot(service), &body, "allow");
                let Some(permit) = answer["permit"]["id"].as_str().map(str::to_owned) else { continue };
                if held.len() < 2 && random() < 0.1 {
                    held.push((service, permit));
                } else {
                    settle(shared, &mut wires, service, &permit, &mut used);
                }
            }
        }
    }
}

/// Redeems a permit and reports that nothing was done, so that the next change need not wait for a verdict.
fn settle(shared: &Shared, wires: &mut [Wire], service: usize, permit: &str, used: &mut VecDeque<String>) {
    let who = robot(service);
    if !shared.redeem(wires, &who, permit) {
        return;
    }
    let (path, body) = (format!("/v1/permits/{permit}/outcome"), json!({"applied": false}));
    let (status, answer) = shared.insist(&mut wires[0], &who, &path, &body);
    // 409: it was reported by an attempt whose answer was lost.
    assert!(status == 200 || status == 409, "{status} {answer}");
    if status == 200 {
        shared.told().receipts.push(answer["audit"].clone());
    }
    used.push_back(permit.to_owned());
    if used.len() > 8 {
        used.pop_front();
    }
}

/// The daemon dies at moments that the seed gives, some of them while it starts.
fn killer(kills: usize, seed: u64, shared: &Shared, stage: &mut Stage) {
    let random = |n: usize| unit(hash(seed ^ 0x5eed, n as u64));
    let mut done = 0;
    while done < kills {
        let due = (done as f64 + random(done)) / (kills as f64 + 1.0) * shared.goal as f64;
        while (shared.answered.load(Ordering::Relaxed) as f64) < due {
            assert!(!shared.failed.load(Ordering::Acquire), "a client failed");
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(Duration::from_secs_f64(0.03 * random(done + 1000)));
        stage.process.kill();
        shared.up.store(false, Ordering::Release);
        done += 1;
        if done.is_multiple_of(4) && done < kills {
            stage.launch();
            std::thread::sleep(Duration::from_secs_f64(0.5 * random(done + 2000)));
            stage.process.kill();
            done += 1;
        }
        stage.restart();
        shared.epoch.fetch_add(1, Ordering::AcqRel);
        shared.up.store(true, Ordering::Release);
    }
}

/// Every record of the log, by number; what a crash left half written is not in it.
fn records(stage: &Stage) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(stage.audit_dir())
        .expect("the log")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("text"));
    texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<_>>())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_the_middle_of_decisions_lose_nothing_that_was_answered_and_use_no_permit_twice() {
    let full = std::env::var_os("SLOWBURN_TEST_FULL").is_some_and(|value| value == "1");
    let (goal, kills) = if full { (10_000, 200) } else { (2_000, 5) };
    let seed = Clock::wall().now_ms().unsigned_abs();
    let seed = std::env::var("SLOWBURN_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
    println!("SLOWBURN_TEST_SEED={seed}");
    let mut stage = Stage::start(CLIENTS * OWN, None, SPEED).await;
    let shared = Shared {
        told: Mutex::default(),
        answered: AtomicUsize::new(0),
        up: AtomicBool::new(true),
        epoch: AtomicUsize::new(0),
        goal,
        failed: AtomicBool::new(false),
    };
    let began = Instant::now();
    let wires: Vec<Vec<Wire>> = (0..CLIENTS).map(|_| (0..3).map(|_| stage.wire()).collect()).collect();
    std::thread::scope(|scope| {
        let shared = &shared;
        for (number, wires) in wires.into_iter().enumerate() {
            scope.spawn(move || {
                let guard = Fails(shared);
                client(number, seed, shared, wires);
                std::mem::forget(guard);
            });
        }
        let guard = Fails(shared);
        killer(kills, seed, shared, &mut stage);
        std::mem::forget(guard);
    });
    let took = began.elapsed();
    // Once more, and every permit that was ever redeemed is presented again.
    stage.process.kill();
    stage.restart();
    let used: Vec<String> = shared.told().redeemed.keys().cloned().collect();
    let mut wire = stage.wire();
    used.iter().for_each(|permit| shared.present_again(&mut wire, permit));
    shared.halts_hold(&mut wire);
    stage.process.kill();

    let told = shared.told();
    let receipts = stage.path("receipts.jsonl");
    let text: String = told.receipts.iter().map(|receipt| format!("{receipt}\n")).collect();
    std::fs::write(&receipts, text).expect("writable");
    let verified = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["audit", "verify", "--dir"])
        .arg(stage.audit_dir())
        .arg("--receipts")
        .arg(&receipts)
        .output()
        .expect("the binary runs");
    let says = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(0), "{says}{}", String::from_utf8_lossy(&verified.stderr));

    // Half a record may stand at the very end; the last start read the log whole, and then nothing was cut off but that.
    let torn = says.lines().any(|line| line.starts_with("torn"));
    let records = records(&stage);
    let mut decided: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    let (mut issued, mut redeemed) = (BTreeSet::new(), BTreeMap::<&str, usize>::new());
    // Of each key the last permit: its id, when it runs out, and whether it was used.
    let mut of_keys: BTreeMap<(&str, &str), (&str, i64, bool)> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let mut count = BTreeMap::<&str, usize>::new();
    // What people did: kind of event and id.
    let mut people = BTreeMap::<(&str, &str), usize>::new();
    for record in &records {
        let kind = record["kind"].as_str().expect("a kind");
        *count.entry(kind).or_default() += 1;
        let event = &record["event"];
        match event["kind"].as_str() {
            Some("decided") => {
                let (id, answer) = event["id"].as_str().zip(record["decision"]["result"].as_str()).expect("a decision");
                decided.entry(id).or_insert((answer, 0)).1 += 1;
            }
            Some("permit_issued") => {
                let permit = &event["permit"];
                assert!(issued.insert(permit["id"].as_str().expect("an id")), "issued twice: {record}");
                // One decision for each key: while its permit lives, the key gets that one. When it ran out or was taken
                // back unused, the key is decided anew (semantics, 7: it repeats an allow only while its permit lives).
                // Once one was used, there is no other.
                let (id, sub) = (permit["id"].as_str().expect("an id"), permit["sub"].as_str().expect("a holder"));
                let key = permit["request"]["idempotency_key"].as_str().expect("every request has one");
                let (at, until) = (event["at"].as_i64(), permit["expires_at"].as_i64());
                let (at, until) = at.zip(until).expect("moments");
                if let Some((earlier, ends, used)) = of_keys.insert((sub, key), (id, until, false)) {
                    assert!(!used && at >= ends, "{sub} got {id} for the key {key} besides {earlier}: {record}");
                }
                keys.insert(id, (sub, key));
            }
            Some("permit_redeemed") => {
                let id = event["id"].as_str().expect("an id");
                *redeemed.entry(id).or_default() += 1;
                let key = keys.get(id).expect("it was issued");
                let last = of_keys.get_mut(key).expect("it was issued");
                assert_eq!(last.0, id, "{key:?} was used with a permit that is not its last");
                last.2 = true;
            }
            Some("permit_revoked") => {
                let id = event["id"].as_str().expect("an id");
                let last = keys.get(id).and_then(|key| of_keys.get_mut(key)).expect("it was issued");
                last.1 = event["at"].as_i64().expect("a moment");
            }
            Some(kind @ ("approval_voted" | "approval_rejected" | "approval_revoked")) => {
                *people.entry((kind, event["id"].as_str().expect("an id"))).or_default() += 1;
            }
            Some("halted") => {
                *people.entry(("halted", event["halt"]["id"].as_str().expect("an id"))).or_default() += 1;
            }
            _ => {}
        }
    }
    let halts = told.halts.iter().map(|(id, _)| (id, "halted"));
    for (id, kind) in told.votes.iter().map(|(id, kind)| (id, *kind)).chain(halts) {
        assert_eq!(people.get(&(kind, id.as_str())), Some(&1), "{kind} of {id} was answered");
    }
    for (id, answer) in &told.decisions {
        assert_eq!(decided.get(id.as_str()), Some(&(answer.as_str(), 1)), "decision {id} was answered {answer}");
    }
    for (seq, id) in &told.places {
        let record = &records[*seq as usize];
        assert_eq!((record["log"]["seq"].as_u64(), record["decision"]["id"].as_str()), (Some(*seq), Some(id.as_str())));
    }
    for (permit, times) in &redeemed {
        assert!(*times == 1 && issued.contains(permit), "{permit} was redeemed {times} times");
    }
    for (permit, yes) in &told.redeemed {
        assert_eq!((*yes, redeemed.get(permit.as_str())), (1, Some(&1)), "{permit} was allowed {yes} times");
    }
    println!(
        "{} decisions answered ({} in the log), {} permits, {} redeemed, {kills} kills in {took:.1?}; {} requests got no \
         answer, {} redeemed without one; {} votes and {} halts answered; {} receipts verified, {} records: {count:?}{}",
        told.decisions.len(),
        decided.len(),
        issued.len(),
        told.redeemed.len(),
        told.unanswered,
        told.lost,
        told.votes.len(),
        told.halts.len(),
        told.receipts.len(),
        records.len(),
        if torn { ", torn at the end" } else { "" }
    );
    assert!(told.decisions.len() >= goal && told.redeemed.len() * 4 >= goal, "the clients did their part");
    assert!(told.votes.len() * 20 >= goal && told.halts.len() * 50 >= goal, "people did theirs");
    assert!(count["boot"] > kills / 2, "it was started again and again: {count:?}");
    assert!(told.unanswered >= kills / 2, "the kills hit requests: {}", told.unanswered);
}

/// Tells the others when a thread of the test panics, so that none waits for ever.
struct Fails<'a>(&'a Shared);

impl Drop for Fails<'_> {
    fn drop(&mut self) {
        self.0.failed.store(true, Ordering::Release);
    }
}
