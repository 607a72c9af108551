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

/// Buckets that were there and are not found any more are believed to be gone after this long, seconds: until then it may
/// as well be half an answer, and whoever believes that reads something else from then on.
const GONE_AFTER_S: i64 = 3600;

/// What is known, and of which SLOs more must be.
#[derive(Debug, Default)]
pub struct Outlook {
    /// What is known.
    pub survey: Survey,
    /// When each SLO was asked about last; absent where it never was since its rules came into force.
    asked: BTreeMap<String, Seconds>,
    wanting: BTreeSet<String>,
    /// What was found of SLOs of which more was known, and since when; not believed yet.
    doubted: BTreeMap<String, (Known, Seconds)>,
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
        self.doubted.clear();
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
        let believed = found.into_iter().filter(|(id, known)| self.is_believed(id, known, at_s)).collect();
        self.survey.learn(believed)
    }

    fn is_believed(&mut self, id: &str, known: &Known, at_s: Seconds) -> bool {
        let less = self.survey.of(id).is_some_and(|before| known.lacks(before));
        if !less {
            self.doubted.remove(id);
            return true;
        }
        let doubted = self.doubted.entry(id.to_owned()).or_insert_with(|| (known.clone(), at_s));
        if doubted.0 != *known {
            *doubted = (known.clone(), at_s);
        }
        at_s - doubted.1 >= GONE_AFTER_S
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

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bounds: &[f64]) -> Known {
        Known { generation: Some(0), bounds: bounds.into(), ..Known::default() }
    }

    fn learn(outlook: &mut Outlook, bounds: &[f64], at_s: Seconds) -> bool {
        let id = "shop-latency".to_owned();
        let changed = outlook.learn([id.clone()].into(), [(id.clone(), known(bounds))].into(), at_s);
        changed.contains(&id)
    }

    #[test]
    fn buckets_that_are_not_found_are_gone_only_after_an_hour_of_it() {
        let mut outlook = Outlook::default();
        assert!(learn(&mut outlook, &[0.1, 0.5], 0), "the first answer is believed");
        assert!(!learn(&mut outlook, &[0.1], 300));
        assert!(!learn(&mut outlook, &[0.1], 3600));
        assert!(!learn(&mut outlook, &[0.5], 3900), "another half of it begins anew");
        assert!(!learn(&mut outlook, &[0.1, 0.5], 4200), "and all of it ends the doubt");
        assert!(!learn(&mut outlook, &[0.1], 4500));
        assert!(!learn(&mut outlook, &[0.1], 4500 + 3599));
        assert!(learn(&mut outlook, &[0.1], 4500 + 3600));
    }

    #[test]
    fn more_buckets_and_other_metrics_are_believed_at_once() {
        let mut outlook = Outlook::default();
        learn(&mut outlook, &[0.1, 0.5], 0);
        assert!(learn(&mut outlook, &[0.1, 0.25, 0.5], 300));
        let id = "shop-latency".to_owned();
        let other = Known { generation: Some(1), bounds: vec![1.0], ..Known::default() };
        assert!(!outlook.learn([id.clone()].into(), [(id, other)].into(), 600).is_empty());
    }
}
