//! The alert state machine: which alerts are firing, since when, and which of them are held or inhibited.
//!
//! - One alert per (series, kind). Its identity is its label set; nothing that changes while it fires is in there,
//!   except its severity: when that changes, the old identity resolves and a new one fires.
//! - No data resolves nothing. Without fresh samples everything that fires is held as it was, and `DataMissing` is
//!   raised beside it.
//! - Fast inhibits slow, and both inhibit the budget alert, but only from being sent for the first time: an alert
//!   that has gone out goes on being sent until its own condition ends, since taking it back would read as
//!   "resolved". One that ends while inhibited leaves no trace.
//!
//! Deliberately absent: sending, and the wire forms (`notify`).

pub(super) mod kind;
mod machine;
mod text;
mod transition;

#[cfg(test)]
mod tests;

pub use kind::AlertKind;
pub use machine::{AlertMachine, DATA_MISSING_AFTER_S, RESOLVED_KEPT_S};
pub use transition::{FireReason, ResolveReason, Transition, TransitionKind};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Seconds;
use super::labels::Labels;
use super::severity::Sev;

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

impl Alert {
    /// Whether it goes out: not inhibited. Firing or resolved is `resolved_at`.
    pub fn is_sendable(&self) -> bool {
        self.inhibited_by.is_none()
    }
}
