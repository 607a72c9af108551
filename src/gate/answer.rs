//! The answer to a request: one of three words, ordered by strictness. What it is made of is in `check`.

use serde::{Deserialize, Serialize};

/// The answer to a request; the strictest of all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It may be done; an allow is a permit.
    Allow,
    /// A person must say yes first.
    NeedsApproval,
    /// It may not be done. No approval lifts this.
    Deny,
}

impl Answer {
    /// As in answers, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Answer::Allow => "allow",
            Answer::NeedsApproval => "needs_approval",
            Answer::Deny => "deny",
        }
    }
}
