//! Validating admission: the API server asks before it keeps a change, so who does not ask the gate is stopped here.
//!
//! | who changes something | what becomes of it |
//! |---|---|
//! | a robot or pipeline of the identities | needs a live permit for this very act, which is redeemed here, once |
//! | a service account that is not among them | no, where the workload is of a service; what is not of a service passes |
//! | a person, known or not | passes; what the gate would have said is a warning |
//! | the system's own (`system:...`, service accounts of `kube-system`) | passes |
//!
//! The API server proves itself as any caller does, and has to be one who may act as `kube-apiserver`: whoever could
//! send reviews could use up the permits of others. Who changes something is what the API server says.
//! Every ruling is a 200. A review that cannot be read is none: then the webhook's `failurePolicy` decides.
//!
//! Deliberately absent: mutation, and trust in what objects say. An annotation may name a permit; whose it is and what
//! it is for is known here.

use axum::body::to_bytes;
use axum::extract::{Extension, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::auth::Fault;
use super::doors::{self, Told};
use super::gate::Gate;
use super::guard::REVIEW_BYTES_MAX;
use super::json::Json;
use super::tls::PeerNames;
use super::{Info, Problem, Site};
use crate::gate::{ActionKind, Identity, Permit, Principal, Via};
use crate::gate_service::{Blocked, GateService};
use act::{Act, IntendedAct};
use review::Ruling;

mod act;
mod review;
#[cfg(test)]
mod tests;

/// Reviews that are read at a time.
pub(super) const READERS: usize = 16;
/// The name that the API server acts under.
const API_SERVER: &str = "kube-apiserver";
/// Annotation of an object that names the permit of the change: where a controller does what somebody else was allowed to.
const PERMIT: &str = "slowburn.io/permit";

/// `POST /admission`, the same as `/admission/changes`.
pub async fn changes(
    site: State<Site>,
    names: Option<Extension<PeerNames>>,
    gate: Gate,
    request: Request,
) -> Result<Response, Response> {
    admit(site, names, gate, "changes", None, request).await
}

/// `POST /admission/{check}`.
pub async fn check(
    site: State<Site>,
    names: Option<Extension<PeerNames>>,
    Path(check): Path<String>,
    gate: Gate,
    request: Request,
) -> Result<Response, Response> {
    admit(site, names, gate, &check, None, request).await
}

/// `POST /admission/{check}/{token}`, for an API server that cannot be given a credential.
pub async fn check_with_token(
    site: State<Site>,
    names: Option<Extension<PeerNames>>,
    Path((check, token)): Path<(String, String)>,
    gate: Gate,
    request: Request,
) -> Result<Response, Response> {
    admit(site, names, gate, &check, Some(&token), request).await
}

async fn admit(
    State(site): State<Site>,
    names: Option<Extension<PeerNames>>,
    Gate(gate): Gate,
    check: &str,
    token: Option<&str>,
    request: Request,
) -> Result<Response, Response> {
    let names = names.as_ref().map(|Extension(names)| names);
    // It speaks for everybody in the cluster, so it has no pace of its own: each of those who are known has one.
    let headers = doors::with_token(request.headers().clone(), token);
    let caller = site.app.auth.speaker(&headers, names, API_SERVER).await.map_err(IntoResponse::into_response)?;
    if caller.actor(Some(API_SERVER)).is_none() {
        let hint = "Name an identity of the API server, with may_act_as: [kube-apiserver].";
        let what = format!("{} does not speak for the API server", caller.sub);
        return Err(Problem::new(StatusCode::FORBIDDEN, what, hint).into_response());
    }
    // Large bodies, so only so many at a time; and nobody's before it is known who sends it.
    let _turn = site.admission.acquire().await;
    let body = to_bytes(request.into_body(), REVIEW_BYTES_MAX).await;
    let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())?;
    let review = review::read(&body).map_err(|what| {
        let hint = "Send an AdmissionReview of admission.k8s.io/v1, as a ValidatingWebhookConfiguration does.";
        Problem::new(StatusCode::BAD_REQUEST, what, hint).into_response()
    })?;
    drop(body);
    let ruling = match check {
        "changes" => change(&site, &gate, &review).await,
        "workloads" => new_workload(&site, &review),
        _ => {
            let hint = "There are /admission/changes and /admission/workloads.";
            return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such check", hint).into_response());
        }
    };
    Ok(Json(&ruling.answer(&review.uid)).into_response())
}

/// Who changes something.
enum Who {
    System,
    Known(Box<Identity>),
    ServiceAccount,
    Person,
}

fn who(site: &Site, username: &str) -> Who {
    let identities = site.app.auth.identities();
    if let Some(identity) = identities.by_k8s_subject(username) {
        return Who::Known(Box::new(identity.clone()));
    }
    let account = username.strip_prefix("system:serviceaccount:");
    match (account, username.starts_with("system:")) {
        (Some(account), _) if account.starts_with("kube-system:") => Who::System,
        (Some(_), _) => Who::ServiceAccount,
        (None, true) => Who::System,
        // Nobody's name is nobody.
        (None, false) if username.is_empty() => Who::ServiceAccount,
        (None, false) => Who::Person,
    }
}

/// Whether a change may be kept.
async fn change(site: &Site, gate: &GateService, review: &review::Request) -> Ruling {
    let user = review.user_info.username.as_str();
    let what = act::what(review);
    let resources = match &what {
        IntendedAct::Nothing => return Ruling::default(),
        IntendedAct::Act(act) => act.resources.clone(),
        IntendedAct::Unfit { resource, .. } => vec![resource.clone()],
    };
    let info = site.app.info.borrow().clone();
    let mut services = services_of(&info, &resources, review.namespace.as_deref());
    if review.operation == "DELETE" && resources[0].ends_with('/') {
        services = services_of_all(&info, &resources[0], review.namespace.as_deref());
    }
    match who(site, user) {
        Who::System => Ruling::default(),
        Who::Person => Ruling::default().noted("by", "person"),
        Who::ServiceAccount if services.is_empty() => Ruling::default(),
        Who::ServiceAccount => {
            let what = format!(
                "{user} is nobody known here, and {} is of {}: name it in the identities, or leave it out by matchConditions",
                resources[0],
                services.join(", ")
            );
            Ruling::deny(403, format!("slowburn: {what}")).noted("reasons", "unknown_actor")
        }
        // A person is never held up: one who is too fast is not told what a machine would be.
        Who::Known(identity) if identity.class.is_human() && site.app.auth.pace(&identity.name).is_err() => {
            Ruling::default().noted("by", identity.name.as_str())
        }
        Who::Known(identity) if identity.class.is_human() => {
            let principal = site.app.auth.identities().principal(&identity, Via::Admission);
            warned(gate, &principal, &what, services.first())
        }
        Who::Known(identity) => {
            if let Err(Fault::TooFast(seconds)) = site.app.auth.pace(&identity.name) {
                let what = format!("{} changes too much at once: wait {seconds} s", identity.name);
                return Ruling::deny(429, format!("slowburn: {what}")).noted("reasons", "too_fast");
            }
            if services.is_empty() && !info.services.is_empty() && !resources[0].starts_with("node/") {
                // Of no service by its workloads: only a permit says whose it is.
                tracing::debug!(user, resource = resources[0], "a change of no service");
            }
            match what {
                IntendedAct::Act(act) => permitted(site, gate, &identity, &act, review, &services).await,
                IntendedAct::Unfit { resource, why } => {
                    Ruling::deny(403, format!("slowburn: {resource}: {why}")).noted("reasons", "malformed_request")
                }
                IntendedAct::Nothing => Ruling::default(),
            }
        }
    }
}

/// Services that the resource is a workload of.
fn services_of(info: &Info, resources: &[String], namespace: Option<&str>) -> Vec<String> {
    let mut services: Vec<String> = Vec::new();
    for resource in resources {
        for service in doors::owners(info, resource, namespace) {
            if !services.contains(&service) {
                services.push(service);
            }
        }
    }
    services
}

/// Services of which a workload is of this kind: a deletion that names none may be of any.
fn services_of_all(info: &Info, kind: &str, namespace: Option<&str>) -> Vec<String> {
    let all = info.services.iter().flat_map(|service| &service.workloads);
    let meant: Vec<String> =
        all.map(|workload| workload.resource.clone()).filter(|resource| resource.starts_with(kind)).collect();
    services_of(info, &meant, namespace)
}

/// A person passes. What the gate would have said to it is a warning.
fn warned(gate: &GateService, principal: &Principal, what: &IntendedAct, service: Option<&String>) -> Ruling {
    let ruling = Ruling::default().noted("by", principal.sub.as_str());
    let (IntendedAct::Act(act), Some(service)) = (what, service) else { return ruling };
    let asked = crate::gate::request::Request {
        service: service.clone(),
        action: act.kinds[0],
        resource: act.resources[0].clone(),
        from_version: None,
        to_version: act.versions.first().filter(|_| act.kinds.contains(&ActionKind::Deploy)).cloned(),
        from_replicas: None,
        replicas: act.replicas,
        arguments: Default::default(),
        reason: None,
        incident_id: None,
        suspected_change: None,
        actor: None,
        break_glass: false,
        idempotency_key: None,
    };
    let body = serde_json::to_vec(&asked).unwrap_or_default();
    let Ok(answer) = gate.explain(principal, &body) else { return ruling };
    let told = Told::of(serde_json::to_value(answer).unwrap_or_default());
    let ruling = ruling.noted("decision", told.answer.as_str()).noted("reasons", told.codes.join(","));
    let reasons = told.body["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().fold(ruling, |ruling, reason| {
        let text = |member: &str| reason[member].as_str().unwrap_or_default();
        ruling.warned(&format!("slowburn: {}: {}", text("code"), text("message")))
    })
}

/// A machine: its permit is found, held against what is about to happen, and redeemed.
async fn permitted(
    site: &Site,
    gate: &GateService,
    identity: &Identity,
    act: &Act,
    review: &review::Request,
    services: &[String],
) -> Ruling {
    let identities = site.app.auth.identities();
    let kinds: Vec<&str> = act.kinds.iter().map(|kind| kind.as_str()).collect();
    let (kinds, resource) = (kinds.join(" or "), act.resources[0].as_str());
    let Some(permit) = found(gate, identity, act, review, services) else {
        let what = format!(
            "{} has no live permit for {kinds} of {resource}: ask first (slowburn ask, POST /v1/decisions), then do it",
            identity.name
        );
        return Ruling::deny(403, format!("slowburn: {what}")).noted("reasons", "unknown_permit");
    };
    let info = site.app.info.borrow().clone();
    if !is_of(&info, &permit.request.service, services, resource) {
        let of = if services.is_empty() {
            "none of its workloads".to_owned()
        } else {
            format!("of {}", services.join(", "))
        };
        let namespace = review.namespace.as_deref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
        let what = format!("permit {} is for {}, and {resource}{namespace} is {of}", permit.id, permit.request.service);
        return Ruling::deny(403, format!("slowburn: {what}")).noted("reasons", "foreign_resource");
    }
    // A controller may do what somebody else was allowed to, where it may act as that one.
    let holder = Some(permit.sub.as_str()).filter(|sub| identity.may_act_as.iter().any(|own| own == sub));
    let holder = holder.and_then(|sub| identities.named(sub)).unwrap_or(identity);
    let holder = identities.principal(holder, Via::Admission);
    let presented = act.presented(&permit.request);
    if review.dry_run == Some(true) {
        return match presented.digest() == permit.action_digest && permit.sub == holder.sub {
            true => Ruling::default()
                .noted("permit", permit.id.as_str())
                .warned("slowburn: dry run, the permit is not used"),
            false => {
                let what = format!("permit {} is for another act", permit.id);
                Ruling::deny(403, format!("slowburn: {what}")).noted("reasons", "digest_differs")
            }
        };
    }
    match gate.redeem(&holder, &permit.id, Some(presented)).await {
        Ok(answer) => redeemed(Told::of(answer), &permit),
        Err(Blocked::Unavailable(why)) => Ruling::deny(503, format!("slowburn: {why}")).noted("reasons", "unavailable"),
        Err(blocked) => Ruling::deny(403, format!("slowburn: {blocked}")),
    }
}

/// Whether a resource can be meant by a permit for this service: one of its workloads where it names any, so that what has
/// the same name in another namespace is another thing. A node is of no one service.
fn is_of(info: &Info, service: &str, services: &[String], resource: &str) -> bool {
    if services.is_empty() {
        let names_its_own = info.services.iter().any(|one| one.name == service && !one.workloads.is_empty());
        return !names_its_own || resource.starts_with("node/");
    }
    services.iter().any(|one| one == service)
}

fn redeemed(told: Told, permit: &Permit) -> Ruling {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let ruling = match told.allows() && told.answer == "allow" {
        true => Ruling::default(),
        false => Ruling::deny(403, format!("slowburn: {}: {}", told.codes.join(", "), told.message)),
    };
    ruling
        .noted("decision", told.answer.as_str())
        .noted("reasons", told.codes.join(","))
        .noted("decision-id", permit.decision_id.as_str())
        .noted("permit", permit.id.as_str())
        .noted("leaf", text(&told.body["audit"]["leaf"]))
        .noted("seq", text(&told.body["audit"]["seq"]))
}

/// The permit that the object names, else the live one of this machine that fits the act.
fn found(
    gate: &GateService,
    identity: &Identity,
    act: &Act,
    review: &review::Request,
    services: &[String],
) -> Option<Permit> {
    let annotations = review.object.as_ref().and_then(|object| object.metadata.annotations.as_ref());
    let before = review.old_object.as_ref().and_then(|object| object.metadata.annotations.as_ref());
    // One that stood there before is of an earlier change.
    let named =
        annotations.and_then(|all| all.get(PERMIT)).filter(|id| before.and_then(|all| all.get(PERMIT)) != Some(id));
    if let Some(id) = named {
        return gate.permit_of(id);
    }
    let mine = |permit: &Permit| {
        permit.sub == identity.name
            && act.kinds.contains(&permit.request.action)
            && act.resources.contains(&permit.request.resource)
            && (services.is_empty() || services.contains(&permit.request.service))
    };
    // Of several the one that is for this very act.
    let fits = |permit: &Permit| act.presented(&permit.request).digest() == permit.action_digest;
    gate.live_permit(&mine, &fits)
}

/// No SLO, no owner, no deploy: a workload that is new is one of a service.
fn new_workload(site: &Site, review: &review::Request) -> Ruling {
    let new = review.operation == "CREATE" && review.sub_resource.as_deref().unwrap_or_default().is_empty();
    if !new || matches!(who(site, &review.user_info.username), Who::System) {
        return Ruling::default();
    }
    let IntendedAct::Act(act) = act::what(review) else { return Ruling::default() };
    if act.kinds != [ActionKind::Deploy] {
        return Ruling::default();
    }
    let info = site.app.info.borrow().clone();
    let resource = &act.resources[0];
    let services = services_of(&info, &act.resources, review.namespace.as_deref());
    match services.first() {
        Some(service) => Ruling::default().noted("service", service.as_str()),
        None => {
            let what = format!(
                "{resource} has no SLO and no owner: no SLO, no owner, no deploy (name it in workloads: of a service)"
            );
            Ruling::deny(403, format!("slowburn: {what}")).noted("reasons", "unknown_service")
        }
    }
}
