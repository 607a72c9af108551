//! An approval: the yes of named people to one request, once, for a short time.
//!
//! It covers the reasons that were there when it was asked for, never a denial. Who asked does not approve, nor does
//! anybody on whose behalf was asked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::canonical::Digest;
use super::principal::{Approver, Principal, person_of};
use super::reason::ReasonCode;
use super::request::Request;
use crate::engine::Seconds;

/// Life of an approval from the moment it is asked for, seconds.
pub const APPROVAL_TTL_S: i64 = 15 * 60;

/// A question to people and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// The decision that asks.
    pub decision_id: String,
    /// Who asked.
    pub sub: String,
    /// The actor it is recorded under.
    pub actor: String,
    /// The person behind who asked, where that is not its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub person: String,
    /// On whose behalf.
    pub delegation: Vec<String>,
    /// What for. Its `reason` is a claim and is shown as one.
    pub request: Request,
    /// Digest of the request.
    pub action_digest: Digest,
    /// Digest of the policy.
    pub policy_digest: Digest,
    /// Digest of what the policy says of the action; records of before have that of the policy alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_digest: Option<Digest>,
    /// Generation of the resource.
    pub generation: Option<u64>,
    /// Reasons that a yes covers.
    pub covers: Vec<ReasonCode>,
    /// Who may say yes.
    pub from: Vec<Approver>,
    /// How many distinct people must.
    pub need: u32,
    /// Who did.
    pub votes: Vec<Vote>,
    /// When it was asked for.
    pub asked_at: Seconds,
    /// Until when it can be given and used, exclusive.
    pub expires_at: Seconds,
    /// What became of it.
    pub state: ApprovalState,
}

/// One person's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// Who.
    pub by: String,
    /// The person behind that name; empty in records of before.
    #[serde(default)]
    pub person: String,
    /// When.
    pub at: Seconds,
    /// Why.
    pub reason: Option<String>,
}

impl Vote {
    /// The person behind it.
    pub fn person(&self) -> &str {
        match self.person.is_empty() {
            true => person_of(&self.by),
            false => &self.person,
        }
    }
}

/// What became of an approval. Expiry is read from the times, whether or not somebody noted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ApprovalState {
    /// Waiting for people.
    Pending,
    /// Enough people said yes.
    Granted,
    /// Somebody said no.
    Rejected {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Nobody answered in time.
    Expired,
    /// The requester took it back.
    Withdrawn,
    /// A newer question about the same took its place.
    Superseded {
        /// Which.
        by: String,
    },
    /// A permit was issued on it.
    Consumed {
        /// Which.
        permit: String,
    },
    /// A yes was taken back before it was used.
    Revoked {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

impl Approval {
    /// Its state at `now`, expiry read.
    pub fn state_at(&self, now: Seconds) -> &ApprovalState {
        match self.state {
            ApprovalState::Pending | ApprovalState::Granted if now >= self.expires_at => &ApprovalState::Expired,
            _ => &self.state,
        }
    }

    /// Whether people can still answer.
    pub fn is_open(&self, now: Seconds) -> bool {
        *self.state_at(now) == ApprovalState::Pending
    }

    /// Whether a name, or the person behind it, is of whoever asked or was asked for: nobody of these says yes to it.
    pub fn is_own(&self, by: &Principal) -> bool {
        let mut involved = [&self.sub, &self.actor, &self.person].into_iter().chain(&self.delegation);
        involved.any(|name| !name.is_empty() && by.is_person(name))
    }

    /// How many distinct people said yes.
    pub fn have(&self) -> u32 {
        let people: BTreeSet<&str> = self.votes.iter().map(Vote::person).collect();
        u32::try_from(people.len()).unwrap_or(u32::MAX)
    }
}

impl ApprovalState {
    /// As in answers, metrics and records.
    pub fn as_str(&self) -> &'static str {
        match self {
            ApprovalState::Pending => "pending",
            ApprovalState::Granted => "granted",
            ApprovalState::Rejected { .. } => "rejected",
            ApprovalState::Expired => "expired",
            ApprovalState::Withdrawn => "withdrawn",
            ApprovalState::Superseded { .. } => "superseded",
            ApprovalState::Consumed { .. } => "consumed",
            ApprovalState::Revoked { .. } => "revoked",
        }
    }
}
