//! As much of a Kubernetes API server as kubectl needs to change one deployment, and webhooks as a real one calls them: by the
//! rules and the policy of the shipped configuration, over TLS with the authority that is given, and with what it makes of an
//! answer (`apiserver/pkg/admission/plugin/webhook`): the words of a refusal, warnings as headers, annotations for its audit log.
//!
//! Deliberately absent: CEL. Of `matchConditions` it knows the list of machines, by its words.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::harness::parts::{Server, serve};

/// A cluster with the deployment `checkout` in the namespace `shop`.
pub struct Cluster {
    pub server: Server,
    state: Arc<Mutex<Kept>>,
}

struct Kept {
    deployment: Value,
    webhooks: Vec<Value>,
    /// Where the service of the webhooks is, and how it is reached.
    client: reqwest::Client,
    base: String,
    /// Annotations of the audit log, with the name of the webhook before each.
    audit: Map<String, Value>,
    reviews: u64,
}

type Shared = Arc<Mutex<Kept>>;

impl Cluster {
    /// With these webhooks, whose service is at `base`.
    pub async fn start(webhooks: Vec<Value>, client: reqwest::Client, base: String) -> Self {
        let image = json!([{"name": "checkout", "image": "registry.example.com/checkout:v42"}]);
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "checkout", "namespace": "shop", "uid": "d-1", "resourceVersion": "7", "generation": 7},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "checkout"}},
                "template": {"metadata": {"labels": {"app": "checkout"}}, "spec": {"containers": image}},
            },
        });
        let kept = Kept { deployment, webhooks, client, base, audit: Map::new(), reviews: 0 };
        let state: Shared = Arc::new(Mutex::new(kept));
        let server = serve(Router::new().fallback(answer).with_state(Arc::clone(&state))).await;
        Cluster { server, state }
    }

    /// Webhooks are called like this from now on.
    pub fn trust(&self, client: reqwest::Client) {
        self.state.lock().expect("no panic holds it").client = client;
    }

    pub fn deployment(&self) -> Value {
        self.state.lock().expect("no panic holds it").deployment.clone()
    }

    /// What the audit log of the API server has of the last change.
    pub fn audit(&self) -> Map<String, Value> {
        self.state.lock().expect("no panic holds it").audit.clone()
    }
}

async fn answer(State(state): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a short body");
    let groups = json!([{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}], "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}]);
    let verbs = json!(["get", "list", "patch", "update", "create", "delete"]);
    let kind = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": verbs, "shortNames": []});
    let scale = json!({"name": "deployments/scale", "singularName": "", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": verbs});
    let path = head.uri.path().to_owned();
    match (head.method.clone(), path.as_str()) {
        (Method::GET, "/api") => shown(json!({"kind": "APIVersions", "versions": ["v1"]})),
        (Method::GET, "/apis") => shown(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})),
        (Method::GET, "/api/v1") => shown(json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": []})),
        (Method::GET, "/apis/apps/v1") => shown(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1",
            "resources": [kind("deployments", "Deployment"), scale],
        })),
        (method, "/apis/apps/v1/namespaces/shop/deployments/checkout") => {
            object(&state, method, &head, &bytes, None).await
        }
        (method, "/apis/apps/v1/namespaces/shop/deployments/checkout/scale") => {
            object(&state, method, &head, &bytes, Some("scale")).await
        }
        _ => status(404, "NotFound", &format!("the server could not find {path}")),
    }
}

fn shown(value: Value) -> Response {
    axum::Json(value).into_response()
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code});
    (StatusCode::from_u16(code).expect("a status"), axum::Json(body)).into_response()
}

fn scale_of(deployment: &Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": deployment["metadata"],
        "spec": {"replicas": deployment["spec"]["replicas"]}, "status": {"replicas": 3},
    })
}

async fn object(
    state: &Shared,
    method: Method,
    head: &axum::http::request::Parts,
    body: &Bytes,
    sub: Option<&str>,
) -> Response {
    let before = state.lock().expect("no panic holds it").deployment.clone();
    let of = |deployment: &Value| if sub.is_some() { scale_of(deployment) } else { deployment.clone() };
    if method == Method::GET {
        return shown(of(&before));
    }
    let Ok(change) = serde_json::from_slice::<Value>(body) else { return status(400, "BadRequest", "no JSON") };
    let mut after = of(&before);
    match method {
        Method::PATCH => merge(&mut after, &change),
        _ => after = change,
    }
    let dry = head.uri.query().is_some_and(|query| query.contains("dryRun=All"));
    let (refusal, warnings) = admit(state, &head.headers, sub, &of(&before), &after, dry).await;
    if let Some(refusal) = refusal {
        return refusal;
    }
    let mut kept = before;
    match sub {
        Some(_) => kept["spec"]["replicas"] = after["spec"]["replicas"].clone(),
        None => kept = after,
    }
    if !dry {
        state.lock().expect("no panic holds it").deployment = kept.clone();
    }
    let mut answer = shown(of(&kept));
    for warning in warnings {
        let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        answer.headers_mut().append("warning", HeaderValue::from_str(&text).expect("printable"));
    }
    answer
}

/// A strategic merge of what this test changes: members are merged, containers by their name.
fn merge(into: &mut Value, change: &Value) {
    let (Some(members), Some(change)) = (into.as_object_mut(), change.as_object()) else {
        *into = change.clone();
        return;
    };
    for (name, value) in change.iter().filter(|(name, _)| !name.starts_with('$')) {
        let own = members.entry(name.clone()).or_insert(Value::Null);
        match (name.as_str(), own.as_array_mut(), value.as_array()) {
            ("containers", Some(own), Some(items)) => {
                for item in items {
                    match own.iter_mut().find(|one| one["name"] == item["name"]) {
                        Some(one) => merge(one, item),
                        None => own.push(item.clone()),
                    }
                }
            }
            _ => merge(own, value),
        }
    }
}

/// Asks every webhook that is for this; a refusal, or warnings.
async fn admit(
    state: &Shared,
    headers: &HeaderMap,
    sub: Option<&str>,
    before: &Value,
    after: &Value,
    dry: bool,
) -> (Option<Response>, Vec<String>) {
    let user =
        headers.get("impersonate-user").and_then(|user| user.to_str().ok()).unwrap_or("kubernetes-admin").to_owned();
    let (webhooks, client, base, uid) = {
        let mut kept = state.lock().expect("no panic holds it");
        kept.audit = Map::new();
        kept.reviews += 1;
        (kept.webhooks.clone(), kept.client.clone(), kept.base.clone(), format!("review-{}", kept.reviews))
    };
    let resource = match sub {
        Some(sub) => format!("deployments/{sub}"),
        None => "deployments".to_owned(),
    };
    let mut warnings = Vec::new();
    for webhook in webhooks.iter().filter(|webhook| is_for(webhook, &resource, &user)) {
        let name = webhook["name"].as_str().expect("a name");
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": uid, "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "subResource": sub,
                "name": "checkout", "namespace": "shop", "operation": "UPDATE", "userInfo": {"username": user},
                "object": after, "oldObject": before, "dryRun": dry, "options": {"kind": "PatchOptions"},
            },
        });
        let path = webhook["clientConfig"]["service"]["path"].as_str().expect("a path");
        let seconds = webhook["timeoutSeconds"].as_u64().expect("a time");
        let sent =
            client.post(format!("{base}{path}")).timeout(Duration::from_secs(seconds)).json(&review).send().await;
        let called = match sent {
            Ok(answer) if answer.status() == 200 => answer.json::<Value>().await.map_err(|error| error.to_string()),
            Ok(answer) => Err(format!("the server responded with {}", answer.status())),
            Err(error) => Err(error.to_string()),
        };
        let response = match called {
            Ok(answer) if answer["response"]["uid"] == uid.as_str() => answer["response"].clone(),
            failed if webhook["failurePolicy"] == "Ignore" => {
                drop(failed);
                state.lock().expect("no panic holds it").audit.insert(format!("failed-open.{name}"), "round_0".into());
                continue;
            }
            Ok(answer) => return (Some(status(500, "InternalError", &format!("expected {uid}: {answer}"))), warnings),
            Err(why) => {
                let message =
                    format!("Internal error occurred: failed calling webhook {name:?}: failed to call webhook: {why}");
                return (Some(status(500, "InternalError", &message)), warnings);
            }
        };
        for (key, value) in response["auditAnnotations"].as_object().into_iter().flatten() {
            state.lock().expect("no panic holds it").audit.insert(format!("{name}/{key}"), value.clone());
        }
        let told = response["warnings"].as_array().into_iter().flatten();
        warnings.extend(told.filter_map(Value::as_str).map(str::to_owned));
        if response["allowed"] != true {
            let said = &response["status"];
            let message = format!(
                "admission webhook {name:?} denied the request: {}",
                said["message"].as_str().unwrap_or_default()
            );
            let code = said["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(400).max(400);
            return (Some(status(code, said["reason"].as_str().unwrap_or_default(), &message)), warnings);
        }
    }
    (None, warnings)
}

/// Whether a webhook is called for an update of this resource by this user.
fn is_for(webhook: &Value, resource: &str, user: &str) -> bool {
    let has = |rule: &Value, member: &str, wanted: &str| {
        rule[member].as_array().is_some_and(|all| all.iter().any(|one| one == wanted))
    };
    let rules = webhook["rules"].as_array().into_iter().flatten();
    let ruled = rules.into_iter().any(|rule| has(rule, "resources", resource) && has(rule, "operations", "UPDATE"));
    let conditions = webhook["matchConditions"].as_array().into_iter().flatten();
    ruled
        && conditions.filter_map(|condition| condition["expression"].as_str()).all(|expression| {
            let listed = expression.contains(&format!("\"{user}\""));
            match (expression.contains("username in ["), expression.trim_start().starts_with('!')) {
                (true, negated) => listed != negated,
                // The system's own, and people in an emergency: none of this test.
                (false, _) => true,
            }
        })
}
