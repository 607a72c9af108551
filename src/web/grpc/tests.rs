//! Frames on a real socket: what a client may take of a connection that carries many calls, and what is no call.

use std::time::Instant;

use axum::routing::post;
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::*;
use crate::web::server::Limits;
use crate::web::server::served::{PATIENCE, SHORT, Served};

/// A server whose door lets everything through.
async fn serve(limits: Limits) -> Served {
    Served::of(Router::new().route("/integrations/ext-authz/", post(|| async { "{}" })), limits).await
}

fn short() -> Limits {
    Limits { header_timeout: SHORT, header_read_timeout: SHORT, grace: PATIENCE, ..Limits::default() }
}

/// A connection that has begun, with a window of this size.
async fn connect(served: &Served, window: u32) -> SendRequest<Bytes> {
    let stream = served.connect().await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window);
    let (send, connection) = builder.handshake::<_, Bytes>(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(async move { connection.await.ok() });
    send
}

fn call(method: &str) -> Request<()> {
    let url = format!("http://127.0.0.1/{method}");
    Request::post(url).header("content-type", "application/grpc").body(()).expect("a request")
}

/// What comes of a call whose body is `parts`: its status of HTTP, and that of gRPC from headers or trailers.
async fn answer(send: &mut SendRequest<Bytes>, request: Request<()>, parts: &[&[u8]]) -> (u16, Option<String>) {
    let answered = async {
        let mut send = send.clone().ready().await.expect("an open connection");
        let (answer, mut body) = send.send_request(request, false).expect("it is sent");
        for (n, part) in parts.iter().enumerate() {
            // An answer may be there before everything was sent.
            body.send_data(Bytes::copy_from_slice(part), n + 1 == parts.len()).ok();
        }
        let (head, mut body) = answer.await.expect("an answer").into_parts();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data.expect("data").len()).expect("it was taken");
        }
        let trailers = body.trailers().await.expect("they come or not").unwrap_or_default();
        let status = head.headers.get(&STATUS).or(trailers.get(&STATUS));
        (head.status.as_u16(), status.map(|status| status.to_str().expect("digits").to_owned()))
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("in time")
}

const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";
/// A message of nothing.
const EMPTY: &[u8] = &[0; 5];

#[tokio::test]
async fn a_call_is_one_whole_plain_message() {
    let served = serve(Limits::default()).await;
    let mut send = connect(&served, 65_535).await;
    let status = |code: i32| (200, Some(code.to_string()));
    let rows: [(&[&[u8]], i32); 9] = [
        (&[EMPTY], 0),
        (&[&EMPTY[..2], &EMPTY[2..]], 0),
        (&[b""], 3),
        (&[&EMPTY[..4]], 3),
        (&[b"\x00\x00\x00\x00\x01"], 3),
        (&[EMPTY, EMPTY], 3),
        (&[b"\x01\x00\x00\x00\x00"], 12),
        (&[b"\x07\x00\x00\x00\x00"], 3),
        (&[b"\x00\xff\xff\xff\xff"], 3),
    ];
    for (parts, code) in rows {
        assert_eq!(answer(&mut send, call(CHECK), parts).await, status(code), "{parts:?}");
    }
    for method in
        ["", "envoy.service.auth.v3.Authorization/check", "envoy.service.auth.v3.Authorization/Check/", "metrics"]
    {
        assert_eq!(answer(&mut send, call(method), &[EMPTY]).await, status(12), "{method}");
    }
    let get = Request::get(format!("http://127.0.0.1/{CHECK}")).header("content-type", "application/grpc");
    assert_eq!(answer(&mut send, get.body(()).expect("a request"), &[b""]).await, status(12));
    for kind in ["application/json", "application/grpc-web", "application/grpcx", "application/grpc+json", ""] {
        let other = Request::post(format!("http://127.0.0.1/{CHECK}")).header("content-type", kind);
        let (code, status) = answer(&mut send, other.body(()).expect("a request"), &[EMPTY]).await;
        assert_eq!((code, status), (415, None), "{kind}");
    }
    for kind in ["application/grpc+proto", "Application/gRPC; charset=x"] {
        let other = Request::post(format!("http://127.0.0.1/{CHECK}")).header("content-type", kind);
        assert_eq!(answer(&mut send, other.body(()).expect("a request"), &[EMPTY]).await, status(0), "{kind}");
    }
}

#[tokio::test]
async fn a_message_that_does_not_come_is_not_waited_for_and_one_too_long_is_a_no() {
    let served = serve(short()).await;
    let mut send = connect(&served, 65_535).await;
    let begun = Instant::now();
    let mut ready = send.clone().ready().await.expect("an open connection");
    let (slow, mut body) = ready.send_request(call(CHECK), false).expect("it is sent");
    body.send_data(Bytes::from_static(&[0, 0]), false).expect("it is sent");
    let head = tokio::time::timeout(PATIENCE, slow).await.expect("in time").expect("an answer");
    assert_eq!(head.headers().get(&STATUS).map(|code| code.as_bytes()), Some(&b"4"[..]));
    assert!(begun.elapsed() >= SHORT);
    // Its stream is of no account to others.
    assert_eq!(answer(&mut send, call(CHECK), &[EMPTY]).await, (200, Some("0".into())));
    let long = vec![0; MESSAGE_BYTES_MAX + PREFIX_BYTES + 1];
    assert_eq!(answer(&mut send, call(CHECK), &[&long]).await, (200, Some("0".into())), "it is a no in an answer");
    let without_end = vec![0; PASSED_BY_BYTES_MAX + 1];
    assert_eq!(answer(&mut send, call(CHECK), &[&without_end]).await, (200, Some("0".into())));
}

#[tokio::test]
async fn a_connection_may_be_silent_and_makes_room_for_others() {
    let served = serve(Limits { max_connections: 1, write_timeout: PATIENCE, ..short() }).await;
    let mut send = connect(&served, 65_535).await;
    // Longer than a request may take to begin, over which pings go to and fro.
    sleep(SHORT * 5).await;
    assert_eq!(answer(&mut send, call(CHECK), &[EMPTY]).await, (200, Some("0".into())));
    // One that takes no answers is not being answered for ever.
    let closed = connect(&served, 0).await;
    let mut ready = closed.ready().await.expect("an open connection");
    let (head, mut body) = ready.send_request(call(CHECK), false).expect("it is sent");
    body.send_data(Bytes::from_static(EMPTY), true).expect("it is sent");
    assert_eq!(head.await.expect("an answer").status(), 200);
    let mut next = tokio::time::timeout(PATIENCE, connect(&served, 65_535)).await.expect("room is made");
    assert_eq!(answer(&mut next, call(CHECK), &[EMPTY]).await, (200, Some("0".into())));
}

#[tokio::test]
async fn half_a_message_is_waited_for_and_makes_room() {
    let served = serve(Limits { max_connections: 1, header_timeout: PATIENCE, ..Limits::default() }).await;
    let send = connect(&served, 65_535).await;
    let mut half = Vec::new();
    for _ in 0..3 {
        let mut ready = send.clone().ready().await.expect("an open connection");
        let (head, mut body) = ready.send_request(call(CHECK), false).expect("it is sent");
        body.send_data(Bytes::from_static(&[0, 0]), false).expect("it is sent");
        half.push((head, body));
    }
    sleep(SHORT).await;
    let begun = Instant::now();
    let mut next = connect(&served, 65_535).await;
    assert_eq!(answer(&mut next, call(CHECK), &[EMPTY]).await, (200, Some("0".into())));
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn what_only_begins_like_http2_is_not_and_nobody_silent_is_waited_for_at_the_end() {
    let served = serve(Limits { grace: PATIENCE, ..Limits::default() }).await;
    for wrong in [&b"PRI * HTTP/1.1\r\nhost: a\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PR"] {
        let mut stream = TcpStream::connect(served.at).await.expect("the port is open");
        stream.write_all(wrong).await.expect("it is sent");
        stream.shutdown().await.expect("it is open");
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it is closed").ok();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // Byte by byte, a POST is still one.
    let mut stream = TcpStream::connect(served.at).await.expect("the port is open");
    for byte in b"POST /integrations/ext-authz/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.expect("it is sent");
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_silent, begun) = (TcpStream::connect(served.at).await.expect("the port is open"), Instant::now());
    let _idle = connect(&served, 65_535).await;
    sleep(SHORT).await;
    served.stop.cancel();
    tokio::time::timeout(PATIENCE, served.task).await.expect("in time").expect("no panic");
    assert!(begun.elapsed() < PATIENCE / 2, "it ends without waiting for them");
}

#[test]
fn a_text_is_escaped_as_headers_need_it() {
    assert_eq!(escaped("50% is ü\r\n"), "50%25 is %C3%BC%0D%0A");
}
