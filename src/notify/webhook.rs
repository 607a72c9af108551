//! Webhooks: one message per SLO and change, in the shape Alertmanager posts, signed when there is a secret.
//!
//! A message is due when an SLO has a newly firing alert, when one that was told has resolved, and every
//! `repeat_interval` while something fires. Its id is a hash of what it says, so it is the same on every attempt, after
//! a restart, and on a second replica: receivers that remember ids see each change once. (The body of a later attempt
//! may carry newer annotations.) After a restart it is not known what the receiver was told, so what is still firing
//! or just resolved is said again, under the same id.
//!
//! A refused message is not sent again; the next change or repetition is.

mod message;
mod signature;

use std::collections::BTreeMap;
use std::fmt;

use reqwest::Url;
use sha2::{Digest, Sha256};

use self::message::{Message, NotificationReason, group_key};
pub use self::signature::SigningKey;
use super::Settings;
use super::dispatcher::{Integration, NextSend};
use super::endpoint::{Reply, Request};
use super::event::Event;
use super::outbox::{Entry, Outbox, State};
use super::outcome::Outcome;
use super::wire::{self, Links};
use crate::engine::severity::Sev;
use crate::engine::{Labels, Seconds, Snapshot};

/// Alerts in one message; `truncatedAlerts` counts the rest.
const ALERTS_PER_MESSAGE_MAX: usize = 100;

/// One webhook receiver.
pub(super) struct Webhook {
    url: Url,
    receiver: String,
    key: Option<SigningKey>,
    min_severity: Option<Sev>,
    links: Links,
    repeat_ms: i64,
    resolved_for_s: Seconds,
    outbox: Outbox<()>,
    left_out: usize,
    /// By SLO id.
    groups: BTreeMap<String, Group>,
    fresh: bool,
    in_flight: Option<MessageInFlight>,
}

/// What is remembered of one SLO's messages.
#[derive(Debug, Default)]
struct Group {
    attempted_ms: i64,
    sent_ms: Option<i64>,
}

#[derive(Debug)]
struct MessageInFlight {
    slo_id: String,
    alerts: Vec<(Labels, State)>,
    news: bool,
}

impl Webhook {
    /// A receiver called `receiver` at `url`.
    pub(super) fn new(url: &Url, receiver: String, key: Option<SigningKey>, settings: &Settings) -> Self {
        Webhook {
            url: url.clone(),
            receiver,
            key,
            min_severity: None,
            links: Links::new(&settings.external_url),
            repeat_ms: (settings.repeat_interval.as_millis() as i64).max(1),
            resolved_for_s: settings.resolved_for.as_secs() as i64,
            outbox: Outbox::new(),
            left_out: 0,
            groups: BTreeMap::new(),
            fresh: true,
            in_flight: None,
        }
    }

    /// Leaves out alerts that are less bad than this. One whose severity changes is another alert, so the receiver hears
    /// of the end of what it was told.
    pub(super) fn at_least(mut self, min_severity: Option<Sev>) -> Self {
        self.min_severity = min_severity;
        self
    }

    /// Entries by SLO, in id order; without those the receiver need not hear of.
    fn by_slo(&self) -> BTreeMap<&str, Vec<&Entry<()>>> {
        let mut groups: BTreeMap<&str, Vec<&Entry<()>>> = BTreeMap::new();
        for entry in self.outbox.entries.values().filter(|entry| entry.state().firing() || sent_firing(entry)) {
            groups.entry(&entry.alert.slo_id).or_default().push(entry);
        }
        groups
    }

    /// Why a message is due about these entries; `Err` says when repeating them is.
    fn reason(&self, slo_id: &str, entries: &[&Entry<()>], now_ms: i64) -> Result<NotificationReason, Option<i64>> {
        let new = entries.iter().any(|entry| is_new(entry));
        let gone = entries.iter().any(|entry| !entry.state().firing());
        let firing = entries.iter().any(|entry| entry.state().firing());
        let told = entries.iter().any(|entry| sent_firing(entry));
        match (firing, new, gone) {
            (true, true, _) if !told => Ok(NotificationReason::First),
            (true, true, _) => Ok(NotificationReason::NewAlerts),
            (true, false, true) => Ok(NotificationReason::SomeResolved),
            (false, _, true) => Ok(NotificationReason::AllResolved),
            _ => {
                let sent_ms = self.groups.get(slo_id).and_then(|group| group.sent_ms);
                let repeat_ms = sent_ms.map(|sent_ms| sent_ms.saturating_add(self.repeat_ms));
                if repeat_ms.is_some_and(|at| at <= now_ms) { Ok(NotificationReason::Repeat) } else { Err(repeat_ms) }
            }
        }
    }

    fn post(&self, slo_id: &str, entries: &[&Entry<()>], reason: NotificationReason, now_ms: i64) -> Request {
        let alerts: Vec<_> = entries.iter().map(|entry| &entry.alert).collect();
        let message = Message::new(&self.receiver, slo_id, reason, &alerts, ALERTS_PER_MESSAGE_MAX, &self.links);
        let body = serde_json::to_vec(&message).expect("strings and string maps are always JSON");
        let id = self.id(slo_id, entries, now_ms);
        let timestamp = now_ms.div_euclid(1000).to_string();
        let signature = self.key.as_ref().map(|key| key.sign(&id, &timestamp, &body));
        let request =
            Request::post(self.url.clone(), body).header("webhook-id", &id).header("webhook-timestamp", &timestamp);
        match signature {
            Some(signature) => request.header("webhook-signature", &signature),
            None => request,
        }
    }

    /// The id of a message that says this. A repetition says the same, so how many repeat intervals the oldest firing
    /// alert has lasted is part of it.
    fn id(&self, slo_id: &str, entries: &[&Entry<()>], now_ms: i64) -> String {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        part(&self.receiver);
        part(&group_key(slo_id));
        for Entry { alert, .. } in entries {
            part(&wire::fingerprint(&alert.labels));
            part(&format!("{} {:?}", alert.starts_at, alert.resolved_at));
        }
        let firing = entries.iter().filter(|entry| entry.state().firing());
        if let Some(oldest) = firing.map(|entry| entry.alert.starts_at).min() {
            part(&(now_ms.saturating_sub(oldest.saturating_mul(1000)) / self.repeat_ms).to_string());
        }
        let digest = hash.finalize();
        digest[..16].iter().fold(String::from("msg_"), |id, byte| id + &format!("{byte:02x}"))
    }

    fn note_sent(&mut self, sent: &MessageInFlight, now_ms: i64) {
        for (labels, state) in &sent.alerts {
            if let Some(entry) = self.outbox.entries.get_mut(labels) {
                entry.sent = Some(*state);
            }
        }
        self.groups.entry(sent.slo_id.clone()).or_default().sent_ms = Some(now_ms);
        self.forget(now_ms);
    }

    /// Forgets what was resolved long ago, unless the receiver still believes it fires.
    fn forget(&mut self, now_ms: i64) {
        let before = now_ms.div_euclid(1000).saturating_sub(self.resolved_for_s);
        self.outbox
            .entries
            .retain(|_, entry| entry.alert.resolved_at.is_none_or(|at| at > before) || sent_firing(entry));
        let entries = &self.outbox.entries;
        self.groups.retain(|slo_id, _| entries.values().any(|entry| entry.alert.slo_id == *slo_id));
    }
}

/// The receiver believes that this alert fires.
fn sent_firing(entry: &Entry<()>) -> bool {
    entry.sent.is_some_and(State::firing)
}

/// It fires, and the receiver was not told of this firing of it.
fn is_new(entry: &Entry<()>) -> bool {
    let same = |sent: State| sent.firing() && sent.starts_at == entry.alert.starts_at;
    entry.state().firing() && !entry.sent.is_some_and(same)
}

impl Integration for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn absorb(&mut self, snapshot: &Snapshot, now_ms: i64) -> Vec<Event> {
        match self.min_severity {
            None => self.outbox.absorb(snapshot),
            // SEV-1 is the worst and the smallest.
            Some(min) => {
                let alerts = snapshot.alerts.iter().filter(|alert| alert.sev <= min).cloned().collect();
                self.outbox.absorb(&Snapshot { at: snapshot.at, alerts, slos: Vec::new() });
            }
        }
        if std::mem::take(&mut self.fresh) {
            // Whether these were told before the restart is not known; a page must not stay open for ever.
            for entry in self.outbox.entries.values_mut().filter(|entry| !entry.state().firing()) {
                entry.sent = Some(State { resolved_at: None, ..entry.state() });
            }
        }
        self.forget(now_ms);
        Event::left_out(&mut self.left_out, self.outbox.left_out)
    }

    fn next(&mut self, now_ms: i64) -> NextSend {
        let groups = self.by_slo();
        let mut wake_ms = None::<i64>;
        let mut due = Vec::new();
        for (slo_id, entries) in &groups {
            match self.reason(slo_id, entries, now_ms) {
                Ok(reason) => {
                    let attempted_ms = self.groups.get(*slo_id).map_or(0, |group| group.attempted_ms);
                    due.push((attempted_ms, *slo_id, reason));
                }
                Err(repeat_ms) => wake_ms = wake_ms.into_iter().chain(repeat_ms).min(),
            }
        }
        // A message that fails must not hold back the others.
        let Some((_, slo_id, reason)) = due.into_iter().min_by_key(|(attempted_ms, ..)| *attempted_ms) else {
            return NextSend::Idle(wake_ms);
        };
        let entries = &groups[slo_id];
        let request = self.post(slo_id, entries, reason, now_ms);
        let alerts = entries.iter().map(|entry| (entry.alert.labels.clone(), entry.state())).collect();
        let slo_id = slo_id.to_owned();
        self.groups.entry(slo_id.clone()).or_default().attempted_ms = now_ms;
        self.in_flight = Some(MessageInFlight { slo_id, alerts, news: reason != NotificationReason::Repeat });
        NextSend::Send(Box::new(request))
    }

    fn settle(&mut self, reply: Reply, now_ms: i64) -> Vec<Event> {
        let Some(sent) = self.in_flight.take() else { return Vec::new() };
        match reply.outcome {
            Outcome::Delivered => {
                self.note_sent(&sent, now_ms);
                vec![Event::Delivered { alerts: sent.alerts.len(), news: sent.news }]
            }
            Outcome::Retry { .. } => Vec::new(),
            Outcome::Rejected(reason) => {
                self.note_sent(&sent, now_ms);
                vec![Event::Rejected { reason, alerts: wire::listed(sent.alerts.iter().map(|(labels, _)| labels)) }]
            }
        }
    }

    fn waiting(&self, _now_ms: i64) -> usize {
        self.outbox
            .entries
            .values()
            .filter(|entry| is_new(entry) || (!entry.state().firing() && sent_firing(entry)))
            .count()
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
