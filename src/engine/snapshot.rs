//! One evaluation of everything: what the poll loop publishes and every reader (API, page, metrics, gate) shows.

use std::sync::Arc;

use super::Seconds;
use super::alert::Alert;
use super::slo::Slo;
use super::status::SeriesStatus;
use super::whole::Whole;

/// All SLOs and alerts at one slice.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// End of the newest evaluated slice; 0 before the first evaluation.
    pub at: Seconds,
    /// Every SLO in id order.
    pub slos: Vec<SloSnapshot>,
    /// Firing alerts, and those resolved within the last 15 minutes; in label order.
    pub alerts: Vec<Alert>,
}

/// One SLO with all its series.
#[derive(Debug, Clone)]
pub struct SloSnapshot {
    /// Its definition.
    pub slo: Arc<Slo>,
    /// Every series in label order; an SLO that never saw data has one with `Unknown` state and no labels.
    /// The next evaluation compares with it, so it is shared, not copied.
    pub series: Arc<[SeriesStatus]>,
    /// Remarks on how its numbers come about: `aggregated`, why there is no source, ...
    pub notes: Arc<[String]>,
    /// All series together, where the series of other tools are exposed.
    pub whole: Option<Whole>,
}

impl Snapshot {
    /// The SLO with this id.
    pub fn slo(&self, id: &str) -> Option<&SloSnapshot> {
        self.slos.binary_search_by(|entry| entry.slo.id.as_str().cmp(id)).ok().map(|i| &self.slos[i])
    }
}
