//! Aggregations over the series of an instant vector.

use std::collections::BTreeMap;
use std::sync::Arc;

use promql_parser::parser::token::{T_AVG, T_COUNT, T_GROUP, T_MAX, T_MIN, T_SUM, T_TOPK};
use promql_parser::parser::{AggregateExpr, Expr, LabelModifier};

use super::Refusal;
use super::evaluate::{PromqlEvaluator, unsupported};
use super::vector::{Element, NAME, Vector, only, place, without};
use crate::engine::Labels;

#[derive(Debug, Clone, Copy)]
struct Group {
    sum: f64,
    count: f64,
    max: f64,
    min: f64,
}

impl PromqlEvaluator<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &AggregateExpr, at_ms: i64) -> Result<Vector, Refusal> {
        let id = aggregate.op.id();
        if id == T_TOPK {
            return self.topk(aggregate, at_ms);
        }
        let pick: fn(&Group) -> f64 = if id == T_SUM {
            |group| group.sum
        } else if id == T_COUNT {
            |group| group.count
        } else if id == T_AVG {
            |group| group.sum / group.count
        } else if id == T_MAX {
            |group| group.max
        } else if id == T_MIN {
            |group| group.min
        } else if id == T_GROUP {
            |_| 1.0
        } else {
            return Err(unsupported(&format!("the aggregation {}", aggregate.op)));
        };
        let mut groups: BTreeMap<Arc<Labels>, Group> = BTreeMap::new();
        for element in self.vector(&aggregate.expr, at_ms)? {
            let value = element.value;
            groups
                .entry(self.group(aggregate, &element))
                .and_modify(|group| {
                    group.sum += value;
                    group.count += 1.0;
                    group.max = if group.max < value || group.max.is_nan() { value } else { group.max };
                    group.min = if group.min > value || group.min.is_nan() { value } else { group.min };
                })
                .or_insert(Group { sum: value, count: 1.0, max: value, min: value });
        }
        let element = |(labels, group): (Arc<Labels>, Group)| Element { labels, value: pick(&group), at_ms };
        Ok(groups.into_iter().map(element).collect())
    }

    /// The labels of the group that an element belongs to.
    fn group(&mut self, aggregate: &AggregateExpr, element: &Element) -> Arc<Labels> {
        self.derived.of(place(aggregate), &element.labels, |labels| match &aggregate.modifier {
            None => Labels::new(),
            Some(LabelModifier::Include(by)) => only(labels, &by.labels),
            Some(LabelModifier::Exclude(names)) => {
                let mut kept = without(labels, &names.labels);
                kept.set(NAME, "");
                kept
            }
        })
    }

    /// The highest of each group, with all their labels, the highest first.
    fn topk(&mut self, aggregate: &AggregateExpr, at_ms: i64) -> Result<Vector, Refusal> {
        let Some(Expr::NumberLiteral(most)) = aggregate.param.as_deref() else {
            return Err(unsupported("topk of anything but a plain number"));
        };
        let mut groups: BTreeMap<Arc<Labels>, Vector> = BTreeMap::new();
        for element in self.vector(&aggregate.expr, at_ms)? {
            groups.entry(self.group(aggregate, &element)).or_default().push(element);
        }
        let highest = |mut of: Vector| {
            // What is no number comes last.
            let height = |element: &Element| if element.value.is_nan() { f64::NEG_INFINITY } else { element.value };
            of.sort_by(|a, b| height(b).total_cmp(&height(a)));
            of.truncate(most.val.max(0.0) as usize);
            of
        };
        Ok(groups.into_values().flat_map(highest).collect())
    }
}
