//! What is known of one series of an SLO at one moment: the row every surface shows.
//!
//! A number that is not known is `None` (JSON `null`), never 0 and never "ok".

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Seconds;
use super::labels::Labels;
use super::ledger::BadBounds;
use super::onset::Onset;
use super::page::Page;
use super::period::BudgetReset;
use super::slo::Speed;
use super::ticket::Ticket;

/// How an SLO stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SloState {
    /// No burn clause fires and budget is left.
    Ok,
    /// A slow clause fires.
    SlowBurn,
    /// A fast clause fires.
    FastBurn,
    /// The budget of the window is spent, and nothing burns faster than its clauses allow.
    Exhausted,
    /// There is no data to say. Never read it as `Ok`.
    Unknown,
}

/// How far the data behind a number can be trusted, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataState {
    /// Samples are recent and complete.
    Fresh,
    /// Samples are recent, but some are known to be missing.
    Partial,
    /// The newest sample or the last good poll is too old.
    Stale,
    /// There are no samples.
    Absent,
}

/// Why a data state is not `Fresh`. One enum for the log line, the metric label and the API field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataReason {
    /// Nothing is wrong.
    None,
    /// The SLO has no source: its service names none and its preset offers none.
    NoSource,
    /// No series matches the selector.
    NoSeries,
    /// Prometheus did not answer, or answered with an error, since the last good poll.
    SourceUnreachable,
    /// Prometheus answered with warnings: part of its data may be missing.
    SourceWarning,
    /// Far fewer series or targets answered than shortly before.
    SeriesMissing,
    /// The newest sample is too old although Prometheus answers.
    SamplesOld,
    /// The histogram has no bucket at the threshold.
    NoBucket,
    /// Values are NaN or infinite.
    NotANumber,
    /// A gauge that moves while it lives has not moved for too long: what it says is old.
    Frozen,
    /// The value stands for "not yet known".
    Sentinel,
    /// Bad events outnumber total events: the two selectors do not belong together.
    BadAboveTotal,
    /// A counter falls again and again while its process goes on: several processes answer under one address, or several
    /// writers write one series.
    CounterFlickers,
    /// A counter without a target label falls: it was summed over several processes, and what one takes with it is lost.
    CounterSummed,
    /// The buckets of the histogram are not cumulative.
    NotCumulative,
    /// The clocks of Slowburn and Prometheus differ too much.
    ClockSkew,
    /// History is still being read.
    Filling,
    /// The SLO has a source, and no request can be made of it: its selector cannot be read or printed, is too long, or asks
    /// for what its histogram does not have.
    SourceUnplanned,
    /// Prometheus answers others, and not the query of this SLO: it refuses it, or the answer is too large or too late.
    QueryFailing,
    /// Its workloads are scaled to 0 replicas, so nothing is there to be measured: absent by plan.
    ScaledToZero,
}

/// The data behind one series, as its source saw it at the last poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataHealth {
    /// How far to trust it.
    pub state: DataState,
    /// Why.
    pub reason: DataReason,
    /// Time of the newest sample, if there ever was one.
    pub newest: Option<Seconds>,
}

/// One burn clause, evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClauseStatus {
    /// Page or ticket.
    pub speed: Speed,
    /// The clause as written.
    pub text: Arc<str>,
    /// Long window, seconds.
    pub long_s: i64,
    /// Short window, seconds.
    pub short_s: i64,
    /// Factor both windows must exceed.
    pub factor: f64,
    /// Burn rate over the long window; `None` = no events known in it.
    pub burn_long: Option<f64>,
    /// Burn rate over the short window.
    pub burn_short: Option<f64>,
    /// `P(Binomial(n, budget) >= k)` over the long window, when the guard is on and there are events.
    pub chance: Option<f64>,
    /// Both windows over the factor and not by chance.
    pub firing: bool,
}

/// One window, summed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowStatus {
    /// Length, seconds: of a calendar window the whole period's.
    pub window_s: i64,
    /// Events (or judged slices) in it.
    pub total: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Judged slices among them of which the evidence says neither good nor bad; they count as good. `None` where slices
    /// are not judged on evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided: Option<u64>,
    /// `bad / total`; `None` without events.
    pub error_ratio: Option<f64>,
    /// `error_ratio / budget`.
    pub burn_rate: Option<f64>,
    /// What `bad` is between, where it is interpolated; `None` where it is exact, or where the interval is not known of
    /// the whole window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_bounds: Option<BadBounds>,
}

/// One window of an SLO with its budget, as every surface shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// What it is called: `30d`, `month`.
    pub name: String,
    /// The time zone of a calendar window.
    pub time_zone: Option<String>,
    /// Its start.
    pub from: Seconds,
    /// When its budget begins anew; `None` where it rolls.
    pub resets_at: Option<Seconds>,
    /// Its counts, so far.
    #[serde(flatten)]
    pub window: WindowStatus,
    /// As of [`super::SeriesStatus::budget_remaining`].
    pub budget_remaining: Option<f64>,
    /// As of [`super::SeriesStatus::exhaustion_s`].
    pub exhaustion_s: Option<f64>,
    /// Share of its slices so far that are known, 0..=1.
    pub coverage: f64,
    /// The reset since which its budget counts, if there was one in it.
    pub reset: Option<Arc<BudgetReset>>,
    /// The same with everything counted, where exclusions leave something out.
    pub counting_all: Option<CountingAll>,
}

/// What a window would say without exclusions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CountingAll {
    /// How much of the window does not count, seconds: in the steps in which it is still known.
    pub excluded_s: i64,
    /// Events in it, all of them.
    pub total: u64,
    /// Bad ones, all of them.
    pub bad: u64,
    /// `bad / total`.
    pub error_ratio: Option<f64>,
    /// What would be left of the budget.
    pub budget_remaining: Option<f64>,
}

/// Everything known of one series of one SLO at `at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesStatus {
    /// Series labels; empty for an SLO without `by`.
    pub labels: Labels,
    /// End of the newest slice that was evaluated.
    pub at: Seconds,
    /// State.
    pub state: SloState,
    /// Since when (slice time) it is in this state, where that is within the last six hours: as far as every daemon can
    /// look back. `None` when it is longer, and for `Unknown`.
    pub since: Option<Seconds>,
    /// Data behind it.
    pub data: DataHealth,
    /// `1 - bad / (budget × total)` over the SLO's main window; may be negative.
    pub budget_remaining: Option<f64>,
    /// Seconds until the budget is spent at the present burn of the long window of the first clause;
    /// `None` where nothing burns, nothing is left, or the budget begins anew before.
    pub exhaustion_s: Option<f64>,
    /// The SLO's main window; of a calendar one what it counts so far.
    pub window: WindowStatus,
    /// Share of the main window (so far) whose slices are known, 0..=1.
    pub coverage: f64,
    /// Every distinct window of the burn clauses, shortest first.
    pub windows: Vec<WindowStatus>,
    /// Every clause.
    pub clauses: Vec<ClauseStatus>,
    /// The page: firing, or ended within the last six hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
    /// The ticket: out, or over within the longest window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// When the error ratio rose and by how much, while it burns; `None` where the slices do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onset: Option<Onset>,
    /// Every window with its budget, the main one first; empty where there is only one rolling window, whose budget was
    /// never reset: then the fields above say all.
    #[serde(default)]
    pub budgets: Vec<BudgetStatus>,
}

impl SeriesStatus {
    /// Whether it pages: a fast clause fires, or one did and the incident has not ended.
    pub fn pages(&self) -> bool {
        self.page.is_some_and(|page| page.fires())
    }

    /// Whether a ticket is out: a slow clause fires, or one did and the leak is not known to have ended.
    pub fn tickets(&self) -> bool {
        self.ticket.is_some_and(|ticket| ticket.fires)
    }

    /// What is left of the budget of which least is. An SLO over several windows
    /// promises all of them.
    pub fn least_budget(&self) -> Option<f64> {
        self.budgets.iter().filter_map(|budget| budget.budget_remaining).chain(self.budget_remaining).reduce(f64::min)
    }
}

impl DataState {
    /// As it is written in JSON, annotations and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            DataState::Fresh => "fresh",
            DataState::Partial => "partial",
            DataState::Stale => "stale",
            DataState::Absent => "absent",
        }
    }
}

impl DataReason {
    /// The counts themselves cannot be believed: nothing is said of an SLO, and nothing fires on it.
    pub fn is_untrusted(self) -> bool {
        matches!(self, DataReason::CounterFlickers | DataReason::CounterSummed | DataReason::NotCumulative)
    }

    /// As it is written in JSON, annotations and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            DataReason::None => "none",
            DataReason::NoSource => "no_source",
            DataReason::NoSeries => "no_series",
            DataReason::SourceUnreachable => "source_unreachable",
            DataReason::SourceWarning => "source_warning",
            DataReason::SeriesMissing => "series_missing",
            DataReason::SamplesOld => "samples_old",
            DataReason::NoBucket => "no_bucket",
            DataReason::NotANumber => "not_a_number",
            DataReason::Frozen => "frozen",
            DataReason::Sentinel => "sentinel",
            DataReason::BadAboveTotal => "bad_above_total",
            DataReason::CounterFlickers => "counter_flickers",
            DataReason::CounterSummed => "counter_summed",
            DataReason::NotCumulative => "not_cumulative",
            DataReason::ClockSkew => "clock_skew",
            DataReason::Filling => "filling",
            DataReason::SourceUnplanned => "source_unplanned",
            DataReason::QueryFailing => "query_failing",
            DataReason::ScaledToZero => "scaled_to_zero",
        }
    }
}
