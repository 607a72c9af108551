//! What a Prometheus was found to hold of the sources of each SLO, and which source that makes it read.
//!
//! Plain data, kept across restarts. Deliberately absent: how it is asked for (`survey`), and when (`app`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::spec::{SliSource, SloSpec};

/// What is known of each SLO, by its id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Survey(BTreeMap<String, Known>);

/// What is known of the sources of one SLO.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Place of the generation that is there; `None` while none was ever found, or where there are no generations. Of a
    /// source with colons in its names, the second is that with `_` instead.
    pub generation: Option<usize>,
    /// Finite bounds of its buckets, ascending: those that every one of its histograms has.
    pub bounds: Vec<f64>,
    /// How they are spelled where that is not usual.
    pub spelled: Vec<(f64, String)>,
    /// It is there as a native histogram: how fine its coarsest series is.
    pub native: Option<i32>,
    /// Two bounds, ascending, of which the lower holds far more events: its buckets are not cumulative.
    pub crooked: Option<(f64, f64)>,
}

impl Known {
    fn is_empty(&self) -> bool {
        *self == Known::default()
    }

    /// Whether it is the same metric as `before`, less some of its buckets. That may be so; it is also what half an answer
    /// looks like.
    pub fn lacks(&self, before: &Known) -> bool {
        self.generation == before.generation && before.bounds.iter().any(|bound| !self.bounds.contains(bound))
    }
}

impl Survey {
    /// What is known of an SLO.
    pub fn of(&self, slo_id: &str) -> Option<&Known> {
        self.0.get(slo_id)
    }

    /// Takes what was found; what was found of nothing stays as it was known, for nothing is no reason to read something
    /// else. Answers the SLOs of which something else is known now.
    pub fn learn(&mut self, found: BTreeMap<String, Known>) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        for (id, known) in found {
            if !known.is_empty() && self.0.get(&id) != Some(&known) {
                changed.insert(id.clone());
                self.0.insert(id, known);
            }
        }
        changed
    }

    /// Whether nothing is known of anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets SLOs that are not wanted any more.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// The source that an SLO is read from: of several generations the one that is there, the first until that is known.
    pub fn source<'a>(&self, spec: &'a SloSpec) -> Result<Cow<'a, SliSource>, &'a String> {
        let source = spec.source.as_ref()?;
        let place = self.of(&spec.slo.id).and_then(|known| known.generation).unwrap_or(0);
        let SliSource::Generations(all) = source else {
            let other = if place == 1 { source.underscored() } else { None };
            return Ok(other.map_or(Cow::Borrowed(source), Cow::Owned));
        };
        Ok(Cow::Borrowed(all.get(place).or(all.first()).map_or(source, |one| &one.source)))
    }

    /// Whether an SLO is read under names with `_` although they were written with colons.
    pub fn is_underscored(&self, spec: &SloSpec) -> bool {
        matches!(self.source(spec), Ok(Cow::Owned(_)))
    }
}

/// Whether anything has to be known of a source before it can be read.
pub fn is_surveyed(spec: &SloSpec) -> bool {
    let Ok(source) = &spec.source else { return false };
    matches!(source, SliSource::Generations(_) | SliSource::Histogram { .. } | SliSource::Queue { .. })
        || source.underscored().is_some()
}
