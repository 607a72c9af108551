//! Alerts of acts that made things worse. One fires as long as the halt that the verdict brought: a person who lifts it
//! has seen it.

use std::collections::BTreeMap;

use super::State;
use crate::engine::alert::RESOLVED_KEPT_S;
use crate::engine::severity::severity_of;
use crate::engine::{Alert, AlertKind, Labels, Seconds, SloSnapshot};
use crate::gate::verdict::{Outcome, Verdict};

impl State {
    /// Brings the alerts in line with the halts that hold at `now`; what changes, changes at slice time `at`.
    pub(super) fn follow_alerts(&mut self, slos: &[SloSnapshot], now: Seconds, at: Seconds) {
        let services: Vec<String> = self.rules.policies.keys().cloned().collect();
        for service in services {
            let worse = self.book.verdicts_of(&service).filter(|verdict| verdict.outcome == Outcome::Worse);
            for verdict in worse.cloned().collect::<Vec<_>>() {
                let owner = format!("verdict:{}", verdict.permit);
                let holds = self.book.halts(now).any(|halt| halt.owner == owner);
                match self.alerts.get_mut(&verdict.permit) {
                    Some(alert) if holds => alert.resolved_at = None,
                    Some(alert) => alert.resolved_at = alert.resolved_at.or(Some(at)),
                    None if holds => {
                        if let Some(alert) = alert_of(&verdict, slos, at) {
                            self.alerts.insert(verdict.permit.clone(), alert);
                        }
                    }
                    None => {}
                }
            }
        }
        self.alerts.retain(|_, alert| alert.resolved_at.is_none_or(|resolved| at - resolved <= RESOLVED_KEPT_S));
    }
}

/// The alert on the SLO that decided the verdict, or else the service's first one.
fn alert_of(verdict: &Verdict, slos: &[SloSnapshot], at: Seconds) -> Option<Alert> {
    let own = || slos.iter().filter(|entry| entry.slo.service == verdict.service);
    let named = own().find(|entry| Some(&entry.slo.id) == verdict.slo.as_ref());
    let slo = &named.or_else(|| own().next())?.slo;
    let kind = AlertKind::ChangeWorse;
    let series = Labels::new();
    let sev = severity_of(&slo.severity, kind, &series, None);
    let (sev_text, action) = (sev.to_string(), verdict.action.as_str());
    let labels = [
        ("alertname", kind.alertname()),
        ("service", &slo.service),
        ("slo", &slo.name),
        ("slo_id", &slo.id),
        ("owner", &slo.owner),
        ("severity", sev.severity()),
        ("sev", &sev_text),
        ("kind", kind.as_str()),
        ("permit", &verdict.permit),
    ];
    let mut annotations: BTreeMap<String, String> = slo.annotations.clone();
    let summary = format!("{action} by {} made {} worse; robots are halted", verdict.actor, verdict.service);
    annotations.insert("summary".into(), summary);
    annotations.insert("description".into(), verdict.message.clone());
    Some(Alert {
        labels: labels.into_iter().collect(),
        annotations,
        slo_id: slo.id.clone(),
        series,
        kind,
        sev,
        starts_at: verdict.at.min(at),
        resolved_at: None,
        held: false,
        inhibited_by: None,
    })
}
