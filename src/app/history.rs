//! Reading older history beside the polls, and joining it under the ledger when it has come.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::engine::{Ledger, Slo};
use crate::prometheus::Fault;
use crate::prometheus::backfill::{Backfill, Older};
use crate::query::increment::SeriesHarvest;
use crate::store::SeriesKey;

/// A backfill under way.
pub struct Filling {
    /// The SLOs it is for.
    pub slos: BTreeSet<String>,
    /// Their definitions in the order of the backfill's own plan.
    pub order: Vec<Arc<Slo>>,
    task: JoinHandle<Result<Older, Fault>>,
}

impl Filling {
    /// Starts to read `(from_s, to_s]`.
    pub fn start(backfill: Backfill, from_s: i64, to_s: i64) -> Self {
        let order = backfill.slos.clone();
        Filling {
            slos: order.iter().map(|slo| slo.id.clone()).collect(),
            order,
            task: tokio::spawn(backfill.run(from_s, to_s)),
        }
    }

    /// Waits for it.
    pub async fn done(&mut self) -> Result<Older, Fault> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(Fault::NotAnAnswer(format!("the reader of history stopped: {error}"))),
        }
    }

    /// Stops it.
    pub fn abort(&self) {
        self.task.abort();
    }
}

/// Puts older history under the ledger. Answers which series changed.
pub fn join(ledger: &mut Ledger, mut older: Older, order: &[Arc<Slo>]) -> Vec<SeriesKey> {
    let mut changed = Vec::new();
    for slo in order {
        let labels: Vec<_> = older.ledger.of(&slo.id).map(|(labels, _)| labels.clone()).collect();
        for labels in labels {
            if let Some(series) = older.ledger.remove(&slo.id, &labels) {
                ledger.series_mut(slo, &labels).absorb_older(series);
                changed.push(SeriesKey { slo_id: slo.id.clone(), labels });
            }
        }
    }
    for SeriesHarvest { sli, labels, deltas, .. } in older.joined {
        ledger.series_mut(&order[sli], &labels).apply(&deltas);
        changed.push(SeriesKey { slo_id: order[sli].id.clone(), labels });
    }
    changed.sort();
    changed.dedup();
    changed
}
