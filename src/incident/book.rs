//! All incidents that are known: which burn belongs to which, when one begins and when it is over.
//!
//! Burns of one service that overlap are one incident. What burns again within half an hour after it was over belongs to
//! it still: nobody calls that a second one. Bounded: the oldest are forgotten, open ones never.

use std::collections::{BTreeMap, BTreeSet};

use super::change::rank;
use super::{Burn, Incident, Note};
use crate::engine::{Alert, AlertKind, Labels, Seconds, SeriesStatus, Snapshot};
use crate::gate::observed::Change;

/// What burns again so soon after an incident belongs to it, seconds.
const REOPENED_S: i64 = 1800;
/// Changes are looked for as long after the first alert, seconds: some are told of late.
const CHANGES_UNTIL_S: i64 = 3600;
/// Incidents that are remembered.
pub const INCIDENTS_MAX: usize = 2_000;
/// Burns of one incident.
const BURNS_MAX: usize = 200;
/// Notes of one incident.
const NOTES_MAX: usize = 50;

/// What is known of changes.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Those that are remembered.
    pub all: Vec<Change>,
    /// Which services a service depends on.
    pub dependencies: BTreeMap<String, Vec<String>>,
}

/// Every incident that is remembered.
#[derive(Debug, Clone, Default)]
pub struct Book {
    incidents: BTreeMap<String, Incident>,
}

impl Book {
    /// A book that goes on from these.
    pub fn restored(incidents: impl IntoIterator<Item = Incident>) -> Self {
        Book { incidents: incidents.into_iter().map(|incident| (incident.id.clone(), incident)).collect() }
    }

    /// The incident of this id.
    pub fn get(&self, id: &str) -> Option<&Incident> {
        self.incidents.get(id)
    }

    /// All of them, the newest first.
    pub fn all(&self) -> Vec<&Incident> {
        let mut all: Vec<&Incident> = self.incidents.values().collect();
        all.sort_by_key(|incident| (std::cmp::Reverse(incident.detected_at), &incident.id));
        all
    }

    /// The open incident of a service.
    pub fn open(&self, service: &str) -> Option<&Incident> {
        self.incidents.values().find(|incident| incident.service == service && incident.ended_at.is_none())
    }

    /// Takes an evaluation. Answers the ids of what changed, and of what is to be forgotten.
    pub fn step(&mut self, snapshot: &Snapshot, changes: &Changes) -> (BTreeSet<String>, Vec<String>) {
        let mut burning: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
        let burns = |alert: &&Alert| matches!(alert.kind, AlertKind::FastBurn | AlertKind::SlowBurn);
        for alert in snapshot.alerts.iter().filter(burns).filter(|alert| alert.resolved_at.is_none()) {
            if let Some(service) = alert.labels.get("service") {
                burning.entry(service).or_default().push(alert);
            }
        }
        let mut changed = BTreeSet::new();
        for (service, alerts) in &burning {
            let id = self.id_for(service, alerts);
            let before = self.incidents.get(&id).cloned();
            let incident = self.incidents.entry(id.clone()).or_insert_with(|| begun(id.clone(), service, alerts));
            incident.ended_at = None;
            alerts.iter().for_each(|alert| add(incident, alert, snapshot));
            settle(incident, alerts, snapshot.at);
            look_for_changes(incident, changes, snapshot.at);
            if before.as_ref() != Some(incident) {
                changed.insert(id);
            }
        }
        let over =
            |incident: &&mut Incident| incident.ended_at.is_none() && !burning.contains_key(incident.service.as_str());
        for incident in self.incidents.values_mut().filter(over) {
            settle(incident, &[], snapshot.at);
            let ends = incident.burns.iter().filter_map(|burn| burn.resolved_at);
            incident.ended_at = Some(ends.max().unwrap_or(snapshot.at));
            changed.insert(incident.id.clone());
        }
        (changed, self.forget())
    }

    /// A person says something of an incident.
    ///
    /// # Errors
    /// There is none of this id, or it has as many notes as it may.
    pub fn note(&mut self, id: &str, note: Note) -> Result<&Incident, String> {
        let incident = self.incidents.get_mut(id).ok_or_else(|| format!("there is no incident {id:?}"))?;
        if incident.notes.len() >= NOTES_MAX {
            return Err(format!("{id} has {NOTES_MAX} notes, which is as many as are kept"));
        }
        incident.notes.push(note);
        Ok(incident)
    }

    /// The incident that these alerts belong to: the open one, one that was just over, or a new one.
    fn id_for(&self, service: &str, alerts: &[&Alert]) -> String {
        let first = alerts.iter().map(|alert| alert.starts_at).min().unwrap_or(0);
        let last = alerts.iter().map(|alert| alert.starts_at).max().unwrap_or(0);
        let of_service = self.incidents.values().filter(|incident| incident.service == service);
        let goes_on = |incident: &&Incident| incident.ended_at.is_none_or(|end| last <= end + REOPENED_S);
        let newest = of_service.filter(goes_on).max_by_key(|incident| incident.detected_at);
        newest.map_or_else(|| id(service, first), |incident| incident.id.clone())
    }

    fn forget(&mut self) -> Vec<String> {
        let mut over: Vec<(Seconds, String)> = self
            .incidents
            .values()
            .filter(|it| it.ended_at.is_some())
            .map(|it| (it.detected_at, it.id.clone()))
            .collect();
        let many = self.incidents.len().saturating_sub(INCIDENTS_MAX);
        over.sort_unstable();
        let gone: Vec<String> = over.into_iter().take(many).map(|(_, id)| id).collect();
        gone.iter().for_each(|id| drop(self.incidents.remove(id)));
        gone
    }
}

/// `checkout-20250403T0207Z`.
fn id(service: &str, at: Seconds) -> String {
    let time = jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{service}-{}", time.strftime("%Y%m%dT%H%MZ"))
}

fn begun(id: String, service: &str, alerts: &[&Alert]) -> Incident {
    let first = alerts.iter().map(|alert| alert.starts_at).min().unwrap_or(0);
    let owner = alerts.iter().find_map(|alert| alert.labels.get("owner")).unwrap_or_default().to_owned();
    let sev = alerts.iter().map(|alert| alert.sev).min().expect("an incident begins with an alert");
    Incident {
        id,
        service: service.to_owned(),
        owner,
        sev,
        started_at: first,
        detected_at: first,
        ended_at: None,
        tags: BTreeMap::new(),
        burns: Vec::new(),
        changes: Vec::new(),
        notes: Vec::new(),
    }
}

/// Adds an alert that fires.
fn add(incident: &mut Incident, alert: &Alert, snapshot: &Snapshot) {
    incident.sev = incident.sev.min(alert.sev);
    let key = (&alert.slo_id, &alert.series);
    let place = match incident.burns.binary_search_by(|burn| (&burn.slo_id, &burn.series).cmp(&key)) {
        Ok(place) => place,
        Err(_) if incident.burns.len() >= BURNS_MAX => return,
        Err(place) => {
            let burn = Burn {
                slo_id: alert.slo_id.clone(),
                series: alert.series.clone(),
                kind: alert.kind,
                alert_at: alert.starts_at,
                resolved_at: None,
                onset: None,
                said: None,
                worst_burn: None,
            };
            incident.burns.insert(place, burn);
            place
        }
    };
    let burn = &mut incident.burns[place];
    (burn.kind, burn.alert_at, burn.resolved_at) =
        (burn.kind.min(alert.kind), burn.alert_at.min(alert.starts_at), None);
    let Some((unit, status)) = status_of(snapshot, &alert.slo_id, &alert.series) else { return };
    // A second step within it is no new beginning.
    if let Some(onset) = status.onset.filter(|onset| onset.at <= burn.alert_at) {
        (burn.onset, burn.said) = (Some(onset), Some(onset.spoken(unit)));
    }
    let now = status.windows.first().and_then(|window| window.burn_rate);
    burn.worst_burn = [burn.worst_burn, now].into_iter().flatten().reduce(f64::max);
}

fn status_of<'a>(
    snapshot: &'a Snapshot,
    slo_id: &str,
    series: &Labels,
) -> Option<(crate::engine::Unit, &'a SeriesStatus)> {
    let entry = snapshot.slo(slo_id)?;
    Some((entry.slo.unit, entry.series.iter().find(|status| status.labels == *series)?))
}

/// Brings what follows from the burns in line with them: `firing` are those that go on.
fn settle(incident: &mut Incident, firing: &[&Alert], at: Seconds) {
    for burn in incident.burns.iter_mut().filter(|burn| burn.resolved_at.is_none()) {
        if !firing.iter().any(|alert| alert.slo_id == burn.slo_id && alert.series == burn.series) {
            burn.resolved_at = Some(at);
        }
    }
    let alerts = incident.burns.iter().map(|burn| burn.alert_at);
    incident.detected_at = alerts.min().unwrap_or(incident.detected_at);
    let onsets = incident.burns.iter().filter_map(|burn| burn.onset).map(|onset| onset.at);
    incident.started_at = onsets.chain([incident.detected_at]).min().unwrap_or(incident.detected_at);
    let mut tags: BTreeMap<String, String> = match incident.burns.split_first() {
        None => BTreeMap::new(),
        Some((first, others)) => {
            let shared = |&(name, value): &(&str, &str)| others.iter().all(|burn| burn.series.get(name) == Some(value));
            let pairs = first.series.iter().filter(shared);
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }
    };
    tags.insert("owner".to_owned(), incident.owner.clone());
    tags.insert("severity".to_owned(), incident.sev.to_string());
    incident.tags = tags;
}

fn look_for_changes(incident: &mut Incident, changes: &Changes, at: Seconds) {
    if at > incident.detected_at + CHANGES_UNTIL_S {
        return;
    }
    let latest = incident.first().and_then(|burn| burn.onset).map_or(incident.started_at, |onset| onset.latest);
    let none = Vec::new();
    let dependencies = changes.dependencies.get(&incident.service).unwrap_or(&none);
    incident.changes = rank(&incident.service, dependencies, changes.all.iter(), incident.started_at, latest);
}
