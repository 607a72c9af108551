//! Walks the tree: one value for one moment, and for a range query one moment after the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use promql_parser::parser::{AtModifier, Expr, MatrixSelector, Offset, VectorSelector};

use super::vector::{Derived, Element, Vector, distinct, matching, nameless, place};
use super::{Answer, Data, LOOKBACK_MS, Refusal, Row, Stats, Steps};
use crate::demo::scenario::{Sample, Window};
use crate::engine::Labels;

/// Samples a query may hold, as in Prometheus' `--query.max-samples`.
const SAMPLES_MAX: u64 = 50_000_000;

/// A value at one moment.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar(f64),
    Vector(Vector),
}

/// The span a range selector looks at, milliseconds; whether its beginning belongs to it is a matter of the generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct RangeSpan {
    pub from_ms: i64,
    pub to_ms: i64,
}

pub(super) struct PromqlEvaluator<'a> {
    pub data: Data<'a>,
    pub derived: Derived,
    steps: Steps,
    selected: HashMap<usize, Arc<Vec<usize>>>,
    stats: Stats,
    held: u64,
    at_this_step: u64,
}

impl<'a> PromqlEvaluator<'a> {
    pub fn new(data: Data<'a>, steps: Steps) -> Self {
        let (derived, selected, stats) = (Derived::default(), HashMap::new(), Stats::default());
        PromqlEvaluator { data, derived, steps, selected, stats, held: 0, at_this_step: 0 }
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The answer of an instant query.
    pub fn instant(&mut self, expr: &Expr, at_ms: i64) -> Result<Answer, Refusal> {
        Ok(match self.value(expr, at_ms)? {
            Value::Scalar(value) => Answer::Scalar(Sample { at_ms, value }),
            Value::Vector(mut vector) => {
                vector.sort_by(|a, b| a.labels.cmp(&b.labels));
                let sample = |element: Element| (element.labels, Sample { at_ms, value: element.value });
                Answer::Vector(vector.into_iter().map(sample).collect())
            }
        })
    }

    /// All steps, gathered by series.
    pub fn range(&mut self, expr: &Expr) -> Result<Vec<Row>, Refusal> {
        let mut rows: BTreeMap<Arc<Labels>, Vec<Sample>> = BTreeMap::new();
        let nothing = Arc::new(Labels::new());
        let mut at_ms = self.steps.start_ms;
        while at_ms <= self.steps.end_ms {
            self.at_this_step = 0;
            let vector = match self.value(expr, at_ms)? {
                Value::Scalar(value) => vec![Element { labels: Arc::clone(&nothing), value, at_ms }],
                Value::Vector(vector) => distinct(vector)?,
            };
            for element in vector {
                self.hold(1)?;
                rows.entry(element.labels).or_default().push(Sample { at_ms, value: element.value });
            }
            at_ms += self.steps.step_ms;
        }
        Ok(rows.into_iter().map(|(labels, points)| Row { labels, points }).collect())
    }

    /// Raw samples of a range selector.
    pub fn raw(&mut self, selector: &MatrixSelector, at_ms: i64) -> Result<Vec<Row>, Refusal> {
        let span = self.span(selector, at_ms);
        let mut rows = Vec::new();
        for &index in self.select(&selector.vs)?.iter() {
            let points = self.points(index, span)?;
            if !points.is_empty() {
                self.hold(points.len() as u64)?;
                rows.push(Row { labels: Arc::clone(&self.data.scenario.series()[index].labels), points });
            }
        }
        rows.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(rows)
    }

    /// Any expression at one moment.
    pub fn value(&mut self, expr: &Expr, at_ms: i64) -> Result<Value, Refusal> {
        if self.data.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(Refusal::Timeout("query timed out in expression evaluation".into()));
        }
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::Paren(paren) => self.value(&paren.expr, at_ms),
            Expr::VectorSelector(selector) => self.newest(selector, at_ms).map(Value::Vector),
            Expr::Unary(unary) => self.negated(&unary.expr, place(unary), at_ms),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, at_ms).map(Value::Vector),
            Expr::Binary(binary) => self.binary(binary, at_ms),
            Expr::Call(call) => self.call(call, at_ms),
            Expr::MatrixSelector(_) => Err(unsupported("a range selector outside a function")),
            Expr::Subquery(_) => Err(unsupported("a subquery outside a function")),
            Expr::StringLiteral(_) => Err(unsupported("a string")),
            Expr::Extension(_) => Err(unsupported("this expression")),
        }
    }

    /// A vector at one moment; a scalar is refused.
    pub fn vector(&mut self, expr: &Expr, at_ms: i64) -> Result<Vector, Refusal> {
        match self.value(expr, at_ms)? {
            Value::Vector(vector) => Ok(vector),
            Value::Scalar(_) => Err(Refusal::Execution("expected an instant vector, got a scalar".into())),
        }
    }

    /// A scalar at one moment; a vector is refused.
    pub fn scalar(&mut self, expr: &Expr, at_ms: i64) -> Result<f64, Refusal> {
        match self.value(expr, at_ms)? {
            Value::Scalar(value) => Ok(value),
            Value::Vector(_) => Err(Refusal::Execution("expected a scalar, got an instant vector".into())),
        }
    }

    /// Unary minus. The parser keeps a unary plus as nothing at all.
    fn negated(&mut self, expr: &Expr, place: usize, at_ms: i64) -> Result<Value, Refusal> {
        Ok(match self.value(expr, at_ms)? {
            Value::Scalar(value) => Value::Scalar(-value),
            Value::Vector(vector) => {
                let negated = vector.into_iter().map(|element| Element {
                    labels: self.derived.of(place, &element.labels, nameless),
                    value: -element.value,
                    ..element
                });
                Value::Vector(distinct(negated.collect())?)
            }
        })
    }

    /// The newest sample of each matching series within the lookback.
    fn newest(&mut self, selector: &VectorSelector, at_ms: i64) -> Result<Vector, Refusal> {
        let at = self.moment(selector.at.as_ref(), selector.offset.as_ref(), at_ms);
        let scenario = self.data.scenario;
        let mut vector = Vec::new();
        for &index in self.select(selector)?.iter() {
            if let Some(sample) = scenario.newest(index, self.first(at - LOOKBACK_MS), at.min(self.data.now_ms)) {
                self.read(1)?;
                let labels = Arc::clone(&scenario.series()[index].labels);
                vector.push(Element { labels, value: sample.value, at_ms: sample.at_ms });
            }
        }
        Ok(vector)
    }

    /// The series a selector matches.
    pub fn select(&mut self, selector: &VectorSelector) -> Result<Arc<Vec<usize>>, Refusal> {
        if let Some(known) = self.selected.get(&place(selector)) {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(matching(self.data.scenario, selector)?);
        self.selected.insert(place(selector), Arc::clone(&found));
        Ok(found)
    }

    /// All samples of a series within a span.
    pub fn points(&mut self, index: usize, span: RangeSpan) -> Result<Vec<Sample>, Refusal> {
        let mut points = Vec::new();
        self.data.scenario.samples(index, self.first(span.from_ms), span.to_ms.min(self.data.now_ms), &mut points);
        self.read(points.len() as u64)?;
        Ok(points)
    }

    /// Ends and falls of a series within a span.
    pub fn window(&mut self, index: usize, span: RangeSpan) -> Result<Option<Window>, Refusal> {
        let window = self.data.scenario.window(index, self.first(span.from_ms), span.to_ms.min(self.data.now_ms));
        self.read(window.map_or(0, |window| window.samples as u64))?;
        Ok(window)
    }

    /// The first millisecond of a span that begins at `from_ms`.
    pub fn first(&self, from_ms: i64) -> i64 {
        from_ms + i64::from(self.data.left_open)
    }

    /// The span of a range selector at `at_ms`.
    pub fn span(&self, selector: &MatrixSelector, at_ms: i64) -> RangeSpan {
        let to_ms = self.moment(selector.vs.at.as_ref(), selector.vs.offset.as_ref(), at_ms);
        RangeSpan { from_ms: to_ms - milliseconds(selector.range), to_ms }
    }

    /// Where a selector or a subquery looks from: `@` first, then `offset`.
    pub fn moment(&self, at: Option<&AtModifier>, offset: Option<&Offset>, at_ms: i64) -> i64 {
        let at = match at {
            None => at_ms,
            Some(AtModifier::Start) => self.steps.start_ms,
            Some(AtModifier::End) => self.steps.end_ms,
            Some(AtModifier::At(time)) => match time.duration_since(UNIX_EPOCH) {
                Ok(since) => milliseconds(since),
                Err(before) => -milliseconds(before.duration()),
            },
        };
        match offset {
            None => at,
            Some(Offset::Pos(back)) => at - milliseconds(*back),
            Some(Offset::Neg(ahead)) => at + milliseconds(*ahead),
        }
    }

    /// The value of an inner expression. What it reads is not counted as the query's own; Prometheus counts what comes of it.
    pub fn inner(&mut self, expr: &Expr, at_ms: i64) -> Result<Value, Refusal> {
        let before = self.stats.queryable;
        let value = self.value(expr, at_ms);
        self.stats.queryable = before;
        value
    }

    pub fn read(&mut self, samples: u64) -> Result<(), Refusal> {
        self.stats.queryable += samples;
        self.at_this_step += samples;
        self.peak()
    }

    fn hold(&mut self, samples: u64) -> Result<(), Refusal> {
        self.held += samples;
        self.peak()
    }

    fn peak(&mut self) -> Result<(), Refusal> {
        self.stats.peak = self.stats.peak.max(self.held + self.at_this_step);
        if self.held + self.at_this_step > SAMPLES_MAX {
            let why = "query processing would load too many samples into memory in query execution";
            return Err(Refusal::Execution(why.into()));
        }
        Ok(())
    }
}

/// The refusal of something this evaluator does not know.
pub(super) fn unsupported(what: &str) -> Refusal {
    Refusal::Execution(format!("the simulated Prometheus does not support {what}"))
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}
