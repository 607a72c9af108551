//! Alerts of others, as their Alertmanager tells of them: the beginning and the end of each is written down once, under the
//! service that it names, so that an incident shows what else was wrong. No decision reads them.
//!
//! Which were told of is remembered in memory, by fingerprint and bounded: after a restart an alert that still fires is
//! written down once more.
//!
//! Deliberately absent: how an Alertmanager speaks, and what its texts may hold. `web` sees to that.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::command::unwritten;
use super::record::principal_of;
use super::{Blocked, GateService};
use crate::audit::record::{Kind, Record};
use crate::engine::Seconds;
use crate::gate::principal::Principal;

/// Alerts that are remembered.
const REMEMBERED_MAX: usize = 5_000;
/// Beginnings and ends that one notification writes down at most.
const RECORDED_MAX: usize = 100;

/// An alert of somebody else; its texts are short and neutral.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// What tells it from others.
    pub fingerprint: String,
    /// `alertname`.
    pub name: String,
    /// The service that it names, if it does.
    pub service: Option<String>,
    /// What it says.
    pub summary: Option<String>,
    /// When it began.
    pub starts_at: Seconds,
    /// When it ended; `None` while it fires.
    pub ends_at: Option<Seconds>,
}

/// What became of one notification. Every alert of it is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Beginnings and ends that were written down.
    pub recorded: usize,
    /// What was told of before.
    pub repeated: usize,
    /// Alerts of no service that there is.
    pub of_no_service: usize,
    /// More than one notification may write down.
    pub left_out: usize,
}

/// When an alert began and ended, by fingerprint, as it was told of last.
#[derive(Debug, Default)]
pub(super) struct Remembered(BTreeMap<String, (Seconds, Option<Seconds>)>);

impl Remembered {
    /// Whether this is news. The end of one whose beginning was not told of is none.
    fn is_news(&self, alert: &Reported) -> bool {
        match (self.0.get(&alert.fingerprint), alert.ends_at) {
            (None, ended) => ended.is_none(),
            (Some(&(began, ended)), None) => began != alert.starts_at || ended.is_some(),
            (Some(&(_, ended)), Some(_)) => ended.is_none(),
        }
    }

    fn take(&mut self, alert: &Reported) {
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&alert.fingerprint) {
            self.0.retain(|_, (_, ended)| ended.is_none());
            if self.0.len() >= REMEMBERED_MAX {
                self.0.pop_first();
            }
        }
        self.0.insert(alert.fingerprint.clone(), (alert.starts_at, alert.ends_at));
    }
}

impl GateService {
    /// Writes down what is new of these alerts.
    ///
    /// # Errors
    /// A robot, or a pipeline without the right `changes`; this process does not decide; the log cannot be written, and then
    /// what was not written is news when it is told of again.
    pub async fn report_alerts(&self, principal: &Principal, mut alerts: Vec<Reported>) -> Result<Receipt, Blocked> {
        self.may_tell(principal, "a robot does not tell of alerts: people and pipelines do")?;
        alerts.sort_by_key(|alert| (alert.ends_at.unwrap_or(alert.starts_at), alert.starts_at));
        let is_known = |service: &&String| self.read().rules.services.contains(*service);
        let mut remembered = self.0.reported.lock().await;
        let mut receipt = Receipt::default();
        for alert in &alerts {
            let Some(service) = alert.service.as_ref().filter(is_known) else {
                receipt.of_no_service += 1;
                continue;
            };
            if !remembered.is_news(alert) {
                receipt.repeated += 1;
                continue;
            }
            if receipt.recorded >= RECORDED_MAX {
                receipt.left_out += 1;
                continue;
            }
            let action = if alert.ends_at.is_none() { "alert_fired" } else { "alert_resolved" };
            let mut record = Record::new(Kind::Incident, principal.sub.as_str(), action, self.0.clock.now_ms());
            record.service = Some(service.clone());
            record.resource = Some(format!("alert/{}", alert.name));
            record.reason = alert.summary.clone();
            record.principal = Some(principal_of(principal));
            record.event = Some(json!({"starts_at": alert.starts_at, "ends_at": alert.ends_at}));
            self.log().append(record).await.map_err(unwritten)?;
            remembered.take(alert);
            receipt.recorded += 1;
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(fingerprint: &str, starts_at: Seconds, ends_at: Option<Seconds>) -> Reported {
        let (name, service) = ("DiskFull".to_owned(), Some("checkout".to_owned()));
        Reported { fingerprint: fingerprint.to_owned(), name, service, summary: None, starts_at, ends_at }
    }

    #[test]
    fn a_beginning_and_an_end_are_news_once() {
        let mut remembered = Remembered::default();
        let mut told = |starts_at, ends_at| {
            let alert = alert("a", starts_at, ends_at);
            let news = remembered.is_news(&alert);
            if news {
                remembered.take(&alert);
            }
            news
        };
        assert!(!told(100, Some(200)), "nobody was told that it began");
        assert!(told(300, None));
        assert!(!told(300, None), "a repetition");
        assert!(told(300, Some(400)));
        assert!(!told(300, Some(400)));
        assert!(told(500, None), "it fires again");
        assert!(told(600, None), "its end was never told of");
    }

    #[test]
    fn what_is_over_is_forgotten_first_and_there_is_an_end_to_it() {
        let mut remembered = Remembered::default();
        for n in 0..REMEMBERED_MAX + 10 {
            remembered.take(&alert(&format!("{n:05}"), 1, (n % 2 == 0).then_some(2)));
        }
        assert!(remembered.0.len() <= REMEMBERED_MAX);
        assert!(!remembered.is_news(&alert("00001", 1, None)), "it still fires");
        for n in 0..REMEMBERED_MAX + 10 {
            remembered.take(&alert(&format!("b{n:05}"), 1, None));
        }
        assert_eq!(remembered.0.len(), REMEMBERED_MAX);
    }
}
