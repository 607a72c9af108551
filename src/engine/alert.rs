//! The alert state machine: which alerts are firing, since when, and which of them are held or inhibited.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Seconds;
use super::labels::Labels;
use super::severity::Sev;

/// What an alert is about. One alert per (series, kind).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A fast burn clause fires.
    FastBurn,
    /// A slow burn clause fires.
    SlowBurn,
    /// The budget is exhausted, or below a level that the severity mapping names.
    Budget,
    /// The SLO has no data.
    DataMissing,
}

/// One alert, firing or just resolved. Its identity is `labels`; everything that changes is elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// `alertname, service, slo, slo_id, owner, severity, sev, kind` and the series labels.
    pub labels: Labels,
    /// Free text for people: summary, description, runbook, burn rates, `data_state` while held.
    pub annotations: BTreeMap<String, String>,
    /// The SLO.
    pub slo_id: String,
    /// The series of the SLO.
    pub series: Labels,
    /// What it is about.
    pub kind: AlertKind,
    /// How bad it is.
    pub sev: Sev,
    /// Slice time at which it began to fire. Survives restarts.
    pub starts_at: Seconds,
    /// Slice time at which it ended; `None` while it fires.
    pub resolved_at: Option<Seconds>,
    /// There is no data, so its condition cannot be judged: it stays as it was.
    pub held: bool,
    /// A stronger alert of the same series that keeps it from being sent for the first time.
    pub inhibited_by: Option<AlertKind>,
}
