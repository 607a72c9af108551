//! From a snapshot and the ledger to the view of one service.

use std::collections::{HashMap, HashSet};

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

/// All there is to see: what views are extracts of. Made once for all services, so that each of them is found at once:
/// a fleet has as many policies as services.
pub struct Scene<'a> {
    snapshot: &'a Snapshot,
    ledger: Option<&'a Ledger>,
    /// The SLOs of each service.
    services: HashMap<&'a str, Vec<&'a SloSnapshot>>,
    /// What changed of each service, oldest first.
    changes: HashMap<&'a str, Vec<&'a Change>>,
    peers: Peers<'a>,
}

impl<'a> Scene<'a> {
    /// `snapshot` is the last evaluation, and `ledger` has the slices behind it: without them no onset and no record of
    /// a version is known. `changes` are those of the gate state, of all services, oldest first.
    pub fn new(
        snapshot: &'a Snapshot,
        ledger: Option<&'a Ledger>,
        changes: impl IntoIterator<Item = &'a Change>,
    ) -> Self {
        let mut services: HashMap<&str, Vec<&SloSnapshot>> = HashMap::new();
        for entry in &snapshot.slos {
            services.entry(&entry.slo.service).or_default().push(entry);
        }
        let mut of_service: HashMap<&str, Vec<&Change>> = HashMap::new();
        for change in changes {
            of_service.entry(&change.service).or_default().push(change);
        }
        let lately = |changes: &Vec<&Change>| changes.iter().any(|change| change.at > snapshot.at - UNTOUCHED_S);
        let touched = of_service.iter().filter(|(_, changes)| lately(changes)).map(|(service, _)| *service).collect();
        Scene { snapshot, ledger, services, changes: of_service, peers: Peers::of(snapshot, &touched) }
    }

    /// The view of `service`; `None` where it has no SLO. `dependencies` are the services that the policy names.
    pub fn view(&self, service: &str, dependencies: &[String], observed: Observed, health: Health) -> Option<View> {
        let slos: Vec<SloView> = self.of(service).iter().map(|entry| self.slo(entry)).collect();
        if slos.is_empty() {
            return None;
        }
        Some(View {
            service: service.to_string(),
            at: self.snapshot.at,
            slos,
            upstreams: dependencies.iter().map(|name| self.upstream(name)).collect(),
            peers: self.peers.median(dependencies.iter().map(String::as_str).chain([service])),
            history: self.history(service, self.changes.get(service).map_or(&[], Vec::as_slice)),
            observed,
            resources: None,
            health,
        })
    }

    fn of(&self, service: &str) -> &[&'a SloSnapshot] {
        self.services.get(service).map_or(&[], Vec::as_slice)
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

    /// The worst state of a service's SLOs, and whether some budget is spent; `Unknown` where it has none.
    pub fn standing(&self, service: &str) -> (SloState, bool) {
        let spent = |entry: &&&SloSnapshot| {
            entry.series.iter().any(|series| series.budget_remaining.is_some_and(|left| left <= 0.0))
        };
        (self.upstream(service).state, self.of(service).iter().any(|entry| spent(&entry)))
    }

    fn upstream(&self, service: &str) -> Upstream {
        let worst = self.of(service).iter().map(|entry| self.slo(entry)).max_by_key(|slo| severity(slo.state));
        Upstream {
            service: service.to_string(),
            state: worst.as_ref().map_or(SloState::Unknown, |slo| slo.state),
            onset: worst.and_then(|slo| slo.onset.or(slo.since)),
        }
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

/// Burn rates over the shortest windows of all series whose data is fresh and whose service nobody touched, sorted once.
struct Peers<'a> {
    burns: Vec<f64>,
    /// Where those of each service stand among them, ascending.
    places: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Peers<'a> {
    fn of(snapshot: &'a Snapshot, touched: &HashSet<&str>) -> Self {
        let mut all: Vec<(f64, &str)> = Vec::new();
        for entry in snapshot.slos.iter().filter(|entry| !touched.contains(entry.slo.service.as_str())) {
            let fresh = entry.series.iter().filter(|series| series.data.state == DataState::Fresh);
            let burns = fresh.filter_map(|series| series.windows.first()?.burn_rate);
            all.extend(burns.map(|burn| (burn, entry.slo.service.as_str())));
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, (_, service)) in all.iter().enumerate() {
            places.entry(service).or_default().push(place);
        }
        Peers { burns: all.into_iter().map(|(burn, _)| burn).collect(), places }
    }

    /// The median without these services.
    fn median<'s>(&self, without: impl Iterator<Item = &'s str>) -> Option<f64> {
        let mut out: Vec<usize> = without.filter_map(|service| self.places.get(service)).flatten().copied().collect();
        out.sort_unstable();
        out.dedup();
        // Whatever is left out before it moves the median on by one.
        let mut place = (self.burns.len() - out.len()) / 2;
        for left_out in out {
            place += usize::from(left_out <= place);
        }
        self.burns.get(place).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_a_list_without_the_services_left_out() {
        let burns: Vec<f64> = (0..9).map(f64::from).collect();
        let names = ["a", "b", "c", "a", "b", "c", "a", "b", "b"];
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, name) in names.iter().enumerate() {
            places.entry(name).or_default().push(place);
        }
        let peers = Peers { burns: burns.clone(), places };
        for without in [vec![], vec!["a"], vec!["b"], vec!["a", "b"], vec!["a", "a", "d"], vec!["a", "b", "c"]] {
            let left: Vec<f64> =
                burns.iter().zip(&names).filter(|(_, name)| !without.contains(name)).map(|(burn, _)| *burn).collect();
            let median = left.get(left.len() / 2).copied();
            assert_eq!(peers.median(without.iter().copied()), median, "{without:?}");
        }
    }
}
