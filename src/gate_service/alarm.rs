//! Alerts of the gate: acts that made things worse, and people who go past its checks. The first kind fires as long as the
//! halt that the verdict brought, for a person who lifts it has seen it; the second as long as the permit could be used.

use std::collections::BTreeMap;

use super::State;
use crate::engine::alert::RESOLVED_KEPT_S;
use crate::engine::severity::severity_of;
use crate::engine::{Alert, AlertKind, Labels, Seconds, SloSnapshot};
use crate::gate::Permit;
use crate::gate::verdict::{Outcome, Verdict};

impl State {
    /// Brings the alerts in line with the halts that hold at `now`; what changes, changes at slice time `at`.
    pub(super) fn follow_alerts(&mut self, slos: &[SloSnapshot], now: Seconds, at: Seconds) {
        let services: Vec<String> = self.rules.policies.keys().cloned().collect();
        for service in services {
            let worse = self.gate.verdicts_of(&service).filter(|verdict| verdict.outcome == Outcome::Worse);
            for verdict in worse.cloned().collect::<Vec<_>>() {
                let owner = format!("verdict:{}", verdict.permit);
                let holds = self.gate.halts(now).any(|halt| halt.owner == owner);
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
        let broken: Vec<Permit> = self.gate.open_permits().filter(|permit| permit.break_glass).cloned().collect();
        for permit in broken.iter().filter(|permit| permit.expires_at > now) {
            if let (false, Some(alert)) = (self.alerts.contains_key(&permit.id), broken_glass(permit, slos, at)) {
                self.alerts.insert(permit.id.clone(), alert);
            }
        }
        for (id, alert) in self.alerts.iter_mut().filter(|(_, alert)| alert.kind == AlertKind::BreakGlass) {
            let usable = self.gate.permit(id).is_some_and(|permit| permit.expires_at > now);
            if !usable {
                alert.resolved_at = alert.resolved_at.or(Some(at));
            }
        }
        self.alerts.retain(|_, alert| alert.resolved_at.is_none_or(|resolved| at - resolved <= RESOLVED_KEPT_S));
    }
}

/// The alert on the SLO that decided the verdict, or else the service's first one.
fn alert_of(verdict: &Verdict, slos: &[SloSnapshot], at: Seconds) -> Option<Alert> {
    let about = About { kind: AlertKind::ChangeWorse, service: &verdict.service, permit: &verdict.permit };
    let action = verdict.action.as_str();
    let summary = format!("{action} by {} made {} worse; robots are halted", verdict.actor, verdict.service);
    about.alert(slos, verdict.slo.as_deref(), summary, verdict.message.clone(), verdict.at.min(at))
}

/// The alert that somebody broke the glass of a service, on its first SLO.
fn broken_glass(permit: &Permit, slos: &[SloSnapshot], at: Seconds) -> Option<Alert> {
    let request = &permit.request;
    let about = About { kind: AlertKind::BreakGlass, service: &request.service, permit: &permit.id };
    let (action, resource) = (request.action.as_str(), &request.resource);
    let summary = format!("{} goes past the checks of {}: {action} of {resource}", permit.sub, request.service);
    // What chats take for mentions and links is shown as text.
    let reason = request.reason.as_deref().unwrap_or("no reason").replace('<', "\u{2039}").replace('>', "\u{203a}");
    let description = format!("The reason that was given: {reason}. The audit log has the checks that did not hold.");
    about.alert(slos, None, summary, description, permit.issued_at.min(at))
}

/// What an alert of the gate is about.
struct About<'a> {
    kind: AlertKind,
    service: &'a str,
    permit: &'a str,
}

impl About<'_> {
    /// On the SLO with this id, or else on the service's first one.
    fn alert(
        &self,
        slos: &[SloSnapshot],
        slo_id: Option<&str>,
        summary: String,
        description: String,
        starts_at: Seconds,
    ) -> Option<Alert> {
        let own = || slos.iter().filter(|entry| entry.slo.service == self.service);
        let named = own().find(|entry| Some(entry.slo.id.as_str()) == slo_id);
        let slo = &named.or_else(|| own().next())?.slo;
        let series = Labels::new();
        let sev = severity_of(&slo.severity, self.kind, &series, None);
        let sev_text = sev.to_string();
        let labels = [
            ("alertname", self.kind.alertname()),
            ("service", &slo.service),
            ("slo", &slo.name),
            ("slo_id", &slo.id),
            ("owner", &slo.owner),
            ("severity", sev.severity()),
            ("sev", &sev_text),
            ("kind", self.kind.as_str()),
            ("permit", self.permit),
        ];
        let mut annotations: BTreeMap<String, String> = slo.annotations.clone();
        annotations.insert("summary".into(), summary);
        annotations.insert("description".into(), description);
        Some(Alert {
            labels: labels.into_iter().collect(),
            annotations,
            slo_id: slo.id.clone(),
            series,
            kind: self.kind,
            sev,
            starts_at,
            resolved_at: None,
            held: false,
            inhibited_by: None,
        })
    }
}
