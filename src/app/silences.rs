//! Silences of the Alertmanagers that alerts go to, looked at every half minute and handed to the gate, which shows them beside
//! its answers.
//!
//! Deliberately absent: any effect on alerts and decisions. A silence loosens nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock::Clock;
use crate::engine::{Labels, Snapshot};
use crate::gate_service::{GateService, Silenced};
use crate::notify::{Endpoint, Silence};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// Looks until `stop`. While no peer answers, what was known holds until it ends by itself.
pub(super) async fn follow(
    peers: Vec<Endpoint>,
    gate_service: GateService,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    timeout: Duration,
    clock: Clock,
    stop: CancellationToken,
) {
    loop {
        let mut known = false;
        let mut all: BTreeMap<String, Silence> = BTreeMap::new();
        for peer in &peers {
            match peer.silences(timeout, clock.now_ms()).await {
                Some(silences) => {
                    known = true;
                    all.extend(silences.into_iter().map(|silence| (silence.id.clone(), silence)));
                }
                None => debug!(alertmanager = peer.shown(), "its silences are not known"),
            }
        }
        if known {
            let (snapshot, services) = (Arc::clone(&snapshots.borrow()), gate_service.services());
            // Many silences times many services take a while.
            let matching = tokio::task::spawn_blocking(move || silenced(all.into_values(), &services, &snapshot));
            if let Ok(silenced) = matching.await {
                gate_service.take_silences(silenced).await;
            }
        }
        let next_ms = clock.now_ms() + EVERY.as_millis() as i64;
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep_until(next_ms) => {}
        }
    }
}

/// Which services they are about: those that they name, and those of whose alerts they keep one quiet that fires now.
fn silenced(all: impl Iterator<Item = Silence>, services: &BTreeSet<String>, snapshot: &Snapshot) -> Vec<Silenced> {
    let of = |labels: &Labels| labels.get("service").map(str::to_owned);
    let firing: Vec<(String, &Labels)> = snapshot
        .alerts
        .iter()
        .filter(|alert| alert.resolved_at.is_none())
        .filter_map(|alert| Some((of(&alert.labels)?, &alert.labels)))
        .collect();
    all.map(|silence| {
        let named = services.iter().filter(|service| silence.names(service)).cloned();
        let quiet = firing.iter().filter(|(_, labels)| silence.quiets(labels)).map(|(service, _)| service.clone());
        let services = named.chain(quiet).collect();
        let Silence { id, by, comment, starts_at, ends_at, .. } = silence;
        Silenced { id, by, comment, starts_at, ends_at, services }
    })
    .filter(|silenced| !silenced.services.is_empty())
    .collect()
}
