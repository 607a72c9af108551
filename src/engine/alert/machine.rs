//! Every alert there is: the state behind `alert`, stepped once per series and evaluation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::transition::{FireReason, ResolveReason, Transition, TransitionKind};
use super::{Alert, AlertKind, text};
use crate::engine::page::MEMORY_S;
use crate::engine::severity::{Condition, severity_of};
use crate::engine::status::{DataReason, DataState};
use crate::engine::{Labels, Seconds, SeriesStatus, Slo, SloState};

/// How long a series may be without data before that is an alert of its own, seconds; with breaks, all in all.
pub const DATA_MISSING_AFTER_S: i64 = 120;
/// How long data must have been back for an outage of it to be over, seconds.
pub const DATA_BACK_AFTER_S: i64 = 300;
/// How long a resolved alert is kept (and sent), seconds.
pub const RESOLVED_KEPT_S: i64 = 15 * 60;
/// The longest slice an SLO can be judged by, seconds.
const SLICE_MAX_S: i64 = 300;

/// All alerts of all series. Serializes as a list of series that have any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<SeriesAlerts>", into = "Vec<SeriesAlerts>")]
pub struct AlertMachine {
    series: BTreeMap<String, BTreeMap<Labels, SeriesAlerts>>,
}

/// The alerts of one series, and since when it has no data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct SeriesAlerts {
    slo_id: String,
    series: Labels,
    /// Firing ones, one per kind at most, and those resolved lately.
    alerts: Vec<Alert>,
    #[serde(default)]
    outage: Option<Outage>,
}

/// Data that is missing, or was until lately: one outage however it flickers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Outage {
    /// How long it was missing, breaks left out, seconds.
    missing_s: i64,
    /// The newest evaluation.
    at: Seconds,
    /// Since when it has been back.
    back_since: Option<Seconds>,
}

impl From<Vec<SeriesAlerts>> for AlertMachine {
    fn from(list: Vec<SeriesAlerts>) -> Self {
        let mut book = AlertMachine::default();
        for entry in list {
            book.series.entry(entry.slo_id.clone()).or_default().insert(entry.series.clone(), entry);
        }
        book
    }
}

impl From<AlertMachine> for Vec<SeriesAlerts> {
    fn from(book: AlertMachine) -> Self {
        book.series.into_values().flat_map(BTreeMap::into_values).collect()
    }
}

impl AlertMachine {
    /// No alerts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the newest evaluation of every series of an SLO; see [`AlertMachine::step`].
    ///
    /// Of a fan-out a person is told once: the whole waits while a child says the same or worse, and children that have
    /// no data are silent while the whole has none either.
    pub fn step_all(&mut self, slo: &Slo, statuses: &[SeriesStatus], at: Seconds) -> Vec<Transition> {
        if slo.by.is_empty() {
            return statuses.iter().flat_map(|status| self.step(slo, status, at)).collect();
        }
        let (wholes, children): (Vec<_>, Vec<_>) = statuses.iter().partition(|status| slo.is_whole(&status.labels));
        let whole_blind = wholes.iter().any(|status| has_no_data(status));
        let mut transitions = Vec::new();
        for status in children {
            transitions.extend(self.take(&Step { whole_blind, ..Step::new(slo, status, at) }));
        }
        if let Some(status) = wholes.first() {
            let covered_by = self.strongest_of_children(&slo.id);
            let missing_said = self.children_out(&slo.id).any(|kind| kind == AlertKind::DataMissing);
            transitions.extend(self.take(&Step { covered_by, missing_said, ..Step::new(slo, status, at) }));
        }
        transitions
    }

    /// The strongest alert that goes out for a child of a fan-out.
    fn strongest_of_children(&self, slo_id: &str) -> Option<AlertKind> {
        self.children_out(slo_id).filter(|kind| strength(*kind) > 0).max_by_key(|kind| strength(*kind))
    }

    /// The kinds of all alerts that go out for children of a fan-out.
    fn children_out(&self, slo_id: &str) -> impl Iterator<Item = AlertKind> + '_ {
        let entries = self.series.get(slo_id).into_iter().flat_map(BTreeMap::values);
        let alerts = entries.filter(|entry| !entry.series.is_empty()).flat_map(|entry| &entry.alerts);
        let out = alerts.filter(|alert| alert.resolved_at.is_none() && alert.inhibited_by.is_none());
        out.map(|alert| alert.kind)
    }

    /// Takes in the newest evaluation of one series; `at` is its slice time and never runs backwards. Answers what
    /// changed, strongest kind first.
    pub fn step(&mut self, slo: &Slo, status: &SeriesStatus, at: Seconds) -> Vec<Transition> {
        self.take(&Step::new(slo, status, at))
    }

    fn take(&mut self, step: &Step<'_>) -> Vec<Transition> {
        let Step { slo, status, .. } = *step;
        if step.is_quiet() && self.entry(&slo.id, &status.labels).is_none() {
            return Vec::new();
        }
        let of_slo = self.series.entry(slo.id.clone()).or_default();
        let entry = of_slo.entry(status.labels.clone()).or_insert_with(|| SeriesAlerts {
            slo_id: slo.id.clone(),
            series: status.labels.clone(),
            ..SeriesAlerts::default()
        });
        let transitions = entry.step(step);
        if entry.is_empty() {
            of_slo.remove(&status.labels);
            if of_slo.is_empty() {
                self.series.remove(&slo.id);
            }
        }
        transitions
    }

    fn entry(&self, slo_id: &str, series: &Labels) -> Option<&SeriesAlerts> {
        self.series.get(slo_id)?.get(series)
    }

    /// Firing alerts (held and inhibited ones too), and those resolved within the last 15 minutes, in label order.
    pub fn active(&self) -> Vec<&Alert> {
        let series = self.series.values().flat_map(BTreeMap::values);
        let mut alerts: Vec<&Alert> = series.flat_map(|entry| &entry.alerts).collect();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        alerts
    }

    /// The firing alert of `kind` on a series, or the one resolved last.
    pub fn get(&self, slo_id: &str, series: &Labels, kind: AlertKind) -> Option<&Alert> {
        let of_kind = self.entry(slo_id, series)?.alerts.iter().filter(|alert| alert.kind == kind);
        of_kind.max_by_key(|alert| alert.resolved_at.unwrap_or(Seconds::MAX))
    }

    /// Resolves what fires on SLOs that `keep` does not name, for a reload.
    pub fn retain_slos(&mut self, mut keep: impl FnMut(&str) -> bool, at: Seconds) -> Vec<Transition> {
        self.retain(|slo_id, _| keep(slo_id), at)
    }

    /// Resolves what fires on series that `keep` does not name.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Labels) -> bool, at: Seconds) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for entry in self.series.values_mut().flat_map(BTreeMap::values_mut) {
            if !keep(&entry.slo_id, &entry.series) {
                entry.outage = None;
                for kind in AlertKind::ALL {
                    entry.resolve(kind, ResolveReason::Removed, at, &mut transitions);
                }
            }
        }
        self.prune(at);
        transitions
    }

    /// Forgets what was resolved over 15 minutes before `at`. `step` does so for its own series; this is for those
    /// that are evaluated no more.
    pub fn prune(&mut self, at: Seconds) {
        for of_slo in self.series.values_mut() {
            of_slo.values_mut().for_each(|entry| entry.prune(at));
            of_slo.retain(|_, entry| !entry.is_empty());
        }
        self.series.retain(|_, of_slo| !of_slo.is_empty());
    }
}

/// One evaluation, read as an alert reads it.
struct Step<'a> {
    slo: &'a Slo,
    status: &'a SeriesStatus,
    at: Seconds,
    /// Nothing can be judged: everything that fires is held.
    blind: bool,
    /// Of the whole of a fan-out: the strongest alert of a child.
    covered_by: Option<AlertKind>,
    /// Of the whole of a fan-out: a child says already that data is missing.
    missing_said: bool,
    /// Of a child of a fan-out: the whole has no data.
    whole_blind: bool,
}

fn has_no_data(status: &SeriesStatus) -> bool {
    matches!(status.data.state, DataState::Stale | DataState::Absent)
}

/// Which of the alerts that hang on data says more; 0 for the one that says there is none.
fn strength(kind: AlertKind) -> u8 {
    match kind {
        AlertKind::FastBurn => 3,
        AlertKind::SlowBurn => 2,
        AlertKind::Budget => 1,
        AlertKind::DataMissing | AlertKind::ChangeWorse | AlertKind::BreakGlass => 0,
    }
}

impl<'a> Step<'a> {
    fn new(slo: &'a Slo, status: &'a SeriesStatus, at: Seconds) -> Self {
        let blind = has_no_data(status) || status.state == SloState::Unknown;
        Step { slo, status, at, blind, covered_by: None, missing_said: false, whole_blind: false }
    }

    fn no_data(&self) -> bool {
        has_no_data(self.status)
    }

    /// Why an alert of `kind` should fire by what this evaluation says; `DataMissing` is not decided here.
    fn condition(&self, kind: AlertKind) -> Option<FireReason> {
        if self.slo.mute.contains(&kind) {
            return None;
        }
        match kind {
            AlertKind::FastBurn => self.status.pages().then_some(FireReason::Burning),
            AlertKind::SlowBurn => self.status.tickets().then_some(FireReason::Burning),
            AlertKind::Budget => {
                let left = self.status.least_budget()?;
                let low = self.slo.severity.iter().any(|rule| {
                    matches!(rule.condition, Condition::BudgetBelow(level) if left < level)
                        && rule.when.iter().all(|(name, value)| self.status.labels.get(name) == Some(value))
                });
                if left <= 0.0 { Some(FireReason::BudgetSpent) } else { low.then_some(FireReason::BudgetLow) }
            }
            AlertKind::DataMissing | AlertKind::ChangeWorse | AlertKind::BreakGlass => None,
        }
    }

    /// Nothing fires and nothing is missing: a series without alerts stays without.
    fn is_quiet(&self) -> bool {
        !self.no_data() && AlertKind::ALL.iter().all(|kind| self.blind || self.condition(*kind).is_none())
    }

    /// Whether history is still being read: windows are not yet what they will be, so nothing ends on them.
    fn is_filling(&self) -> bool {
        self.status.data.reason == DataReason::Filling
    }

    fn identity(&self, kind: AlertKind) -> (Labels, super::Sev) {
        let (slo, series) = (self.slo, &self.status.labels);
        let sev = severity_of(&slo.severity, kind, series, self.status.least_budget());
        let extras = slo.alerts.get(&kind);
        let said = |name: &str| extras.and_then(|extras| extras.labels.get(name).cloned());
        let own = [
            ("alertname", extras.and_then(|extras| extras.name.clone()).unwrap_or_else(|| kind.alertname().to_owned())),
            ("service", slo.service.clone()),
            ("slo", slo.name.clone()),
            ("slo_id", slo.id.clone()),
            ("owner", slo.owner.clone()),
            ("severity", said("severity").unwrap_or_else(|| sev.severity().to_owned())),
            ("sev", sev.to_string()),
            ("kind", kind.as_str().to_owned()),
        ];
        let clashes = |name: &str| own.iter().any(|(taken, _)| *taken == name);
        let mut labels: Labels = series
            .iter()
            .map(|(name, value)| (if clashes(name) { format!("series_{name}") } else { name.to_owned() }, value))
            .collect();
        let of_kind = extras.map(|extras| &extras.labels);
        for (name, value) in of_kind.into_iter().flatten().chain(&slo.labels) {
            if !clashes(name) && labels.get(name).is_none() {
                labels.set(name, value.clone());
            }
        }
        for (name, value) in own {
            labels.set(name, value);
        }
        (labels, sev)
    }

    /// When the page that fires now began, where that is certain: its end was not seen if an alert fires that is older.
    fn page_since(&self, kind: AlertKind) -> Option<Seconds> {
        let page = self.status.page.filter(|page| kind == AlertKind::FastBurn && page.fires())?;
        // One that is older than what is remembered seems to begin there.
        (page.since > self.at - MEMORY_S + SLICE_MAX_S).then_some(page.since)
    }

    /// When an alert that fires for the first time began: where its state is the series' state, that state's onset.
    fn onset(&self, kind: AlertKind) -> Seconds {
        let own_state = match kind {
            AlertKind::FastBurn => self.status.state == SloState::FastBurn,
            AlertKind::SlowBurn => self.status.state == SloState::SlowBurn,
            AlertKind::Budget => self.status.state == SloState::Exhausted,
            AlertKind::DataMissing | AlertKind::ChangeWorse | AlertKind::BreakGlass => false,
        };
        self.status.since.filter(|_| own_state).map_or(self.at, |since| since.min(self.at))
    }
}

impl Outage {
    /// What becomes of it with the next evaluation; `None` when there is none, or it is over.
    fn step(outage: Option<Outage>, missing: bool, at: Seconds) -> Option<Outage> {
        let Some(outage) = outage else {
            return missing.then_some(Outage { missing_s: 0, at, back_since: None });
        };
        let went_on = missing && outage.back_since.is_none();
        let missing_s = outage.missing_s + if went_on { at - outage.at } else { 0 };
        let back_since = if missing { None } else { outage.back_since.or(Some(at)) };
        let is_over = back_since.is_some_and(|since| at - since >= DATA_BACK_AFTER_S);
        (!is_over).then_some(Outage { missing_s, at, back_since })
    }
}

impl SeriesAlerts {
    fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.outage.is_none()
    }

    fn prune(&mut self, at: Seconds) {
        self.alerts.retain(|alert| alert.resolved_at.is_none_or(|ended| at - ended <= RESOLVED_KEPT_S));
    }

    fn firing(&self, kind: AlertKind) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.kind == kind && alert.resolved_at.is_none())
    }

    fn step(&mut self, step: &Step) -> Vec<Transition> {
        let mut transitions = Vec::new();
        self.prune(step.at);
        for kind in [AlertKind::FastBurn, AlertKind::SlowBurn, AlertKind::Budget] {
            self.judge(kind, step, &mut transitions);
        }
        self.judge_data(step, &mut transitions);
        transitions
    }

    /// One of the alerts that hang on data.
    fn judge(&mut self, kind: AlertKind, step: &Step, transitions: &mut Vec<Transition>) {
        let condition = step.condition(kind);
        if step.blind || step.is_filling() && condition.is_none() {
            self.hold(kind, step, transitions);
            return;
        }
        let inhibitor = match kind {
            AlertKind::FastBurn | AlertKind::DataMissing | AlertKind::ChangeWorse | AlertKind::BreakGlass => None,
            AlertKind::SlowBurn => self.firing(AlertKind::FastBurn),
            AlertKind::Budget => self.firing(AlertKind::FastBurn).or(self.firing(AlertKind::SlowBurn)),
        };
        let covered_by = step.covered_by.filter(|&by| strength(by) >= strength(kind));
        let inhibited_by = inhibitor.map(|alert| alert.kind).or(covered_by);
        match condition {
            Some(reason) => self.fire(kind, reason, inhibited_by, step, transitions),
            None => self.resolve(kind, ResolveReason::ConditionEnded, step.at, transitions),
        }
    }

    fn judge_data(&mut self, step: &Step, transitions: &mut Vec<Transition>) {
        let kind = AlertKind::DataMissing;
        let expected =
            matches!(step.status.data.reason, DataReason::NoSource | DataReason::Filling | DataReason::ScaledToZero);
        if step.slo.mute.contains(&kind) || step.no_data() && expected {
            self.outage = None;
        } else {
            self.outage = Outage::step(self.outage, step.no_data(), step.at);
        }
        let Some(outage) = self.outage else {
            self.resolve(kind, ResolveReason::ConditionEnded, step.at, transitions);
            return;
        };
        let said_by = step.missing_said.then_some(kind);
        let is_due = outage.missing_s >= DATA_MISSING_AFTER_S && step.no_data();
        let held = self.alerts.iter().any(|alert| alert.held);
        if step.no_data() && self.firing(kind).is_some() || is_due && (held || !step.whole_blind) {
            let reason = if held { FireReason::NoDataWhileFiring } else { FireReason::NoData };
            self.fire(kind, reason, said_by, step, transitions);
        }
    }

    /// Keeps what fires, as it is.
    fn hold(&mut self, kind: AlertKind, step: &Step, transitions: &mut Vec<Transition>) {
        let held = self.alerts.iter_mut().find(|alert| alert.kind == kind && alert.resolved_at.is_none());
        let Some(alert) = held else { return };
        alert.annotations.extend(text::data_annotations(step.status));
        if !alert.held {
            alert.held = true;
            transitions.push(Transition::of(alert, step.at, TransitionKind::Held(step.status.data.reason)));
        }
    }

    /// Its condition holds: fires it, or carries it on.
    fn fire(
        &mut self,
        kind: AlertKind,
        reason: FireReason,
        inhibited_by: Option<AlertKind>,
        step: &Step,
        transitions: &mut Vec<Transition>,
    ) {
        let (labels, sev) = step.identity(kind);
        let mut annotations = text::annotations(step.slo, step.status, kind);
        if step.no_data() {
            annotations.extend(text::data_annotations(step.status));
        }
        let firing = self.alerts.iter_mut().find(|alert| alert.kind == kind && alert.resolved_at.is_none());
        let relabelled = match firing {
            Some(alert) if alert.labels == labels => {
                alert.annotations = annotations;
                alert.starts_at = alert.starts_at.max(step.page_since(kind).unwrap_or(Seconds::MIN));
                alert.carry_on(inhibited_by, step.at, transitions);
                return;
            }
            Some(alert) => Some(alert.is_sendable()),
            None => None,
        };
        let (starts_at, reason) = match relabelled {
            Some(_) => (step.at, FireReason::Relabelled),
            None => (step.onset(kind), reason),
        };
        self.resolve(kind, ResolveReason::Relabelled, step.at, transitions);
        // One that went out goes on going out; one that waited waits on.
        let inhibited_by = inhibited_by.filter(|_| relabelled != Some(true));
        self.alerts.retain(|alert| alert.labels != labels);
        let alert = Alert {
            labels,
            annotations,
            slo_id: self.slo_id.clone(),
            series: self.series.clone(),
            kind,
            sev,
            starts_at,
            resolved_at: None,
            held: false,
            inhibited_by,
        };
        let change = inhibited_by.map_or(TransitionKind::Fired(reason), TransitionKind::Inhibited);
        transitions.push(Transition::of(&alert, step.at, change));
        self.alerts.push(alert);
    }

    /// Ends what fires of `kind`. What never went out is forgotten: nobody is waiting to hear of its end.
    fn resolve(&mut self, kind: AlertKind, reason: ResolveReason, at: Seconds, transitions: &mut Vec<Transition>) {
        let Some(place) = self.alerts.iter().position(|alert| alert.kind == kind && alert.resolved_at.is_none()) else {
            return;
        };
        let alert = &mut self.alerts[place];
        alert.resolved_at = Some(at);
        alert.held = false;
        transitions.push(Transition::of(alert, at, TransitionKind::Resolved(reason)));
        if !alert.is_sendable() {
            self.alerts.remove(place);
        }
    }
}

impl Alert {
    /// Goes on firing with data: no longer held, and inhibited only as long as it never went out.
    fn carry_on(&mut self, inhibited_by: Option<AlertKind>, at: Seconds, transitions: &mut Vec<Transition>) {
        if std::mem::take(&mut self.held) {
            transitions.push(Transition::of(self, at, TransitionKind::Judged));
        }
        if self.inhibited_by.is_some() {
            self.inhibited_by = inhibited_by;
            if inhibited_by.is_none() {
                transitions.push(Transition::of(self, at, TransitionKind::Released));
            }
        }
    }
}
