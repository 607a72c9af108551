//! Requests that are read together, and what is asked of them next.

use super::fault::Fault;
use super::options::SourceOptions;
use super::span::{Answered, Query, ReadSpan, first_slice};
use crate::query::Fetch;
use crate::query::fetch::Ask;
use crate::query::promql::request;

/// Samples asked for in one answer at most, when a gap is caught up.
const SAMPLES_PER_ANSWER: i64 = 500_000;
/// Samples that all answers of one step hold at most, when a gap is caught up: decoded they take 16 bytes each, all of them are
/// there until the last has come, and a start must not need far more memory than what comes after it.
const SAMPLES_PER_STEP: i64 = 4_000_000;
/// The longest stretch one answer covers, seconds, and the shortest one that an answer too large is cut to.
const STEP_MAX_S: i64 = 21_600;
const STEP_MIN_S: i64 = 300;
/// Series are expected to be scraped no more often than each so many seconds.
const SCRAPE_LEAST_S: i64 = 15;
/// Values on the slice grid are read again for this long, seconds, in polls: they may come late.
const GRID_OVERLAP_POLLS: i64 = 2;
/// ... and for this long at most.
const GRID_OVERLAP_MAX_S: i64 = 120;
/// The first read of counters after a restart begins this much earlier, seconds: five scrapes of the usual, so that it shows the
/// labels of what is there, which are not saved.
pub(super) const RESTORED_OVERLAP_S: i64 = 150;

/// The state of a group of requests: all of its answers are taken, or none.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Its requests, all of one kind.
    pub fetches: Vec<Fetch>,
    pub ask: Ask,
    /// The SLIs that they answer for, ascending.
    pub slis: Vec<usize>,
    /// The group of the plan that it is, or is a part of.
    pub origin: usize,
    /// Everything up to here was read; the next read begins here.
    pub read_s: Option<i64>,
    /// The end of the last read that answered; `None` before the first.
    pub answered_s: Option<i64>,
    /// An earlier process did that read.
    pub restored: bool,
    /// The last answers came with warnings.
    pub warned: bool,
    /// Its raw series are so many that the server sums them.
    pub aggregated: bool,
    /// Its children are so many that the server does not tell them apart either.
    pub undivided: bool,
    /// Slices up to here are not taken from the slice grid: they were counted in another way.
    pub floor: i64,
    /// Raw series in the last answers.
    pub raw_series: usize,
    /// The longest stretch to ask for, seconds; halved while answers are too large.
    step_s: i64,
    /// The last answer was too large.
    in_parts: bool,
    /// When a read that went further back brought nothing.
    pub fruitless_s: Option<i64>,
    /// Polls in a row in which it failed.
    pub failures: u32,
    /// Why it failed the last time it was asked; `None` when it answered, or was not asked by itself yet.
    pub fault: Option<Fault>,
}

impl Group {
    pub fn new(origin: usize, fetches: Vec<Fetch>) -> Self {
        let mut slis: Vec<usize> = fetches.iter().flat_map(|fetch| fetch.slis.iter().copied()).collect();
        slis.sort_unstable();
        slis.dedup();
        Group {
            ask: fetches.first().map_or(Ask::Counter, |fetch| fetch.ask),
            fetches,
            slis,
            origin,
            read_s: None,
            answered_s: None,
            restored: false,
            warned: false,
            aggregated: false,
            undivided: false,
            floor: i64::MIN,
            raw_series: 0,
            step_s: STEP_MAX_S,
            in_parts: false,
            fruitless_s: None,
            failures: 0,
            fault: None,
        }
    }

    /// A part of it, which stands where it stands.
    pub fn part(&self, fetches: Vec<Fetch>) -> Self {
        let part = Group::new(self.origin, fetches);
        let (step_s, in_parts, fault) = (STEP_MAX_S, false, None);
        Group { fetches: part.fetches, slis: part.slis, step_s, in_parts, fault, ..self.clone() }
    }

    /// What it stands for, in one line.
    pub fn name(&self) -> &str {
        self.fetches.first().map_or("", |fetch| &fetch.expr)
    }

    /// Whether an answer that is too large, or too late, can be cut shorter still.
    pub fn can_ask_less(&self, span: &ReadSpan) -> bool {
        span.to_s - span.from_s > STEP_MIN_S
    }

    /// Whether its answers come on the slice grid.
    pub fn on_grid(&self) -> bool {
        self.ask == Ask::Gauge || self.aggregated
    }

    /// How many raw series it is expected to answer with: before the first answer at least one for each of its SLIs.
    pub fn expected_series(&self) -> usize {
        self.raw_series.max(self.slis.len())
    }

    /// What to read next, on the way to `at_s`, where `together` raw series are read in one step.
    pub fn next_span(&self, group: usize, at_s: i64, together: usize, options: &SourceOptions) -> ReadSpan {
        let from_s = self.read_s.unwrap_or(at_s - options.poll_interval_s).min(at_s);
        let sparing = |samples: i64, series: usize| samples / series.max(1) as i64 * SCRAPE_LEAST_S;
        let sparing = sparing(SAMPLES_PER_ANSWER, self.raw_series).min(sparing(SAMPLES_PER_STEP, together));
        let step_s = sparing.clamp(600, STEP_MAX_S).min(self.step_s);
        let to_s = at_s.min(from_s + (step_s - step_s % options.resolution_s).max(options.resolution_s));
        let overlap_s = match (self.answered_s, self.on_grid()) {
            // Nothing was read before: what lies further back belongs to older history.
            (None, _) => 0,
            (Some(_), true) => (GRID_OVERLAP_POLLS * options.poll_interval_s).min(GRID_OVERLAP_MAX_S),
            (Some(_), false) if self.restored => options.overlap_s.max(RESTORED_OVERLAP_S),
            (Some(_), false) => options.overlap_s,
        };
        ReadSpan { group, from_s, to_s, overlap_s }
    }

    /// It was asked and failed. What was too large, or too late, covers less the next time; too large a one is asked for in
    /// parts at once.
    pub fn note_fault(&mut self, span: &ReadSpan, fault: &Fault) {
        self.failures += 1;
        self.fault = Some(fault.clone());
        let asked_s = span.to_s - span.from_s;
        if self.can_ask_less(span) && (fault.is_of_the_query() || *fault == Fault::Timeout) {
            self.step_s = (asked_s / 2).max(STEP_MIN_S);
            self.in_parts = matches!(fault, Fault::TooLarge(_));
        }
    }

    /// Takes note of its answers.
    pub fn note(&mut self, answered: &Answered) {
        let to_s = answered.span.to_s;
        (self.read_s, self.answered_s, self.warned) = (Some(to_s), Some(to_s), answered.warned);
        (self.step_s, self.in_parts) = ((self.step_s * 2).min(STEP_MAX_S), false);
        (self.failures, self.fault, self.restored) = (0, None, false);
        if !self.on_grid() {
            self.raw_series = answered.series.iter().map(|(_, series)| series.len()).max().unwrap_or(0);
        }
    }

    /// Whether a poll up to `at_s` should ask it again, after `span`.
    pub fn has_more(&self, span: &ReadSpan, at_s: i64) -> bool {
        let answered = self.read_s == Some(span.to_s) && self.answered_s.is_some();
        if answered { span.to_s < at_s } else { self.in_parts && self.step_s < span.to_s - span.from_s }
    }

    /// From here on the server sums its series.
    pub fn sum_from(&mut self, from_s: i64, resolution_s: i64) {
        self.aggregated = true;
        self.floor = from_s.div_euclid(resolution_s) - 1;
    }

    /// The text of one of its requests, and how it is asked.
    pub fn question(&self, fetch: &Fetch, span: &ReadSpan, resolution_s: i64) -> (String, Query) {
        if self.ask == Ask::Native {
            let start_s = (first_slice(span, resolution_s) + 1) * resolution_s;
            return (fetch.expr.clone(), Query::Grid { start_s: start_s.min(span.to_s), step_s: resolution_s });
        }
        if !self.on_grid() {
            let window_s = (span.to_s - span.begins_s()).max(1);
            return (request::raw(&fetch.expr, window_s), Query::Raw);
        }
        let text = if self.aggregated { self.aggregate(fetch, resolution_s) } else { fetch.on_grid(resolution_s) };
        let start_s = (first_slice(span, resolution_s) + 1 - fetch.context) * resolution_s;
        (text, Query::Grid { start_s: start_s.min(span.to_s), step_s: resolution_s })
    }

    fn aggregate(&self, fetch: &Fetch, slice_s: i64) -> String {
        let keep = if self.undivided { &fetch.keep_undivided } else { &fetch.keep };
        let (selector, all) = (fetch.expr.as_str(), fetch.all.as_deref().unwrap_or(&fetch.expr));
        let (targets, spelled) = (fetch.targets.as_slice(), fetch.spelled.as_slice());
        let summed = request::Summed { selector, all, targets, keep, spelled, slice_s };
        // A selector that was printed from a tree reads back.
        summed.increments().unwrap_or_else(|_| fetch.expr.clone())
    }
}
