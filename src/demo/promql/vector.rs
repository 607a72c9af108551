//! Instant vectors, and how labels of results are made of labels of series.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use promql_parser::label::Matcher;
use promql_parser::parser::VectorSelector;

use super::Refusal;
use crate::demo::scenario::Scenario;
use crate::engine::Labels;

/// The metric's name, a label like the others.
pub(super) const NAME: &str = "__name__";

/// One series of an instant vector.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub labels: Arc<Labels>,
    pub value: f64,
    /// Time of the sample itself, which `timestamp()` tells.
    pub at_ms: i64,
}

pub(super) type Vector = Vec<Element>;

/// Labels derived from other labels, remembered: a range query derives the same ones at every step. The key is the
/// place in the query that derives, what for, and the address of the input, which is kept alive here.
#[derive(Debug, Default)]
pub(super) struct Derived {
    known: HashMap<(usize, Purpose, usize), Made>,
}

/// The input, kept alive so that its address stays its own, and what was made of it.
#[derive(Debug)]
struct Made {
    _from: Arc<Labels>,
    labels: Arc<Labels>,
}

/// What labels are derived for: a matching operator derives two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Labels of the result.
    Result,
    /// What two elements must share to belong together.
    Signature,
}

impl Derived {
    /// Labels of a result.
    pub fn of(&mut self, place: usize, from: &Arc<Labels>, make: impl FnOnce(&Labels) -> Labels) -> Arc<Labels> {
        self.derive(place, Purpose::Result, from, make)
    }

    /// What two elements must share to belong together.
    pub fn signature(&mut self, place: usize, from: &Arc<Labels>, make: impl FnOnce(&Labels) -> Labels) -> Arc<Labels> {
        self.derive(place, Purpose::Signature, from, make)
    }

    fn derive(
        &mut self,
        place: usize,
        purpose: Purpose,
        from: &Arc<Labels>,
        make: impl FnOnce(&Labels) -> Labels,
    ) -> Arc<Labels> {
        let key = (place, purpose, Arc::as_ptr(from) as usize);
        let made =
            self.known.entry(key).or_insert_with(|| Made { _from: Arc::clone(from), labels: Arc::new(make(from)) });
        Arc::clone(&made.labels)
    }
}

/// The address of a node of the query: one place that derives labels.
pub(super) fn place<T>(node: &T) -> usize {
    std::ptr::from_ref(node) as usize
}

/// Only the labels in `names`.
pub(super) fn only(labels: &Labels, names: &[String]) -> Labels {
    labels.iter().filter(|(name, _)| names.iter().any(|n| n == name)).collect()
}

/// Without the labels in `names`.
pub(super) fn without(labels: &Labels, names: &[String]) -> Labels {
    labels.iter().filter(|(name, _)| !names.iter().any(|n| n == name)).collect()
}

/// Without the metric's name.
pub(super) fn nameless(labels: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| *name != NAME).collect()
}

/// Refuses a vector in which two series have the same labels.
pub(super) fn distinct(vector: Vector) -> Result<Vector, Refusal> {
    let mut seen = BTreeSet::new();
    if vector.iter().all(|element| seen.insert(&element.labels)) {
        Ok(vector)
    } else {
        Err(Refusal::Execution("vector cannot contain metrics with the same labelset".into()))
    }
}

/// Indexes of the series that a selector matches.
///
/// # Errors
/// `BadData` for `{a="x" or b="y"}`, which Prometheus does not have.
pub fn matching(scenario: &Scenario, selector: &VectorSelector) -> Result<Vec<usize>, Refusal> {
    if !selector.matchers.or_matchers.is_empty() {
        return Err(Refusal::BadData("parse error: \"or\" between label matchers is not PromQL".into()));
    }
    let matches = |labels: &Labels| {
        let named = selector.name.as_deref().is_none_or(|name| labels.get(NAME) == Some(name));
        named && selector.matchers.matchers.iter().all(|matcher| is_match(matcher, labels))
    };
    Ok((0..scenario.series().len()).filter(|&i| matches(&scenario.series()[i].labels)).collect())
}

fn is_match(matcher: &Matcher, labels: &Labels) -> bool {
    matcher.is_match(labels.get(&matcher.name).unwrap_or_default())
}
