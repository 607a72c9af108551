//! Carries one integration's messages to one endpoint: sends, waits, sends again, and stops in good order.
//!
//! The integration is a pure state machine that says what to send next and takes in the verdict; waiting is done only
//! here. A dispatcher never holds up the poll loop (it reads the newest snapshot from a watch channel) nor another
//! dispatcher (each destination has its own).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::endpoint::{Endpoint, Reply, Request};
use super::event::{Event, QueueLength};
use super::outcome::Outcome;
use super::schedule::{Chance, Schedule};
use crate::clock::Clock;
use crate::engine::Snapshot;

/// What an integration wants.
#[derive(Debug)]
pub(super) enum NextSend {
    /// To send this now.
    Send(Box<Request>),
    /// Nothing before this time (milliseconds); `None`: nothing until the next snapshot.
    Idle(Option<i64>),
}

/// One way of telling somebody: it knows what was told, what is news and how to say it, not when to try again.
pub(super) trait Integration: Send {
    /// The `integration` label.
    fn name(&self) -> &'static str;
    /// Takes in a newer evaluation.
    fn absorb(&mut self, snapshot: &Snapshot, now_ms: i64) -> Vec<Event>;
    /// What to do now.
    fn next(&mut self, now_ms: i64) -> NextSend;
    /// Takes in the verdict on the request that [`Integration::next`] gave last. A `Retry` needs no event: the dispatcher
    /// reports it together with its wait.
    fn settle(&mut self, reply: Reply, now_ms: i64) -> Vec<Event>;
    /// Alerts whose newest state has not been told yet, and may still be.
    fn waiting(&self, now_ms: i64) -> usize;
}

/// The loop around one integration.
pub(super) struct Dispatcher {
    pub(super) integration: Box<dyn Integration>,
    pub(super) endpoint: Endpoint,
    pub(super) schedule: Schedule,
    pub(super) timeout: Duration,
    pub(super) grace: Duration,
    pub(super) clock: Clock,
    pub(super) chance: Chance,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) stop: CancellationToken,
}

impl Dispatcher {
    /// Delivers until stopped, and then what is still waiting, as far as the grace period (wall time) reaches.
    pub(super) async fn run(mut self) {
        let (stop, grace) = (self.stop.clone(), self.grace);
        tokio::select! {
            () = self.deliver() => {}
            () = async { stop.cancelled().await; tokio::time::sleep(grace).await } => {}
        }
        let waiting = self.integration.waiting(self.clock.now_ms());
        if waiting > 0 {
            self.record(&[Event::Dropped { why: "stopped before they were delivered", alerts: waiting.to_string() }]);
        }
    }

    async fn deliver(&mut self) {
        let mut queue = QueueLength::new(self.integration.name());
        let (mut failures, mut not_before_ms) = (0, i64::MIN);
        let mut published = true;
        loop {
            if self.snapshots.has_changed().unwrap_or(false) {
                self.absorb();
            }
            let now_ms = self.clock.now_ms();
            let waiting = self.integration.waiting(now_ms);
            queue.set(waiting);
            if waiting == 0 && (self.stop.is_cancelled() || !published) {
                return;
            }
            let wake_ms = if now_ms < not_before_ms {
                Some(not_before_ms)
            } else {
                match self.integration.next(now_ms) {
                    NextSend::Idle(until_ms) => until_ms,
                    NextSend::Send(request) => {
                        let wait = self.send(request, &mut failures).await;
                        not_before_ms = self.clock.now_ms().saturating_add(wait.as_millis() as i64);
                        continue;
                    }
                }
            };
            tokio::select! {
                changed = self.snapshots.changed(), if published => match changed {
                    Ok(()) => self.absorb(),
                    Err(_) => published = false,
                },
                () = until(&self.clock, wake_ms) => {}
                () = self.stop.cancelled(), if !self.stop.is_cancelled() => {}
            }
        }
    }

    /// One attempt; answers how long to leave the endpoint alone.
    async fn send(&mut self, request: Box<Request>, failures: &mut usize) -> Duration {
        let reply = self.endpoint.exchange(&request, self.timeout, self.clock.now_ms()).await;
        debug!(integration = self.integration.name(), to = self.endpoint.shown(), outcome = ?reply.outcome, "answered");
        let mut events = Vec::new();
        let mut wait = Duration::ZERO;
        if let Outcome::Retry { reason, after } = &reply.outcome {
            *failures += 1;
            wait = self.schedule.wait(*failures, *after, self.chance.next());
            events.push(Event::Retried { reason: reason.clone(), wait });
        } else {
            *failures = 0;
        }
        events.extend(self.integration.settle(reply, self.clock.now_ms()));
        self.record(&events);
        wait
    }

    fn absorb(&mut self) {
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        let events = self.integration.absorb(&snapshot, self.clock.now_ms());
        self.record(&events);
    }

    fn record(&self, events: &[Event]) {
        for event in events {
            event.record(self.integration.name(), &self.endpoint.shown());
        }
    }
}

/// Sleeps until `at_ms`; without a time, for ever.
async fn until(clock: &Clock, at_ms: Option<i64>) {
    match at_ms {
        Some(at_ms) => clock.sleep_until(at_ms).await,
        None => std::future::pending().await,
    }
}
