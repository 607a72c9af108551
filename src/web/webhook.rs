//! `POST /v1/webhooks/alertmanager`: alerts of other teams, in the words of Alertmanager's webhook, version 4.
//!
//! Unknown keys are left alone, for newer versions add some. Alerts of a Slowburn (label `slo_id`) are left out: they are in
//! its incidents already, and their way here is often a loop.
//!
//! Source: `notify/webhook/webhook.go` and `template/template.go` of Alertmanager.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Site;
use super::auth::Caller;
use super::gate::{Gate, read};
use super::json::Json;
use crate::gate_service::{Blocked, Receipt, Reported};
use crate::incident::text::plain;

/// Longest name of an alert and longest summary, characters.
const TEXT_CHARS_MAX: usize = 200;

/// The body.
#[derive(Debug, Deserialize)]
struct Notification {
    version: String,
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: Status,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    /// Of one that fires it says nothing: often it is the zero time.
    #[serde(default)]
    ends_at: Option<Timestamp>,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// The label that names the service.
    #[serde(default = "service")]
    service_label: String,
}

fn service() -> String {
    "service".to_owned()
}

/// The answer.
#[derive(Debug, Serialize)]
struct Taken {
    #[serde(flatten)]
    receipt: Receipt,
    /// Alerts of a Slowburn.
    own: usize,
}

/// `POST /v1/webhooks/alertmanager[?service_label=app]`.
pub(super) async fn alertmanager(
    State(site): State<Site>,
    Caller(principal): Caller,
    Gate(gate_service): Gate,
    query: Result<Query<Where>, QueryRejection>,
    body: Bytes,
) -> Result<Response, Blocked> {
    let Query(Where { service_label }) = query.map_err(|rejection| Blocked::Malformed(rejection.body_text()))?;
    let Notification { version, alerts } = read(&body)?;
    if version != "4" {
        return Err(Blocked::Malformed(format!(
            "version {version:?} of Alertmanager's webhook is not known, \"4\" is"
        )));
    }
    let told = alerts.len();
    let now = site.app.clock.now();
    let others = alerts.into_iter().filter(|alert| !alert.labels.contains_key("slo_id"));
    let others: Vec<Reported> = others.map(|alert| alert.reported(&service_label, now)).collect();
    let own = told - others.len();
    let receipt = gate_service.report_alerts(&principal, others).await?;
    Ok(Json(&Taken { receipt, own }).into_response())
}

/// A text of somebody else as it goes on: it calls nobody, hides nothing, and is not long.
fn short(text: &str) -> String {
    plain(text).chars().take(TEXT_CHARS_MAX).collect()
}

impl Alert {
    fn reported(self, service_label: &str, now: i64) -> Reported {
        let fingerprint = match self.fingerprint.is_empty() {
            true => self.labels.iter().map(|(name, value)| format!("{name:?}={value:?},")).collect(),
            false => self.fingerprint,
        };
        let ended = || self.ends_at.map(Timestamp::as_second).filter(|at| (1..=now).contains(at)).unwrap_or(now);
        let said = ["summary", "description", "message"].into_iter().find_map(|name| self.annotations.get(name));
        Reported {
            fingerprint,
            name: self.labels.get("alertname").map_or("without a name".to_owned(), |name| short(name)),
            service: self.labels.get(service_label).cloned(),
            summary: said.map(|said| short(said)),
            // As it was said: with a clock that is ahead it still names the same beginning.
            starts_at: self.starts_at.as_second(),
            ends_at: (self.status == Status::Resolved).then(ended),
        }
    }
}

#[cfg(test)]
mod tests;
