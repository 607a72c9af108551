//! After the act: did it help? Judged from the ledger, never from what the caller reports.

use serde::{Deserialize, Serialize};

use super::action::{ActionClass, ActionKind};
use crate::engine::Seconds;

/// How things stood when a permit was redeemed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The SLOs of the service.
    pub slos: Vec<BaselineSlo>,
    /// Median burn rate of the services that nobody touched, shortest windows.
    pub peers: Option<f64>,
    /// Generation of the resource.
    pub generation: Option<u64>,
}

/// One SLO when a permit was redeemed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineSlo {
    /// Its id.
    pub id: String,
    /// Burn rate over its shortest window.
    pub burn: Option<f64>,
    /// Whether a clause fired.
    pub burning: bool,
}

/// What became of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What burned burns less than half as much, or within its budget.
    Improved,
    /// Nothing to speak of changed.
    NoEffect,
    /// It burns more than before.
    Worse,
    /// The data does not say.
    Inconclusive,
    /// What was promised is not what runs: the act was undone, or never done.
    NotApplied,
}

impl Outcome {
    /// As in answers, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Improved => "improved",
            Outcome::NoEffect => "no_effect",
            Outcome::Worse => "worse",
            Outcome::Inconclusive => "inconclusive",
            Outcome::NotApplied => "not_applied",
        }
    }
}

/// The verdict on one act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Of which permit.
    pub permit: String,
    /// The service.
    pub service: String,
    /// The action.
    pub action: ActionKind,
    /// Its class.
    pub class: ActionClass,
    /// Who acted.
    pub sub: String,
    /// The actor it is recorded under.
    pub actor: String,
    /// When it was judged.
    pub at: Seconds,
    /// The verdict.
    pub outcome: Outcome,
    /// The SLO that decided it.
    pub slo: Option<String>,
    /// Its burn rate before, shortest window.
    pub before: Option<f64>,
    /// And after.
    pub after: Option<f64>,
    /// Median burn rate of untouched services before.
    pub peers_before: Option<f64>,
    /// And after.
    pub peers_after: Option<f64>,
    /// A sentence for people.
    pub message: String,
    /// Whether somebody should be told at once: it became worse.
    pub alert: bool,
}

/// What one actor's acts came to, for one action on one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRecord {
    /// Decisions: allowed.
    pub allowed: u64,
    /// Decisions: a person was asked.
    pub asked: u64,
    /// Decisions: denied.
    pub denied: u64,
    /// Permits redeemed.
    pub acted: u64,
    /// Verdicts.
    pub improved: u64,
    /// Verdicts.
    pub no_effect: u64,
    /// Verdicts.
    pub worse: u64,
    /// Verdicts.
    pub inconclusive: u64,
    /// Verdicts.
    pub not_applied: u64,
    /// Last time it asked.
    pub last_at: Seconds,
}
