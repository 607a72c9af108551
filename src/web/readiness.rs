//! Whether the process can be relied on yet. Each thing that must happen first holds a latch; when the last one is
//! released the process is ready and stays so: a fault later on is a data state and an alert, not a readiness.

use std::collections::BTreeMap;

use serde::Serialize;

/// Latches still held, by name, each with what it waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Readiness {
    /// Name of the latch and what it waits for.
    pub waiting_for: BTreeMap<String, String>,
}

impl Readiness {
    /// Nothing holds it.
    pub fn ready() -> Self {
        Self::default()
    }

    /// Holds readiness under `latch` until it is released; `reason` is what a person reads meanwhile.
    pub fn hold(&mut self, latch: impl Into<String>, reason: impl Into<String>) {
        self.waiting_for.insert(latch.into(), reason.into());
    }

    /// Releases `latch`; says whether it was held.
    pub fn release(&mut self, latch: &str) -> bool {
        self.waiting_for.remove(latch).is_some()
    }

    /// Whether `latch` is held.
    pub fn waits_for(&self, latch: &str) -> bool {
        self.waiting_for.contains_key(latch)
    }

    /// Whether every latch is released.
    pub fn is_ready(&self) -> bool {
        self.waiting_for.is_empty()
    }
}
