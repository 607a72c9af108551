//! Reading older history beside the polls, and joining it under the ledger when it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::engine::{Ledger, Slo};
use crate::prometheus::Fault;
use crate::prometheus::backfill::{Backfill, Older};
use crate::query::increment::SeriesHarvest;
use crate::store::SeriesKey;

/// A failed backfill is tried again after this many polls.
const AGAIN_AFTER_POLLS: u32 = 10;
/// After this many failures the numbers are taken for what they are: alerts must not wait for a history that never comes.
const HOPE_TRIES: u32 = 3;

/// SLOs that want their history.
#[derive(Debug, Default)]
pub struct Unfilled(BTreeMap<String, Wait>);

#[derive(Debug, Clone, Default)]
struct Wait {
    /// In how many polls it is asked for.
    polls: u32,
    tries: u32,
    fault: String,
}

/// How often the history of SLOs was asked for in vain, by SLO.
#[derive(Debug, Default)]
pub struct Tries(BTreeMap<String, Wait>);

impl Tries {
    /// Whether the last reading failed, too.
    pub fn failed_before(&self) -> bool {
        self.0.values().any(|wait| wait.tries > 0)
    }
}

impl FromIterator<String> for Unfilled {
    fn from_iter<I: IntoIterator<Item = String>>(ids: I) -> Self {
        Unfilled(ids.into_iter().map(|id| (id, Wait::default())).collect())
    }
}

impl Unfilled {
    /// Adds SLOs that are not waiting yet.
    pub fn extend(&mut self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            self.0.entry(id).or_default();
        }
    }

    /// Forgets those that are not wanted any more.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that waits.
    pub fn all(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// Those whose history can still be expected: their numbers are not final.
    pub fn hopeful(&self) -> BTreeSet<String> {
        self.0.iter().filter(|(_, wait)| wait.tries < HOPE_TRIES).map(|(id, _)| id.clone()).collect()
    }

    /// What to say of the others.
    pub fn notes(&self) -> impl Iterator<Item = (String, String)> {
        let hopeless = self.0.iter().filter(|(_, wait)| wait.tries >= HOPE_TRIES);
        hopeless.map(|(id, wait)| (id.clone(), format!("older history could not be read yet: {}", wait.fault)))
    }

    /// A poll has passed.
    pub fn poll(&mut self) {
        self.0.values_mut().for_each(|wait| wait.polls = wait.polls.saturating_sub(1));
    }

    /// Those to be asked for now.
    pub fn due(&self) -> BTreeSet<String> {
        self.0.iter().filter(|(_, wait)| wait.polls == 0).map(|(id, _)| id.clone()).collect()
    }

    /// Takes these out: they are being read.
    pub fn take(&mut self, ids: &BTreeSet<String>) -> Tries {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(id, _)| ids.contains(id));
        self.0 = left;
        Tries(taken)
    }

    /// Puts back what could not be read.
    pub fn again(&mut self, tries: Tries, fault: &Fault) {
        let failed = |wait: Wait| {
            let tries = wait.tries + 1;
            Wait { polls: AGAIN_AFTER_POLLS * tries.min(12), tries, fault: fault.to_string() }
        };
        self.0.extend(tries.0.into_iter().map(|(id, wait)| (id, failed(wait))));
    }

    /// Puts back what was interrupted.
    pub fn again_at_once(&mut self, tries: Tries) {
        self.0.extend(tries.0);
    }
}

/// Gives the system back what reading history took: each thread has a part of the heap, and what is free there would
/// stay resident for as long as the process lives. Takes milliseconds; for the end of a backfill, not for a poll.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes a number, may be called at any time and by any thread, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A backfill under way.
pub struct Filling {
    /// The SLOs it is for.
    pub slos: BTreeSet<String>,
    /// How often it was tried before.
    pub tries: Tries,
    /// Their definitions in the order of the backfill's own plan.
    pub order: Vec<Arc<Slo>>,
    task: JoinHandle<Result<Older, Fault>>,
}

impl Filling {
    /// Starts to read `(from_s, to_s]`.
    pub fn start(backfill: Backfill, from_s: i64, to_s: i64, tries: Tries) -> Self {
        let order = backfill.slos.clone();
        Filling {
            slos: order.iter().map(|slo| slo.id.clone()).collect(),
            tries,
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
        let labels: Vec<_> = older.ledger.kept(&slo.id).map(|(labels, _)| labels.clone()).collect();
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
