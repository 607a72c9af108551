//! What the gate says in `/metrics`: whether it is safe to act, what is halted, what waits for people.

use super::Exposition;
use crate::gate_service::GateService;
use crate::telemetry::names;

/// Signals and states of every service that has a policy.
pub fn render(gate_service: &GateService) -> String {
    let mut page = Exposition::default();
    // Who follows knows of no halt and of no question: that it has none is nothing to say.
    let leads = gate_service.leads();
    let mut all = gate_service.all_signals();
    // A lease may be lost or had again while this is written: one page has one answer, and a yes is of who decides throughout.
    let leads = leads && gate_service.leads();
    page.sample(names::GATE_LEADER, &[], &[], if leads { 1.0 } else { 0.0 });
    all.sort_by(|a, b| service_of(a).cmp(service_of(b)));
    for (signals, change) in &all {
        for signal in signals {
            let labels = [("service", signal.service.as_str()), ("class", signal.class.as_str())];
            let value = if leads { signal.value } else { signal.value.min(0) };
            page.sample(names::SAFE_TO_ACT, &[], &labels, f64::from(value));
        }
        if !leads {
            continue;
        }
        let Some(service) = signals.first().map(|signal| signal.service.as_str()) else { continue };
        page.sample(names::CHANGE_STATE, &[], &[("service", service), ("state", change.as_str())], 1.0);
    }
    if leads {
        let (halts, pending) = gate_service.waiting();
        page.sample(names::HALTS, &[], &[], halts as f64);
        page.sample(names::APPROVALS_PENDING, &[], &[], pending as f64);
    }
    page.finish()
}

fn service_of(row: &(Vec<crate::gate::Signal>, crate::gate::ChangeState)) -> &str {
    row.0.first().map_or("", |signal| signal.service.as_str())
}
