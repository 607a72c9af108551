//! One kind of objects, followed: the requests that a [`Reflector`] asks for, and what comes of them.
//!
//! A list is read in pages, a watch line by line; both are bounded in bytes and time. The token is read from its file for each
//! request, so one that was rotated, or refused, is replaced by the next.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::object::Object;
use super::reflector::{Ask, Heard, Reflector};
use crate::outbound::{ApiServer, Lines};
use crate::spec::RuleKind;
use crate::telemetry::names;

/// Largest page that is read, bytes.
const PAGE_BYTES_MAX: usize = 32 << 20;
/// Largest event of a watch, bytes: an object that etcd keeps, and what is around it.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// Longest wait for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for the answer to a watch to begin.
const WATCH_WITHIN: Duration = Duration::from_secs(10);
/// A watch lasts so long, and up to twice that; then it is asked for again.
const WATCH_S: u64 = 240;
/// How much longer than it was to last a watch may be silent.
const SILENCE: Duration = Duration::from_secs(15);
/// Events that are less than this apart are shown as one change.
const TOGETHER: Duration = Duration::from_millis(50);
/// Failures that are said aloud: the first, and each so many.
const SAID_EVERY: u32 = 20;

/// What to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The kind.
    pub kind: RuleKind,
    /// The namespace; `None`: all of them.
    pub namespace: Option<String>,
    /// A label selector, as kubectl takes it.
    pub labels: Option<String>,
}

/// What is held.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The objects.
    pub objects: Vec<Arc<Object>>,
    /// A whole list was read.
    pub synced: bool,
}

/// Where what is held is put, and who is woken by it.
pub struct Shown {
    /// What is held.
    pub held: watch::Sender<Held>,
    /// Woken with each change.
    pub changed: Arc<Notify>,
}

/// Follows a scope until `stop`.
pub async fn follow(server: Arc<ApiServer>, scope: Scope, shown: Shown, stop: CancellationToken) {
    let (reflector, random) = (Reflector::default(), SystemRandom::new());
    let mut follower = Follower { server, scope, reflector, shown, random, dirty: false };
    stop.run_until_cancelled(follower.run()).await;
}

struct Follower {
    server: Arc<ApiServer>,
    scope: Scope,
    reflector: Reflector,
    shown: Shown,
    random: SystemRandom,
    /// What is held is another set than was shown.
    dirty: bool,
}

impl Follower {
    async fn run(&mut self) {
        loop {
            self.show();
            tokio::time::sleep(self.reflector.wait(self.chance())).await;
            match self.reflector.next() {
                Ask::Page { limit, continued } => {
                    let heard = self.page(limit, continued.as_deref()).await;
                    self.hear(heard);
                }
                Ask::Watch { from } => self.watch(&from).await,
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        let failures = self.reflector.fault().map_or(0, |fault| fault.times);
        let changed = self.reflector.hear(heard);
        let kind = self.scope.kind.name();
        match self.reflector.fault() {
            Some(fault) if fault.times > failures => {
                metrics::counter!(names::CLUSTER_FAILURES, "kind" => kind).increment(1);
                if fault.times % SAID_EVERY == 1 {
                    let held = self.reflector.objects().len();
                    warn!(kind, held, "the API server: {}; what is held stays in force", fault.what);
                }
            }
            None if failures > 0 => info!(kind, "the API server answers again"),
            _ => {}
        }
        metrics::gauge!(names::CLUSTER_SYNCED, "kind" => kind)
            .set(f64::from(u8::from(self.reflector.is_synced() && self.reflector.fault().is_none())));
        self.dirty |= changed;
    }

    /// Shows what is held, where it is another set than was shown.
    fn show(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let held = Held { objects: self.reflector.objects(), synced: self.reflector.is_synced() };
            self.shown.held.send_replace(held);
            self.shown.changed.notify_one();
        }
    }

    async fn page(&self, limit: usize, continued: Option<&str>) -> Heard {
        let mut asks = vec![("limit", limit.to_string())];
        asks.extend(continued.map(|place| ("continue", place.to_owned())));
        let path = self.path(&asks);
        let asked = self.server.ask_within(Method::GET, &path, None, PAGE_BYTES_MAX);
        let (status, body) = match tokio::time::timeout(PAGE_WITHIN, asked).await {
            Err(_) => return Heard::Failed("it does not answer".into()),
            Ok(Err(why)) if why == ApiServer::TOO_LARGE => return Heard::TooLarge,
            Ok(Err(why)) => return Heard::Failed(why),
            Ok(Ok(answer)) => answer,
        };
        if status != StatusCode::OK {
            return self.refused(status);
        }
        let Ok(list) = serde_json::from_slice::<Value>(&body) else {
            return Heard::Failed("its answer is no JSON".into());
        };
        let text = |name: &str| list["metadata"][name].as_str().map(str::to_owned);
        let (Some(items), Some(version)) = (list["items"].as_array(), text("resourceVersion")) else {
            return Heard::Failed("its answer is no list".into());
        };
        let objects = items.iter().filter_map(|item| Object::of(self.scope.kind, item)).collect();
        Heard::Page { objects, version, continued: text("continue").filter(|place| !place.is_empty()) }
    }

    async fn watch(&mut self, from: &str) {
        let lasts = WATCH_S + (self.chance() * WATCH_S as f64) as u64;
        let path = self.path(&[
            ("watch", "1".into()),
            ("allowWatchBookmarks", "true".into()),
            ("resourceVersion", from.into()),
            ("timeoutSeconds", lasts.to_string()),
        ]);
        debug!(kind = self.scope.kind.name(), from, "watching");
        let opened = tokio::time::timeout(WATCH_WITHIN, self.server.lines(&path, EVENT_BYTES_MAX)).await;
        let mut lines = match opened {
            Err(_) => return self.hear(Heard::Failed("it does not answer".into())),
            Ok(Err(why)) => return self.hear(Heard::Failed(why)),
            Ok(Ok((StatusCode::OK, lines))) => lines,
            Ok(Ok((status, _))) => return self.hear(self.refused(status)),
        };
        let silent = Duration::from_secs(lasts) + SILENCE;
        let begun = Instant::now();
        loop {
            let heard = self.event(&mut lines, silent).await;
            let goes_on = matches!(heard, Heard::Changed(_) | Heard::Deleted(_) | Heard::Bookmark(_));
            // One that ends as soon as it begins, again and again, is no watch.
            let heard = match heard {
                Heard::Ended if begun.elapsed() < Duration::from_secs(1) => {
                    Heard::Failed("its watches end at once".into())
                }
                heard => heard,
            };
            self.hear(heard);
            if !goes_on {
                return;
            }
        }
    }

    async fn event(&mut self, lines: &mut Lines, silent: Duration) -> Heard {
        // Events that come together are shown together.
        let next = match self.dirty {
            true => tokio::time::timeout(TOGETHER, lines.next()).await,
            false => tokio::time::timeout(silent, lines.next()).await,
        };
        let next = match next {
            Err(_) if self.dirty => {
                self.show();
                tokio::time::timeout(silent, lines.next()).await
            }
            next => next,
        };
        let line = match next {
            Err(_) => return Heard::Failed("a watch went silent".into()),
            Ok(Err(why)) if why == ApiServer::TOO_LARGE => return Heard::TooLarge,
            Ok(Err(why)) => return Heard::Failed(why),
            Ok(Ok(None)) => return Heard::Ended,
            Ok(Ok(Some(line))) => line,
        };
        let Ok(event) = serde_json::from_slice::<Value>(&line) else {
            return Heard::Failed("an event is no JSON".into());
        };
        let object = &event["object"];
        let known = || Object::of(self.scope.kind, object);
        let lost = || Heard::Failed("an event has no object".into());
        match event["type"].as_str().unwrap_or_default() {
            "ADDED" | "MODIFIED" => known().map_or_else(lost, Heard::Changed),
            "DELETED" => known().map_or_else(lost, Heard::Deleted),
            "BOOKMARK" => object["metadata"]["resourceVersion"]
                .as_str()
                .map_or_else(lost, |version| Heard::Bookmark(version.into())),
            "ERROR" if object["code"] == 410 => Heard::Expired,
            "ERROR" => Heard::Failed(format!("a watch ends with {}", object["code"])),
            other => Heard::Failed(format!("an event of the type {other:?}")),
        }
    }

    fn refused(&self, status: StatusCode) -> Heard {
        let what = self.scope.kind.plural();
        match status {
            StatusCode::GONE => Heard::Expired,
            StatusCode::NOT_FOUND => Heard::Undefined,
            StatusCode::UNAUTHORIZED => Heard::Failed("it does not know our token".into()),
            StatusCode::FORBIDDEN => {
                Heard::Failed(format!("we may not list and watch {what}: see deploy/kubernetes/rules"))
            }
            status => Heard::Failed(format!("it answers {}", status.as_u16())),
        }
    }

    fn path(&self, asks: &[(&str, String)]) -> String {
        let labels = self.scope.labels.iter().map(|labels| ("labelSelector", labels.clone()));
        let mut asked = reqwest::Url::parse("http://a").expect("a constant");
        asked.query_pairs_mut().extend_pairs(asks.iter().cloned().chain(labels));
        format!("{}?{}", self.scope.kind.path(self.scope.namespace.as_deref()), asked.query().unwrap_or_default())
    }

    /// From 0 to 1; in the middle where the system has no random numbers to give.
    fn chance(&self) -> f64 {
        let mut bytes = [0_u8; 4];
        match self.random.fill(&mut bytes) {
            Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
            Err(_) => 0.5,
        }
    }
}
