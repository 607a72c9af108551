//! An entry of `custom:`: a name of its own, and events to count or a value to compare.

use crate::engine::Unit;
use crate::spec::model::{SliSource, Trust};
use crate::spec::problem::Code;
use crate::spec::reader::{At, Report};
use crate::spec::sli;

use super::{Parts, PlacedSlo, Service, common, objective};

/// Reads one entry of `custom:`.
pub(crate) fn read(at: &At<'_>, service: &Service<'_>, report: &mut Report<'_>) -> Option<PlacedSlo> {
    let mut fields = at.map(report)?;
    let name = fields.need(report, "name", "orders").and_then(|at| crate::spec::service::name(&at, report));
    let place = fields.place_of("name");
    let said = common(&mut fields, service, report);
    let objective = match &said.objective {
        Some(at) => objective(at, report),
        None => {
            fields.need(report, "objective", "99.9");
            None
        }
    };
    let (events, slices) = (fields.get("events"), fields.get("slices"));
    let mut target_labels = None;
    let source = match (&events, &slices) {
        (Some(at), None) => from_events(at, &mut target_labels, report),
        (None, Some(at)) => from_slices(at, report),
        (None, None) => {
            report
                .error(at, Code::InvalidSli, "a custom SLO needs `events` or `slices`")
                .write("events: {total: ..., bad: ...} or slices: {query: ..., max: ...}");
            None
        }
        (Some(_), Some(slices)) => {
            report.error(slices, Code::InvalidSli, "`events` and `slices` are both given").write("one of them");
            None
        }
    };
    fields.finish(report);
    let unit = if events.is_some() { Unit::Events } else { Unit::GaugeSlices };
    let parts = Parts { name: name?, objective: objective?, unit, source: Ok(source?), target_labels, said };
    parts.finish(place, service, report)
}

fn from_events(at: &At<'_>, target_labels: &mut Option<Vec<String>>, report: &mut Report<'_>) -> Option<SliSource> {
    let mut fields = at.map(report)?;
    let (total, bad, good) = (fields.get("total"), fields.get("bad"), fields.get("good"));
    *target_labels = fields.get("target_labels").and_then(|at| sli::label_names(&at, report));
    fields.finish(report);
    sli::ratio(at, total, bad, good, report)
}

fn from_slices(at: &At<'_>, report: &mut Report<'_>) -> Option<SliSource> {
    let mut fields = at.map(report)?;
    let query = fields.need(report, "query", "queue_depth");
    let expr = query.and_then(|at| sli::read_gauge(&at, report));
    let bound = sli::min_or_max(&mut fields, report);
    fields.finish(report);
    Some(SliSource::Gauge { expr: expr?.to_string(), bound: bound?, trust: Trust::default() })
}
