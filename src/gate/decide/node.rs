//! A node, and one pod: what else runs there, how that stands, and what is left without it.
//!
//! A node is of no one service. Every service with a pod on it is asked how it stands, and the strictest counts: who may
//! drain a node for one of them may not do so over the others' heads. Deliberately absent: disruption budgets and
//! priorities, which the cluster itself enforces when pods are evicted.

use std::collections::BTreeSet;

use super::{Case, premise};
use crate::engine::{Seconds, SloState};
use crate::gate::action::ActionKind;
use crate::gate::check::{Check, ClearBy, Effect, span};
use crate::gate::observed::{Node, Tenant};
use crate::gate::permit::Permit;
use crate::gate::policy::NodeLimits;
use crate::gate::reason::ReasonCode;
use crate::gate::request::Request;
use crate::gate::state::NODE_ACTS_KEPT_S;

pub(super) fn node(case: &Case<'_>, checks: &mut Vec<Check>) {
    checks.extend(case.request.and_then(|request| one_pod(case, request)));
    let Some(limits) = case.row.and_then(|row| row.action.of_nodes()) else { return };
    let Some((request, name)) = case.request.and_then(|request| Some((request, request.node()?))) else { return };
    checks.push(pool(limits, request, name));
    let lately = |node: &&Node| case.now - node.seen_at <= node.good_for_s.min(premise::SEEN_MAX_S);
    match case.view.observed.node(name).filter(lately) {
        Some(node) => tenants(case, limits, request, node, checks),
        None => {
            let what = format!("what runs on {name} is not observed");
            let check = Check::new("node.observed", asks(case), ReasonCode::PremiseUnobserved, what);
            let flip = "kube-state-metrics shows its pods (kube_pod_info), and services name their workloads; or a person approves";
            checks.push(check.clear(ClearBy::Data).flip(flip));
        }
    }
    checks.push(one_at_a_time(case, limits, request, name));
    checks.push(per_day(case, limits, name));
}

/// What is not known asks a person where a machine acts.
fn asks(case: &Case<'_>) -> Effect {
    case.by_actor(Effect::NeedsApproval, Effect::Warn)
}

/// What speaks against it stops a machine, and a person asks another one.
fn stops(case: &Case<'_>) -> Effect {
    case.by_actor(Effect::Deny, Effect::NeedsApproval)
}

fn pool(limits: &NodeLimits, request: &Request, name: &str) -> Check {
    let (id, pool) = ("node.pool", limits.nodes.join(", "));
    if limits.means(name) {
        return Check::holds(id, format!("{name} belongs to {pool}"));
    }
    let what = format!("{} is allowed on {pool} only, and {name} is not one of them", request.action.as_str());
    Check::new(id, Effect::Deny, ReasonCode::ForeignResource, what).clear(ClearBy::Request)
}

/// How everything stands that runs there, and whether enough of it is ready elsewhere.
fn tenants(case: &Case<'_>, limits: &NodeLimits, request: &Request, node: &Node, checks: &mut Vec<Check>) {
    let empties = request.action == ActionKind::Drain;
    let (mut services, mut seen) = (BTreeSet::new(), 0);
    for tenant in &node.tenants {
        seen += tenant.pods;
        if tenant.service != case.service && services.insert(&tenant.service) {
            checks.push(stands(case, tenant));
            checks.extend(halted(case, tenant));
            checks.extend(changing(case, tenant));
        }
        if empties {
            checks.push(left(case, limits, tenant));
        }
    }
    let what = format!("{seen} pods of {} workloads run on {}", node.tenants.len(), node.name);
    checks.push(Check::holds("node.observed", what).observed("pods", seen));
    let strangers: Vec<String> = node
        .strangers
        .iter()
        .filter(|(namespace, count)| **count > 0 && !limits.ignore_namespaces.contains(namespace))
        .map(|(namespace, count)| format!("{count} in {namespace}"))
        .collect();
    if empties && !strangers.is_empty() {
        let what = format!("pods that belong to no known service would be evicted too: {}", strangers.join(", "));
        let check = Check::new("node.strangers", asks(case), ReasonCode::EffectUnknown, what).clear(ClearBy::Approval);
        checks.push(
            check.flip("their services name their workloads, or the policy lists the namespace in ignore_namespaces"),
        );
    }
}

/// How another service on the node stands.
fn stands(case: &Case<'_>, tenant: &Tenant) -> Check {
    let (id, service) = ("node.slo", &tenant.service);
    let check = match tenant.state {
        SloState::FastBurn => {
            Check::new(id, stops(case), ReasonCode::FastBurn, format!("{service} runs there too, and burns fast"))
                .clear(ClearBy::State)
                .flip(format!("{service} does not burn any more"))
        }
        _ if tenant.spent || tenant.state == SloState::Exhausted => {
            let what = format!("{service} runs there too, and its error budget is spent");
            let check = Check::new(id, stops(case), ReasonCode::BudgetExhausted, what).clear(ClearBy::State);
            check.flip(format!("{service} has budget left"))
        }
        SloState::Unknown => {
            let what = format!("{service} runs there too, and its state is not known");
            Check::new(id, asks(case), ReasonCode::DataAbsent, what).clear(ClearBy::Data)
        }
        SloState::SlowBurn => {
            let what = format!("{service} runs there too, and burns slowly");
            Check::new(id, Effect::Warn, ReasonCode::SlowBurn, what).clear(ClearBy::State)
        }
        SloState::Ok | SloState::Exhausted => Check::holds(id, format!("{service} runs there too, and is well")),
    };
    check.observed("service", service.as_str())
}

/// A halt of a service holds for the nodes it runs on.
fn halted(case: &Case<'_>, tenant: &Tenant) -> Option<Check> {
    let own = |halt: &&crate::gate::Halt| {
        let names = [case.sub, case.acting];
        halt.stops(&tenant.service, case.action, names, case.actor, case.now)
            && !halt.stops(case.service, case.action, names, case.actor, case.now)
    };
    let halt = case.gate.halts(case.now).filter(own).max_by_key(|halt| halt.until)?;
    let what = format!("{} runs there too, and {} halted it: {}", tenant.service, halt.owner, halt.reason);
    let check = Check::new("node.halt", Effect::Deny, ReasonCode::Halted, what).clear(ClearBy::Person).at(halt.until);
    Some(check.observed("halt", halt.id.as_str()).flip(format!("a person lifts halt {}", halt.id)))
}

/// Another service on the node is being changed.
fn changing(case: &Case<'_>, tenant: &Tenant) -> Option<Check> {
    let others = case.gate.open_permits_of(&tenant.service);
    let (until, permit) =
        others.filter_map(|permit| Some((permit.under_way(case.now)?, permit))).max_by_key(|(end, _)| *end)?;
    let what = format!("{} runs there too, and {} is changing it", tenant.service, permit.actor);
    let check = Check::new("node.change", stops(case), ReasonCode::ChangeInFlight, what).clear(ClearBy::Time);
    Some(check.observed("permit", permit.id.as_str()).at(until.max(case.now + 1)))
}

/// What stays of a workload.
fn left(case: &Case<'_>, limits: &NodeLimits, tenant: &Tenant) -> Check {
    let (id, of) = ("node.left", format!("{} of {}", tenant.resource, tenant.service));
    let bound = format!(">= {} ready elsewhere", limits.min_left);
    let check = match tenant.ready_elsewhere {
        Some(ready) if ready >= limits.min_left => {
            Check::holds(id, format!("{ready} pods of {of} are ready elsewhere"))
        }
        Some(ready) => {
            let what =
                format!("only {ready} pods of {of} are ready elsewhere, at least {} are asked for", limits.min_left);
            let check = Check::new(id, stops(case), ReasonCode::TooFewLeft, what).clear(ClearBy::State);
            check.flip(format!("{} pods of {of} are ready on other nodes", limits.min_left))
        }
        None => {
            let what = format!("how many pods of {of} are ready elsewhere is not observed");
            Check::new(id, asks(case), ReasonCode::EffectUnknown, what).clear(ClearBy::Approval)
        }
    };
    let ready = tenant.ready_elsewhere.map_or(-1, i64::from);
    check.observed("ready_elsewhere", ready).bound(bound)
}

/// One node of the pool at a time, whichever service it is for, until that was judged.
fn one_at_a_time(case: &Case<'_>, limits: &NodeLimits, request: &Request, own: &str) -> Check {
    let id = "node.one_at_a_time";
    let stands_in_the_way = |permit: &&Permit| {
        let other = permit.request.node().filter(|other| *other == own || limits.means(other));
        other.is_some() && case.permit.is_none_or(|own| own.id != permit.id) && !permit.request.prepares(request)
    };
    let others = case.gate.open_permits().filter(stands_in_the_way);
    let last = others.filter_map(|permit| Some((permit.under_way(case.now)?, permit))).max_by_key(|(end, _)| *end);
    let Some((until, permit)) = last else { return Check::holds(id, "no other node of the pool is being changed") };
    let what = format!(
        "{} is changing {}: {}, permit {}",
        permit.actor,
        permit.request.resource,
        permit.request.action.as_str(),
        permit.id
    );
    Check::new(id, stops(case), ReasonCode::ChangeInFlight, what)
        .observed("permit", permit.id.as_str())
        .bound("one node of the pool at a time")
        .clear(ClearBy::Time)
        .at(until.max(case.now + 1))
        .flip(format!("permit {} expires or its act is judged", permit.id))
}

/// How many nodes of the pool were touched within a day.
fn per_day(case: &Case<'_>, limits: &NodeLimits, own: &str) -> Check {
    let id = "node.per_day";
    let counts = |act: &&crate::gate::state::NodeAct| {
        let earlier = case.permit.is_none_or(|permit| permit.id != act.permit);
        earlier && act.at > case.now - NODE_ACTS_KEPT_S && act.node != own && limits.means(&act.node)
    };
    // When each node was touched last, oldest first.
    let mut nodes: Vec<(&str, Seconds)> = Vec::new();
    for act in case.gate.node_acts().filter(counts) {
        nodes.retain(|(node, _)| *node != act.node);
        nodes.push((&act.node, act.at));
    }
    let (most, bound) = (limits.max_per_day as usize, format!("<= {} in 24h", limits.max_per_day));
    let check = if nodes.len() < most {
        Check::holds(id, format!("{} other nodes of the pool in 24h", nodes.len()))
    } else {
        let end = nodes[nodes.len() - most].1 + NODE_ACTS_KEPT_S;
        let what = format!("{} nodes of the pool were changed in 24h", nodes.len());
        Check::new(id, stops(case), ReasonCode::RateExceeded, what)
            .clear(ClearBy::Time)
            .at(end)
            .flip(format!("allowed again in {}", span(end - case.now)))
    };
    check.observed("nodes", nodes.len() as u64).bound(bound)
}

/// The only pod of a workload is all of it.
fn one_pod(case: &Case<'_>, request: &Request) -> Option<Check> {
    let pod = request.action == ActionKind::Restart && request.resource.starts_with("pod/");
    let replicas = premise::seen(case.view, &request.resource, case.now).filter(|_| pod)?.replicas?;
    let id = "pod.left";
    if replicas > 1 {
        return Some(Check::holds(id, format!("{} other pods are wanted", replicas - 1)));
    }
    let what = format!("{} is the only pod of its workload", request.resource);
    Some(Check::new(id, asks(case), ReasonCode::TooFewLeft, what).clear(ClearBy::Approval))
}
