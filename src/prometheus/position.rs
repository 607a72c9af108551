//! What survives of a source when its process ends.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::health::Lately;
use crate::engine::Labels;
use crate::query::increment::{Cursors, Lineage};
use crate::query::queue::SavedQueues;

/// Where a source stands: what a restart needs to count nothing twice and lose nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position<'a> {
    /// The last sample of each raw series.
    pub(super) raw: Cursors<'a>,
    /// How far everything was read, seconds; `None` when nothing was.
    pub(super) until_s: Option<i64>,
    /// SLOs whose raw series the server sums.
    pub(super) aggregated: BTreeSet<String>,
    /// SLOs whose children the server does not tell apart.
    pub(super) undivided: BTreeSet<String>,
    /// SLOs that were not read as far as the others, and how far, seconds.
    pub(super) behind: BTreeMap<String, i64>,
    /// With how many raw series each series answered lately, by SLO.
    pub(super) live: Vec<(Cow<'a, str>, Cow<'a, Labels>, Cow<'a, Lately>)>,
    /// Slices of queues that are not decided yet.
    pub(super) queues: SavedQueues,
}

impl Position<'_> {
    /// The same with nothing borrowed: it outlives the source.
    pub fn into_owned(self) -> Position<'static> {
        let owned = |(id, labels, lately): (Cow<'_, str>, Cow<'_, Labels>, Cow<'_, Lately>)| {
            (Cow::Owned(id.into_owned()), Cow::Owned(labels.into_owned()), Cow::Owned(lately.into_owned()))
        };
        Position {
            raw: self.raw.into_owned(),
            live: self.live.into_iter().map(owned).collect(),
            until_s: self.until_s,
            aggregated: self.aggregated,
            undivided: self.undivided,
            behind: self.behind,
            queues: self.queues,
        }
    }

    /// A position of which nothing is known but the moment (seconds) up to which everything was read.
    pub fn since(until_s: i64) -> Self {
        Position { until_s: Some(until_s), ..Position::default() }
    }

    /// The past of its series, which is stored behind it.
    pub fn lineage(&self) -> &Lineage {
        &self.raw.lineage
    }

    /// Takes what was stored behind it.
    pub fn recall(&mut self, lineage: Lineage) {
        self.raw.lineage = lineage;
    }
}
