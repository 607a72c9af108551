//! Decisions with an idempotency key that are not on record: the gate state knows them from the moment they are made, and a
//! repeated request must not be told what the log does not hold.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most that are remembered. Those that wait are bounded by the log's queue; refused ones pile up while the disk is full.
const KEPT_MAX: usize = 20_000;

/// How a decision that is not on record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordStanding {
    /// It is being written.
    Waits,
    /// The log did not take it, or did not say so in time.
    Refused,
}

/// Decisions by id, which is in the order of time.
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<BTreeMap<String, RecordStanding>>);

impl Unwritten {
    /// It is about to be written.
    pub fn begin(&self, id: String) {
        let mut rows = self.rows();
        rows.insert(id, RecordStanding::Waits);
        if rows.len() > KEPT_MAX {
            rows.pop_first();
        }
    }

    /// The log has answered.
    pub fn settle(&self, id: String, is_written: bool) {
        match is_written {
            true => drop(self.rows().remove(&id)),
            false => drop(self.rows().insert(id, RecordStanding::Refused)),
        }
    }

    /// `None`: it is on record, as far as this process knows.
    pub fn standing(&self, id: &str) -> Option<RecordStanding> {
        self.rows().get(id).copied()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, RecordStanding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_or_was_refused_is_not_on_record_and_the_rows_are_bounded() {
        let unwritten = Unwritten::default();
        let id = |n: usize| format!("dec_{n:06}");
        for n in 0..3 {
            unwritten.begin(id(n));
        }
        assert_eq!(unwritten.standing(&id(0)), Some(RecordStanding::Waits));
        unwritten.settle(id(0), true);
        unwritten.settle(id(1), false);
        let all = [0, 1, 2, 3].map(|n| unwritten.standing(&id(n)));
        assert_eq!(all, [None, Some(RecordStanding::Refused), Some(RecordStanding::Waits), None]);
        for n in 10..KEPT_MAX + 100 {
            unwritten.begin(id(n));
        }
        assert!(unwritten.rows().len() <= KEPT_MAX);
        assert_eq!(unwritten.standing(&id(KEPT_MAX + 99)), Some(RecordStanding::Waits));
    }
}
