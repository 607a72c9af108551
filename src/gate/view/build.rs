//! From a snapshot and the ledger to the view of one service.

use super::super::observed::{Change, Observed};
use super::onset::onset;
use super::{ClauseView, Health, SloView, Upstream, VersionRecord, View, WindowView};
use crate::engine::{DataReason, DataState, Ledger, Seconds, SeriesStatus, Slo, SloSnapshot, SloState, Snapshot};

/// How far before a burn its beginning is looked for, seconds.
const ONSET_REACH_S: i64 = 2 * 3600;
/// Versions of a resource whose record is kept in a view.
const VERSIONS_MAX: usize = 10;
/// How much of the time before the first known change counts for the version that ran then, seconds.
const BEFORE_S: i64 = 24 * 3600;
/// A service that changed within this time is no peer, seconds.
const UNTOUCHED_S: i64 = 3600;

/// All there is to see: what views are extracts of.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The last evaluation.
    pub snapshot: &'a Snapshot,
    /// The slices behind it. Without them no onset and no record of a version is known.
    pub ledger: Option<&'a Ledger>,
}

impl Scene<'_> {
    /// The view of `service`; `None` where it has no SLO. `changes` are those of the gate state, of all services, oldest
    /// first; `dependencies` the services that the policy names.
    pub fn view<'c>(
        &self,
        service: &str,
        dependencies: &[String],
        changes: impl Iterator<Item = &'c Change> + Clone,
        observed: Observed,
        health: Health,
    ) -> Option<View> {
        let slos: Vec<SloView> = self.of(service).map(|entry| self.slo(entry)).collect();
        if slos.is_empty() {
            return None;
        }
        let own: Vec<&Change> = changes.clone().filter(|change| change.service == service).collect();
        Some(View {
            service: service.to_string(),
            at: self.snapshot.at,
            slos,
            upstreams: dependencies.iter().map(|name| self.upstream(name)).collect(),
            peers: self.peers(service, dependencies, changes),
            history: self.history(service, &own),
            observed,
            health,
        })
    }

    fn of<'s>(&'s self, service: &'s str) -> impl Iterator<Item = &'s SloSnapshot> {
        self.snapshot.slos.iter().filter(move |entry| entry.slo.service == service)
    }

    fn slo(&self, entry: &SloSnapshot) -> SloView {
        let slo = &entry.slo;
        let worst = entry.series.iter().max_by(|a, b| rank(a).0.cmp(&rank(b).0).then(rank(a).1.total_cmp(&rank(b).1)));
        let blind = entry.series.iter().max_by_key(|series| series.data.state);
        let left = entry.series.iter().filter_map(|series| series.budget_remaining);
        let window = |window: &crate::engine::status::WindowStatus| WindowView {
            window_s: window.window_s,
            total: window.total,
            bad: window.bad,
            burn: window.burn_rate,
        };
        let clause = |clause: &crate::engine::status::ClauseStatus| ClauseView {
            speed: clause.speed,
            long_s: clause.long_s,
            short_s: clause.short_s,
            factor: clause.factor,
            firing: clause.firing,
        };
        SloView {
            id: slo.id.clone(),
            objective: slo.objective,
            budget: slo.budget(),
            series: entry.series.len() as u64,
            worst: worst.map(|series| series.labels.clone()).unwrap_or_default(),
            state: worst.map_or(SloState::Unknown, |series| series.state),
            since: worst.and_then(|series| series.since),
            onset: worst.and_then(|series| self.onset(slo, series)),
            data: blind.map_or(DataState::Absent, |series| series.data.state),
            data_reason: blind.map_or(DataReason::NoSeries, |series| series.data.reason),
            newest: entry.series.iter().filter_map(|series| series.data.newest).min(),
            budget_remaining: left.min_by(f64::total_cmp),
            windows: worst.map(|series| series.windows.iter().map(window).collect()).unwrap_or_default(),
            clauses: worst.map(|series| series.clauses.iter().map(clause).collect()).unwrap_or_default(),
        }
    }

    /// When a burn that is on began.
    fn onset(&self, slo: &Slo, series: &SeriesStatus) -> Option<Seconds> {
        let since = series.since.filter(|_| matches!(series.state, SloState::FastBurn | SloState::SlowBurn))?;
        let of_series = self.ledger?.get(&slo.id, &series.labels)?;
        // Up to the moment the clause fired: a second rise while it burns is not its beginning.
        onset(of_series, since, ONSET_REACH_S)
    }

    fn upstream(&self, service: &str) -> Upstream {
        let worst = self.of(service).map(|entry| self.slo(entry)).max_by_key(|slo| severity(slo.state));
        Upstream {
            service: service.to_string(),
            state: worst.as_ref().map_or(SloState::Unknown, |slo| slo.state),
            onset: worst.and_then(|slo| slo.onset.or(slo.since)),
        }
    }

    /// Median burn of services that nobody touched, that this one does not depend on, and whose data is fresh.
    fn peers<'c>(
        &self,
        service: &str,
        dependencies: &[String],
        changes: impl Iterator<Item = &'c Change>,
    ) -> Option<f64> {
        let touched: Vec<&str> = changes
            .filter(|change| change.at > self.snapshot.at - UNTOUCHED_S)
            .map(|change| change.service.as_str())
            .collect();
        let mut burns: Vec<f64> = Vec::new();
        for entry in &self.snapshot.slos {
            let name = entry.slo.service.as_str();
            if name == service || touched.contains(&name) || dependencies.iter().any(|other| other == name) {
                continue;
            }
            let fresh = entry.series.iter().filter(|series| series.data.state == DataState::Fresh);
            burns.extend(fresh.filter_map(|series| series.windows.first()?.burn_rate));
        }
        burns.sort_by(f64::total_cmp);
        burns.get(burns.len() / 2).copied()
    }

    /// What the SLOs were while each version of each resource ran.
    fn history(&self, service: &str, changes: &[&Change]) -> Vec<VersionRecord> {
        let Some(ledger) = self.ledger else { return Vec::new() };
        let mut records: Vec<VersionRecord> = Vec::new();
        for (resource, version, from, until) in spans(changes, self.snapshot.at) {
            for entry in self.of(service) {
                let (mut total, mut bad) = (0, 0);
                for (_, series) in ledger.of(&entry.slo.id) {
                    let sum = series.window(until, until - from);
                    let (counted, counted_bad) = series.counted(&sum);
                    let scale = entry.slo.unit.scale();
                    total += counted / scale;
                    bad += counted_bad / scale;
                }
                let same = |record: &&mut VersionRecord| {
                    record.resource == resource && record.version == version && record.slo == entry.slo.id
                };
                match records.iter_mut().find(same) {
                    Some(record) => {
                        record.total += total;
                        record.bad += bad;
                    }
                    None => records.push(VersionRecord {
                        resource: resource.to_string(),
                        version: version.to_string(),
                        slo: entry.slo.id.clone(),
                        total,
                        bad,
                    }),
                }
            }
        }
        records.retain(|record| record.total > 0);
        records
    }
}

/// `(resource, version, from, until)` of the newest versions of each resource.
fn spans<'c>(changes: &[&'c Change], now: Seconds) -> Vec<(&'c str, &'c str, Seconds, Seconds)> {
    let mut spans = Vec::new();
    for (i, change) in changes.iter().enumerate() {
        let Some(version) = &change.version else { continue };
        let mut earlier = changes[..i].iter().filter(|earlier| earlier.resource == change.resource);
        if let Some(before) = change.from_version.as_deref()
            && !earlier.any(|earlier| earlier.version.is_some())
        {
            spans.push((change.resource.as_str(), before, change.at - BEFORE_S, change.at));
        }
        let next = changes[i + 1..].iter().find(|later| later.resource == change.resource && later.version.is_some());
        let until = next.map_or(now, |later| later.at);
        let newer = changes[i + 1..].iter().filter(|later| later.resource == change.resource).count();
        if until > change.at && newer < VERSIONS_MAX {
            spans.push((change.resource.as_str(), version.as_str(), change.at, until));
        }
    }
    spans
}

/// How bad a series is: its state, then its burn over the long window of its first clause.
fn rank(series: &SeriesStatus) -> (u8, f64) {
    let burn = series.clauses.first().and_then(|clause| clause.burn_long);
    (severity(series.state), burn.unwrap_or(-1.0))
}

/// What is not known is worse than what is well, and not as bad as what burns.
fn severity(state: SloState) -> u8 {
    match state {
        SloState::Ok => 0,
        SloState::Unknown => 1,
        SloState::SlowBurn => 2,
        SloState::Exhausted => 3,
        SloState::FastBurn => 4,
    }
}
