//! Functions over range selectors. Their arithmetic is that of `promql/functions.go` in Prometheus 2.42.

use promql_parser::parser::{Call, Expr, MatrixSelector};

use super::evaluate::{Evaluator, Span, unsupported};
use super::vector::{Element, Vector, distinct, nameless, place};
use super::{Refusal, unwrapped};
use crate::demo::scenario::{Sample, Window};

impl Evaluator<'_> {
    /// A function of one range selector; `None` when `call` is no such function.
    pub(super) fn over_range(&mut self, call: &Call, at_ms: i64) -> Option<Result<Vector, Refusal>> {
        let name = call.func.name;
        let extrapolated = ["increase", "rate", "delta"].contains(&name);
        let walk = walking(name);
        if !extrapolated && walk.is_none() {
            return None;
        }
        let Some(Expr::MatrixSelector(selector)) = call.args.args.first().map(|arg| unwrapped(arg)) else {
            return Some(Err(unsupported(&format!("{name}() over anything but a plain range selector"))));
        };
        Some(self.each_series(call, selector, at_ms, walk))
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
            let labels = &self.data.scenario.series()[index].labels;
            let labels = match name {
                "last_over_time" => labels.clone(),
                _ => self.derived.of(place(call), labels, nameless),
            };
            vector.push(Element { labels, value, at_ms });
        }
        distinct(vector)
    }
}

/// `extrapolatedRate`: what the samples gained, stretched to the ends of the window unless they are too far away or
/// the counter would have been below zero there.
fn extrapolated(function: &str, window: Window, span: Span) -> Option<f64> {
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
