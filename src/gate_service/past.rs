//! What the gate remembers of a service's past: changes that were seen or posted, and verdicts on acts. Read by whoever
//! lays it beside the numbers; nothing here changes anything.

use super::GateService;
use crate::gate::observed::Change;
use crate::gate::verdict::Verdict;

/// What is remembered of one service, each in the order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PastOf {
    /// Changes.
    pub changes: Vec<Change>,
    /// Verdicts.
    pub verdicts: Vec<Verdict>,
}

impl GateService {
    /// What is remembered of a service.
    pub fn past_of(&self, service: &str) -> PastOf {
        let state = self.read();
        PastOf {
            changes: state.gate.changes_of(service).cloned().collect(),
            verdicts: state.gate.verdicts_of(service).cloned().collect(),
        }
    }
}
