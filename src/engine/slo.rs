//! What an SLO promises, resolved: objective, window, burn clauses and severities as plain numbers.
//!
//! Where its events come from is not here: that is `spec::SliSource`, and the engine never sees PromQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::kind::AlertKind;
use super::period::{Period, Terms};
use super::severity::SeverityRule;

/// What one "event" of an SLO is, and so which counts of the ledger its ratios are made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Each event counts: `bad` events of `total` events.
    Events,
    /// Each slice counts: a slice is bad when over `1 - quantile` of its events are bad (slow). With fewer than
    /// `1/(1-quantile)` events it is judged on the shortest trailing span that has them, 1 h at most, else it is idle.
    QuantileSlices {
        /// 0.95 for p95; in (0, 1).
        quantile: f64,
    },
    /// Each slice is one event (a gauge compared with its bound), bad when one of the values in it is: `bad` of `total`
    /// slices.
    GaugeSlices,
    /// Each slice is one event, of which a share is bad: all that a query of ratios tells. The ledger counts millionths
    /// of slices ([`RATIO_SCALE`]), and the chance guard is off, for nobody knows how many events are behind a share.
    RatioSlices,
}

/// What one whole slice of [`Unit::RatioSlices`] counts for in the ledger.
pub const RATIO_SCALE: u64 = 1_000_000;

impl Unit {
    /// The largest share of bad events in a good span, millionths; 0 where spans are not judged.
    pub(crate) fn share(self) -> u64 {
        match self {
            Unit::QuantileSlices { quantile } => (((1.0 - quantile) * 1e6).round() as u64).clamp(1, 1_000_000),
            Unit::Events | Unit::GaugeSlices | Unit::RatioSlices => 0,
        }
    }

    /// How many events a span is judged on at least: 20 for p95, and 1 where spans are not judged.
    pub fn judged_on(self) -> u64 {
        match self.share() {
            0 => 1,
            share => 1_000_000_u64.div_ceil(share),
        }
    }

    /// What one event counts for in the ledger.
    pub fn scale(self) -> u64 {
        if self == Unit::RatioSlices { RATIO_SCALE } else { 1 }
    }
}

/// How urgent a burn clause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// Pages somebody.
    Fast,
    /// Opens a ticket.
    Slow,
}

/// How unlikely by chance a burn must be, in 0..=0.5. Where events are few a smaller number is fewer false alarms and more
/// that is missed; `docs/numbers.md` has the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Of fast clauses.
    pub page: f64,
    /// Of slow ones: a false ticket costs less than a missed leak.
    pub ticket: f64,
}

impl Confidence {
    /// That of a clause of this speed.
    pub fn of(self, speed: Speed) -> f64 {
        match speed {
            Speed::Fast => self.page,
            Speed::Slow => self.ticket,
        }
    }
}

/// Whose share of bad events makes a burn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weigh {
    /// The rate that a user meets: bad of all in the window.
    #[default]
    Rate,
    /// The share of the budget that goes: bad of what the window would have at the mean traffic of the SLO's own window.
    /// The quiet hours of a day count little then, and the busy ones more.
    Budget,
}

/// One multi-window burn-rate condition (SRE Workbook, ch. 5): fires while both windows burn faster than `factor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BurnClause {
    /// Page or ticket.
    pub speed: Speed,
    /// Long window, seconds.
    pub long_s: i64,
    /// Short window, seconds; `long_s / 12` unless the user says otherwise.
    pub short_s: i64,
    /// Burn-rate factor, > 0. 1.0 spends the whole budget in exactly one SLO window.
    pub factor: f64,
    /// The clause as the user wrote it, e.g. `1h/5m > 14.4x`.
    pub text: Arc<str>,
}

/// What alerts of one kind carry beside what all alerts of the SLO do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertExtras {
    /// `alertname`, where it is not that of the kind.
    pub name: Option<String>,
    /// Labels; `severity` among them is said instead of the word for the SEV.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The one entry of `by` that stands for all labels of a query's answer: each label set of it is a child.
pub const EVERY_LABEL: &str = "*";

/// A resolved SLO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// `<service>-<slo>`, e.g. `checkout-latency-p95`.
    pub id: String,
    /// Service name.
    pub service: String,
    /// Name within the service, e.g. `latency-p95`.
    pub name: String,
    /// Owning team.
    pub owner: String,
    /// Percent of good events, in (0, 100).
    pub objective: f64,
    /// Length of the main window, seconds: of a calendar one its nominal length.
    pub window_s: i64,
    /// Calendar windows, several windows, budget resets: nothing of it where the budget is that of one rolling window.
    #[serde(default)]
    pub terms: Terms,
    /// What an event is.
    pub unit: Unit,
    /// Length of its slices, seconds, where it has one of its own: a multiple of the daemon's resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution_s: Option<i64>,
    /// Burn clauses, fast ones first.
    pub burn: Vec<BurnClause>,
    /// Chance guard: a clause fires only if so many bad events in its long window are at most this likely by chance, at a
    /// rate that just spends the budget. `None` switches the guard off.
    pub confidence: Option<Confidence>,
    /// What a burn is measured by.
    #[serde(default)]
    pub weigh: Weigh,
    /// Severity rules, first match wins.
    pub severity: Vec<SeverityRule>,
    /// Labels the SLO fans out to; empty = one series.
    pub by: Vec<String>,
    /// Most children of a fan-out that have rows of their own; the others are counted in `other`.
    pub series_max: u32,
    /// Alert annotations from the user: `runbook`, `channel`, `description`, ...
    pub annotations: BTreeMap<String, String>,
    /// Labels from the user on every alert of the SLO; never one of those an alert has of its own.
    pub labels: BTreeMap<String, String>,
    /// What alerts of one kind carry beside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alerts: BTreeMap<AlertKind, AlertExtras>,
    /// Kinds of alerts that are not raised for it.
    pub mute: Vec<AlertKind>,
}

impl Slo {
    /// Whether `labels` is the whole of a fan-out: the series without labels, which counts what the SLO would count
    /// without `by`.
    pub fn is_whole(&self, labels: &super::Labels) -> bool {
        !self.by.is_empty() && labels.is_empty()
    }

    /// Whether it fans out to a child for each label set of its answer, whatever labels that has.
    pub fn is_by_every_label(&self) -> bool {
        self.by.iter().any(|name| name == EVERY_LABEL)
    }

    /// Error budget as a ratio: `1 - objective/100`. Never 0: an objective of 100 is refused when it is loaded.
    /// Rounded to 1e-12, so that 99.9 gives the double nearest to 0.001 and not 0.00099999999999994.
    pub fn budget(&self) -> f64 {
        let exact = 100.0 - self.objective;
        let rounded = (exact * 1e10).round() / 1e12;
        if rounded > 0.0 { rounded } else { exact / 100.0 }
    }

    /// The main window.
    pub fn period(&self) -> Period {
        self.terms.calendar.clone().map_or(Period::Rolling(self.window_s), Period::Calendar)
    }

    /// How much history its numbers can need, seconds.
    pub fn longest_s(&self) -> i64 {
        let main = self.terms.calendar.as_ref().map_or(self.window_s, |calendar| calendar.unit.longest_s());
        let more = self.terms.more.iter().map(Period::longest_s);
        self.burn.iter().map(|clause| clause.long_s.max(clause.short_s)).chain(more).fold(main, i64::max)
    }
}
