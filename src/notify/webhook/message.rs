//! The body of a webhook, version 4: what Alertmanager itself posts (upstream `template/template.go`,
//! `notify/webhook/webhook.go`), so that receivers written for it need not tell the two apart.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::Labels;
use crate::engine::alert::Alert;
use crate::notify::wire::{self, Links};

/// Why a message is sent. The words are Alertmanager's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum NotificationReason {
    #[serde(rename = "first notification")]
    First,
    #[serde(rename = "new alerts added")]
    NewAlerts,
    #[serde(rename = "some alerts resolved")]
    SomeResolved,
    #[serde(rename = "all alerts resolved")]
    AllResolved,
    #[serde(rename = "repeat interval elapsed")]
    Repeat,
}

/// `endsAt` of a firing alert: Go's zero time, as Alertmanager writes it (prometheus/alertmanager#3341).
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
    status: &'static str,
    receiver: &'a str,
    group_labels: BTreeMap<&'static str, &'a str>,
    common_labels: BTreeMap<&'a str, &'a str>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: String,
    #[serde(rename = "notification_reason")]
    notification_reason: NotificationReason,
    route_labels: BTreeMap<&'static str, &'static str>,
    alerts: Vec<MessageAlert<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageAlert<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

/// The group of an SLO, in the form of Alertmanager's group keys.
pub(super) fn group_key(slo_id: &str) -> String {
    format!("{{}}:{{slo_id={slo_id:?}}}")
}

impl<'a> Message<'a> {
    /// A message about the first `alerts_max` of `alerts`, all of one SLO.
    pub(super) fn new(
        receiver: &'a str,
        slo_id: &'a str,
        reason: NotificationReason,
        alerts: &[&'a Alert],
        alerts_max: usize,
        links: &Links,
    ) -> Self {
        let firing = alerts.iter().any(|alert| alert.resolved_at.is_none());
        Message {
            version: "4",
            group_key: group_key(slo_id),
            truncated_alerts: alerts.len().saturating_sub(alerts_max),
            status: status(firing),
            receiver,
            group_labels: BTreeMap::from([("slo_id", slo_id)]),
            common_labels: common(alerts.iter().map(|alert| alert.labels.iter().collect())),
            common_annotations: common(alerts.iter().map(|alert| wire::annotations(alert, links))),
            external_url: links.page(),
            notification_reason: reason,
            route_labels: BTreeMap::new(),
            alerts: alerts.iter().take(alerts_max).map(|alert| MessageAlert::new(alert, links)).collect(),
        }
    }
}

impl<'a> MessageAlert<'a> {
    fn new(alert: &'a Alert, links: &Links) -> Self {
        let time = |seconds: i64| wire::rfc3339(seconds.saturating_mul(1000));
        MessageAlert {
            status: status(alert.resolved_at.is_none()),
            labels: &alert.labels,
            annotations: wire::annotations(alert, links),
            starts_at: time(alert.starts_at),
            ends_at: alert.resolved_at.map_or_else(|| NEVER.to_owned(), time),
            generator_url: links.slo(&alert.slo_id),
            fingerprint: wire::fingerprint(&alert.labels),
        }
    }
}

fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}

/// The pairs that all sets have.
fn common<T: Ord>(sets: impl Iterator<Item = BTreeMap<T, T>>) -> BTreeMap<T, T> {
    sets.reduce(|mut shared, set| {
        shared.retain(|name, value| set.get(name) == Some(value));
        shared
    })
    .unwrap_or_default()
}
