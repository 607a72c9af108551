//! Every limit, met on a real socket.

use std::time::{Duration, Instant};

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::served::{PATIENCE, SHORT, Served};
use super::*;
use crate::web::layered;

/// A server whose handlers can be slow, panic or read a body.
async fn serve_with(limits: Limits) -> Served {
    let routes = Router::new()
        .route("/", get(|| async { "here\n" }))
        .route(
            "/slow",
            get(|| async {
                sleep(SHORT * 2).await;
                "late\n"
            }),
        )
        .route("/large", get(|| async { "x".repeat(64 << 20) }))
        .route("/endless", get(|| async { Body::from_stream(futures_util::stream::repeat_with(piece)) }))
        .route("/hang", get(std::future::pending::<()>))
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("on purpose")
                }
            }),
        )
        .route("/body", post(|body: bytes::Bytes| async move { body.len().to_string() }));
    Served::of(layered(routes, &limits), limits).await
}

impl Served {
    /// Sends `request` and reads until the server closes.
    async fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may answer and close before it has read everything.
        stream.write_all(request).await.ok();
        read_to_close(&mut stream).await
    }
}

async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match timeout(PATIENCE, stream.read(&mut part)).await.expect("the server closes in the end") {
            Ok(0) | Err(_) => return String::from_utf8(answer).expect("answers are text"),
            Ok(n) => answer.extend_from_slice(&part[..n]),
        }
    }
}

/// Reads until `end` has come in.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    let mut part = [0; 4096];
    while !answer.contains(end) {
        let n = timeout(PATIENCE, stream.read(&mut part)).await.expect("an answer").expect("an open connection");
        assert_ne!(n, 0, "closed after {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&part[..n]));
    }
    answer
}

fn short() -> Limits {
    Limits {
        header_timeout: SHORT,
        header_read_timeout: SHORT,
        request_timeout: SHORT,
        grace: SHORT,
        ..Limits::default()
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let served = serve_with(short()).await;
    let begin = Instant::now();
    assert_eq!(read_to_close(&mut served.connect().await).await, "");
    assert!(begin.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_header_that_dribbles_is_closed() {
    let served = serve_with(short()).await;
    let (mut reads, mut writes) = served.connect().await.into_split();
    let dribble = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ".iter().chain([b'x'; 4000].iter()) {
            if writes.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("the server read all of it");
    });
    let mut answer = Vec::new();
    timeout(PATIENCE, reads.read_to_end(&mut answer)).await.expect("the server closes").ok();
    drop(reads);
    timeout(PATIENCE, dribble).await.expect("writing ends").expect("before everything was read");
}

#[tokio::test]
async fn an_idle_connection_serves_again_until_the_header_time_is_over() {
    let served = serve_with(short()).await;
    let mut stream = served.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("still open");
        read_until(&mut stream, "here").await;
        sleep(SHORT / 4).await;
    }
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn seventy_headers_are_431_and_sixty_are_fine() {
    let served = serve_with(Limits::default()).await;
    let with = |headers: usize| {
        let lines: String = (0..headers).map(|i| format!("x-{i}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n").into_bytes()
    };
    assert!(served.ask(&with(70)).await.starts_with("HTTP/1.1 431 "));
    assert!(served.ask(&with(60)).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_header_of_20_kb_is_431() {
    let served = serve_with(Limits::default()).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    assert!(served.ask(long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn a_body_of_100_kb_is_413_announced_or_not() {
    let served = serve_with(Limits::default()).await;
    let head = "POST /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let announced = format!("{head}Content-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let answer = served.ask(announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"hint\":\"Send a smaller body"), "{answer}");

    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000)).repeat(6);
    let answer = served.ask(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let small = format!("{head}Content-Length: 60000\r\n\r\n{}", "x".repeat(60_000));
    assert!(served.ask(small.as_bytes()).await.ends_with("\r\n\r\n60000"));
}

#[tokio::test]
async fn a_slow_handler_and_a_slow_body_are_408() {
    let served = serve_with(short()).await;
    let answer = served.ask(b"GET /hang HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"error\":\"GET /hang: request timeout\""),
        "{answer}"
    );
    let answer =
        served.ask(b"POST /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\nxx").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn an_answer_that_is_not_read_does_not_hold_its_connection() {
    let served = serve_with(Limits { write_timeout: SHORT, max_connections: 1, ..Limits::default() }).await;
    let mut deaf = served.connect().await;
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    // The only slot is free again although the client neither reads nor closes.
    assert!(served.ask(GET).await.ends_with("here\n"));
    drop(deaf);
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_arrives_whole() {
    let served = serve_with(Limits { write_timeout: SHORT, ..Limits::default() }).await;
    let mut slow = served.connect().await;
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("open");
    let (mut part, mut length, begin) = (vec![0; 4 << 20], 0, Instant::now());
    loop {
        match timeout(PATIENCE, slow.read(&mut part)).await.expect("it goes on").expect("it is not cut off") {
            0 => break,
            n => length += n,
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(length > 64 << 20 && begin.elapsed() > SHORT, "{length} bytes in {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_served() {
    let served = serve_with(Limits::default()).await;
    let answer = served.ask(b"GET /panic HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("its log has the details"), "{answer}");
    assert!(!answer.contains("on purpose"), "what went wrong inside stays inside: {answer}");
    assert!(served.ask(GET).await.ends_with("here\n"));
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_while_all_others_are_answered() {
    let served = serve_with(Limits { max_connections: 2, ..Limits::default() }).await;
    let mut held = [served.connect().await, served.connect().await];
    for stream in &mut held {
        stream.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    }
    sleep(SHORT).await;
    let mut third = served.connect().await;
    third.write_all(GET).await.expect("the kernel accepts it");
    let mut byte = [0];
    assert!(timeout(SHORT, third.read(&mut byte)).await.is_err(), "answered over the cap");
    let [first, _second] = held;
    drop(first);
    assert!(read_until(&mut third, "here\n").await.starts_with("HTTP/1.1 200 "));
}

/// 600 connections that sent half a header, twice as many as one address may have: whoever comes is answered at once.
#[tokio::test]
async fn half_sent_headers_keep_nobody_out() {
    let served = serve_with(Limits::default()).await;
    let mut held = Vec::new();
    for _ in 0..600 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: ").await.ok();
        held.push(stream);
    }
    is_answered(&served).await;
    drop(held);
}

/// Asks for the page again and again; each answer is there at once.
async fn is_answered(served: &Served) {
    for _ in 0..20 {
        let answer = timeout(Duration::from_secs(5), served.ask(GET)).await.expect("an answer at once");
        assert!(answer.ends_with("here\n"), "{answer}");
    }
}

/// The same with bodies: whoever has not sent its request yet holds a place that others need.
#[tokio::test]
async fn half_sent_bodies_keep_nobody_out() {
    let served = serve_with(Limits::default()).await;
    let mut held = Vec::new();
    for n in 0..600 {
        let mut stream = served.connect().await;
        let length = if n % 2 == 0 { "content-length: 9" } else { "transfer-encoding: chunked" };
        let half = format!("POST /body HTTP/1.1\r\nhost: a\r\n{length}\r\n\r\n4");
        stream.write_all(half.as_bytes()).await.ok();
        held.push(stream);
    }
    is_answered(&served).await;
}

#[tokio::test]
async fn bodies_that_dribble_keep_nobody_out() {
    let served = serve_with(Limits { max_connections_of_peer: 8, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = served.connect().await;
        stream.write_all(b"POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n").await.ok();
        held.push(tokio::spawn(async move {
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    sleep(SHORT).await;
    is_answered(&served).await;
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A piece of an answer that is made as it is sent.
fn piece() -> std::io::Result<bytes::Bytes> {
    Ok(bytes::Bytes::from_static(&[b'x'; 65_536]))
}

#[tokio::test]
async fn answers_that_nobody_reads_keep_nobody_out() {
    let served = serve_with(Limits { max_connections_of_peer: 4, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
        held.push(stream);
    }
    sleep(SHORT).await;
    is_answered(&served).await;
}

/// Where there is room a slow client is waited for, with a body that comes in pieces and an answer that it takes in pieces.
#[tokio::test]
async fn a_body_that_comes_in_pieces_is_taken_while_there_is_room() {
    let served = serve_with(Limits { max_connections_of_peer: 2, ..Limits::default() }).await;
    let mut stream = served.connect().await;
    stream.write_all(b"POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await.expect("open");
    for _ in 0..5 {
        assert!(served.ask(GET).await.ends_with("here\n"));
        sleep(SHORT / 4).await;
        stream.write_all(b"x").await.expect("open");
    }
    assert!(read_until(&mut stream, "\r\n\r\n5").await.starts_with("HTTP/1.1 200 "));
}

/// The time for a header runs from its first byte; a connection that idles after an answer is not held to it.
#[tokio::test]
async fn a_header_that_has_begun_has_less_time_than_an_idle_connection() {
    let served = serve_with(Limits { header_timeout: SHORT, ..Limits::default() }).await;
    assert_eq!(read_to_close(&mut served.connect().await).await, "", "nothing was ever sent");
    let mut stream = served.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
        read_until(&mut stream, "here\n").await;
        sleep(SHORT * 2).await;
    }
    stream.write_all(b"GET / HT").await.expect("it idles and is open");
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn a_request_in_flight_finishes_when_the_server_stops_and_no_new_one_is_taken() {
    let served = serve_with(Limits::default()).await;
    let mut stream = served.connect().await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    read_until(&mut idle, "here").await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    sleep(SHORT / 2).await;
    served.stop.cancel();
    assert!(read_until(&mut stream, "late\n").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(read_to_close(&mut idle).await, "", "an idle connection is closed");
    timeout(PATIENCE, served.task).await.expect("it drains").expect("without a panic");
    assert!(TcpStream::connect(served.at).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn what_does_not_finish_within_the_grace_period_is_cut_off() {
    let served = serve_with(Limits { grace: SHORT, ..Limits::default() }).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("open");
    sleep(SHORT / 2).await;
    served.stop.cancel();
    timeout(PATIENCE, served.task).await.expect("the grace period ends").expect("without a panic");
    assert_eq!(read_to_close(&mut stream).await, "");
}
