//! `GET /v1/stream`: server-sent events that say *that* something changed. What changed is read from `/v1/slos`; after a
//! `gate` event from `/v1/permits/{id}`, `/v1/approvals` or `/v1/signals`: a permit that was revoked is told within it.
//!
//! Bounded by form: a watch channel holds one snapshot, so a slow reader skips evaluations instead of queueing them,
//! an event is a few hundred bytes whatever the size of the fleet, and streams are counted. A `clock` event between
//! evaluations lets a reader tell a quiet server from a dead connection and a stalled evaluation from a fresh one.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use futures_util::stream::{Stream, unfold};

use super::view::Summary;
use super::{Problem, Site};

/// `GET /v1/stream`.
pub async fn stream(State(site): State<Site>) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let slot = site.streams.clone().try_acquire_owned().map_err(|_| {
        let hint = "Poll /v1/slos instead, or close a page that is open elsewhere.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "every stream is taken", hint)
    })?;
    let mut snapshots = site.app.snapshot.clone();
    snapshots.mark_changed();
    let gate = site.app.gate_service.as_ref().map(crate::gate_service::GateService::follow);
    let events = unfold((site, snapshots, gate, slot), |(site, mut snapshots, mut gate, slot)| async move {
        let name = tokio::select! {
            biased;
            () = site.stop.cancelled() => return None,
            changed = snapshots.changed() => changed.ok().map(|()| "snapshot")?,
            () = moved(&mut gate) => "gate",
            () = tokio::time::sleep(site.app.limits.heartbeat) => "clock",
        };
        let summary =
            Summary::of(&snapshots.borrow_and_update(), site.app.clock.now(), site.app.gate_service.is_some());
        let event = Event::default().event(name).json_data(summary).expect("a summary is plain JSON");
        Some((Ok(event), (site, snapshots, gate, slot)))
    });
    Ok(Sse::new(events))
}

/// Waits until the gate has done something: decided, asked, revoked a permit, judged. For ever where there is none.
pub(super) async fn moved(gate: &mut Option<tokio::sync::watch::Receiver<u64>>) {
    let alive = match gate {
        Some(gate) => gate.changed().await.is_ok(),
        None => false,
    };
    if !alive {
        *gate = None;
        std::future::pending::<()>().await;
    }
}
