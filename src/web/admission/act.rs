//! What a change in the cluster is, in the words of the gate: read from the objects before and after, never from what
//! somebody says of it. Pure.
//!
//! Deliberately absent: kinds that are not listed. What is not held here passes.

use serde_json::Value;

use super::review::{Object, Request};
use crate::gate::ActionKind;
use crate::gate::request::Request as Asked;

/// Label that holds a version, on the object or in its template.
const VERSION: &str = "app.kubernetes.io/version";
/// Annotation that `kubectl rollout restart` changes.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// What is about to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum IntendedAct {
    /// Nothing that the gate holds.
    Nothing,
    /// An act.
    Act(Act),
    /// Something that no permit is for, in words.
    Unfit {
        /// What it is done to.
        resource: String,
        /// Why it is no act.
        why: String,
    },
}

/// One act.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// Which it can be: another version is a deploy or a rollback, and the permit says which.
    pub kinds: Vec<ActionKind>,
    /// `deployment/checkout-service`; several where a pod's name does not say which.
    pub resources: Vec<String>,
    /// Every name of the version that would run: labels, tags and digests of images.
    pub versions: Vec<String>,
    /// Replicas to go to.
    pub replicas: Option<u32>,
}

impl Act {
    fn of(kinds: &[ActionKind], resource: String) -> IntendedAct {
        IntendedAct::Act(Act { kinds: kinds.to_vec(), resources: vec![resource], versions: Vec::new(), replicas: None })
    }

    /// What would be presented with a permit for `permitted`: the act as it is about to happen. It is the permitted one only
    /// where it is the same.
    pub fn presented(&self, permitted: &Asked) -> Asked {
        let same = |list: &[String], own: &String| list.contains(own);
        let kind = if self.kinds.contains(&permitted.action) { permitted.action } else { self.kinds[0] };
        let resource = match same(&self.resources, &permitted.resource) {
            true => permitted.resource.clone(),
            false => self.resources[0].clone(),
        };
        let to_version = match &permitted.to_version {
            // Another configuration keeps the version, and may say which that is.
            Some(to) if same(&self.versions, to) || kind == ActionKind::Config => Some(to.clone()),
            _ => self.versions.first().cloned(),
        };
        Asked {
            action: kind,
            resource,
            to_version: to_version.filter(|_| !matches!(kind, ActionKind::Scale | ActionKind::Restart)),
            replicas: self.replicas,
            ..permitted.clone()
        }
    }
}

/// What a review is about.
pub fn what(review: &Request) -> IntendedAct {
    let name = review.name.as_deref().filter(|name| !name.is_empty());
    let own = review.object.as_ref().or(review.old_object.as_ref()).and_then(|object| object.metadata.name.as_deref());
    let name = name.or(own).unwrap_or_default();
    // An empty subresource is none.
    let sub_resource = review.sub_resource.as_deref().filter(|name| !name.is_empty());
    let of = (review.resource.group.as_str(), review.resource.resource.as_str(), sub_resource);
    match (of, review.operation.as_str()) {
        (("apps", "deployments" | "statefulsets", None) | ("argoproj.io", "rollouts", None), operation) => {
            workload(review, &format!("{}/{name}", singular(of.1)), operation)
        }
        (
            ("apps", "deployments" | "statefulsets", Some("scale")) | ("argoproj.io", "rollouts", Some("scale")),
            "UPDATE",
        ) => scale(review, &format!("{}/{name}", singular(of.1))),
        (("autoscaling", "horizontalpodautoscalers", None), operation) => autoscaler(review, name, operation),
        // A pod that is deleted is an eviction that asks no budget of disruptions.
        (("", "pods", Some("eviction")), "CREATE") | (("", "pods", None), "DELETE") => {
            let resources = owners_of_pod(name);
            IntendedAct::Act(Act { kinds: vec![ActionKind::Restart], resources, versions: Vec::new(), replicas: None })
        }
        (("", "pods", None), "UPDATE") => pod(review, name),
        (("", "nodes", None), "UPDATE") => node(review, &format!("node/{name}")),
        (("", "nodes", None), "DELETE") => IntendedAct::Unfit {
            resource: format!("node/{name}"),
            why: "it would be deleted with all that runs there, and no permit is for that".into(),
        },
        _ => IntendedAct::Nothing,
    }
}

fn singular(plural: &str) -> &str {
    plural.strip_suffix('s').unwrap_or(plural)
}

fn flag(object: &Option<Object>, member: &str) -> bool {
    object.as_ref().is_some_and(|object| object.spec[member] == true)
}

/// Of a pod that runs, images can be changed, and no controller changes them back.
fn pod(review: &Request, name: &str) -> IntendedAct {
    let images_of = |object: &Option<Object>| object.as_ref().map(|object| images(&object.spec)).unwrap_or_default();
    match images_of(&review.object) == images_of(&review.old_object) {
        true => IntendedAct::Nothing,
        false => IntendedAct::Unfit {
            // Whose it is, its name says best.
            resource: owners_of_pod(name).into_iter().nth(1).unwrap_or_else(|| format!("pod/{name}")),
            why: format!("the image of pod {name} would be another one than that of its workload: change that"),
        },
    }
}

/// A node is cordoned by a flag, or by a taint that keeps pods away; one that drives them out is a drain.
fn node(review: &Request, resource: &str) -> IntendedAct {
    let taints = |object: &Option<Object>, effect: &str| -> Vec<Value> {
        let all = object.as_ref().and_then(|object| object.spec["taints"].as_array()).into_iter().flatten();
        let mut taints: Vec<Value> = all.filter(|taint| taint["effect"] == effect).cloned().collect();
        // Since when it is there is told by whoever sets it.
        taints.iter_mut().filter_map(Value::as_object_mut).for_each(|taint| drop(taint.remove("timeAdded")));
        taints
    };
    let new = |effect: &str| {
        let before = taints(&review.old_object, effect);
        taints(&review.object, effect).iter().any(|taint| !before.contains(taint))
    };
    let cordoned = flag(&review.object, "unschedulable") && !flag(&review.old_object, "unschedulable");
    match (new("NoExecute"), cordoned || new("NoSchedule")) {
        (true, _) => Act::of(&[ActionKind::Drain], resource.to_owned()),
        (false, true) => Act::of(&[ActionKind::Cordon, ActionKind::Drain], resource.to_owned()),
        (false, false) => IntendedAct::Nothing,
    }
}

fn workload(review: &Request, resource: &str, operation: &str) -> IntendedAct {
    let unfit = |why: &str| IntendedAct::Unfit { resource: resource.to_owned(), why: why.to_owned() };
    match (operation, &review.object, &review.old_object) {
        ("DELETE", ..) => unfit("it would be deleted, and no permit is for that"),
        ("CREATE", Some(after), _) => {
            let versions = borne_out(versions(after), &images(template(after)));
            let kinds = vec![ActionKind::Deploy];
            IntendedAct::Act(Act { kinds, resources: vec![resource.to_owned()], versions, replicas: None })
        }
        ("UPDATE", Some(after), Some(before)) => updated(before, after, resource),
        // Without both sides nobody can say what changes.
        ("UPDATE" | "CREATE", ..) => unfit("the review does not say what changes"),
        _ => IntendedAct::Nothing,
    }
}

fn updated(before: &Object, after: &Object, resource: &str) -> IntendedAct {
    let (was, is) = (replicas(&before.spec), replicas(&after.spec));
    let scaled = was != is;
    let rest = |object: &Object| {
        let mut spec = object.spec.clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("replicas");
        }
        spec
    };
    let other_version = versions(before) != versions(after);
    let changed = rest(before) != rest(after) || other_version;
    match (scaled, changed) {
        (false, false) => IntendedAct::Nothing,
        (true, true) => IntendedAct::Unfit {
            resource: resource.to_owned(),
            why: "it is scaled and changed in one step: these are two acts, send one after the other".into(),
        },
        (true, false) => scaling(resource, is),
        (false, true) if other_version || images(template(before)) != images(template(after)) => {
            let kinds = vec![ActionKind::Deploy, ActionKind::Rollback];
            // A name that stood there before, such as that of another container, is not what is deployed.
            let mut new = beyond(versions(before), versions(after));
            // Another image is another version, also where it is called like the one before.
            let other = beyond(images(template(before)), images(template(after)));
            new = borne_out(new, &other);
            if new.is_empty() {
                new = other.iter().filter_map(|image| version_of(image)).collect();
            }
            match (new.is_empty(), other.is_empty()) {
                (true, true) => Act::of(&[ActionKind::Config], resource.to_owned()),
                (true, false) => IntendedAct::Unfit {
                    resource: resource.to_owned(),
                    why: format!("its new image {} says no version: name a tag or a digest", other[0]),
                },
                (false, _) => {
                    IntendedAct::Act(Act { kinds, resources: vec![resource.to_owned()], versions: new, replicas: None })
                }
            }
        }
        (false, true) if unstamped(rest(before)) == unstamped(rest(after)) => {
            Act::of(&[ActionKind::Restart], resource.to_owned())
        }
        (false, true) => Act::of(&[ActionKind::Config], resource.to_owned()),
    }
}

/// What is there beyond what was there before, each as often as it is new.
fn beyond(mut before: Vec<String>, mut after: Vec<String>) -> Vec<String> {
    after.retain(|name| match before.iter().position(|one| one == name) {
        Some(place) => {
            before.swap_remove(place);
            false
        }
        None => true,
    });
    after
}

/// Without the time of the last restart.
fn unstamped(mut spec: Value) -> Value {
    let annotations = spec.pointer_mut("/template/metadata/annotations").and_then(Value::as_object_mut);
    let empty = annotations.is_some_and(|annotations| {
        annotations.remove(RESTARTED);
        annotations.is_empty()
    });
    if empty && let Some(metadata) = spec.pointer_mut("/template/metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    spec
}

/// Without a number there is one.
fn replicas(spec: &Value) -> Option<u32> {
    match &spec["replicas"] {
        Value::Null => Some(1),
        number => number.as_u64().and_then(|number| u32::try_from(number).ok()),
    }
}

fn scaling(resource: &str, to: Option<u32>) -> IntendedAct {
    match to {
        Some(_) => IntendedAct::Act(Act {
            kinds: vec![ActionKind::Scale],
            resources: vec![resource.to_owned()],
            versions: Vec::new(),
            replicas: to,
        }),
        None => IntendedAct::Unfit { resource: resource.to_owned(), why: "its replicas are no number".into() },
    }
}

fn scale(review: &Request, resource: &str) -> IntendedAct {
    // The scale of nothing is 0: it leaves the number out.
    let number = |object: &Option<Object>| match object.as_ref().map(|object| &object.spec["replicas"]) {
        Some(Value::Null) => Some(0),
        Some(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        None => None,
    };
    match (number(&review.old_object), number(&review.object)) {
        (was, is) if was == is && is.is_some() => IntendedAct::Nothing,
        (_, is) => scaling(resource, is),
    }
}

/// The bounds of an autoscaler are replicas of its target: one bound moved is a scale to it.
fn autoscaler(review: &Request, name: &str, operation: &str) -> IntendedAct {
    let side = review.object.as_ref().or(review.old_object.as_ref());
    let target = side.map(|object| &object.spec["scaleTargetRef"]);
    let text = |member: &str| target.and_then(|target| target[member].as_str()).unwrap_or_default();
    let resource = format!("{}/{}", text("kind").to_lowercase(), text("name"));
    if text("kind").is_empty() || text("name").is_empty() {
        return IntendedAct::Unfit {
            resource: format!("horizontalpodautoscaler/{name}"),
            why: "it names no target".into(),
        };
    }
    let (Some(after), Some(before), "UPDATE") = (&review.object, &review.old_object, operation) else {
        return Act::of(&[ActionKind::Config], resource);
    };
    let target = |object: &Object| ["kind", "name"].map(|member| object.spec["scaleTargetRef"][member].clone());
    if target(before) != target(after) {
        let [kind, of] = target(before).map(|text| text.as_str().unwrap_or_default().to_owned());
        return IntendedAct::Unfit {
            resource: format!("{}/{of}", kind.to_lowercase()),
            why: format!("autoscaler {name} would leave it for {resource}: these are two acts on two workloads"),
        };
    }
    let bounds = |object: &Object| {
        let bound = |member: &str, default| match &object.spec[member] {
            Value::Null => default,
            number => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        (bound("minReplicas", Some(1)), bound("maxReplicas", None))
    };
    let rest = |object: &Object| {
        let mut spec = object.spec.clone();
        for member in ["minReplicas", "maxReplicas"] {
            spec.as_object_mut().map(|spec| spec.remove(member));
        }
        spec
    };
    let ((min_was, max_was), (min, max)) = (bounds(before), bounds(after));
    match (min_was != min, max_was != max, rest(before) != rest(after)) {
        (false, false, false) => IntendedAct::Nothing,
        (true, false, false) => scaling(&resource, min),
        (false, true, false) => scaling(&resource, max),
        _ => Act::of(&[ActionKind::Config], resource),
    }
}

/// Names of the version of an object, from its label, its template's and its images.
fn versions(object: &Object) -> Vec<String> {
    let template = &object.spec["template"];
    let labels = object.metadata.labels.as_ref().and_then(|labels| labels.get(VERSION)).cloned();
    let of_template = template["metadata"]["labels"][VERSION].as_str().map(str::to_owned);
    let mut found: Vec<String> = labels.into_iter().chain(of_template).collect();
    found.extend(images(&template["spec"]).iter().filter_map(|image| version_of(image)));
    found
}

/// The names that the new images bear out. A label is a claim of whoever sets it: where every new image has a tag, the version is
/// called as one of them is. What a digest is called nobody can read, so beside one a label is taken at its word.
fn borne_out(mut names: Vec<String>, images: &[String]) -> Vec<String> {
    let bare = |name: &str| name.strip_prefix('v').unwrap_or(name).to_owned();
    let is_opaque = |image: &String| image.contains('@') || version_of(image).is_none();
    if !images.is_empty() && !images.iter().any(is_opaque) {
        let tags: Vec<String> = images.iter().filter_map(|image| version_of(image)).map(|tag| bare(&tag)).collect();
        names.retain(|name| tags.contains(&bare(name)));
    }
    names
}

/// What a workload's pods are made of.
fn template(object: &Object) -> &Value {
    &object.spec["template"]["spec"]
}

/// The images of a pod, in their order.
fn images(pod: &Value) -> Vec<String> {
    let containers = ["containers", "initContainers"].into_iter().filter_map(|list| pod[list].as_array());
    containers.flatten().filter_map(|container| container["image"].as_str()).map(str::to_owned).collect()
}

/// The digest of an image, else its tag.
fn version_of(image: &str) -> Option<String> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let tag = name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
    digest.or(tag).map(str::to_owned)
}

/// Who may own a pod of this name: a stateful set numbers its pods, a deployment adds two words.
fn owners_of_pod(pod: &str) -> Vec<String> {
    // A permit may be for this one pod.
    let mut owners = vec![format!("pod/{pod}")];
    if let Some((set, last)) = pod.rsplit_once('-') {
        if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
            owners.push(format!("statefulset/{set}"));
        }
        if let Some((deployment, _)) = set.rsplit_once('-') {
            owners.push(format!("deployment/{deployment}"));
            owners.push(format!("rollout/{deployment}"));
        }
    }
    owners
}
