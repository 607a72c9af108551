//! Why: one word for each thing the gate can say. The same word is the field of the answer, the label of the metric,
//! the line of the log and the member of the audit record.

use serde::{Deserialize, Serialize};

macro_rules! reason_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// Why something is allowed, asked, denied or refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ReasonCode {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant,)+
        }

        impl ReasonCode {
            /// All of them.
            pub const ALL: &[ReasonCode] = &[$(ReasonCode::$variant,)+];

            /// As it is written everywhere.
            pub fn as_str(self) -> &'static str {
                match self { $(ReasonCode::$variant => $text,)+ }
            }

            /// What it means, in a sentence: the table of `docs/gate.md`.
            pub fn meaning(self) -> &'static str {
                match self { $(ReasonCode::$variant => concat!($($doc,)+).trim_ascii_start(),)+ }
            }
        }
    };
}

reason_codes! {
    /// The check holds.
    Holds = "holds",

    /// The body is over 64 KiB (a review 8 MiB, a notification of Alertmanager 1 MiB).
    RequestTooLarge = "request_too_large",
    /// The request is no JSON, lacks something, or holds something that does not belong to the action.
    MalformedRequest = "malformed_request",
    /// The request has a field that is not known.
    UnknownField = "unknown_field",
    /// There is no such action.
    UnknownAction = "unknown_action",
    /// There is no such service, or it has no SLO.
    UnknownService = "unknown_service",
    /// The request names an actor that the caller may not act as.
    ActorMismatch = "actor_mismatch",
    /// The service has no policy, and what no policy allows is denied.
    NoPolicy = "no_policy",
    /// The policy does not list the action.
    ActionNotAllowed = "action_not_allowed",

    /// The policy does not let this actor do it.
    ActorNotAllowed = "actor_not_allowed",
    /// The resource does not belong to the service, or is not of the kind or pool that the action is for.
    ForeignResource = "foreign_resource",
    /// An argument is missing, is one that the action does not take, or is out of the policy's bounds.
    ArgumentRefused = "argument_refused",

    /// The newest policy files were refused; the ones before them are in force.
    PolicyInvalid = "policy_invalid",
    /// History of this service is still being read after a start.
    NotWarm = "not_warm",
    /// The audit log cannot be written.
    AuditUnwritable = "audit_unwritable",
    /// The audit log could not be proved complete when the process started.
    LogInDoubt = "log_in_doubt",
    /// Another process decides; this one only explains.
    NotLeader = "not_leader",
    /// Too few witnesses have confirmed the newest state of the audit log.
    LogUnwitnessed = "log_unwitnessed",
    /// The clocks of Slowburn and Prometheus differ too much.
    ClockSkew = "clock_skew",
    /// A halt is in force.
    Halted = "halted",
    /// A freeze window is in force.
    Frozen = "frozen",

    /// What the caller takes to be running (version, replicas, target) is not what is observed.
    StalePremise = "stale_premise",
    /// It is not observed what runs, so what the caller says of it cannot be checked.
    PremiseUnobserved = "premise_unobserved",
    /// Nothing would change.
    NothingToChange = "nothing_to_change",
    /// The target was never observed as a version of this resource.
    UnknownVersion = "unknown_version",
    /// More versions back than the policy allows.
    TooManyVersionsBack = "too_many_versions_back",
    /// Fewer replicas than the policy allows.
    BelowMinReplicas = "below_min_replicas",
    /// More replicas than the policy allows.
    AboveMaxReplicas = "above_max_replicas",
    /// More replicas added or removed at once than the policy allows.
    StepTooLarge = "step_too_large",
    /// Fewer pods would be ready elsewhere than the policy asks for.
    TooFewLeft = "too_few_left",
    /// The policy marks the target, or the action, as one that cannot be taken back.
    Irreversible = "irreversible",

    /// Another change of the service, or of its group, is under way.
    ChangeInFlight = "change_in_flight",
    /// The last change was too recent.
    CoolingDown = "cooling_down",
    /// The rate budget is spent.
    RateExceeded = "rate_exceeded",
    /// The same step was made already within four hours.
    FlipFlop = "flip_flop",
    /// Two acts within four hours had no effect.
    Ineffective = "ineffective",
    /// The same action made things worse within four hours.
    MadeWorse = "made_worse",
    /// Too many different acts were denied in a short time.
    Probing = "probing",

    /// Part of the data is missing.
    DataPartial = "data_partial",
    /// Too few events to say anything.
    LowTraffic = "low_traffic",
    /// The newest data is too old.
    DataStale = "data_stale",
    /// There is no data.
    DataAbsent = "data_absent",
    /// A person acts on doubtful data and gives no reason.
    ReasonRequired = "reason_required",

    /// An SLO of the service burns fast, so no risk is taken.
    FastBurn = "fast_burn",
    /// An SLO of the service burns slowly.
    SlowBurn = "slow_burn",
    /// The error budget is spent.
    BudgetExhausted = "budget_exhausted",
    /// No burn rate is over its limit, so there is nothing to mitigate.
    NotNecessary = "not_necessary",
    /// The reason that the caller gives is not what the counts show.
    ClaimRefuted = "claim_refuted",
    /// The errors did not begin after the change, or a service that this one depends on burns at the same time.
    NotCorrelated = "not_correlated",
    /// Availability would, or could, fall below the floor.
    FloorBroken = "floor_broken",
    /// What the act would do is not known, because nothing like it was measured.
    EffectUnknown = "effect_unknown",
    /// The remaining replicas would carry more load than the policy allows.
    OverUtilization = "over_utilization",
    /// Less budget is left than the policy asks for.
    BudgetTooLow = "budget_too_low",
    /// An SLO burns faster than the policy allows.
    BurnTooFast = "burn_too_fast",

    /// The machine has not yet earned the right to do this without a person.
    NotEarned = "not_earned",
    /// The policy asks for a person's approval.
    ApprovalRequired = "approval_required",
    /// Nobody can be asked: no channel to approvers works, or none is named.
    NobodyToAsk = "nobody_to_ask",

    /// A person used break-glass access.
    BreakGlass = "break_glass",
    /// Break-glass access is for people, and needs a reason.
    BreakGlassRefused = "break_glass_refused",

    /// There is no such permit.
    UnknownPermit = "unknown_permit",
    /// The permit was used already.
    PermitUsed = "permit_used",
    /// The permit has expired.
    PermitExpired = "permit_expired",
    /// The permit was revoked.
    PermitRevoked = "permit_revoked",
    /// Its holder gave the permit back.
    Released = "released",
    /// The permit belongs to somebody else.
    PrincipalDiffers = "principal_differs",
    /// The action is not the one that was decided on.
    DigestDiffers = "digest_differs",
    /// The policy changed, and the one that the decision was made under is not known any more.
    PolicyChanged = "policy_changed",
    /// The resource changed since the decision.
    GenerationChanged = "generation_changed",
    /// The state became worse since the decision.
    StateWorsened = "state_worsened",

    /// There is no such approval.
    UnknownApproval = "unknown_approval",
    /// The approval is not open any more.
    ApprovalClosed = "approval_closed",
    /// The approval has expired.
    ApprovalExpired = "approval_expired",
    /// Only a person approves.
    NotAPerson = "not_a_person",
    /// Whoever asked, or had somebody ask, cannot approve.
    OwnRequest = "own_request",
    /// The policy does not name this person as an approver.
    NotAnApprover = "not_an_approver",
    /// The same person approved already.
    AlreadyApproved = "already_approved",
    /// A reason is missing.
    ReasonMissing = "reason_missing",
    /// There is no such halt.
    UnknownHalt = "unknown_halt",
    /// Only a person sets or lifts a halt.
    HaltNeedsPerson = "halt_needs_person",
    /// The person or pipeline does not have the right to do this.
    RightMissing = "right_missing",
    /// The time given is outside its bounds.
    TimeOutOfBounds = "time_out_of_bounds",
    /// The outcome belongs to no redeemed permit, or was reported by somebody else than its holder.
    OutcomeRefused = "outcome_refused",
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a step of a permit, an approval or a halt is refused. Nothing changes by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For log, metric, answer and record.
    pub code: ReasonCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
