//! An entry whose key says what is measured: `availability`, `latency_p95_ms` and its like.
//!
//! The scalar form says the objective (`availability: 99.9`) or the bound (`latency_p95_ms: 800`); the long form says
//! the same as `objective` or `max`, and everything else.

use std::collections::BTreeMap;

use crate::engine::Unit;
use crate::spec::indicator::Indicator;
use crate::spec::model::SliSource;
use crate::spec::problem::Code;
use crate::spec::reader::{At, Report};
use crate::spec::sli;
use crate::spec::telemetry;
use crate::spec::tree::{Key, Value};

use super::{Common, Parts, PlacedSlo, Service, WrittenConfidence, common, objective};

/// What the value of a key says.
struct KeySaid<'a> {
    common: Common<'a>,
    /// In the unit of the key; `None` for availability.
    bound: Option<f64>,
    /// `method: events`.
    events: bool,
    explicit: Option<sli::Explicit>,
}

/// Reads the value of a known key of `slo:`.
pub(crate) fn read(
    key: &Key,
    at: &At<'_>,
    indicator: Indicator,
    service: &Service<'_>,
    report: &mut Report<'_>,
) -> Option<PlacedSlo> {
    let said = match &at.node.value {
        Value::Map(_) => long_form(at, indicator, service, report)?,
        _ => scalar_form(at, indicator, service, report)?,
    };
    let objective = match (&said.common.objective, indicator) {
        (Some(at), _) => objective(at, report)?,
        (None, Indicator::Quantile { per_mille, .. }) if said.events => f64::from(per_mille) / 10.0,
        (None, Indicator::Availability) => return None,
        (None, _) => service.defaults.objective_of_slices,
    };
    let source = match &said.explicit {
        Some(found) => Ok(found.source.clone()),
        None => from_preset(key, indicator, objective, said.bound, service, report)?,
    };
    let unit = match (indicator, &source) {
        (_, Ok(SliSource::Gauge { .. })) | (Indicator::Freshness { .. }, _) => Unit::GaugeSlices,
        (Indicator::Quantile { per_mille, .. }, _) if !said.events => {
            Unit::QuantileSlices { quantile: f64::from(per_mille) / 1000.0 }
        }
        _ => Unit::Events,
    };
    let target_labels = said.explicit.and_then(|found| found.target_labels);
    let parts = Parts { name: indicator.name(), objective, unit, source, target_labels, said: said.common };
    parts.finish(key.place, service, report)
}

fn scalar_form<'a>(
    at: &At<'a>,
    indicator: Indicator,
    service: &Service<'_>,
    report: &mut Report<'_>,
) -> Option<KeySaid<'a>> {
    let (objective, bound) = match indicator {
        Indicator::Availability => (Some(at.clone()), None),
        _ => (None, Some(positive(at, report)?)),
    };
    let common = Common {
        objective,
        windows: Vec::new(),
        resolution: None,
        confidence: WrittenConfidence::Default,
        weigh: Default::default(),
        by: Vec::new(),
        series_max: None,
        clauses: None,
        severity: Vec::new(),
        annotations: service.annotations.clone(),
        labels: BTreeMap::new(),
        alerts: BTreeMap::new(),
        mute: Vec::new(),
        target_labels: None,
        origin: None,
    };
    Some(KeySaid { common, bound, events: false, explicit: None })
}

fn long_form<'a>(
    at: &At<'a>,
    indicator: Indicator,
    service: &Service<'_>,
    report: &mut Report<'_>,
) -> Option<KeySaid<'a>> {
    let mut fields = at.map(report)?;
    let common = common(&mut fields, service, report);
    let mut whole = true;
    let mut bound = None;
    if indicator == Indicator::Availability {
        whole &= common.objective.is_some() || fields.need(report, "objective", "99.9").is_some();
    } else {
        bound = fields.need(report, "max", "800").and_then(|at| positive(&at, report));
        whole &= bound.is_some();
    }
    let method = fields.get("method");
    let events = method.as_ref().is_some_and(|at| method_is_events(at, indicator, report));
    let sli_at = fields.get("sli");
    let explicit = sli_at.as_ref().and_then(|at| sli::explicit(at, indicator, bound, report));
    whole &= sli_at.is_none() || explicit.is_some();
    let on_gauge = explicit.as_ref().is_some_and(|found| matches!(found.source, SliSource::Gauge { .. }));
    if let (Some(method), true, true) = (&method, events, on_gauge) {
        let what = "a gauge has one value per slice and no events to count";
        report.error(method, Code::InvalidSli, what).write("leave method out");
    }
    fields.finish(report);
    whole.then_some(KeySaid { common, bound, events, explicit })
}

/// The source that the service's preset gives; `None` where the bound is refused.
fn from_preset(
    key: &Key,
    indicator: Indicator,
    objective: f64,
    bound: Option<f64>,
    service: &Service<'_>,
    report: &mut Report<'_>,
) -> Option<Result<SliSource, String>> {
    let path = format!("slo.{}", key.name);
    match telemetry::from_preset(service.telemetry.as_ref(), indicator, bound) {
        Ok(found) => {
            for what in found.warnings {
                report.warn_at(key.place, &path, Code::InvalidSli, what);
            }
            Some(Ok(found.source))
        }
        Err(telemetry::NoSource { reason, refused: Some(instead) }) => {
            let instead = format!("{}: {}", key.name, crate::spec::shown(instead));
            report.error_at(key.place, &path, Code::InvalidSli, reason).write(instead);
            None
        }
        Err(telemetry::NoSource { reason, refused: None }) => {
            warn_of_no_source(key, indicator, objective, bound, &reason, service, report);
            Some(Err(reason))
        }
    }
}

fn warn_of_no_source(
    key: &Key,
    indicator: Indicator,
    objective: f64,
    bound: Option<f64>,
    reason: &str,
    service: &Service<'_>,
    report: &mut Report<'_>,
) {
    if service.telemetry.as_ref().is_some_and(|telemetry| telemetry.broken) {
        return;
    }
    let what = format!("{}-{} has no source of events: {reason}", service.name, indicator.name());
    let long_form = match (bound, indicator) {
        (None, _) => format!("objective: {objective}, sli: {{total: ..., bad: ...}}"),
        (Some(bound), Indicator::Freshness { .. }) => format!("max: {bound}, sli: {{gauge: ...}}"),
        (Some(bound), _) => format!("max: {bound}, sli: {{histogram: ...}}"),
    };
    let path = format!("slo.{}", key.name);
    report.warn_at(key.place, &path, Code::NoSource, what).write(format!("{}: {{{long_form}}}", key.name));
}

fn positive(at: &At<'_>, report: &mut Report<'_>) -> Option<f64> {
    let number = at.number(report)?;
    if number <= 0.0 {
        report
            .error(at, Code::InvalidValue, format!("a bound of {number} is never kept: it must be over zero"))
            .write(format!("{}: 800", at.key()));
        return None;
    }
    Some(number)
}

fn method_is_events(at: &At<'_>, indicator: Indicator, report: &mut Report<'_>) -> bool {
    let events = at.choice(report, &[("slices", false), ("events", true)]) == Some(true);
    match (indicator, events) {
        (Indicator::Quantile { .. }, _) | (Indicator::Availability, true) => {}
        (Indicator::Availability, false) => {
            let what = "availability counts events: `method` belongs to quantiles such as latency_p95_ms";
            report.error(at, Code::InvalidSli, what).write("leave method out");
        }
        (Indicator::Freshness { .. }, _) => {
            let what = "feature freshness counts slices: `method` belongs to quantiles such as latency_p95_ms";
            report.error(at, Code::InvalidSli, what).write("leave method out");
        }
    }
    events
}
