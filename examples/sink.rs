//! A receiver of Slowburn's webhooks: it checks the signature, takes each message once, and says what it heard. The shape
//! of a message is that of Alertmanager's webhooks (version 4).
//!
//!     printf %s 'a secret' > webhook.key
//!     cargo run --example sink -- 127.0.0.1:9199 'a secret'
//!     # slowburn.yaml:  webhooks: [{url: "http://127.0.0.1:9199/", secret_file: webhook.key}]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// Ids of messages that were taken. A receiver that stays up for months would forget the oldest.
type Seen = Arc<Mutex<BTreeSet<String>>>;

#[derive(Clone)]
struct Sink {
    secret: Arc<str>,
    seen: Seen,
}

/// Whether the body was signed with our secret: HMAC-SHA256 over `id.timestamp.body`, compared in constant time.
fn is_signed(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(time), Some(signatures)) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
    else {
        return false;
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
        mac.update(part);
    }
    // There may be several, while a secret is being replaced.
    let given = signatures.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
    given.into_iter().any(|one| mac.clone().verify_slice(&one).is_ok())
}

async fn receive(State(sink): State<Sink>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !is_signed(&sink.secret, &headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(message) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    let id = headers["webhook-id"].to_str().expect("it was signed").to_owned();
    // The same id is the same message, sent again because our answer was lost, or by another replica.
    if sink.seen.lock().expect("nobody panics with it").insert(id) {
        for alert in message["alerts"].as_array().into_iter().flatten() {
            let text = |at: &str| alert.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            println!("{:<8} {} {}", text("/status"), text("/labels/alertname"), text("/annotations/summary"));
        }
    }
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9199".into());
    let secret = arguments.next().unwrap_or_else(|| "a secret".into());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    let sink = Sink { secret: secret.into(), seen: Seen::default() };
    axum::serve(listener, Router::new().route("/", post(receive)).with_state(sink)).await
}
