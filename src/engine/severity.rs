//! Severities: which SEV an alert gets. Rules are read from the top, the first match wins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alert::kind::AlertKind;
use super::labels::Labels;

/// `SEV-1` to `SEV-5`; 1 is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sev(u8);

impl Sev {
    /// A severity from its number; `None` outside 1..=5.
    pub fn new(number: u8) -> Option<Self> {
        (1..=5).contains(&number).then_some(Sev(number))
    }

    /// 1..=5.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The `severity` label Alertmanager routes on: SEV-1 and SEV-2 `critical`, SEV-3 `warning`, else `info`.
    pub fn severity(self) -> &'static str {
        match self.0 {
            1 | 2 => "critical",
            3 => "warning",
            _ => "info",
        }
    }
}

impl From<Sev> for String {
    fn from(sev: Sev) -> String {
        sev.to_string()
    }
}

impl TryFrom<String> for Sev {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.strip_prefix("SEV-")
            .and_then(|n| n.parse().ok())
            .and_then(Sev::new)
            .ok_or_else(|| format!("unknown severity {text:?}: write SEV-1 (worst) to SEV-5"))
    }
}

impl std::fmt::Display for Sev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SEV-{}", self.0)
    }
}

/// What a severity rule matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A fast burn clause is firing.
    FastBurn,
    /// A slow burn clause is firing.
    SlowBurn,
    /// Any burn is firing, or the budget is exhausted.
    SloBreach,
    /// Less than this share of the budget is left; ratio in (0, 1).
    BudgetBelow(f64),
    /// The SLO has no data.
    DataMissing,
}

/// One row of `severity_mapping`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeverityRule {
    /// What it matches.
    pub condition: Condition,
    /// Series labels that must all be equal; empty matches every series.
    pub when: BTreeMap<String, String>,
    /// The severity it gives.
    pub sev: Sev,
}

/// The severity of an alert of `kind` on the series `labels`; `budget_remaining` decides `budget_below` rules.
/// Without a matching rule: fast SEV-2, everything else SEV-3.
pub fn severity_of(rules: &[SeverityRule], kind: AlertKind, labels: &Labels, budget_remaining: Option<f64>) -> Sev {
    let matches = |rule: &SeverityRule| {
        let condition = match &rule.condition {
            Condition::FastBurn => kind == AlertKind::FastBurn,
            Condition::SlowBurn => kind == AlertKind::SlowBurn,
            Condition::SloBreach => match kind {
                AlertKind::FastBurn | AlertKind::SlowBurn => true,
                AlertKind::Budget => budget_remaining.is_some_and(|left| left <= 0.0),
                AlertKind::DataMissing | AlertKind::ChangeWorse | AlertKind::BreakGlass => false,
            },
            Condition::BudgetBelow(level) => {
                kind == AlertKind::Budget && budget_remaining.is_some_and(|left| left < *level)
            }
            Condition::DataMissing => kind == AlertKind::DataMissing,
        };
        condition && rule.when.iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    match rules.iter().find(|rule| matches(rule)) {
        Some(rule) => rule.sev,
        None if matches!(kind, AlertKind::FastBurn | AlertKind::ChangeWorse | AlertKind::BreakGlass) => Sev(2),
        None => Sev(3),
    }
}
