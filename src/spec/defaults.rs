//! What holds where the user says nothing. The commented file `rules/defaults.yaml` is compiled in and read here:
//! the documented example is the default, and no number of it is repeated in code.

use std::sync::LazyLock;

use crate::engine::severity::SeverityRule;
use crate::engine::{Confidence, Speed};

use super::alerting;
use super::burn::Clause;
use super::duration::TimeSpan;
use super::reader::{At, Report};
use super::tree;

/// The text of `rules/defaults.yaml`, for `slowburn check --defaults` and the docs.
pub const TEXT: &str = include_str!("../../rules/defaults.yaml");

/// Defaults of every SLO.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Rolling window.
    pub window: TimeSpan,
    /// Length of a slice.
    pub resolution: TimeSpan,
    /// Percent of slices that must be good, for SLIs that count slices.
    pub objective_of_slices: f64,
    /// Chance guard.
    pub confidence: Confidence,
    /// Most children of a fan-out with rows of their own.
    pub series_max: u32,
    /// Labels that name one scraped target.
    pub target_labels: Vec<String>,
    /// Severities after the user's own mapping.
    pub severity: Vec<SeverityRule>,
    pub(crate) clauses: Vec<(Speed, Clause)>,
}

static DEFAULTS: LazyLock<Defaults> = LazyLock::new(|| read().expect("rules/defaults.yaml is compiled in and tested"));

/// The compiled-in defaults.
pub fn defaults() -> &'static Defaults {
    &DEFAULTS
}

fn read() -> Option<Defaults> {
    let documents = tree::parse(TEXT).ok()?;
    let root = At::root(documents.first()?);
    let report = &mut Report::new("rules/defaults.yaml", TEXT);
    let mut fields = root.map(report)?;
    let mut span = |key| fields.get(key).and_then(|at| at.duration(report));
    let (window, resolution) = (span("window"), span("resolution"));
    let mut number = |key| fields.get(key).and_then(|at| at.number(report));
    let objective_of_slices = number("objective_of_slices");
    let mut levels = fields.get("confidence")?.map(report)?;
    let mut level = |key| levels.get(key).and_then(|at| at.number(report));
    let (page, ticket) = (level("page"), level("ticket"));
    levels.finish(report);
    let series_max = fields.get("series_max").and_then(|at| at.whole(report, 1..=1_000));
    let labels = fields.get("target_labels").and_then(|at| at.list(report)).unwrap_or_default();
    let target_labels = labels.iter().filter_map(|at| at.text(report)).map(str::to_string).collect();
    let clauses = fields.get("alert_policies").map(|at| alerting::policies(&at, report)).unwrap_or_default();
    let severity = fields.get("severity_mapping").map(|at| alerting::severities(&at, report)).unwrap_or_default();
    fields.finish(report);
    let defaults = Defaults {
        window: window?,
        resolution: resolution?,
        objective_of_slices: objective_of_slices?,
        confidence: Confidence { page: page?, ticket: ticket? },
        series_max: u32::try_from(series_max?).ok()?,
        target_labels,
        severity,
        clauses: clauses.into_iter().map(|placed| (placed.speed, placed.clause)).collect(),
    };
    (report.problems.is_empty() && !defaults.clauses.is_empty()).then_some(defaults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_file_holds_the_documented_defaults() {
        let defaults = defaults();
        assert_eq!(defaults.window.to_string(), "30d");
        assert_eq!(defaults.resolution.to_string(), "30s");
        assert_eq!(defaults.objective_of_slices, 99.0);
        assert_eq!(defaults.confidence, Confidence { page: 0.002, ticket: 0.1 });
        assert_eq!(defaults.series_max, 100);
        assert_eq!(defaults.target_labels, ["job", "instance"]);
        let clauses: Vec<_> = defaults.clauses.iter().map(|(speed, clause)| (*speed, clause.text.as_str())).collect();
        assert_eq!(
            clauses,
            [
                (Speed::Fast, "1h/5m > 14.4x"),
                (Speed::Fast, "6h/30m > 6x"),
                (Speed::Slow, "1d/2h > 3x"),
                (Speed::Slow, "3d/6h > 1x"),
            ]
        );
    }
}
