//! A permit: what an allow is. Bound to who asked, what was asked, the policy and the generation of the resource; used
//! once, soon, and only after every check has run again.

use serde::{Deserialize, Serialize};

use super::action::ActionClass;
use super::canonical::Digest;
use super::principal::ActorClass;
use super::reason::ReasonCode;
use super::request::Request;
use crate::engine::Seconds;

/// An act that nobody judged holds others up for so long at most, seconds after it should have been.
const UNJUDGED_S: i64 = 3600;
/// Life of a permit that broke the glass, seconds.
pub const BREAK_GLASS_TTL_S: i64 = 15 * 60;

/// A permit and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// Its id.
    pub id: String,
    /// The decision it came from.
    pub decision_id: String,
    /// Who may use it.
    pub sub: String,
    /// Human, robot or pipeline.
    pub actor_class: ActorClass,
    /// The actor it is recorded under.
    pub actor: String,
    /// What it is for.
    pub request: Request,
    /// Digest of the request.
    pub action_digest: Digest,
    /// Digest of the policy it was decided under; none for a broken glass without a policy.
    pub policy_digest: Option<Digest>,
    /// Generation of the resource when it was decided: redeemed on another one, it is refused.
    pub generation: Option<u64>,
    /// What the action is for.
    pub class: ActionClass,
    /// The service's dependency group.
    pub group: Option<String>,
    /// The approval it rests on.
    pub approval: Option<String>,
    /// Admitted against the checks.
    pub break_glass: bool,
    /// When it was issued.
    pub issued_at: Seconds,
    /// Epoch of the process that issued it: of two processes that decide one after the other, the later has the larger.
    #[serde(default)]
    pub epoch: u64,
    /// Until when it can be redeemed, exclusive.
    pub expires_at: Seconds,
    /// Seconds after the act before it is judged.
    pub settle_s: i64,
    /// What became of it.
    pub state: PermitState,
}

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
    /// Version that ran.
    #[serde(default)]
    pub version: Option<String>,
    /// Replicas that there were.
    #[serde(default)]
    pub replicas: Option<u32>,
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

/// What became of a permit. Expiry is read from the times, whether or not somebody noted it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PermitState {
    /// Can be redeemed.
    Live,
    /// Was redeemed: the act is under way or done.
    Redeemed {
        /// When.
        at: Seconds,
        /// How things stood.
        baseline: Baseline,
        /// When the caller said it was done.
        reported_at: Option<Seconds>,
        /// The caller said that it was not done: a claim, held against what runs once the act would have settled.
        #[serde(default)]
        denied: bool,
    },
    /// The act was judged.
    Judged {
        /// When.
        at: Seconds,
    },
    /// Was not redeemed in time.
    Expired,
    /// The state became worse before it was redeemed.
    Revoked {
        /// When.
        at: Seconds,
        /// Why.
        code: ReasonCode,
    },
}

impl Permit {
    /// Until when its act is under way: while it may begin, and until it was judged.
    pub fn under_way(&self, now: Seconds) -> Option<Seconds> {
        match &self.state {
            PermitState::Live => Some(self.expires_at).filter(|end| now < *end),
            PermitState::Redeemed { .. } => {
                self.acting_since().map(|since| since + self.settle_s).filter(|end| now < end + UNJUDGED_S)
            }
            _ => None,
        }
    }

    /// Whether it can be redeemed at `now`, as far as the permit itself says.
    pub fn is_live(&self, now: Seconds) -> bool {
        self.state == PermitState::Live && now < self.expires_at && self.issued_at <= now
    }

    /// When the act was, or is held to have been: redeemed and not yet judged.
    pub fn acting_since(&self) -> Option<Seconds> {
        match &self.state {
            PermitState::Redeemed { at, reported_at, .. } => Some(reported_at.unwrap_or(*at)),
            _ => None,
        }
    }
}
