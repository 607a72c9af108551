//! What only all files together show: a policy names a service that exists, SLOs of it, services it can depend on, and
//! people who can say yes.

use std::collections::BTreeSet;

use super::PlacedPolicy;
use crate::gate::Stage;
use crate::gate::identity::{Identities, Identity};
use crate::gate::policy::{Action, AllowedAction, Policy, RateActor};
use crate::gate::principal::Approver;
use crate::gate::principal::{person_of, same_person};
use crate::spec::model::Model;
use crate::spec::problem::{Code, Place};
use crate::spec::reader::{Report, nearest};

/// Checks a policy against the services, the other policies and, where they are known, the people there are.
pub(crate) fn check(
    placed: &PlacedPolicy,
    model: &Model,
    all: &[&Policy],
    people: Option<&Identities>,
    report: &mut Report<'_>,
) {
    let policy = &placed.policy;
    report.subject = format!("the policy of {}", policy.service);
    let services: Vec<&str> = model.services.iter().map(|service| service.name.as_str()).collect();
    if !services.contains(&policy.service.as_str()) {
        let what = format!("there is no service {:?} in the files given", policy.service);
        report.error_at(placed.place, "", Code::UnknownReference, what).instead =
            nearest(&policy.service, &services).map(|word| format!("service: {word}"));
        return;
    }
    slos(placed, model, report);
    for (name, place) in policy.dependencies.iter().zip(&placed.dependencies) {
        if !services.contains(&name.as_str()) {
            let what = format!("there is no service {name:?} in the files given, so nothing tells how it stands");
            report.error_at(*place, "dependencies", Code::UnknownReference, what).instead =
                nearest(name, &services).map(str::to_string);
        }
    }
    if let Some(group) = &policy.dependency_group {
        let others = all.iter().filter(|other| other.service != policy.service);
        let groups: Vec<&str> = others.filter_map(|other| other.dependency_group.as_deref()).collect();
        if !groups.contains(&group.as_str()) {
            let what = format!("no other policy is of the group {group:?}, so it holds nothing back");
            report.warn_at(placed.group, "dependency_group", Code::Unreachable, what).instead =
                nearest(group, &groups).map(|word| format!("dependency_group: {word}"));
        }
    }
    match people {
        Some(people) => channel(placed, people, report),
        None => at_least_named(placed, report),
    }
}

fn slos(placed: &PlacedPolicy, model: &Model, report: &mut Report<'_>) {
    let service = &placed.policy.service;
    let own = model.slos.iter().filter(|spec| spec.slo.service == *service);
    let own: Vec<&str> = own.map(|spec| spec.slo.id.as_str()).collect();
    for (check, place) in placed.policy.safety_checks.iter().zip(&placed.slos) {
        if !own.contains(&check.slo.as_str()) {
            let what = format!("service {service} has no SLO {:?}", check.slo);
            let instead = match nearest(&check.slo, &own) {
                Some(word) => format!("slo: {word}"),
                None => format!("one of {}", own.join(", ")),
            };
            report.error_at(*place, "safety_checks", Code::UnknownReference, what).write(instead);
        }
    }
}

/// A row that will ask people, whoever asks.
fn always_asks(row: &AllowedAction) -> bool {
    let for_good = matches!(&row.action, Action::Custom(custom) if !custom.reversible);
    // What is earned begins with a yes, unless it is only explained, or there is nothing to earn.
    let earned = row.autonomy.is_some_and(|rule| rule.starts.min(rule.at_most) != Stage::Explain);
    row.require_approval || row.four_eyes || !row.irreversible.is_empty() || for_good || earned
}

/// Those of the row; where it names nobody, those of the other rows.
fn approvers<'p>(policy: &'p Policy, row: &'p AllowedAction) -> Vec<&'p Approver> {
    match row.approvers.is_empty() {
        false => row.approvers.iter().collect(),
        true => policy.allowed_actions.iter().flat_map(|row| &row.approvers).collect(),
    }
}

/// Whoever is asked is named, even where it is not known who there is.
fn at_least_named(placed: &PlacedPolicy, report: &mut Report<'_>) {
    for (row, place) in placed.policy.allowed_actions.iter().zip(&placed.approvers) {
        let unsaid = !row.require_approval && !row.four_eyes;
        if unsaid && always_asks(row) && approvers(&placed.policy, row).is_empty() {
            let what = format!("{} asks people to approve, and names nobody", row.action.kind().as_str());
            report
                .error_at(*place, "allowed_actions", Code::MissingKey, what)
                .write("approvers: [{team: checkout-oncall}]");
        }
    }
}

/// Everybody who is asked for a yes can be reached: a gate that asks nobody would wait for ever.
fn channel(placed: &PlacedPolicy, people: &Identities, report: &mut Report<'_>) {
    at_least_named(placed, report);
    for (row, place) in placed.policy.allowed_actions.iter().zip(&placed.approvers) {
        let named = approvers(&placed.policy, row);
        for approver in &row.approvers {
            unknown_approver(approver, *place, people, report);
        }
        if !always_asks(row) || named.is_empty() {
            continue;
        }
        let able: BTreeSet<&str> =
            people.all.iter().filter(|one| can_say_yes(one, &named)).map(person_behind).collect();
        let need = if row.four_eyes { row.quorum.max(2) } else { row.quorum };
        if able.len() < need as usize {
            let kind = row.action.kind();
            let action = kind.as_str();
            let names: Vec<String> = named.iter().map(ToString::to_string).collect();
            let what = match (people.all.is_empty(), able.len()) {
                (true, _) => format!("{action} needs a person's approval, and without identities nobody can give it"),
                (false, 0) => {
                    format!(
                        "{action} needs the approval of {}, and no person with a credential is one of them",
                        names.join(", ")
                    )
                }
                (false, some) => {
                    format!(
                        "{action} needs the approval of {need} people of {}, and {some} could give it",
                        names.join(", ")
                    )
                }
            };
            report
                .error_at(*place, "allowed_actions", Code::UnknownReference, what)
                .write("people with teams and credentials in identities.yaml (--identities, or auth.identities)");
        }
    }
    for_whom(placed, people, report);
    for (budget, place) in placed.policy.rate_budgets.iter().zip(&placed.budgets) {
        if let Some(RateActor::Sub(name)) = &budget.actor
            && people.named(name).is_none()
            && !people.all.is_empty()
        {
            let known: Vec<&str> = people.all.iter().map(|one| one.name.as_str()).collect();
            let what = format!("there is no {name:?} among the identities, so this budget limits nobody");
            report.warn_at(*place, "rate_budgets", Code::UnknownReference, what).instead =
                nearest(name, &known).map(|word| format!("actor: {word}"));
        }
    }
}

/// A machine whose senders are the only ones who could approve can never be approved.
fn for_whom(placed: &PlacedPolicy, people: &Identities, report: &mut Report<'_>) {
    for (row, place) in placed.policy.allowed_actions.iter().zip(&placed.approvers) {
        let named = approvers(&placed.policy, row);
        if !always_asks(row) || named.is_empty() {
            continue;
        }
        let need = if row.four_eyes { row.quorum.max(2) } else { row.quorum } as usize;
        let all: BTreeSet<&str> = people.all.iter().filter(|one| can_say_yes(one, &named)).map(person_behind).collect();
        for machine in people.all.iter().filter(|one| !one.class.is_human() && !one.on_behalf_of.is_empty()) {
            let senders: BTreeSet<&str> =
                machine.on_behalf_of.iter().filter_map(|name| people.like(name)).map(person_behind).collect();
            let left = all.difference(&senders).count();
            if left < need && all.len() >= need {
                let kind = row.action.kind();
                let action = kind.as_str();
                let what = format!(
                    "{action} asked by {} needs {need} who did not send it, and {left} could approve it",
                    machine.name
                );
                report
                    .warn_at(*place, "allowed_actions", Code::UnknownReference, what)
                    .write("more approvers, or another on_behalf_of");
            }
        }
    }
}

/// The person behind an identity.
fn person_behind(one: &Identity) -> &str {
    one.person.as_deref().unwrap_or_else(|| person_of(&one.name))
}

/// A name that nobody has is most likely a slip.
fn unknown_approver(approver: &Approver, place: Place, people: &Identities, report: &mut Report<'_>) {
    let humans = people.all.iter().filter(|one| one.class.is_human());
    let (known, name): (Vec<&str>, &str) = match approver {
        Approver::Team(team) => (humans.flat_map(|one| &one.teams).map(String::as_str).collect(), team),
        Approver::Person(person) => (humans.map(|one| one.name.as_str()).collect(), person),
    };
    let is_known = |known: &&str| match approver {
        Approver::Team(_) => *known == name,
        Approver::Person(_) => same_person(known, name),
    };
    if people.all.is_empty() || known.iter().any(is_known) {
        return;
    }
    let what = format!("{approver} is nobody among the identities");
    report.warn_at(place, "allowed_actions", Code::UnknownReference, what).instead =
        nearest(name, &known).map(str::to_string);
}

/// A person whom the policy names and who can prove to be that.
fn can_say_yes(one: &Identity, named: &[&Approver]) -> bool {
    let proves = one.can_prove_itself();
    let principal = one.principal(crate::gate::Via::Local);
    proves && named.iter().any(|approver| principal.is(approver))
}
