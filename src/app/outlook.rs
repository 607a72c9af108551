//! When to ask what Prometheus holds of the sources of SLOs, and what is known of it.
//!
//! Asked when rules come into force, and again of an SLO whose series are silent or miss a bucket: its stack may have got
//! new names or other buckets. Not more often than each SLO can be mended by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::status::{DataReason, DataState};
use crate::engine::{Seconds, Snapshot};
use crate::query::plan::{Known, Survey, is_surveyed};
use crate::spec::Model;

/// An SLO that stays in want is asked about again after this long, seconds.
const AGAIN_AFTER_S: i64 = 300;

/// One that reads a native histogram is asked about again after this long, seconds: it may have become coarser.
const NATIVE_AGAIN_AFTER_S: i64 = 3600;

/// What is known, and of which SLOs more must be.
#[derive(Debug, Default)]
pub struct Outlook {
    /// What is known.
    pub survey: Survey,
    /// When each SLO was asked about last; absent where it never was since its rules came into force.
    asked: BTreeMap<String, Seconds>,
    wanting: BTreeSet<String>,
}

impl Outlook {
    /// What an earlier process knew.
    pub fn restored(survey: Survey) -> Self {
        Outlook { survey, ..Outlook::default() }
    }

    /// Rules have come into force: everything is asked about anew, and only SLOs for which `same` holds are still known.
    pub fn begin_anew(&mut self, same: impl Fn(&str) -> bool) {
        self.survey.retain(same);
        self.asked.clear();
    }

    /// SLOs to ask about now.
    pub fn due(&self, model: &Model, at_s: Seconds) -> BTreeSet<String> {
        let due = |id: &str| match self.asked.get(id) {
            None => true,
            // After a clock was set back, too.
            Some(&asked) => {
                let native = self.survey.of(id).is_some_and(|known| known.native.is_some());
                self.wanting.contains(id) && !(asked..asked + AGAIN_AFTER_S).contains(&at_s)
                    || native && !(asked..asked + NATIVE_AGAIN_AFTER_S).contains(&at_s)
            }
        };
        let surveyed = model.slos.iter().filter(|spec| is_surveyed(spec));
        surveyed.map(|spec| &spec.slo.id).filter(|id| due(id)).cloned().collect()
    }

    /// They were asked about. Answers which of them must be read in another way.
    pub fn learn(&mut self, due: BTreeSet<String>, found: BTreeMap<String, Known>, at_s: Seconds) -> BTreeSet<String> {
        // What could not be asked about is asked again in the next poll.
        self.asked.extend(due.into_iter().filter(|id| found.contains_key(id)).map(|id| (id, at_s)));
        self.survey.learn(found)
    }

    /// Looks at what the last evaluation says of the data.
    pub fn watch(&mut self, snapshot: &Snapshot) {
        let wants = |state: DataState, reason: DataReason| match reason {
            DataReason::SourceUnreachable | DataReason::ClockSkew => false,
            DataReason::NoBucket => true,
            _ => matches!(state, DataState::Stale | DataState::Absent),
        };
        let wanting = snapshot
            .slos
            .iter()
            .filter(|slo| slo.series.iter().any(|series| wants(series.data.state, series.data.reason)));
        self.wanting = wanting.map(|slo| slo.slo.id.clone()).collect();
    }
}
