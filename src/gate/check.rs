//! What a decision consists of: checks, each with what was observed, its bound, and what would clear it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::ActionClass;
use super::answer::Answer;
use super::canonical::Digest;
use super::principal::Approver;
use super::reason::ReasonCode;
use crate::engine::{DataReason, DataState, Seconds};

/// What one check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It holds.
    Allow,
    /// It does not hold, and does not stop this actor: shown with the answer.
    Warn,
    /// A person must say yes.
    NeedsApproval,
    /// No.
    Deny,
}

impl Effect {
    /// As in answers and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Allow => "allow",
            Effect::Warn => "warn",
            Effect::NeedsApproval => "needs_approval",
            Effect::Deny => "deny",
        }
    }

    /// What it makes of the answer.
    pub fn answer(self) -> Answer {
        match self {
            Effect::Allow | Effect::Warn => Answer::Allow,
            Effect::NeedsApproval => Answer::NeedsApproval,
            Effect::Deny => Answer::Deny,
        }
    }
}

impl From<Answer> for Effect {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Allow => Effect::Allow,
            Answer::NeedsApproval => Effect::NeedsApproval,
            Answer::Deny => Effect::Deny,
        }
    }
}

/// What would clear a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearBy {
    /// A yes of the approvers.
    Approval,
    /// Waiting.
    Time,
    /// Data coming back.
    Data,
    /// The service recovering, or burning, as the check asks.
    State,
    /// Asking again with what is really there.
    Request,
    /// A person lifting a halt.
    Person,
    /// Another policy.
    Policy,
    /// The gate itself recovering.
    Gate,
    /// Nothing, for this actor.
    Nothing,
}

impl ClearBy {
    /// As in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            ClearBy::Approval => "approval",
            ClearBy::Time => "time",
            ClearBy::Data => "data",
            ClearBy::State => "state",
            ClearBy::Request => "request",
            ClearBy::Person => "person",
            ClearBy::Policy => "policy",
            ClearBy::Gate => "gate",
            ClearBy::Nothing => "nothing",
        }
    }
}

/// One check of one decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Which check: `slo.necessity`, `data.quality`. Several rows may have the same, one for each SLO.
    pub id: Cow<'static, str>,
    /// What it comes to.
    pub effect: Effect,
    /// Why.
    pub code: ReasonCode,
    /// A sentence for people.
    pub message: Cow<'static, str>,
    /// What was observed, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub observed: BTreeMap<Cow<'static, str>, Value>,
    /// What it was held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// What would clear it; none where it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_by: Option<ClearBy>,
    /// When it clears by itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clears_at: Option<Seconds>,
    /// The smallest change that flips it: "allowed again at 1h burn < 1.8, at this pace in 23m".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip: Option<String>,
    /// The approval that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<String>,
}

/// How the data stands on which a decision rests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSummary {
    /// The worst of the SLOs that count.
    pub state: DataState,
    /// Why.
    pub reason: DataReason,
    /// Which SLO that is.
    pub slo: Option<String>,
    /// Age of its newest sample, seconds.
    pub oldest_age_s: Option<i64>,
}

/// Who must say yes, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalNeed {
    /// How many distinct people.
    pub need: u32,
    /// How many have, on a live approval of this very request.
    pub have: u32,
    /// Who may.
    pub from: Vec<Approver>,
    /// The reasons a yes covers. A reason that appears later asks again.
    pub covers: Vec<ReasonCode>,
    /// The live approval, where there is one already.
    pub id: Option<String>,
    /// Digest of what the policy says of the action, which a yes is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Digest>,
}

/// A decision with everything it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// What the action is for, as decided: from the action, the policy and what is observed.
    pub class: ActionClass,
    /// The actor it is recorded under.
    pub actor: String,
    /// When.
    pub at: Seconds,
    /// Digest of the request.
    pub action_digest: Digest,
    /// Digest of the policy; none where there is no policy.
    pub policy_digest: Option<Digest>,
    /// Every check that ran, in a fixed order.
    pub checks: Vec<Check>,
    /// The data behind it.
    pub data: DataSummary,
    /// Who must say yes; none where nobody need.
    pub approval: Option<ApprovalNeed>,
    /// A permit for this decision would be a broken glass.
    pub break_glass: bool,
    /// Observed generation of the resource, which a permit is bound to.
    pub generation: Option<u64>,
    /// Seconds after which asking again may give another answer by the clock alone.
    pub retry_after_s: Option<i64>,
}

impl Check {
    /// A check that holds.
    pub(super) fn holds(id: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Check::new(id, Effect::Allow, ReasonCode::Holds, message)
    }

    /// A check and what it comes to.
    pub(super) fn new(
        id: &'static str,
        effect: Effect,
        code: ReasonCode,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Check {
            id: id.into(),
            effect,
            code,
            message: message.into(),
            observed: BTreeMap::new(),
            bound: None,
            clear_by: None,
            clears_at: None,
            flip: None,
            covered_by: None,
        }
    }

    pub(super) fn observed(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.observed.insert(name.into(), value.into());
        self
    }

    pub(super) fn bound(self, bound: impl Into<String>) -> Self {
        Check { bound: Some(bound.into()), ..self }
    }

    pub(super) fn clear(self, by: ClearBy) -> Self {
        Check { clear_by: Some(by), ..self }
    }

    pub(super) fn at(self, at: Seconds) -> Self {
        Check { clears_at: Some(at), ..self }
    }

    pub(super) fn flip(self, flip: impl Into<String>) -> Self {
        Check { flip: Some(flip.into()), ..self }
    }

    pub(super) fn flips(self, flip: Option<String>) -> Self {
        Check { flip, ..self }
    }

    /// Whatever stands in the way says what would let it through; the usual thing where the check knows no better.
    pub(super) fn or_usual_flip(&mut self) {
        if self.effect <= Effect::Warn || self.flip.is_some() {
            return;
        }
        let usual = match (self.code, self.clear_by) {
            (ReasonCode::UnknownService, _) => "ask for a service that has an SLO",
            (ReasonCode::ActorMismatch, _) => "ask under your own name, or under one that you may act as",
            (ReasonCode::NoPolicy, _) => "a policy of the service is written and loaded",
            (ReasonCode::ActionNotAllowed, _) => "the policy lists the action in allowed_actions",
            (ReasonCode::ActorNotAllowed, _) => "the policy names this actor in actors of the action",
            (ReasonCode::NobodyToAsk, _) => "the policy names approvers besides whoever asks",
            (ReasonCode::StalePremise, _) => "look at what runs, and ask again from there",
            (ReasonCode::NothingToChange, _) => "nothing is needed: it is so already",
            (ReasonCode::NotWarm, _) => "history has been read: ask again in a minute",
            (ReasonCode::AuditUnwritable, _) => "the audit log can be written again: look for room on its disk",
            (ReasonCode::EffectUnknown, _) => "it can be measured, or a person approves it",
            (_, Some(ClearBy::Approval)) => "a person whom the policy names approves it",
            (_, Some(ClearBy::Data)) => "there is fresh data of it",
            (_, Some(ClearBy::State)) => "it is not so any more",
            (_, Some(ClearBy::Time)) => "that is over: ask again then",
            (_, Some(ClearBy::Request)) => "ask for what is within the bounds",
            (_, Some(ClearBy::Person)) => "a person lifts it",
            (_, Some(ClearBy::Policy)) => "the policy allows it",
            (_, Some(ClearBy::Gate)) => "the gate is in order again",
            (_, Some(ClearBy::Nothing) | None) => return,
        };
        self.flip = Some(usual.into());
    }

    /// Whether it stands in the way: it asks or denies, and nothing covers it.
    pub fn stops(&self) -> bool {
        self.effect > Effect::Warn && self.covered_by.is_none()
    }
}

/// A length of time as people write it: `90s`, `23m`, `6h`, `3d 4h`.
pub(super) fn span(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        0..120 if s % 60 != 0 || s == 0 => format!("{s}s"),
        0..7200 if s % 3600 != 0 => format!("{}m", s / 60),
        0..172_800 if s % 3600 == 0 && s % 86_400 != 0 => format!("{}h", s / 3600),
        0..172_800 if s % 86_400 != 0 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ if s % 86_400 / 3600 == 0 => format!("{}d", s / 86_400),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

impl Decision {
    /// Checks that do not hold, strictest first.
    pub fn reasons(&self) -> Vec<&Check> {
        let mut reasons: Vec<&Check> = self.checks.iter().filter(|check| check.effect != Effect::Allow).collect();
        reasons.sort_by_key(|check| std::cmp::Reverse(check.effect));
        reasons
    }

    /// Whether it was denied for what was asked, and not only for when: waiting would clear none of it, or would leave what only
    /// another request or policy clears. Else whoever sees to it that something is under way could search beside it.
    pub fn probes(&self) -> bool {
        let denying = || self.checks.iter().filter(|check| check.effect == Effect::Deny && check.covered_by.is_none());
        let waits = |check: &Check| matches!(check.clear_by, Some(ClearBy::Time | ClearBy::Gate | ClearBy::Person));
        let asks = |check: &Check| {
            matches!(check.clear_by, Some(ClearBy::Request | ClearBy::Policy | ClearBy::Nothing) | None)
        };
        self.answer == Answer::Deny && (denying().any(asks) || denying().all(|check| !waits(check)))
    }

    /// Codes of the reasons, without doubles, strictest first.
    pub fn codes(&self) -> Vec<ReasonCode> {
        let mut codes = Vec::new();
        for check in self.reasons() {
            if !codes.contains(&check.code) {
                codes.push(check.code);
            }
        }
        codes
    }
}
