//! What can be asked for: five actions, and what each is for.

use serde::{Deserialize, Serialize};

/// An action without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Back to an earlier version.
    Rollback,
    /// Another number of replicas.
    Scale,
    /// Pods are replaced by the same version.
    Restart,
    /// A new version.
    Deploy,
    /// Another configuration.
    Config,
}

impl ActionKind {
    /// All actions.
    pub const ALL: [ActionKind; 5] =
        [ActionKind::Rollback, ActionKind::Scale, ActionKind::Restart, ActionKind::Deploy, ActionKind::Config];

    /// As in policies, requests, metrics and audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionKind::Rollback => "rollback",
            ActionKind::Scale => "scale",
            ActionKind::Restart => "restart",
            ActionKind::Deploy => "deploy",
            ActionKind::Config => "config",
        }
    }

    /// The action of this name.
    pub fn named(name: &str) -> Option<Self> {
        ActionKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What an action is for. A rollback, a scale-up and a restart mitigate; a deploy, a scale-down and a change of
/// configuration are a risk. The policy may say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionClass {
    /// Changes nothing.
    Observe,
    /// Cures: needs a burn, and must not harm.
    Mitigate,
    /// Spends budget: needs headroom.
    Risk,
}

impl ActionClass {
    /// All classes.
    pub const ALL: [ActionClass; 3] = [ActionClass::Observe, ActionClass::Mitigate, ActionClass::Risk];

    /// As in policies, signals and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionClass::Observe => "observe",
            ActionClass::Mitigate => "mitigate",
            ActionClass::Risk => "risk",
        }
    }
}
