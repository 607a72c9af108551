//! An entry of `custom:`: a name of its own, and where its events come from.
//!
//! `events` counts events, `slices` judges each slice as a whole, `query` takes the ratios of a query as they are.

use crate::engine::Unit;
use crate::spec::model::SliSource;
use crate::spec::problem::Code;
use crate::spec::reader::{At, Fields, Report};
use crate::spec::sli;

use super::{Parts, PlacedSlo, Service, common, objective};

/// What `events`, `slices` or `query` says.
struct CustomSaid {
    source: SliSource,
    unit: Unit,
    target_labels: Option<Vec<String>>,
}

/// Reads one entry of `custom:`.
pub(crate) fn read(at: &At<'_>, service: &Service<'_>, report: &mut Report<'_>) -> Option<PlacedSlo> {
    let mut fields = at.map(report)?;
    let name = fields.need(report, "name", "orders").and_then(|at| crate::spec::name::read(&at, report));
    let place = fields.place_of("name");
    let common = common(&mut fields, service, report);
    let objective = match &common.objective {
        Some(at) => objective(at, report),
        None => {
            fields.need(report, "objective", "99.9");
            None
        }
    };
    let given = ["events", "slices", "query"].map(|key| fields.get(key));
    let said = match &given {
        [Some(at), None, None] => from_events(at, report),
        [None, Some(at), None] => from_slices(at, report),
        [None, None, Some(at)] => from_query(at, report),
        [None, None, None] => {
            report
                .error(at, Code::InvalidSli, "a custom SLO needs `events` or `slices`")
                .write("events: {total: ..., bad: ...} or slices: {query: ..., max: ...}");
            None
        }
        several => {
            let keys: Vec<String> = several.iter().flatten().map(|at| format!("`{}`", at.key())).collect();
            let last = several.iter().flatten().next_back()?;
            report
                .error(last, Code::InvalidSli, format!("{} are {} given", keys.join(" and "), both_or_all(keys.len())))
                .write("one of them");
            None
        }
    };
    fields.finish(report);
    let CustomSaid { source, unit, target_labels } = said?;
    let parts = Parts { name: name?, objective: objective?, unit, source: Ok(source), target_labels, said: common };
    parts.finish(place, service, report)
}

fn both_or_all(count: usize) -> &'static str {
    if count == 2 { "both" } else { "all" }
}

/// `{total, bad|good}`, or `{histogram, max}`: every event over `max`, in the unit of the metric, is bad.
fn from_events(at: &At<'_>, report: &mut Report<'_>) -> Option<CustomSaid> {
    let mut fields = at.map(report)?;
    let source = counted(at, &mut fields, report);
    let target_labels = fields.get("target_labels").and_then(|at| sli::target_labels(&at, report));
    fields.finish(report);
    Some(CustomSaid { source: source?, unit: Unit::Events, target_labels })
}

fn counted(at: &At<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<SliSource> {
    if let Some(metric) = fields.get("histogram") {
        let max = fields.need(report, "max", "0.8").and_then(|at| at.number(report));
        let selector = sli::histogram_selector(&metric, report)?.to_string();
        return Some(SliSource::Histogram { selector, threshold: max? });
    }
    let [total, bad, good] = ["total", "bad", "good"].map(|key| fields.get(key));
    sli::ratio(at, total, bad, good, report)
}

/// `{query, max|min}` compares one value a slice. With `quantile`, `{histogram, max}` or `{total, bad|good}`: a slice is
/// bad when more than `1 - quantile` of its events are.
fn from_slices(at: &At<'_>, report: &mut Report<'_>) -> Option<CustomSaid> {
    let mut fields = at.map(report)?;
    let quantile = fields.get("quantile");
    let counts = ["histogram", "total", "bad", "good"].iter().any(|key| at.node.get(key).is_some());
    if quantile.is_none() && !counts {
        let query = fields.need(report, "query", "queue_depth");
        let expr = query.and_then(|at| sli::read_gauge(&at, report));
        let bound = sli::min_or_max(&mut fields, report);
        let trust = sli::trust(&mut fields, report);
        fields.finish(report);
        let source = SliSource::Gauge { expr: expr?.to_string(), bound: bound?, trust };
        return Some(CustomSaid { source, unit: Unit::GaugeSlices, target_labels: None });
    }
    let quantile = match quantile {
        Some(at) => read_quantile(&at, report),
        None => {
            fields.need(report, "quantile", "0.95");
            None
        }
    };
    let source = counted(at, &mut fields, report);
    let target_labels = fields.get("target_labels").and_then(|at| sli::target_labels(&at, report));
    fields.finish(report);
    Some(CustomSaid { source: source?, unit: Unit::QuantileSlices { quantile: quantile? }, target_labels })
}

fn read_quantile(at: &At<'_>, report: &mut Report<'_>) -> Option<f64> {
    let number = at.number(report)?;
    if number > 0.0 && number < 1.0 {
        return Some(number);
    }
    let instead = if (1.0..100.0).contains(&number) { number / 100.0 } else { 0.95 };
    report
        .error(at, Code::InvalidValue, "a quantile is a ratio over 0 and under 1")
        .write(format!("quantile: {instead}"));
    None
}

/// `{bad, total}`, both events a second, or `{ratio}`; `[slice]` stands where the range goes.
fn from_query(at: &At<'_>, report: &mut Report<'_>) -> Option<CustomSaid> {
    let mut fields = at.map(report)?;
    let [bad, total, ratio, why] = ["bad", "total", "ratio", "why"].map(|key| fields.get(key));
    let mut read = |at: &Option<At<'_>>| at.as_ref().and_then(|at| sli::read_query(at, report));
    let (bad_text, total_text, ratio_text) = (read(&bad), read(&total), read(&ratio));
    let why = match &why {
        Some(at) => at.text(report)?.to_string(),
        None => "it is a query, and what it counts is not read as counters".to_string(),
    };
    fields.finish(report);
    let source = match (&bad, &total, &ratio) {
        (Some(_), Some(_), None) => SliSource::Query { bad: bad_text?, total: Some(total_text?), why },
        (None, None, Some(_)) => SliSource::Query { bad: ratio_text?, total: None, why },
        _ => {
            report
                .error(at, Code::InvalidSli, "a query needs `bad` and `total`, or `ratio` alone")
                .write("{bad: 'sum(rate(errors[slice]))', total: 'sum(rate(requests[slice]))'} or {ratio: ...}");
            return None;
        }
    };
    Some(CustomSaid { source, unit: Unit::Events, target_labels: None })
}
