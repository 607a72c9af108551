//! Evaluates PromQL over a scenario as Prometheus does (`promql/engine.go`, `promql/functions.go`): five minutes of
//! lookback, extrapolated `rate` and `increase`. Ranges are closed at both ends as in 2.x, or left-open as in 3.x.
//!
//! Covers what Slowburn sends and what people type beside it. What it does not know it refuses by name; it never
//! guesses. Deliberately absent: native histograms, `topk` and friends, string results.

mod aggregate;
mod binary;
mod evaluate;
mod function;
mod range;
mod vector;

use std::sync::Arc;
use std::time::Instant;

use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Expr, VectorSelector};

use super::scenario::{Sample, Scenario};
use crate::engine::Labels;
use evaluate::PromqlEvaluator;
pub use vector::matching;

/// Points a series of a range query may have, as in Prometheus.
pub const POINTS_MAX: i64 = 11_000;
/// Length of a query, bytes; and how many operators, brackets and words of logic it may hold. Both bound the depth of
/// the tree, which is walked by recursion.
const QUERY_BYTES_MAX: usize = 65_536;
const QUERY_DEPTH_MAX: usize = 1_000;
/// How far back an instant selector looks for a sample, milliseconds.
const LOOKBACK_MS: i64 = 300_000;

/// Why there is no answer; decides the `errorType` and the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request itself is wrong: `bad_data`, 400.
    BadData(String),
    /// The query cannot be evaluated: `execution`, 422.
    Execution(String),
    /// It took too long: `timeout`, 503.
    Timeout(String),
}

/// A parsed and type-checked query.
#[derive(Debug, Clone)]
pub struct Query {
    expr: Expr,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Points, oldest first.
    pub points: Vec<Sample>,
}

/// What a query evaluates to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A number.
    Scalar(Sample),
    /// One sample a series, in label order.
    Vector(Vec<(Arc<Labels>, Sample)>),
    /// Several samples a series, in label order.
    Matrix(Vec<Row>),
}

/// What an evaluation read, as `stats=all` reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Samples that selectors gave at all steps together.
    pub queryable: u64,
    /// Largest number of samples held at once (an estimate).
    pub peak: u64,
}

/// The moments a range query asks for, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// First.
    pub start_ms: i64,
    /// Not after this.
    pub end_ms: i64,
    /// Distance, > 0.
    pub step_ms: i64,
}

/// The data a query runs on.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// Where samples come from.
    pub scenario: &'a Scenario,
    /// Samples after this moment have not happened yet.
    pub now_ms: i64,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Whether ranges and the lookback leave out their beginning, as they do from 3.0 on.
    pub left_open: bool,
}

impl Query {
    /// Parses `text`.
    ///
    /// # Errors
    /// `BadData` with the parser's words, or for a query too large to be safe.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > QUERY_BYTES_MAX || depth_bound(text) > QUERY_DEPTH_MAX {
            let limits = format!("{QUERY_BYTES_MAX} bytes or {QUERY_DEPTH_MAX} operators");
            return Err(Refusal::BadData(format!("the query is larger than the simulated Prometheus takes: {limits}")));
        }
        let expr = promql_parser::parser::parse(text).map_err(|why| Refusal::BadData(format!("parse error: {why}")))?;
        Ok(Query { expr })
    }

    /// Evaluates at one moment. A range selector is allowed here and gives raw samples.
    ///
    /// # Errors
    /// `Execution` for what Prometheus refuses, too, and for what this evaluator does not know.
    pub fn instant(&self, data: Data<'_>, at_ms: i64) -> Result<(Answer, Stats), Refusal> {
        let mut evaluator = PromqlEvaluator::new(data, Steps { start_ms: at_ms, end_ms: at_ms, step_ms: 1 });
        let answer = match unwrapped(&self.expr) {
            Expr::MatrixSelector(selector) => Answer::Matrix(evaluator.raw(selector, at_ms)?),
            _ => evaluator.instant(&self.expr, at_ms)?,
        };
        Ok((answer, evaluator.stats()))
    }

    /// Evaluates at every step; the answer is a matrix.
    ///
    /// # Errors
    /// As `instant`, and `BadData` for a range selector or for too many points.
    pub fn range(&self, data: Data<'_>, steps: Steps) -> Result<(Answer, Stats), Refusal> {
        match self.expr.value_type() {
            ValueType::Scalar | ValueType::Vector => {}
            other => {
                let kind = if other == ValueType::Matrix { "range vector" } else { "string" };
                let why =
                    format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
                return Err(Refusal::BadData(why));
            }
        }
        let mut evaluator = PromqlEvaluator::new(data, steps);
        let rows = evaluator.range(&self.expr)?;
        Ok((Answer::Matrix(rows), evaluator.stats()))
    }

    /// The selector, if the query is nothing else: what `match[]` takes.
    pub fn selector(&self) -> Option<&VectorSelector> {
        match &self.expr {
            Expr::VectorSelector(selector) => Some(selector),
            _ => None,
        }
    }
}

fn unwrapped(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// An upper bound of the depth of the tree: everything outside quotes that can add a level.
fn depth_bound(text: &str) -> usize {
    let (mut bound, mut quote, mut escaped, mut word) = (0, None, false, String::new());
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(mark) => {
                escaped = c == '\\' && mark != '`';
                if c == mark {
                    quote = None;
                }
            }
            None if c.is_alphanumeric() || c == '_' || c == ':' => word.push(c),
            None => {
                bound += usize::from(["and", "or", "unless", "atan2"].contains(&word.to_lowercase().as_str()));
                bound += usize::from("+-*/%^<>=!([{".contains(c));
                word.clear();
                if "\"'`".contains(c) {
                    quote = Some(c);
                }
            }
        }
    }
    bound
}

#[cfg(test)]
mod tests;
