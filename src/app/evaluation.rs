//! One evaluation of everything: ledger and data health in, snapshot out. Pure but for the types it walks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::engine::alert::{AlertMachine, Transition};
use crate::engine::burn;
use crate::engine::ledger::SeriesLedger;
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::engine::whole::{Counted, whole};
use crate::engine::{Labels, Ledger, Seconds, SeriesStatus, Slo, SloSnapshot, Snapshot};

/// A child of a fan-out (a model, a tier) that has been gone this long, seconds, is no longer shown.
const CHILD_GONE_S: i64 = 3600;
/// SLOs that one core evaluates at least: starting another costs as much as some hundred.
const PART_MIN: usize = 1000;

/// What is known of each series beside its slices.
pub struct Health<'a> {
    /// Series that were seen, by (SLO index, labels).
    pub seen: BTreeMap<(usize, Labels), DataHealth>,
    /// SLOs of which no series was ever seen.
    pub unseen: &'a (dyn Fn(usize) -> DataHealth + Sync),
    /// Children (SLO index, labels) that lost their row: what they counted since is in `other`.
    pub folded: &'a (dyn Fn(usize, &Labels) -> bool + Sync),
    /// SLOs whose history is still being read.
    pub filling: &'a BTreeSet<String>,
}

/// Statuses by SLO id and labels; what the next evaluation compares with.
pub type Statuses = HashMap<String, BTreeMap<Labels, SeriesStatus>>;

/// Evaluates every series of every SLO at `at`.
pub fn evaluate(
    slos: &[Arc<Slo>],
    notes: &BTreeMap<String, Vec<String>>,
    ledger: &Ledger,
    health: &Health<'_>,
    at: Seconds,
    statuses: &mut Statuses,
    book: &mut AlertMachine,
) -> (Snapshot, Vec<Transition>) {
    let mut snapshot = Snapshot { at, ..Snapshot::default() };
    let mut transitions = Vec::new();
    let mut next = Statuses::with_capacity(slos.len());
    let look = |(index, slo): (usize, &Arc<Slo>)| {
        let series = series_of(index, slo, ledger, health, at, statuses.get(&slo.id), book);
        let kept: BTreeMap<Labels, SeriesStatus> =
            series.iter().map(|status| (status.labels.clone(), status.clone())).collect();
        (series, kept)
    };
    for (slo, (series, kept)) in slos.iter().zip(in_parallel(slos, look)) {
        transitions.extend(book.step_all(slo, &series, at));
        next.insert(slo.id.clone(), kept);
        let notes = notes.get(&slo.id).cloned().unwrap_or_default();
        snapshot.slos.push(SloSnapshot { slo: Arc::clone(slo), series, notes, whole: None });
    }
    transitions.extend(book.retain(|slo_id, labels| next.get(slo_id).is_some_and(|of| of.contains_key(labels)), at));
    book.prune(at);
    snapshot.alerts = book.active().into_iter().cloned().collect();
    *statuses = next;
    (snapshot, transitions)
}

/// Adds what other tools' series are made of: every SLO as a whole, over `windows_s`.
pub fn add_wholes(snapshot: &mut Snapshot, ledger: &Ledger, windows_s: &[i64], counted: &BTreeMap<String, Counted>) {
    for entry in &mut snapshot.slos {
        let mut whole = whole(&entry.slo, ledger, &entry.series, windows_s, snapshot.at);
        whole.counted = counted.get(&entry.slo.id).copied().unwrap_or_default();
        entry.whole = Some(whole);
    }
}

/// Every series of one SLO.
fn series_of(
    index: usize,
    slo: &Slo,
    ledger: &Ledger,
    health: &Health<'_>,
    at: Seconds,
    before: Option<&BTreeMap<Labels, SeriesStatus>>,
    book: &AlertMachine,
) -> Vec<SeriesStatus> {
    let mut series: Vec<SeriesStatus> = Vec::new();
    for (labels, slices) in ledger.of(&slo.id) {
        if !labels.is_empty() && !slo.by.is_empty() && (health.folded)(index, labels) {
            continue;
        }
        let data = health.seen.get(&(index, labels.clone())).copied();
        let data = doubted(data.unwrap_or_else(|| (health.unseen)(index)), health.filling.contains(&slo.id));
        if !gone(slo, labels, data, at, book) {
            let previous = before.and_then(|of| of.get(labels));
            let mut status = burn::evaluate(slo, slices, labels, data, at, previous);
            if let Some(ends) = ledger.ends(&slo.id, labels) {
                burn::add_bounds(slo, slices, ends, &mut status);
            }
            series.push(status);
        }
    }
    if series.is_empty() {
        let slice_s = slo.resolution_s.unwrap_or(ledger.resolution_s());
        let none = SeriesLedger::new(ledger.resolution_s(), slo.unit, slo.window_s).judged_by(slice_s);
        let labels = Labels::new();
        let previous = before.and_then(|of| of.get(&labels));
        let data = doubted((health.unseen)(index), health.filling.contains(&slo.id));
        series.push(burn::evaluate(slo, &none, &labels, data, at, previous));
    }
    series
}

/// Does `work` for each SLO, in order. Of very many each core takes a part: what they wait for is memory, and no SLO
/// depends on another.
fn in_parallel<T: Send>(slos: &[Arc<Slo>], work: impl Fn((usize, &Arc<Slo>)) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let part = slos.len().div_ceil(cores).max(PART_MIN);
    if slos.len() <= part {
        return slos.iter().enumerate().map(work).collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let parts: Vec<_> = slos
            .chunks(part)
            .enumerate()
            .map(|(n, slos)| scope.spawn(move || (n * part..).zip(slos).map(work).collect::<Vec<T>>()))
            .collect();
        let done = |part: std::thread::ScopedJoinHandle<'_, Vec<T>>| match part.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        parts.into_iter().flat_map(done).collect()
    })
}

/// While history is being read, nothing of the SLO is called fresh.
fn doubted(data: DataHealth, filling: bool) -> DataHealth {
    match data.state {
        DataState::Fresh if filling => DataHealth { state: DataState::Partial, reason: DataReason::Filling, ..data },
        _ => data,
    }
}

/// Whether a child has left the page: nothing was seen of it for an hour, and nothing fires on it.
fn gone(slo: &Slo, labels: &Labels, data: DataHealth, at: Seconds, book: &AlertMachine) -> bool {
    use crate::engine::alert::AlertKind;
    let burning = || {
        [AlertKind::FastBurn, AlertKind::SlowBurn, AlertKind::Budget]
            .iter()
            .any(|&kind| book.get(&slo.id, labels, kind).is_some_and(|alert| alert.resolved_at.is_none()))
    };
    !slo.by.is_empty()
        && !slo.is_whole(labels)
        && data.state == DataState::Absent
        && data.newest.is_none_or(|newest| at - newest > CHILD_GONE_S)
        && !burning()
}
