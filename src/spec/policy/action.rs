//! `allowed_actions`: what may be done, how far it may go, and whose yes it needs.

use super::{count, custom, only_of, rows, share, short_text};
use crate::gate::autonomy::{Autonomy, RAISE_MAX, Stage};
use crate::gate::policy::{Action, AllowedAction, NodeLimits, RateActor};
use crate::gate::principal::Approver;
use crate::gate::principal::same_person;
use crate::gate::{ActionClass, ActionKind, ActorClass};
use crate::spec::problem::{Code, Place};
use crate::spec::reader::{At, Fields, Report};
use crate::spec::tree::Value;

/// Most people whose yes can be asked for.
const QUORUM_MAX: u64 = 10;
/// Most replicas and versions back.
const MOST: u64 = 100_000;
/// Load that the rest may carry after a scale-down where the policy says nothing, ratio.
const MAX_UTILIZATION: f64 = 0.8;

const LIMITS: [&str; 5] = ["max_versions_back", "min_replicas", "max_replicas", "max_step", "max_utilization"];
const OF_NODES: [&str; 4] = ["nodes", "min_left", "max_per_day", "ignore_namespaces"];
const WHO: &str = "approvers: [{team: checkout-oncall}]";

/// Reads `allowed_actions`; the place of each row's approvers.
pub(super) fn read(fields: &mut Fields<'_>, report: &mut Report<'_>) -> (Vec<AllowedAction>, Vec<Place>) {
    let (mut allowed, mut places): (Vec<AllowedAction>, Vec<Place>) = (Vec::new(), Vec::new());
    let Some(at) = fields.need(report, "allowed_actions", "[{type: restart}]") else { return (allowed, places) };
    for item in rows(&at, report) {
        let Some((row, place)) = read_one(&item, report) else { continue };
        let kind = row.action.kind();
        if allowed.iter().any(|earlier| earlier.action.kind() == kind) {
            let what = format!("the action {} is allowed twice, and only one can hold", kind.as_str());
            report.error(&item, Code::DuplicateKey, what).write("one row for each type");
        }
        allowed.push(row);
        places.push(place);
    }
    (allowed, places)
}

fn read_one(at: &At<'_>, report: &mut Report<'_>) -> Option<(AllowedAction, Place)> {
    let mut fields = at.map(report)?;
    let type_at = fields.need(report, "type", "rollback");
    let class_at = fields.get("class");
    let (kind, action) = match custom::is_one(type_at.as_ref(), &mut fields) {
        true => {
            let custom = type_at.and_then(|at| custom::read(&at, class_at.is_some(), &mut fields, report));
            (custom.as_ref().map(|custom| ActionKind::Custom(custom.name)), custom.map(Action::Custom))
        }
        false => {
            let kind = type_at.and_then(|at| at.choice(report, &ActionKind::NAMES));
            (kind, kind.and_then(|kind| limits(kind, &mut fields, report)))
        }
    };
    if kind.is_none() {
        // The type is what is wrong: what belongs to it cannot be told.
        LIMITS.iter().chain(&OF_NODES).for_each(|key| drop(fields.get(key)));
    }
    let class = class_at.and_then(|at| class(&at, report));
    let irreversible = irreversible(kind, &mut fields, report);
    let autonomy = fields.get("autonomy").and_then(|at| autonomy(&at, report));
    let actors = fields.get("actors").map(|at| actors(&at, report)).unwrap_or_default();
    let approvers_at = fields.get("approvers");
    let approvers = approvers_at.as_ref().map(|at| approvers(at, report)).unwrap_or_default();
    let mut asks = |key| {
        let at = fields.get(key);
        let flag = at.as_ref().and_then(|at| at.flag(report)).unwrap_or(false);
        if flag && approvers_at.is_none() {
            let what = format!("{key} is true and nobody can approve");
            report.error(at.as_ref().expect("it was read"), Code::MissingKey, what).write(WHO);
        }
        flag
    };
    let (require_approval, four_eyes) = (asks("require_approval"), asks("four_eyes"));
    let quorum_at = fields.get("quorum");
    let quorum = quorum_at.as_ref().and_then(|at| count(at, report, 1, QUORUM_MAX)).unwrap_or(1);
    let only_people = approvers.iter().all(|approver| matches!(approver, Approver::Person(_)));
    let need = if four_eyes { quorum.max(2) } else { quorum };
    if !approvers.is_empty() && only_people && (approvers.len() as u32) < need {
        let why = if quorum < need { "four_eyes asks for the approval of 2 people" } else { "quorum is over 1" };
        let what = match quorum < need {
            true => format!("{why} when a robot asks, and {} is named", approvers.len()),
            false => format!("the approval of {quorum} people is asked for, and {} could give it", approvers.len()),
        };
        let place = quorum_at.as_ref().or(approvers_at.as_ref()).unwrap_or(at);
        report.error(place, Code::InvalidValue, what).write("more approvers, or a team");
    }
    if let (Some(at), true) = (&quorum_at, approvers.is_empty()) {
        let what = "it is said how many must approve, and not who";
        report.error(at, Code::MissingKey, what).write(WHO);
    }
    fields.finish(report);
    let place = approvers_at.as_ref().map_or(at.node.place, |at| at.node.place);
    let row = AllowedAction {
        action: action?,
        require_approval,
        actors,
        approvers,
        quorum,
        four_eyes,
        class,
        irreversible,
        autonomy,
    };
    Some((row, place))
}

/// How far a machine may go by itself.
fn autonomy(at: &At<'_>, report: &mut Report<'_>) -> Option<Autonomy> {
    let mut fields = at.map(report)?;
    let stages = Stage::ALL.map(|stage| (stage.as_str(), stage));
    let starts = fields.need(report, "starts", "approval").and_then(|at| at.choice(report, &stages));
    let most_at = fields.get("at_most");
    let at_most = most_at.as_ref().map_or(Some(Stage::Alone), |at| at.choice(report, &stages));
    let raise_after = fields.get("raise_after").and_then(|at| count(&at, report, 1, u64::from(RAISE_MAX))).unwrap_or(5);
    fields.finish(report);
    let (starts, at_most) = starts.zip(at_most)?;
    if let (Some(at), true) = (&most_at, at_most < starts) {
        let what = format!("it starts at {} and goes no further than {}", starts.as_str(), at_most.as_str());
        report.error(at, Code::InvalidValue, what).write(format!("at_most: {}", starts.as_str()));
    }
    Some(Autonomy { starts, at_most, raise_after })
}

/// Who may do it: `human`, `robot`, `pipeline`, or a name.
fn actors(at: &At<'_>, report: &mut Report<'_>) -> Vec<RateActor> {
    let mut actors = Vec::new();
    for item in rows(at, report) {
        let Some(text) = short_text(&item, report) else { continue };
        let class = ActorClass::ALL.into_iter().find(|class| class.as_str() == text);
        actors.push(class.map_or(RateActor::Sub(text), RateActor::Class));
    }
    if actors.is_empty() {
        report.error(at, Code::InvalidValue, "nobody is named, so nobody could do it").write("actors: [robot]");
    }
    actors
}

/// The limits of an action of this kind. Those of another kind are refused by name.
fn limits(kind: ActionKind, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Action> {
    let scale = &LIMITS[1..];
    if !kind.is_of_node() {
        only_of(fields, report, &OF_NODES, kind.as_str(), "cordon and drain");
    }
    match kind {
        ActionKind::Rollback => {
            only_of(fields, report, scale, kind.as_str(), "scale");
            let at = fields.need(report, "max_versions_back", "1")?;
            count(&at, report, 1, MOST).map(|max_versions_back| Action::Rollback { max_versions_back })
        }
        ActionKind::Scale => {
            only_of(fields, report, &LIMITS[..1], kind.as_str(), "rollback");
            replicas(fields, report)
        }
        other => {
            only_of(fields, report, &LIMITS[..1], other.as_str(), "rollback");
            only_of(fields, report, scale, other.as_str(), "scale");
            match other {
                ActionKind::Restart => Some(Action::Restart),
                ActionKind::Deploy => Some(Action::Deploy),
                ActionKind::Cordon => nodes(fields, report).map(Action::Cordon),
                ActionKind::Drain => nodes(fields, report).map(Action::Drain),
                _ => Some(Action::Config),
            }
        }
    }
}

/// The pool of nodes, and what has to be left.
fn nodes(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<NodeLimits> {
    let nodes_at = fields.need(report, "nodes", "[\"k8s-gpu-*\"]");
    let min_left = fields.get("min_left").and_then(|at| count(&at, report, 0, MOST)).unwrap_or(1);
    let max_per_day = fields.get("max_per_day").and_then(|at| count(&at, report, 1, MOST)).unwrap_or(1);
    let mut texts =
        |at: &At<'_>| -> Vec<String> { rows(at, report).iter().filter_map(|item| short_text(item, report)).collect() };
    let ignore_namespaces = fields.get("ignore_namespaces").map(|at| texts(&at)).unwrap_or_default();
    let at = nodes_at?;
    let nodes = patterns(&at, "node", "k8s-gpu-17, or k8s-gpu-*", report);
    if nodes.is_empty() {
        report
            .error(&at, Code::InvalidValue, "no node is named, so none could be touched")
            .write("nodes: [\"k8s-gpu-*\"]");
        return None;
    }
    Some(NodeLimits { nodes, min_left, max_per_day, ignore_namespaces })
}

fn replicas(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Action> {
    let min = fields.need(report, "min_replicas", "3");
    let max = fields.need(report, "max_replicas", "50");
    let max_step = fields.get("max_step").and_then(|at| count(&at, report, 1, MOST));
    let used = fields.get("max_utilization").and_then(|at| share(&at, report, false, "0.8"));
    let min_replicas = min.as_ref().and_then(|at| count(at, report, 0, MOST));
    let max_replicas = max.as_ref().and_then(|at| count(at, report, 1, MOST));
    if let (Some(least), Some(most), Some(at)) = (min_replicas, max_replicas, &max)
        && most < least
    {
        let what = format!("max_replicas {most} is under min_replicas {least}: no scaling is allowed");
        report.error(at, Code::InvalidValue, what);
    }
    let (min_replicas, max_replicas) = min_replicas.zip(max_replicas)?;
    Some(Action::Scale { min_replicas, max_replicas, max_step, max_utilization: used.unwrap_or(MAX_UTILIZATION) })
}

/// Another class than the action's own. Nothing that changes something is merely `observe`: no check would hold it.
fn class(at: &At<'_>, report: &mut Report<'_>) -> Option<ActionClass> {
    if matches!(&at.node.value, Value::Text(text) if text == ActionClass::Observe.as_str()) {
        let what = "an action changes something: as `observe` no check would hold it back";
        report.error(at, Code::InvalidValue, what).write("class: mitigate or class: risk");
        return None;
    }
    let classes = [ActionClass::Mitigate, ActionClass::Risk].map(|class| (class.as_str(), class));
    at.choice(report, &classes)
}

/// Versions that cannot be left again once they run.
fn irreversible(kind: Option<ActionKind>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Vec<String> {
    let Some(at) = fields.get("irreversible") else { return Vec::new() };
    if let Some(kind) = kind.filter(|kind| matches!(kind, ActionKind::Scale | ActionKind::Restart) || kind.is_of_node())
    {
        let what = format!("{} goes to no version, so none of its targets is irreversible", kind.as_str());
        report.error(&at, Code::InvalidValue, what).write("irreversible at rollback, deploy or config");
        return Vec::new();
    }
    patterns(&at, "version", "v39, or v39-*", report)
}

/// Names, or beginnings of names.
fn patterns(at: &At<'_>, of: &str, example: &str, report: &mut Report<'_>) -> Vec<String> {
    let mut patterns = Vec::new();
    for item in rows(at, report) {
        let Some(text) = short_text(&item, report) else { continue };
        if text.trim_end_matches('*').contains('*') || text.ends_with("**") || text.contains(char::is_whitespace) {
            let what = format!("{text:?} matches no {of}: only one * at the end is a pattern");
            report.error(&item, Code::InvalidValue, what).write(example);
            continue;
        }
        patterns.push(text);
    }
    patterns
}

fn approvers(at: &At<'_>, report: &mut Report<'_>) -> Vec<Approver> {
    let items = rows(at, report);
    if items.is_empty() && matches!(at.node.value, Value::List(_)) {
        report.error(at, Code::MissingKey, "the list of approvers is empty").write(WHO);
    }
    let mut approvers: Vec<Approver> = Vec::new();
    for item in items {
        let Some(mut fields) = item.map(report) else { continue };
        let (team, person) = (fields.get("team"), fields.get("person"));
        let approver = match (&team, &person) {
            (Some(at), None) => short_text(at, report).map(Approver::Team),
            (None, Some(at)) => short_text(at, report).map(Approver::Person),
            _ => {
                report
                    .error(&item, Code::MissingKey, "an approver is one team or one person")
                    .write("{team: checkout-oncall} or {person: \"@ada\"}");
                None
            }
        };
        fields.finish(report);
        let Some(approver) = approver else { continue };
        let same = |earlier: &Approver| match (earlier, &approver) {
            (Approver::Person(a), Approver::Person(b)) => same_person(a, b),
            (a, b) => a == b,
        };
        if approvers.iter().any(same) {
            report.error(&item, Code::DuplicateKey, format!("{approver} is named twice")).write("each approver once");
            continue;
        }
        approvers.push(approver);
    }
    approvers
}
