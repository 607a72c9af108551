//! Which witnesses agree with the log, and whether they are enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::policy::WitnessPolicy;
pub use crate::gate::view::Stops;
use crate::telemetry::names;

/// Which witnesses agreed when they were asked last.
#[derive(Debug)]
pub struct Watch {
    policy: WitnessPolicy,
    agrees: Mutex<BTreeMap<String, bool>>,
}

impl Watch {
    /// Of a policy; none was asked yet.
    pub fn new(policy: WitnessPolicy) -> Self {
        Watch { policy, agrees: Mutex::default() }
    }

    /// Whether those that agree are enough.
    pub fn is_enough(&self) -> bool {
        let agrees = self.agrees.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<&str> = agrees.iter().filter(|(_, agrees)| **agrees).map(|(name, _)| &**name).collect();
        self.policy.suffices(&names)
    }

    pub(super) fn note(&self, name: &str, agrees: bool) {
        self.agrees.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), agrees);
        let enough = if self.is_enough() { 1.0 } else { 0.0 };
        metrics::gauge!(names::AUDIT_WITNESSED).set(enough);
    }
}
