//! Alerts out: to every Alertmanager peer, and to webhooks.
//!
//! The daemon publishes each evaluation; every destination has a dispatcher of its own that tells it what changed, tries
//! again while it cannot be reached, and keeps telling Alertmanager what still fires. Alerts are states, not events:
//! a destination that was away gets the newest state of each alert, not a backlog.
//!
//! ```text
//! publish ─► watch ─► dispatcher ─► integration (pure: what is news, how to say it)
//!                        └─────► endpoint    (one request, one verdict)
//! ```
//!
//! Deliberately absent: routing, silences and grouping across SLOs, which are Alertmanager's (its silences are read, for people to see), and any record of what
//! was sent: after a restart everything that fires is said again, and receivers recognise it (labels, webhook ids).

mod alertmanager;
mod dispatcher;
mod endpoint;
mod event;
mod outbox;
mod outcome;
mod schedule;
mod silences;
mod webhook;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::alertmanager::Alertmanager;
use self::dispatcher::{Dispatcher, Integration};
pub use self::endpoint::Endpoint;
use self::schedule::Chance;
pub use self::schedule::Schedule;
pub use self::silences::Silence;
pub use self::webhook::SigningKey;
use self::webhook::Webhook;
use crate::clock::Clock;
use crate::engine::Snapshot;
use crate::engine::severity::Sev;

/// How notifications are sent. All spans but `timeout` and `grace` are in the time of the clock.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people find Slowburn's page; links in alerts begin with it.
    pub external_url: Url,
    /// How often Alertmanager hears of an alert again; firing ones end four of these later if nothing follows.
    pub resend: Duration,
    /// How long Alertmanager hears of a resolved alert.
    pub resolved_for: Duration,
    /// How often a webhook hears of an alert that still fires.
    pub repeat_interval: Duration,
    /// Time limit of one request, on the wall.
    pub timeout: Duration,
    /// How long after the stop undelivered alerts are still tried, on the wall.
    pub grace: Duration,
    /// Waits between attempts.
    pub retry: Schedule,
    /// Seed of the ±20 % spread of these waits.
    pub seed: u64,
}

impl Settings {
    /// The defaults: resend 60 s, resolved 15 min, repeat 4 h, timeout 10 s, grace 5 s.
    pub fn new(external_url: Url) -> Self {
        Settings {
            external_url,
            resend: Duration::from_secs(60),
            resolved_for: Duration::from_secs(15 * 60),
            repeat_interval: Duration::from_secs(4 * 3600),
            timeout: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            retry: Schedule::default(),
            seed: 0,
        }
    }
}

/// Somebody to tell.
#[derive(Debug)]
pub enum Destination {
    /// One Alertmanager peer; its URL is the one its own page has. List every peer of a cluster.
    Alertmanager(Endpoint),
    /// A receiver of webhooks.
    Webhook {
        /// Where to post.
        endpoint: Endpoint,
        /// The `receiver` its messages name.
        receiver: String,
        /// Key of the `webhook-signature` header; without it messages are not signed.
        key: Option<SigningKey>,
        /// It hears of alerts at least this bad; without it of all.
        min_severity: Option<Sev>,
    },
}

impl Destination {
    /// The Alertmanager that it is.
    pub fn alertmanager(&self) -> Option<&Endpoint> {
        match self {
            Destination::Alertmanager(endpoint) => Some(endpoint),
            Destination::Webhook { .. } => None,
        }
    }
}

/// The running dispatchers.
#[derive(Debug)]
pub struct Notifier {
    snapshots: watch::Sender<Arc<Snapshot>>,
    dispatchers: TaskTracker,
}

impl Notifier {
    /// Starts a dispatcher per destination on the current runtime. Cancelling `stop` lets each deliver what it still has,
    /// for at most the grace period; [`Notifier::drained`] waits for that.
    pub fn start(settings: &Settings, destinations: Vec<Destination>, clock: &Clock, stop: &CancellationToken) -> Self {
        let (snapshots, published) = watch::channel(Arc::default());
        let dispatchers = TaskTracker::new();
        for (place, destination) in destinations.into_iter().enumerate() {
            let (integration, endpoint): (Box<dyn Integration>, Endpoint) = match destination {
                Destination::Alertmanager(endpoint) => (Box::new(Alertmanager::new(&endpoint.url, settings)), endpoint),
                Destination::Webhook { endpoint, receiver, key, min_severity } => {
                    let webhook = Webhook::new(&endpoint.url, receiver, key, settings).at_least(min_severity);
                    (Box::new(webhook), endpoint)
                }
            };
            let dispatcher = Dispatcher {
                integration,
                endpoint,
                schedule: settings.retry.clone(),
                timeout: settings.timeout,
                grace: settings.grace,
                clock: clock.clone(),
                chance: Chance::new(settings.seed.wrapping_add(place as u64)),
                snapshots: published.clone(),
                stop: stop.clone(),
            };
            dispatchers.spawn(dispatcher.run());
        }
        dispatchers.close();
        Notifier { snapshots, dispatchers }
    }

    /// Hands the alerts of an evaluation to every dispatcher. Never waits: a dispatcher that is busy finds the newest
    /// snapshot when it is done. A snapshot must hold every alert that fires, for one that is missing counts as
    /// resolved; the empty one from before the first evaluation (`at` = 0) is passed over.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        if snapshot.at > 0 {
            self.snapshots.send_replace(snapshot);
        }
    }

    /// Waits until every dispatcher has ended, which they do after their `stop` was cancelled.
    pub async fn drained(self) {
        self.dispatchers.wait().await;
    }
}
