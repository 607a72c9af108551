//! Silences that hold at an Alertmanager: who keeps which alerts quiet there, until when and why, for people to see beside a
//! decision.
//!
//! Deliberately absent: any effect. An alert that is silenced there is sent there all the same, and burns as it did.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::endpoint::{Endpoint, Request};
use super::outcome::Outcome;
use super::wire;
use crate::engine::matcher::Matcher;
use crate::engine::text::plain;
use crate::engine::{Labels, Seconds};

/// Silences of one peer that are looked at.
const SILENCES_MAX: usize = 1_000;
/// Matchers of one silence; Alertmanager has no limit of its own.
const MATCHERS_MAX: usize = 64;
/// Longest text of people that is kept, characters.
const TEXT_CHARS_MAX: usize = 200;

/// A silence that holds. Its texts are short and neutral.
#[derive(Debug, Clone)]
pub struct Silence {
    /// Alertmanager's id of it.
    pub id: String,
    /// Who says to have made it: nobody checked that.
    pub by: String,
    /// Why.
    pub comment: String,
    /// Since when.
    pub starts_at: Seconds,
    /// Until when.
    pub ends_at: Seconds,
    matchers: Vec<Matcher>,
}

/// As `GET /api/v2/silences` has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    created_by: String,
    #[serde(default)]
    comment: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    status: Status,
    matchers: Vec<ListedMatcher>,
}

#[derive(Debug, Deserialize)]
struct Status {
    state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "is_equal")]
    is_equal: bool,
}

/// Versions before 0.22 do not say it.
fn is_equal() -> bool {
    true
}

fn short(text: &str) -> String {
    plain(text).chars().take(TEXT_CHARS_MAX).collect()
}

impl Silence {
    /// What of an answer holds now; `None` where it cannot be read.
    fn all_of(body: &[u8]) -> Option<Vec<Silence>> {
        let listed: Vec<Listed> = serde_json::from_slice(body).ok()?;
        let active = listed.into_iter().filter(|one| one.status.state == "active").take(SILENCES_MAX);
        Some(active.filter_map(Silence::of).collect())
    }

    /// A silence of which some matcher cannot be read is left out: it would seem to keep more quiet than it does.
    fn of(listed: Listed) -> Option<Silence> {
        let matcher = |one: &ListedMatcher| Matcher::of_flags(&one.name, &one.value, one.is_equal, one.is_regex).ok();
        if listed.matchers.is_empty() || listed.matchers.len() > MATCHERS_MAX {
            return None;
        }
        Some(Silence {
            id: short(&listed.id),
            by: short(&listed.created_by),
            comment: short(&listed.comment),
            starts_at: listed.starts_at.as_second(),
            ends_at: listed.ends_at.as_second(),
            matchers: listed.matchers.iter().map(matcher).collect::<Option<_>>()?,
        })
    }

    /// Whether it names this service: one that matches everything names none.
    pub fn names(&self, service: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.name == "service" && matcher.equal && matcher.takes(service))
    }

    /// Whether it keeps an alert with these labels quiet.
    pub fn quiets(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.takes(labels.get(&matcher.name).unwrap_or_default()))
    }
}

impl Endpoint {
    /// The silences that hold at this Alertmanager; `None` where it does not answer, or not as it should.
    pub async fn silences(&self, timeout: Duration, now_ms: i64) -> Option<Vec<Silence>> {
        let request = Request::get(wire::below(&self.url, "api/v2/silences"));
        let reply = self.exchange(&request, timeout, now_ms).await;
        let body = reply.body.filter(|_| reply.outcome == Outcome::Delivered)?;
        Silence::all_of(&body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn silence(matchers: serde_json::Value, state: &str) -> serde_json::Value {
        json!({
            "id": "s-1", "createdBy": "bob", "comment": "maintenance <!channel>", "startsAt": "2026-01-01T00:00:00.000Z",
            "endsAt": "2026-01-01T02:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z", "status": {"state": state},
            "matchers": matchers, "annotations": {},
        })
    }

    fn read(all: &[serde_json::Value]) -> Vec<Silence> {
        Silence::all_of(json!(all).to_string().as_bytes()).expect("a list")
    }

    #[test]
    fn what_holds_is_read_and_what_cannot_be_read_keeps_nothing_quiet() {
        let of_checkout = json!([{"name": "service", "value": "check.*", "isRegex": true, "isEqual": true}]);
        let broken = json!([{"name": "service", "value": "(", "isRegex": true}]);
        let all = [
            silence(of_checkout.clone(), "active"),
            silence(of_checkout, "expired"),
            silence(broken, "active"),
            silence(json!([]), "active"),
        ];
        let found = read(&all);
        assert_eq!(found.len(), 1);
        assert!(found[0].names("checkout") && !found[0].names("search") && !found[0].comment.contains('<'));
        assert_eq!(found[0].ends_at - found[0].starts_at, 7200);
        assert!(Silence::all_of(b"{}").is_none() && Silence::all_of(b"").is_none());
        let many: Vec<_> = vec![all[0].clone(); SILENCES_MAX + 5];
        assert_eq!(read(&many).len(), SILENCES_MAX);
    }

    #[test]
    fn one_that_names_no_service_is_about_the_alerts_that_it_keeps_quiet() {
        let of = |name: &str, equal: bool| {
            read(&[silence(json!([{"name": name, "value": "x", "isRegex": false, "isEqual": equal}]), "active")])
                .pop()
                .expect("one")
        };
        let labels: Labels = [("alertname", "x"), ("service", "checkout")].into_iter().collect();
        assert!(of("alertname", true).quiets(&labels) && !of("alertname", true).names("checkout"));
        assert!(!of("service", false).names("checkout"), "all others are no name");
        assert!(of("service", false).quiets(&labels) && !of("service", true).quiets(&labels));
    }
}
