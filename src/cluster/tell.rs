//! Telling objects what became of them: one write of a status for each that does not say it yet.
//!
//! Two replicas say the same, so the second finds nothing to write; where they differ for a while, neither writes the same
//! words again and again. A write names the version that was judged: a newer one is told of when it was judged itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::object::Object;
use super::status::Verdict;
use crate::clock::Clock;
use crate::outbound::ApiServer;
use crate::spec::{ObjectKey, RuleKind};
use crate::telemetry::names;

/// Writes at once.
const AT_ONCE: usize = 4;
/// Longest wait for one.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// What was written is not written again before this, although somebody wiped it.
const AGAIN: Duration = Duration::from_secs(600);
/// First wait after a write that failed, and the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What became of one write.
enum Told {
    Written,
    /// It is another version by now, or gone: what is heard of it next decides.
    Outrun,
    /// Such a status is never taken.
    Refused(u16),
    Failed(String),
}

/// Writes statuses, and knows which it wrote.
pub struct Teller {
    server: Arc<ApiServer>,
    told: BTreeMap<Arc<ObjectKey>, (String, i64, String, Instant)>,
    failures: u32,
}

impl Teller {
    /// One that has told nothing yet.
    pub fn new(server: Arc<ApiServer>) -> Self {
        Teller { server, told: BTreeMap::new(), failures: 0 }
    }

    /// Tells each object what became of it, where it does not say so already. Answers when to try again.
    pub async fn tell(&mut self, all: &[(Arc<Object>, Verdict)], clock: &Clock) -> Option<Duration> {
        let there: BTreeSet<&Arc<ObjectKey>> = all.iter().map(|(object, _)| &object.key).collect();
        self.told.retain(|key, _| there.contains(key));
        let now = jiff::Timestamp::from_second(clock.now()).unwrap_or_default().to_string();
        let mut writes = JoinSet::new();
        let (mut failed, mut again) = (None, false);
        for (object, verdict) in all {
            let Some(path) = path_of(object) else { continue };
            let Some(status) = verdict.status(object, &now) else { continue };
            let message = verdict.message();
            let same = |(uid, generation, words, at): &(String, i64, String, Instant)| {
                (uid, generation, words) == (&object.uid, &object.generation, &message) && at.elapsed() < AGAIN
            };
            if self.told.get(&object.key).is_some_and(same) {
                continue;
            }
            if writes.len() >= AT_ONCE
                && let Some(done) = writes.join_next().await
            {
                again |= self.take(done.ok(), &mut failed);
            }
            if failed.is_some() {
                break;
            }
            let (server, object) = (Arc::clone(&self.server), Arc::clone(object));
            writes.spawn(async move { (write(&server, &path, &object, &status).await, object, message) });
        }
        while let Some(done) = writes.join_next().await {
            again |= self.take(done.ok(), &mut failed);
        }
        match failed {
            Some(why) => {
                if self.failures == 0 {
                    warn!("the status of objects cannot be written: {why}");
                }
                self.failures = self.failures.saturating_add(1);
                Some(WAIT.0.saturating_mul(1 << self.failures.min(10)).min(WAIT.1))
            }
            None => {
                self.failures = 0;
                again.then_some(WAIT.0)
            }
        }
    }

    /// Takes what became of a write. Answers whether it has to be looked at again.
    fn take(&mut self, done: Option<(Told, Arc<Object>, String)>, failed: &mut Option<String>) -> bool {
        let Some((told, object, message)) = done else { return true };
        let outcome = match told {
            Told::Written => {
                let words = (object.uid.clone(), object.generation, message, Instant::now());
                self.told.insert(Arc::clone(&object.key), words);
                "written"
            }
            Told::Outrun => {
                debug!(object = %object.key, "it is another version by now");
                "outrun"
            }
            Told::Refused(status) => {
                warn!(object = %object.key, status, "the API server refused the status of an object");
                let words = (object.uid.clone(), object.generation, message, Instant::now());
                self.told.insert(Arc::clone(&object.key), words);
                "refused"
            }
            Told::Failed(why) => {
                *failed = Some(why);
                "failed"
            }
        };
        metrics::counter!(names::CLUSTER_STATUSES, "outcome" => outcome).increment(1);
        false
    }
}

/// Where the status of one of our objects is; `None`: it is none of ours, or is only remembered.
fn path_of(object: &Object) -> Option<String> {
    let ours = RuleKind::ALL.into_iter().filter(|kind| matches!(kind, RuleKind::Own(_)));
    let kind = ours.into_iter().find(|kind| kind.name() == object.key.kind)?;
    let all = kind.path(Some(&object.key.namespace));
    (!object.version.is_empty()).then(|| format!("{all}/{}/status", object.key.name))
}

async fn write(server: &ApiServer, path: &str, object: &Object, status: &Value) -> Told {
    let patch = json!({"metadata": {"resourceVersion": object.version}, "status": status});
    match tokio::time::timeout(WRITE_WITHIN, server.ask(Method::PATCH, path, Some(&patch))).await {
        Err(_) => Told::Failed("the API server does not answer".into()),
        Ok(Err(why)) => Told::Failed(why),
        Ok(Ok((StatusCode::CONFLICT | StatusCode::NOT_FOUND, _))) => Told::Outrun,
        Ok(Ok((StatusCode::FORBIDDEN, _))) => Told::Failed("we may not patch the status of our objects".into()),
        Ok(Ok((status, _))) if status.is_success() => Told::Written,
        Ok(Ok((StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, _))) => Told::Refused(422),
        Ok(Ok((status, _))) => Told::Failed(format!("the API server answers {}", status.as_u16())),
    }
}
