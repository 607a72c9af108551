//! The kinds of alerts there are, and their names.

use serde::{Deserialize, Serialize};

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
    /// A permitted change made it worse. The gate raises it, not the state of a series.
    ChangeWorse,
    /// A person went past the checks of the gate. The gate raises it too.
    BreakGlass,
}

impl AlertKind {
    /// All kinds that the state of a series raises, strongest first: an earlier one inhibits the next ones it is paired with.
    pub const ALL: [AlertKind; 4] =
        [AlertKind::FastBurn, AlertKind::SlowBurn, AlertKind::Budget, AlertKind::DataMissing];

    /// The `alertname` label.
    pub fn alertname(self) -> &'static str {
        match self {
            AlertKind::FastBurn => "SLOFastBurn",
            AlertKind::SlowBurn => "SLOSlowBurn",
            AlertKind::Budget => "SLOBudget",
            AlertKind::DataMissing => "SLODataMissing",
            AlertKind::ChangeWorse => "SLOChangeWorse",
            AlertKind::BreakGlass => "SLOBreakGlass",
        }
    }

    /// The `kind` label.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::FastBurn => "fast_burn",
            AlertKind::SlowBurn => "slow_burn",
            AlertKind::Budget => "budget",
            AlertKind::DataMissing => "data_missing",
            AlertKind::ChangeWorse => "change_worse",
            AlertKind::BreakGlass => "break_glass",
        }
    }
}
