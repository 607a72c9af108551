//! `policy.yaml`: what robots and people may do to a service, and under which checks.
//!
//! Read strictly into `gate::policy` and checked against the services. Nothing here decides anything.

use super::model::Model;
use super::problem::{Code, Place};
use super::reader::{At, Report, nearest};
use crate::gate::ActionClass;
use crate::gate::policy::{Action, AllowedAction, Approver, CheckKind, Logging, Policy, SafetyCheck};

/// Most rows of a list in a policy.
const ROWS_MAX: usize = 100;

const CHECKS: [(&str, CheckKind); 3] = [
    ("must_not_reduce_availability_below", CheckKind::MustNotReduceAvailabilityBelow),
    ("must_have_budget_left", CheckKind::MustHaveBudgetLeft),
    ("must_not_burn_faster_than", CheckKind::MustNotBurnFasterThan),
];

/// A policy with the places that later checks point at.
#[derive(Debug)]
pub(crate) struct PlacedPolicy {
    pub policy: Policy,
    pub place: Place,
    /// Place of each safety check's `slo`.
    pub slo_places: Vec<Place>,
}

/// Reads a policy document.
pub(crate) fn read(root: &At<'_>, report: &mut Report<'_>) -> Option<PlacedPolicy> {
    let mut fields = root.map(report)?;
    let service_at = fields.need(report, "service", "checkout");
    let place = service_at.as_ref().map_or(root.node.place, |at| at.node.place);
    let service = service_at.and_then(|at| super::service::name(&at, report));
    report.subject = service.as_ref().map_or("this policy".into(), |name| format!("the policy of {name}"));
    let mut allowed_actions: Vec<AllowedAction> = Vec::new();
    if let Some(at) = fields.need(report, "allowed_actions", "[{type: restart}]") {
        for item in rows(&at, report) {
            let Some(action) = read_action(&item, report) else { continue };
            if allowed_actions.iter().any(|earlier| earlier.action.kind().as_str() == action.action.kind().as_str()) {
                let what =
                    format!("the action {} is allowed twice, and only one can hold", action.action.kind().as_str());
                report.error(&item, Code::DuplicateKey, what).write("one row for each type");
            }
            allowed_actions.push(action);
        }
    }
    let (mut safety_checks, mut slo_places) = (Vec::new(), Vec::new());
    if let Some(at) = fields.get("safety_checks") {
        for item in rows(&at, report) {
            if let Some((check, place)) = read_check(&item, report) {
                safety_checks.push(check);
                slo_places.push(place);
            }
        }
    }
    let logging = fields.get("logging").and_then(|at| read_logging(&at, report));
    fields.finish(report);
    let logging = logging.unwrap_or(Logging { audit: true, incident_tag: None });
    let policy = Policy { allowed_actions, safety_checks, logging, ..Policy::new(service?) };
    Some(PlacedPolicy { policy, place, slo_places })
}

fn rows<'a>(at: &At<'a>, report: &mut Report<'_>) -> Vec<At<'a>> {
    let items = at.list(report).unwrap_or_default();
    if items.len() > ROWS_MAX {
        report.error(at, Code::InvalidValue, format!("over {ROWS_MAX} rows"));
        return Vec::new();
    }
    items
}

fn read_action(at: &At<'_>, report: &mut Report<'_>) -> Option<AllowedAction> {
    let mut fields = at.map(report)?;
    let kinds = ["rollback", "scale", "restart", "deploy", "config"].map(|word| (word, word));
    let kind = fields.need(report, "type", "rollback").and_then(|at| at.choice(report, &kinds));
    let action = match kind {
        Some("rollback") => {
            let at = fields.need(report, "max_versions_back", "1");
            at.and_then(|at| count(&at, report, 1)).map(|max_versions_back| Action::Rollback { max_versions_back })
        }
        Some("scale") => {
            let min = fields.need(report, "min_replicas", "3");
            let max = fields.need(report, "max_replicas", "50");
            let max_step = fields.get("max_step").and_then(|at| count(&at, report, 1));
            let min_replicas = min.as_ref().and_then(|at| count(at, report, 0));
            let max_replicas = max.as_ref().and_then(|at| count(at, report, 1));
            if let (Some(least), Some(most), Some(at)) = (min_replicas, max_replicas, &max)
                && most < least
            {
                let what = format!("max_replicas {most} is under min_replicas {least}: no scaling is allowed");
                report.error(at, Code::InvalidValue, what);
            }
            min_replicas.zip(max_replicas).map(|(min_replicas, max_replicas)| Action::Scale {
                min_replicas,
                max_replicas,
                max_step,
                max_utilization: 0.8,
            })
        }
        Some("restart") => Some(Action::Restart),
        Some("deploy") => Some(Action::Deploy),
        Some("config") => Some(Action::Config),
        _ => {
            for key in ["max_versions_back", "min_replicas", "max_replicas", "max_step"] {
                fields.get(key);
            }
            None
        }
    };
    let classes = [("mitigate", ActionClass::Mitigate), ("risk", ActionClass::Risk), ("observe", ActionClass::Observe)];
    let class = fields.get("class").and_then(|at| at.choice(report, &classes));
    let require_at = fields.get("require_approval");
    let require_approval = require_at.as_ref().and_then(|at| at.flag(report)).unwrap_or(false);
    let approvers_at = fields.get("approvers");
    let approvers = approvers_at.as_ref().map(|at| read_approvers(at, report)).unwrap_or_default();
    if require_approval && approvers_at.is_none() {
        report
            .error(
                require_at.as_ref().unwrap_or(at),
                Code::MissingKey,
                "require_approval is true and nobody can approve",
            )
            .write("approvers: [{team: checkout-oncall}]");
    }
    fields.finish(report);
    Some(AllowedAction { require_approval, approvers, class, ..AllowedAction::new(action?) })
}

fn count(at: &At<'_>, report: &mut Report<'_>, least: u64) -> Option<u32> {
    at.whole(report, least..=100_000).and_then(|n| u32::try_from(n).ok())
}

fn read_approvers(at: &At<'_>, report: &mut Report<'_>) -> Vec<Approver> {
    let items = rows(at, report);
    if items.is_empty() && matches!(at.node.value, super::tree::Value::List(_)) {
        report
            .error(at, Code::MissingKey, "the list of approvers is empty")
            .write("approvers: [{team: checkout-oncall}]");
    }
    let mut approvers = Vec::new();
    for item in items {
        let Some(mut fields) = item.map(report) else { continue };
        let (team, person) = (fields.get("team"), fields.get("person"));
        match (&team, &person) {
            (Some(at), None) => approvers.extend(at.text(report).map(|text| Approver::Team(text.into()))),
            (None, Some(at)) => approvers.extend(at.text(report).map(|text| Approver::Person(text.into()))),
            _ => {
                report
                    .error(&item, Code::MissingKey, "an approver is one team or one person")
                    .write("{team: checkout-oncall} or {person: \"@ada\"}");
            }
        }
        fields.finish(report);
    }
    approvers
}

fn read_check(at: &At<'_>, report: &mut Report<'_>) -> Option<(SafetyCheck, Place)> {
    let mut fields = at.map(report)?;
    let kind = fields.need(report, "name", "must_have_budget_left").and_then(|at| at.choice(report, &CHECKS));
    let slo_at = fields.need(report, "slo", "checkout-availability");
    let slo = slo_at.as_ref().and_then(|at| at.text(report));
    let threshold = fields.need(report, "threshold", "99.0").and_then(|at| {
        let number = at.number(report)?;
        let (fits, range) = match kind {
            Some(CheckKind::MustNotBurnFasterThan) => (number > 0.0, "a burn rate over 0"),
            Some(CheckKind::MustHaveBudgetLeft) => ((0.0..100.0).contains(&number), "a percentage from 0 to under 100"),
            _ => (number > 1.0 && number < 100.0, "a percentage over 1 and under 100"),
        };
        if !fits {
            let example = match kind {
                Some(CheckKind::MustNotBurnFasterThan) => "2",
                Some(CheckKind::MustHaveBudgetLeft) => "10",
                _ => "99.0",
            };
            report
                .error(&at, Code::InvalidValue, format!("the threshold {number} is not {range}"))
                .write(format!("threshold: {example}"));
        }
        fits.then_some(number)
    });
    fields.finish(report);
    let place = slo_at.as_ref().map_or(at.node.place, |at| at.node.place);
    Some((SafetyCheck { kind: kind?, slo: slo?.to_string(), threshold: threshold? }, place))
}

fn read_logging(at: &At<'_>, report: &mut Report<'_>) -> Option<Logging> {
    let mut fields = at.map(report)?;
    let audit = fields.get("audit").and_then(|at| at.flag(report)).unwrap_or(true);
    let incident_tag = fields.get("incident_tag").and_then(|at| at.text(report)).map(str::to_string);
    fields.finish(report);
    Some(Logging { audit, incident_tag })
}

/// Checks a policy against the services: it names one that exists, and SLOs of it.
pub(crate) fn check(placed: &PlacedPolicy, model: &Model, report: &mut Report<'_>) {
    let policy = &placed.policy;
    report.subject = format!("the policy of {}", policy.service);
    if !model.services.iter().any(|service| service.name == policy.service) {
        let names: Vec<&str> = model.services.iter().map(|service| service.name.as_str()).collect();
        let what = format!("there is no service {:?} in the files given", policy.service);
        report.error_at(placed.place, "", Code::UnknownReference, what).instead =
            nearest(&policy.service, &names).map(|word| format!("service: {word}"));
        return;
    }
    let own = model.slos.iter().filter(|spec| spec.slo.service == policy.service);
    let own: Vec<&str> = own.map(|spec| spec.slo.id.as_str()).collect();
    for (check, place) in policy.safety_checks.iter().zip(&placed.slo_places) {
        if !own.contains(&check.slo.as_str()) {
            let what = format!("service {} has no SLO {:?}", policy.service, check.slo);
            let instead = match nearest(&check.slo, &own) {
                Some(word) => format!("slo: {word}"),
                None => format!("one of {}", own.join(", ")),
            };
            report.error_at(*place, "safety_checks", Code::UnknownReference, what).write(instead);
        }
    }
}
