//! Whether anybody was let in: a counter on the slice grid, of which only its moves count.
//!
//! Deliberately absent: how many were let in. One is enough to end a silence, and the histogram counts events.

use std::collections::BTreeMap;

use super::{distinct, rows_of, uses};
use crate::engine::Labels;
use crate::query::fanout::Fanout;
use crate::query::fetch::{Fetch, Plan, Role};
use crate::query::samples::RawSeries;

/// What counters of those who were let in say of one series of one SLI.
#[derive(Debug, Clone, PartialEq)]
pub struct Through {
    /// Index into `Plan::slis`.
    pub sli: usize,
    /// Series labels.
    pub labels: Labels,
    /// Slices in which a counter was there, and whether one had moved at their end.
    pub slices: BTreeMap<i64, bool>,
}

/// The moves in answers on the slice grid. What is first seen at the beginning of an answer was there before; what comes
/// later, or begins anew, has let in whomever it has counted. Slices before `from_slice` were read along to judge by.
pub fn through(
    plan: &Plan,
    fanout: &Fanout,
    answers: &[(&Fetch, &[RawSeries])],
    from_slice: i64,
    resolution_ms: i64,
) -> Vec<Through> {
    let mut found: BTreeMap<(usize, Labels), BTreeMap<i64, bool>> = BTreeMap::new();
    for (fetch, answer) in answers {
        for series in distinct(answer) {
            for (sli, _) in uses(plan, fetch, series).into_iter().filter(|&(_, role)| role == Role::Through) {
                for labels in rows_of(plan, fanout, sli, series) {
                    let of = found.entry((sli, labels)).or_default();
                    let mut was: Option<f64> = None;
                    for (at, value) in series.samples.iter().filter(|(_, value)| value.is_finite()) {
                        let slice = at.div_euclid(resolution_ms) - 1;
                        let moved = match was {
                            Some(was) => value > was || value < was && value > 0.0,
                            None => slice >= from_slice && value > 0.0,
                        };
                        *of.entry(slice).or_default() |= moved;
                        was = Some(value);
                    }
                }
            }
        }
    }
    let of = |((sli, labels), mut slices): ((usize, Labels), BTreeMap<i64, bool>)| {
        slices = slices.split_off(&from_slice);
        Through { sli, labels, slices }
    };
    found.into_iter().map(of).collect()
}
