//! The simulated Prometheus against the real one: the same samples, the same questions, the same answers.
//!
//! Everything else that runs on simulated data is worth as much as this.

mod difference;
mod question;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use serde_json::Value;
use slowburn::clock::Clock;
use slowburn::demo::fleet::fleet;
use slowburn::demo::scenarios::{all, joined};
use slowburn::demo::{Scenario, prometheus as simulated};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::harness::parts::{Generation, http};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use difference::difference;
use question::{Question, questions};

/// Where the data end.
const END: i64 = 1_700_000_000;
/// How much of the past both servers hold: the longest question reaches 12 h back.
const PAST_S: i64 = 14 * 3600;

/// The demo's fleet in the middle of its incident, and the services on which exactness is judged.
fn data() -> Scenario {
    let mut data = fleet(3, END - 3600, 600).scenario;
    data.join(joined(all(END)));
    data
}

/// Requests about series and labels; their answers are lists, compared without their order.
const LISTS: &[&str] = &[
    "/api/v1/labels",
    "/api/v1/labels?match[]=up",
    "/api/v1/label/service/values",
    "/api/v1/label/le/values?match[]=http_request_duration_seconds_bucket",
    "/api/v1/label/__name__/values",
    "/api/v1/label/nothing/values",
    "/api/v1/series?match[]=up&match[]=process_start_time_seconds{job=\"checkout\"}",
    "/api/v1/series?match[]={__name__=~\"feast.*\"}",
    "/api/v1/series",
    "/api/v1/series?match[]=up[5m]",
    "/api/v1/labels?match[]=sum(",
    "/api/v1/labels?start=yesterday",
];

async fn list(url: &str, path: &str) -> (u16, Value, Vec<String>) {
    let answer = http().get(format!("{url}{path}")).send().await.expect("an answer");
    let status = answer.status().as_u16();
    let answer: Value = answer.json().await.expect("JSON");
    let entries = answer["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut entries: Vec<String> = entries.iter().map(Value::to_string).collect();
    entries.sort();
    (status, answer["errorType"].clone(), entries)
}

async fn ask(url: &str, question: &Question) -> (u16, String) {
    let (path, form) = question.request();
    let answer = http().post(format!("{url}{path}")).form(&form).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_prometheus_answers_like_the_real_one() {
    compare(Generation::Oldest, simulated::Generation::V2_42).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_prometheus_answers_like_the_newest_real_one() {
    compare(Generation::Newest, simulated::Generation::V3_5).await;
}

async fn compare(real: Generation, generation: simulated::Generation) {
    let data = data();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("past.om");
    let mut out = BufWriter::new(File::create(&file).expect("the temporary folder can be written"));
    let samples = data.write_openmetrics(END - PAST_S, END + 1, &mut out).and_then(|n| out.flush().map(|()| n));
    assert!(samples.expect("the temporary folder can be written") > 500_000);
    println!("Prometheus {} against {}", real.version("prometheus"), generation.version());
    let past = Some(Past::File(file));
    let real = Prometheus::start(PromOptions { generation: real, past, ..Default::default() }).await;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let simulated = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
    let stop = CancellationToken::new();
    // A clock that stands at the end of the data.
    let clock = Clock::scaled(END * 1000, 0.0);
    let server = {
        let behaviour = simulated::Behaviour { generation, remote_read: true, ..Default::default() };
        let data = match generation {
            simulated::Generation::V2_42 => data,
            _ => data.with_bounds_spelled_anew(),
        };
        let data = watch::channel(Arc::new(data)).1;
        tokio::spawn(simulated::serve_as(behaviour, listener, data, clock, stop.clone()))
    };

    let questions = questions(END);
    let mut answered = 0;
    let mut differences = Vec::new();
    for question in &questions {
        let (real, simulated) = (ask(&real.url(), question).await, ask(&simulated, question).await);
        answered += usize::from(real.0 == 200 && !real.1.contains("\"result\":[]"));
        if let Some(difference) = difference((real.0, &real.1), (simulated.0, &simulated.1)) {
            differences.push(format!("{question:?}\n    {difference}"));
        }
    }
    for path in LISTS {
        let (real, simulated) = (list(&real.url(), path).await, list(&simulated, path).await);
        if real != simulated {
            differences.push(format!("{path}\n    {real:?}\n    {simulated:?}"));
        }
    }
    stop.cancel();
    server.await.expect("the simulated Prometheus ends");
    assert!(differences.is_empty(), "real and simulated differ:\n{}", differences.join("\n"));
    // A comparison of two empty answers shows nothing.
    assert!(answered * 10 > questions.len() * 8, "only {answered} of {} questions have an answer", questions.len());
}
