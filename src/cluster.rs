//! Rules that live in Kubernetes: objects that are watched, the rules that they make, and what is said of them there.
//!
//! Each kind is followed by a watcher of its own (`watcher`); what they hold is judged together (`rules`) when rules are
//! read, beside the files. A change asks for a reload like any other, so ledgers, alerts and permits go on. What became of an
//! object is written into its status (`status`) once the rules are in force.
//!
//! Deliberately absent: writing anything but a status. Sloth's and Pyrra's objects and ConfigMaps are only read.

mod kept;
mod object;
mod reflector;
mod rules;
mod status;
mod tell;
mod watcher;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::outbound::ApiServer;
use crate::spec::{Loaded, ObjectKey, Options, RuleKind};
use crate::telemetry::names;

pub use object::Object;
pub use rules::{Good, Goods, Settled, settle};
pub use status::{Standing, Verdict};
pub use watcher::{Held, Scope};

use tell::Teller;
use watcher::Shown;

/// Who asks for a reload, and hears what came of it: `false` where the rules were refused, or nobody reads them any more.
pub type AskReload = mpsc::Sender<oneshot::Sender<bool>>;

/// How long changes are gathered: until it is quiet for so long,
const QUIET: Duration = Duration::from_millis(500);
/// but not longer than this.
const GATHER_MOST: Duration = Duration::from_secs(5);
/// Files that are wrong are not read again for a cluster's sake before this.
const REFUSED_WAIT: Duration = Duration::from_secs(30);

/// Objects that are watched, and what became of them.
pub struct Cluster {
    server: Arc<ApiServer>,
    scopes: Vec<(Scope, watch::Receiver<Held>)>,
    changed: Arc<Notify>,
    clock: Clock,
    state: Mutex<State>,
    data_dir: Option<PathBuf>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    goods: Goods,
    verdicts: BTreeMap<Arc<ObjectKey>, Verdict>,
    /// Of which object, and which texts, each verdict is.
    judged: BTreeMap<Arc<ObjectKey>, (String, String)>,
    /// The goods are on disk as they are.
    written: bool,
}

impl State {
    /// Whether a verdict is of this very object and these texts.
    fn has_judged(&self, object: &Object) -> bool {
        self.judged.get(&object.key).is_some_and(|(uid, digest)| (uid, digest) == (&object.uid, &object.digest))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Cluster {
    /// Begins to follow these scopes. What was in force last is read from the data directory.
    pub fn start(server: ApiServer, scopes: Vec<Scope>, data_dir: Option<PathBuf>, clock: Clock) -> Self {
        let (server, stop) = (Arc::new(server), CancellationToken::new());
        let changed = Arc::<Notify>::default();
        let goods = data_dir.as_deref().map(kept::read).unwrap_or_default();
        let scopes = scopes.into_iter().map(|scope| {
            let (sender, held) = watch::channel(Held::default());
            let shown = Shown { held: sender, changed: Arc::clone(&changed) };
            tokio::spawn(watcher::follow(Arc::clone(&server), scope.clone(), shown, stop.clone()));
            (scope, held)
        });
        let scopes = scopes.collect();
        let state = Mutex::new(State { goods, written: true, ..State::default() });
        Cluster { server, scopes, changed, clock, state, data_dir, stop }
    }

    /// Waits until every scope was listed, but not longer than this. Answers whether all were.
    pub async fn listed(&self, within: Duration) -> bool {
        let all = async {
            for (_, held) in &self.scopes {
                // The sender lives as long as the watcher, which ends with this.
                drop(held.clone().wait_for(|held| held.synced).await);
            }
        };
        let begun = Instant::now();
        let done = tokio::time::timeout(within, all).await.is_ok();
        if done {
            let objects: usize = self.scopes.iter().map(|(_, held)| held.borrow().objects.len()).sum();
            info!(objects, took_ms = begun.elapsed().as_millis(), "the cluster is listed");
        } else {
            let kept = self.state().goods.len();
            warn!(kept, "the cluster has not been listed yet: its rules of last time are used meanwhile");
        }
        done
    }

    /// Loads files, and what is held beside them. Takes as long as the rules are many.
    pub fn load(&self, paths: &[PathBuf], options: &Options) -> Loaded {
        let goods = self.state().goods.clone();
        let objects = self.objects(&goods);
        let settled = settle(paths, &objects, &goods, options);
        if !settled.loaded.is_fatal() {
            let mut state = self.state();
            said(&state.verdicts, &settled.verdicts);
            state.written &= state.goods == settled.goods;
            let judged = |object: &Arc<Object>| (Arc::clone(&object.key), (object.uid.clone(), object.digest.clone()));
            state.judged = objects.iter().map(judged).collect();
            (state.goods, state.verdicts) = (settled.goods, settled.verdicts);
        }
        settled.loaded
    }

    /// Asks for a reload after each change, and tells objects what became of them, until nobody reloads any more.
    pub async fn run(self: Arc<Self>, reload: AskReload) {
        let mut teller = Teller::new(Arc::clone(&self.server));
        // What changed while the first rules were read is looked at now.
        let mut wait = Some(Duration::ZERO);
        loop {
            match wait {
                Some(wait) => drop(tokio::time::timeout(wait, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
            self.gathered().await;
            let objects = self.objects(&self.state().goods.clone());
            if self.differs(&objects) {
                info!(objects = objects.len(), "rules of the cluster have changed: they are read again");
                let (answer, answered) = oneshot::channel();
                if reload.send(answer).await.is_err() {
                    return;
                }
                if answered.await != Ok(true) {
                    warn!("the rules are refused as a whole: files are wrong, and the last good ones stay in force");
                    wait = Some(REFUSED_WAIT);
                    continue;
                }
            }
            self.keep().await;
            let verdicts = self.verdicts_of(&objects);
            wait = teller.tell(&verdicts, &self.clock).await;
        }
    }

    /// Waits until it is quiet.
    async fn gathered(&self) {
        let begun = Instant::now();
        while begun.elapsed() < GATHER_MOST && tokio::time::timeout(QUIET, self.changed.notified()).await.is_ok() {}
    }

    /// Objects as they were judged, each with what came of it.
    fn verdicts_of(&self, objects: &[Arc<Object>]) -> Vec<(Arc<Object>, Verdict)> {
        let state = self.state();
        let judged = objects.iter().filter(|object| state.has_judged(object));
        judged.filter_map(|object| Some((Arc::clone(object), state.verdicts.get(&object.key)?.clone()))).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held; of a scope that was never listed, what was in force last.
    fn objects(&self, goods: &Goods) -> Vec<Arc<Object>> {
        let mut objects: BTreeMap<Arc<ObjectKey>, Arc<Object>> = BTreeMap::new();
        for (scope, held) in &self.scopes {
            let held = held.borrow();
            if held.synced {
                objects.extend(held.objects.iter().map(|object| (Arc::clone(&object.key), Arc::clone(object))));
                continue;
            }
            let own = goods.iter().filter(|(key, _)| {
                let there = scope.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace);
                key.kind == scope.kind.name() && there
            });
            objects.extend(own.map(|(key, good)| (Arc::clone(key), Arc::new(remembered(key, good)))));
        }
        objects.into_values().collect()
    }

    /// Whether other texts are held than those that were judged.
    fn differs(&self, objects: &[Arc<Object>]) -> bool {
        let state = self.state();
        objects.len() != state.judged.len() || !objects.iter().all(|object| state.has_judged(object))
    }

    /// Writes what is in force to the disk, where it is not there yet.
    async fn keep(&self) {
        let Some(dir) = self.data_dir.clone() else { return };
        let goods = {
            let mut state = self.state();
            if std::mem::replace(&mut state.written, true) {
                return;
            }
            state.goods.clone()
        };
        let kept = tokio::task::spawn_blocking(move || kept::write(&dir, &goods)).await;
        if let Ok(Err(error)) = kept {
            error!(%error, "the cluster's rules that are in force cannot be stored");
            self.state().written = false;
        }
    }
}

/// An object as it was when it was in force last; what is said of it there is not known.
fn remembered(key: &Arc<ObjectKey>, good: &Good) -> Object {
    Object {
        key: Arc::clone(key),
        uid: good.uid.clone(),
        version: String::new(),
        generation: good.generation,
        created: good.created.clone(),
        digest: object::digest(&good.texts),
        texts: good.texts.clone(),
        service: None,
        status: serde_json::Value::Null,
    }
}

/// Logs what became of objects, where it is news, and counts them.
fn said(before: &BTreeMap<Arc<ObjectKey>, Verdict>, after: &BTreeMap<Arc<ObjectKey>, Verdict>) {
    for (key, verdict) in after {
        let is_news =
            before.get(key).is_none_or(|before| (before.standing, &before.words) != (verdict.standing, &verdict.words));
        let was_refused = before.get(key).is_some_and(|before| before.standing != Standing::InForce);
        let reason = verdict.standing.reason();
        match verdict.standing {
            Standing::InForce if is_news && was_refused => info!(object = %key, reason, "{}", verdict.message()),
            Standing::InForce => {}
            _ if is_news => warn!(object = %key, reason, "{}", verdict.message()),
            _ => {}
        }
    }
    for kind in RuleKind::ALL {
        for standing in Standing::ALL {
            let is_one =
                |(key, verdict): &(&Arc<ObjectKey>, &Verdict)| key.kind == kind.name() && verdict.standing == standing;
            let count = after.iter().filter(is_one).count();
            metrics::gauge!(names::CLUSTER_OBJECTS, "kind" => kind.name(), "reason" => standing.reason())
                .set(count as f64);
        }
    }
}
