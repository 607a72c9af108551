//! What happens to alerts, with its reasons: one enum for the log line, the counters, the API and the record.

use serde::{Deserialize, Serialize};

use super::{Alert, AlertKind};
use crate::engine::status::DataReason;
use crate::engine::{Labels, Seconds};

/// What happened to one alert, for the log line and the counters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The alert's identity.
    pub labels: Labels,
    /// The SLO.
    pub slo_id: String,
    /// What the alert is about.
    pub kind: AlertKind,
    /// When, slice time.
    pub at: Seconds,
    /// What happened.
    pub change: TransitionKind,
}

impl Transition {
    pub(super) fn of(alert: &Alert, at: Seconds, change: TransitionKind) -> Self {
        Transition { labels: alert.labels.clone(), slo_id: alert.slo_id.clone(), kind: alert.kind, at, change }
    }
}

/// What can happen to an alert, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// It began to fire and goes out.
    Fired(FireReason),
    /// It began to fire while a stronger one did: it waits.
    Inhibited(AlertKind),
    /// The stronger one ended: it goes out now.
    Released,
    /// Its data went away: it stays as it was.
    Held(DataReason),
    /// Its data came back: it is judged again.
    Judged,
    /// It ended.
    Resolved(ResolveReason),
}

/// Why an alert began to fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FireReason {
    /// A burn clause fires.
    Burning,
    /// Nothing is left of the budget.
    BudgetSpent,
    /// Less of the budget is left than a level of the severity mapping.
    BudgetLow,
    /// There has been no data for [`super::DATA_MISSING_AFTER_S`].
    NoData,
    /// There is no data, and an alert of the series hangs on it.
    NoDataWhileFiring,
    /// It fired already, under another severity or owner.
    Relabelled,
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolveReason {
    /// Its condition ended.
    ConditionEnded,
    /// It goes on under another severity or owner.
    Relabelled,
    /// Its SLO or series is no longer configured.
    Removed,
}
