//! An HTTP server that answers as told and hands over everything it got: a webhook receiver, or a feigned peer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc;

use super::parts::{self, Server};

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Delivery {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("an ASCII header"))
    }
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status and body.
    Status(u16, String),
    /// This status with a header, `retry-after` or `location` for example.
    Header(u16, &'static str, String),
    /// This status, half a body, and the connection closed.
    CutBody(u16),
    /// Nothing, ever.
    Stall,
}

impl Answer {
    pub fn ok() -> Self {
        Answer::Status(200, String::new())
    }
}

/// The server. Answers in the order they were queued, and 200 when none is left.
#[derive(Debug)]
pub struct TestReceiver {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    server: Server,
}

#[derive(Clone)]
struct Desk {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    deliveries: mpsc::UnboundedSender<Delivery>,
}

impl TestReceiver {
    pub async fn start() -> Self {
        let (deliver, deliveries) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let desk = Desk { answers: Arc::clone(&answers), deliveries: deliver };
        let app = Router::new().fallback(take).with_state(desk);
        let server = parts::serve(app).await;
        TestReceiver { answers, deliveries, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Queues answers to the next requests.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().expect("not poisoned").extend(answers);
    }

    /// The next request.
    ///
    /// # Panics
    /// When none comes within ten seconds.
    pub async fn next(&mut self) -> Delivery {
        self.next_within(Duration::from_secs(10)).await.expect("a request within ten seconds")
    }

    /// The next request, if one comes in time.
    pub async fn next_within(&mut self, limit: Duration) -> Option<Delivery> {
        let next = tokio::time::timeout(limit, self.deliveries.recv()).await.ok()?;
        Some(next.expect("the server outlives its receiver"))
    }
}

async fn take(State(desk): State<Desk>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let answer = desk.answers.lock().expect("not poisoned").pop_front().unwrap_or_else(Answer::ok);
    let _ = desk.deliveries.send(Delivery { method, uri, headers, body, at: Instant::now() });
    let response = |status: u16| Response::builder().status(StatusCode::from_u16(status).expect("a status"));
    match answer {
        Answer::Status(status, body) => response(status).body(Body::from(body)),
        Answer::Header(status, name, value) => response(status).header(name, value).body(Body::empty()),
        Answer::CutBody(status) => response(status).header(header::CONTENT_LENGTH, 100).body(cut_body("half of it")),
        Answer::Stall => std::future::pending().await,
    }
    .expect("these parts make a response")
}

/// A body that ends with an error after `text`: the server closes the connection without the rest.
pub fn cut_body(text: impl Into<Bytes>) -> Body {
    let cut = async {
        // An error at once would drop what is still in the server's buffer, status line included.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "cut on purpose"))
    };
    Body::from_stream(stream::iter([Ok(text.into())]).chain(stream::once(cut)))
}
