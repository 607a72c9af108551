//! A server with Prometheus' paths that says what the test makes up.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::parts::{self, Server};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The PromQL.
    pub query: String,
    /// The moment, or the end of the range, seconds.
    pub at_s: i64,
    /// A range query.
    pub range: bool,
}

type Says = dyn Fn(&Asked) -> Bytes + Send + Sync;

/// A running liar; it ends with the test.
pub struct Liar {
    server: Server,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Clone)]
struct Shared {
    says: Arc<Says>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Liar {
    /// One that answers queries with what `says` makes of them. It has no remote read.
    pub async fn start(says: impl Fn(&Asked) -> Bytes + Send + Sync + 'static) -> Self {
        let asked = Arc::default();
        let shared = Shared { says: Arc::new(says), asked: Arc::clone(&asked) };
        let server = parts::serve(Router::new().fallback(answer).with_state(shared)).await;
        Liar { server, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// What was asked since the last take.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().expect("not poisoned"))
    }
}

async fn answer(State(shared): State<Shared>, uri: Uri, body: Bytes) -> Response {
    let range = match uri.path() {
        "/api/v1/query" => false,
        "/api/v1/query_range" => true,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let form = format!("http://form/?{}", String::from_utf8_lossy(&body));
    let form = reqwest::Url::parse(&form).expect("a form is a query");
    let of = |name: &str| form.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let at_s = of(if range { "end" } else { "time" }).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) as i64;
    let asked = Asked { query: of("query").unwrap_or_default(), at_s, range };
    let says = (shared.says)(&asked);
    shared.asked.lock().expect("not poisoned").push(asked);
    ([(header::CONTENT_TYPE, "application/json")], says).into_response()
}

/// The answer that holds these rows, as JSON, of a result.
pub fn matrix(rows: impl IntoIterator<Item = String>) -> Bytes {
    let mut text = String::from(r#"{"status":"success","data":{"resultType":"matrix","result":["#);
    for (place, row) in rows.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&row);
    }
    text.push_str("]}}");
    text.into()
}
