//! `slowburn run --follow URL --service NAME`: beside a service, without a Prometheus, a file of rules or a disk.
//!
//! Deliberately absent: everything that is not needed for that. No store, no audit log, no page, and one thread.

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::wiring::StartFailure;
use super::{asked_to_stop, wiring};
use crate::app::heap;
use crate::clock::Clock;
use crate::config::{Follow, Settings};
use crate::mirror::{Mirror, Source};
use crate::outbound::Transport;
use crate::web::sidecar::{self, Sidecar};
use crate::{telemetry, web};

/// Connections to a sidecar: of its app, of a scrape, of a person who looks.
const CONNECTIONS_MAX: usize = 128;

/// Runs a sidecar until SIGTERM or Ctrl-C.
pub(super) async fn follow(settings: &Settings, follow: &Follow, clock: Clock) -> Result<(), StartFailure> {
    let config = StartFailure::Config;
    let metrics = telemetry::install_recorder().map_err(|error| StartFailure::Start(error.to_string()))?;
    let source = source(follow, clock.clone()).map_err(config)?;
    let (url, service) = (source.url.clone(), source.service.clone());
    let auth = web::auth::Authenticator::new(wiring::auth(settings).map_err(config)?, clock.clone());
    let (auth, tls) = (Arc::new(auth), wiring::tls(settings).map_err(config)?);
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| StartFailure::Start(format!("cannot listen on {}: {error}", settings.listen)))?;
    let address = listener.local_addr().map_err(|error| StartFailure::Start(error.to_string()))?;
    let stop = CancellationToken::new();
    tokio::spawn(telemetry::run_upkeep(metrics.clone(), stop.clone()));
    let stopping = stop.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        info!("stopping");
        stopping.cancel();
    });
    let (mirror, seen) = watch::channel(Mirror::default());
    let following = tokio::spawn(source.follow(mirror, stop.clone()));
    tokio::spawn(give_back_when_heard(seen.clone()));
    tokio::spawn(read_again_on_hangup(settings.clone(), Arc::clone(&auth), tls.clone()));
    let scheme = if tls.is_some() { "https" } else { "http" };
    info!(version = env!("CARGO_PKG_VERSION"), source = url, service, signals = %format!("{scheme}://{address}/v1/signals/{service}"), "slowburn runs beside a service");
    let sidecar = Sidecar {
        mirror: seen,
        service,
        source: url,
        metrics,
        clock,
        limits: web::Limits {
            max_connections: CONNECTIONS_MAX,
            max_connections_of_peer: CONNECTIONS_MAX,
            ..web::Limits::default()
        },
        auth,
        tls,
        external_url: settings.external_url.clone(),
    };
    sidecar::serve(listener, sidecar, stop).await;
    drop(following.await);
    Ok(())
}

/// How the daemon is reached that is followed.
fn source(follow: &Follow, clock: Clock) -> Result<Source, String> {
    let missing = |what: &str| format!("what is followed is not said in full: add {what}");
    let url = follow.url.clone().ok_or_else(|| missing("--follow https://HOST:9595, or follow.url to --config"))?;
    let service = follow.service.clone().ok_or_else(|| missing("--service NAME, or follow.service to --config"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &follow.headers {
        let wrong = || format!("follow.headers: no HTTP header can carry {name:?}");
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let transport = Transport::new(&url, follow.ca_file.as_deref(), headers).map_err(|why| format!("follow: {why}"))?;
    let authorization = wiring::authorization(&follow.auth).map_err(|why| format!("follow: {why}"))?;
    let source = Source { url, service, transport, authorization, clock };
    source.stream_url().map_err(|why| format!("follow.url: {why}"))?;
    Ok(source)
}

/// Beside each pod of a fleet memory counts: what the start took is given back once the first word has come.
async fn give_back_when_heard(mut seen: watch::Receiver<Mirror>) {
    if seen.wait_for(|mirror| mirror.last().is_some()).await.is_ok() {
        heap::give_back();
    }
}

/// SIGHUP: identities and the server's certificate are read again, as a daemon reads them with its rules.
async fn read_again_on_hangup(settings: Settings, auth: Arc<web::auth::Authenticator>, tls: Option<Arc<web::Tls>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        match wiring::identities(&settings, false) {
            Ok(identities) => auth.replace(identities),
            Err(unusable) => {
                auth.replace(unusable.left_of(auth.identities()));
                warn!(
                    "{}; those of before stay, but for what the file does not have any more",
                    unusable.why.trim_end()
                );
            }
        }
        if let Some(Err(why)) = tls.as_ref().map(|tls| tls.reload()) {
            warn!("{why}; the certificate of before stays in use");
        }
    }
}
