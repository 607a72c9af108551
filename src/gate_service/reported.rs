//! Alerts of others, as their Alertmanager tells of them: the beginning and the end of each is written down once, under the
//! service that it names, so that an incident shows what else was wrong, and an answer what fires beside it. No check of a
//! decision reads them.
//!
//! Which were told of is remembered by fingerprint, bounded. After a restart it is what the log says.
//!
//! Deliberately absent: how an Alertmanager speaks, and what its texts may hold. `web` sees to that.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::moment;
use super::command::unwritten;
use super::record::principal_of;
use super::silences::{self, SilenceTold, Silences};
use super::{Blocked, GateService};
use crate::audit::record::{Kind, Record};
use crate::engine::Seconds;
use crate::gate::principal::Principal;

/// Alerts that are remembered.
const REMEMBERED_MAX: usize = 5_000;
/// Beginnings and ends that one notification writes down at most.
const RECORDED_MAX: usize = 100;
/// Alerts that an answer shows at most.
const SHOWN_MAX: usize = 10;
/// An alert whose end nobody told of is shown for so long after it was last told of, seconds. Alertmanager repeats itself
/// every four hours unless it is told otherwise.
const BELIEVED_S: i64 = 24 * 3600;

/// An alert of somebody else; its texts are short and neutral.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// What was told of alerts of others.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Whoever tells of alerts waits here until what was told before is written down.
    turn: tokio::sync::Mutex<()>,
    known: RwLock<Remembered>,
    silences: RwLock<Silences>,
}

impl Reports {
    fn read(&self) -> RwLockReadGuard<'_, Remembered> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Remembered> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The silences that were seen last.
    pub fn silences(&self) -> RwLockReadGuard<'_, Silences> {
        self.silences.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// These were seen now.
    pub fn take_silences(&self, silences: Silences) {
        *self.silences.write().unwrap_or_else(PoisonError::into_inner) = silences;
    }

    /// What others say of a service, as an answer shows it; `None` where they say nothing.
    fn of(&self, service: &str, now: Seconds) -> Option<Value> {
        let (alerts, more_alerts) = self.read().of(service, now);
        let (silences, more_silences) = silences::shown(&self.silences(), service, now);
        let nothing = alerts.is_empty() && silences.is_empty();
        let left_out = more_alerts + more_silences;
        (!nothing).then(|| json!({"alerts": alerts, "silences": silences, "left_out": left_out}))
    }
}

/// What the log tells of others, read from its beginning.
#[derive(Debug, Default)]
pub(super) struct ReportsRead {
    known: Remembered,
    silences: Silences,
}

/// What is of others in a record; the shapes have no members in common that both need.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    Alert(Report),
    Silence(SilenceTold),
}

impl ReportsRead {
    /// Takes the event of a record; one that tells of nothing of others is passed over.
    pub fn take(&mut self, event: &[u8]) {
        match serde_json::from_slice(event) {
            Ok(Told::Alert(report)) => self.known.put(report),
            Ok(Told::Silence(told)) => told.put(&mut self.silences),
            Err(_) => {}
        }
    }
}

impl Reports {
    /// What the log says is what is known.
    pub fn restore(&self, read: ReportsRead) {
        *self.write() = read.known;
        self.take_silences(read.silences);
    }
}

/// An alert as it was told of last.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    #[serde(flatten)]
    alert: Reported,
    by: String,
    told_at: Seconds,
}

/// Alerts by fingerprint.
#[derive(Debug, Default)]
struct Remembered(BTreeMap<String, Report>);

impl Remembered {
    /// Whether this is news. The end of one whose beginning was not told of is none.
    fn is_news(&self, alert: &Reported) -> bool {
        match (self.0.get(&alert.fingerprint).map(|known| &known.alert), alert.ends_at) {
            (None, ended) => ended.is_none(),
            (Some(known), None) => known.starts_at != alert.starts_at || known.ends_at.is_some(),
            (Some(known), Some(_)) => known.ends_at.is_none(),
        }
    }

    fn put(&mut self, report: Report) {
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&report.alert.fingerprint) {
            self.0.retain(|_, known| known.alert.ends_at.is_none());
            if self.0.len() >= REMEMBERED_MAX {
                self.0.pop_first();
            }
        }
        self.0.insert(report.alert.fingerprint.clone(), report);
    }

    /// It was told of once more.
    fn repeat(&mut self, fingerprint: &str, told_at: Seconds) {
        if let Some(known) = self.0.get_mut(fingerprint) {
            known.told_at = known.told_at.max(told_at);
        }
    }

    /// What fires of a service, the newest first, and how many more there are.
    fn of(&self, service: &str, now: Seconds) -> (Vec<Value>, usize) {
        let fires = |report: &&Report| {
            report.alert.ends_at.is_none()
                && report.alert.service.as_deref() == Some(service)
                && now - report.told_at <= BELIEVED_S
        };
        let mut firing: Vec<&Report> = self.0.values().filter(fires).collect();
        firing.sort_by_key(|report| (std::cmp::Reverse(report.alert.starts_at), &report.alert.name));
        let shown = firing.iter().take(SHOWN_MAX).map(|Report { alert, by, told_at }| {
            json!({
                "name": alert.name, "summary": alert.summary, "since": moment(alert.starts_at), "told_by": by,
                "told_at": moment(*told_at),
            })
        });
        let shown: Vec<Value> = shown.collect();
        let left_out = firing.len() - shown.len();
        (shown, left_out)
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
        let reports = &self.0.reported;
        let _turn = reports.turn.lock().await;
        let mut receipt = Receipt::default();
        for alert in &alerts {
            let Some(service) = alert.service.as_ref().filter(is_known) else {
                receipt.of_no_service += 1;
                continue;
            };
            if !reports.read().is_news(alert) {
                reports.write().repeat(&alert.fingerprint, self.now());
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
            let report = Report { alert: alert.clone(), by: principal.sub.clone(), told_at: self.now() };
            record.event = Some(serde_json::to_value(&report).expect("a report is plain data"));
            self.log().append(record).await.map_err(unwritten)?;
            reports.write().put(report);
            receipt.recorded += 1;
        }
        Ok(receipt)
    }

    /// What others say of a service just now, for people and for whoever asks: no check reads it, so it makes an answer neither
    /// stricter nor looser.
    pub(super) fn context_of(&self, service: &str) -> Option<Value> {
        self.0.reported.of(service, self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(fingerprint: &str, starts_at: Seconds, ends_at: Option<Seconds>) -> Reported {
        let (name, service) = ("DiskFull".to_owned(), Some("checkout".to_owned()));
        Reported { fingerprint: fingerprint.to_owned(), name, service, summary: None, starts_at, ends_at }
    }

    impl Remembered {
        fn take(&mut self, alert: &Reported, by: &str, told_at: Seconds) {
            self.put(Report { alert: alert.clone(), by: by.to_owned(), told_at });
        }
    }

    #[test]
    fn what_the_log_says_is_known_again() {
        let mut read = ReportsRead::default();
        let mut take = |event: Value| read.take(event.to_string().as_bytes());
        let told = |fingerprint: &str, ends_at| {
            let report = Report { alert: alert(fingerprint, 100, ends_at), by: "@ada".into(), told_at: 200 };
            serde_json::to_value(report).expect("plain data")
        };
        take(told("a", None));
        take(told("b", None));
        take(told("b", Some(150)));
        // Of others, of before, and of nobody.
        for event in [
            json!({"starts_at": 1, "ends_at": null}),
            json!({"incident_note": {}}),
            json!(7),
            json!({"at": 1, "kind": "x"}),
        ] {
            take(event);
        }
        let reports = Reports::default();
        reports.restore(read);
        let shown = reports.of("checkout", 300).expect("one fires");
        assert_eq!(shown["alerts"].as_array().map(Vec::len), Some(1));
        assert!(!reports.read().is_news(&alert("a", 100, None)), "it was told of");
        assert!(reports.read().is_news(&alert("a", 100, Some(250))));
    }

    #[test]
    fn a_beginning_and_an_end_are_news_once() {
        let mut remembered = Remembered::default();
        let mut told = |starts_at, ends_at| {
            let alert = alert("a", starts_at, ends_at);
            let news = remembered.is_news(&alert);
            if news {
                remembered.take(&alert, "@ada", 1_000);
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
            remembered.take(&alert(&format!("{n:05}"), 1, (n % 2 == 0).then_some(2)), "@ada", 1);
        }
        assert!(remembered.0.len() <= REMEMBERED_MAX);
        assert!(!remembered.is_news(&alert("00001", 1, None)), "it still fires");
        for n in 0..REMEMBERED_MAX + 10 {
            remembered.take(&alert(&format!("b{n:05}"), 1, None), "@ada", 1);
        }
        assert_eq!(remembered.0.len(), REMEMBERED_MAX);
    }

    #[test]
    fn what_fires_is_shown_newest_first_bounded_and_not_for_ever() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.of("checkout", 1_000), (vec![], 0));
        for n in 0..12 {
            remembered.take(&alert(&format!("a{n}"), 100 + n, None), "@ada", 1_000);
        }
        remembered.take(&alert("over", 500, Some(600)), "@ada", 1_000);
        let (shown, left_out) = remembered.of("checkout", 1_000);
        let first = json!({
            "name": "DiskFull", "summary": null, "since": moment(111), "told_by": "@ada", "told_at": moment(1_000),
        });
        assert_eq!((&shown[0], left_out, shown.len()), (&first, 2, SHOWN_MAX));
        assert_eq!(remembered.of("search", 1_000), (vec![], 0), "another service");
        // Nobody told of their end, and nobody repeats them.
        remembered.repeat("a3", 2_000);
        let (late, _) = remembered.of("checkout", 1_500 + BELIEVED_S);
        assert_eq!((late.len(), &late[0]["since"]), (1, &json!(moment(103))), "one is repeated");
        assert_eq!(remembered.of("checkout", 2_001 + BELIEVED_S), (vec![], 0));
    }
}
