//! Whether a machine has earned to do it by itself.

use super::Case;
use crate::gate::autonomy::Stage;
use crate::gate::check::{Check, ClearBy, Effect};
use crate::gate::reason::ReasonCode;

/// The stage of the principal; nothing for people, and where the policy has no stages.
pub(super) fn autonomy(case: &Case<'_>) -> Option<Check> {
    let (row, kind) = (case.row.filter(|_| !case.actor.is_human())?, case.action?);
    let rule = row.autonomy?;
    let standing = rule.standing(case.gate.record_of(case.service, case.sub, kind));
    let (id, stage, action) = ("autonomy", standing.stage, kind.as_str());
    let name = stage.as_str();
    let further = format!("{} of {} improved acts for the next stage", standing.improved, rule.raise_after);
    let earned = |effect, what: String, flip: String| {
        Check::new(id, effect, ReasonCode::NotEarned, what).clear(ClearBy::Approval).flip(flip)
    };
    let check = match stage {
        Stage::Explain => {
            let what = format!("{} is told what would be decided on {action}, and does nothing", case.sub);
            let check = Check::new(id, Effect::Deny, ReasonCode::NotEarned, what).clear(ClearBy::Policy);
            check.flip("the policy's author starts it at approval, or a person does it")
        }
        Stage::Approval => {
            let what = format!("{} has not yet earned the right to do {action} without a person's approval", case.sub);
            earned(Effect::NeedsApproval, what, format!("a person approves; {further}"))
        }
        Stage::Proven if !standing.proven => {
            let what = format!("the last {action} by {} improved nothing", case.sub);
            earned(Effect::NeedsApproval, what, format!("a person approves; {further}"))
        }
        Stage::Proven => Check::holds(id, format!("the last {action} by {} improved things", case.sub)),
        Stage::Alone => Check::holds(id, format!("{} has earned to do {action} within the limits", case.sub)),
    };
    Some(
        check
            .observed("stage", name)
            .observed("improved", standing.improved)
            .bound(format!("at most {}", rule.at_most.as_str())),
    )
}
