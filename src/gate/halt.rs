//! Halt levers: a named person or a verdict stops changes, for a time and with a reason.
//!
//! A halt always ends: one that nobody lifts expires. Only a person lifts it, never the automation that it stops.

use serde::{Deserialize, Serialize};

use super::action::ActionKind;
use super::principal::ActorClass;
use crate::engine::Seconds;

/// Longest a halt can last, seconds.
pub const HALT_MAX_S: i64 = 7 * 24 * 3600;

/// What a halt stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltScope {
    /// Everything.
    Global,
    /// One service.
    Service(String),
    /// One principal, or one name that somebody acts under.
    Actor(String),
    /// One action, everywhere.
    Action(ActionKind),
}

/// A halt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halt {
    /// Its id.
    pub id: String,
    /// What it stops.
    pub scope: HaltScope,
    /// Whom it stops.
    pub actors: Vec<ActorClass>,
    /// Who set it: a person, or `verdict:PERMIT`.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Seconds,
    /// Until when, exclusive.
    pub until: Seconds,
}

impl Halt {
    /// Whether it stops a principal of `class` that goes by `names` (its own, and the one it acts as) from doing `action`
    /// to `service` at `now`. Where there is no action (signals), halts of single actions do not count.
    pub fn stops(
        &self,
        service: &str,
        action: Option<ActionKind>,
        names: [&str; 2],
        class: ActorClass,
        now: Seconds,
    ) -> bool {
        let meant = match &self.scope {
            HaltScope::Global => true,
            HaltScope::Service(halted) => halted == service,
            HaltScope::Actor(halted) => names.contains(&halted.as_str()),
            HaltScope::Action(halted) => Some(*halted) == action,
        };
        meant && self.actors.contains(&class) && now < self.until
    }
}
