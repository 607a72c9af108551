//! A sidecar beside a real daemon on a real Prometheus: it says what the daemon says, never a yes of before, and comes back by
//! itself; and one whose source lies.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use slowburn::clock::Clock;
use slowburn::mirror::wire::EVENT_BYTES_MAX;
use slowburn::mirror::{Mirror, Source, Unknown};
use slowburn::outbound::{Authorization, Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::decider::{Twin, leader_of};
use crate::gate_stage::{Stage, T0};
use crate::harness::api_server::Cable;
use crate::harness::parts::{Process, eventually, free_port, http, serve};

/// How many times as fast as the wall everything runs: a poll takes a second.
const SPEED: f64 = 30.0;
const LIMIT: Duration = Duration::from_secs(60);

/// A sidecar of `s0`.
struct Beside {
    process: Process,
    url: String,
}

impl Beside {
    fn start(stage: &Stage, name: &str, args: &[&str]) -> Self {
        Beside::start_at(stage, name, args, stage.clock(), SPEED)
    }

    fn start_at(stage: &Stage, name: &str, args: &[&str], clock: &Clock, speed: f64) -> Self {
        let port = free_port();
        let (listen, speed) = (format!("127.0.0.1:{port}"), speed.to_string());
        let now = (clock.now_ms() as f64 / 1000.0).to_string();
        let fixed = ["run", "--listen", &listen, "--clock-start", &now, "--clock-speed", &speed];
        let words = fixed.into_iter().chain(args.iter().copied());
        let process = Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), words, &stage.path(name));
        Beside { process, url: format!("http://127.0.0.1:{port}") }
    }

    async fn signals(&self) -> Option<Value> {
        json_of(&format!("{}/v1/signals/s0", self.url)).await
    }

    /// Waits until a deploy is what a robot may do, or not, or that is not known; the answer.
    async fn until(&self, what: &str, value: i64, reason: &str) -> Value {
        eventually(what, LIMIT, || async {
            let answer = self.signals().await?;
            let is = answer["signals"]["risk"]["value"] == value && answer["mirror"]["reason"] == reason;
            // A yes, and a no, are of a word that is at most two polls old.
            let silent_s = answer["mirror"]["silent_s"].as_i64();
            let known = answer["signals"]["risk"]["value"] != -1;
            assert!(!known || silent_s.is_some_and(|silent_s| silent_s <= 60), "{answer}");
            is.then_some(answer)
        })
        .await
    }
}

async fn json_of(url: &str) -> Option<Value> {
    let answer = http().get(url).timeout(Duration::from_secs(5)).send().await.ok()?;
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}

/// The value of a line of `/metrics`, by how it begins.
async fn metric(url: &str, begins: &str) -> Option<f64> {
    let text = http().get(format!("{url}/metrics")).send().await.ok()?.text().await.ok()?;
    text.lines().find_map(|line| line.strip_prefix(begins)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_says_what_the_daemon_says_and_never_a_yes_of_before() {
    let mut stage = Stage::start(2, None, SPEED).await;
    let address = stage.url().trim_start_matches("http://").parse().expect("an address");
    let cable = Cable::to(address);
    let (direct, through) = (stage.url(), format!("http://127.0.0.1:{}", cable.port));
    let near = Beside::start(&stage, "near.log", &["--follow", &direct, "--service", "s0"]);
    let far = Beside::start(&stage, "far.log", &["--follow", &through, "--service", "s0"]);

    // The same as the daemon, to the last number, at the same slice.
    near.until("a yes", 1, "none").await;
    far.until("a yes through the cable", 1, "none").await;
    eventually("the same answers", LIMIT, || async {
        let (theirs, ours) = (json_of(&format!("{direct}/v1/signals/s0")).await?, near.signals().await?);
        let same = ["signals", "change_state", "at", "service"].iter().all(|member| theirs[member] == ours[member]);
        let all = json_of(&format!("{direct}/v1/slos")).await?;
        let own: Vec<_> = all.as_array()?.iter().filter(|slo| slo["service"] == "s0").cloned().collect();
        let mut repeated = json_of(&format!("{}/v1/slos", near.url)).await?;
        for slo in repeated.as_array_mut()? {
            slo.as_object_mut()?.remove("mirror");
        }
        (same && own.len() == 1 && repeated == Value::from(own)).then_some(())
    })
    .await;
    assert_eq!(metric(&near.url, "slowburn_safe_to_act{service=\"s0\",class=\"risk\"}").await, Some(1.0));
    let refused = http().post(format!("{}/v1/decisions", near.url)).send().await.expect("an answer");
    assert_eq!(refused.status(), 421);
    assert!(refused.text().await.expect("text").contains(&direct), "it says where to ask");
    // Each is one stream, whatever its app asks.
    let streams = "slowburn_http_requests_total{route=\"/v1/services/{name}/stream\",status=\"200\"}";
    assert_eq!(metric(&direct, streams).await, Some(2.0));

    // What a person stops is told at once, and so is that it goes on.
    let order = json!({"scope": {"service": "s0"}, "reason": "INC-7", "for_s": 86_400});
    let (status, halt) = stage.wire().post("@ada", "/v1/halts", &order).expect("an answer");
    assert_eq!(status, 200, "{halt}");
    let halted = near.until("the halt", 0, "none").await;
    assert_eq!(halted["change_state"]["state"], "halted");
    let resume = format!("/v1/halts/{}/resume", halt["id"].as_str().expect("an id"));
    let (status, _) = stage.wire().post("@ada", &resume, &json!({"reason": "over"})).expect("an answer");
    assert_eq!(status, 200);
    near.until("a yes again", 1, "none").await;

    // An objective is edited: both say the new one, without a restart.
    let rules = stage.path("rules/s0.yaml");
    let text = std::fs::read_to_string(&rules).expect("readable").replace("99.9", "99.5");
    std::fs::write(&rules, text).expect("writable");
    stage.process.signal("HUP");
    for beside in [&near, &far] {
        eventually("the new objective", LIMIT, || async {
            let slo = json_of(&format!("{}/v1/slos/s0-availability", beside.url)).await?;
            (slo["objective"] == 99.5).then_some(())
        })
        .await;
    }

    // The daemon stands still with its connections open.
    let at = Instant::now();
    stage.process.hang();
    let silent = near.until("silence is noticed", -1, "source_silent").await;
    println!("unknown {:.1?} after the daemon stood still; two polls are 2 s here", at.elapsed());
    assert!(silent["age_s"].as_i64().is_some_and(|age_s| age_s > 60), "{silent}");
    let slo = json_of(&format!("{}/v1/slos/s0-availability", near.url)).await.expect("an answer");
    assert_eq!(
        (&slo["state"], &slo["series"], &slo["mirror"]["reason"]),
        (&json!("unknown"), &json!([]), &json!("source_silent"))
    );
    assert_eq!(metric(&near.url, "slowburn_safe_to_act{service=\"s0\",class=\"risk\"}").await, Some(-1.0));
    stage.process.resume();
    near.until("it goes on", 1, "none").await;

    // The way is cut, and nobody is told; what comes when it is whole again is half an event.
    cable.cut();
    far.until("the cut is noticed", -1, "source_silent").await;
    near.until("only that one", 1, "none").await;
    cable.mend();
    far.until("it finds its way back", 1, "none").await;

    // Killed and started again: another process, the same service.
    stage.process.kill();
    near.until("the end is noticed", -1, "source_unreachable").await;
    stage.restart();
    near.until("the new one is followed", 1, "none").await;

    // The service leaves the rules.
    for file in ["rules/s0.yaml", "rules/s0.policy.yaml"] {
        std::fs::remove_file(stage.path(file)).expect("it was there");
    }
    stage.process.signal("HUP");
    near.until("there is no such service", -1, "service_unknown").await;
    let rss = near.process.rss_peak_bytes();
    println!("a sidecar of this build had at most {:.1} MB", rss as f64 / 1e6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_read_again_and_without_one_nothing_is_known() {
    let stage = Stage::start(1, None, SPEED).await;
    let token = stage.path("sidecar.token");
    std::fs::write(&token, "s3cret-of-before\n").expect("writable");
    // Who asks through a proxy is not of this machine, and needs a credential to read.
    let settings = format!(
        "follow: {{url: \"{}\", service: s0, bearer_token_file: sidecar.token, headers: {{X-Forwarded-For: 192.0.2.7}}}}\n",
        stage.url()
    );
    std::fs::write(stage.path("sidecar.yaml"), settings).expect("writable");
    let config = stage.path("sidecar.yaml").display().to_string();
    let beside = Beside::start(&stage, "sidecar.log", &["--config", &config]);
    beside.until("it is refused", -1, "source_refuses").await;
    std::fs::write(&token, "token-of-robot/0\n").expect("writable");
    beside.until("the new token is taken", 1, "none").await;
    let log = beside.process.log();
    assert!(!log.contains("s3cret-of-before") && !log.contains("token-of-robot"), "{log}");
}

/// Of two daemons that take turns at one gate, the one that does not decide sends the stream on to the one that does; and when that
/// one is gone, the next one's word is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_word_is_that_of_whoever_decides_wherever_it_is_asked_for() {
    let mut stage = Stage::start(1, None, 1.0).await;
    stage.process.kill();
    let clock = Clock::scaled((T0 + 60) * 1000, 1.0);
    let mut twins = [Twin::start(&stage, "a", &clock, ""), Twin::start(&stage, "b", &clock, "")];
    let leader = leader_of(&twins, Instant::now()).await.0;
    let (asked, decides) = (format!("http://127.0.0.1:{}", twins[1 - leader].port), twins[leader].port);
    eventually("the other one knows who decides", LIMIT, || async {
        let answer = http().get(format!("{asked}/v1/signals/s0")).send().await.ok()?;
        answer.headers().contains_key("x-slowburn-leader").then_some(())
    })
    .await;
    let beside = Beside::start_at(&stage, "beside.log", &["--follow", &asked, "--service", "s0"], &clock, 1.0);
    beside.until("a yes, which only the one that decides says", 1, "none").await;
    let streams = "slowburn_http_requests_total{route=\"/v1/services/{name}/stream\",status=\"200\"}";
    assert_eq!(metric(&format!("http://127.0.0.1:{decides}"), streams).await, Some(1.0));
    twins[leader].process.kill();
    eventually("the other one decides", LIMIT, || async {
        (twins[1 - leader].leads().await == Some(true)).then_some(())
    })
    .await;
    eventually("its own word is heard", LIMIT, || async {
        let opened = metric(&beside.url, "slowburn_mirror_streams_total{outcome=\"opened\"}").await?;
        let answer = beside.signals().await?;
        let fresh = answer["mirror"]["silent_s"].as_i64()? < 10;
        (opened >= 2.0 && fresh && answer["signals"]["risk"]["value"] == 1).then_some(())
    })
    .await;
}

/// An event of `service`, at a moment of the source's clock.
fn event(service: &str, now_ms: i64, change: impl FnOnce(&mut Value)) -> String {
    let signal = json!({"value": 1, "codes": []});
    let mut state = json!({
        "version": 1, "source": {"instance": "a", "version": "0.1.0", "config_hash": "c"}, "service": service,
        "at": now_ms / 1000 - 5, "now_ms": now_ms, "poll_interval_s": 30, "heartbeat_s": 1, "gate": "decides",
        "signals": {"signals": {"mitigate": signal, "risk": signal}, "change_state": {"state": "idle"}}, "slos": [],
    });
    change(&mut state);
    format!("event: state\ndata: {state}\n\n")
}

/// A stream of these pieces; then silence, or the end.
fn stream(pieces: Vec<Bytes>, stays_open: bool) -> Response {
    let pieces = futures_util::stream::unfold((pieces.into_iter(), false), move |(mut left, more)| async move {
        if more {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match left.next() {
            Some(piece) => Some((Ok::<_, Infallible>(piece), (left, true))),
            None if stays_open => std::future::pending().await,
            None => None,
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}

/// What a source answers.
type Answer = fn() -> Response;

/// What a mirror comes to say of a source that answers like this; and whether it ever said yes.
async fn said_of(answer: Answer) -> (Option<Unknown>, bool) {
    let server = serve(Router::new().route("/v1/services/{name}/stream", get(move || async move { answer() }))).await;
    let url = format!("http://{}", server.address);
    let (mirror, mut seen) = watch::channel(Mirror::default());
    let (clock, stop) = (Clock::wall(), CancellationToken::new());
    let transport = Transport::new(&url, None, HeaderMap::new()).expect("a client");
    let source =
        Source { url, service: "s0".into(), transport, authorization: Authorization::None, clock: clock.clone() };
    let following = tokio::spawn(source.follow(mirror, stop.clone()));
    let mut believed = false;
    let why = loop {
        let changed = tokio::time::timeout(LIMIT, seen.changed()).await.expect("it comes to something");
        changed.expect("it goes on");
        match seen.borrow_and_update().standing(clock.steady_ms()) {
            Ok(_) => believed = true,
            Err(Unknown::NotHeard) => {}
            Err(why) => break Some(why),
        }
        if believed {
            break None;
        }
    };
    stop.cancel();
    following.await.expect("it ends");
    (why, believed)
}

const NOW_MS: i64 = 1_790_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lies_is_not_believed() {
    let rows: [(&str, Answer, Unknown); 12] = [
        (
            "a line without end",
            || stream(vec![Bytes::from(vec![b'x'; 64 * 1024]); EVENT_BYTES_MAX / 65_536 + 2], true),
            Unknown::TooLarge,
        ),
        ("no text", || stream(vec![b"data: \xff\n\n".as_slice().into()], true), Unknown::NotUnderstood),
        ("no JSON", || stream(vec!["event: state\ndata: {\n\n".into()], true), Unknown::NotUnderstood),
        ("another service", || stream(vec![event("s1", NOW_MS, |_| ()).into()], true), Unknown::NotUnderstood),
        (
            "never silent",
            || stream(vec![event("s0", NOW_MS, |state| state["poll_interval_s"] = 1_000_000.into()).into()], true),
            Unknown::NotUnderstood,
        ),
        (
            "another version",
            || stream(vec![event("s0", NOW_MS, |state| state["version"] = 2.into()).into()], true),
            Unknown::NotUnderstood,
        ),
        (
            "no evaluation yet",
            || stream(vec![event("s0", NOW_MS, |state| state["at"] = 0.into()).into()], true),
            Unknown::SourceStarting,
        ),
        ("a page", || "<html>".into_response(), Unknown::NotUnderstood),
        (
            "a way round",
            || (StatusCode::FOUND, [(header::LOCATION, "http://127.0.0.1:1/")]).into_response(),
            Unknown::SourceRefuses,
        ),
        ("no such service", || StatusCode::NOT_FOUND.into_response(), Unknown::ServiceUnknown),
        ("full", || StatusCode::SERVICE_UNAVAILABLE.into_response(), Unknown::SourceUnreachable),
        ("the end at once", || stream(Vec::new(), false), Unknown::SourceUnreachable),
    ];
    for (what, answer, expected) in rows {
        assert_eq!(said_of(answer).await, (Some(expected), false), "{what}");
    }
    let (why, believed) = said_of(|| stream(vec![event("s0", NOW_MS, |_| ()).into()], true)).await;
    assert_eq!((why, believed), (None, true), "and one that does not lie is");
}

/// Follows a source that says yes and then this, until `ended` of what is known.
async fn after_a_yes(then: fn() -> String, ended: fn(&Mirror) -> bool) {
    let answer = move || stream(vec![event("s0", NOW_MS, |_| ()).into(), then().into()], true);
    let server = serve(Router::new().route("/v1/services/{name}/stream", get(move || async move { answer() }))).await;
    let url = format!("http://{}", server.address);
    let (mirror, mut seen) = watch::channel(Mirror::default());
    let (clock, stop) = (Clock::wall(), CancellationToken::new());
    let transport = Transport::new(&url, None, HeaderMap::new()).expect("a client");
    let source =
        Source { url, service: "s0".into(), transport, authorization: Authorization::None, clock: clock.clone() };
    let following = tokio::spawn(source.follow(mirror, stop.clone()));
    let held = seen.wait_for(|mirror| mirror.standing(clock.steady_ms()).is_ok());
    drop(tokio::time::timeout(LIMIT, held).await.expect("in time").expect("it goes on"));
    let ended = seen.wait_for(ended);
    drop(tokio::time::timeout(LIMIT, ended).await.expect("in time").expect("it goes on"));
    stop.cancel();
    following.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lie_leaves_of_a_yes_and_what_a_late_word_does() {
    let untrue = || event("s0", NOW_MS, |state| state["signals"]["signals"]["risk"]["value"] = 7.into());
    after_a_yes(untrue, |mirror| mirror.standing(0).err() == Some(Unknown::NotUnderstood)).await;
    // Ten minutes late by its own word: the stream is given up, and the late word is not taken.
    let late = || event("s0", NOW_MS - 600_000, |state| state["at"] = (NOW_MS / 1000 - 700).into());
    after_a_yes(late, |mirror| {
        let last = mirror.last().expect("the yes");
        assert_eq!(last.state.now_ms, NOW_MS);
        mirror.standing(i64::MAX).err() == Some(Unknown::SourceSilent) && mirror.standing(last.said_ms).is_ok()
    })
    .await;
}
