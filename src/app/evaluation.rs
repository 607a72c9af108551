//! One evaluation of everything: ledger and data health in, snapshot out. Pure but for the types it walks.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::alert::{AlertMachine, Transition};
use crate::engine::burn;
use crate::engine::ledger::{SeriesLedger, Walk};
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::engine::whole::{Counted, whole};
use crate::engine::{Labels, Ledger, Seconds, SeriesStatus, SliceDelta, Slo, SloSnapshot, SloState, Snapshot};
use crate::prometheus::SeriesHealth;
use crate::query::fanout::child_key;

/// A child of a fan-out (a model, a tier) that has been gone this long, seconds, is no longer shown.
const CHILD_GONE_S: i64 = 3600;
/// SLOs that one core evaluates at least: starting another costs as much as some hundred.
const PART_MIN: usize = 1000;
/// SLOs whose slices are brought near together: what an SLO is made of fits into the nearest cache so many times.
const TOGETHER: usize = 16;

/// What is known of each series beside its slices.
pub struct Health<'a> {
    /// Series that were seen.
    pub seen: SeriesHealth,
    /// SLOs of which no series was ever seen.
    pub unseen: &'a (dyn Fn(usize) -> DataHealth + Sync),
    /// Children (SLO index, labels) that lost their row: what they counted since is in `other`.
    pub folded: &'a (dyn Fn(usize, &Labels) -> bool + Sync),
    /// SLOs whose history is still being read.
    pub filling: &'a BTreeSet<String>,
    /// Services whose workloads are all scaled to 0 replicas: that they have no data is no fault.
    pub scaled_to_zero: &'a BTreeSet<String>,
}

/// What evaluations leave for the next one.
#[derive(Default)]
pub struct Evaluator {
    alerts: AlertMachine,
    /// What the last one said, in the order of the rules.
    statuses: Vec<Arc<[SeriesStatus]>>,
    /// What had to be said of each SLO, in the order of the rules.
    notes: Vec<Arc<[String]>>,
    /// Events read of each SLO, where the series of other tools are exposed.
    counted: BTreeMap<String, Counted>,
}

impl Evaluator {
    /// Goes on with what an earlier process knew.
    pub fn restored(alerts: AlertMachine, statuses: Vec<Arc<[SeriesStatus]>>) -> Self {
        Evaluator { alerts, statuses, ..Evaluator::default() }
    }

    /// Every alert there is.
    pub fn alerts(&self) -> &AlertMachine {
        &self.alerts
    }

    /// What the last evaluation said, in the order of the rules.
    pub fn statuses(&self) -> &[Arc<[SeriesStatus]>] {
        &self.statuses
    }

    /// What was counted is counted again: counters begin anew, as after a restart.
    pub fn forget_counts(&mut self) {
        self.counted.clear();
    }

    /// Counts what a read found of an SLO.
    pub fn count(&mut self, slo_id: &str, deltas: &[SliceDelta]) {
        match self.counted.get_mut(slo_id) {
            Some(counted) => counted.add(deltas),
            None => self.counted.entry(slo_id.to_owned()).or_default().add(deltas),
        }
    }

    /// Takes what must be said of SLOs, by their ids, each in its order. What was said before is shared: of a large fleet that is
    /// much, and it hardly ever changes.
    fn note(&mut self, slos: &[Arc<Slo>], mut notes: Vec<(&str, Cow<'_, str>)>) {
        notes.sort_by(|a, b| a.0.cmp(b.0));
        self.notes.resize_with(slos.len(), Arc::default);
        let mut rest = notes.as_slice();
        for (slo, said) in slos.iter().zip(&mut self.notes) {
            rest = &rest[rest.iter().take_while(|(id, _)| *id < slo.id.as_str()).count()..];
            let (own, others) = rest.split_at(rest.iter().take_while(|(id, _)| *id == slo.id).count());
            if !said.iter().map(String::as_str).eq(own.iter().map(|(_, note)| &**note)) {
                *said = own.iter().map(|(_, note)| note.to_string()).collect();
            }
            rest = others;
        }
    }

    /// Evaluates everything at `at`; over `windows_s` SLOs are also evaluated as a whole, for other tools.
    pub fn evaluate(
        &mut self,
        slos: &[Arc<Slo>],
        notes: Vec<(&str, Cow<'_, str>)>,
        ledger: &Ledger,
        health: &Health<'_>,
        at: Seconds,
        windows_s: &[i64],
    ) -> (Snapshot, Vec<Transition>) {
        self.note(slos, notes);
        let evaluated = evaluate(slos, &self.notes, ledger, health, at, &self.statuses, &mut self.alerts);
        let (mut snapshot, transitions) = evaluated;
        self.statuses = snapshot.slos.iter().map(|entry| Arc::clone(&entry.series)).collect();
        if !windows_s.is_empty() {
            add_wholes(&mut snapshot, ledger, windows_s, &self.counted);
        }
        (snapshot, transitions)
    }

    /// Other rules are in force: `place` is where an SLO stood before, if it counts the same.
    pub fn follow(&mut self, slos: &[Arc<Slo>], place: impl Fn(&str) -> Option<usize>) {
        let of = |id: &str| place(id).and_then(|place| self.statuses.get(place)).cloned().unwrap_or_default();
        self.statuses = slos.iter().map(|slo| of(&slo.id)).collect();
        self.notes.clear();
        self.counted.retain(|id, _| place(id).is_some());
    }

    /// Children of fan-outs on which something fires, or may: they keep their rows. By SLO and `fanout::child_key`.
    pub fn loud_children(&self, slos: &[Arc<Slo>]) -> BTreeSet<(usize, u128)> {
        let of = |(sli, (_, statuses)): (usize, (&Arc<Slo>, &Arc<[SeriesStatus]>))| {
            let loud = statuses.iter().filter(|status| !status.labels.is_empty() && status.state != SloState::Ok);
            loud.map(|status| (sli, child_key(&status.labels))).collect::<Vec<_>>()
        };
        let all = slos.iter().zip(&self.statuses).enumerate();
        all.filter(|(_, (slo, _))| !slo.by.is_empty()).flat_map(of).collect()
    }
}

/// Evaluates every series of every SLO at `at`. `slos` stand in id order; `notes` are what must be said of each of them, and
/// `previous` is what the last evaluation said: nothing of SLOs that they do not reach.
pub fn evaluate(
    slos: &[Arc<Slo>],
    notes: &[Arc<[String]>],
    ledger: &Ledger,
    health: &Health<'_>,
    at: Seconds,
    previous: &[Arc<[SeriesStatus]>],
    book: &mut AlertMachine,
) -> (Snapshot, Vec<Transition>) {
    let nothing: Arc<[SeriesStatus]> = Arc::default();
    let moment = Moment { ledger, health, at, book };
    let look = |walk: &mut Walk<'_>, index: usize| {
        moment.series_of(index, &slos[index], walk, previous.get(index).unwrap_or(&nothing))
    };
    let series = in_parallel(slos, ledger, at, look);
    let mut snapshot = Snapshot { at, slos: Vec::with_capacity(slos.len()), alerts: Vec::new() };
    let mut transitions = Vec::new();
    for (place, (slo, series)) in slos.iter().zip(series).enumerate() {
        transitions.extend(book.step_all(slo, &series, at));
        let notes = notes.get(place).cloned().unwrap_or_default();
        snapshot.slos.push(SloSnapshot { slo: Arc::clone(slo), series, notes, whole: None });
    }
    let is_there = |slo_id: &str, labels: &Labels| {
        snapshot.slo(slo_id).is_some_and(|entry| entry.series.iter().any(|status| status.labels == *labels))
    };
    transitions.extend(book.retain(is_there, at));
    book.prune(at);
    snapshot.alerts = book.active().into_iter().cloned().collect();
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

/// What all series are looked at with.
struct Moment<'a> {
    ledger: &'a Ledger,
    health: &'a Health<'a>,
    at: Seconds,
    book: &'a AlertMachine,
}

impl Moment<'_> {
    /// Every series of one SLO.
    fn series_of(
        &self,
        index: usize,
        slo: &Slo,
        walk: &mut Walk<'_>,
        previous: &[SeriesStatus],
    ) -> Arc<[SeriesStatus]> {
        let filling = self.health.filling.contains(&slo.id);
        let mut series = walk.of(&slo.id);
        // Most SLOs have one series, which needs no list on the way.
        let (first, more) = (series.next(), series.next());
        let status = |(labels, slices)| self.status(index, slo, labels, slices, filling, previous);
        let statuses: Vec<SeriesStatus> = match (first, more) {
            (first, Some(second)) => first.into_iter().chain([second]).chain(series).filter_map(status).collect(),
            (Some(only), None) => match status(only) {
                Some(status) => return Arc::new([status]),
                None => Vec::new(),
            },
            (None, None) => Vec::new(),
        };
        if !statuses.is_empty() {
            return statuses.into();
        }
        let slice_s = slo.resolution_s.unwrap_or(self.ledger.resolution_s());
        let none = SeriesLedger::new(self.ledger.resolution_s(), slo.unit, slo.window_s).judged_by(slice_s);
        let labels = Labels::new();
        let data = self.planned(slo, doubted((self.health.unseen)(index), filling));
        Arc::new([burn::evaluate(slo, &none, &labels, data, self.at, of(previous, &labels))])
    }

    /// One series; `None` where it is not shown.
    fn status(
        &self,
        index: usize,
        slo: &Slo,
        labels: &Labels,
        slices: &SeriesLedger,
        filling: bool,
        previous: &[SeriesStatus],
    ) -> Option<SeriesStatus> {
        if !labels.is_empty() && !slo.by.is_empty() && (self.health.folded)(index, labels) {
            return None;
        }
        let data = self.health.seen.of(index, labels);
        let data = self.planned(slo, doubted(data.unwrap_or_else(|| (self.health.unseen)(index)), filling));
        if gone(slo, labels, data, self.at, self.book) {
            return None;
        }
        let mut status = burn::evaluate(slo, slices, labels, data, self.at, of(previous, labels));
        if let Some(ends) = self.ledger.ends(&slo.id, labels) {
            burn::add_bounds(slo, slices, ends, &mut status);
        }
        Some(status)
    }
}

impl Moment<'_> {
    /// Data that are gone because what they come from was scaled to 0 are absent by plan.
    fn planned(&self, slo: &Slo, data: DataHealth) -> DataHealth {
        let gone = matches!(data.reason, DataReason::NoSeries | DataReason::SamplesOld | DataReason::SeriesMissing)
            && matches!(data.state, DataState::Absent | DataState::Stale);
        match gone && self.health.scaled_to_zero.contains(&slo.service) {
            true => DataHealth { reason: DataReason::ScaledToZero, ..data },
            false => data,
        }
    }
}

/// The status of these labels; the list is in label order.
fn of<'a>(statuses: &'a [SeriesStatus], labels: &Labels) -> Option<&'a SeriesStatus> {
    statuses.binary_search_by(|status| status.labels.cmp(labels)).ok().map(|place| &statuses[place])
}

/// Reads a little of all that an evaluation will read of the slices of an SLO.
fn skim(slo: &Slo, walk: &mut Walk<'_>, at: Seconds) -> u64 {
    let lengths = || slo.burn.iter().flat_map(|clause| [clause.short_s, clause.long_s]).chain([slo.window_s]);
    walk.of(&slo.id).fold(0, |all, (_, series)| all ^ series.skim(at, lengths()))
}

/// Does `work` for each SLO at `at`, in order. Of very many each core takes a part: what they wait for is memory, and no
/// SLO depends on another. For the same reason the slices of some are asked for before the first of them is looked at.
fn in_parallel<T: Send>(
    slos: &[Arc<Slo>],
    ledger: &Ledger,
    at: Seconds,
    work: impl Fn(&mut Walk<'_>, usize) -> T + Sync,
) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let part = slos.len().div_ceil(cores).max(PART_MIN);
    let done = |places: std::ops::Range<usize>| {
        let (mut walk, mut ahead) = (ledger.walk(), ledger.walk());
        let mut done = Vec::with_capacity(places.len());
        for from in places.clone().step_by(TOGETHER) {
            let some = from..places.end.min(from + TOGETHER);
            for slo in &slos[some.clone()] {
                std::hint::black_box(skim(slo, &mut ahead, at));
            }
            done.extend(some.map(|place| work(&mut walk, place)));
        }
        done
    };
    if slos.len() <= part {
        return done(0..slos.len());
    }
    std::thread::scope(|scope| {
        let done = &done;
        let starts = (0..slos.len()).step_by(part);
        let parts: Vec<_> = starts.map(|from| scope.spawn(move || done(from..slos.len().min(from + part)))).collect();
        let joined = |part: std::thread::ScopedJoinHandle<'_, Vec<T>>| match part.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        parts.into_iter().flat_map(joined).collect()
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
