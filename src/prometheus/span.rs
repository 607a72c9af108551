//! One stretch of time that is read of one group, how it is asked for, and what came of it.

use crate::query::RawSeries;

/// One read of one group: `(from_s, to_s]`, and what lies before is asked for again.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadSpan {
    pub group: usize,
    pub from_s: i64,
    pub to_s: i64,
    pub overlap_s: i64,
}

impl ReadSpan {
    /// The first second of it, overlap included.
    pub fn begins_s(&self) -> i64 {
        self.from_s - self.overlap_s
    }
}

/// What came of one span.
#[derive(Debug)]
pub(super) struct Answered {
    /// What was read.
    pub span: ReadSpan,
    /// What was to be read before it showed that more must be.
    pub asked: ReadSpan,
    pub warned: bool,
    /// Index into the group's requests, and the series of its answer.
    pub series: Vec<(usize, Vec<RawSeries>)>,
}

impl Answered {
    pub fn new(span: ReadSpan) -> Self {
        Answered { span, asked: span, warned: false, series: Vec::new() }
    }

    /// The series of all its answers.
    pub fn counters(&self) -> impl Iterator<Item = &RawSeries> {
        self.series.iter().flat_map(|(_, series)| series)
    }
}

/// How a request is asked this time.
#[derive(Debug)]
pub(super) enum Query {
    Raw,
    Grid { start_s: i64, step_s: i64 },
}

/// The first slice that a span on the slice grid asks for.
pub(super) fn first_slice(span: &ReadSpan, resolution_s: i64) -> i64 {
    span.begins_s().div_euclid(resolution_s)
}
