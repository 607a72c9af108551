//! Everything that changes what the gate knows. The gate state is a fold over these, so whoever has written them down can
//! build it again.

use serde::{Deserialize, Serialize};

use super::action::{ActionClass, ActionKind};
use super::answer::Answer;
use super::approval::{Approval, Vote};
use super::canonical::Digest;
use super::halt::Halt;
use super::observed::Change;
use super::permit::Baseline;
use super::permit::Permit;
use super::reason::ReasonCode;
use super::verdict::Verdict;
use crate::engine::Seconds;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the clock of this process.
    pub at: Seconds,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. Events are in the order in which they were written down; applying one twice changes nothing more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A request was decided. Explaining is no decision and leaves no event.
    Decided {
        /// Id of the decision.
        id: String,
        /// Who asked.
        sub: String,
        /// The actor it is recorded under.
        actor: String,
        /// The service.
        service: String,
        /// The action.
        action: ActionKind,
        /// Its class.
        class: ActionClass,
        /// Digest of the request.
        action_digest: Digest,
        /// The answer.
        answer: Answer,
        /// Why not allow.
        reasons: Vec<ReasonCode>,
        /// The caller's key.
        idempotency_key: Option<String>,
        /// Denied for what was asked, and not for when: many of these are a search for a hole.
        #[serde(default)]
        probe: bool,
    },
    /// A request came again with the key of an allow whose permit still lives, and got that permit back.
    DecisionRepeated {
        /// Id of the decision.
        id: String,
        /// Who asked.
        sub: String,
        /// The permit.
        permit: String,
    },
    /// A permit was issued, with a broken glass too.
    PermitIssued {
        /// It.
        permit: Box<Permit>,
    },
    /// A permit was redeemed: the act may begin.
    PermitRedeemed {
        /// Which.
        id: String,
        /// How things stood.
        baseline: Baseline,
    },
    /// A permit was presented and refused. It stays what it was.
    PermitRefused {
        /// Which.
        id: String,
        /// Who presented it.
        sub: String,
        /// Why not.
        reason: ReasonCode,
    },
    /// A permit ran out.
    PermitExpired {
        /// Which.
        id: String,
    },
    /// A permit was taken back.
    PermitRevoked {
        /// Which.
        id: String,
        /// Why.
        reason: ReasonCode,
    },
    /// People are asked.
    ApprovalAsked {
        /// The question.
        approval: Box<Approval>,
    },
    /// A person said yes.
    ApprovalVoted {
        /// To what.
        id: String,
        /// Who and why.
        vote: Vote,
        /// Whether that was the last yes needed.
        granted: bool,
    },
    /// What a person said does not count any more: they are not who they were.
    ApprovalVoteLapsed {
        /// To what.
        id: String,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// A person said no.
    ApprovalRejected {
        /// To what.
        id: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The requester took the question back.
    ApprovalWithdrawn {
        /// Which.
        id: String,
    },
    /// Nobody answered in time, or the yes was not used in time.
    ApprovalExpired {
        /// Which.
        id: String,
    },
    /// A newer question took its place.
    ApprovalSuperseded {
        /// Which.
        id: String,
        /// The newer one.
        by: String,
    },
    /// A permit was issued on it.
    ApprovalConsumed {
        /// Which.
        id: String,
        /// The permit.
        permit: String,
    },
    /// A person took the yes back.
    ApprovalRevoked {
        /// Which.
        id: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Changes are stopped.
    Halted {
        /// How.
        halt: Halt,
    },
    /// A halt was lifted.
    Resumed {
        /// Which.
        id: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A change was seen.
    ChangeObserved {
        /// Which.
        change: Change,
    },
    /// The caller said that the act is done, or was not done.
    OutcomeReported {
        /// Of which permit.
        permit: String,
        /// Whether it was done.
        applied: bool,
        /// What the caller says of it: a claim.
        note: Option<String>,
    },
    /// An act was judged.
    Judged {
        /// The verdict.
        verdict: Box<Verdict>,
    },
}

impl EventKind {
    /// Its `kind`, as in records and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            EventKind::Decided { .. } => "decided",
            EventKind::DecisionRepeated { .. } => "decision_repeated",
            EventKind::PermitIssued { .. } => "permit_issued",
            EventKind::PermitRedeemed { .. } => "permit_redeemed",
            EventKind::PermitRefused { .. } => "permit_refused",
            EventKind::PermitExpired { .. } => "permit_expired",
            EventKind::PermitRevoked { .. } => "permit_revoked",
            EventKind::ApprovalAsked { .. } => "approval_asked",
            EventKind::ApprovalVoted { .. } => "approval_voted",
            EventKind::ApprovalVoteLapsed { .. } => "approval_vote_lapsed",
            EventKind::ApprovalRejected { .. } => "approval_rejected",
            EventKind::ApprovalWithdrawn { .. } => "approval_withdrawn",
            EventKind::ApprovalExpired { .. } => "approval_expired",
            EventKind::ApprovalSuperseded { .. } => "approval_superseded",
            EventKind::ApprovalConsumed { .. } => "approval_consumed",
            EventKind::ApprovalRevoked { .. } => "approval_revoked",
            EventKind::Halted { .. } => "halted",
            EventKind::Resumed { .. } => "resumed",
            EventKind::ChangeObserved { .. } => "change_observed",
            EventKind::OutcomeReported { .. } => "outcome_reported",
            EventKind::Judged { .. } => "judged",
        }
    }
}
