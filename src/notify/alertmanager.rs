//! Alertmanager's API v2, one peer: `POST /api/v2/alerts` (upstream `api/v2/api.go`, `provider/mem/mem.go`).
//!
//! Firing alerts are sent again every `resend` with `endsAt` four of them ahead, so a peer that restarts has them back
//! soon and a daemon that dies lets them end. Resolved ones are sent until they are 15 minutes old. Every peer gets
//! everything: the peers deduplicate among themselves.
//!
//! A 400 means that some alert of the batch was invalid while the valid ones were stored: the batch is halved until the
//! bad one stands alone, which is then left out for an hour or until its state changes. Before 0.27 every label whose name
//! is no plain word is invalid: a peer that refuses such an alert gets its names with `_` from then on. A 200 does not mean that an
//! alert was stored (`--alerts.per-alertname-limit` drops in silence), so newly firing ones are read back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::dispatcher::{Integration, NextSend};
use super::endpoint::{Reply, Request};
use super::event::Event;
use super::outbox::{Entry, Outbox, State};
use super::outcome::Outcome;
use super::wire::{self, Links};
use crate::engine::{Labels, Seconds, Snapshot};

/// Alerts in one request.
const BATCH_MAX: usize = 64;
/// How long a refused alert is left out while its state stays the same.
const REFUSED_MS: i64 = 3_600_000;
/// `endsAt` of a firing alert is this many resends ahead (prometheus/prometheus rules/manager.go).
const RESENDS_AHEAD: i64 = 4;

/// What is noted of an alert at this peer.
#[derive(Debug, Default)]
struct PeerNote {
    /// When it was sent last, whatever came of it.
    attempted_ms: i64,
    /// A state the peer refused, and until when not to send that again.
    refused: Option<(State, i64)>,
    /// Delivered as firing, and to be looked for.
    unread: bool,
    /// Looked for and not found.
    missing: bool,
}

/// One Alertmanager peer.
#[derive(Debug)]
pub(super) struct Alertmanager {
    url: Url,
    links: Links,
    resend_ms: i64,
    resolved_for_s: Seconds,
    outbox: Outbox<PeerNote>,
    left_out: usize,
    /// Parts of a batch in which a bad alert is being looked for.
    suspects: Vec<Vec<Labels>>,
    in_flight: InFlight,
    /// It takes names of labels that are plain words, and no others.
    plain_names: bool,
}

#[derive(Debug)]
enum InFlight {
    Nothing,
    Alerts(Vec<(Labels, State)>),
    ReadBack(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert<'a> {
    labels: Cow<'a, Labels>,
    annotations: BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

#[derive(Deserialize)]
struct GettableAlert {
    labels: Labels,
}

impl Alertmanager {
    /// A peer whose API is below `base` (its path prefix is kept).
    pub(super) fn new(base: &Url, settings: &Settings) -> Self {
        Alertmanager {
            url: wire::below(base, "api/v2/alerts"),
            links: Links::new(&settings.external_url),
            resend_ms: (settings.resend.as_millis() as i64).max(1),
            resolved_for_s: settings.resolved_for.as_secs() as i64,
            outbox: Outbox::new(),
            left_out: 0,
            suspects: Vec::new(),
            in_flight: InFlight::Nothing,
            plain_names: false,
        }
    }

    /// The labels of an alert as this peer takes them.
    fn spelled<'a>(&self, labels: &'a Labels) -> Cow<'a, Labels> {
        if self.plain_names { plainly_named(labels) } else { Cow::Borrowed(labels) }
    }

    fn due_ms(&self, entry: &Entry<PeerNote>) -> i64 {
        match entry.note.refused {
            Some((state, until_ms)) if state == entry.state() => until_ms,
            _ if entry.sent == Some(entry.state()) => entry.note.attempted_ms.saturating_add(self.resend_ms),
            _ => i64::MIN,
        }
    }

    /// The next alerts to send: a part under suspicion, else what is due, longest unattempted first.
    fn batch(&mut self, now_ms: i64) -> Vec<Labels> {
        while let Some(part) = self.suspects.pop() {
            let part: Vec<Labels> = part.into_iter().filter(|l| self.outbox.entries.contains_key(l)).collect();
            if !part.is_empty() {
                return part;
            }
        }
        let mut due: Vec<_> = self
            .outbox
            .entries
            .iter()
            .filter(|(_, entry)| self.due_ms(entry) <= now_ms)
            .map(|(labels, entry)| (entry.note.attempted_ms, entry.alert.sev, labels))
            .collect();
        due.sort_unstable();
        due.into_iter().take(BATCH_MAX).map(|(.., labels)| labels.clone()).collect()
    }

    fn post(&mut self, batch: &[Labels], now_ms: i64) -> Request {
        let entries = batch.iter().filter_map(|labels| self.outbox.entries.get(labels));
        let ahead_ms = now_ms.saturating_add(RESENDS_AHEAD * self.resend_ms);
        let alerts: Vec<PostableAlert<'_>> = entries
            .map(|Entry { alert, .. }| {
                let starts_ms = alert.starts_at.saturating_mul(1000);
                let ends_ms = alert.resolved_at.map_or(ahead_ms, |at| at.saturating_mul(1000));
                PostableAlert {
                    labels: self.spelled(&alert.labels),
                    annotations: wire::annotations(alert, &self.links),
                    starts_at: wire::rfc3339(starts_ms),
                    // `endsAt` before `startsAt` is invalid; a clock that was set back must not cost a page.
                    ends_at: wire::rfc3339(ends_ms.max(starts_ms)),
                    generator_url: self.links.slo(&alert.slo_id),
                }
            })
            .collect();
        let body = serde_json::to_vec(&alerts).expect("strings and string maps are always JSON");
        let states = batch.iter().filter_map(|labels| Some((labels.clone(), self.outbox.entries.get(labels)?.state())));
        self.in_flight = InFlight::Alerts(states.collect());
        Request::post(self.url.clone(), body)
    }

    fn read_back(&mut self, slo_id: String) -> Request {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("filter", &format!("slo_id={slo_id:?}"));
        self.in_flight = InFlight::ReadBack(slo_id);
        Request::get(url)
    }

    fn accepted(&mut self, alerts: Vec<(Labels, State)>, now_ms: i64) -> Event {
        let (count, mut news) = (alerts.len(), false);
        for (labels, state) in alerts {
            let Some(entry) = self.outbox.entries.get_mut(&labels) else { continue };
            let begins =
                state.firing() && entry.sent.is_none_or(|sent| !sent.firing() || sent.starts_at != state.starts_at);
            news |= entry.sent != Some(state);
            entry.sent = Some(state);
            entry.note.attempted_ms = now_ms;
            entry.note.refused = None;
            entry.note.unread = state.firing() && (begins || entry.note.missing);
            entry.note.missing &= !begins && state.firing();
        }
        Event::Delivered { alerts: count, news }
    }

    fn refused(&mut self, alerts: &[(Labels, State)], until_ms: i64) {
        for (labels, state) in alerts {
            if let Some(entry) = self.outbox.entries.get_mut(labels) {
                entry.note.refused = Some((*state, until_ms));
            }
        }
    }

    /// Takes in what the peer has of one SLO. Without a readable answer nothing is concluded and nothing asked again.
    fn compare(&mut self, slo_id: &str, found: Option<Vec<GettableAlert>>) -> Vec<Event> {
        let mut events = Vec::new();
        let plain_names = self.plain_names;
        let spelled = |labels| if plain_names { plainly_named(labels) } else { Cow::Borrowed(labels) };
        let unread = self.outbox.entries.values_mut().filter(|e| e.note.unread && e.alert.slo_id == slo_id);
        for entry in unread {
            entry.note.unread = false;
            let Some(found) = &found else { continue };
            let own = spelled(&entry.alert.labels);
            let here = found.iter().any(|alert| alert.labels == *own);
            if !here && !entry.note.missing {
                let alerts = entry.alert.labels.to_string();
                events.push(Event::Dropped { why: "accepted, but the peer does not have it", alerts });
            }
            entry.note.missing = !here;
        }
        events
    }
}

/// Labels under names that every Alertmanager takes: what is no letter, digit or `_` is a `_`, as in `/metrics`. A name that
/// is there already gets one more.
fn plainly_named(labels: &Labels) -> Cow<'_, Labels> {
    let plain = |name: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    if labels.iter().all(|(name, _)| plain(name)) {
        return Cow::Borrowed(labels);
    }
    let mut named: BTreeMap<String, &str> =
        labels.iter().filter(|(name, _)| plain(name)).map(|(name, value)| (name.to_owned(), value)).collect();
    for (name, value) in labels.iter().filter(|(name, _)| !plain(name)) {
        let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut own: String = name.chars().map(word).collect();
        if own.starts_with(|c: char| c.is_ascii_digit()) {
            own.insert(0, '_');
        }
        while named.contains_key(&own) {
            own.push('_');
        }
        named.insert(own, value);
    }
    Cow::Owned(named.iter().map(|(name, value)| (name.as_str(), *value)).collect())
}

impl Integration for Alertmanager {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn absorb(&mut self, snapshot: &Snapshot, now_ms: i64) -> Vec<Event> {
        self.outbox.absorb(snapshot);
        let forget_before = now_ms.div_euclid(1000).saturating_sub(self.resolved_for_s);
        self.outbox.entries.retain(|_, entry| entry.alert.resolved_at.is_none_or(|at| at > forget_before));
        Event::left_out(&mut self.left_out, self.outbox.left_out)
    }

    fn next(&mut self, now_ms: i64) -> NextSend {
        let batch = self.batch(now_ms);
        if !batch.is_empty() {
            return NextSend::Send(Box::new(self.post(&batch, now_ms)));
        }
        if let Some(entry) = self.outbox.entries.values().find(|entry| entry.note.unread) {
            let slo_id = entry.alert.slo_id.clone();
            return NextSend::Send(Box::new(self.read_back(slo_id)));
        }
        NextSend::Idle(self.outbox.entries.values().map(|entry| self.due_ms(entry)).min())
    }

    fn settle(&mut self, reply: Reply, now_ms: i64) -> Vec<Event> {
        match (std::mem::replace(&mut self.in_flight, InFlight::Nothing), reply.outcome) {
            (InFlight::Nothing, _) => Vec::new(),
            (InFlight::ReadBack(slo_id), outcome) => {
                let body = reply.body.filter(|_| outcome == Outcome::Delivered);
                let found = body.and_then(|body| serde_json::from_slice(&body).ok());
                self.compare(&slo_id, found)
            }
            (InFlight::Alerts(alerts), Outcome::Delivered) => vec![self.accepted(alerts, now_ms)],
            (InFlight::Alerts(alerts), Outcome::Retry { .. }) => {
                for (labels, _) in alerts {
                    if let Some(entry) = self.outbox.entries.get_mut(&labels) {
                        entry.note.attempted_ms = now_ms;
                    }
                }
                Vec::new()
            }
            (InFlight::Alerts(alerts), Outcome::Rejected(reason)) => {
                // 413: too large together; 400: some alert in it is invalid.
                let by_content = matches!(reason.status(), Some(400 | 413));
                if by_content && alerts.len() > 1 {
                    let labels: Vec<Labels> = alerts.into_iter().map(|(labels, _)| labels).collect();
                    let (left, right) = labels.split_at(labels.len() / 2);
                    self.suspects.extend([right.to_vec(), left.to_vec()]);
                    return Vec::new();
                }
                let named = |(labels, _): &(Labels, State)| matches!(plainly_named(labels), Cow::Owned(_));
                if by_content && !self.plain_names && alerts.iter().any(named) {
                    // Sent again at once, as it may like it better.
                    self.plain_names = true;
                    return Vec::new();
                }
                self.refused(&alerts, now_ms.saturating_add(if by_content { REFUSED_MS } else { self.resend_ms }));
                vec![Event::Rejected { reason, alerts: wire::listed(alerts.iter().map(|(labels, _)| labels)) }]
            }
        }
    }

    fn waiting(&self, now_ms: i64) -> usize {
        let entries = self.outbox.entries.values();
        entries.filter(|entry| entry.sent != Some(entry.state()) && self.due_ms(entry) <= now_ms).count()
    }
}

#[cfg(test)]
mod tests;
