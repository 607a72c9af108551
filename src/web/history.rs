//! `GET /v1/slos/{id}/history`: a series over a range of time, with what else happened laid beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::api::{apart, unknown};
use super::json::Json;
use super::{Problem, Site};
use crate::engine::history::{History, Range, history};
use crate::engine::status::DataReason;
use crate::engine::{Alert, Labels, Seconds, SeriesLedger, SeriesStatus, Slo, SloSnapshot, Snapshot};
use crate::gate::observed::Change;
use crate::gate::verdict::Verdict;
use crate::gate_service::past::PastOf;
use crate::spec::TimeSpan;

/// Length of a range whose start is not named, seconds.
pub const LENGTH_DEFAULT_S: i64 = 6 * 3600;
/// Points of a range whose step is not named, about.
const POINTS_DEFAULT: i64 = 240;
/// Steps that are chosen where none is named, seconds: those that the ledger keeps, and what people read easily.
const STEPS_S: [i64; 9] = [30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 24 * 3600];

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
    series: Option<String>,
    /// Colours of the picture.
    dark: Option<bool>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    /// The SLO.
    pub slo: &'a str,
    /// Labels of the series; none of an SLO without `by`, and of the rollup of one with it.
    pub series: &'a Labels,
    /// What is good, percent.
    pub objective: f64,
    /// `1 - objective / 100`.
    pub budget_ratio: f64,
    /// Its points.
    #[serde(flatten)]
    pub history: &'a History,
    /// What happened meanwhile, in the order of time.
    pub marks: &'a [Mark],
}

impl<'a> Shown<'a> {
    /// A history of `slo` with its marks.
    pub fn of(slo: &'a Slo, series: &'a Labels, history: &'a History, marks: &'a [Mark]) -> Self {
        Shown { slo: &slo.id, series, objective: slo.objective, budget_ratio: slo.budget(), history, marks }
    }
}

/// Something that happened, on the axis of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// When it began.
    pub at: Seconds,
    /// When it ended, where it lasts and has.
    pub to: Option<Seconds>,
    /// What it is.
    pub kind: MarkKind,
    /// In words.
    pub text: String,
}

/// What a mark stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A change of the service was seen or posted.
    Change,
    /// An alert fired.
    Alert,
    /// A span does not count.
    Exclusion,
    /// The budget began anew by somebody's decision.
    Reset,
    /// An act was judged.
    Verdict,
}

/// `GET /v1/slos/{id}/history`.
pub(super) async fn slo_history(
    State(site): State<Site>,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let (found, _) = look(&site, &id, wanted).await?;
    let show = move || found.shown(|shown| Json(shown).into_response());
    told(&site, show).await
}

/// `GET /v1/slos/{id}/history.svg`: the same as a picture.
pub(super) async fn slo_curve(
    State(site): State<Site>,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let (found, wanted) = look(&site, &id, wanted).await?;
    let dark = wanted.dark.unwrap_or(false);
    let name = format!("{id}{}", if found.labels.is_empty() { String::new() } else { found.labels.to_string() });
    let show = move || found.shown(|shown| chart::svg(&name, shown.history, shown.marks, dark));
    told(&site, move || ([(header::CONTENT_TYPE, "image/svg+xml")], show()).into_response()).await
}

/// Some at a time, and off the threads that drive polls.
async fn told(site: &Site, make: impl FnOnce() -> Response + Send + 'static) -> Result<Response, Problem> {
    let turn = Arc::clone(&site.histories).acquire_owned().await;
    // Its turn lasts until it is made, although whoever asked may have gone.
    let made = apart(move || {
        let made = make();
        drop(turn);
        made
    });
    Ok(made.await)
}

/// What an answer is made from.
struct Found {
    slo: Arc<Slo>,
    labels: Labels,
    series: SeriesLedger,
    range: Range,
    filling: bool,
    snapshot: Arc<Snapshot>,
    past: PastOf,
}

impl Found {
    fn shown<T>(&self, show: impl FnOnce(&Shown<'_>) -> T) -> T {
        let history = history(&self.slo, &self.series, &self.labels, self.range, self.filling);
        let span = (history.from, history.to);
        let marks = marks(&self.slo, &self.labels, &self.snapshot.alerts, &self.past, span);
        show(&Shown::of(&self.slo, &self.labels, &history, &marks))
    }
}

async fn look(
    site: &Site,
    id: &str,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<(Found, Wanted), Problem> {
    let Query(wanted) = wanted.map_err(|rejection| bad(rejection.body_text()))?;
    let snapshot = site.snapshot();
    let Some(entry) = snapshot.slo(id) else {
        return Err(unknown("SLO", id, snapshot.slos.iter().map(|entry| entry.slo.id.as_str()), "GET /v1/slos"));
    };
    let status = status_of(entry, wanted.series.as_deref())?;
    let (labels, filling) = (status.labels.clone(), status.data.reason == DataReason::Filling);
    let Some(reader) = &site.app.ledger else {
        let hint = "`slowburn eval --history SLO --prometheus-url URL --rules DIR` says it without a daemon.";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "this process shows no history", hint));
    };
    let series = reader.series(id, &labels).await.map_err(|_| {
        let hint = "Ask again in a few seconds.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many read the ledger at this moment", hint)
    })?;
    let slo = Arc::clone(&entry.slo);
    let Some(series) = series else {
        let hint = "It has no data yet: `data` of the series at GET /v1/slos/{id} says why.";
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("nothing was ever read of {id}{labels}"), hint));
    };
    let range = wanted.range(snapshot.at, series.slice_s())?;
    let past = site.app.gate_service.as_ref().map(|gate| gate.past_of(&slo.service)).unwrap_or_default();
    Ok((Found { slo, labels, series, range, filling, snapshot, past }, wanted))
}

fn bad(error: String) -> Problem {
    let hint = "?from=2026-11-01T12:00:00Z&to=1793534400&step=5m: RFC 3339 or Unix seconds; a fan-out takes \
                series={\"model\":\"m\"} as JSON. Without them: the last six hours, of the rollup.";
    Problem::new(StatusCode::BAD_REQUEST, error, hint)
}

/// The series that is asked for: of several the rollup where none is named.
fn status_of<'a>(entry: &'a SloSnapshot, wanted: Option<&str>) -> Result<&'a SeriesStatus, Problem> {
    let labels: Labels = match wanted {
        None => match &*entry.series {
            [only] => return Ok(only),
            _ => Labels::new(),
        },
        Some(text) => serde_json::from_str(text)
            .map_err(|error| bad(format!("series is no object of label names and values: {error}")))?,
    };
    entry.series.iter().find(|status| status.labels == labels).ok_or_else(|| {
        let known: Vec<String> = entry.series.iter().map(|status| status.labels.to_string()).collect();
        unknown("series", &labels.to_string(), known.iter().map(String::as_str), "GET /v1/slos/{id}")
    })
}

impl Wanted {
    /// The range, which ends at `newest` at the latest.
    fn range(&self, newest: Seconds, slice_s: i64) -> Result<Range, Problem> {
        let at = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => moment(text).map(Some).ok_or_else(|| bad(format!("{name}={text} is no moment"))),
        };
        let to = at("to", &self.to)?.unwrap_or(newest).min(newest);
        let from = at("from", &self.from)?.unwrap_or(to - LENGTH_DEFAULT_S);
        let step_s = match &self.step {
            Some(text) => TimeSpan::parse(text).map_err(|fault| bad(format!("step: {}", fault.what)))?.seconds(),
            None => step_for(to.saturating_sub(from)),
        };
        Range::new(from, to, step_s, slice_s).map_err(|fault| bad(fault.to_string()))
    }
}

/// A step that makes some hundred points of a range.
pub fn step_for(length_s: i64) -> i64 {
    let fits = |step_s: &&i64| length_s <= **step_s * POINTS_DEFAULT;
    STEPS_S.iter().find(fits).copied().unwrap_or(STEPS_S[STEPS_S.len() - 1])
}

/// A moment as people write it: RFC 3339 or Unix seconds.
pub fn moment(text: &str) -> Option<Seconds> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e11).contains(&seconds) => Some(seconds as i64),
        Ok(_) => None,
        Err(_) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second),
    }
}

/// What happened to a series within `[from, to)`: what the gate remembers of its service, and what its rules and alerts say.
pub fn marks(slo: &Slo, labels: &Labels, alerts: &[Alert], past: &PastOf, (from, to): (Seconds, Seconds)) -> Vec<Mark> {
    let terms = &slo.terms;
    let in_force = terms.exclusions.iter().filter(|one| one.withdrawn.is_none() && one.matches(labels));
    let excluded = in_force.flat_map(|one| {
        let text = format!("{} does not count: {} ({})", one.name, one.reason, one.author);
        let spans = one.span.within(from, to);
        spans.map(move |(at, to)| Mark { at, to: Some(to), kind: MarkKind::Exclusion, text: text.clone() })
    });
    let holds = |when: &BTreeMap<String, String>| when.iter().all(|(name, value)| labels.get(name) == Some(value));
    let resets = terms.resets.iter().filter(|reset| holds(&reset.when)).map(|reset| Mark {
        at: reset.at,
        to: None,
        kind: MarkKind::Reset,
        text: format!("the budget begins anew: {} ({})", reset.reason, reset.author),
    });
    let own = |alert: &&Alert| alert.slo_id == slo.id && alert.series == *labels && alert.is_sendable();
    let alerts = alerts.iter().filter(own).map(|alert| Mark {
        at: alert.starts_at,
        to: alert.resolved_at,
        kind: MarkKind::Alert,
        text: format!("{} {}", alert.sev, alert.kind.alertname()),
    });
    let all = excluded
        .chain(resets)
        .chain(alerts)
        .chain(past.changes.iter().map(of_change))
        .chain(past.verdicts.iter().map(of_verdict));
    let mut marks: Vec<Mark> = all.filter(|mark| mark.at < to && mark.to.unwrap_or(mark.at) >= from).collect();
    marks.sort_by(|a, b| (a.at, a.kind, &a.text).cmp(&(b.at, b.kind, &b.text)));
    marks
}

fn of_change(change: &Change) -> Mark {
    let version = match (&change.from_version, &change.version) {
        (Some(from), Some(to)) => format!(" {from} -> {to}"),
        (None, Some(to)) => format!(" -> {to}"),
        _ => String::new(),
    };
    let by = change.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    Mark { at: change.at, to: None, kind: MarkKind::Change, text: format!("{}{version}{by}", change.resource) }
}

fn of_verdict(verdict: &Verdict) -> Mark {
    let text = format!("{} by {}: {}", verdict.action.as_str(), verdict.actor, verdict.outcome.as_str());
    Mark { at: verdict.at, to: None, kind: MarkKind::Verdict, text }
}

mod chart;
#[cfg(test)]
mod tests;
