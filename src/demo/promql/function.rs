//! Functions of instant vectors and scalars.

use std::collections::BTreeMap;
use std::sync::Arc;

use promql_parser::label::MatchOp;
use promql_parser::parser::{Call, Expr, VectorSelector};

use super::evaluate::{PromqlEvaluator, Value, unsupported};
use super::vector::{Element, NAME, Vector, distinct, nameless, place};
use super::{Refusal, unwrapped};
use crate::engine::Labels;

impl PromqlEvaluator<'_> {
    pub(super) fn call(&mut self, call: &Call, at_ms: i64) -> Result<Value, Refusal> {
        if let Some(vector) = self.over_range(call, at_ms) {
            return vector.map(Value::Vector);
        }
        let arg = |i: usize| -> Result<&Expr, Refusal> {
            let missing = || Refusal::Execution(format!("{}() lacks an argument", call.func.name));
            call.args.args.get(i).map(|arg| unwrapped(arg)).ok_or_else(missing)
        };
        Ok(match call.func.name {
            "time" => Value::Scalar(at_ms as f64 / 1000.0),
            "pi" => Value::Scalar(std::f64::consts::PI),
            "vector" => {
                let value = self.scalar(arg(0)?, at_ms)?;
                Value::Vector(vec![Element { labels: Arc::new(Labels::new()), value, at_ms }])
            }
            "scalar" => match self.vector(arg(0)?, at_ms)?.as_slice() {
                [only] => Value::Scalar(only.value),
                _ => Value::Scalar(f64::NAN),
            },
            "timestamp" => {
                let of_sample = matches!(arg(0)?, Expr::VectorSelector(_));
                let vector = self.vector(arg(0)?, at_ms)?;
                let when = |e: &Element| (if of_sample { e.at_ms } else { at_ms }) as f64 / 1000.0;
                self.each(call, vector, when)?
            }
            "absent" => {
                let present = !self.vector(arg(0)?, at_ms)?.is_empty();
                let labels = Arc::new(absent_labels(arg(0)?));
                Value::Vector(if present { vec![] } else { vec![Element { labels, value: 1.0, at_ms }] })
            }
            "histogram_quantile" => {
                let quantile = self.scalar(arg(0)?, at_ms)?;
                let buckets = self.vector(arg(1)?, at_ms)?;
                Value::Vector(self.quantiles(call, quantile, buckets, at_ms)?)
            }
            "abs" => self.mapped(call, arg(0)?, at_ms, f64::abs)?,
            "ceil" => self.mapped(call, arg(0)?, at_ms, f64::ceil)?,
            "floor" => self.mapped(call, arg(0)?, at_ms, f64::floor)?,
            "clamp_min" => {
                let bound = self.scalar(arg(1)?, at_ms)?;
                self.mapped(call, arg(0)?, at_ms, |value| value.max(bound))?
            }
            "clamp_max" => {
                let bound = self.scalar(arg(1)?, at_ms)?;
                self.mapped(call, arg(0)?, at_ms, |value| value.min(bound))?
            }
            other => return Err(unsupported(&format!("the function {other}()"))),
        })
    }

    fn mapped(&mut self, call: &Call, arg: &Expr, at_ms: i64, of: impl Fn(f64) -> f64) -> Result<Value, Refusal> {
        let vector = self.vector(arg, at_ms)?;
        self.each(call, vector, |element| of(element.value))
    }

    fn each(&mut self, call: &Call, vector: Vector, of: impl Fn(&Element) -> f64) -> Result<Value, Refusal> {
        let elements = vector.iter().map(|element| Element {
            labels: self.derived.of(place(call), &element.labels, nameless),
            value: of(element),
            at_ms: element.at_ms,
        });
        Ok(Value::Vector(distinct(elements.collect())?))
    }

    fn quantiles(&mut self, call: &Call, quantile: f64, vector: Vector, at_ms: i64) -> Result<Vector, Refusal> {
        let mut groups: BTreeMap<Arc<Labels>, Vec<(f64, f64)>> = BTreeMap::new();
        for element in vector {
            // A series whose le is no number is no bucket.
            let Some(bound) = element.labels.get("le").and_then(|le| le.parse().ok()) else { continue };
            let labels = self.derived.of(place(call), &element.labels, |labels| {
                labels.iter().filter(|(name, _)| ![NAME, "le"].contains(name)).collect()
            });
            groups.entry(labels).or_default().push((bound, element.value));
        }
        let element = |(labels, buckets)| Element { labels, value: bucket_quantile(quantile, buckets), at_ms };
        Ok(groups.into_iter().map(element).collect())
    }
}

/// `createLabelsForAbsentFunction`: what the selector fixes.
fn absent_labels(expr: &Expr) -> Labels {
    let selector: &VectorSelector = match expr {
        Expr::VectorSelector(selector) => selector,
        Expr::MatrixSelector(selector) => &selector.vs,
        _ => return Labels::new(),
    };
    let (mut labels, mut vague) = (Labels::new(), Vec::new());
    for matcher in selector.matchers.matchers.iter().filter(|matcher| matcher.name != NAME) {
        if matches!(matcher.op, MatchOp::Equal) && labels.get(&matcher.name).is_none() {
            labels.set(matcher.name.as_str(), matcher.value.as_str());
        } else {
            vague.push(matcher.name.as_str());
        }
    }
    for name in vague {
        labels.set(name, "");
    }
    labels
}

/// `bucketQuantile` of `promql/quantile.go`: linear within the bucket that holds the rank.
fn bucket_quantile(quantile: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return f64::NAN;
    }
    // Equal bounds add up; counts never fall from bucket to bucket.
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    let mut low = f64::NEG_INFINITY;
    for bucket in &mut buckets {
        low = low.max(bucket.1);
        bucket.1 = low;
    }
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let rank = quantile * observations;
    let at = buckets[..last].partition_point(|bucket| bucket.1 < rank);
    if at == last {
        return buckets[last - 1].0;
    }
    if at == 0 && buckets[0].0 <= 0.0 {
        return buckets[0].0;
    }
    let (from, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    from + (buckets[at].0 - from) * ((rank - below) / (buckets[at].1 - below))
}
