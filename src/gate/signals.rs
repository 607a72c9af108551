//! Signals: what the gate would say to a robot that asks for anything of a class, without anybody asking.

use serde::{Deserialize, Serialize};

use super::action::ActionClass;
use super::reason::ReasonCode;
use crate::engine::Seconds;

/// `slowburn_safe_to_act{service,class}`. Only a present 1 means yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The service.
    pub service: String,
    /// The class.
    pub class: ActionClass,
    /// 1 yes, 0 no, -1 not known.
    pub value: i8,
    /// Why not 1.
    pub codes: Vec<ReasonCode>,
}

/// Whether a service is being changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ChangeState {
    /// Nothing is under way.
    Idle,
    /// A permit is live, or redeemed and not reported.
    InFlight {
        /// Which.
        permit: String,
    },
    /// An act is done and not judged yet.
    Settling {
        /// Which.
        permit: String,
        /// Until when.
        until: Seconds,
    },
    /// A freeze window holds for robots.
    Frozen {
        /// Why.
        reason: String,
        /// Until when.
        until: Seconds,
    },
    /// A halt holds for robots.
    Halted {
        /// Which.
        id: String,
        /// Why.
        reason: String,
        /// Who set it.
        by: String,
        /// Until when.
        until: Seconds,
    },
}

impl ChangeState {
    /// As in metrics and answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            ChangeState::Idle => "idle",
            ChangeState::InFlight { .. } => "in_flight",
            ChangeState::Settling { .. } => "settling",
            ChangeState::Frozen { .. } => "frozen",
            ChangeState::Halted { .. } => "halted",
        }
    }
}
