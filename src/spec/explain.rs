//! What an SLO's numbers come to: every resolved factor and ratio, and how fast a total outage would be seen.

use serde::Serialize;

use crate::engine::{Period, Slo, Speed, Unit};

use super::burn::shown;
use super::duration::TimeSpan;
use super::model::{Bound, Part, SliSource, SloSpec};

/// An SLO in plain numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// The SLO.
    pub id: String,
    /// Percent.
    pub objective: f64,
    /// Error budget as a ratio.
    pub budget: f64,
    /// Its windows, the main one first: `30d`, `month (Europe/Paris)`.
    pub window: String,
    /// What is counted: `events`, `slices by p95`, `slices by gauge`.
    pub unit: String,
    /// Where the events come from; `None` with the reason in `note`.
    pub source: Option<String>,
    /// Burn clauses, fast ones first.
    pub clauses: Vec<ExplainedClause>,
    /// What is worth knowing beside the numbers.
    pub note: Option<String>,
}

/// A burn clause in plain numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedClause {
    /// Page or ticket.
    pub speed: Speed,
    /// As the user wrote it.
    pub text: String,
    /// Long window.
    pub long: TimeSpan,
    /// Short window.
    pub short: TimeSpan,
    /// Burn-rate factor.
    pub factor: f64,
    /// Error ratio over which it fires: factor × budget.
    pub error_ratio: f64,
    /// Share of the budget that is spent when it fires: factor × long / window.
    pub budget_spent: f64,
    /// Seconds until it fires when everything fails, with no errors before: long × factor × budget.
    pub detection_s: f64,
}

/// Explains one SLO.
pub fn explain(spec: &SloSpec) -> Explained {
    let slo = &spec.slo;
    let span = |seconds: i64| TimeSpan::from_seconds(seconds.max(1)).unwrap_or_else(|| super::defaults().window);
    let budget = slo.budget();
    let clause = |clause: &crate::engine::BurnClause| ExplainedClause {
        speed: clause.speed,
        text: clause.text.to_string(),
        long: span(clause.long_s),
        short: span(clause.short_s),
        factor: clause.factor,
        error_ratio: clause.factor * budget,
        budget_spent: clause.factor * clause.long_s as f64 / slo.window_s as f64,
        detection_s: clause.long_s as f64 * clause.factor * budget,
    };
    Explained {
        id: slo.id.clone(),
        objective: slo.objective,
        budget,
        window: windows(slo),
        unit: match slo.unit {
            Unit::Events => format!("events{}", own_slices(slo, " in slices")),
            Unit::QuantileSlices { quantile } => {
                format!("{} by p{}", own_slices(slo, "slices"), shown(quantile * 100.0).replace('.', ""))
            }
            Unit::GaugeSlices => format!("{} by gauge", own_slices(slo, "slices")),
            Unit::RatioSlices => "slices by ratio".into(),
        },
        source: spec.source.as_ref().ok().map(source_text),
        clauses: slo.burn.iter().map(clause).collect(),
        note: note(spec),
    }
}

/// How long its slices are, where it says so.
fn own_slices(slo: &Slo, word: &str) -> String {
    match slo.resolution_s.and_then(TimeSpan::from_seconds) {
        Some(own) => format!("{word} of {own}"),
        None if slo.unit == Unit::Events => String::new(),
        None => word.to_owned(),
    }
}

fn windows(slo: &Slo) -> String {
    let spoken = |period: &Period| period.spoken().trim_start_matches("the ").to_owned();
    let all: Vec<String> = std::iter::once(&slo.period()).chain(&slo.terms.more).map(spoken).collect();
    all.join(", ")
}

fn source_text(source: &SliSource) -> String {
    match source {
        SliSource::Ratio { total, part: Part::Bad(bad) } => format!("bad {bad} of {total}"),
        SliSource::Ratio { total, part: Part::Good(good) } => format!("all but {good} of {total}"),
        SliSource::Ratio { total, part: Part::Beside(bad) } => format!("bad {bad} beside {total}"),
        SliSource::Counters { total, part, good } => {
            let (word, all) = (if *good { "all but" } else { "bad" }, total.join(" + "));
            format!("{word} {} of {all}", part.join(" + "))
        }
        SliSource::Histogram { selector, threshold } => format!("over {} in {selector}", shown(*threshold)),
        SliSource::Gauge { expr, bound: Bound::Max(max), .. } => format!("over {}: {expr}", shown(*max)),
        SliSource::Gauge { expr, bound: Bound::Min(min), .. } => format!("under {}: {expr}", shown(*min)),
        SliSource::Queue { histogram, threshold, bound_s, waiting, through } => {
            let by = through.as_ref().map_or(String::new(), |through| format!(" by {through}"));
            let (most, bound) = (shown(*threshold), shown(*bound_s));
            format!("over {most} in {histogram}, or none of {waiting} let in{by} for {bound} s")
        }
        SliSource::Query { bad, total: Some(total), .. } => format!("{bad} of {total}"),
        SliSource::Query { bad, total: None, .. } => bad.clone(),
        SliSource::Generations(all) => {
            let each: Vec<String> =
                all.iter().map(|one| format!("{}: {}", one.name, source_text(&one.source))).collect();
            each.join("; or ")
        }
    }
}

fn note(spec: &SloSpec) -> Option<String> {
    if let Err(reason) = &spec.source {
        return Some(format!("no source of events: {reason}"));
    }
    match spec.slo.unit {
        Unit::QuantileSlices { quantile } => Some(format!(
            "a slice is bad when over {} % of its events are slow; the times are those of whole slices",
            shown((1.0 - quantile) * 100.0)
        )),
        Unit::GaugeSlices => {
            Some("a slice is bad when its value breaks the bound; slices without a value are unknown".into())
        }
        Unit::RatioSlices => {
            Some("each slice counts alike, however many events it had; without a ratio it is unknown".into())
        }
        Unit::Events => None,
    }
}
