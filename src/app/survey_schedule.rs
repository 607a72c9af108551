//! When to ask what Prometheus holds of the sources of SLOs, and what is known of it.
//!
//! Asked when rules come into force, and again of an SLO whose series are silent or miss a bucket: its stack may have got
//! new names or other buckets. Not more often than each SLO can be mended by it.
//!
//! A survey runs beside the ticks. Only for SLOs of which nothing is known does a tick wait a little: without an answer
//! they would be read in a way that the next tick changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::engine::status::{DataReason, DataState};
use crate::engine::{Seconds, Snapshot};
use crate::prometheus::answer::excerpt;
use crate::prometheus::survey::{Surveyed, survey};
use crate::prometheus::{Client, SourceOptions};
use crate::query::plan::{Known, Survey, is_surveyed};
use crate::spec::Model;
use crate::telemetry::names;

/// An SLO that stays in want is asked about again after this long, seconds.
const AGAIN_AFTER_S: i64 = 300;

/// One that reads a native histogram is asked about again after this long, seconds: it may have become coarser.
const NATIVE_AGAIN_AFTER_S: i64 = 3600;

/// Buckets that were there and are not found any more are believed to be gone after this long, seconds: until then it may
/// as well be half an answer, and whoever believes that reads something else from then on.
const GONE_AFTER_S: i64 = 3600;

/// A survey has ended after this long, whatever was answered.
const SURVEY_MAX: Duration = Duration::from_secs(60);
/// How long a tick waits for a survey of SLOs of which nothing is known.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same at a cold start, when there is nobody yet who could be kept waiting.
const PATIENCE_COLD: Duration = Duration::from_secs(30);

/// What is known, and the survey that runs.
#[derive(Default)]
pub struct Surveys {
    /// What is known, and when to ask.
    pub schedule: SurveySchedule,
    asking: Option<Asking>,
}

/// A survey that runs.
struct Asking {
    due: BTreeSet<String>,
    at_s: Seconds,
    /// Of some SLOs that it asks about nothing is known.
    first: bool,
    task: JoinHandle<Surveyed>,
}

impl Surveys {
    /// Goes on with what an earlier process knew.
    pub fn restored(survey: Survey) -> Self {
        Surveys { schedule: SurveySchedule::restored(survey), asking: None }
    }

    /// Begins to ask about the SLOs that are due, unless a survey is under way.
    pub fn begin(&mut self, client: &Client, model: &Model, at_s: Seconds, options: &SourceOptions) {
        if self.asking.is_some() {
            return;
        }
        let due = self.schedule.due(model, at_s);
        if due.is_empty() {
            return;
        }
        let slos = model.slos.iter().filter(|spec| due.contains(&spec.slo.id)).cloned().collect();
        let model = Model { slos, services: Vec::new() };
        let (client, options) = (client.clone(), options.clone());
        let deadline = Instant::now() + SURVEY_MAX;
        let known = |id: &String| self.schedule.survey.of(id);
        let first = due.iter().any(|id| known(id).is_none());
        // Whether buckets are cumulative does not change from one process to the next, unless somebody mends them.
        let heights = first || due.iter().any(|id| known(id).is_some_and(|known| known.crooked.is_some()));
        let task = async move { survey(&client, &model, heights, at_s, &options, deadline).await };
        self.asking = Some(Asking { due, at_s, first, task: tokio::spawn(task) });
    }

    /// Waits a little where somebody cannot be read without the answer, and takes what has been answered. Answers the
    /// SLOs that must be read in another way.
    pub async fn learn(&mut self, cold: bool) -> BTreeSet<String> {
        let Some(asking) = &mut self.asking else { return BTreeSet::new() };
        let patience = match (asking.first, cold) {
            (false, _) => Duration::ZERO,
            (true, true) => PATIENCE_COLD,
            (true, false) => PATIENCE,
        };
        if !asking.task.is_finished() {
            // Whoever was waited for once is not waited for again.
            asking.first = cold;
        }
        let Ok(answered) = timeout(patience, &mut asking.task).await else { return BTreeSet::new() };
        let Some(Asking { due, at_s, .. }) = self.asking.take() else { return BTreeSet::new() };
        let found = answered.unwrap_or_default();
        metrics::counter!(names::QUERIES_TOTAL, "kind" => "survey").increment(found.requests as u64);
        for (query, fault) in &found.faults {
            warn!(query = %excerpt(query), code = fault.code(), "{fault}");
        }
        self.schedule.learn(due, found.known, at_s)
    }

    /// Rules have come into force: everything is asked about anew, and only SLOs for which `same` holds are still known.
    pub fn begin_anew(&mut self, same: impl Fn(&str) -> bool) {
        if let Some(asking) = self.asking.take() {
            asking.task.abort();
        }
        self.schedule.begin_anew(same);
    }
}

/// What is known, and of which SLOs more must be.
#[derive(Debug, Default)]
pub struct SurveySchedule {
    /// What is known.
    pub survey: Survey,
    /// When each SLO was asked about last; absent where it never was since its rules came into force.
    asked: BTreeMap<String, Seconds>,
    wanting: BTreeSet<String>,
    /// What was found of SLOs of which more was known, and since when; not believed yet.
    doubted: BTreeMap<String, (Known, Seconds)>,
}

impl SurveySchedule {
    /// What an earlier process knew.
    pub fn restored(survey: Survey) -> Self {
        SurveySchedule { survey, ..SurveySchedule::default() }
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
                // A native histogram may become finer or classic, and one that is not cumulative may be mended.
                let native = self.survey.of(id).is_some_and(|known| known.native.is_some() || known.crooked.is_some());
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

    fn learn(schedule: &mut SurveySchedule, bounds: &[f64], at_s: Seconds) -> bool {
        let id = "shop-latency".to_owned();
        let changed = schedule.learn([id.clone()].into(), [(id.clone(), known(bounds))].into(), at_s);
        changed.contains(&id)
    }

    #[test]
    fn buckets_that_are_not_found_are_gone_only_after_an_hour_of_it() {
        let mut schedule = SurveySchedule::default();
        assert!(learn(&mut schedule, &[0.1, 0.5], 0), "the first answer is believed");
        assert!(!learn(&mut schedule, &[0.1], 300));
        assert!(!learn(&mut schedule, &[0.1], 3600));
        assert!(!learn(&mut schedule, &[0.5], 3900), "another half of it begins anew");
        assert!(!learn(&mut schedule, &[0.1, 0.5], 4200), "and all of it ends the doubt");
        assert!(!learn(&mut schedule, &[0.1], 4500));
        assert!(!learn(&mut schedule, &[0.1], 4500 + 3599));
        assert!(learn(&mut schedule, &[0.1], 4500 + 3600));
    }

    #[test]
    fn more_buckets_and_other_metrics_are_believed_at_once() {
        let mut schedule = SurveySchedule::default();
        learn(&mut schedule, &[0.1, 0.5], 0);
        assert!(learn(&mut schedule, &[0.1, 0.25, 0.5], 300));
        let id = "shop-latency".to_owned();
        let other = Known { generation: Some(1), bounds: vec![1.0], ..Known::default() };
        assert!(!schedule.learn([id.clone()].into(), [(id, other)].into(), 600).is_empty());
    }
}
