//! What an SLI's source uses: which metric in which role, or which query of somebody else's.

use promql_parser::parser::value::ValueType;

use crate::engine::Unit;
use crate::query::fetch::{QueueRule, Role, Sli, Use};
use crate::query::promql::request;
use crate::query::selector::{Selector, bounded};
use crate::spec::SliSource;
use crate::spec::model::Part;

use super::known::Known;
use super::threshold::{self, Reading};

/// What a source is made of.
pub(super) enum Sourced {
    Uses(Vec<Use>),
    Exprs(Vec<(String, Role)>),
}

/// A query of somebody else's: it must be PromQL once a range is put in, and give one value for each series.
fn foreign(expr: &str) -> Result<String, String> {
    bounded(expr)?;
    let tried = request::over_range(expr, request::FOREIGN_RANGE_MIN_S);
    match promql_parser::parser::parse(&tried).map(|parsed| parsed.value_type()) {
        Ok(ValueType::Vector | ValueType::Scalar) => Ok(expr.to_owned()),
        Ok(_) => Err(format!("`{expr}` gives no single value for a moment")),
        Err(error) => Err(format!("`{expr}` is not PromQL: {error}")),
    }
}

/// The uses of one source; what must be known of its SLI to read them is noted in `meta`.
pub(super) fn uses_of_source(
    sli: usize,
    unit: Unit,
    source: &SliSource,
    known: Option<&Known>,
    meta: &mut Sli,
) -> Result<Sourced, String> {
    let seen = known.map_or(&[][..], |known| &known.spelled);
    let on = |role, selector, le: Option<f64>| {
        let spelled = le.map_or(Vec::new(), |bound| threshold::spellings(bound, seen));
        Use { sli, role, selector, le, spelled, native: false }
    };
    match source {
        SliSource::Ratio { total, part } => {
            let total = Selector::parse(total)?;
            let (role, part) = match part {
                Part::Bad(text) => (Role::Bad, Selector::parse(text)?),
                Part::Good(text) => (Role::Good, Selector::parse(text)?),
                Part::Beside(text) => (Role::Bad, Selector::parse(text)?),
            };
            let beside = matches!(source, SliSource::Ratio { part: Part::Beside(_), .. });
            meta.paired = !total.contains(&part);
            meta.good_part = role == Role::Good;
            let mut uses = vec![on(Role::Total, total, None)];
            if beside {
                uses.push(on(Role::Total, part.clone(), None));
            }
            uses.push(on(role, part, None));
            Ok(Sourced::Uses(uses))
        }
        SliSource::Counters { total, part, good } => {
            let parsed = |all: &[String]| all.iter().map(|text| Selector::parse(text)).collect::<Result<Vec<_>, _>>();
            let (totals, parts) = (parsed(total)?, parsed(part)?);
            meta.paired = !parts.iter().all(|part| totals.iter().any(|total| total.contains(part)));
            meta.good_part = *good;
            let role = if *good { Role::Good } else { Role::Bad };
            let totals = totals.into_iter().map(|total| on(Role::Total, total, None));
            Ok(Sourced::Uses(totals.chain(parts.into_iter().map(|part| on(role, part, None))).collect()))
        }
        SliSource::Histogram { selector, threshold } | SliSource::Queue { histogram: selector, threshold, .. } => {
            let base = Selector::parse(selector)?;
            meta.paired = true;
            meta.good_part = true;
            meta.histogram = true;
            let count = base.renamed(format!("{}_count", base.metric));
            let bucket = base.renamed(format!("{}_bucket", base.metric));
            let mut uses = vec![on(Role::Total, count, None)];
            match threshold::reading(*threshold, known)? {
                Reading::At(bound) => uses.push(on(Role::Good, bucket, Some(bound))),
                Reading::Between(between) => {
                    meta.between = Some(between);
                    uses.extend(between.lower.map(|lower| on(Role::Lower, bucket.clone(), Some(lower))));
                    uses.push(on(Role::Upper, bucket, Some(between.upper)));
                }
            }
            meta.native = threshold::is_native(known);
            uses.iter_mut().for_each(|of| of.native = meta.native);
            if let SliSource::Queue { waiting, through, bound_s, .. } = source {
                meta.queue = Some(QueueRule {
                    least: unit.judged_on(),
                    bound_s: bound_s.ceil() as i64,
                    through: through.is_some(),
                });
                uses.push(on(Role::Waiting, Selector::parse(waiting)?, None));
                if let Some(through) = through {
                    uses.push(on(Role::Through, Selector::parse(through)?, None));
                }
            }
            Ok(Sourced::Uses(uses))
        }
        SliSource::Query { bad, total: Some(total), .. } => {
            meta.rates = true;
            Ok(Sourced::Exprs(vec![(foreign(total)?, Role::Total), (foreign(bad)?, Role::Bad)]))
        }
        SliSource::Query { bad, total: None, .. } => Ok(Sourced::Exprs(vec![(foreign(bad)?, Role::Share)])),
        SliSource::Generations(_) => Err("a generation of metrics cannot hold generations itself".into()),
        SliSource::Gauge { expr, bound, trust } => {
            meta.bound = Some(*bound);
            meta.trust = *trust;
            bounded(expr)?;
            Ok(match Selector::parse(expr) {
                Ok(selector) => Sourced::Uses(vec![on(Role::Value, selector, None)]),
                Err(_) => Sourced::Exprs(vec![(expr.clone(), Role::Value)]),
            })
        }
    }
}
