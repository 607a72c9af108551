//! Whether there is data to decide on. The table of semantics, section 7; the policy may only be stricter, but for
//! absent data and a cure, where it may have a person asked.

use super::Case;
use crate::engine::{DataReason, DataState, SloState};
use crate::gate::action::ActionClass;
use crate::gate::check::{Check, ClearBy, DataSummary, Effect, span};
use crate::gate::reason::ReasonCode;
use crate::gate::view::SloView;

/// A view older than this is stale whatever it says: the evaluation stands still. Seconds.
const VIEW_MAX_S: i64 = 120;

/// Whether the evaluation stands still, or comes from the future.
pub(super) fn is_old(case: &Case<'_>) -> bool {
    !(-VIEW_MAX_S..=VIEW_MAX_S).contains(&(case.now - case.view.at))
}

/// How an SLO's data stands for this decision, and the code that says why.
fn standing(case: &Case<'_>, slo: &SloView) -> (DataState, ReasonCode) {
    let few = slo.recent().is_none_or(|window| window.total < case.policy.data.min_events);
    // What is old and was nothing even then is not old data, but none.
    let nothing = slo.windows.iter().all(|window| window.total == 0);
    match slo.data {
        _ if slo.data_reason == DataReason::Filling => (DataState::Absent, ReasonCode::NotWarm),
        DataState::Absent => (DataState::Absent, ReasonCode::DataAbsent),
        state if nothing && (state == DataState::Stale || is_old(case)) => (DataState::Absent, ReasonCode::DataAbsent),
        DataState::Stale => (DataState::Stale, ReasonCode::DataStale),
        _ if is_old(case) => (DataState::Stale, ReasonCode::DataStale),
        // Samples come, and yet nothing is known of the windows.
        _ if slo.state == SloState::Unknown => (DataState::Absent, ReasonCode::DataAbsent),
        DataState::Partial => (DataState::Partial, ReasonCode::DataPartial),
        DataState::Fresh if few => (DataState::Partial, ReasonCode::LowTraffic),
        DataState::Fresh => (DataState::Fresh, ReasonCode::Holds),
    }
}

/// One row for each SLO the decision rests on.
pub(super) fn quality(case: &Case<'_>, checks: &mut Vec<Check>) {
    let governing = case.governing();
    // An SLO that the policy names and that is not there is no SLO that is well.
    let missing = case.policy.safety_checks.iter().filter(|check| case.view.slo(&check.slo).is_none());
    for check in missing {
        checks.push(row(case, &check.slo, DataState::Absent, ReasonCode::DataAbsent));
    }
    if governing.is_empty() && case.policy.safety_checks.is_empty() {
        checks.push(row(case, case.service, DataState::Absent, ReasonCode::DataAbsent));
    }
    for slo in governing {
        let (state, code) = standing(case, slo);
        let mut check = row(case, &slo.id, state, code).observed("data_reason", slo.data_reason.as_str());
        if let Some(newest) = slo.newest {
            check = check.observed("age_s", case.now - newest);
        }
        if code == ReasonCode::LowTraffic {
            let events = slo.recent().map_or(0, |window| window.total);
            check = check.observed("events", events).bound(format!(">= {} events", case.policy.data.min_events));
        }
        checks.push(check);
    }
}

fn row(case: &Case<'_>, slo: &str, state: DataState, code: ReasonCode) -> Check {
    let id = "data.quality";
    if state == DataState::Fresh {
        return Check::holds(id, format!("{slo}: the data is fresh")).observed("slo", slo);
    }
    let rules = &case.policy.data;
    let reasoned = case.request.is_none_or(|request| request.reason.is_some());
    let robot = match (state, case.class) {
        (_, ActionClass::Risk) => Effect::Deny,
        (DataState::Partial, _) => rules.partial_mitigate.into(),
        (DataState::Stale, _) => rules.stale_mitigate.into(),
        _ => rules.absent_mitigate.into(),
    };
    // Whatever a policy says, no robot acts on doubtful data by itself.
    let robot = Effect::max(robot, Effect::NeedsApproval);
    let (human, code) = match state {
        DataState::Stale if case.actor.is_human() && !reasoned => (Effect::Deny, ReasonCode::ReasonRequired),
        DataState::Absent => (Effect::Deny, code),
        _ => (Effect::Warn, code),
    };
    let effect = match case.class {
        ActionClass::Observe => Effect::Warn,
        _ => case.by_actor(robot, human),
    };
    let what = match code {
        ReasonCode::ReasonRequired => format!("{slo}: the data is stale, so a reason is required"),
        ReasonCode::LowTraffic => format!("{slo}: too few events to say anything"),
        ReasonCode::NotWarm => format!("{slo}: history is still being read"),
        _ if is_old(case) => format!("{slo}: the last evaluation is {} old", span((case.now - case.view.at).abs())),
        _ => format!("{slo}: the data is {}", state.as_str()),
    };
    let clear = if code == ReasonCode::ReasonRequired { ClearBy::Request } else { ClearBy::Data };
    let check = Check::new(id, effect, code, what)
        .observed("slo", slo)
        .observed("data_state", state.as_str())
        .bound("fresh")
        .clear(clear);
    match (effect, case.actor.is_human()) {
        (Effect::Deny, true) if clear == ClearBy::Data => {
            check.flip("the data comes back; in an emergency a person can use break_glass")
        }
        (Effect::Deny, true) => check.flip("give a reason"),
        _ => check.flip("the data is fresh again"),
    }
}

/// The worst of the SLOs the decision rests on.
pub(super) fn summary(case: &Case<'_>) -> DataSummary {
    let missing = case.policy.safety_checks.iter().find(|check| case.view.slo(&check.slo).is_none());
    if let Some(check) = missing {
        let slo = Some(check.slo.clone());
        return DataSummary { state: DataState::Absent, reason: DataReason::NoSeries, slo, oldest_age_s: None };
    }
    match case.governing().into_iter().max_by_key(|slo| standing(case, slo).0) {
        None => DataSummary { state: DataState::Absent, reason: DataReason::NoSeries, slo: None, oldest_age_s: None },
        Some(slo) => DataSummary {
            state: standing(case, slo).0,
            reason: slo.data_reason,
            slo: Some(slo.id.clone()),
            oldest_age_s: slo.newest.map(|newest| case.now - newest),
        },
    }
}
