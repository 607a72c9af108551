//! `POST /-/reload`: asks the owner of the rules to load them again and says what came of it. Where identities are
//! configured it needs a person or a pipeline, wherever it comes from; else it has to come from this machine.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::json::Json;
use super::tls::PeerNames;
use super::{Problem, Site, guard};
use crate::gate::{ActorClass, Right};

/// A request to load the rules again, with where the answer goes.
#[derive(Debug)]
pub struct Reload {
    /// What is in force now, or every problem that kept the old rules in force.
    pub answer: oneshot::Sender<Result<Reloaded, Vec<String>>>,
    /// Who asks: the name of an identity, or what stands for whoever may send the process a signal.
    pub by: String,
}

/// The rules that came into force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reloaded {
    /// Services.
    pub services: usize,
    /// SLOs.
    pub slos: usize,
    /// Digest of everything loaded.
    pub config_hash: String,
}

/// `POST /-/reload`. The body is read (bounded) and ignored.
pub async fn reload(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    names: Option<Extension<PeerNames>>,
    headers: HeaderMap,
    _body: Bytes,
) -> Result<Response, Response> {
    let by = if site.app.auth.knows_anybody() {
        let names = names.as_ref().map(|Extension(names)| names);
        let principal = site.app.auth.principal_of_page(&headers, names).await.map_err(IntoResponse::into_response)?;
        if principal.class == ActorClass::Robot || !principal.has(Right::Reload) {
            let hint =
                "People and pipelines with the right `reload` load rules; a robot does not change what it is held to.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "you load no rules", hint).into_response());
        }
        principal.sub
    } else {
        guard::of_this_machine(peer, &headers).map_err(IntoResponse::into_response)?;
        "local".to_owned()
    };
    reload_rules(&site, by).await.map_err(IntoResponse::into_response)
}

async fn reload_rules(site: &Site, by: String) -> Result<Response, Problem> {
    let unavailable = |error: &str, hint: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error, hint);
    let Some(owner) = &site.app.reload else {
        let hint = "Start it with `slowburn run --rules DIR` to load rules from files.";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "this process has no rules to reload", hint));
    };
    let (answer, answered) = oneshot::channel();
    owner.try_send(Reload { answer, by }).map_err(|refused| match refused {
        TrySendError::Full(_) => unavailable("a reload is already under way", "Wait for it, then ask again."),
        TrySendError::Closed(_) => unavailable("the server is stopping", "Ask again when it is back."),
    })?;
    match answered.await {
        Ok(Ok(reloaded)) => Ok(Json(&reloaded).into_response()),
        Ok(Err(problems)) => Err(Problem {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            error: format!("{} problems in the rules; the previous ones stay in force", problems.len()),
            hint: "Correct them (`slowburn check` shows each with its line), then reload again.".to_owned(),
            problems,
        }),
        Err(_) => Err(unavailable("the reload was given up", "See the log, then ask again.")),
    }
}
