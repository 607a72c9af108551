//! `GET /v1/services/{name}/stream`: everything that a sidecar repeats of one service, as server-sent events.
//!
//! An event `state` holds all of it, and comes after every evaluation and whenever a signal changes; `clock` comes between.
//! Bounded by form: one snapshot is held, a slow reader skips evaluations, an event is at most as long as a reader takes, of
//! what the gate does at most one event a second is made, and streams are counted. A stream ends after an hour, so that a
//! credential that was taken back counts; it ends when this process begins or ceases to decide, for then others are to be
//! asked.
//!
//! Deliberately absent: more than one service. What an app may act on is its own.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::view::{SloView, urgency};
use super::{Problem, Site, api, stream};
use crate::engine::{SeriesStatus, Snapshot};
use crate::gate_service::{Blocked, GateService};
use crate::mirror::wire::{EVENT_BYTES_MAX, GateStanding, ServiceState, Signals, Speaker, VERSION};

/// Longest stream.
const LASTS: Duration = Duration::from_secs(3_600);
/// Longest stream of a process that does not decide: another one that does may be there by then.
const LASTS_UNDECIDED: Duration = Duration::from_secs(30);
/// What the gate does is looked at so often at most.
const GATE_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the gate to look at an evaluation.
const VIEWED_WITHIN: Duration = Duration::from_secs(2);
/// Series of each SLO that are told of: as many as there is room for.
const SERIES_TOLD: [usize; 4] = [100, 20, 4, 1];

/// The query of the stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    version: Option<u32>,
}

/// `GET /v1/services/{name}/stream`.
pub async fn service_stream(
    State(site): State<Site>,
    Path(service): Path<String>,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let wrong = |what: String| {
        let hint = format!("This daemon speaks version {VERSION} of the stream: write ?version={VERSION}, or nothing.");
        Problem::new(StatusCode::BAD_REQUEST, what, hint)
    };
    let Query(query) = query.map_err(|rejection| wrong(rejection.body_text()))?;
    if let Some(other) = query.version.filter(|version| *version != VERSION) {
        return Err(wrong(format!("there is no version {other} of this stream")));
    }
    let info = site.app.info.borrow().clone();
    if !info.services.iter().any(|known| known.name == service) {
        let names = info.services.iter().map(|known| known.name.as_str());
        return Err(api::unknown("service", &service, names, "GET /v1/slos"));
    }
    let seat = seat(&site)?;
    let mut snapshots = site.app.snapshot.clone();
    snapshots.mark_changed();
    let gate = site.app.gate_service.clone();
    let leads = gate.as_ref().is_none_or(GateService::leads);
    let ends_at = Instant::now() + if leads { LASTS } else { LASTS_UNDECIDED };
    let (changes, viewed) = (gate.as_ref().map(GateService::follow), gate.as_ref().map(GateService::viewed));
    let telling =
        Telling { site, service, snapshots, changes, viewed, leads, ends_at, told: None, looked: None, _seat: seat };
    let events = unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    Ok(Sse::new(events).into_response())
}

/// A place among the streams of services.
pub(super) fn seat(site: &Site) -> Result<OwnedSemaphorePermit, Problem> {
    site.mirrors.clone().try_acquire_owned().map_err(|_| {
        let most = site.app.limits.max_mirrors;
        let hint = format!(
            "{most} sidecars follow this process. Point some at another replica, or ask /v1/signals now and then instead."
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "every stream of a service is taken", hint)
    })
}

/// One stream.
struct Telling {
    site: Site,
    service: String,
    snapshots: watch::Receiver<std::sync::Arc<Snapshot>>,
    /// What the gate does.
    changes: Option<watch::Receiver<u64>>,
    /// The slice that the gate has looked at.
    viewed: Option<watch::Receiver<i64>>,
    /// Whether this process decided when it began.
    leads: bool,
    ends_at: Instant,
    /// The signals that were told last.
    told: Option<(GateStanding, Option<Signals>)>,
    /// When signals were looked at last.
    looked: Option<Instant>,
    _seat: OwnedSemaphorePermit,
}

impl Telling {
    /// The next event; `None`: the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let limits = &self.site.app.limits;
            let (stop, heartbeat) = (self.site.stop.clone(), limits.heartbeat);
            let evaluated = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.ends_at) => return None,
                changed = self.snapshots.changed() => changed.ok().map(|()| true)?,
                () = stream::moved(&mut self.changes) => {
                    if let Some(looked) = self.looked {
                        tokio::time::sleep_until(looked + GATE_EVERY).await;
                    }
                    false
                }
                () = tokio::time::sleep(heartbeat) => {
                    // Signals also change because time passes: a freeze begins, a halt ends.
                    match self.signals() == self.told {
                        true => return Some(self.clock()),
                        false => false,
                    }
                }
            };
            let gate = self.site.app.gate_service.as_ref();
            if gate.is_none_or(GateService::leads) != self.leads {
                return None;
            }
            let snapshot = self.snapshots.borrow_and_update().clone();
            if let (true, Some(viewed)) = (evaluated, &mut self.viewed) {
                // An evaluation is published before the gate has looked at it; one that the gate does not look at is told all the same.
                drop(tokio::time::timeout(VIEWED_WITHIN, viewed.wait_for(|at| *at >= snapshot.at)).await);
            }
            self.looked = Some(Instant::now());
            let signals = self.signals();
            if !evaluated && signals == self.told {
                continue;
            }
            self.told = signals;
            return self.state(&snapshot);
        }
    }

    fn clock(&self) -> Event {
        #[derive(Serialize)]
        struct Sign {
            now_ms: i64,
        }
        let sign = Sign { now_ms: self.site.app.clock.now_ms() };
        Event::default().event("clock").json_data(sign).expect("a number is plain JSON")
    }

    /// What robots would be told now.
    fn signals(&self) -> Option<(GateStanding, Option<Signals>)> {
        let Some(gate) = &self.site.app.gate_service else { return Some((GateStanding::None, None)) };
        match gate.signals_of(&self.service) {
            Ok(signals) => {
                let signals = serde_json::from_value(signals).expect("signals are what they are written as");
                Some((GateStanding::Decides, Some(signals)))
            }
            Err(Blocked::Unknown(_)) => Some((GateStanding::NoPolicy, None)),
            Err(_) => Some((GateStanding::None, None)),
        }
    }

    /// Everything there is to say; `None` where the rules have no such service any more, or it does not fit into an event.
    fn state(&self, snapshot: &Snapshot) -> Option<Event> {
        let info = self.site.app.info.borrow().clone();
        if !info.services.iter().any(|known| known.name == self.service) {
            return None;
        }
        let (gate, signals) = self.told.clone().unwrap_or((GateStanding::None, None));
        let data = SERIES_TOLD.iter().find_map(|most| {
            let own = || snapshot.slos.iter().filter(|entry| entry.slo.service == self.service);
            let told: Vec<_> = own().map(|entry| worst_first(&entry.series, *most)).collect();
            let state = ServiceState {
                version: VERSION,
                source: Speaker {
                    instance: self.site.instance.clone(),
                    version: info.version.clone(),
                    config_hash: info.config_hash.clone(),
                },
                service: self.service.clone(),
                at: snapshot.at,
                now_ms: self.site.app.clock.now_ms(),
                poll_interval_s: info.poll_interval_s,
                heartbeat_s: self.site.app.limits.heartbeat.as_secs().max(1),
                gate,
                signals: signals.clone(),
                slos: own()
                    .zip(told.iter().map(|told| &**told))
                    .map(|(entry, told)| SloRow::of(SloView::of(entry), told))
                    .collect(),
            };
            let data = serde_json::to_string(&state).expect("counts, ratios and texts are JSON");
            (data.len() < EVENT_BYTES_MAX - 64).then_some(data)
        });
        if data.is_none() {
            tracing::warn!(service = self.service, "the SLOs of a service do not fit into one event of its stream");
        }
        Some(Event::default().event("state").data(data?))
    }
}

/// One SLO with the series that are told of.
#[derive(Serialize)]
struct SloRow<'a> {
    #[serde(flatten)]
    slo: SloView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    series_left_out: Option<usize>,
}

impl<'a> SloRow<'a> {
    fn of(slo: SloView<'a>, told: &'a [SeriesStatus]) -> Self {
        let left_out = slo.series.len() - told.len();
        SloRow { slo: SloView { series: told, ..slo }, series_left_out: (left_out > 0).then_some(left_out) }
    }
}

/// The worst `most` series, in the order that they had.
fn worst_first(series: &[SeriesStatus], most: usize) -> Cow<'_, [SeriesStatus]> {
    if series.len() <= most {
        return Cow::Borrowed(series);
    }
    let mut order: Vec<usize> = (0..series.len()).collect();
    let left = |n: usize| series[n].least_budget().unwrap_or(f64::INFINITY);
    order.sort_by(|a, b| {
        urgency(series[*b].state).cmp(&urgency(series[*a].state)).then(left(*a).total_cmp(&left(*b))).then(a.cmp(b))
    });
    order.truncate(most);
    order.sort_unstable();
    Cow::Owned(order.into_iter().map(|n| series[n].clone()).collect())
}

#[cfg(test)]
mod tests;
