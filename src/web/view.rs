//! What the API shows of the engine's values: the JSON shapes, and nothing that the engine did not decide.
//!
//! Field names carry their unit (`_s` seconds, `_ratio` shares); times are Unix seconds; what is unknown is `null`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::engine::alert::Alert;
use crate::engine::{BurnClause, Exclusion, Seconds, SeriesStatus, SloSnapshot, SloState, Snapshot, Unit};
use crate::spec::model::Service;

/// One SLO with all its series.
#[derive(Debug, Serialize)]
pub struct SloView<'a> {
    /// `<service>-<slo>`.
    pub id: &'a str,
    /// Service name.
    pub service: &'a str,
    /// Name within the service.
    pub name: &'a str,
    /// Owning team.
    pub owner: &'a str,
    /// State of the worst series.
    pub state: SloState,
    /// Percent of good events promised.
    pub objective: f64,
    /// `1 - objective / 100`.
    pub budget_ratio: f64,
    /// What the main window is called: `30d`, `month`.
    pub window: String,
    /// Length of the main window; of a calendar one its nominal length.
    pub window_s: i64,
    /// What an event is: `events` or `slices`.
    pub unit: &'static str,
    /// The quantile by which slices are judged, where they are.
    pub quantile: Option<f64>,
    /// Labels it fans out to.
    pub by: &'a [String],
    /// Burn clauses, fast ones first.
    pub clauses: &'a [BurnClause],
    /// `runbook`, `channel`, ...
    pub annotations: &'a BTreeMap<String, String>,
    /// Spans of time that do not count, by somebody's decision, in force or taken back.
    pub exclusions: Vec<ExclusionView<'a>>,
    /// Remarks on how the numbers come about.
    pub notes: &'a [String],
    /// Every series in label order.
    pub series: &'a [SeriesStatus],
}

impl<'a> SloView<'a> {
    /// The view of one SLO.
    pub fn of(entry: &'a SloSnapshot) -> Self {
        let slo = &*entry.slo;
        let (unit, quantile) = match slo.unit {
            Unit::Events => ("events", None),
            Unit::QuantileSlices { quantile } => ("slices", Some(quantile)),
            Unit::GaugeSlices | Unit::RatioSlices => ("slices", None),
        };
        SloView {
            id: &slo.id,
            service: &slo.service,
            name: &slo.name,
            owner: &slo.owner,
            state: worst(&entry.series),
            objective: slo.objective,
            budget_ratio: slo.budget(),
            window: slo.period().label(),
            window_s: slo.window_s,
            unit,
            quantile,
            by: &slo.by,
            clauses: &slo.burn,
            annotations: &slo.annotations,
            exclusions: exclusions(entry),
            notes: &entry.notes,
            series: &entry.series,
        }
    }
}

/// One exclusion of an SLO.
#[derive(Debug, Serialize)]
pub struct ExclusionView<'a> {
    /// What does not count, who decided it and why.
    #[serde(flatten)]
    pub exclusion: &'a Exclusion,
    /// Whether the newest slice lies in it.
    pub active: bool,
}

fn exclusions(entry: &SloSnapshot) -> Vec<ExclusionView<'_>> {
    let newest = entry.series.iter().map(|series| series.at - 1).max();
    let view = |exclusion| ExclusionView {
        exclusion,
        active: newest.is_some_and(|newest| Exclusion::holds(exclusion, newest)),
    };
    entry.slo.terms.exclusions.iter().map(|exclusion| view(&**exclusion)).collect()
}

/// The state that a person has to know of first: fast burn, exhausted, slow burn, unknown, ok. Without any series
/// nothing is known.
pub fn worst(series: &[SeriesStatus]) -> SloState {
    series.iter().map(|series| series.state).max_by_key(|state| urgency(*state)).unwrap_or(SloState::Unknown)
}

/// Order in which states are shown; higher comes first.
pub fn urgency(state: SloState) -> u8 {
    match state {
        SloState::FastBurn => 4,
        SloState::Exhausted => 3,
        SloState::SlowBurn => 2,
        SloState::Unknown => 1,
        SloState::Ok => 0,
    }
}

/// One alert.
#[derive(Debug, Serialize)]
pub struct AlertView<'a> {
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// The label that alert routing uses: `critical`, `warning` or `info`.
    pub severity: &'static str,
    /// The alert.
    #[serde(flatten)]
    pub alert: &'a Alert,
}

/// Every alert of `snapshot`: firing before resolved, then the worst, then the oldest.
pub fn alerts<'a>(snapshot: &'a Snapshot) -> Vec<AlertView<'a>> {
    let view = |alert: &'a Alert| AlertView {
        status: if alert.resolved_at.is_none() { "firing" } else { "resolved" },
        severity: alert.sev.severity(),
        alert,
    };
    let mut views: Vec<_> = snapshot.alerts.iter().map(view).collect();
    views.sort_by_key(|view| (view.alert.resolved_at.is_some(), view.alert.sev, view.alert.starts_at));
    views
}

/// One service.
#[derive(Debug, Serialize)]
pub struct ServiceView<'a> {
    /// Name.
    pub name: &'a str,
    /// Owning team.
    pub owner: &'a str,
    /// `kubernetes`, ...
    pub runtime: Option<&'a str>,
    /// Where its incidents are talked about.
    pub channel: Option<&'a str>,
    /// What to do in an incident.
    pub runbook: Option<&'a str>,
    /// State of its worst SLO.
    pub state: SloState,
    /// Its SLOs in id order.
    pub slos: Vec<SloView<'a>>,
    /// Its alerts.
    pub alerts: Vec<AlertView<'a>>,
}

impl<'a> ServiceView<'a> {
    /// The view of one service.
    pub fn of(service: &'a Service, snapshot: &'a Snapshot) -> Self {
        let slos: Vec<_> =
            snapshot.slos.iter().filter(|entry| entry.slo.service == service.name).map(SloView::of).collect();
        let worst = slos.iter().map(|slo| slo.state).max_by_key(|state| urgency(*state));
        let alerts =
            alerts(snapshot).into_iter().filter(|view| view.alert.labels.get("service") == Some(&service.name));
        ServiceView {
            name: &service.name,
            owner: &service.owner,
            runtime: service.runtime.as_deref(),
            channel: service.channel.as_deref(),
            runbook: service.runbook.as_deref(),
            state: worst.unwrap_or(SloState::Unknown),
            alerts: alerts.collect(),
            slos,
        }
    }
}

/// What one evaluation comes to: the data of a stream event.
#[derive(Debug, PartialEq, Serialize)]
pub struct Summary {
    /// End of the newest evaluated slice.
    pub at: Seconds,
    /// The server's time.
    pub now: Seconds,
    /// Age of the newest evaluated slice; `null` before the first evaluation.
    pub lag_s: Option<i64>,
    /// SLOs by the state of their worst series.
    pub slos: BTreeMap<String, usize>,
    /// Alerts firing and not inhibited.
    pub alerts_firing: usize,
    /// Whether changes are decided here; where they are not there is nothing of the gate to read.
    pub decides: bool,
}

impl Summary {
    /// Sums up `snapshot` as seen at `now`.
    pub fn of(snapshot: &Snapshot, now: Seconds, decides: bool) -> Self {
        let mut slos = BTreeMap::new();
        for entry in &snapshot.slos {
            *slos.entry(Word(worst(&entry.series)).to_string()).or_default() += 1;
        }
        let firing = |alert: &&Alert| alert.resolved_at.is_none() && alert.inhibited_by.is_none();
        Summary {
            at: snapshot.at,
            now,
            lag_s: (snapshot.at > 0).then(|| now - snapshot.at),
            slos,
            alerts_firing: snapshot.alerts.iter().filter(firing).count(),
            decides,
        }
    }
}

/// The word of an enum's value, as JSON has it: one source for the API, labels and the page.
pub struct Word<T>(pub T);

impl<T: Serialize> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}
