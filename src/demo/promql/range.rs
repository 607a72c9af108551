//! Functions over range selectors and subqueries. Their arithmetic is that of `promql/functions.go` in Prometheus 2.42.

use std::collections::BTreeMap;
use std::sync::Arc;

use promql_parser::parser::{Call, Expr, MatrixSelector, SubqueryExpr};

use super::evaluate::{PromqlEvaluator, RangeSpan, Value, milliseconds, unsupported};
use super::vector::{Element, Vector, distinct, nameless, place};
use super::{Refusal, unwrapped};
use crate::demo::scenario::{Sample, Window};
use crate::engine::Labels;

/// Step of a subquery that says none: Prometheus' global evaluation interval.
const STEP_MS: i64 = 60_000;

impl PromqlEvaluator<'_> {
    /// A function of one range selector or subquery; `None` when `call` is no such function.
    pub(super) fn over_range(&mut self, call: &Call, at_ms: i64) -> Option<Result<Vector, Refusal>> {
        let name = call.func.name;
        let extrapolated = ["increase", "rate", "delta"].contains(&name);
        let walk = walking(name);
        if !extrapolated && walk.is_none() {
            return None;
        }
        Some(match call.args.args.first().map(|arg| unwrapped(arg)) {
            Some(Expr::MatrixSelector(selector)) => self.each_series(call, selector, at_ms, walk),
            Some(Expr::Subquery(subquery)) => self.each_row(call, subquery, at_ms, walk),
            _ => Err(unsupported(&format!("{name}() over anything but a range selector or a subquery"))),
        })
    }

    /// The function of each row of a subquery.
    fn each_row(
        &mut self,
        call: &Call,
        subquery: &SubqueryExpr,
        at_ms: i64,
        walk: Option<Walk>,
    ) -> Result<Vector, Refusal> {
        let to_ms = self.moment(subquery.at.as_ref(), subquery.offset.as_ref(), at_ms);
        let span = RangeSpan { from_ms: to_ms - milliseconds(subquery.range), to_ms };
        let mut vector = Vec::new();
        for (labels, points) in self.rows_of(subquery, span)? {
            let value = match walk {
                Some(walk) => walk(&points),
                None => extrapolated(call.func.name, window_of(&points), span),
            };
            vector.extend(value.map(|value| Element { labels: self.labels_after(call, &labels), value, at_ms }));
        }
        distinct(vector)
    }

    /// What a subquery holds: its expression at each multiple of its step within the span, by series.
    fn rows_of(
        &mut self,
        subquery: &SubqueryExpr,
        span: RangeSpan,
    ) -> Result<BTreeMap<Arc<Labels>, Vec<Sample>>, Refusal> {
        let step_ms = subquery.step.map_or(STEP_MS, milliseconds).max(1);
        let mut rows: BTreeMap<Arc<Labels>, Vec<Sample>> = BTreeMap::new();
        let mut at_ms = -(-self.first(span.from_ms)).div_euclid(step_ms) * step_ms;
        while at_ms <= span.to_ms {
            let vector = match self.inner(&subquery.expr, at_ms)? {
                Value::Scalar(value) => vec![Element { labels: Arc::default(), value, at_ms }],
                Value::Vector(vector) => vector,
            };
            self.read(vector.len() as u64)?;
            for element in vector {
                rows.entry(element.labels).or_default().push(Sample { at_ms, value: element.value });
            }
            at_ms += step_ms;
        }
        Ok(rows)
    }

    /// Labels of a function's result: only `last_over_time` keeps the metric's name.
    fn labels_after(&mut self, call: &Call, labels: &Arc<Labels>) -> Arc<Labels> {
        match call.func.name {
            "last_over_time" => Arc::clone(labels),
            _ => self.derived.of(place(call), labels, nameless),
        }
    }

    fn each_series(
        &mut self,
        call: &Call,
        selector: &MatrixSelector,
        at_ms: i64,
        walk: Option<Walk>,
    ) -> Result<Vector, Refusal> {
        let span = self.span(selector, at_ms);
        let name = call.func.name;
        let mut vector = Vec::new();
        for &index in self.select(&selector.vs)?.iter() {
            let value = match walk {
                Some(walk) => {
                    let points = self.points(index, span)?;
                    if points.is_empty() { None } else { walk(&points) }
                }
                None => self.window(index, span)?.and_then(|window| extrapolated(name, window, span)),
            };
            let Some(value) = value else { continue };
            let labels = Arc::clone(&self.data.scenario.series()[index].labels);
            vector.push(Element { labels: self.labels_after(call, &labels), value, at_ms });
        }
        distinct(vector)
    }
}

/// Ends and falls of points, of which there is at least one.
fn window_of(points: &[Sample]) -> Window {
    let fell = points.windows(2).filter(|pair| pair[1].value < pair[0].value);
    let (first, last) = (points[0], points[points.len() - 1]);
    Window { first, last, samples: points.len(), reset: fell.map(|pair| pair[0].value).sum() }
}

/// `extrapolatedRate`: what the samples gained, stretched to the ends of the window unless they are too far away or
/// the counter would have been below zero there.
fn extrapolated(function: &str, window: Window, span: RangeSpan) -> Option<f64> {
    if window.samples < 2 {
        return None;
    }
    let counter = function != "delta";
    let (first, last) = (window.first, window.last);
    let gained = last.value - first.value + if counter { window.reset } else { 0.0 };
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let mut to_start = seconds(first.at_ms - span.from_ms);
    let to_end = seconds(span.to_ms - last.at_ms);
    let sampled = seconds(last.at_ms - first.at_ms);
    let between = sampled / (window.samples - 1) as f64;
    if counter && gained > 0.0 && first.value >= 0.0 {
        to_start = to_start.min(sampled * (first.value / gained));
    }
    let threshold = between * 1.1;
    let stretch = |gap: f64| if gap < threshold { gap } else { between / 2.0 };
    let mut factor = (sampled + stretch(to_start) + stretch(to_end)) / sampled;
    if function == "rate" {
        factor /= seconds(span.to_ms - span.from_ms);
    }
    Some(gained * factor)
}

/// A function of the samples themselves, of which there is at least one.
type Walk = fn(&[Sample]) -> Option<f64>;

fn walking(name: &str) -> Option<Walk> {
    Some(match name {
        "sum_over_time" => |points| Some(points.iter().map(|p| p.value).sum()),
        "count_over_time" => |points| Some(points.len() as f64),
        "avg_over_time" => |points| Some(points.iter().map(|p| p.value).sum::<f64>() / points.len() as f64),
        "max_over_time" => |points| points.iter().map(|p| p.value).reduce(f64::max),
        "min_over_time" => |points| points.iter().map(|p| p.value).reduce(f64::min),
        "last_over_time" => |points| points.last().map(|p| p.value),
        "present_over_time" => |_| Some(1.0),
        "resets" => |points| Some(points.windows(2).filter(|pair| pair[1].value < pair[0].value).count() as f64),
        "changes" => |points| Some(points.windows(2).filter(|pair| pair[1].value != pair[0].value).count() as f64),
        "irate" => |points| {
            let [.., before, last] = points else { return None };
            let gained = if last.value < before.value { last.value } else { last.value - before.value };
            Some(gained / ((last.at_ms - before.at_ms) as f64 / 1000.0))
        },
        _ => return None,
    })
}
