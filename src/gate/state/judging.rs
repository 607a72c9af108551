//! After the act: what the caller reports, and the verdict that the ledger gives.

use super::GateState;
use super::approving::said;
use super::recording::at;
use crate::engine::Seconds;
use crate::gate::check::span;
use crate::gate::event::{Event, EventKind};
use crate::gate::halt::{Halt, HaltScope};
use crate::gate::observed::Change;
use crate::gate::permit::PermitState;
use crate::gate::principal::{ActorClass, Principal};
use crate::gate::reason::{ReasonCode, Refusal};
use crate::gate::verdict::{Outcome, judge};
use crate::gate::view::View;

/// How long robots change nothing of a service that an act made worse, unless a person lifts it. Seconds.
const WORSE_HALT_S: i64 = 4 * 3600;

impl GateState {
    /// The caller says that the act is done, or that it was not done. Both are claims: what it came to is not for the
    /// caller to say, nor does a change that was not made free the way before that is known.
    ///
    /// # Errors
    /// The permit is unknown, was not redeemed, or belongs to somebody else.
    pub fn outcome(
        &self,
        permit: &str,
        principal: &Principal,
        applied: bool,
        note: Option<&str>,
        now: Seconds,
    ) -> Result<Vec<Event>, Refusal> {
        let unknown = || Refusal::new(ReasonCode::UnknownPermit, format!("there is no permit {permit:?}"));
        let known = self.permit(permit).ok_or_else(unknown)?;
        if known.sub != principal.sub {
            let what = format!("permit {permit} is not {}'s", principal.sub);
            return Err(Refusal::new(ReasonCode::PrincipalDiffers, what));
        }
        let PermitState::Redeemed { reported_at: None, denied: false, .. } = known.state else {
            let what = format!("permit {permit} awaits no outcome");
            return Err(Refusal::new(ReasonCode::OutcomeRefused, what));
        };
        let note = note.map(said);
        Ok(vec![at(now, EventKind::OutcomeReported { permit: permit.into(), applied, note })])
    }

    /// Verdicts on acts of the view's service that have settled. One that made things worse halts robots and pipelines
    /// on the service; its verdict asks for an alert.
    pub fn verdicts(&self, view: &View, now: Seconds) -> Vec<Event> {
        let mut events = Vec::new();
        for permit in self.open_permits_of(&view.service) {
            let PermitState::Redeemed { at: redeemed_at, .. } = permit.state else { continue };
            let since = |change: &&Change| change.resource == permit.request.resource && change.at >= redeemed_at;
            let changes = self.changes_of(&view.service).filter(since);
            let Some(verdict) = judge(permit, view, changes, now) else { continue };
            let halt = (verdict.outcome == Outcome::Worse).then(|| Halt {
                id: format!("worse-{}", permit.id),
                scope: HaltScope::Service(view.service.clone()),
                actors: vec![ActorClass::Robot, ActorClass::Pipeline],
                owner: format!("verdict:{}", permit.id),
                reason: format!(
                    "{} by {} made it worse; robots wait {} or for a person",
                    permit.request.action.as_str(),
                    permit.actor,
                    span(WORSE_HALT_S)
                ),
                at: now,
                until: now + WORSE_HALT_S,
            });
            events.push(at(now, EventKind::Judged { verdict: Box::new(verdict) }));
            events.extend(halt.map(|halt| at(now, EventKind::Halted { halt })));
        }
        events
    }
}
