//! What an operator is told of notifications: each event is one log line and one count.

use std::time::Duration;

use metrics::{counter, gauge};
use tracing::{debug, error, info, warn};

use super::outcome::Reason;
use crate::telemetry::names::{NOTIFICATION_QUEUE_LENGTH, NOTIFICATIONS_TOTAL};

/// Something that happened to notifications on their way to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A message was accepted; `news` when it said something the destination did not know.
    Delivered { alerts: usize, news: bool },
    /// A message was not accepted and will be sent again.
    Retried { reason: Reason, wait: Duration },
    /// A message was refused; sending it again at once would change nothing.
    Rejected { reason: Reason, alerts: String },
    /// Alerts the destination does not have although nobody refused them.
    Dropped { why: &'static str, alerts: String },
}

impl Event {
    /// Reports once that alerts had to be left out, and again when more are.
    pub(super) fn left_out(reported: &mut usize, left_out: usize) -> Vec<Event> {
        let more = left_out > *reported;
        *reported = left_out;
        let event = || Event::Dropped { why: "too many alerts at once", alerts: left_out.to_string() };
        more.then(event).into_iter().collect()
    }

    /// Logs and counts, for the integration at `to`.
    pub(super) fn record(&self, integration: &'static str, to: &str) {
        let outcome = match self {
            Event::Delivered { alerts, news: true } => {
                info!(integration, to, alerts, "notification delivered");
                "delivered"
            }
            Event::Delivered { alerts, news: false } => {
                debug!(integration, to, alerts, "notification repeated");
                "delivered"
            }
            Event::Retried { reason, wait } => {
                warn!(integration, to, %reason, wait_ms = wait.as_millis(), "notification not delivered, trying again");
                "retried"
            }
            Event::Rejected { reason, alerts } => {
                error!(integration, to, %reason, %alerts, "notification rejected");
                "rejected"
            }
            Event::Dropped { why, alerts } => {
                error!(integration, to, why, %alerts, "notification dropped");
                "dropped"
            }
        };
        counter!(NOTIFICATIONS_TOTAL, "integration" => integration, "outcome" => outcome).increment(1);
    }
}

/// One destination's part of the queue length of its integration.
#[derive(Debug)]
pub(super) struct QueueLength {
    integration: &'static str,
    length: usize,
}

impl QueueLength {
    pub(super) fn new(integration: &'static str) -> Self {
        gauge!(NOTIFICATION_QUEUE_LENGTH, "integration" => integration).increment(0.0);
        QueueLength { integration, length: 0 }
    }

    pub(super) fn set(&mut self, length: usize) {
        let change = length as f64 - self.length as f64;
        if change != 0.0 {
            gauge!(NOTIFICATION_QUEUE_LENGTH, "integration" => self.integration).increment(change);
        }
        self.length = length;
    }
}

impl Drop for QueueLength {
    fn drop(&mut self) {
        self.set(0);
    }
}
