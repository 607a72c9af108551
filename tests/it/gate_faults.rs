//! Faults that were found from outside, each against the real binary: without its defence the test fails.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gate_stage::{Stage, Wire, request, robot};
use crate::harness::parts::{eventually, http};

/// Decisions that are counted beside readers.
const DECISIONS: usize = 100;

async fn get(stage: &Stage, path: &str) -> Value {
    let answer = http().get(format!("{}{path}", stage.url())).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    serde_json::from_str(&answer.text().await.expect("text")).expect("JSON")
}

/// A credential that is taken out of the file is nobody's from the reload on, although the policies then ask for people who are
/// not there, and are refused; and what a policy asks for is not given by anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_is_revoked_although_the_policies_need_its_owner() {
    let stage = Stage::start(2, None, 1.0).await;
    let halt = json!({"scope": "global", "reason": "by a thief", "for_s": 60});
    let mut wire = stage.wire();
    let (status, asked) = wire.post(&robot(0), "/v1/decisions", &request("rollback", 0, None)).expect("an answer");
    assert_eq!((status, &asked["decision"]), (200, &json!("needs_approval")), "{asked:#}");
    let id = asked["approval"]["id"].as_str().expect("a question").to_owned();
    let yes = json!({"verdict": "approve", "action_digest": asked["action"]["digest"]});
    let (status, voted) = wire.post("@ada", &format!("/v1/approvals/{id}"), &yes).expect("an answer");
    assert_eq!(status, 200, "{voted}");
    let file = stage.path("identities.yaml");
    let text = std::fs::read_to_string(&file).expect("there");
    let without: String = text.lines().filter(|line| !line.contains("@ada")).flat_map(|l| [l, "\n"]).collect();
    std::fs::write(&file, without).expect("written");
    // The policies are refused: nobody is left who could approve. A signal, for she was the one who might have asked.
    stage.process.signal("HUP");
    eventually("her token is nobody's", Duration::from_secs(10), || async {
        let (status, _) = stage.wire().post("@ada", "/v1/halts", &halt).expect("an answer");
        (status == 401).then_some(())
    })
    .await;
    assert!(stage.process.log().contains("rules were not reloaded"), "{}", stage.process.log());
    // Nor does a mistake somewhere else in the file keep anybody in it who was taken out.
    let deployer = |wire: &mut Wire| wire.post("deployer", "/v1/decisions?explain", &request("deploy", 0, None));
    assert_eq!(deployer(&mut stage.wire()).expect("an answer").0, 200);
    let gone: String = text.lines().filter(|line| !line.contains("deployer")).flat_map(|l| [l, "\n"]).collect();
    std::fs::write(&file, gone + "  - {name: \"@eve\", class: alien}\n").expect("written");
    stage.process.signal("HUP");
    eventually("the pipeline's token is nobody's", Duration::from_secs(10), || async {
        (deployer(&mut stage.wire()).expect("an answer").0 == 401).then_some(())
    })
    .await;
    // What she had said counts no more: neither the approval nor a permit on it.
    let (_, again) = wire.post(&robot(0), "/v1/decisions", &request("rollback", 0, None)).expect("an answer");
    assert_ne!(again["decision"], "allow", "{again:#}");
    assert!(again["permit"].is_null(), "{again:#}");
    // She comes back, and is known at once.
    std::fs::write(&file, text).expect("written");
    stage.process.signal("HUP");
    eventually("she is known again", Duration::from_secs(10), || async {
        let (status, _) = stage.wire().post("@ada", "/v1/halts", &halt).expect("an answer");
        (status == 200).then_some(())
    })
    .await;
}

/// A pod that begins anew while Prometheus is down is not ready for two minutes, so that a rollout stops; whoever asks it is
/// answered all the same: the page is there, and nothing is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_prometheus_it_is_not_ready_and_serves_page_and_gate() {
    let mut stage = Stage::start(1, None, 1.0).await;
    assert_eq!(get(&stage, "/readyz").await["ready"], true);
    stage.process.kill();
    // On a volume of its own, without what was counted: what it knew a minute ago would still hold.
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        drop(std::fs::remove_file(stage.path("data").join(file)));
    }
    let file = stage.path("slowburn.yaml");
    let settings = std::fs::read_to_string(&file).expect("there");
    let (_, rest) = settings.split_once("\"}").expect("an address");
    std::fs::write(&file, format!("prometheus: {{url: \"http://127.0.0.1:1\"}}{rest}")).expect("written");
    stage.launch();
    let ask = async |path: &str| {
        let answer = http().get(format!("{}{path}", stage.url())).send().await.ok()?;
        let (status, text) = (answer.status().as_u16(), answer.text().await.ok()?);
        Some((status, text))
    };
    eventually("its first poll is not answered", Duration::from_secs(60), || async {
        let (status, text) = ask("/readyz").await?;
        let answer: Value = serde_json::from_str(&text).ok()?;
        let why = answer["waiting_for"]["first_answer"].as_str()?.to_owned();
        assert_eq!((status, &answer["ready"]), (503, &json!(false)), "{answer:#}");
        (why.ends_with("(unreachable)") && answer["waiting_for"]["first_evaluation"].is_null()).then_some(())
    })
    .await;
    let (status, page) = ask("/").await.expect("an answer");
    assert!(status == 200 && page.contains("<title>"), "{page}");
    assert_eq!(ask("/healthz").await.expect("an answer").0, 200);
    let (status, asked) =
        stage.wire().post(&robot(0), "/v1/decisions", &request("deploy", 0, None)).expect("an answer");
    assert_eq!((status, &asked["decision"]), (200, &json!("deny")), "{asked:#}");
    let signals = get(&stage, "/v1/signals/s0").await;
    assert!(signals["signals"]["risk"]["value"].as_i64().is_some_and(|value| value < 1), "{signals:#}");
}

/// Who changed the rules is on record: policies that came and went, people who came and went, by whose reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changed_the_rules_is_on_record_with_what_they_say() {
    let stage = Stage::start(2, None, 1.0).await;
    let mut wire = stage.wire();
    let policy = stage.path("rules/s0.policy.yaml");
    let text = std::fs::read_to_string(&policy).expect("there");
    let mut reload = |by: &str| {
        let (status, answer) = wire.post(by, "/-/reload", &json!({})).expect("an answer");
        assert_eq!(status, 200, "{answer}");
    };
    std::fs::write(&policy, text.replace("max_versions_back: 1", "max_versions_back: 3")).expect("written");
    reload("@ada");
    std::fs::remove_file(&policy).expect("there");
    reload("@ada");
    let identities = stage.path("identities.yaml");
    let people = std::fs::read_to_string(&identities).expect("there");
    let robot = robot(1);
    let without: String = people.lines().filter(|line| !line.contains(&robot)).flat_map(|l| [l, "\n"]).collect();
    std::fs::write(&identities, without).expect("written");
    reload("@ada");
    let (load, removed, known) = eventually("they are on record", Duration::from_secs(10), || async {
        let records = get(&stage, "/v1/audit?limit=20").await;
        let records = records["records"].as_array().cloned().unwrap_or_default();
        let of = |action: &str, by: &str| {
            records.iter().find(|record| record["action"] == action && record["actor"] == by).cloned()
        };
        Some((of("policy_load", "@ada")?, of("policy_removed", "@ada")?, of("identities_load", "@ada")?))
    })
    .await;
    assert_eq!((&load["service"], &removed["service"]), (&json!("s0"), &json!("s0")));
    let digest =
        load["inputs"]["policy"].as_str().and_then(|text| text.strip_prefix("sha256:")).expect("a digest").to_owned();
    assert_eq!(known["event"]["removed"], json!([robot]));
    // The text it names is kept.
    let mut folders = vec![stage.audit_dir().join("bodies")];
    let mut found = None;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false if entry.path().to_string_lossy().replace('/', "").contains(&digest[4..]) => {
                    found = Some(entry.path())
                }
                false => {}
            }
        }
    }
    assert!(found.is_some(), "the text of {digest} is not kept");
}

/// `slowburn approve` shows what is approved before it asks, and without a person at a terminal it approves nothing but what is named
/// by its digest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_approved_that_was_not_shown() {
    let stage = Stage::start(1, None, 1.0).await;
    let mut body = request("rollback", 0, None);
    body["reason"] = "release \u{202e}4711".into();
    let (status, asked) = stage.wire().post(&robot(0), "/v1/decisions", &body).expect("an answer");
    assert_eq!(status, 200, "{asked}");
    let id = asked["approval"]["id"].as_str().expect("a question").to_owned();
    let digest = asked["action"]["digest"].as_str().expect("a digest").to_owned();
    std::fs::write(stage.path("ada.token"), "token-of-@ada\n").expect("written");
    let approve = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .args(["approve", &id, "--url", &stage.url(), "--token-file"])
            .arg(stage.path("ada.token"))
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    };
    let votes = async || get(&stage, &format!("/v1/approvals/{id}")).await["have"].clone();
    let blind = approve(&[]);
    let shown = String::from_utf8_lossy(&blind.stderr).into_owned();
    assert_eq!(blind.status.code(), Some(2), "{shown}");
    for part in ["rollback of deployment/s0 of service s0", "v42 -> v41", &digest, "claimed by the requester"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
    assert_eq!(votes().await, json!(0), "nobody saw it");
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(approve(&["--digest", &other]).status.code(), Some(2), "another act");
    assert_eq!(votes().await, json!(0));
    let seen = approve(&["--digest", &digest]);
    assert_eq!(seen.status.code(), Some(0), "{}", String::from_utf8_lossy(&seen.stderr));
}

/// Whoever waits for people with an idempotency key is told what came of it: a yes that leads somewhere, a no, or that nobody
/// answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_with_a_key_ends_in_a_decision() {
    let stage = Stage::start(3, None, 1.0).await;
    for (service, verdict, code) in [(0, Some("approve"), 0), (1, Some("reject"), 3), (2, None, 3)] {
        std::fs::write(stage.path("robot.token"), format!("token-of-{}\n", robot(service))).expect("written");
        let resource = format!("deployment/s{service}");
        let asks = Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .args(["ask", "--service", &format!("s{service}"), "--action", "rollback", "--resource", &resource])
            .args(["--from-version", "v42", "--to-version", "v41", "--idempotency-key", "fix-1", "--wait"])
            .args([
                if verdict.is_some() { "60s" } else { "1s" },
                "--url",
                &stage.url(),
                "--format",
                "json",
                "--token-file",
            ])
            .arg(stage.path("robot.token"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let asked = eventually("people are asked", Duration::from_secs(20), || async {
            let all = get(&stage, "/v1/approvals").await;
            let of = |one: &&Value| one["action"]["resource"] == *resource;
            all["approvals"].as_array()?.iter().find(of).cloned()
        })
        .await;
        if let Some(verdict) = verdict {
            let vote = json!({"verdict": verdict, "reason": "INC-7", "action_digest": asked["action"]["digest"]});
            let path = format!("/v1/approvals/{}", asked["id"].as_str().expect("an id"));
            let (status, answer) = stage.wire().post("@ada", &path, &vote).expect("an answer");
            assert_eq!(status, 200, "{answer}");
        }
        let ended = asks.wait_with_output().expect("it ends");
        let said: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        assert_eq!(ended.status.code(), Some(code), "{verdict:?}: {said:#}");
        assert_eq!(said["permit"]["id"].is_string(), code == 0, "{verdict:?}: {said:#}");
        assert_eq!(said["argo"] == "allow", code == 0, "{verdict:?}: {said:#}");
    }
}

/// 64 readers of the whole log and 600 connections that never finish a request, header or body: memory stays bounded, and probes and decisions are
/// answered. 1,500 records; with `SLOWBURN_TEST_FULL=1` 6,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_and_half_open_connections_cost_little_and_keep_nobody_waiting() {
    let full = std::env::var_os("SLOWBURN_TEST_FULL").is_some_and(|value| value == "1");
    let stage = Stage::start(8, None, 1.0).await;
    let mut wire = stage.wire();
    for n in 0..if full { 6_000 } else { 1_500 } {
        let (status, answer) =
            wire.post(&robot(n % 8), "/v1/decisions", &request("restart", n % 8, None)).expect("an answer");
        assert!(status == 200 || status == 429, "{answer}");
    }
    let address = stage.url().trim_start_matches("http://").to_owned();
    // Of so many decisions the slowest but one in a hundred, with nothing else to do and then beside all of that.
    let p99 = |mut took: Vec<Duration>| {
        took.sort();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    };
    let decide = |wire: &mut Wire| {
        let at = Instant::now();
        let decided = wire.post(&robot(0), "/v1/decisions", &request("deploy", 0, None));
        decided.ok().map(|_| at.elapsed())
    };
    let alone = p99((0..DECISIONS).filter_map(|_| decide(&mut wire)).collect());
    let mut own = stage.process.own_bytes();
    let half: Vec<TcpStream> = (0..600)
        .filter_map(|n| {
            let mut stream = TcpStream::connect(&address).ok()?;
            // Half a header, or half a body for what reads it before it asks who sends it.
            let half = match n % 2 {
                0 => "GET / HTTP/1.1\r\nhost: 127".to_owned(),
                _ => format!("POST /-/reload HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{"),
            };
            stream.write_all(half.as_bytes()).ok()?;
            Some(stream)
        })
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let (address, done) = (address.clone(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut lengths = Vec::new();
                // Once at least, and again as long as decisions are counted.
                while lengths.is_empty() || !done.load(Ordering::Acquire) {
                    let mut stream = TcpStream::connect(&address).expect("it listens");
                    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
                    let head =
                        format!("GET /v1/audit?limit=1000 HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
                    let mut bytes = Vec::new();
                    let read = stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_end(&mut bytes));
                    lengths.push(read.map_or(0, |_| bytes.len()));
                }
                lengths
            })
        })
        .collect();
    let (mut probes, mut decided) = (Vec::new(), Vec::new());
    while decided.len() < DECISIONS && readers.iter().any(|reader| !reader.is_finished()) {
        let at = Instant::now();
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        let head = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it is taken");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        probes.push(at.elapsed());
        decided.extend(decide(&mut wire));
        own = own.max(stage.process.own_bytes());
        std::thread::sleep(Duration::from_millis(5));
    }
    done.store(true, Ordering::Release);
    let lengths: Vec<usize> = readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect();
    let served = lengths.iter().filter(|length| **length > 100_000).count();
    // Kubernetes waits a second for an answer, and restarts what gave none three times running. A single one may be late
    // without any fault of the daemon's: a first packet that is lost is sent again after a second.
    let late = |at: &&[Duration]| at.iter().all(|took| *took > Duration::from_secs(1));
    let late_twice_running = probes.windows(2).filter(|two| late(two)).count();
    let slowest = probes.iter().max().copied().unwrap_or_default();
    let (count, beside) = (decided.len(), p99(decided));
    let (peak, own) = (stage.process.rss_peak_bytes() >> 20, own >> 20);
    println!(
        "{} half-open, 64 readers got {served} of {} logs; RSS at most {peak} MiB, {own} MiB of it its own, slowest probe {slowest:.1?}, decisions p99 \
         {beside:.1?} of {count}, alone {alone:.1?} of {DECISIONS}",
        half.len(),
        lengths.len(),
    );
    assert!(served >= 60 && served * 10 >= lengths.len() * 9, "{lengths:?}");
    // 64 MiB with the pages of the program, of which a release has some 18 and a debug build twice as many and more.
    assert!(own <= 46, "{own} MiB, resident {peak} MiB");
    assert!(probes.len() >= 5 && late_twice_running == 0, "{probes:?}");
}
