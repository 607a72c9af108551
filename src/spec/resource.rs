//! Custom resources of ours: `ServiceLevel` and `ActionPolicy`, whose `spec` is a `service.yaml` or a `policy.yaml`.
//!
//! What is kept in a cluster and what stands in a file are read by the same readers and get the same words. A resource says
//! besides what its namespace is, and speaks of nothing outside of it: the workloads of a service are in its own namespace.
//!
//! Deliberately absent: the cluster. A manifest in a file is read as well, so that it can be checked before it is applied.

#[cfg(test)]
mod tests;

use super::duration::TimeSpan;
use super::model::Service;
use super::policy::{self, PlacedPolicy};
use super::preset::Presets;
use super::problem::Code;
use super::reader::{At, Fields, Report};
use super::service::{self, PlacedService};
use super::tree::{Key, Node, Value};

/// The group of our resources.
pub const GROUP: &str = "slowburn.dev";
/// The version of them that is read.
pub const VERSION: &str = "v1alpha1";

/// Which of our resources a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A service and its SLOs.
    ServiceLevel,
    /// What may be done to a service.
    ActionPolicy,
}

impl ResourceKind {
    /// Both.
    pub const ALL: [ResourceKind; 2] = [ResourceKind::ServiceLevel, ResourceKind::ActionPolicy];

    /// `ServiceLevel`.
    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::ServiceLevel => "ServiceLevel",
            ResourceKind::ActionPolicy => "ActionPolicy",
        }
    }

    /// `servicelevels`: its name in addresses.
    pub fn plural(self) -> &'static str {
        match self {
            ResourceKind::ServiceLevel => "servicelevels",
            ResourceKind::ActionPolicy => "actionpolicies",
        }
    }

    /// The key of its `spec` that the name of the object stands for where it is left out.
    pub(crate) fn named_by(self) -> &'static str {
        match self {
            ResourceKind::ServiceLevel => "name",
            ResourceKind::ActionPolicy => "service",
        }
    }
}

/// What a resource holds.
pub(crate) enum Found {
    Service(Box<PlacedService>),
    Policy(Box<PlacedPolicy>),
}

/// Tells our resources by what is in them; `Err` is one of them that cannot be read, and what to write.
pub(crate) fn kind(node: &Node) -> Option<Result<ResourceKind, (String, &'static str)>> {
    let text = |key: &str| match node.get(key).map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let (api, kind) = (text("apiVersion")?, text("kind").unwrap_or_default());
    let (group, version) = api.split_once('/')?;
    if group != GROUP {
        return None;
    }
    let known = ResourceKind::ALL.into_iter().find(|known| known.name() == kind);
    Some(match known {
        None => Err((format!("Slowburn has no {kind:?}"), "kind: ServiceLevel or ActionPolicy")),
        Some(_) if version != VERSION => {
            Err((format!("{api} is another version of {kind}"), "apiVersion: slowburn.dev/v1alpha1"))
        }
        Some(kind) => Ok(kind),
    })
}

/// Reads a resource. Its place in faults is the whole path, from `spec` on.
pub(crate) fn read(
    kind: ResourceKind,
    root: &At<'_>,
    presets: &Presets,
    resolution: TimeSpan,
    report: &mut Report<'_>,
) -> Option<Found> {
    let mut fields = root.map(report)?;
    // What else stands there is Kubernetes' own.
    let (_, _, _) = (fields.get("apiVersion"), fields.get("kind"), fields.get("status"));
    let metadata = fields.need(report, "metadata", "{name: checkout, namespace: shop}");
    let spec = fields.need(report, "spec", "{owner: team-checkout, slo: {availability: 99.9}}");
    fields.finish(report);
    let mut metadata = metadata?.map(report)?;
    let name = metadata.need(report, "name", "checkout");
    let namespace = metadata.filled("namespace").and_then(|at| at.text(report));
    let spec = spec?;
    let named = with_name(kind, &spec, name.as_ref().map(|at| at.node), report)?;
    let at = At { node: &named, path: spec.path.clone() };
    match kind {
        ResourceKind::ServiceLevel => {
            let mut found = service::read(&at, presets, resolution, report)?;
            if let Some(namespace) = namespace {
                found.whole &= keep_within(&mut found.service, namespace, &at, report);
            }
            Some(Found::Service(Box::new(found)))
        }
        ResourceKind::ActionPolicy => policy::read(&at, report).map(|found| Found::Policy(Box::new(found))),
    }
}

/// The `spec`, with the name of the object where it says none of its own.
fn with_name(kind: ResourceKind, spec: &At<'_>, name: Option<&Node>, report: &mut Report<'_>) -> Option<Node> {
    let fields: Fields<'_> = spec.map(report)?;
    let key = kind.named_by();
    let mut named = spec.node.clone();
    if fields.entries().all(|(own, _)| own.name != key)
        && let (Value::Map(entries), Some(name)) = (&mut named.value, name)
    {
        entries.insert(0, (Key { name: key.into(), place: name.place }, name.clone()));
    }
    Some(named)
}

/// Workloads are those of the object's own namespace: who may write there may speak for what runs there, and for nothing else.
fn keep_within(service: &mut Service, namespace: &str, at: &At<'_>, report: &mut Report<'_>) -> bool {
    let mut all_within = true;
    let place = at.node.key("workloads").map_or(at.node.place, |key| key.place);
    for workload in &mut service.workloads {
        match &workload.namespace {
            Some(other) if other != namespace => {
                let what = format!("{} is in the namespace {other}, and this object in {namespace}", workload.resource);
                let instead = format!("namespace: {namespace}, or leave it out");
                report.error_at(place, "spec.workloads", Code::InvalidValue, what).write(instead);
                all_within = false;
            }
            _ => workload.namespace = Some(namespace.to_owned()),
        }
    }
    all_within
}
