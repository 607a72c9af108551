//! The labels that tell one workload of a preset from another, and the environments that its values are in.

use std::collections::{BTreeMap, BTreeSet};

use crate::query::RawSeries;
use crate::query::promql::request;

/// The labels by which rows are told apart: that of the workload, and those of its environment.
#[derive(Debug, Clone)]
pub(super) struct By(pub(super) Vec<String>);

/// Between the values of several labels in one text.
pub(super) const SEPARATOR: char = '\u{1f}';

impl By {
    pub(super) fn one(label: &str) -> By {
        By(vec![label.to_owned()])
    }

    /// How many series there are of each.
    pub(super) fn count(&self, expr: &str) -> String {
        request::count(expr, &self.0)
    }

    /// The values of a row; `None` where it lacks the first label.
    pub(super) fn value(&self, row: &RawSeries) -> Option<String> {
        let values: Vec<&str> = self.0.iter().map(|label| row.label(label)).collect();
        (!values[0].is_empty()).then(|| values.join(&SEPARATOR.to_string()))
    }
}

/// Where a value is: its labels of an environment.
pub(super) type Place = BTreeMap<&'static str, String>;
/// The places of each value of the workload's label.
pub(super) type Places = BTreeMap<String, BTreeSet<Place>>;

/// The labels that tell a workload apart; those of its environment only where its value is in several places.
pub(super) fn matches_of(label: &str, env: &[&'static str], key: &str, places: &Places) -> Vec<(String, String)> {
    let mut values = key.split(SEPARATOR);
    let value = values.next().unwrap_or_default();
    let mut matches = vec![(label.to_owned(), value.to_owned())];
    if places.get(value).is_some_and(|of| of.len() > 1) {
        let named = env.iter().zip(values).filter(|(_, value)| !value.is_empty());
        matches.extend(named.map(|(name, value)| ((*name).to_owned(), value.to_owned())));
    }
    matches
}
