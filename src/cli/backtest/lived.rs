//! One policy as it lives through a range: evaluation after evaluation by the daemon's own code, and what was out when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::policy::Policy;
use crate::app::evaluation::{Health, evaluate};
use crate::engine::alert::{AlertKind, AlertMachine};
use crate::engine::status::ClauseStatus;
use crate::engine::{Labels, Ledger, SeriesStatus, Snapshot, Speed};
use crate::gate::replay::Flip;
use crate::inspect::compare::replay::Fired;
use crate::telemetry::compat::window_name;

/// What goes out, for how long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Episode {
    pub slo: String,
    #[serde(serialize_with = "as_map")]
    pub series: Labels,
    pub kind: AlertKind,
    /// Seconds since the epoch.
    pub from: i64,
    /// `None` while it is out at the end of the range.
    pub to: Option<i64>,
    /// Share of the window's budget that went in the long window of the clause that fired, when it did.
    pub spent: Option<f64>,
    /// What was left of the budget then.
    pub budget_left: Option<f64>,
    /// Of an alert of somebody else's rules: how far ours was from its own when it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours: Option<String>,
}

fn as_map<S: serde::Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}

/// A decision of the gate that a policy makes another one.
#[derive(Debug, Clone, Serialize)]
pub struct Flipped {
    pub decision_id: String,
    pub flip: Flip,
}

/// What an alert is told by, whatever its severity.
type Key = (String, Labels, AlertKind);

/// A policy, and how far it has come.
pub struct Lived {
    pub policy: Policy,
    pub episodes: Vec<Episode>,
    /// What the gate would have answered otherwise.
    pub flips: Vec<Flipped>,
    statuses: Vec<Arc<[SeriesStatus]>>,
    alerts: AlertMachine,
    /// Where the episode of what is out lies.
    out: BTreeMap<Key, usize>,
    /// Since when the clauses of a peer hold, by SLO, series and clause.
    over_since: HashMap<(usize, Labels, usize), i64>,
}

impl Lived {
    pub fn new(policy: Policy) -> Self {
        Lived {
            policy,
            episodes: Vec::new(),
            flips: Vec::new(),
            statuses: Vec::new(),
            alerts: AlertMachine::new(),
            out: BTreeMap::new(),
            over_since: HashMap::new(),
        }
    }

    /// One evaluation, and what it says. What is out at the first one, before the range begins, is not new in it.
    pub fn step(&mut self, ledger: &Ledger, health: &Health<'_>, at: i64) -> Snapshot {
        let (snapshot, _) = evaluate(&self.policy.slos, &[], ledger, health, at, &self.statuses, &mut self.alerts);
        let out = match (&self.policy.theirs, self.policy.held_s.clone()) {
            (Some(fired), _) => of_theirs(fired, &snapshot, at),
            (None, None) => own(&snapshot),
            (None, Some(held_s)) => self.of_peer(&snapshot, &held_s, at),
        };
        self.out.retain(|key, place| {
            let goes_on = out.contains(key);
            if !goes_on {
                self.episodes[*place].to = Some(at);
            }
            goes_on
        });
        for key in out {
            if !self.out.contains_key(&key) {
                let mut episode = begun(&key, &snapshot, at);
                if self.policy.theirs.is_some() {
                    episode.ours = nearest(&key, &snapshot);
                }
                self.out.insert(key, self.episodes.len());
                self.episodes.push(episode);
            }
        }
        self.statuses = snapshot.slos.iter().map(|entry| Arc::clone(&entry.series)).collect();
        snapshot
    }

    fn of_peer(&mut self, snapshot: &Snapshot, held_s: &[i64], at: i64) -> BTreeSet<Key> {
        let mut out = BTreeSet::new();
        for (index, entry) in snapshot.slos.iter().enumerate() {
            for status in entry.series.iter().filter(|status| !entry.slo.is_whole(&status.labels)) {
                let mut fires = [false; 2];
                for (nth, clause) in status.clauses.iter().enumerate() {
                    let key = (index, status.labels.clone(), nth);
                    if !clause.firing {
                        self.over_since.remove(&key);
                        continue;
                    }
                    let since = *self.over_since.entry(key).or_insert(at);
                    fires[usize::from(clause.speed == Speed::Slow)] |=
                        at - since >= held_s.get(nth).copied().unwrap_or(0);
                }
                let kinds = [(fires[0], AlertKind::FastBurn), (fires[1], AlertKind::SlowBurn)];
                let key = |kind| (entry.slo.id.clone(), status.labels.clone(), kind);
                out.extend(kinds.into_iter().filter(|(fires, _)| *fires).map(|(_, kind)| key(kind)));
            }
        }
        out
    }
}

/// What our own engine sends at this moment.
fn own(snapshot: &Snapshot) -> BTreeSet<Key> {
    let out = snapshot.alerts.iter().filter(|alert| alert.resolved_at.is_none() && alert.is_sendable());
    out.map(|alert| (alert.slo_id.clone(), alert.series.clone(), alert.kind)).collect()
}

/// What another tool's rules have out at this moment.
fn of_theirs(fired: &[(usize, Fired)], snapshot: &Snapshot, at: i64) -> BTreeSet<Key> {
    let out = fired.iter().filter(|(_, fired)| (fired.from_s..fired.to_s).contains(&at));
    out.filter_map(|(index, fired)| Some((snapshot.slos.get(*index)?.slo.id.clone(), fired.labels.clone(), fired.kind)))
        .collect()
}

/// The clause of ours that is nearest to firing, with its numbers.
fn nearest((slo, series, kind): &Key, snapshot: &Snapshot) -> Option<String> {
    let entry = snapshot.slo(slo)?;
    let Some(status) = entry.series.iter().find(|status| status.labels == *series) else {
        return Some("no such series is counted here".to_owned());
    };
    let speed = if *kind == AlertKind::FastBurn { Speed::Fast } else { Speed::Slow };
    let part = |clause: &ClauseStatus| {
        let [long, short] = [clause.burn_long, clause.burn_short].map(|burn| burn.unwrap_or(0.0) / clause.factor);
        long.min(short)
    };
    let clauses = status.clauses.iter().filter(|clause| clause.speed == speed);
    let clause = clauses.max_by(|a, b| part(a).total_cmp(&part(b)))?;
    let burn = |burn: Option<f64>| burn.map_or("no data".to_owned(), |burn| format!("{burn:.2}x"));
    let windows = [clause.long_s, clause.short_s].map(window_name);
    let numbers = format!(
        "{} {}, {} {} of {:.4}x",
        windows[0],
        burn(clause.burn_long),
        windows[1],
        burn(clause.burn_short),
        clause.factor
    );
    let over = part(clause) > 1.0;
    Some(match (clause.firing, over, clause.chance) {
        (false, true, Some(chance)) => format!("{numbers}; so few events may be chance ({:.2} %)", chance * 100.0),
        _ => numbers,
    })
}

fn begun((slo, series, kind): &Key, snapshot: &Snapshot, at: i64) -> Episode {
    let entry = snapshot.slo(slo);
    let status = entry.and_then(|entry| entry.series.iter().find(|status| status.labels == *series));
    let speed = match kind {
        AlertKind::FastBurn => Some(Speed::Fast),
        AlertKind::SlowBurn => Some(Speed::Slow),
        _ => None,
    };
    let spent = entry.zip(status).zip(speed).and_then(|((entry, status), speed)| {
        let firing = status.clauses.iter().filter(|clause| clause.firing && clause.speed == speed);
        let spent =
            firing.filter_map(|clause| Some(clause.burn_long? * clause.long_s as f64 / entry.slo.window_s as f64));
        spent.reduce(f64::max)
    });
    Episode {
        slo: slo.clone(),
        series: series.clone(),
        kind: *kind,
        from: at,
        to: None,
        spent,
        budget_left: status.and_then(|status| status.budget_remaining),
        ours: None,
    }
}
