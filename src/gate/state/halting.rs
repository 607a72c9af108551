//! Halt levers: people set and lift them.

use super::GateState;
use super::approving::reasoned;
use super::recording::at;
use crate::engine::Seconds;
use crate::gate::check::span;
use crate::gate::event::{Event, EventKind};
use crate::gate::halt::{HALT_MAX_S, Halt, HaltScope};
use crate::gate::principal::{ActorClass, Principal, Right};
use crate::gate::reason::{ReasonCode, Refusal};

impl GateState {
    /// A person stops changes for `for_s` seconds. `actors` empty = robots and pipelines.
    ///
    /// # Errors
    /// No person, no reason, or a time outside `1..=`[`HALT_MAX_S`].
    #[expect(clippy::too_many_arguments, reason = "each is one word of the command")]
    pub fn halt(
        &self,
        id: &str,
        scope: HaltScope,
        actors: &[ActorClass],
        by: &Principal,
        reason: &str,
        for_s: i64,
        now: Seconds,
    ) -> Result<Event, Refusal> {
        person(by, Right::Halt)?;
        let reason = reasoned(reason)?;
        if !(1..=HALT_MAX_S).contains(&for_s) {
            let what = format!("a halt lasts from 1s to {}: it always ends", span(HALT_MAX_S));
            return Err(Refusal::new(ReasonCode::TimeOutOfBounds, what));
        }
        let actors = match actors {
            [] => vec![ActorClass::Robot, ActorClass::Pipeline],
            some => some.to_vec(),
        };
        let halt = Halt { id: id.into(), scope, actors, owner: by.sub.clone(), reason, at: now, until: now + for_s };
        Ok(at(now, EventKind::Halted { halt }))
    }

    /// A person lifts a halt, whoever set it.
    ///
    /// # Errors
    /// No person, no reason, or no halt of this id holds.
    pub fn resume(&self, id: &str, by: &Principal, reason: &str, now: Seconds) -> Result<Event, Refusal> {
        person(by, Right::Resume)?;
        let reason = reasoned(reason)?;
        if !self.halts(now).any(|halt| halt.id == id) {
            return Err(Refusal::new(ReasonCode::UnknownHalt, format!("no halt {id:?} holds")));
        }
        Ok(at(now, EventKind::Resumed { id: id.into(), by: by.sub.clone(), reason }))
    }
}

/// A person who may.
fn person(by: &Principal, right: Right) -> Result<(), Refusal> {
    match (by.class.is_human(), by.has(right)) {
        (true, true) => Ok(()),
        (false, _) => Err(Refusal::new(ReasonCode::HaltNeedsPerson, format!("{} is no person", by.sub))),
        (true, false) => {
            let what = format!("{} has not the right {:?}", by.sub, right.as_str());
            Err(Refusal::new(ReasonCode::RightMissing, what))
        }
    }
}
