//! `slowburn witness`: remembers how far the audit logs of others have come, and signs no other history of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Args;
use tower_http::timeout::TimeoutLayer;

use super::{Exit, asked_to_stop, complain, print_out};
use crate::audit::key::PublicKey;
use crate::audit::witness::{Added, REQUEST_BYTES_MAX, SIZE_TYPE, Witness};
use crate::clock::Clock;

/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of `slowburn witness`.
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Where its key is, and what it has seen. Without that memory it does not start
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// A file of public keys of logs, one a line, as `slowburn audit key` prints them (repeatable)
    #[arg(long, value_name = "FILE", required_unless_present = "forget")]
    log: Vec<PathBuf>,
    /// Where to serve
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9596")]
    listen: SocketAddr,
    /// Its name, where it begins; default: one of its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Forget the log of this origin and end: what its people accepted has another history
    #[arg(long, value_name = "ORIGIN")]
    forget: Option<String>,
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn witness(args: WitnessArgs) -> Exit {
    let opened = logs(&args.log).and_then(|logs| Witness::open(&args.data_dir, args.name.as_deref(), logs));
    let witness = match opened {
        Ok(witness) => Arc::new(witness),
        Err(what) => {
            complain(&what);
            return Exit::Findings;
        }
    };
    if let Some(origin) = &args.forget {
        return match witness.forget(origin) {
            Ok(size) => {
                print_out(&format!("forgotten: {origin}, which it had seen at {size} records\n"));
                Exit::Ok
            }
            Err(what) => {
                complain(&what);
                Exit::Findings
            }
        };
    }
    let listener = match tokio::net::TcpListener::bind(args.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            complain(&format!("cannot listen on {}: {error}", args.listen));
            return Exit::Findings;
        }
    };
    let address = listener.local_addr().map_or(args.listen, |address| address);
    // The line of a policy of witnesses.
    print_out(&format!("witness NAME {} http://{address}\n", witness.public()));
    let router = Router::new()
        .route("/add-checkpoint", post(add))
        .route("/{origin}/checkpoint", get(checkpoint))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT))
        .with_state(witness);
    let served = axum::serve(listener, router).with_graceful_shutdown(async { asked_to_stop().await }).await;
    match served {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&error.to_string());
            Exit::Findings
        }
    }
}

fn logs(files: &[PathBuf]) -> Result<Vec<PublicKey>, String> {
    let mut keys = Vec::new();
    for file in files {
        let said = |what: String| format!("{}: {what}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| said(error.to_string()))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            keys.push(line.parse().map_err(|what| said(format!("{line:?} {what}")))?);
        }
    }
    Ok(keys)
}

async fn add(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let added = tokio::task::spawn_blocking(move || match std::str::from_utf8(&body) {
        Ok(text) => witness.add(text, Clock::wall().now().unsigned_abs()),
        Err(_) => Added::Malformed,
    });
    let said = |status: StatusCode, text: &str| (status, format!("{text}\n")).into_response();
    match added.await.unwrap_or_else(|error| Added::Unkept(error.to_string())) {
        Added::Signed(line) => (StatusCode::OK, line).into_response(),
        Added::Malformed => said(StatusCode::BAD_REQUEST, "the request is not of its form"),
        Added::Untrusted => said(StatusCode::FORBIDDEN, "no key of the log has signed it"),
        Added::Unknown => said(StatusCode::NOT_FOUND, "this log is not known here"),
        Added::Conflict(size) => {
            (StatusCode::CONFLICT, [(header::CONTENT_TYPE, SIZE_TYPE)], format!("{size}\n")).into_response()
        }
        Added::Inconsistent => said(StatusCode::UNPROCESSABLE_ENTITY, "it does not go on from what was seen"),
        Added::Unkept(why) => {
            complain(&format!("what was seen cannot be kept: {why}"));
            said(StatusCode::SERVICE_UNAVAILABLE, "it cannot be kept")
        }
    }
}

async fn checkpoint(State(witness): State<Arc<Witness>>, Path(origin): Path<String>) -> Response {
    match witness.checkpoint(&origin) {
        Some(note) => note.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
