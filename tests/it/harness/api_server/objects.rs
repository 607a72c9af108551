//! Objects of the simulated API server, with the real rules: a resourceVersion that grows with every write, lists in pages of one
//! version, watches from a version on with bookmarks, 410 for what is forgotten, 409 for a write that names an old version, a
//! status that is written apart from the spec, roles that are held to, and no write where nothing changes.
//!
//! Deliberately absent: validation. What fits a schema is looked at where the schema is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

use super::Shared;

/// Where an object is: `slowburn.dev/v1alpha1/servicelevels`, its namespace, its name.
type Place = (String, String, String);

struct Change {
    version: u64,
    place: Place,
    before: Option<Value>,
    after: Option<Value>,
}

pub struct Objects {
    stored: BTreeMap<Place, Value>,
    changes: Vec<Change>,
    /// Watches from before this version are gone.
    oldest: u64,
    /// Lists that were begun: what is left of each, and its version.
    begun: HashMap<String, (Vec<Value>, u64)>,
    version: u64,
    news: broadcast::Sender<()>,
    /// Ends every watch that is open.
    pub hang_up: broadcast::Sender<()>,
    /// What is defined, as roles call it with its version: `slowburn.dev/v1alpha1/servicelevels`.
    pub defined: BTreeSet<String>,
    /// What the asker may do: `list slowburn.dev/servicelevels`; empty: everything.
    pub allowed: BTreeSet<String>,
    /// What was asked for, how often.
    pub asked: BTreeMap<String, usize>,
    /// Writes of a status that were taken, by name.
    pub told: BTreeMap<String, usize>,
    pub conflicts: usize,
    /// What somebody else writes just before the next status is written.
    pub outruns: Option<Value>,
    /// How often a bookmark comes.
    pub bookmarks: Duration,
}

impl Default for Objects {
    fn default() -> Self {
        let ours = ["servicelevels", "actionpolicies"].map(|plural| format!("slowburn.dev/v1alpha1/{plural}"));
        Objects {
            stored: BTreeMap::new(),
            changes: Vec::new(),
            oldest: 0,
            begun: HashMap::new(),
            version: 100,
            news: broadcast::channel(1024).0,
            hang_up: broadcast::channel(16).0,
            defined: ours.into_iter().chain(["v1/configmaps".to_owned()]).collect(),
            allowed: BTreeSet::new(),
            asked: BTreeMap::new(),
            told: BTreeMap::new(),
            conflicts: 0,
            outruns: None,
            bookmarks: Duration::from_secs(1),
        }
    }
}

fn failure(status: StatusCode, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": reason, "code": status.as_u16(),
    });
    (status, axum::Json(body)).into_response()
}

fn shown(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Whether labels fit a selector: `a`, `!a`, `a=b`, `a!=b`, `a in (b, c)`, with commas between.
fn fits(object: &Value, selector: &str) -> bool {
    let label = |name: &str| object["metadata"]["labels"][name.trim()].as_str();
    let mut depth = 0;
    let terms = selector.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    terms.map(str::trim).filter(|term| !term.is_empty()).all(|term| {
        if let Some((name, values)) = term.split_once(" in ") {
            let values = values.trim().trim_matches(['(', ')']);
            return label(name).is_some_and(|own| values.split(',').any(|value| value.trim() == own));
        }
        match (term.split_once("!="), term.split_once('='), term.strip_prefix('!')) {
            (Some((name, value)), ..) => label(name) != Some(value.trim()),
            (_, Some((name, value)), _) => label(name.trim_end_matches('=')) == Some(value.trim()),
            (.., Some(name)) => label(name).is_none(),
            _ => label(term).is_some(),
        }
    })
}

impl Objects {
    /// Puts an object there, as its author would.
    pub fn apply(&mut self, mut object: Value) {
        let api = object["apiVersion"].as_str().expect("a version").to_owned();
        let kind = object["kind"].as_str().expect("a kind").to_lowercase();
        let plural = match kind.as_str() {
            "actionpolicy" => "actionpolicies".to_owned(),
            kind => format!("{kind}s"),
        };
        let text = |name: &str| object["metadata"][name].as_str().expect("named").to_owned();
        let place = (format!("{api}/{plural}"), text("namespace"), text("name"));
        let before = self.stored.get(&place).cloned();
        let (created, metadata) =
            (format!("2026-11-01T00:{:02}:{:02}Z", self.version / 60 % 60, self.version % 60), &mut object["metadata"]);
        match &before {
            Some(before) => {
                for name in ["uid", "creationTimestamp", "generation"] {
                    metadata[name] = before["metadata"][name].clone();
                }
                let changed = before["spec"] != object["spec"];
                if changed && let Some(generation) = before["metadata"]["generation"].as_i64() {
                    object["metadata"]["generation"] = (generation + 1).into();
                }
                object["status"] = before["status"].clone();
            }
            None => {
                metadata["uid"] = format!("uid-{}", self.version).into();
                metadata["creationTimestamp"] = created.into();
                if kind != "configmap" {
                    metadata["generation"] = 1.into();
                }
            }
        }
        if object["status"].is_null() {
            object.as_object_mut().expect("an object").remove("status");
        }
        self.put(place, Some(object));
    }

    /// Takes one away.
    pub fn delete(&mut self, resource: &str, namespace: &str, name: &str) {
        self.put((resource.into(), namespace.into(), name.into()), None);
    }

    /// One of ours as it is.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.stored.get(&(format!("slowburn.dev/v1alpha1/{resource}"), namespace.into(), name.into()))
    }

    /// All that is stored.
    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.stored.values()
    }

    /// Forgets what happened so far: watches from before, and lists that were begun, are gone.
    pub fn forget(&mut self) {
        self.oldest = self.version + 1;
        self.changes.clear();
        self.begun.clear();
    }

    fn put(&mut self, place: Place, after: Option<Value>) -> Option<Value> {
        let before = self.stored.get(&place).cloned();
        let plain = |value: &Value| {
            let mut value = value.clone();
            value["metadata"]["resourceVersion"] = Value::Null;
            value
        };
        // A write that changes nothing is none.
        if before.as_ref().map(plain) == after.as_ref().map(plain) {
            return before;
        }
        self.version += 1;
        let version = self.version;
        let named = |mut value: Value| {
            value["metadata"]["resourceVersion"] = version.to_string().into();
            value
        };
        let after = after.map(named);
        match &after {
            Some(after) => drop(self.stored.insert(place.clone(), after.clone())),
            None => drop(self.stored.remove(&place)),
        }
        self.changes.push(Change { version, place, before: before.map(named), after: after.clone() });
        drop(self.news.send(()));
        after
    }

    fn list(&mut self, resource: &str, namespace: Option<&str>, asks: &HashMap<String, String>) -> Response {
        let limit = asks.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let (mut rest, version) = match asks.get("continue") {
            Some(token) => match self.begun.remove(token) {
                Some(begun) => begun,
                None => return failure(StatusCode::GONE, "Expired"),
            },
            None => {
                let selector = asks.get("labelSelector").map_or("", String::as_str);
                let all = self.stored.iter().filter(|((own, at, _), object)| {
                    own == resource && namespace.is_none_or(|namespace| namespace == at) && fits(object, selector)
                });
                (all.map(|(_, object)| object.clone()).collect(), self.version)
            }
        };
        let page: Vec<Value> = rest.drain(..limit.min(rest.len())).collect();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if !rest.is_empty() {
            let token = format!("{version}-{}", rest.len());
            metadata["continue"] = token.clone().into();
            metadata["remainingItemCount"] = rest.len().into();
            self.begun.insert(token, (rest, version));
        }
        let api = resource.rsplit_once('/').map_or(resource, |(api, _)| api);
        shown(StatusCode::OK, &json!({"apiVersion": api, "kind": "List", "metadata": metadata, "items": page}))
    }

    /// Events after `from`, as lines, and the version up to which they are.
    fn events(&self, from: u64, resource: &str, namespace: Option<&str>, selector: &str) -> Result<(String, u64), ()> {
        if from < self.oldest {
            return Err(());
        }
        let mut lines = String::new();
        for change in self.changes.iter().filter(|change| change.version > from) {
            let (own, at, _) = &change.place;
            if own != resource || namespace.is_some_and(|namespace| namespace != at) {
                continue;
            }
            let was = change.before.as_ref().filter(|object| fits(object, selector));
            let is = change.after.as_ref().filter(|object| fits(object, selector));
            let (kind, object) = match (was, is) {
                (None, Some(object)) => ("ADDED", object),
                (Some(_), Some(object)) => ("MODIFIED", object),
                (Some(object), None) => ("DELETED", object),
                (None, None) => continue,
            };
            lines += &format!("{}\n", json!({"type": kind, "object": object}));
        }
        Ok((lines, self.version))
    }

    fn write_status(&mut self, place: Place, change: &Value) -> Response {
        if let Some(faster) = self.outruns.take() {
            self.apply(faster);
        }
        let Some(before) = self.stored.get(&place).cloned() else { return failure(StatusCode::NOT_FOUND, "NotFound") };
        let version = &change["metadata"]["resourceVersion"];
        if !version.is_null() && *version != before["metadata"]["resourceVersion"] {
            self.conflicts += 1;
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        let mut after = before.clone();
        after["status"] = merged(before["status"].clone(), &change["status"]);
        if after == before {
            panic!("a write that changes nothing: {change}");
        }
        *self.told.entry(format!("{}/{}", place.1, place.2)).or_default() += 1;
        let after = self.put(place, Some(after)).expect("it was just stored");
        shown(StatusCode::OK, &after)
    }
}

/// RFC 7396.
fn merged(mut target: Value, change: &Value) -> Value {
    let Value::Object(all) = change else { return change.clone() };
    if !target.is_object() {
        target = json!({});
    }
    for (key, value) in all {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(key);
        } else {
            target[key] = merged(target[key].take(), value);
        }
    }
    target
}

/// What kubectl asks before anything else.
fn discovery(path: &str) -> Option<Response> {
    let group = json!({
        "name": "slowburn.dev", "versions": [{"groupVersion": "slowburn.dev/v1alpha1", "version": "v1alpha1"}],
        "preferredVersion": {"groupVersion": "slowburn.dev/v1alpha1", "version": "v1alpha1"},
    });
    let resource = |plural: &str, kind: &str, short: &str| {
        json!({
            "name": plural, "singularName": kind.to_lowercase(), "namespaced": true, "kind": kind, "shortNames": [short],
            "categories": ["slowburn"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        })
    };
    Some(shown(
        StatusCode::OK,
        &match path {
            "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
            "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}),
            "/api/v1" => json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": []}),
            "/apis/slowburn.dev/v1alpha1" => json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "slowburn.dev/v1alpha1",
                "resources": [resource("servicelevels", "ServiceLevel", "sl"), resource("actionpolicies", "ActionPolicy", "ap")],
            }),
            _ => return None,
        },
    ))
}

/// Answers a request whose token is good; `None`: it is about no object.
pub async fn answer(kept: &Shared, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<Response> {
    if let Some(found) = discovery(uri.path()) {
        return Some(found);
    }
    let asks: HashMap<String, String> = {
        let url = reqwest::Url::parse(&format!("http://a{uri}")).expect("a request has a URI");
        url.query_pairs().into_owned().collect()
    };
    let path = uri.path().strip_prefix("/apis/").or(uri.path().strip_prefix("/api/"))?;
    let parts: Vec<&str> = path.split('/').collect();
    // The core group has a version and no name.
    let api = if uri.path().starts_with("/api/") { 1 } else { 2 };
    let (namespace, rest) = match &parts[api..] {
        ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
        rest => (None, rest),
    };
    let (plural, name, sub) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some((*name).to_owned()), None),
        [plural, name, sub] => (*plural, Some((*name).to_owned()), Some(*sub)),
        _ => return None,
    };
    let resource = format!("{}/{plural}", parts[..api].join("/"));
    let watches = asks.get("watch").is_some_and(|word| word == "1" || word == "true");
    let verb = match (method, &name) {
        (&Method::GET, None) if watches => "watch",
        (&Method::GET, None) => "list",
        (&Method::GET, Some(_)) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, _) => "delete",
        _ => return None,
    };
    let group = if api == 1 { "" } else { parts[0] };
    let right = format!("{verb} {group}/{plural}{}", sub.map(|sub| format!("/{sub}")).unwrap_or_default());
    {
        let mut kept = kept.lock().expect("not poisoned");
        *kept.objects.asked.entry(right.clone()).or_default() += 1;
        if !kept.objects.allowed.is_empty() && !kept.objects.allowed.contains(&right) {
            return Some(failure(StatusCode::FORBIDDEN, "Forbidden"));
        }
        if !kept.objects.defined.contains(&resource) {
            return Some(failure(StatusCode::NOT_FOUND, "NotFound"));
        }
    }
    if watches {
        return Some(watch(kept, resource, namespace, asks));
    }
    let mut kept = kept.lock().expect("not poisoned");
    let objects = &mut kept.objects;
    let Some(name) = name else {
        return Some(match verb {
            "list" => objects.list(&resource, namespace.as_deref(), &asks),
            "create" => {
                let Ok(object) = serde_json::from_slice::<Value>(body) else {
                    return Some(failure(StatusCode::BAD_REQUEST, "BadRequest"));
                };
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let place = (resource, namespace.unwrap_or_default(), name);
                if objects.stored.contains_key(&place) {
                    return Some(failure(StatusCode::CONFLICT, "AlreadyExists"));
                }
                if asks.get("dryRun").is_some_and(|dry| dry == "All") {
                    return Some(shown(StatusCode::CREATED, &object));
                }
                objects.apply(object);
                shown(StatusCode::CREATED, &objects.stored[&place])
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        });
    };
    let place = (resource, namespace.unwrap_or_default(), name);
    Some(match (verb, sub) {
        ("get", None) => match objects.stored.get(&place) {
            Some(object) => shown(StatusCode::OK, object),
            None => failure(StatusCode::NOT_FOUND, "NotFound"),
        },
        ("patch", Some("status")) => {
            let form = headers.get(header::CONTENT_TYPE).and_then(|form| form.to_str().ok());
            assert_eq!(form, Some("application/merge-patch+json"));
            match serde_json::from_slice(body) {
                Ok(change) => objects.write_status(place, &change),
                Err(_) => failure(StatusCode::BAD_REQUEST, "BadRequest"),
            }
        }
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    })
}

/// The lines of a watch, as they come, until its time is over.
fn watch(kept: &Shared, resource: String, namespace: Option<String>, asks: HashMap<String, String>) -> Response {
    let number = |name: &str| asks.get(name).and_then(|text| text.parse::<u64>().ok());
    let (from, lasts) =
        (number("resourceVersion").unwrap_or(0), Duration::from_secs(number("timeoutSeconds").unwrap_or(300)));
    let selector = asks.get("labelSelector").cloned().unwrap_or_default();
    let (mut news, mut hang_up, bookmarks) = {
        let kept = kept.lock().expect("not poisoned");
        (kept.objects.news.subscribe(), kept.objects.hang_up.subscribe(), kept.objects.bookmarks)
    };
    let kept = Shared::clone(kept);
    let (lines, body) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(64);
    tokio::spawn(async move {
        let (begun, mut at) = (Instant::now(), from);
        while begun.elapsed() < lasts {
            let events =
                kept.lock().expect("not poisoned").objects.events(at, &resource, namespace.as_deref(), &selector);
            let Ok((events, now)) = events else {
                let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}});
                drop(lines.send(Ok(format!("{gone}\n"))).await);
                return;
            };
            at = now;
            if !events.is_empty() && lines.send(Ok(events)).await.is_err() {
                return;
            }
            tokio::select! {
                _ = hang_up.recv() => return,
                () = lines.closed() => return,
                heard = timeout(bookmarks, news.recv()) => if heard.is_err() {
                    let version = kept.lock().expect("not poisoned").objects.version;
                    // What happened since is not passed over by a bookmark.
                    if version == at {
                        let object = json!({"kind": "Bookmark", "metadata": {"resourceVersion": version.to_string()}});
                        let bookmark = json!({"type": "BOOKMARK", "object": object});
                        if lines.send(Ok(format!("{bookmark}\n"))).await.is_err() {
                            return;
                        }
                    }
                },
            }
        }
    });
    let body = Body::from_stream(futures_util::stream::unfold(body, |mut body| async move {
        let line = body.recv().await?;
        Some((line, body))
    }));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
