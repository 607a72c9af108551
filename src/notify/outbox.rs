//! What one destination should know, and what it was told: the newest state of each alert, never a queue of events.
//!
//! An alert that fires, resolves and fires again while a peer is down is one row here, so the outbox cannot grow with
//! the length of an outage; it is bounded by the number of alerts, and that by [`ALERTS_MAX`].

use std::collections::BTreeMap;

use crate::engine::alert::Alert;
use crate::engine::{Labels, Seconds, Snapshot};

/// Alerts one destination is told of at the same time.
pub(super) const ALERTS_MAX: usize = 10_000;

/// What about an alert is worth telling at once. Annotations are not: they change with every evaluation and travel
/// with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) starts_at: Seconds,
    pub(super) resolved_at: Option<Seconds>,
    pub(super) held: bool,
}

impl State {
    pub(super) fn of(alert: &Alert) -> Self {
        State { starts_at: alert.starts_at, resolved_at: alert.resolved_at, held: alert.held }
    }

    pub(super) fn firing(self) -> bool {
        self.resolved_at.is_none()
    }
}

/// One alert as one destination should see it, with what the integration notes about it (`T`).
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) alert: Alert,
    /// The state the destination accepted last.
    pub(super) sent: Option<State>,
    pub(super) note: T,
}

impl<T> Entry<T> {
    pub(super) fn state(&self) -> State {
        State::of(&self.alert)
    }
}

/// All alerts of one destination.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    pub(super) entries: BTreeMap<Labels, Entry<T>>,
    /// Alerts that had to go after the last snapshot.
    pub(super) left_out: usize,
}

impl<T: Default> Outbox<T> {
    pub(super) fn new() -> Self {
        Outbox { entries: BTreeMap::new(), left_out: 0 }
    }

    /// Takes in the alerts of a newer evaluation.
    ///
    /// - A stronger alert keeps an inhibited one from being sent for the first time; once told, it is kept up to date,
    ///   for to fall silent would look like a recovery.
    /// - A firing alert that is gone from the snapshot without having been resolved (its SLO was removed or renamed)
    ///   is resolved at the time of the snapshot.
    pub(super) fn absorb(&mut self, snapshot: &Snapshot) {
        let newest = newest_by_labels(&snapshot.alerts);
        for (labels, entry) in &mut self.entries {
            if entry.state().firing() && !newest.contains_key(labels) {
                entry.alert.resolved_at = Some(snapshot.at.max(entry.alert.starts_at));
            }
        }
        for (labels, alert) in newest {
            match self.entries.get_mut(labels) {
                Some(entry) if alert.inhibited_by.is_some() && entry.sent.is_none() => {
                    self.entries.remove(labels);
                }
                Some(entry) => entry.alert = alert.clone(),
                None if alert.inhibited_by.is_some() => {}
                None => {
                    let entry = Entry { alert: alert.clone(), sent: None, note: T::default() };
                    self.entries.insert(labels.clone(), entry);
                }
            }
        }
        self.bound();
    }

    /// Removes what is over the limit: resolved before firing, mild before severe, young before old.
    fn bound(&mut self) {
        self.left_out = self.entries.len().saturating_sub(ALERTS_MAX);
        if self.left_out == 0 {
            return;
        }
        let mut ranked: Vec<_> = self
            .entries
            .iter()
            .map(|(labels, entry)| (entry.alert.resolved_at.is_some(), entry.alert.sev, entry.alert.starts_at, labels))
            .collect();
        ranked.sort_unstable();
        let surplus: Vec<Labels> =
            ranked.split_off(ALERTS_MAX).into_iter().map(|(.., labels)| labels.clone()).collect();
        for labels in surplus {
            self.entries.remove(&labels);
        }
    }
}

/// One alert per label set: a firing one before a resolved one, then the one that began last.
fn newest_by_labels(alerts: &[Alert]) -> BTreeMap<&Labels, &Alert> {
    let rank = |alert: &Alert| (alert.resolved_at.is_none(), alert.starts_at);
    let mut newest: BTreeMap<&Labels, &Alert> = BTreeMap::new();
    for alert in alerts {
        newest
            .entry(&alert.labels)
            .and_modify(|known| {
                if rank(alert) > rank(known) {
                    *known = alert;
                }
            })
            .or_insert(alert);
    }
    newest
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::alert::AlertKind;
    use crate::engine::severity::Sev;

    /// A fast burn of `<service>-availability`, firing since 1,000.
    pub(in crate::notify) fn alert(service: &str) -> Alert {
        let slo_id = format!("{service}-availability");
        let sev = Sev::new(1).expect("in range");
        let labels = [("alertname", "SLOFastBurn"), ("service", service), ("slo_id", &slo_id), ("sev", "SEV-1")];
        Alert {
            labels: labels.into_iter().collect(),
            annotations: [("runbook".into(), format!("https://runbooks.internal/{service}"))].into(),
            slo_id,
            series: Labels::new(),
            kind: AlertKind::FastBurn,
            sev,
            starts_at: 1_000,
            resolved_at: None,
            held: false,
            inhibited_by: None,
        }
    }

    pub(in crate::notify) fn snapshot(at: Seconds, alerts: Vec<Alert>) -> Snapshot {
        Snapshot { at, alerts, ..Snapshot::default() }
    }

    fn states(outbox: &Outbox<()>) -> Vec<(&str, Option<Seconds>)> {
        outbox.entries.values().map(|e| (e.alert.slo_id.as_str(), e.alert.resolved_at)).collect()
    }

    #[test]
    fn an_inhibited_alert_is_not_told_but_one_already_told_is_kept_up_to_date() {
        let mut outbox: Outbox<()> = Outbox::new();
        let slow = alert("checkout");
        let inhibited = Alert { inhibited_by: Some(AlertKind::FastBurn), ..slow.clone() };
        outbox.absorb(&snapshot(1_000, vec![inhibited.clone()]));
        assert_eq!(states(&outbox), []);

        outbox.absorb(&snapshot(1_030, vec![slow]));
        outbox.absorb(&snapshot(1_060, vec![inhibited.clone()]));
        assert_eq!(states(&outbox), [], "it was waiting, and never told");

        outbox.absorb(&snapshot(1_090, vec![Alert { inhibited_by: None, ..inhibited.clone() }]));
        for entry in outbox.entries.values_mut() {
            entry.sent = Some(entry.state());
        }
        outbox.absorb(&snapshot(1_120, vec![inhibited]));
        assert_eq!(states(&outbox), [("checkout-availability", None)]);
    }

    #[test]
    fn an_alert_that_vanishes_is_resolved_when_it_vanished() {
        let mut outbox: Outbox<()> = Outbox::new();
        outbox.absorb(&snapshot(2_000, vec![alert("checkout")]));
        outbox.absorb(&snapshot(2_030, vec![]));
        assert_eq!(states(&outbox), [("checkout-availability", Some(2_030))]);
        outbox.absorb(&snapshot(2_060, vec![]));
        assert_eq!(states(&outbox), [("checkout-availability", Some(2_030))]);
    }

    #[test]
    fn a_firing_alert_wins_over_the_resolved_one_of_the_same_labels() {
        let mut outbox: Outbox<()> = Outbox::new();
        let earlier = Alert { resolved_at: Some(1_500), ..alert("checkout") };
        let again = Alert { starts_at: 1_600, ..alert("checkout") };
        for alerts in [vec![earlier.clone(), again.clone()], vec![again, earlier]] {
            outbox.absorb(&snapshot(1_600, alerts));
            assert_eq!(states(&outbox), [("checkout-availability", None)]);
        }
    }

    #[test]
    fn over_the_limit_the_most_severe_stay() {
        let mut outbox: Outbox<()> = Outbox::new();
        let mut alerts: Vec<Alert> = (0..ALERTS_MAX + 5).map(|i| alert(&format!("s{i}"))).collect();
        for mild in &mut alerts[..5] {
            mild.sev = Sev::new(3).expect("in range");
        }
        outbox.absorb(&snapshot(2_000, alerts));
        assert_eq!((outbox.entries.len(), outbox.left_out), (ALERTS_MAX, 5));
        assert!(outbox.entries.values().all(|entry| entry.alert.sev.number() == 1));
    }
}
